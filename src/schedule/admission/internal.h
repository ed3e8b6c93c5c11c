/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_ADMISSION_INTERNAL_H
#define AEGIS_SCHEDULE_ADMISSION_INTERNAL_H

/* What the files of the analysis share. Times are unsigned 63-bit ticks, products 128-bit. */

#include <aegisrt/admission.h>

__extension__ typedef unsigned __int128 aegis_u128;
__extension__ typedef __int128 aegis_i128;

#define AEGIS_TICKS_MAX ((uint64_t)INT64_MAX)

/* How an inner computation ended. */
typedef enum aegis_outcome {
    AEGIS_OUTCOME_DONE = 0,
    AEGIS_OUTCOME_DIVERGES, /* the fixed point does not exist */
    AEGIS_OUTCOME_LIMIT,    /* steps used up, or cancelled */
    AEGIS_OUTCOME_OVERFLOW, /* a result is larger than 63 bits */
    AEGIS_OUTCOME_NO_MEMORY
} aegis_outcome;

/* A task as the formulas see it: of its segments only the longest (what it blocks with) and the
 * last (what cannot be interfered with any more) matter. Both are C where C is not cut. */
typedef struct aegis_atask {
    uint64_t execution, period, deadline, jitter;
    uint64_t largest, last;
} aegis_atask;

typedef struct aegis_budget {
    uint64_t steps;
    const volatile bool *cancel;
} aegis_budget;

/* One analysis under way. */
typedef struct aegis_analysis_run {
    aegis_analysis analysis;
    aegis_atask *tasks;
    size_t count;
    aegis_budget budget;
    const aegis_allocator *allocator;
    bool decide_only; /* stop at the first miss, compute no EDF responses */
} aegis_analysis_run;

static inline bool aegis_budget_take(aegis_budget *budget)
{
    if (budget->steps == 0 || (budget->cancel != NULL && *budget->cancel)) {
        budget->steps = 0;
        return false;
    }
    budget->steps--;
    return true;
}

/* *sum += count * cost; false when the result passes 63 bits. */
static inline bool aegis_ticks_add(uint64_t *sum, uint64_t count, uint64_t cost)
{
    aegis_u128 total = (aegis_u128)*sum + (aegis_u128)count * cost;
    if (total > AEGIS_TICKS_MAX) {
        return false;
    }
    *sum = (uint64_t)total;
    return true;
}

/* Jobs of a task that can be ready in [0, w): ceil((w + J) / T); and in [0, w]. */
static inline uint64_t aegis_jobs_before(const aegis_atask *task, uint64_t w)
{
    uint64_t x = w + task->jitter; /* < 2^64 */
    return x / task->period + (x % task->period != 0);
}

static inline uint64_t aegis_jobs_until(const aegis_atask *task, uint64_t w)
{
    return (w + task->jitter) / task->period + 1;
}

static inline bool aegis_has_jitter(const aegis_atask *tasks, size_t count)
{
    bool jitter = false;
    for (size_t i = 0; i < count; i++) {
        jitter = jitter || tasks[i].jitter > 0;
    }
    return jitter;
}

/* First relative deadline as seen from the start of a busy period: D - J, possibly negative. */
static inline int64_t aegis_first_deadline(const aegis_atask *task)
{
    return (int64_t)task->deadline - (int64_t)task->jitter;
}

/* ---- exact.c: sums of fractions against 1 ---- */

/* Bounds on a sum of fractions in units of 2^-64, saturating. */
typedef struct aegis_fixed {
    aegis_u128 low, high;
} aegis_fixed;

typedef struct aegis_fraction {
    uint64_t numerator, denominator; /* below 2^64, denominator > 0 */
} aegis_fraction;

#define AEGIS_FIXED_ONE ((aegis_u128)1 << 64)

void aegis_fixed_add(aegis_fixed *sum, uint64_t numerator, uint64_t denominator);
/* Sign of (sum of the fractions) - bound, exact. `sum` holds the bounds of the same fractions. */
aegis_outcome aegis_sum_compare(const aegis_fixed *sum,
                                const aegis_fraction *fractions,
                                size_t count,
                                aegis_fraction bound,
                                const aegis_allocator *allocator,
                                int *ret_sign);
/* Sign of (product of the fractions) - 2, exact; fractions from 1 to 2. */
aegis_outcome aegis_product_compare_two(const aegis_fraction *fractions,
                                        size_t count,
                                        const aegis_allocator *allocator,
                                        int *ret_sign);
/* Whether (1 + x/n)^n <= 2 for x of which `high` is an upper bound; false when too close. */
bool aegis_liu_layland_holds(aegis_u128 high, uint64_t n);
/* Sign of U - 1 over the first `count` tasks, and U in parts per million rounded up. */
aegis_outcome aegis_utilisation_compare(const aegis_atask *tasks,
                                        size_t count,
                                        const aegis_allocator *allocator,
                                        int *ret_sign,
                                        uint64_t *ret_ppm);

/* ---- bounds.c ---- */

aegis_outcome aegis_simple_bounds_compute(const aegis_analysis_run *run,
                                          aegis_simple_bounds *ret_bounds);
/* Longest delay by later or lower work, per task, under the run's policy. */
uint64_t aegis_blocking_of(const aegis_analysis_run *run, size_t task);

/* ---- fixed_priority.c ---- */

/* Worst response of task `i` of np-fp, fpp (tasks carry their segments) or fp. */
aegis_outcome
aegis_fixed_priority_response(aegis_analysis_run *run, size_t i, uint64_t *ret_response);
/* DONE when the busy period of the first `count` tasks ends, DIVERGES when it does not. */
aegis_outcome
aegis_busy_period_exists(const aegis_analysis_run *run, size_t count, uint64_t blocking);
/* Least L > 0 with L = blocking + sum of ceil((L+J)/T)C over the first `count` tasks; the caller
 * has made sure that it exists. Ends early with `cap` when L would pass it. */
aegis_outcome aegis_busy_period(
    aegis_analysis_run *run, size_t count, uint64_t blocking, uint64_t cap, uint64_t *ret_length);

/* ---- scan.c: the instants kT + first, of all tasks, in ascending order ---- */

typedef struct aegis_scan_event {
    int64_t at;
    size_t task;
} aegis_scan_event;

typedef struct aegis_scan {
    const aegis_atask *tasks;
    size_t count, live;
    aegis_scan_event *heap;
    uint64_t *jobs;  /* per task: events so far */
    uint64_t demand; /* sum of jobs * C */
    const aegis_allocator *allocator;
} aegis_scan;

/* Each task's first event is at D - J, or at -J when `arrivals`. */
aegis_outcome aegis_scan_init(aegis_scan *scan, const aegis_analysis_run *run, bool arrivals);
void aegis_scan_finish(aegis_scan *scan);
/* DONE with the next instant, its events counted in; DIVERGES when there is none within 63 bits. */
aegis_outcome aegis_scan_next(aegis_scan *scan, int64_t *ret_at);

/* ---- demand.c: EDF by processor demand ---- */

typedef struct aegis_demand_result {
    bool violated;
    bool located; /* `at` and `demand` hold (not when the instant does not fit 63 bits) */
    int64_t at;
    uint64_t demand; /* with blocking */
    int sign;        /* of U - 1 */
} aegis_demand_result;

aegis_outcome aegis_demand_test(aegis_analysis_run *run, aegis_demand_result *ret_result);
/* Longest blocking of work due by t, and by whom; 0 and SIZE_MAX when by nobody. */
uint64_t aegis_demand_blocking(const aegis_analysis_run *run, int64_t t, size_t *ret_task);
/* Jobs of a task due by t in the worst pattern: max(0, floor((t + J - D) / T) + 1). */
uint64_t aegis_demand_jobs(const aegis_atask *task, int64_t t);

/* ---- edf_response.c, fifo.c: all tasks at once; ret_responses has `count` entries ---- */

/* For U < 1, and U = 1 without jitter. `sign` is that of U - 1. */
aegis_outcome aegis_np_edf_responses(aegis_analysis_run *run, int sign, uint64_t *ret_responses);
/* DIVERGES as aegis_busy_period_exists says. */
aegis_outcome aegis_fifo_responses(aegis_analysis_run *run, uint64_t *ret_responses);

/* ---- admission.c ---- */

/* Checks and converts; INVALID_ARGUMENT naming the task and the field. `ret_tasks` has room. */
aegis_status aegis_admission_convert(aegis_analysis analysis,
                                     const aegis_task *tasks,
                                     size_t count,
                                     aegis_atask *ret_tasks,
                                     aegis_error *err);
/* As convert, with limits; finished with aegis_admission_run_finish. */
aegis_status aegis_admission_run_init(aegis_analysis_run *run,
                                      aegis_analysis analysis,
                                      const aegis_task *tasks,
                                      size_t count,
                                      const aegis_admission_limits *limits,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
void aegis_admission_run_finish(aegis_analysis_run *run);
aegis_status aegis_outcome_status(aegis_outcome outcome, aegis_error *err);

/* ---- verdict.c, witness.c ---- */

/* Responses, verdict and evidence; the set is not empty. */
aegis_outcome aegis_admission_run_test(aegis_analysis_run *run, aegis_admission_result *result);
/* The jobs of result->violation_at. */
aegis_outcome aegis_witness_build(const aegis_analysis_run *run, aegis_admission_result *result);
/* The verdict alone. */
aegis_outcome aegis_admission_decide(aegis_analysis_run *run, aegis_admission_verdict *ret_verdict);

#endif
