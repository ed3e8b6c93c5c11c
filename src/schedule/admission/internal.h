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

/* What an earlier test left behind. Adding tasks, or blocking, only raises every one of these
 * numbers, so they are where the search for the next least fixed point begins; removing forgets
 * them. All zero: nothing is known. */
typedef struct aegis_known_task {
    uint64_t response; /* np-edf: a lower bound */
    /* Fixed priorities: the response (or that there is none) as long as the tasks above and the
     * blocking are the same; lower bounds of the busy period of the level and of s(0) or w(0). */
    bool settled, diverges;
    uint64_t blocking, length, start;
} aegis_known_task;

typedef struct aegis_spans {
    uint64_t length, blocked_length; /* busy period of all tasks, without and with blocking */
} aegis_spans;

typedef struct aegis_known {
    aegis_spans spans;
    aegis_known_task *tasks; /* one a task */
} aegis_known;

/* The worst job of one task, noted when it is found. completion = blocking + sum of jobs * C. */
typedef struct aegis_worst {
    size_t task;
    bool found;
    aegis_i128 release, due; /* nominal release and deadline, the busy period starting at 0 */
    uint64_t completion, blocking;
    uint64_t *jobs; /* one a task */
} aegis_worst;

/* One analysis under way. */
typedef struct aegis_analysis_run {
    aegis_analysis analysis;
    aegis_atask *tasks;
    uint64_t *blocking; /* one a task, once aegis_blocking_fill has run */
    size_t count;
    aegis_budget budget;
    const aegis_allocator *allocator;
    aegis_known *known; /* NULL: nothing, and nothing is kept */
    aegis_worst *worst; /* NULL: nothing is noted */
    bool decide_only;   /* stop at the first miss, compute no EDF responses */
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

static inline aegis_spans aegis_known_spans(const aegis_analysis_run *run)
{
    return run->known == NULL ? (aegis_spans){0, 0} : run->known->spans;
}

static inline aegis_known_task *aegis_known_of(const aegis_analysis_run *run, size_t i)
{
    return run->known == NULL ? NULL : &run->known->tasks[i];
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
/* Sign of (sum of the fractions) - bound, exact. `sum` holds the bounds of the same fractions.
 * LIMIT where they do not decide and the run's budget does not last for the exact sum. */
aegis_outcome aegis_sum_compare(aegis_analysis_run *run,
                                const aegis_fixed *sum,
                                const aegis_fraction *fractions,
                                size_t count,
                                aegis_fraction bound,
                                int *ret_sign);

/* Bounds on a product of fractions from 1 to 2, in units of 2^-60; at most 2 before a factor. */
typedef struct aegis_product {
    uint64_t low, high;
} aegis_product;

#define AEGIS_PRODUCT_UNIT (UINT64_C(1) << 60)
#define AEGIS_PRODUCT_ONE {AEGIS_PRODUCT_UNIT, AEGIS_PRODUCT_UNIT}

void aegis_product_multiply(aegis_product *product, aegis_fraction factor);
/* Sign of (product of the fractions) - 2, exact, LIMIT as above. */
aegis_outcome aegis_product_compare_two(aegis_analysis_run *run,
                                        const aegis_product *product,
                                        const aegis_fraction *fractions,
                                        size_t count,
                                        int *ret_sign);
/* Whether (1 + x/n)^n <= 2 for x of which `high` is an upper bound; false when too close. */
bool aegis_liu_layland_holds(aegis_u128 high, uint64_t n);
/* Sign of U - 1 over the first `count` tasks. */
aegis_outcome aegis_utilisation_compare(aegis_analysis_run *run, size_t count, int *ret_sign);
/* U in parts per million, rounded up; one too many where the limits end the exact comparison. */
aegis_outcome aegis_utilisation_ppm(aegis_analysis_run *run, uint64_t *ret_ppm);

/* ---- order.c, blocking.c, bounds.c ---- */

typedef int64_t (*aegis_order_key)(const void *tasks, size_t i);
/* Indices by ascending key, ties by index. */
void aegis_order_by(const void *tasks, size_t count, aegis_order_key key, size_t *ret_order);
/* Longest delay by later or lower work, per task, under the run's policy, into run->blocking. */
aegis_outcome aegis_blocking_fill(aegis_analysis_run *run);
/* run->blocking is filled. What the limits leave open is false. */
aegis_outcome aegis_simple_bounds_compute(aegis_analysis_run *run, aegis_simple_bounds *ret_bounds);

/* ---- fixed_priority.c ---- */

/* The first `count` tasks of the order, as far as a level below them needs to know. */
typedef struct aegis_level {
    size_t count;
    bool jitter; /* of any of them */
    aegis_fixed utilisation;
} aegis_level;

void aegis_level_add(aegis_level *level, const aegis_atask *task);

/* Where the first job of a level above ended, and its busy period; all zero: nothing is known. */
typedef struct aegis_fp_above {
    uint64_t blocking, length, completion;
} aegis_fp_above;

/* The task behind the `higher` ones and what of the lower ones can block it. */
typedef struct aegis_fp_level {
    aegis_level higher;
    uint64_t blocking;
    aegis_fp_above *above; /* replaced by what this level finds; NULL: nothing is known or kept */
} aegis_fp_level;

/* Worst response of that task under np-fp, fpp (tasks carry their segments) or fp. */
aegis_outcome aegis_fixed_priority_response(aegis_analysis_run *run,
                                            const aegis_fp_level *at,
                                            uint64_t *ret_response);
/* DONE when the busy period of the level's tasks ends, DIVERGES when it does not. */
aegis_outcome
aegis_busy_period_exists(aegis_analysis_run *run, const aegis_level *level, uint64_t blocking);

typedef struct aegis_busy_level {
    size_t count;
    uint64_t blocking;
    uint64_t from; /* no more than the result */
    uint64_t cap;  /* ends early with it when the result would pass it */
} aegis_busy_level;

/* Least L > 0 with L = blocking + sum of ceil((L+J)/T)C over the first `count` tasks; the caller
 * has made sure that it exists. */
aegis_outcome
aegis_busy_period(aegis_analysis_run *run, const aegis_busy_level *level, uint64_t *ret_length);

/* ---- scan.c: the instants kT + first, of all tasks, in ascending order ---- */

typedef struct aegis_scan_event {
    int64_t at;
    size_t task;
} aegis_scan_event;

typedef struct aegis_scan {
    const aegis_atask *tasks;
    size_t count, live;
    size_t started; /* tasks with an event so far */
    aegis_scan_event *heap;
    uint64_t *jobs; /* per task: events so far */
    int64_t *last;  /* per task: nominal release of the last one, INT64_MIN: none */
    bool arrivals;
    size_t *present; /* the tasks with an event at the present instant */
    size_t present_count;
    uint64_t demand; /* sum of jobs * C */
    const aegis_allocator *allocator;
} aegis_scan;

/* A binary heap by `at`: one event let down to its place, and all of them put in order. */
void aegis_events_sink(aegis_scan_event *heap, size_t live, size_t at);
void aegis_events_order(aegis_scan_event *heap, size_t live);

/* Each task's first event is at D - J, or at -J when `arrivals`. */
aegis_outcome aegis_scan_init(aegis_scan *scan, const aegis_analysis_run *run, bool arrivals);
void aegis_scan_finish(aegis_scan *scan);
/* DONE with the next instant, its events counted in; DIVERGES when there is none within 63 bits. */
aegis_outcome aegis_scan_next(aegis_scan *scan, int64_t *ret_at);
/* Counts the deadlines before `before` in as if each had been the next one, and gives their number.
 * All tasks have started; demand, and instants up to there and a period on, fit 63 bits. */
uint64_t aegis_scan_skip(aegis_scan *scan, int64_t before);

/* ---- backlog.c: what is left, at an instant, of the jobs due by d that a scan has counted ---- */

typedef struct aegis_backlog {
    size_t count;
    uint64_t *reciprocals; /* per task: (2^64 - 1) / T */
    uint64_t longest_last; /* the longest last segment */
    uint64_t dip;          /* where no more than that is left, or a lower bound */
    uint64_t work, end;    /* of the stretch: all that was ready by then; where the stretches end */
    aegis_scan_event *heap; /* the next release of each task with one before `end` */
    size_t live;
    const aegis_allocator *allocator;
} aegis_backlog;

aegis_outcome aegis_backlog_init(aegis_backlog *backlog, const aegis_analysis_run *run);
void aegis_backlog_finish(aegis_backlog *backlog);
/* Blocking and all the work ready by s. */
uint64_t aegis_backlog_work_by(const aegis_backlog *backlog,
                               const aegis_scan *scan,
                               uint64_t blocking,
                               uint64_t s);
typedef struct aegis_backlog_look {
    uint64_t blocking, from, end; /* the instants looked for lie in [from, end) */
    uint64_t longest_last;        /* of the tasks that they are looked for */
} aegis_backlog_look;

/* The stretch that begins at the first of them, or a little before: from it on nothing becomes
 * ready before `_until`, where `_advance` goes. */
aegis_outcome aegis_backlog_begin(aegis_backlog *backlog,
                                  const aegis_scan *scan,
                                  const aegis_backlog_look *look,
                                  aegis_budget *budget);
/* UINT64_MAX where the last stretch is reached. */
uint64_t aegis_backlog_until(const aegis_backlog *backlog);
void aegis_backlog_advance(aegis_backlog *backlog, const aegis_scan *scan);

/* ---- demand_limit.c: how far the demand must be looked at ---- */

/* From F = max(D - J) on, where nothing blocks: h(t) - t <= offset - (1 - U) t. */
typedef struct aegis_demand_line {
    aegis_i128 offset; /* sum of (T + J - D) U, rounded up */
    aegis_u128 slack;  /* 1 - U in units of 2^-64, rounded down */
    int64_t from;      /* F */
} aegis_demand_line;

aegis_demand_line aegis_demand_line_of(const aegis_analysis_run *run);
/* An instant from which on h(t) - t <= room; INT64_MAX when none fits. */
int64_t aegis_demand_line_below(const aegis_demand_line *line, int64_t room);

/* Last instant to look at, for U <= 1; INT64_MAX when no bound fits. `last` is F. */
aegis_outcome
aegis_demand_limit(aegis_analysis_run *run, int sign, int64_t last, int64_t *ret_limit);
/* U > 1: an instant at which the demand passes the time; false when it does not fit. */
bool aegis_demand_overload_instant(const aegis_analysis_run *run, int64_t *ret_at);
/* Largest deadline not after t, given that there is one. */
int64_t aegis_demand_deadline_until(const aegis_analysis_run *run, int64_t t);

/* ---- demand.c: EDF by processor demand ---- */

typedef struct aegis_demand_result {
    bool violated;
    bool located; /* `at` and `demand` hold (not when the instant does not fit 63 bits) */
    int64_t at;
    uint64_t demand; /* with blocking */
    int sign;        /* of U - 1 */
} aegis_demand_result;

/* Where h(d) - d > room for the first time among the deadlines d in (from, to], all of them at F or
 * later. */
typedef struct aegis_above {
    int64_t from, to, room;
    const uint64_t *reciprocals; /* (2^64 - 1) / T, one a task */
    uint32_t steps;              /* given up after so many; those left */
    bool found;                  /* false: given up */
    int64_t first;               /* to + 1: nowhere */
} aegis_above;

aegis_outcome aegis_demand_first_above(aegis_analysis_run *run, aegis_above *above);

aegis_outcome aegis_demand_test(aegis_analysis_run *run, aegis_demand_result *ret_result);
/* Longest blocking of work due by t, and by whom; 0 and SIZE_MAX when by nobody. */
uint64_t aegis_demand_blocking(const aegis_analysis_run *run, int64_t t, size_t *ret_task);
/* The same kept along while t grows. */
typedef struct aegis_demand_blocker {
    uint64_t blocking;
    int64_t until; /* holds for t below this */
} aegis_demand_blocker;

#define AEGIS_DEMAND_BLOCKER_UNKNOWN ((aegis_demand_blocker){0, INT64_MIN})

/* Brings it to t. */
void aegis_demand_blocker_at(const aegis_analysis_run *run,
                             int64_t t,
                             aegis_demand_blocker *blocker);
/* Jobs of a task due by t in the worst pattern: max(0, floor((t + J - D) / T) + 1). */
uint64_t aegis_demand_jobs(const aegis_atask *task, int64_t t);

/* Notes the deadline of the watched task with the least room, t - h(t), as run->worst; preemptive.
 */
aegis_outcome aegis_demand_tightest(aegis_analysis_run *run);

/* ---- edf_response.c, fifo.c: all tasks at once; ret_responses has `count` entries ---- */

/* For U < 1, and U = 1 without jitter. `sign` is that of U - 1. `ret_responses` holds lower bounds,
 * or 0. */
aegis_outcome aegis_np_edf_responses(aegis_analysis_run *run, int sign, uint64_t *ret_responses);
/* At U = 1 with jitter, where no busy period ends and so no search for responses does. */
bool aegis_np_edf_is_endless(const aegis_analysis_run *run, int sign);
/* The same for any U: DIVERGES above 1, LIMIT where the search has no end. */
aegis_outcome aegis_np_edf_outcome(aegis_analysis_run *run, int sign, uint64_t *ret_responses);
/* DIVERGES as aegis_busy_period_exists says. */
aegis_outcome aegis_fifo_responses(aegis_analysis_run *run, uint64_t *ret_responses);

/* ---- admission.c ---- */

/* Checks and converts one task; INVALID_ARGUMENT naming it by `index` and the field. */
aegis_status aegis_admission_convert(aegis_analysis analysis,
                                     const aegis_task *task,
                                     size_t index,
                                     aegis_atask *ret_task,
                                     aegis_error *err);
aegis_status aegis_admission_check_analysis(aegis_analysis analysis, aegis_error *err);
aegis_budget aegis_budget_of(const aegis_admission_limits *limits);
/* Converts all, with limits and room for the blocking; finished with aegis_admission_run_finish. */
aegis_status aegis_admission_run_init(aegis_analysis_run *run,
                                      aegis_analysis analysis,
                                      const aegis_task *tasks,
                                      size_t count,
                                      const aegis_admission_limits *limits,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
void aegis_admission_run_finish(aegis_analysis_run *run);
/* The test itself, with everything that the result holds; on success the caller's. */
aegis_outcome aegis_admission_execute(aegis_analysis_run *run, aegis_admission_result *ret_result);
aegis_status aegis_outcome_status(aegis_outcome outcome, aegis_error *err);

/* ---- verdict.c, witness.c ---- */

/* Responses, verdict and evidence; the set is not empty. */
aegis_outcome aegis_admission_run_test(aegis_analysis_run *run, aegis_admission_result *result);
/* The jobs of result->violation_at. */
aegis_outcome aegis_witness_build(const aegis_analysis_run *run, aegis_admission_result *result);
/* The verdict alone. */
aegis_outcome aegis_admission_run_decide(aegis_analysis_run *run,
                                         aegis_admission_verdict *ret_verdict);

#endif
