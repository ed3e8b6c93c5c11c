/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_ADMISSION_H
#define AEGISRT_ADMISSION_H

/**
 * @file admission.h Schedulability tests: pure integer arithmetic over one lane's tasks.
 *
 * Times are integer ticks (ns in the running system, any unit in a task set file). Products are
 * formed in 128 bits; a result that does not fit is OVERFLOW, never a wrap. No floating point takes
 * part in a verdict. All functions are pure: any thread, no global state.
 *
 * The model. Task i releases jobs nominally at least T apart. A job becomes ready at most J after
 * its nominal release, jobs of one task in the order of their releases, and must complete by D
 * after the nominal release; under EDF its absolute deadline (nominal release + D) orders it. D and
 * J are arbitrary. A lane never idles while a job is ready. Ties count against the task looked at,
 * and blocking is a segment less one tick, for the blocker started before.
 *
 * What "exact" means below: the response is attained by some legal behaviour. This was held against
 * an exhaustive search of all behaviours of small sets, jitter included (test/property/schedule).
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
    const char *name;        /**< borrowed, may be NULL */
    int64_t execution;       /**< C > 0: the enforceable execution bound */
    int64_t period;          /**< T > 0: minimum inter-arrival time */
    int64_t deadline;        /**< D > 0, relative */
    int64_t jitter;          /**< J >= 0: release jitter */
    const int64_t *segments; /**< lengths summing to C, or NULL: one segment. Borrowed */
    size_t segment_count;
} aegis_task;

/** Which test. Fixed-priority tests take the tasks in priority order, highest first. */
typedef enum aegis_analysis {
    /** Non-preemptive fixed priority, exact (Davis, Burns, Bril, Lukkien 2007, all jobs of the busy
     * period). */
    AEGIS_ANALYSIS_NP_FP = 0,
    /** Non-preemptive EDF, demand and responses (George, Rivierre, Spuri 1996, with jitter put in):
     * exact; with segments sufficient. */
    AEGIS_ANALYSIS_NP_EDF,
    /** Preemptive fixed priority, exact (Tindell et al. 1994). */
    AEGIS_ANALYSIS_FP,
    /** Preemptive EDF, exact verdict (Zhang & Burns 2009), no responses. */
    AEGIS_ANALYSIS_EDF,
    /** Fixed preemption points, exact (Bril et al. 2009, with jitter put in). */
    AEGIS_ANALYSIS_FPP,
    /** First in, first out, non-preemptive: exact for J = 0, safe otherwise, whether the queue goes
     * by nominal release or by readiness. */
    AEGIS_ANALYSIS_FIFO
} aegis_analysis;

/** "np-fp", "np-edf", "fp", "edf", "fpp", "fifo". */
const char *aegis_analysis_name(aegis_analysis analysis);
/** NOT_FOUND lists the names. */
aegis_status aegis_analysis_parse(const char *name, aegis_analysis *ret_analysis, aegis_error *err);

/** The fixed point does not exist: no busy period of this level ends. */
#define AEGIS_RESPONSE_DIVERGES INT64_C(-1)
/** Not settled: np-edf at U = 1 with jitter, or the limits ended the computation (for np-edf, 10
 * million steps after the verdict, or 63 bits). The result's `unsettled` says which. */
#define AEGIS_RESPONSE_UNSETTLED INT64_C(-2)
/** The test gives none (preemptive edf). */
#define AEGIS_RESPONSE_OMITTED INT64_C(-3)

typedef struct aegis_task_result {
    /** Worst response from nominal release, or one of the three above. */
    int64_t response;
    /** Longest time that lower-priority work delays it. np-edf: the longest segment of another task
     * with D_k > D_i - J_i, less 1. 0 if preemptive or FIFO. */
    int64_t blocking;
    /** response <= deadline; for EDF without a response the set's verdict. */
    bool meets;
} aegis_task_result;

/** A job of the witness that refutes an acceptance. The blocking one, if any, comes first, is ready
 * at 0 and stands for its longest segment; the others are then ready from 1 on, otherwise from 0.
 */
typedef struct aegis_witness_job {
    size_t task;
    int64_t release;  /**< instant at which it becomes ready */
    int64_t deadline; /**< absolute; nominally released at deadline - D */
    int64_t execution;
    bool blocks; /**< starts one tick before the others, is due after t */
} aegis_witness_job;

typedef enum aegis_admission_verdict {
    AEGIS_SCHEDULABLE = 0,
    AEGIS_NOT_SCHEDULABLE,
    AEGIS_ADMISSION_UNDECIDED /**< the limits ended the analysis */
} aegis_admission_verdict;

typedef struct aegis_admission_limits {
    /** Evaluations of a sum over the tasks, all fixed points and instants together; 0: 200 million.
     */
    uint64_t steps;
    /** Optional: ends the analysis when it becomes true; looked at in every step. */
    const volatile bool *cancel;
} aegis_admission_limits;

/** The simple bounds, with blocking B_i put in, reported beside the exact test. True is a proof
 * under the policy tested; false says nothing. Liu & Layland and hyperbolic need D = T, J = 0 and,
 * under fixed priorities, tasks in rate-monotonic order (EDF: the tasks are taken by period);
 * density needs EDF. All are false for FIFO. */
typedef struct aegis_simple_bounds {
    /** For every i: sum_{h<i} U_h + (C_i+B_i)/T_i <= i(2^(1/i)-1) (1973; blocking after Sha,
     * Rajkumar, Lehoczky 1990). Decided in integers, refuses within i * 2^-60 of equality. */
    bool liu_layland;
    /** For every i: prod_{h<i} (U_h+1) * ((C_i+B_i)/T_i+1) <= 2, exact (Bini, Buttazzo, Buttazzo
     * 2003; von der Brueggen, Chen, Huang 2015). */
    bool hyperbolic;
    /** With m = min(D-J, T), for every i: the sum of C_h/m_h over D_h-J_h <= D_i-J_i plus b_i/m_i
     * is at most 1, exact; b_i the longest segment due later, less 1. */
    bool density;
} aegis_simple_bounds;

/** Why there are responses that are AEGIS_RESPONSE_UNSETTLED. */
typedef enum aegis_unsettled {
    AEGIS_UNSETTLED_NONE = 0, /**< there are none */
    AEGIS_UNSETTLED_LIMITS,   /**< the steps were used up, or `cancel` became true */
    AEGIS_UNSETTLED_ENDLESS,  /**< np-edf at U = 1 with jitter: no busy period ends */
    AEGIS_UNSETTLED_OVERFLOW  /**< np-edf: one, or a busy period, passes 63 bits; the verdict holds
                               */
} aegis_unsettled;

typedef struct aegis_admission_result {
    aegis_admission_verdict verdict;
    uint64_t utilisation_ppm; /**< rounded up, exact; UINT64_MAX when more */
    double utilisation;       /**< for people; no verdict uses it */
    aegis_simple_bounds bounds;
    aegis_task_result *tasks; /**< one per task, in the order given */
    size_t task_count;
    /** np-edf and edf on rejection, when t fits 63 bits. */
    bool has_violation;
    /** Instant t, relative to the start of the busy period; the first one unless that is very late.
     * The witness's clock is one tick ahead of it when there is a blocking job. */
    int64_t violation_at;
    int64_t violation_demand; /**< demand plus blocking at t; > t */
    /** Jobs due by t, and the blocking one; a prefix when there are more than 1,024. Owned. */
    aegis_witness_job *witness;
    size_t witness_count;
    uint64_t witness_total;
    size_t first_miss; /**< index of the first task that does not meet; SIZE_MAX: none */
    aegis_unsettled unsettled;
} aegis_admission_result;

/**
 * Runs one test over one lane. Responses are iterated to the end, also past deadlines. Jitter has a
 * proof in every test. At U = 1 exactly no busy period ends once there is blocking or jitter:
 * np-fp, fp, fpp and fifo then refuse (the response diverges), EDF still decides over one common
 * multiple of the periods. `segments` count for fpp and np-edf; the other policies take C whole or
 * as preemptible. An empty set is schedulable.
 *
 * Cost: np-fp, fpp, fp O(n) a step over all jobs of the busy period; EDF O(log n) an instant up to
 * the largest deadline (less with slack), then O(n) for each of the few instants that the quick
 * test visits; the np-edf responses one more pass over the instants of the longest busy period. 26
 * models with periods from 32 ms to 2 s take about a millisecond at U = 0.9; all grow as 1 / (1 -
 * U).
 *
 * @param analysis  the test, that is the policy
 * @param tasks     `count` tasks, borrowed for the call; in priority order where priorities are
 * fixed
 * @param limits    NULL: 200 million steps, no cancelling
 * @param ret_result filled on success only; give it to aegis_admission_result_finish with the same
 *                  allocator
 * @return OK whatever the verdict (the limits' end too: AEGIS_ADMISSION_UNDECIDED is a verdict,
 * unless one task or instant refutes the set already); INVALID_ARGUMENT naming the task and the
 * field; OVERFLOW when a result does not fit 63 bits; NO_MEMORY.
 */
aegis_status aegis_admission_test(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  const aegis_admission_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_admission_result *ret_result,
                                  aegis_error *err);
/** The verdict of the same test alone: it stops at the first miss and computes no responses that
 * the verdict does not need. @return OK whatever the verdict, AEGIS_ADMISSION_UNDECIDED too;
 * INVALID_ARGUMENT naming the task and the field; OVERFLOW; NO_MEMORY. */
aegis_status aegis_admission_decide(aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_admission_verdict *ret_verdict,
                                    aegis_error *err);
/** Frees what the result owns and clears it. A cleared or zeroed one is fine. */
void aegis_admission_result_finish(aegis_admission_result *result,
                                   const aegis_allocator *allocator);

/** What of one task would be accepted beside the others, each value alone; 0 when none would do. */
typedef struct aegis_fit {
    int64_t smallest_period;   /**< the largest rate, deadline kept (with D = T it moves along) */
    int64_t smallest_deadline; /**< at the given period; the response under the policy */
    int64_t largest_execution; /**< segments in proportion to the given ones */
} aegis_fit;

/**
 * Finds them by bisection, which is exact because every test is sustainable in T, D and C (the
 * argument stands in src/schedule/admission/fit.c); the values returned have passed the test
 * themselves. A candidate that 100,000 steps do not settle counts as refused: near U = 1 a value
 * may be larger (C: smaller) than the best by a hair, never wrong. `which` < `count`; `limits` as
 * above, for all candidates together.
 * @return OK; INVALID_ARGUMENT; UNDECIDED when the limits ended the search; OVERFLOW; NO_MEMORY.
 */
aegis_status aegis_admission_what_fits(aegis_analysis analysis,
                                       const aegis_task *tasks,
                                       size_t count,
                                       size_t which,
                                       const aegis_admission_limits *limits,
                                       const aegis_allocator *allocator,
                                       aegis_fit *ret_fit,
                                       aegis_error *err);

/* ---- how a response comes about ---- */

/** The job of one task with the worst response (of several the first), times relative to the start
 * of its busy period. What runs until it is done, completion = blocking + sum of jobs[j] * C_j,
 * its own work included; response = completion - release. For preemptive edf, which has no
 * responses, the deadline release + D of the task with the least room, of those that the test has
 * to look at, and in `completion` all the work due by then. */
typedef struct aegis_derivation {
    bool found;         /**< false: no busy period ends, or U > 1 */
    int64_t release;    /**< nominal, negative with jitter */
    int64_t completion; /**< of the worst job */
    int64_t blocking;
    size_t blocker; /**< a task whose segment, less one tick, that is; SIZE_MAX: none */
    uint64_t *jobs; /**< how many of each task run before, or with, it. Owned */
    size_t task_count;
} aegis_derivation;

/** Derives the worst response of task `which` anew. @return OK, `found` or not; INVALID_ARGUMENT;
 * UNDECIDED when the limits end it; OVERFLOW; NO_MEMORY. */
aegis_status aegis_admission_derive(aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    size_t which,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_derivation *ret_derivation,
                                    aegis_error *err);
/** Frees what it owns and clears it. */
void aegis_derivation_finish(aegis_derivation *derivation, const aegis_allocator *allocator);

/* ---- priorities ---- */

typedef struct aegis_priority_assignment {
    /** NOT_SCHEDULABLE: no order at all makes the tasks meet their deadlines. */
    aegis_admission_verdict verdict;
    /** When not schedulable (or undecided): the level, 0 the highest, that none of the tasks
     * ret_order[0..level] can take (or that was being filled). */
    size_t level;
} aegis_priority_assignment;

/**
 * Audsley's priority assignment for np-fp, fpp and fp, segments and jitter included: finds an order
 * under which aegis_admission_test accepts whenever there is one, with at most n(n+1)/2 responses.
 * Rate- and deadline-monotonic orders are not optimal without preemption, nor with jitter.
 *
 * @param ret_order  `count` indices, highest priority first; on rejection the levels behind
 *                   `level` are filled and the other tasks stand before them by D - J
 * @return OK whatever the verdict; INVALID_ARGUMENT (also for a policy without priorities);
 *         OVERFLOW; NO_MEMORY.
 */
aegis_status aegis_admission_assign_priorities(aegis_analysis analysis,
                                               const aegis_task *tasks,
                                               size_t count,
                                               const aegis_admission_limits *limits,
                                               const aegis_allocator *allocator,
                                               size_t *ret_order,
                                               aegis_priority_assignment *ret_assignment,
                                               aegis_error *err);

/* ---- a set that is tested again and again ---- */

/**
 * The tasks of one lane and what the last test found out about them, so that a change costs what
 * it must: under fixed priorities the responses above an added task stay unless it blocks them
 * longer, and every other fixed point starts where the last one ended; np-edf carries busy periods
 * and responses over and skips each instant at which nobody can be later than before. Removing
 * forgets what may have counted the task. The results are those of aegis_admission_test, number
 * for number, unless the limits end one of the two (test/property/schedule).
 *
 * Not thread-safe; no global state. A scheduler keeps one a lane and policy. To try a model on a
 * lane: add, test, and remove again when refused. To move models between lanes: one set for each.
 * A model that leaves is removed from the set when the lane has freed its capacity.
 */
typedef struct aegis_admission_set aegis_admission_set;

/** @return OK with an empty set that the caller destroys; INVALID_ARGUMENT; NO_MEMORY. The
 * allocator must live as long as the set. */
aegis_status aegis_admission_set_create(aegis_analysis analysis,
                                        const aegis_allocator *allocator,
                                        aegis_admission_set **ret_set,
                                        aegis_error *err);
/** NULL is fine. */
void aegis_admission_set_destroy(aegis_admission_set *set);
size_t aegis_admission_set_count(const aegis_admission_set *set);
/** Puts a task (copied; the name is not kept) at place `at`, from 0 to the count, and those from
 * there on one place later: under fixed priorities the place is the priority. The set is as before
 * on failure. @return OK; INVALID_ARGUMENT naming the field; NO_MEMORY. */
aegis_status aegis_admission_set_add(aegis_admission_set *set,
                                     const aegis_task *task,
                                     size_t at,
                                     aegis_error *err);
/** Takes the task at place `at` out. @return OK; INVALID_ARGUMENT. */
aegis_status aegis_admission_set_remove(aegis_admission_set *set, size_t at, aegis_error *err);
/** A new set of exactly these tasks in this order. It begins with what `from` found out, when that
 * is a set of the same analysis and holds nothing but some of these tasks in the same order; NULL
 * or another set is no help and no harm. `from` stays as it is: to try tasks on a lane, derive a
 * set from the lane's, test it, and keep one of the two.
 * @return OK with a set that the caller destroys; INVALID_ARGUMENT naming task and field;
 * NO_MEMORY.
 */
aegis_status aegis_admission_set_derive(aegis_analysis analysis,
                                        const aegis_admission_set *from,
                                        const aegis_task *tasks,
                                        size_t count,
                                        const aegis_allocator *allocator,
                                        aegis_admission_set **ret_set,
                                        aegis_error *err);
/** How many of the tasks a set lacks, so that 0 means it is these; SIZE_MAX when a set derived from
 * it for them would begin anew. */
size_t aegis_admission_set_lacks(const aegis_admission_set *set,
                                 aegis_analysis analysis,
                                 const aegis_task *tasks,
                                 size_t count);
/** The test over the tasks in their places; `ret_result` is finished with the set's allocator and
 * may outlive the set. @return OK whatever the verdict; OVERFLOW; NO_MEMORY. */
aegis_status aegis_admission_set_test(aegis_admission_set *set,
                                      const aegis_admission_limits *limits,
                                      aegis_admission_result *ret_result,
                                      aegis_error *err);

/* ---- the separate tests of the origin, as convenience over the same arithmetic ---- */

/** Utilisation test of preemptive rate-monotonic scheduling (Liu & Layland 1973): U <=
 * n(2^(1/n)-1); false where D and T differ or J > 0. Any order of tasks. INVALID_ARGUMENT,
 * NO_MEMORY. */
aegis_status
aegis_admission_test_rm(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err);
/** Density test of preemptive EDF: sum C/min(D-J, T) <= 1, exact. INVALID_ARGUMENT, NO_MEMORY. */
aegis_status
aegis_admission_test_density(const aegis_task *tasks, size_t count, bool *ret_ok, aegis_error *err);
/** Blocking that a set of execution bounds imposes on work more urgent than all of it:
 * max(C) - 1 in integer ticks, 0 for an empty set. */
int64_t aegis_admission_blocking(const int64_t *executions, size_t count);

/** Writes the order (highest priority first) of rate- or deadline-monotonic priorities, ties by
 * index. `ret_order` has `count` entries. */
void aegis_admission_order_rm(const aegis_task *tasks, size_t count, size_t *ret_order);
void aegis_admission_order_dm(const aegis_task *tasks, size_t count, size_t *ret_order);

/* ---- task set files (the `admit` command) ---- */

typedef struct aegis_taskset aegis_taskset;
/**
 * Reads the JSON of `aegisrt admit`:
 * {"policy": NAME, "tasks": [{"name": TEXT, "C": N, "T": N, "D": N, "J": N, "segments": [N, ...]}]}
 * with integers, D defaulting to T, J to 0, the name to "task-<index>". @return OK with a task set
 * that the caller destroys; CONFIG or PARSE with file:line:column, key and cure (unknown keys with
 * a suggestion); NOT_FOUND (no such file); NO_MEMORY; and what reading the file returned.
 */
aegis_status aegis_taskset_load(const char *path,
                                const aegis_allocator *allocator,
                                aegis_taskset **ret_taskset,
                                aegis_error *err);
/** The same from `size` bytes of text; `origin` names them in messages. CONFIG, PARSE, NO_MEMORY.
 */
aegis_status aegis_taskset_parse(const char *text,
                                 size_t size,
                                 const char *origin,
                                 const aegis_allocator *allocator,
                                 aegis_taskset **ret_taskset,
                                 aegis_error *err);
/** NULL is fine. */
void aegis_taskset_destroy(aegis_taskset *taskset);
/** What the file says; the tasks live as long as the set. */
aegis_analysis aegis_taskset_policy(const aegis_taskset *taskset);
const aegis_task *aegis_taskset_tasks(const aegis_taskset *taskset, size_t *ret_count);

#ifdef __cplusplus
}
#endif
#endif
