/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_SEARCH_H
#define AEGIS_RESOURCE_SEARCH_H

/* Exact search for offsets of one component (buffers connected through overlaps in time). */

#include <aegisrt/memory_plan.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum aegis_search_outcome {
    AEGIS_SEARCH_FOUND = 0,
    AEGIS_SEARCH_EXHAUSTED, /* proved: no plan fits the capacity */
    AEGIS_SEARCH_LIMIT,     /* the budget ended it */
    AEGIS_SEARCH_NO_MEMORY  /* host memory ran out on the way */
} aegis_search_outcome;

typedef struct aegis_search aegis_search;

/* Overlapping pairs beyond which a component is left to the greedy orders: bounds memory. A search
 * takes some 30 bytes a pair, and a race has up to eight. */
#define AEGIS_SEARCH_MAX_PAIRS UINT64_C(2000000)

/* Whether the search's memory stays within AEGIS_SEARCH_MAX_PAIRS. */
bool aegis_search_can_hold(const aegis_plan_buffer *buffers, size_t count);

/* `buffers` are borrowed, sorted by (lower, upper), and can be held. NO_MEMORY. */
aegis_status aegis_search_create(const aegis_plan_buffer *buffers,
                                 size_t count,
                                 const aegis_allocator *allocator,
                                 aegis_search **ret_search,
                                 aegis_error *err);
void aegis_search_destroy(aegis_search *search);

/* Orders in which buffers of equal offset are tried. */
#define AEGIS_SEARCH_ORDERS 5u

/* Begins a search for a plan within `capacity`. Equal capacities, orders and seeds search alike;
 * seed 0 is the order itself, others disturb it. */
void aegis_search_start(aegis_search *search, uint64_t capacity, unsigned order, uint64_t seed);

/* How far to go on. */
typedef struct aegis_search_quota {
    uint64_t nodes;                 /* placements at most */
    uint64_t deadline_ns;           /* of CLOCK_MONOTONIC; 0: none */
    uint64_t number;                /* of use with `winner` alone */
    const _Atomic uint64_t *winner; /* ends when this falls below `number`; NULL: never */
} aegis_search_quota;

/* Goes on after aegis_search_start or a LIMIT. LIMIT: nodes, deadline or winner ended it. What was
 * spent goes to `ret_nodes`; FOUND writes the offsets. */
aegis_search_outcome aegis_search_continue(aegis_search *search,
                                           const aegis_search_quota *quota,
                                           uint64_t *ret_nodes,
                                           uint64_t *ret_offsets);

#endif
