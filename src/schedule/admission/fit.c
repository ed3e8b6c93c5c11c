/* SPDX-License-Identifier: Apache-2.0 */
/* What of one task would be accepted beside the others. Bisection is exact because every test is
 * sustainable in the parameter searched, the other ones kept:
 *
 *  - longer T (D kept, or moving along): job counts, hence demand, interference, busy periods and
 *    the number q of jobs looked at fall; R(q) = J + s + last - qT falls too;
 *  - longer D: a response under fixed priorities and FIFO does not depend on D. Under EDF task k's
 *    jobs leave h(t) and at most become the blocking of t, worth C_k - 1 < C_k at most;
 *  - shorter C: as longer T, and blocking falls. The segments of a cut model shrink and grow in
 *    proportion: last' = max(1, floor(last C'/C)) and largest' = ceil(largest C'/C). Then last',
 *    largest' and C' - last' all grow with C', and s depends on C' - last', R on last' besides.
 *
 * The value given back has itself passed the test. */
#include "schedule/admission/internal.h"

#include <string.h>

#define PROBE_STEPS 100000
#define LARGEST_TICK (AEGIS_TICKS_MAX / 4)

typedef struct fit_search {
    aegis_analysis_run run;
    const aegis_atask *given;
    size_t which;
    bool implicit_deadline;
} fit_search;

typedef void (*change)(const fit_search *search, aegis_atask *task, uint64_t value);

static void change_period(const fit_search *search, aegis_atask *task, uint64_t value)
{
    task->period = value;
    task->deadline = search->implicit_deadline ? value : task->deadline;
}

static void change_deadline(const fit_search *search, aegis_atask *task, uint64_t value)
{
    (void)search;
    task->deadline = value;
}

static void change_execution(const fit_search *search, aegis_atask *task, uint64_t value)
{
    const aegis_atask *given = &search->given[search->which];
    aegis_u128 last = (aegis_u128)given->last * value / given->execution;
    aegis_u128 largest = ((aegis_u128)given->largest * value - 1) / given->execution + 1;
    task->execution = value;
    task->last = last == 0 ? 1 : (uint64_t)last;
    task->largest = (uint64_t)largest;
}

/* Tests one candidate with at most PROBE_STEPS of the steps left. One that these do not settle (U
 * within a hair of 1) counts as refused. */
static aegis_outcome accepts(fit_search *search, change apply, uint64_t value, bool *ret_accepts)
{
    aegis_admission_verdict verdict = AEGIS_ADMISSION_UNDECIDED;
    aegis_budget *budget = &search->run.budget;
    uint64_t left = budget->steps, granted = left < PROBE_STEPS ? left : PROBE_STEPS;
    memcpy(search->run.tasks, search->given, search->run.count * sizeof *search->given);
    apply(search, &search->run.tasks[search->which], value);
    budget->steps = granted;
    aegis_outcome outcome = aegis_admission_run_decide(&search->run, &verdict);
    budget->steps = left - (granted - budget->steps);
    bool cancelled = budget->cancel != NULL && *budget->cancel;
    bool unsettled = outcome == AEGIS_OUTCOME_LIMIT && budget->steps > 0 && !cancelled;
    *ret_accepts = outcome == AEGIS_OUTCOME_DONE && verdict == AEGIS_SCHEDULABLE;
    return unsettled ? AEGIS_OUTCOME_DONE : outcome;
}

/* Between a value that is refused (or out of range) and one that is accepted. */
static aegis_outcome
bisect(fit_search *search, change apply, uint64_t refused, uint64_t accepted, int64_t *ret_value)
{
    while (accepted > refused ? accepted - refused > 1 : refused - accepted > 1) {
        uint64_t middle = refused / 2 + accepted / 2 + (refused & accepted & 1);
        bool fits;
        aegis_outcome outcome = accepts(search, apply, middle, &fits);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
        *(fits ? &accepted : &refused) = middle;
    }
    *ret_value = (int64_t)accepted;
    return AEGIS_OUTCOME_DONE;
}

/* Smallest accepted value; 0 when even a practically endless one is refused. */
static aegis_outcome smallest(fit_search *search, change apply, uint64_t given, int64_t *ret_value)
{
    bool fits;
    uint64_t refused = 0, value = given < LARGEST_TICK ? given : LARGEST_TICK;
    aegis_outcome outcome = accepts(search, apply, LARGEST_TICK, &fits);
    if (outcome != AEGIS_OUTCOME_DONE || !fits) {
        *ret_value = 0;
        return outcome;
    }
    for (;;) {
        outcome = accepts(search, apply, value, &fits);
        if (outcome != AEGIS_OUTCOME_DONE || fits) {
            break;
        }
        refused = value;
        value = value < LARGEST_TICK / 2 ? 2 * value : LARGEST_TICK;
    }
    return outcome == AEGIS_OUTCOME_DONE ? bisect(search, apply, refused, value, ret_value)
                                         : outcome;
}

/* Largest accepted C: at most T, as U <= 1, and at most D. */
static aegis_outcome largest_execution(fit_search *search, int64_t *ret_value)
{
    const aegis_atask *task = &search->given[search->which];
    uint64_t most = task->period < task->deadline ? task->period : task->deadline;
    bool fits;
    aegis_outcome outcome = accepts(search, change_execution, 1, &fits);
    if (outcome != AEGIS_OUTCOME_DONE || !fits) {
        *ret_value = 0;
        return outcome;
    }
    return bisect(search, change_execution, most + 1, 1, ret_value);
}

static aegis_outcome search_all(fit_search *search, aegis_fit *ret_fit)
{
    const aegis_atask *task = &search->given[search->which];
    aegis_fit fit;
    search->implicit_deadline = task->deadline == task->period;
    aegis_outcome outcome = smallest(search, change_period, task->period, &fit.smallest_period);
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = smallest(search, change_deadline, task->deadline, &fit.smallest_deadline);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = largest_execution(search, &fit.largest_execution);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        *ret_fit = fit;
    }
    return outcome;
}

aegis_status aegis_admission_what_fits(aegis_analysis analysis,
                                       const aegis_task *tasks,
                                       size_t count,
                                       size_t which,
                                       const aegis_admission_limits *limits,
                                       const aegis_allocator *allocator,
                                       aegis_fit *ret_fit,
                                       aegis_error *err)
{
    if (which >= count) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no task %zu in a set of %zu: count from 0", which, count);
    }
    fit_search search = {.which = which};
    aegis_status status =
        aegis_admission_run_init(&search.run, analysis, tasks, count, limits, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    search.run.decide_only = true;
    aegis_atask *given = aegis_allocate_zeroed(allocator, count, sizeof *given);
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    if (given != NULL) {
        memcpy(given, search.run.tasks, count * sizeof *given);
        search.given = given;
        outcome = search_all(&search, ret_fit);
    }
    aegis_deallocate(allocator, given, count, sizeof *given);
    aegis_admission_run_finish(&search.run);
    return aegis_outcome_status(outcome, err);
}
