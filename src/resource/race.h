/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_RACE_H
#define AEGIS_RESOURCE_RACE_H

/*
 * Several orders and restarts of the search raced for one component.
 *
 * There is a fixed number of tracks: one for each order, which goes on and on, and some that
 * disturb the orders at random and start over with budgets after Luby's sequence, as hard instances
 * have heavy tails. Tracks advance in turns of a fixed number of nodes; turn (round, track) depends
 * on the earlier turns of its own track alone. The answer is that of the first turn, by round and
 * then by track, that decides. Threads take the earliest turn whose track is free; a turn behind
 * one that has decided is dropped. So neither the plan nor the count of nodes depends on how many
 * threads there are or how fast they are.
 */

#include "search.h"

/* Tracks; more threads than that have nothing to do. */
#define AEGIS_RACE_TRACKS 8u

typedef struct aegis_race aegis_race;

/* `buffers` as for aegis_search_create; searches are made when first needed. NO_MEMORY. */
aegis_status aegis_race_create(const aegis_plan_buffer *buffers,
                               size_t count,
                               unsigned threads,
                               const aegis_allocator *allocator,
                               aegis_race **ret_race,
                               aegis_error *err);
void aegis_race_destroy(aegis_race *race);

/* Looks for a plan within `capacity`, spending at most `*nodes` (what counts is taken off) until
 * `deadline_ns` of CLOCK_MONOTONIC, 0: none. FOUND writes the offsets. A call with the capacity of
 * one that ended with LIMIT goes on where that one ended. */
aegis_search_outcome aegis_race_run(aegis_race *race,
                                    uint64_t capacity,
                                    uint64_t deadline_ns,
                                    uint64_t *nodes,
                                    uint64_t *ret_offsets);

#endif
