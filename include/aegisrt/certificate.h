/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CERTIFICATE_H
#define AEGISRT_CERTIFICATE_H

/**
 * @file certificate.h The numbers that prove a verdict, and a small checker of them.
 *
 * A certificate is JSON that holds the task set, the policy, the verdict and its proof. The checker
 * shares no code with the analysis: it takes from the certificate what is hard to find and puts it
 * into the equations itself. What each kind of proof claims (sums over the tasks, ticks; every
 * right-hand side f is monotone, so that f(w) <= w bounds the least solution of f(w) = w):
 *
 *  - "responses" (np-fp, fpp, fp; accepts): per task an end L of the busy period and for each of
 *    its jobs q a w with f_q(w) <= w, and a response that none of them passes;
 *  - "demand" (np-edf, edf; accepts): a horizon behind which nothing is violated; the checker
 *    enumerates the instants kT + D - J up to it and finds demand + blocking <= t at each;
 *  - "queue" (fifo; accepts): an end of the busy period, and the longest wait at its arrivals;
 *  - "miss" (refuses): a job set that the task set permits; the checker simulates it under the
 *    policy and sees the miss;
 *  - "overload" (refuses): U > 1, in exact arithmetic;
 *  - "no-end" (refuses): the first m tasks have U = 1 exactly and jitter, so that no busy period
 *    ends and the test gives no bound. No miss is claimed;
 *  - "bound" (fifo with jitter; refuses): the bound of the test passes the deadline at an instant.
 *    No miss is claimed;
 *  - "reached" (no verdict): job sets that have the responses which are said, simulated.
 */

#include <aegisrt/admission.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Looks at one task at one instant or fixed point that a check may take: seconds. */
#define AEGIS_CERTIFICATE_STEPS UINT64_C(2000000000)

/** What a check found. */
typedef struct aegis_certificate_report {
    bool holds;       /**< the verdict is proved */
    bool schedulable; /**< the verdict; false too for "reached", which has none */
    aegis_analysis policy;
    size_t task_count;
    const char *kind; /**< of the proof, as above; static */
    uint64_t points;  /**< fixed points, instants or simulated completions that were checked */
    uint64_t steps;   /**< looks at a task */
    size_t
        responses;  /**< tasks of whose worst response it is proved that no job has a larger one */
    size_t reached; /**< of them those with a job set that has it, simulated */
    char statement[256]; /**< the line of the argument that fails */
} aegis_certificate_report;

/**
 * Writes the certificate of a verdict. What comes out has been checked with
 * aegis_certificate_verify. Up to 100,000 fixed points, 10,000 instants and 200,000 jobs are
 * listed; the checker finds the other fixed points and instants by itself.
 *
 * @param result  of aegis_admission_test for these tasks
 * @param limits  as there; NULL: none
 * @param ret_text `*ret_size` bytes of JSON and a NUL; the caller gives them back with
 *                 aegis_certificate_free and the same allocator
 * @return UNDECIDED when the verdict is, when the limits ended the work, or when the proof is too
 * large to be listed or checked; INTERNAL when what was found does not prove the verdict;
 * INVALID_ARGUMENT (no certificate of this analysis, or not of these tasks); NO_MEMORY.
 */
aegis_status aegis_certificate_build(aegis_analysis analysis,
                                     const aegis_task *tasks,
                                     size_t count,
                                     const aegis_admission_result *result,
                                     const aegis_admission_limits *limits,
                                     const aegis_allocator *allocator,
                                     char **ret_text,
                                     size_t *ret_size,
                                     aegis_error *err);
/** NULL is fine. */
void aegis_certificate_free(char *text, size_t size, const aegis_allocator *allocator);

/** Builds it and puts it into a file, atomically. @return what aegis_certificate_build returns;
 * NOT_FOUND (no such folder), PERMISSION or IO from the system. */
aegis_status aegis_certificate_save(const char *path,
                                    aegis_analysis analysis,
                                    const aegis_task *tasks,
                                    size_t count,
                                    const aegis_admission_result *result,
                                    const aegis_admission_limits *limits,
                                    const aegis_allocator *allocator,
                                    aegis_error *err);

/**
 * Checks a certificate: time linear in the instants, jobs and listed numbers (times the tasks).
 *
 * @param text    `size` bytes of JSON; `origin` names them in messages
 * @param steps   at most so many looks at a task; 0: AEGIS_CERTIFICATE_STEPS
 * @return OK with the report whether it holds or not; PARSE and CONFIG for a malformed one, with
 * the task or key, the reason and the cure (keys that are missing, unknown or of another proof,
 * numbers that are negative or no integers, lists of another length); for what is not JSON
 * file:line:column; UNDECIDED when the steps are used up; NO_MEMORY. Pure: any thread.
 */
aegis_status aegis_certificate_verify(const char *text,
                                      size_t size,
                                      const char *origin,
                                      uint64_t steps,
                                      const aegis_allocator *allocator,
                                      aegis_certificate_report *ret_report,
                                      aegis_error *err);
/** The same of a file. @return what aegis_certificate_verify returns, PARSE also for more than 64
 * MiB; NOT_FOUND, PERMISSION or IO from the system. */
aegis_status aegis_certificate_verify_file(const char *path,
                                           uint64_t steps,
                                           const aegis_allocator *allocator,
                                           aegis_certificate_report *ret_report,
                                           aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
