/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CERTIFICATE_PROVER_H
#define AEGIS_SCHEDULE_CERTIFICATE_PROVER_H

/* What finding a proof (proof.c) and finding jobs to be simulated (proof_jobs.c) share. Nothing
 * here is trusted. */

#include "schedule/certificate/internal.h"

#include "base/base.h"

#define LARGEST_WITNESS 200000u
#define TICKS_MAX ((aegis_u128)INT64_MAX)

typedef struct prover {
    aegis_certificate *c;
    const aegis_admission_result *result;
    const aegis_allocator *allocator;
    const volatile bool *cancel;
    uint64_t steps;
} prover;

/* A level of a policy with priorities. */
typedef struct level {
    size_t i;
    bool preemptive;
    int64_t blocking, last;
} level;

/* proof.c. False: the steps are used up. */
bool aegis_prover_step(prover *p);
aegis_status aegis_prover_out_of_memory(aegis_error *err);
/* Which segment of a task is the longest, and its length. */
int64_t aegis_prover_longest(const prover *p, size_t i, size_t *ret_segment);
level aegis_prover_level(const prover *p, size_t i);
/* w(q), from below w(q-1) + C. */
bool aegis_prover_solve_job(prover *p, const level *l, uint64_t q, int64_t *w);
int64_t aegis_prover_first_deadline(const aegis_task *task);
/* Who blocks work due by t the longest, and how long; SIZE_MAX: nobody. */
int64_t aegis_prover_blocking(const prover *p, int64_t t, size_t *ret_task);

/* proof_jobs.c: a set in which task `i`, or under EDF any, misses; false: none was found. */
bool aegis_prover_find_miss(prover *p, size_t i);
/* Job sets that have the responses, where they are found and small enough. */
aegis_status aegis_prover_reach(prover *p, aegis_error *err);

#endif
