/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CERTIFICATE_CHECKER_H
#define AEGIS_SCHEDULE_CERTIFICATE_CHECKER_H

/* The state of a check: check.c makes it, verify.c holds the argument, simulate.c the job sets. */

#include "schedule/certificate/internal.h"

__extension__ typedef __int128 wide;
__extension__ typedef unsigned __int128 uwide;
#define LARGEST ((wide)INT64_MAX)
#define PAST ((wide)1 << 64)

typedef struct track {                       /* of a task among the instants, or simulated */
    wide at, jobs, start;                    /* its next one; jobs due now; s of the present one */
    const aegis_certificate_job *next, *end; /* its jobs that are not done */
    size_t segment;
    int64_t left; /* of that segment */
} track;

typedef struct checker {
    const aegis_certificate *c;
    aegis_certificate_report *report;
    uint64_t left;       /* steps */
    aegis_status status; /* when not OK no answer counts */
    bool edf, preemptive;
    wide blocked, busy; /* L of the jobs due now, and the blocking that it holds for */
    track *places;      /* one a task */
} checker;

/* verify.c. Both are false: a check ends with the sentence that fails, or when steps are used up.
 */
AEGIS_PRINTF(2, 3) bool aegis_check_refuse(checker *k, const char *format, ...);
bool aegis_check_spend(checker *k, size_t looks);
/* Of the task as its policy cuts it. */
size_t aegis_check_segments(const checker *k, size_t i);
int64_t aegis_check_segment(const checker *k, size_t i, size_t s);
bool aegis_check_argument(checker *k);

/* simulate.c: whether the tasks permit the jobs, and whether some job is late (`any`), or the one
 * that is named ends at `completion`. `ret_last` is the last deadline, `ret_total` the work of all.
 */
bool aegis_check_jobs(checker *k,
                      const aegis_certificate_witness *set,
                      wide *ret_last,
                      wide *ret_total);
bool aegis_check_simulate(checker *k,
                          const aegis_certificate_witness *set,
                          bool any,
                          wide completion);

#endif
