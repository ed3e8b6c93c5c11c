/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_COALESCE_H
#define AEGIS_RESOURCE_COALESCE_H

/*
 * Fewer buffers that stand for many: two of one size of which one begins when the other ends become
 * one that is there all along, and two of one lifetime become one of both sizes; over and over.
 *
 * A plan of what is left is a plan of all, of the same height. The reverse does not hold: that what
 * is left does not fit says nothing. But programs reuse bytes in just these ways, and a full arena
 * leaves hardly any other: a packing without holes that was cut out of a rectangle by straight
 * cuts, no two at the same instant, comes down to that rectangle. (In the graph whose nodes are
 * instants and whose edges are buffers these are series and parallel reductions.)
 */

#include <aegisrt/memory_plan.h>

#include <stddef.h>
#include <stdint.h>

typedef struct aegis_joint aegis_joint;

typedef struct aegis_coalesced {
    aegis_plan_buffer *buffers; /* what is left, sorted by (lower, upper) */
    size_t count, original;
    aegis_joint *joints; /* the original ones, and then each after the two that it stands for */
    size_t joint_count;
    size_t *left; /* the joints of `buffers` */
} aegis_coalesced;

/* `buffers` are sorted by (lower, upper). Fixed ones stay as they are. NO_MEMORY. Finish it also
 * after a failure. */
aegis_status aegis_coalesce(const aegis_plan_buffer *buffers,
                            size_t count,
                            const aegis_allocator *allocator,
                            aegis_coalesced *ret_coalesced,
                            aegis_error *err);
void aegis_coalesced_finish(aegis_coalesced *c, const aegis_allocator *allocator);

/* Offsets of the original buffers from those of what is left. */
void aegis_coalesced_offsets(aegis_coalesced *c, const uint64_t *offsets, uint64_t *ret_offsets);

#endif
