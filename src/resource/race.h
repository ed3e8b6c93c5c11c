/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_RACE_H
#define AEGIS_RESOURCE_RACE_H

/*
 * Several orders and restarts of the search raced for one component, as it is and coalesced.
 *
 * Each of the two has a fixed number of tracks: one for each order, which goes on and on, and some
 * that disturb the orders at random and start over with budgets after Luby's sequence, as hard
 * instances have heavy tails. That what is coalesced has no plan decides nothing, and its turns
 * still count. Tracks advance in turns of a fixed number of nodes; turn (round, track) depends on
 * the earlier turns of its own track alone. The answer is that of the first turn, by round and then
 * by track, that decides. Threads take the earliest turn whose track is free; a turn behind one
 * that has decided is dropped. So neither the plan nor the count of nodes depends on how many
 * threads there are or how fast they are.
 */

#include "coalesce.h"
#include "search.h"

/* More threads have nothing to do. */
#define AEGIS_RACE_TRACKS 16u

typedef struct aegis_race aegis_race;

/* `buffers` as for aegis_search_create, but for their number: what cannot be held is left out.
 * `coalesced` is made of them, or NULL; both are borrowed. Searches are made when first needed.
 * NO_MEMORY. */
aegis_status aegis_race_create(const aegis_plan_buffer *buffers,
                               size_t count,
                               aegis_coalesced *coalesced,
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
