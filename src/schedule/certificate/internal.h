/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CERTIFICATE_INTERNAL_H
#define AEGIS_SCHEDULE_CERTIFICATE_INTERNAL_H

/* A certificate in memory, as the prover fills it in. The checker knows the file alone. */

#include <aegisrt/certificate.h>

typedef enum aegis_proof_kind {
    AEGIS_PROOF_RESPONSES = 0,
    AEGIS_PROOF_DEMAND,
    AEGIS_PROOF_QUEUE,
    AEGIS_PROOF_MISS,
    AEGIS_PROOF_OVERLOAD,
    AEGIS_PROOF_NO_END,
    AEGIS_PROOF_BOUND,
    AEGIS_PROOF_REACHED /* of no verdict: a job has the response of a task */
} aegis_proof_kind;

typedef struct aegis_certificate_job {
    size_t task;
    int64_t nominal, ready;
} aegis_certificate_job;

/* Jobs to be simulated; by task, then in the order of their releases. The last is the one that it
 * is about; of no matter for a miss under EDF. */
typedef struct aegis_certificate_witness {
    aegis_certificate_job *jobs;
    size_t count, room;
    int64_t start; /* of the busy period, one tick after its blocker */
} aegis_certificate_witness;

/* What is said about the worst response of one task, and the proof of it. */
typedef struct aegis_response_proof {
    int64_t response; /* no job's is larger; 0: nothing is said */
    int64_t busy;     /* fixed priorities */
    int64_t *points;  /* w(q); none, or all */
    size_t point_count, room;
    aegis_certificate_witness reached; /* a job has it; no jobs: nothing is said */
} aegis_response_proof;

typedef struct aegis_certificate {
    aegis_analysis policy;
    const aegis_task *tasks; /* borrowed */
    size_t count;
    aegis_proof_kind kind;

    /* One a task, NULL: nothing is said about responses; np-edf and fifo have an end of a busy
     * period of all tasks with it. */
    aegis_response_proof *responses;
    int64_t busy;
    int64_t fixed_points; /* of all tasks */

    int64_t horizon;  /* demand and queue: a busy period ends by it, or a multiple of the periods */
    int64_t instants; /* as far as they must be looked at */
    int64_t *demand;  /* t, demand + blocking, t, ...; none, or every instant */
    size_t demand_count, demand_room; /* pairs; numbers */

    aegis_certificate_witness miss;

    int64_t multiple;  /* of the periods; overload and no-end */
    size_t task;       /* bound; no-end: how many tasks */
    int64_t at, bound; /* bound */
} aegis_certificate;

/* Policies with priorities: responses are proved one by one. */
bool aegis_certificate_has_levels(aegis_analysis policy);
/* Frees the arrays, not the tasks. */
void aegis_certificate_finish(aegis_certificate *certificate, const aegis_allocator *allocator);

/* write.c: whether what is written of it holds; or of the argument only that the jobs given for the
 * response of task `reached` have it; SIZE_MAX: all. Limits and short memory count as no. */
bool aegis_certificate_holds(const aegis_certificate *c,
                             size_t reached,
                             const aegis_allocator *allocator);

/* proof.c: fills in the proof of `result`; the certificate has policy and tasks. */
aegis_status aegis_certificate_prove(aegis_certificate *certificate,
                                     const aegis_admission_result *result,
                                     const aegis_admission_limits *limits,
                                     const aegis_allocator *allocator,
                                     aegis_error *err);

#endif
