/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CUTS_H
#define AEGISRT_CUTS_H

/**
 * @file cuts.h Where to cut a model: how long a segment the others tolerate, and the fewest cuts
 * that keep to it. Pure integer arithmetic: any thread, no global state, no clock.
 */

#include <aegisrt/admission.h>
#include <aegisrt/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** No other task is delayed by this one: its segments may have any length. */
#define AEGIS_CUT_ANY_LENGTH INT64_MAX

/** What the others of a lane can bear of one task. */
typedef struct aegis_cut_tolerance {
    int64_t segment;   /**< longest segment of it with which all others still meet their deadlines,
                            in ticks; AEGIS_CUT_ANY_LENGTH; 0: one of them misses even unblocked */
    size_t limited_by; /**< the task whose slack it is; SIZE_MAX: none */
    int64_t slack;     /**< of that task, without any blocking: the time left at `at` */
    int64_t at;        /**< np-edf: instant of the least slack, from the start of a busy period;
                            fixed priorities: the deadline of `limited_by` */
} aegis_cut_tolerance;

/**
 * The largest tolerable segment of every task, given the others' C, T, D, J.
 *
 * Fixed priorities (np-fp and fpp alike; tasks in priority order): the largest B_i with which the
 * response of task i stays within D_i, found by bisection over the exact response with deferred
 * preemption, which grows with B_i; task k may run min over i above k of B_i, plus 1, because a
 * blocker has started one tick earlier. This is the blocking tolerance of Bertogna, Buttazzo, Yao,
 * "Preemption points placement for sporadic task sets" (ECRTS 2010) and "Optimal selection of
 * preemption points to minimize preemption overhead" (ECRTS 2011), section III, with the exact
 * response of Bril, Lukkien, Verhaegh 2009 in the place of their sufficient
 * beta_i = max over t of (t - sum_hep ceil(t/T_j) C_j), and with jitter.
 *
 * np-edf: min over the deadlines t < D_k - J_k of (t - h(t)), plus 1, with h of
 * aegis_admission_test (Baruah 2005; Bertogna et al. 2011, equation 5). It is the largest segment
 * with which that test accepts, so with one segment a task it is exact.
 *
 * fifo: no segment blocks, all tolerate any length. fp and edf: INVALID_ARGUMENT.
 *
 * @param limits as of aegis_admission_test
 * @param ret_tolerances `count` entries, in the order of `tasks`
 * @return OK; INVALID_ARGUMENT naming the task and the field; UNDECIDED when the limits ended the
 * search; OVERFLOW; NO_MEMORY.
 */
aegis_status aegis_cut_tolerances(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  const aegis_admission_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_cut_tolerance *ret_tolerances,
                                  aegis_error *err);

/** A model that is to be cut, as measured whole, and what each segment costs beside its operators.
 * What a segment [a, b) is expected to occupy its lane for:
 *   ceil((e_b - e_a) * bound / elapsed) + (crossing, when it does not begin the model)
 *   + min(stretch, that) + overhead. */
typedef struct aegis_cut_problem {
    const aegis_cut_candidate *candidates; /**< ascending by position; borrowed */
    size_t candidate_count;
    uint64_t elapsed_ns;  /**< of the whole model, measured as the candidates' */
    uint64_t bound_ns;    /**< C of the whole model; scales elapsed times to bounds */
    uint64_t crossing_ns; /**< what one cut adds to C */
    uint64_t stretch_ns;  /**< of a segment at most; 0 unless overruns are aborted */
    uint64_t overhead_ns; /**< launch, detection and decision of each segment */
} aegis_cut_problem;

typedef struct aegis_cut_choice {
    bool found;   /**< false: no choice keeps to the tolerance; the rest is the best there is */
    size_t count; /**< cuts; at most `room` */
    uint64_t longest_ns, sum_ns; /**< of the segments, as expected */
    uint64_t live_bytes;         /**< that cross the cuts, summed */
} aegis_cut_choice;

/**
 * Of the choices with no segment above `tolerance_ns` the one with the fewest cuts, then the fewest
 * live bytes over its cuts, then the earliest positions: dynamic programming over the candidates,
 * O(n^2). With at most `room` cuts (room < 1,024); `ret_cuts` gets indices of candidates,
 * ascending. When no choice keeps to the tolerance, found is false and the choice is the one of
 * aegis_cuts_even with room + 1 segments.
 * @return OK; INVALID_ARGUMENT for candidates that are not ascending or a bound or time of 0;
 * NO_MEMORY.
 */
aegis_status aegis_cuts_choose(const aegis_cut_problem *problem,
                               uint64_t tolerance_ns,
                               size_t room,
                               const aegis_allocator *allocator,
                               size_t *ret_cuts,
                               aegis_cut_choice *ret_choice,
                               aegis_error *err);

/** The choice of at most `segments` segments whose longest is the shortest possible; of those as
 * aegis_cuts_choose does, with its statuses. `ret_cuts` has room for segments - 1. */
aegis_status aegis_cuts_even(const aegis_cut_problem *problem,
                             size_t segments,
                             const aegis_allocator *allocator,
                             size_t *ret_cuts,
                             aegis_cut_choice *ret_choice,
                             aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
