/* SPDX-License-Identifier: Apache-2.0 */
/* Priorities after Audsley, "On priority assignment in fixed priority scheduling", Information
 * Processing Letters 79, 2001: the lowest level goes to any task that meets its deadline there, the
 * next level to any of the rest, and so on. It finds an order whenever there is one, as
 *  - a response depends on the sets above and below the task, not on their orders; and
 *  - it does not grow when the task changes places with k, the one above it: k then costs its
 *    largest segment less one tick at most, once, where it cost C_k or more.
 * Candidates are tried by falling D - J, so that the order stays near the deadline-monotonic one.
 */
#include "schedule/admission/internal.h"

#include "base/base.h"

typedef struct assignment {
    aegis_analysis_run run; /* tasks in the present order */
    size_t *order;          /* their indices in the caller's set */
    aegis_fp_level at;
} assignment;

static int64_t first_deadline_key(const void *tasks, size_t i)
{
    return aegis_first_deadline(&((const aegis_atask *)tasks)[i]);
}

/* Puts the task at `from` to `level` and moves those between up by one. */
static void rotate(assignment *a, size_t from, size_t level)
{
    aegis_atask task = a->run.tasks[from];
    size_t index = a->order[from];
    for (size_t k = from; k < level; k++) {
        a->run.tasks[k] = a->run.tasks[k + 1];
        a->order[k] = a->order[k + 1];
    }
    a->run.tasks[level] = task;
    a->order[level] = index;
}

static void exchange(assignment *a, size_t i, size_t k)
{
    aegis_atask task = a->run.tasks[i];
    a->run.tasks[i] = a->run.tasks[k];
    a->run.tasks[k] = task;
}

/* Whether the task at `candidate` meets its deadline at `level`, all before that above it. */
static aegis_outcome fits_level(assignment *a, size_t candidate, size_t level, bool *ret_fits)
{
    uint64_t response = 0;
    exchange(a, candidate, level);
    a->at.higher = (aegis_level){.count = 0};
    for (size_t i = 0; i < level; i++) {
        aegis_level_add(&a->at.higher, &a->run.tasks[i]);
    }
    aegis_outcome outcome = aegis_fixed_priority_response(&a->run, &a->at, &response);
    *ret_fits = outcome == AEGIS_OUTCOME_DONE && response <= a->run.tasks[level].deadline;
    exchange(a, candidate, level);
    return outcome == AEGIS_OUTCOME_DIVERGES ? AEGIS_OUTCOME_DONE : outcome;
}

static aegis_outcome fill_level(assignment *a, size_t level, bool *ret_filled)
{
    *ret_filled = false;
    for (size_t candidate = level + 1; candidate-- > 0;) {
        bool fits = false;
        aegis_outcome outcome = fits_level(a, candidate, level, &fits);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
        if (fits) {
            rotate(a, candidate, level);
            *ret_filled = true;
            break;
        }
    }
    return AEGIS_OUTCOME_DONE;
}

static aegis_outcome assign_all(assignment *a, aegis_priority_assignment *ret_assignment)
{
    bool preemptive = a->run.analysis == AEGIS_ANALYSIS_FP;
    aegis_priority_assignment result = {.verdict = AEGIS_SCHEDULABLE};
    for (size_t level = a->run.count; level-- > 0;) {
        bool filled;
        aegis_outcome outcome = fill_level(a, level, &filled);
        if (outcome != AEGIS_OUTCOME_DONE && outcome != AEGIS_OUTCOME_LIMIT) {
            return outcome;
        }
        if (!filled) {
            result.verdict =
                outcome == AEGIS_OUTCOME_LIMIT ? AEGIS_ADMISSION_UNDECIDED : AEGIS_NOT_SCHEDULABLE;
            result.level = level;
            break;
        }
        uint64_t blocks = preemptive ? 0 : a->run.tasks[level].largest - 1;
        a->at.blocking = blocks > a->at.blocking ? blocks : a->at.blocking;
    }
    *ret_assignment = result;
    return AEGIS_OUTCOME_DONE;
}

/* The tasks by rising D - J, in place of the caller's order. */
static aegis_outcome sort_tasks(assignment *a)
{
    size_t count = a->run.count;
    aegis_atask *sorted = aegis_allocate_zeroed(a->run.allocator, count, sizeof *sorted);
    if (sorted == NULL) {
        return AEGIS_OUTCOME_NO_MEMORY;
    }
    aegis_order_by(a->run.tasks, count, first_deadline_key, a->order);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = a->run.tasks[a->order[i]];
    }
    aegis_deallocate(a->run.allocator, a->run.tasks, count, sizeof *sorted);
    a->run.tasks = sorted;
    return AEGIS_OUTCOME_DONE;
}

aegis_status aegis_admission_assign_priorities(aegis_analysis analysis,
                                               const aegis_task *tasks,
                                               size_t count,
                                               const aegis_admission_limits *limits,
                                               const aegis_allocator *allocator,
                                               size_t *ret_order,
                                               aegis_priority_assignment *ret_assignment,
                                               aegis_error *err)
{
    if (analysis != AEGIS_ANALYSIS_NP_FP && analysis != AEGIS_ANALYSIS_FPP &&
        analysis != AEGIS_ANALYSIS_FP) {
        return aegis_error_set(err, AEGIS_HERE("schedule.admission"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%s has no priorities to assign: use np-fp, fpp or fp",
                               aegis_analysis_name(analysis));
    }
    assignment a = {.order = NULL};
    aegis_status status =
        aegis_admission_run_init(&a.run, analysis, tasks, count, limits, allocator, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    aegis_priority_assignment result;
    a.run.decide_only = true;
    a.order = aegis_allocate_zeroed(allocator, count, sizeof *a.order);
    if (a.order != NULL) {
        outcome = sort_tasks(&a);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        outcome = assign_all(&a, &result);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        *ret_assignment = result;
        for (size_t i = 0; i < count; i++) {
            ret_order[i] = a.order[i];
        }
    }
    aegis_deallocate(allocator, a.order, count, sizeof *a.order);
    aegis_admission_run_finish(&a.run);
    return aegis_outcome_status(outcome, err);
}
