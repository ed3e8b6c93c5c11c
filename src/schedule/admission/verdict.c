/* SPDX-License-Identifier: Apache-2.0 */
/* The test of each policy: responses and verdict, or the verdict alone. */
#include "schedule/admission/internal.h"

/* Of the steps left once the np-edf verdict is known; near U = 1 the busy period has no end. */
#define RESPONSE_STEPS 10000000

static void set_response(const aegis_analysis_run *run,
                         aegis_admission_result *result,
                         size_t i,
                         aegis_outcome outcome,
                         uint64_t response)
{
    aegis_task_result *task = &result->tasks[i];
    task->response = outcome == AEGIS_OUTCOME_DONE       ? (int64_t)response
                     : outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_RESPONSE_DIVERGES
                                                         : AEGIS_RESPONSE_UNSETTLED;
    task->meets = outcome == AEGIS_OUTCOME_DONE && response <= run->tasks[i].deadline;
    if (task->response == AEGIS_RESPONSE_UNSETTLED) {
        result->unsettled = AEGIS_UNSETTLED_LIMITS;
    }
}

static bool is_final(aegis_outcome outcome)
{
    return outcome == AEGIS_OUTCOME_OVERFLOW || outcome == AEGIS_OUTCOME_NO_MEMORY;
}

/* One miss refutes the set even if the limits left other tasks open. */
static void verdict_from_tasks(aegis_admission_result *result)
{
    result->verdict = AEGIS_SCHEDULABLE;
    for (size_t i = 0; i < result->task_count; i++) {
        const aegis_task_result *task = &result->tasks[i];
        if (task->response == AEGIS_RESPONSE_UNSETTLED) {
            result->verdict = AEGIS_ADMISSION_UNDECIDED;
        } else if (!task->meets) {
            result->verdict = AEGIS_NOT_SCHEDULABLE;
            return;
        }
    }
}

/* The response at a level: the known one where it still holds. */
static aegis_outcome
respond_at_level(aegis_analysis_run *run, const aegis_fp_level *at, uint64_t *ret_response)
{
    aegis_known_task *known = aegis_known_of(run, at->higher.count);
    if (known != NULL && known->blocking > at->blocking) {
        *known = (aegis_known_task){.settled = false};
    }
    if (known != NULL && known->settled && known->blocking == at->blocking) {
        *ret_response = known->response;
        return known->diverges ? AEGIS_OUTCOME_DIVERGES : AEGIS_OUTCOME_DONE;
    }
    if (known != NULL) {
        known->blocking = at->blocking; /* more than before: the lower bounds stay */
    }
    aegis_outcome outcome = aegis_fixed_priority_response(run, at, ret_response);
    if (known != NULL && (outcome == AEGIS_OUTCOME_DONE || outcome == AEGIS_OUTCOME_DIVERGES)) {
        known->settled = true;
        known->diverges = outcome == AEGIS_OUTCOME_DIVERGES;
        known->response = *ret_response;
    }
    return outcome;
}

/* run->blocking is filled. */
static aegis_outcome test_fixed_priority(aegis_analysis_run *run, aegis_admission_result *result)
{
    aegis_fp_above above = {.blocking = 0};
    aegis_fp_level at = {.above = &above};
    for (size_t i = 0; i < run->count; i++) {
        uint64_t response = 0;
        at.blocking = run->blocking[i];
        aegis_outcome outcome = respond_at_level(run, &at, &response);
        if (is_final(outcome)) {
            return outcome;
        }
        set_response(run, result, i, outcome, response);
        aegis_level_add(&at.higher, &run->tasks[i]);
    }
    verdict_from_tasks(result);
    return AEGIS_OUTCOME_DONE;
}

/* Sets all responses from one computation. */
static aegis_outcome set_all(const aegis_analysis_run *run,
                             aegis_admission_result *result,
                             aegis_outcome outcome,
                             const uint64_t *responses)
{
    for (size_t i = 0; i < run->count && !is_final(outcome); i++) {
        set_response(run, result, i, outcome, responses[i]);
    }
    return is_final(outcome) ? outcome : AEGIS_OUTCOME_DONE;
}

static aegis_outcome test_fifo(aegis_analysis_run *run, aegis_admission_result *result)
{
    uint64_t *responses = aegis_allocate_zeroed(run->allocator, run->count, sizeof *responses);
    if (responses == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome = set_all(run, result, aegis_fifo_responses(run, responses), responses);
    aegis_deallocate(run->allocator, responses, run->count, sizeof *responses);
    verdict_from_tasks(result);
    return outcome;
}

static aegis_outcome
respond_np_edf(aegis_analysis_run *run, int sign, aegis_admission_result *result)
{
    uint64_t *responses = aegis_allocate_zeroed(run->allocator, run->count, sizeof *responses);
    if (responses == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    for (size_t i = 0; i < run->count && run->known != NULL; i++) {
        responses[i] = run->known->tasks[i].response;
    }
    uint64_t left = run->budget.steps;
    run->budget.steps = left < RESPONSE_STEPS ? left : RESPONSE_STEPS;
    aegis_outcome found = aegis_np_edf_outcome(run, sign, responses);
    /* The verdict stands without them: what does not fit 63 bits is merely not settled. */
    bool overflow = found == AEGIS_OUTCOME_OVERFLOW;
    aegis_outcome outcome = set_all(run, result, overflow ? AEGIS_OUTCOME_LIMIT : found, responses);
    if (overflow) {
        result->unsettled = AEGIS_UNSETTLED_OVERFLOW;
    } else if (aegis_np_edf_is_endless(run, sign)) {
        result->unsettled = AEGIS_UNSETTLED_ENDLESS;
    }
    aegis_deallocate(run->allocator, responses, run->count, sizeof *responses);
    return outcome;
}

static aegis_outcome test_edf(aegis_analysis_run *run, aegis_admission_result *result)
{
    aegis_demand_result demand = {.sign = -1};
    aegis_outcome outcome = aegis_demand_test(run, &demand);
    if (is_final(outcome)) {
        return outcome;
    }
    bool decided = outcome == AEGIS_OUTCOME_DONE;
    result->verdict = !decided          ? AEGIS_ADMISSION_UNDECIDED
                      : demand.violated ? AEGIS_NOT_SCHEDULABLE
                                        : AEGIS_SCHEDULABLE;
    bool responds = run->analysis == AEGIS_ANALYSIS_NP_EDF;
    for (size_t i = 0; i < run->count; i++) {
        result->tasks[i].response = responds ? AEGIS_RESPONSE_UNSETTLED : AEGIS_RESPONSE_OMITTED;
    }
    if (decided && responds) {
        outcome = respond_np_edf(run, demand.sign, result);
        if (is_final(outcome)) {
            return outcome;
        }
    } else if (responds) {
        result->unsettled = AEGIS_UNSETTLED_LIMITS;
    }
    for (size_t i = 0; i < run->count; i++) {
        if (result->tasks[i].response < AEGIS_RESPONSE_DIVERGES) {
            result->tasks[i].meets = result->verdict == AEGIS_SCHEDULABLE;
        }
    }
    if (!decided || !demand.located) {
        return AEGIS_OUTCOME_DONE;
    }
    result->has_violation = true;
    result->violation_at = demand.at;
    result->violation_demand = demand.demand > AEGIS_TICKS_MAX ? INT64_MAX : (int64_t)demand.demand;
    return aegis_witness_build(run, result);
}

aegis_outcome aegis_admission_run_test(aegis_analysis_run *run, aegis_admission_result *result)
{
    switch (run->analysis) { /* coverage: every value has its case */
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        return test_fixed_priority(run, result);
    case AEGIS_ANALYSIS_NP_EDF:
    case AEGIS_ANALYSIS_EDF:
        return test_edf(run, result);
    case AEGIS_ANALYSIS_FIFO:
        break;
    }
    return test_fifo(run, result);
}

/* ---- the verdict alone ---- */

static aegis_outcome decide_tasks(aegis_analysis_run *run, bool *ret_meets)
{
    aegis_fp_above above = {.blocking = 0};
    aegis_fp_level at = {.above = &above};
    aegis_blocking_fill(run); /* fixed priorities need no memory for it */
    for (size_t i = 0; i < run->count && *ret_meets; i++) {
        uint64_t response = 0;
        at.blocking = run->blocking[i];
        aegis_outcome outcome = aegis_fixed_priority_response(run, &at, &response);
        if (outcome != AEGIS_OUTCOME_DONE && outcome != AEGIS_OUTCOME_DIVERGES) {
            return outcome;
        }
        *ret_meets = outcome == AEGIS_OUTCOME_DONE && response <= run->tasks[i].deadline;
        aegis_level_add(&at.higher, &run->tasks[i]);
    }
    return AEGIS_OUTCOME_DONE;
}

static aegis_outcome decide_fifo(aegis_analysis_run *run, bool *ret_meets)
{
    uint64_t *responses = aegis_allocate_zeroed(run->allocator, run->count, sizeof *responses);
    if (responses == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome = aegis_fifo_responses(run, responses);
    for (size_t i = 0; i < run->count && outcome == AEGIS_OUTCOME_DONE; i++) {
        *ret_meets = *ret_meets && responses[i] <= run->tasks[i].deadline;
    }
    aegis_deallocate(run->allocator, responses, run->count, sizeof *responses);
    *ret_meets = *ret_meets && outcome == AEGIS_OUTCOME_DONE;
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

aegis_outcome aegis_admission_run_decide(aegis_analysis_run *run,
                                         aegis_admission_verdict *ret_verdict)
{
    bool meets = true;
    aegis_outcome outcome;
    if (run->analysis == AEGIS_ANALYSIS_NP_EDF || run->analysis == AEGIS_ANALYSIS_EDF) {
        aegis_demand_result demand = {.violated = true};
        outcome = aegis_demand_test(run, &demand);
        meets = !demand.violated;
    } else {
        outcome = run->analysis == AEGIS_ANALYSIS_FIFO ? decide_fifo(run, &meets)
                                                       : decide_tasks(run, &meets);
    }
    *ret_verdict = meets ? AEGIS_SCHEDULABLE : AEGIS_NOT_SCHEDULABLE;
    return outcome;
}
