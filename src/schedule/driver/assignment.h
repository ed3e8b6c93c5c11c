/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_DRIVER_ASSIGNMENT_H
#define AEGIS_SCHEDULE_DRIVER_ASSIGNMENT_H

/* What the search for lanes (assignment.c) and the test of one lane (lane_test.c) share. */

#include "schedule/driver/internal.h"

#define AEGIS_ASSIGNMENT "schedule.assignment"

/* Working memory of one search, all arrays as long as the set. */
typedef struct aegis_assignment {
    const aegis_policy *policy;
    aegis_candidate *candidates;
    size_t count;
    uint16_t lanes;
    const aegis_allocator *allocator;
    aegis_lane_memory *memory;
    size_t *members; /* of the lane that is tested */
    aegis_policy_model *models;
    size_t *order;
    aegis_task *tasks;
    int *lane_of; /* -1: not placed yet */
    size_t *by_use;
    uint64_t steps; /* of one test */
    uint32_t tests; /* of lanes that the search may still make */
    bool stands;    /* the present lanes are those of first fit */
    /* First fit anew: lanes that have a model more or less than before it. */
    bool gained[AEGIS_MAX_LANES], lost[AEGIS_MAX_LANES];
    bool undecided; /* one of them was */
} aegis_assignment;

aegis_status aegis_assignment_init(aegis_assignment *w, aegis_error *err);
void aegis_assignment_finish(aegis_assignment *w);

/* Whole or cut, the longest that a candidate runs without a preemption point. */
int64_t aegis_assignment_longest(const aegis_candidate *candidate);

/* Collects the members of a lane as tasks, in the order that the policy's proof wants; returns how
 * many. Without foreground work there are none. */
size_t aegis_lane_collect(aegis_assignment *w,
                          uint16_t lane,
                          aegis_analysis *ret_analysis,
                          bool *ret_proof);
/* Tests one lane with what is placed on it. When that fits the candidates carry the results, and
 * memory->proved[lane] what was found. `refusal` may be NULL. */
aegis_status aegis_lane_test(
    aegis_assignment *w, uint16_t lane, bool *ret_fits, aegis_refusal *refusal, aegis_error *err);
/* Its verdict alone, for a search that tests many. */
aegis_status
aegis_lane_decide(aegis_assignment *w, uint16_t lane, bool *ret_holds, aegis_error *err);
/* Whether what is placed on the lane is what stands there since it was proved. */
bool aegis_lane_stands(aegis_assignment *w, uint16_t lane);

#endif
