/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_ADMISSION_H
#define AEGISRT_ADMISSION_H

/**
 * @file admission.h Schedulability tests: pure integer arithmetic over one lane's tasks.
 *
 * Times are integer ticks (ns in the running system, any unit in a task set file). Products are
 * formed in 128 bits; a result that does not fit is OVERFLOW, never a wrap. No floating point takes
 * part in a verdict. All functions are pure: any thread, no global state.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One sporadic task of a lane. */
typedef struct aegis_task {
    const char *name;          /**< borrowed, may be NULL */
    int64_t execution;         /**< C > 0: the enforceable execution bound */
    int64_t period;            /**< T > 0: minimum inter-arrival time */
    int64_t deadline;          /**< D > 0, relative */
    int64_t jitter;            /**< J >= 0: release jitter */
    const int64_t *segments;   /**< lengths summing to C, or NULL: one segment. Borrowed */
    size_t segment_count;
} aegis_task;

/** Which test. Fixed-priority tests take the tasks in priority order, highest first. */
typedef enum aegis_analysis {
    AEGIS_ANALYSIS_NP_FP = 0, /**< non-preemptive fixed priority, exact (Davis et al. 2007) */
    AEGIS_ANALYSIS_NP_EDF,    /**< non-preemptive EDF, exact for J = 0 (George et al. 1996) */
    AEGIS_ANALYSIS_FP,        /**< preemptive fixed priority, exact (Tindell et al. 1994) */
    AEGIS_ANALYSIS_EDF,       /**< preemptive EDF, exact (Zhang & Burns 2009) */
    AEGIS_ANALYSIS_FPP,       /**< fixed preemption points (Bril et al. 2009) */
    AEGIS_ANALYSIS_FIFO       /**< first in, first out */
} aegis_analysis;

/** "np-fp", "np-edf", "fp", "edf", "fpp", "fifo". */
const char *aegis_analysis_name(aegis_analysis analysis);
/** NOT_FOUND lists the names. */
aegis_status aegis_analysis_parse(const char *name, aegis_analysis *ret_analysis, aegis_error *err);

#define AEGIS_RESPONSE_DIVERGES INT64_C(-1)  /**< the fixed point does not exist */
#define AEGIS_RESPONSE_UNSETTLED INT64_C(-2) /**< not settled by the test (np-edf at U = 1) */
#define AEGIS_RESPONSE_OMITTED INT64_C(-3)   /**< the test gives none (preemptive edf) */

typedef struct aegis_task_result {
    int64_t response; /**< worst response from nominal release, or one of the three above */
    int64_t blocking; /**< longest time that lower-priority (EDF: later-deadline) work delays it */
    bool meets;       /**< response <= deadline; for EDF without a response: the set's verdict */
} aegis_task_result;

/** A job of the witness that refutes an acceptance. */
typedef struct aegis_witness_job {
    size_t task;
    int64_t release, deadline; /**< absolute */
    int64_t execution;
    bool blocks; /**< the job that blocks: starts one tick before the others */
} aegis_witness_job;

typedef enum aegis_admission_verdict {
    AEGIS_SCHEDULABLE = 0,
    AEGIS_NOT_SCHEDULABLE,
    AEGIS_ADMISSION_UNDECIDED /**< the limits ended the analysis */
} aegis_admission_verdict;

typedef struct aegis_admission_limits {
    uint64_t steps; /**< iterations of all fixed points together; 0: 200 million */
    const volatile bool *cancel; /**< optional: looked at now and then */
} aegis_admission_limits;

/** The simple bounds, reported beside the exact test. Sufficient only where their assumptions hold:
 * otherwise false. */
typedef struct aegis_simple_bounds {
    bool liu_layland; /**< U <= n(2^(1/n)-1) (D = T, rate-monotonic; 1973), decided in integers */
    bool hyperbolic;  /**< with blocking, for every i: prod_hp(U_h+1) * ((C_i+B_i)/T_i+1) <= 2 */
    bool density;     /**< sum C/min(D,T) <= 1 */
} aegis_simple_bounds;

typedef struct aegis_admission_result {
    aegis_admission_verdict verdict;
    uint64_t utilisation_ppm;    /**< rounded up */
    double utilisation;          /**< for people; no verdict uses it */
    aegis_simple_bounds bounds;
    aegis_task_result *tasks;    /**< one per task, in the order given */
    size_t task_count;
    bool has_violation;          /**< np-edf and edf on rejection */
    int64_t violation_at;        /**< instant t, relative to the start of the busy period */
    int64_t violation_demand;    /**< demand plus blocking at t; > t */
    aegis_witness_job *witness;  /**< jobs with deadline <= t, and the blocking one; a prefix when
                                      there are more than 1,024 */
    size_t witness_count;
    uint64_t witness_total;
    size_t first_miss;           /**< index of the first task that does not meet; SIZE_MAX: none */
} aegis_admission_result;

/**
 * Runs one test over one lane. Responses are iterated to the end, also past deadlines. Jitter where
 * the test has no proof (fpp, and np-edf responses) is refused as UNSUPPORTED or the response left
 * UNSETTLED, as the header of each test says. @return OK whatever the verdict; INVALID_ARGUMENT
 * naming the task and the field; OVERFLOW; NO_MEMORY. The result is finished with
 * aegis_admission_result_finish.
 */
aegis_status aegis_admission_test(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  const aegis_admission_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_admission_result *ret_result,
                                  aegis_error *err);
void aegis_admission_result_finish(aegis_admission_result *result, const aegis_allocator *allocator);

/** What of one task would be accepted beside the others, each alone, by exact search with every
 * candidate tested; 0 when no value would do. */
typedef struct aegis_fit {
    int64_t smallest_period;   /**< the largest rate, deadline kept (with D = T it moves along) */
    int64_t smallest_deadline; /**< at the given period; the response under the policy */
    int64_t largest_execution;
} aegis_fit;
aegis_status aegis_admission_what_fits(aegis_analysis analysis,
                                       const aegis_task *tasks,
                                       size_t count,
                                       size_t which,
                                       const aegis_admission_limits *limits,
                                       const aegis_allocator *allocator,
                                       aegis_fit *ret_fit,
                                       aegis_error *err);

/* ---- the separate tests of the origin, as convenience over the same arithmetic ---- */

/** Utilisation test of rate-monotonic scheduling (Liu & Layland 1973), preemptive, D = T. */
aegis_status aegis_admission_test_rm(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err);
/** Density test of preemptive EDF. */
aegis_status aegis_admission_test_density(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err);
/** Blocking that a set of execution bounds imposes on work more urgent than all of it:
 * max(C) - 1 in integer ticks, 0 for an empty set. */
int64_t aegis_admission_blocking(const int64_t *executions, size_t count);

/** Writes the order (highest priority first) of rate- or deadline-monotonic priorities, ties by
 * index. `ret_order` has `count` entries. */
void aegis_admission_order_rm(const aegis_task *tasks, size_t count, size_t *ret_order);
void aegis_admission_order_dm(const aegis_task *tasks, size_t count, size_t *ret_order);

/* ---- task set files (the `admit` command) ---- */

typedef struct aegis_taskset aegis_taskset;
/** Reads the JSON of `aegisrt admit` (design contract). CONFIG or PARSE with file:line:column, key
 * and cure. Unknown keys are errors with a suggestion. */
aegis_status aegis_taskset_load(const char *path,
                                const aegis_allocator *allocator,
                                aegis_taskset **ret_taskset,
                                aegis_error *err);
aegis_status aegis_taskset_parse(const char *text,
                                 size_t size,
                                 const char *origin,
                                 const aegis_allocator *allocator,
                                 aegis_taskset **ret_taskset,
                                 aegis_error *err);
void aegis_taskset_destroy(aegis_taskset *taskset);
aegis_analysis aegis_taskset_policy(const aegis_taskset *taskset);
const aegis_task *aegis_taskset_tasks(const aegis_taskset *taskset, size_t *ret_count);

#ifdef __cplusplus
}
#endif
#endif
