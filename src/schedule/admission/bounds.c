/* SPDX-License-Identifier: Apache-2.0 */
/* The simple bounds, with blocking put in, and what else needs no fixed point. Each is reported
 * only where it proves something about the policy in question:
 *
 *  - Liu & Layland 1973 with blocking (Sha, Rajkumar, Lehoczky 1990), D = T, J = 0, rate-monotonic:
 *    for every i, sum_{h<i} U_h + (C_i + B_i) / T_i <= i (2^(1/i) - 1);
 *  - hyperbolic (Bini, Buttazzo, Buttazzo 2003; non-preemptive: von der Brueggen, Chen, Huang
 * 2015), same assumptions: for every i, prod_{h<i} (U_h + 1) * ((C_i + B_i) / T_i + 1) <= 2. Both
 * make the level-i busy period with blocking end by T_i, so that its first job alone counts. Under
 * EDF the tasks are taken by period; both imply sum_{h<=i} U_h + B_i / T_i <= 1, which suffices
 *    (Baker 1991);
 *  - density, EDF: for every i, sum_{D_h-J_h <= D_i-J_i} C_h / m_h + b(D_i-J_i) / m_i <= 1 with
 *    m = min(D - J, T): at any t the demand is at most t times the sum, and t >= m_i of the last i
 *    due by then. */
#include "schedule/admission/internal.h"

static uint64_t longest_other(const aegis_analysis_run *run, size_t from)
{
    uint64_t longest = 0;
    for (size_t k = from; k < run->count; k++) {
        uint64_t blocks = run->tasks[k].largest - 1;
        longest = blocks > longest ? blocks : longest;
    }
    return longest;
}

/* Jobs due later than a job of `task` that can be ready a tick before it is. */
static uint64_t longest_later(const aegis_analysis_run *run, size_t task)
{
    int64_t first = aegis_first_deadline(&run->tasks[task]);
    uint64_t longest = 0;
    for (size_t k = 0; k < run->count; k++) {
        uint64_t blocks = run->tasks[k].largest - 1;
        if (k != task && (int64_t)run->tasks[k].deadline > first && blocks > longest) {
            longest = blocks;
        }
    }
    return longest;
}

uint64_t aegis_blocking_of(const aegis_analysis_run *run, size_t task)
{
    switch (run->analysis) {
    case AEGIS_ANALYSIS_NP_FP:
    case AEGIS_ANALYSIS_FPP:
        return longest_other(run, task + 1);
    case AEGIS_ANALYSIS_NP_EDF:
        return longest_later(run, task);
    case AEGIS_ANALYSIS_FP:
    case AEGIS_ANALYSIS_EDF:
    case AEGIS_ANALYSIS_FIFO:
        break;
    }
    return 0;
}

static void sort_by(const aegis_task *tasks,
                    size_t count,
                    int64_t (*key)(const aegis_task *),
                    size_t *ret_order)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        for (; at > 0 && key(&tasks[ret_order[at - 1]]) > key(&tasks[i]); at--) {
            ret_order[at] = ret_order[at - 1];
        }
        ret_order[at] = i;
    }
}

static int64_t period_key(const aegis_task *task)
{
    return task->period;
}

static int64_t deadline_key(const aegis_task *task)
{
    return task->deadline;
}

void aegis_admission_order_rm(const aegis_task *tasks, size_t count, size_t *ret_order)
{
    sort_by(tasks, count, period_key, ret_order);
}

void aegis_admission_order_dm(const aegis_task *tasks, size_t count, size_t *ret_order)
{
    sort_by(tasks, count, deadline_key, ret_order);
}

/* The tasks by period, ties by index. */
static void order_by_period(const aegis_analysis_run *run, size_t *ret_order)
{
    for (size_t i = 0; i < run->count; i++) {
        size_t at = i;
        for (; at > 0 && run->tasks[ret_order[at - 1]].period > run->tasks[i].period; at--) {
            ret_order[at] = ret_order[at - 1];
        }
        ret_order[at] = i;
    }
}

/* D = T, J = 0, and priorities (if any) in the order of periods. */
static bool rate_monotonic(const aegis_analysis_run *run)
{
    bool ordered = run->analysis == AEGIS_ANALYSIS_EDF || run->analysis == AEGIS_ANALYSIS_NP_EDF;
    for (size_t i = 0; i < run->count; i++) {
        const aegis_atask *task = &run->tasks[i];
        if (task->deadline != task->period || task->jitter != 0 ||
            (!ordered && i > 0 && run->tasks[i - 1].period > task->period)) {
            return false;
        }
    }
    return run->analysis != AEGIS_ANALYSIS_FIFO;
}

/* Both utilisation bounds at every level. `factors` and `order` have room for all tasks. */
static aegis_outcome utilisation_bounds(const aegis_analysis_run *run,
                                        const size_t *order,
                                        aegis_fraction *factors,
                                        aegis_simple_bounds *bounds)
{
    aegis_fixed higher = {0, 0};
    bounds->liu_layland = true;
    bounds->hyperbolic = true;
    for (size_t i = 0; i < run->count && (bounds->liu_layland || bounds->hyperbolic); i++) {
        const aegis_atask *task = &run->tasks[order[i]];
        uint64_t load = task->execution + aegis_blocking_of(run, order[i]); /* < 2^64 */
        if (load > task->period) {
            bounds->liu_layland = bounds->hyperbolic = false;
            break;
        }
        aegis_fixed level = higher;
        aegis_fixed_add(&level, load, task->period);
        aegis_fixed_add(&higher, task->execution, task->period);
        bounds->liu_layland = bounds->liu_layland && aegis_liu_layland_holds(level.high, i + 1);
        factors[i] = (aegis_fraction){task->period + load, task->period};
        int sign;
        aegis_outcome outcome = aegis_product_compare_two(factors, i + 1, run->allocator, &sign);
        if (outcome != AEGIS_OUTCOME_DONE) {
            return outcome;
        }
        bounds->hyperbolic = bounds->hyperbolic && sign <= 0;
        factors[i].numerator = task->period + task->execution;
    }
    return AEGIS_OUTCOME_DONE;
}

static int64_t density_window(const aegis_atask *task)
{
    int64_t first = aegis_first_deadline(task);
    return first < (int64_t)task->period ? first : (int64_t)task->period;
}

/* The density condition at the first deadline of task `i`. */
static aegis_outcome
density_level(const aegis_analysis_run *run, size_t i, aegis_fraction *terms, bool *ret_holds)
{
    int64_t first = aegis_first_deadline(&run->tasks[i]);
    aegis_fixed sum = {0, 0};
    size_t count = 0, blocker;
    uint64_t blocking = aegis_demand_blocking(run, first, &blocker);
    for (size_t h = 0; h < run->count; h++) {
        const aegis_atask *task = &run->tasks[h];
        if (aegis_first_deadline(task) <= first) {
            terms[count++] = (aegis_fraction){task->execution, (uint64_t)density_window(task)};
        }
    }
    if (blocking > 0) {
        terms[count++] = (aegis_fraction){blocking, (uint64_t)density_window(&run->tasks[i])};
    }
    for (size_t k = 0; k < count; k++) {
        aegis_fixed_add(&sum, terms[k].numerator, terms[k].denominator);
    }
    int sign = 0;
    aegis_outcome outcome =
        aegis_sum_compare(&sum, terms, count, (aegis_fraction){1, 1}, run->allocator, &sign);
    *ret_holds = sign <= 0;
    return outcome;
}

static aegis_outcome
density_bound(const aegis_analysis_run *run, aegis_fraction *terms, bool *ret_density)
{
    bool holds = run->analysis == AEGIS_ANALYSIS_EDF || run->analysis == AEGIS_ANALYSIS_NP_EDF;
    for (size_t i = 0; i < run->count && holds; i++) {
        holds = aegis_first_deadline(&run->tasks[i]) > 0;
    }
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    for (size_t i = 0; i < run->count && holds && outcome == AEGIS_OUTCOME_DONE; i++) {
        outcome = density_level(run, i, terms, &holds);
    }
    *ret_density = holds;
    return outcome;
}

aegis_outcome aegis_simple_bounds_compute(const aegis_analysis_run *run,
                                          aegis_simple_bounds *ret_bounds)
{
    aegis_simple_bounds bounds = {false, false, false};
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    size_t *order = aegis_allocate_zeroed(run->allocator, run->count, sizeof *order);
    aegis_fraction *terms = aegis_allocate_zeroed(run->allocator, run->count + 1, sizeof *terms);
    if (order != NULL && terms != NULL) {
        outcome = density_bound(run, terms, &bounds.density);
    }
    if (outcome == AEGIS_OUTCOME_DONE && rate_monotonic(run)) {
        order_by_period(run, order);
        outcome = utilisation_bounds(run, order, terms, &bounds);
    }
    if (outcome == AEGIS_OUTCOME_DONE) {
        *ret_bounds = bounds;
    }
    aegis_deallocate(run->allocator, terms, run->count + 1, sizeof *terms);
    aegis_deallocate(run->allocator, order, run->count, sizeof *order);
    return outcome;
}

int64_t aegis_admission_blocking(const int64_t *executions, size_t count)
{
    int64_t longest = 1;
    for (size_t i = 0; i < count; i++) {
        longest = executions[i] > longest ? executions[i] : longest;
    }
    return longest - 1;
}

/* The bounds of a set without blocking, the tasks taken by period: those of preemptive EDF. */
static aegis_status preemptive_bounds(const aegis_task *tasks,
                                      size_t count,
                                      aegis_simple_bounds *ret_bounds,
                                      aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_analysis_run run = {
        .analysis = AEGIS_ANALYSIS_EDF, .count = count, .allocator = &allocator};
    run.tasks = aegis_allocate_zeroed(&allocator, count, sizeof *run.tasks);
    if (run.tasks == NULL) {
        return aegis_outcome_status(AEGIS_OUTCOME_NO_MEMORY, err);
    }
    aegis_status status = aegis_admission_convert(AEGIS_ANALYSIS_EDF, tasks, count, run.tasks, err);
    if (status == AEGIS_OK) {
        status = aegis_outcome_status(aegis_simple_bounds_compute(&run, ret_bounds), err);
    }
    aegis_deallocate(&allocator, run.tasks, count, sizeof *run.tasks);
    return status;
}

aegis_status
aegis_admission_test_rm(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err)
{
    aegis_simple_bounds bounds;
    aegis_status status = preemptive_bounds(tasks, count, &bounds, err);
    if (status == AEGIS_OK) {
        *ret_ok = bounds.liu_layland;
    }
    return status;
}

aegis_status
aegis_admission_test_density(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err)
{
    aegis_simple_bounds bounds;
    aegis_status status = preemptive_bounds(tasks, count, &bounds, err);
    if (status == AEGIS_OK) {
        *ret_ok = bounds.density;
    }
    return status;
}
