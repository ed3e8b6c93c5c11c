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

static int64_t period_key(const void *tasks, size_t i)
{
    return (int64_t)((const aegis_atask *)tasks)[i].period;
}

static int64_t first_deadline_key(const void *tasks, size_t i)
{
    return aegis_first_deadline(&((const aegis_atask *)tasks)[i]);
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

/* What is kept from level to level. `factors` has room for all tasks. */
typedef struct levels {
    aegis_fixed sum;       /* of U_h, the tasks above */
    aegis_product product; /* of U_h + 1 */
    aegis_fraction *factors;
} levels;

/* Both utilisation bounds with `task` at level `i`. */
static aegis_outcome utilisation_level(aegis_analysis_run *run,
                                       levels *above,
                                       size_t i,
                                       size_t task_index,
                                       aegis_simple_bounds *bounds)
{
    const aegis_atask *task = &run->tasks[task_index];
    uint64_t load = task->execution + run->blocking[task_index]; /* < 2^64 */
    if (load > task->period) {
        bounds->liu_layland = bounds->hyperbolic = false;
        return AEGIS_OUTCOME_DONE;
    }
    aegis_fixed level = above->sum;
    aegis_fixed_add(&level, load, task->period);
    aegis_fixed_add(&above->sum, task->execution, task->period);
    bounds->liu_layland = bounds->liu_layland && aegis_liu_layland_holds(level.high, i + 1);
    aegis_product with_load = above->product;
    above->factors[i] = (aegis_fraction){task->period + load, task->period};
    aegis_product_multiply(&with_load, above->factors[i]);
    int sign = 0;
    aegis_outcome outcome =
        aegis_product_compare_two(run, &with_load, above->factors, i + 1, &sign);
    bounds->hyperbolic = outcome == AEGIS_OUTCOME_DONE && sign <= 0;
    above->factors[i].numerator = task->period + task->execution;
    aegis_product_multiply(&above->product, above->factors[i]);
    return outcome;
}

/* Level by level to the first that fails; Liu & Layland never holds where the hyperbolic one does
 * not. */
static aegis_outcome utilisation_bounds(aegis_analysis_run *run,
                                        size_t *order,
                                        aegis_fraction *factors,
                                        aegis_simple_bounds *bounds)
{
    levels above = {.product = AEGIS_PRODUCT_ONE, .factors = factors};
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    aegis_order_by(run->tasks, run->count, period_key, order);
    bounds->liu_layland = true;
    bounds->hyperbolic = true;
    for (size_t i = 0; i < run->count && bounds->hyperbolic; i++) {
        outcome = utilisation_level(run, &above, i, order[i], bounds);
    }
    bounds->liu_layland = bounds->liu_layland && bounds->hyperbolic;
    return outcome;
}

static uint64_t density_window(const aegis_atask *task)
{
    int64_t first = aegis_first_deadline(task);
    return first < (int64_t)task->period ? (uint64_t)first : task->period;
}

/* The density condition for one task, `sum` and the first `count` terms being those of the tasks
 * due with it or before, behind the longest of those due later. */
static aegis_outcome density_level(aegis_analysis_run *run,
                                   const aegis_atask *task,
                                   uint64_t blocking,
                                   aegis_fixed sum,
                                   aegis_fraction *terms,
                                   size_t count,
                                   bool *ret_holds)
{
    if (blocking > 0) {
        terms[count] = (aegis_fraction){blocking, density_window(task)};
        aegis_fixed_add(&sum, terms[count].numerator, terms[count].denominator);
        count++;
    }
    int sign = 0;
    aegis_outcome outcome =
        aegis_sum_compare(run, &sum, terms, count, (aegis_fraction){1, 1}, &sign);
    *ret_holds = outcome == AEGIS_OUTCOME_DONE && sign <= 0;
    return outcome;
}

static bool density_applies(const aegis_analysis_run *run)
{
    bool applies = run->analysis == AEGIS_ANALYSIS_EDF || run->analysis == AEGIS_ANALYSIS_NP_EDF;
    for (size_t i = 0; i < run->count && applies; i++) {
        applies = aegis_first_deadline(&run->tasks[i]) > 0;
    }
    return applies;
}

/* By first deadline, tasks with the same one together. `terms` has room for one more than all. */
static aegis_outcome
density_bound(aegis_analysis_run *run, size_t *order, aegis_fraction *terms, bool *ret_density)
{
    bool holds = density_applies(run);
    aegis_fixed sum = {0, 0};
    aegis_outcome outcome = AEGIS_OUTCOME_DONE;
    aegis_demand_blocker blocker = AEGIS_DEMAND_BLOCKER_UNKNOWN;
    aegis_order_by(run->tasks, run->count, first_deadline_key, order);
    for (size_t from = 0, to = 0; from < run->count && holds; from = to) {
        int64_t first = aegis_first_deadline(&run->tasks[order[from]]);
        for (; to < run->count && aegis_first_deadline(&run->tasks[order[to]]) == first; to++) {
            const aegis_atask *task = &run->tasks[order[to]];
            terms[to] = (aegis_fraction){task->execution, density_window(task)};
            aegis_fixed_add(&sum, terms[to].numerator, terms[to].denominator);
        }
        aegis_demand_blocker_at(run, first, &blocker);
        for (size_t k = from; k < to && holds; k++) {
            outcome =
                density_level(run, &run->tasks[order[k]], blocker.blocking, sum, terms, to, &holds);
        }
    }
    *ret_density = holds;
    return outcome;
}

aegis_outcome aegis_simple_bounds_compute(aegis_analysis_run *run, aegis_simple_bounds *ret_bounds)
{
    aegis_simple_bounds bounds = {false, false, false};
    aegis_outcome outcome = AEGIS_OUTCOME_NO_MEMORY;
    size_t *order = aegis_allocate_zeroed(run->allocator, run->count, sizeof *order);
    aegis_fraction *terms = aegis_allocate_zeroed(run->allocator, run->count + 1, sizeof *terms);
    if (order != NULL && terms != NULL) {
        outcome = density_bound(run, order, terms, &bounds.density);
    }
    if (outcome == AEGIS_OUTCOME_DONE && rate_monotonic(run)) {
        outcome = utilisation_bounds(run, order, terms, &bounds);
    }
    if (outcome == AEGIS_OUTCOME_DONE || outcome == AEGIS_OUTCOME_LIMIT) {
        *ret_bounds = bounds;
        outcome = AEGIS_OUTCOME_DONE;
    }
    aegis_deallocate(run->allocator, terms, run->count + 1, sizeof *terms);
    aegis_deallocate(run->allocator, order, run->count, sizeof *order);
    return outcome;
}

/* The bounds of a set without blocking, the tasks taken by period: those of preemptive EDF. */
static aegis_status preemptive_bounds(const aegis_task *tasks,
                                      size_t count,
                                      aegis_simple_bounds *ret_bounds,
                                      aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_analysis_run run;
    aegis_status status =
        aegis_admission_run_init(&run, AEGIS_ANALYSIS_EDF, tasks, count, NULL, &allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_outcome_status(aegis_simple_bounds_compute(&run, ret_bounds), err);
        aegis_admission_run_finish(&run);
    }
    return status;
}

aegis_status
aegis_admission_test_rm(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err)
{
    aegis_simple_bounds bounds = {.liu_layland = false};
    aegis_status status = preemptive_bounds(tasks, count, &bounds, err);
    if (status == AEGIS_OK) {
        *ret_ok = bounds.liu_layland;
    }
    return status;
}

aegis_status
aegis_admission_test_density(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err)
{
    aegis_simple_bounds bounds = {.density = false};
    aegis_status status = preemptive_bounds(tasks, count, &bounds, err);
    if (status == AEGIS_OK) {
        *ret_ok = bounds.density;
    }
    return status;
}
