/* SPDX-License-Identifier: Apache-2.0 */
/* Entry points: arguments in, the test of the policy, verdict and evidence out. */
#include "schedule/admission/internal.h"

#include "base/base.h"

#include <string.h>

#define DEFAULT_STEPS UINT64_C(200000000)
#define DESCRIBE_STEPS 1000000

static const char *const analysis_names[] = {
    [AEGIS_ANALYSIS_NP_FP] = "np-fp", [AEGIS_ANALYSIS_NP_EDF] = "np-edf",
    [AEGIS_ANALYSIS_FP] = "fp",       [AEGIS_ANALYSIS_EDF] = "edf",
    [AEGIS_ANALYSIS_FPP] = "fpp",     [AEGIS_ANALYSIS_FIFO] = "fifo",
};

static bool is_analysis(aegis_analysis analysis)
{
    return (unsigned)analysis < AEGIS_ARRAY_LENGTH(analysis_names);
}

const char *aegis_analysis_name(aegis_analysis analysis)
{
    return is_analysis(analysis) ? analysis_names[analysis] : "unknown";
}

aegis_status aegis_analysis_parse(const char *name, aegis_analysis *ret_analysis, aegis_error *err)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(analysis_names); i++) {
        if (strcmp(name, analysis_names[i]) == 0) {
            *ret_analysis = (aegis_analysis)i;
            return AEGIS_OK;
        }
    }
    const char *nearest =
        aegis_nearest_word(name, analysis_names, AEGIS_ARRAY_LENGTH(analysis_names));
    return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_NOT_FOUND,
                           "no analysis is called \"%s\"%s%s%s: use np-fp, np-edf, fp, edf, fpp or "
                           "fifo",
                           name, nearest == NULL ? "" : ", did you mean \"",
                           nearest == NULL ? "" : nearest, nearest == NULL ? "" : "\"?");
}

aegis_status aegis_outcome_status(aegis_outcome outcome, aegis_error *err)
{
    aegis_place place = AEGIS_HERE("schedule.admission");
    switch (outcome) { /* coverage: every value has its case */
    case AEGIS_OUTCOME_DONE:
    case AEGIS_OUTCOME_DIVERGES:
        break;
    case AEGIS_OUTCOME_LIMIT:
        return aegis_error_set(err, place, AEGIS_ERROR_UNDECIDED,
                               "the analysis used up its steps or was cancelled: raise the limit "
                               "or count time in larger ticks");
    case AEGIS_OUTCOME_OVERFLOW:
        return aegis_error_set(err, place, AEGIS_ERROR_OVERFLOW,
                               "a time of the analysis passes 2^63 - 1 ticks: use larger ticks");
    case AEGIS_OUTCOME_NO_MEMORY:
        return aegis_error_set(err, place, AEGIS_ERROR_NO_MEMORY,
                               "no memory for the schedulability analysis");
    }
    return AEGIS_OK;
}

static aegis_status check_positive(const aegis_task *task,
                                   size_t index,
                                   const char *field,
                                   int64_t value,
                                   int64_t least,
                                   aegis_error *err)
{
    if (value >= least) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                           "task %zu (%s): %s is %lld, must be at least %lld", index,
                           task->name == NULL ? "unnamed" : task->name, field, (long long)value,
                           (long long)least);
}

static aegis_status check_segments(const aegis_task *task, size_t index, aegis_error *err)
{
    aegis_i128 sum = 0;
    aegis_status status = AEGIS_OK;
    for (size_t k = 0; k < task->segment_count && status == AEGIS_OK; k++) {
        status = check_positive(task, index, "a segment", task->segments[k], 1, err);
        sum += task->segments[k];
    }
    if (status == AEGIS_OK && sum != task->execution) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "task %zu (%s): its %zu segments do not sum to C = %lld", index,
                               task->name == NULL ? "unnamed" : task->name, task->segment_count,
                               (long long)task->execution);
    }
    return status;
}

static aegis_status check_task(const aegis_task *task, size_t index, aegis_error *err)
{
    aegis_status status = check_positive(task, index, "C", task->execution, 1, err);
    if (status == AEGIS_OK) {
        status = check_positive(task, index, "T", task->period, 1, err);
    }
    if (status == AEGIS_OK) {
        status = check_positive(task, index, "D", task->deadline, 1, err);
    }
    if (status == AEGIS_OK) {
        status = check_positive(task, index, "J", task->jitter, 0, err);
    }
    return status == AEGIS_OK && task->segments != NULL ? check_segments(task, index, err) : status;
}

/* What blocks and what cannot be interfered with, where the policy honours segments. */
static void take_segments(const aegis_task *task, aegis_atask *ret_task)
{
    ret_task->last = (uint64_t)task->segments[task->segment_count - 1];
    ret_task->largest = 0;
    for (size_t k = 0; k < task->segment_count; k++) {
        uint64_t segment = (uint64_t)task->segments[k];
        ret_task->largest = segment > ret_task->largest ? segment : ret_task->largest;
    }
}

aegis_status aegis_admission_convert(aegis_analysis analysis,
                                     const aegis_task *task,
                                     size_t index,
                                     aegis_atask *ret_task,
                                     aegis_error *err)
{
    bool cut = analysis == AEGIS_ANALYSIS_FPP || analysis == AEGIS_ANALYSIS_NP_EDF;
    aegis_status status = check_task(task, index, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_task = (aegis_atask){.execution = (uint64_t)task->execution,
                              .period = (uint64_t)task->period,
                              .deadline = (uint64_t)task->deadline,
                              .jitter = (uint64_t)task->jitter,
                              .largest = (uint64_t)task->execution,
                              .last = (uint64_t)task->execution};
    if (cut && task->segments != NULL) {
        take_segments(task, ret_task);
    }
    return AEGIS_OK;
}

aegis_status aegis_admission_check_analysis(aegis_analysis analysis, aegis_error *err)
{
    return is_analysis(analysis)
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE("schedule.admission"),
                                 AEGIS_ERROR_INVALID_ARGUMENT, "%d is no analysis", (int)analysis);
}

aegis_budget aegis_budget_of(const aegis_admission_limits *limits)
{
    return (aegis_budget){.steps =
                              limits == NULL || limits->steps == 0 ? DEFAULT_STEPS : limits->steps,
                          .cancel = limits == NULL ? NULL : limits->cancel};
}

aegis_status aegis_admission_run_init(aegis_analysis_run *run,
                                      aegis_analysis analysis,
                                      const aegis_task *tasks,
                                      size_t count,
                                      const aegis_admission_limits *limits,
                                      const aegis_allocator *allocator,
                                      aegis_error *err)
{
    *run = (aegis_analysis_run){.analysis = analysis,
                                .count = count,
                                .budget = aegis_budget_of(limits),
                                .allocator = allocator};
    aegis_status status = aegis_admission_check_analysis(analysis, err);
    if (status != AEGIS_OK) {
        return status;
    }
    run->tasks = aegis_allocate_zeroed(allocator, count, sizeof *run->tasks);
    run->blocking = aegis_allocate_zeroed(allocator, count, sizeof *run->blocking);
    if (run->tasks == NULL || run->blocking == NULL) {
        status = aegis_outcome_status(AEGIS_OUTCOME_NO_MEMORY, err);
    }
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        status = aegis_admission_convert(analysis, &tasks[i], i, &run->tasks[i], err);
    }
    if (status != AEGIS_OK) {
        aegis_admission_run_finish(run);
    }
    return status;
}

void aegis_admission_run_finish(aegis_analysis_run *run)
{
    aegis_deallocate(run->allocator, run->tasks, run->count, sizeof *run->tasks);
    aegis_deallocate(run->allocator, run->blocking, run->count, sizeof *run->blocking);
    run->tasks = NULL;
    run->blocking = NULL;
}

/* What is the same for every policy, within limits of its own: none of it decides. */
static aegis_outcome describe(const aegis_analysis_run *run, aegis_admission_result *result)
{
    aegis_analysis_run side = *run;
    side.budget.steps = DESCRIBE_STEPS;
    aegis_outcome outcome = aegis_blocking_fill(&side);
    for (size_t i = 0; i < run->count; i++) {
        result->utilisation += (double)run->tasks[i].execution / (double)run->tasks[i].period;
        result->tasks[i].blocking = (int64_t)run->blocking[i];
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = aegis_utilisation_ppm(&side, &result->utilisation_ppm);
    }
    return outcome == AEGIS_OUTCOME_DONE ? aegis_simple_bounds_compute(&side, &result->bounds)
                                         : outcome;
}

static void find_first_miss(aegis_analysis analysis, aegis_admission_result *result)
{
    bool by_set = analysis == AEGIS_ANALYSIS_EDF || analysis == AEGIS_ANALYSIS_NP_EDF;
    result->first_miss = SIZE_MAX;
    for (size_t i = result->task_count; i-- > 0;) {
        const aegis_task_result *task = &result->tasks[i];
        if (!task->meets && (by_set || task->response != AEGIS_RESPONSE_UNSETTLED) &&
            result->verdict == AEGIS_NOT_SCHEDULABLE) {
            result->first_miss = i;
        }
    }
}

aegis_outcome aegis_admission_execute(aegis_analysis_run *run, aegis_admission_result *ret_result)
{
    aegis_admission_result result = {.task_count = run->count};
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    result.tasks = aegis_allocate_zeroed(run->allocator, run->count, sizeof *result.tasks);
    if (result.tasks != NULL) {
        outcome = describe(run, &result);
    }
    if (outcome == AEGIS_OUTCOME_DONE && run->count > 0) {
        outcome = aegis_admission_run_test(run, &result);
    }
    if (outcome != AEGIS_OUTCOME_DONE) {
        aegis_admission_result_finish(&result, run->allocator);
        return outcome;
    }
    find_first_miss(run->analysis, &result);
    *ret_result = result;
    return AEGIS_OUTCOME_DONE;
}

aegis_status aegis_admission_test(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  const aegis_admission_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_admission_result *ret_result,
                                  aegis_error *err)
{
    aegis_analysis_run run;
    aegis_status status =
        aegis_admission_run_init(&run, analysis, tasks, count, limits, allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_outcome_status(aegis_admission_execute(&run, ret_result), err);
        aegis_admission_run_finish(&run);
    }
    return status;
}

aegis_status aegis_admission_decide(aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_admission_verdict *ret_verdict,
                                    aegis_error *err)
{
    aegis_analysis_run run;
    aegis_admission_verdict verdict = AEGIS_SCHEDULABLE;
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    aegis_status status =
        aegis_admission_run_init(&run, analysis, tasks, count, limits, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    run.decide_only = true;
    if (count > 0) {
        outcome = aegis_admission_run_decide(&run, &verdict);
    }
    aegis_admission_run_finish(&run);
    if (outcome == AEGIS_OUTCOME_LIMIT) {
        verdict = AEGIS_ADMISSION_UNDECIDED;
        outcome = AEGIS_OUTCOME_DONE;
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        *ret_verdict = verdict;
    }
    return aegis_outcome_status(outcome, err);
}

void aegis_admission_result_finish(aegis_admission_result *result, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, result->witness, result->witness_count, sizeof *result->witness);
    aegis_deallocate(allocator, result->tasks, result->task_count, sizeof *result->tasks);
    *result = (aegis_admission_result){.first_miss = SIZE_MAX};
}
