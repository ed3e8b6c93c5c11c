/* SPDX-License-Identifier: Apache-2.0 */
/* How a worst response comes about: which job, who runs before it and how often, and what blocks.
 * The computation is that of the test, watched. */
#include "schedule/admission/internal.h"

#include "base/base.h"

static aegis_outcome derive_fixed_priority(aegis_analysis_run *run)
{
    aegis_worst *worst = run->worst;
    aegis_fp_level at = {.blocking = run->blocking[worst->task]};
    uint64_t response = 0;
    for (size_t i = 0; i < worst->task; i++) {
        aegis_level_add(&at.higher, &run->tasks[i]);
    }
    return aegis_fixed_priority_response(run, &at, &response);
}

static aegis_outcome derive_np_edf(aegis_analysis_run *run)
{
    int sign = 0;
    uint64_t *responses = aegis_allocate_zeroed(run->allocator, run->count, sizeof *responses);
    if (responses == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome = aegis_utilisation_compare(run, run->count, &sign);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_np_edf_outcome(run, sign, responses);
    }
    aegis_deallocate(run->allocator, responses, run->count, sizeof *responses);
    return outcome;
}

static aegis_outcome derive_fifo(aegis_analysis_run *run)
{
    uint64_t *responses = aegis_allocate_zeroed(run->allocator, run->count, sizeof *responses);
    if (responses == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_outcome outcome = aegis_fifo_responses(run, responses);
    aegis_deallocate(run->allocator, responses, run->count, sizeof *responses);
    return outcome;
}

static aegis_outcome derive(aegis_analysis_run *run)
{
    switch (run->analysis) { /* coverage: every value has its case */
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_FPP:
        return derive_fixed_priority(run);
    case AEGIS_ANALYSIS_NP_EDF:
        return derive_np_edf(run);
    case AEGIS_ANALYSIS_EDF:
        return aegis_demand_tightest(run);
    case AEGIS_ANALYSIS_FIFO:
        break;
    }
    return derive_fifo(run);
}

/* The first later or lower task that can block for so long. */
static size_t find_blocker(const aegis_analysis_run *run)
{
    const aegis_worst *worst = run->worst;
    size_t from = run->analysis == AEGIS_ANALYSIS_NP_EDF ? 0 : worst->task + 1;
    for (size_t k = from; k < run->count && worst->blocking > 0; k++) {
        bool later = run->analysis != AEGIS_ANALYSIS_NP_EDF ||
                     (aegis_i128)aegis_first_deadline(&run->tasks[k]) > worst->due;
        if (later && run->tasks[k].largest - 1 == worst->blocking) {
            return k;
        }
    }
    return SIZE_MAX;
}

static void give(const aegis_analysis_run *run, aegis_derivation *ret_derivation)
{
    aegis_worst *worst = run->worst;
    if (!worst->found) {
        aegis_deallocate(run->allocator, worst->jobs, run->count, sizeof *worst->jobs);
        *ret_derivation = (aegis_derivation){.blocker = SIZE_MAX};
        return;
    }
    *ret_derivation = (aegis_derivation){.found = true,
                                         .release = (int64_t)worst->release,
                                         .completion = (int64_t)worst->completion,
                                         .blocking = (int64_t)worst->blocking,
                                         .blocker = find_blocker(run),
                                         .jobs = worst->jobs,
                                         .task_count = run->count};
}

aegis_status aegis_admission_derive(aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    size_t which,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_derivation *ret_derivation,
                                    aegis_error *err)
{
    aegis_analysis_run run;
    aegis_worst worst = {.task = which};
    if (which >= count) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no task %zu in a set of %zu: count from 0", which, count);
    }
    aegis_status status =
        aegis_admission_run_init(&run, analysis, tasks, count, limits, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    run.worst = &worst;
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    worst.jobs = aegis_allocate_zeroed(allocator, count, sizeof *worst.jobs);
    if (worst.jobs != NULL) {
        outcome = aegis_blocking_fill(&run);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = derive(&run);
    }
    if (outcome == AEGIS_OUTCOME_DONE || outcome == AEGIS_OUTCOME_DIVERGES) {
        give(&run, ret_derivation);
    } else {
        aegis_deallocate(allocator, worst.jobs, count, sizeof *worst.jobs);
    }
    aegis_admission_run_finish(&run);
    return aegis_outcome_status(outcome, err);
}

void aegis_derivation_finish(aegis_derivation *derivation, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, derivation->jobs, derivation->task_count, sizeof *derivation->jobs);
    *derivation = (aegis_derivation){.blocker = SIZE_MAX};
}
