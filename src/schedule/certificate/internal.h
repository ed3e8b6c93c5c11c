/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CERTIFICATE_INTERNAL_H
#define AEGIS_SCHEDULE_CERTIFICATE_INTERNAL_H

/* A certificate in memory: what the writer fills in and the reader finds in a file. */

#include <aegisrt/certificate.h>

#include <jansson.h>

typedef enum aegis_proof_kind {
    AEGIS_PROOF_RESPONSES = 0,
    AEGIS_PROOF_DEMAND,
    AEGIS_PROOF_QUEUE,
    AEGIS_PROOF_MISS,
    AEGIS_PROOF_OVERLOAD,
    AEGIS_PROOF_NO_END,
    AEGIS_PROOF_BOUND
} aegis_proof_kind;

/* Why nothing is violated behind a horizon H; F is the largest D - J. */
typedef enum aegis_horizon_rule {
    AEGIS_HORIZON_BUSY = 0, /* a busy period ends by H: from F on a violation shows up to its end */
    AEGIS_HORIZON_PERIODIC  /* U <= 1, and from F on h(t + lcm(T)) = h(t) + U lcm(T); H = F + lcm */
} aegis_horizon_rule;

/* The proof of one task's response. */
typedef struct aegis_level_proof {
    int64_t blocking, busy, response; /* no busy period of fp */
    int64_t *points;                  /* w(q); the checker finds those behind the last one */
    size_t point_count, room;
} aegis_level_proof;

typedef struct aegis_certificate_job {
    size_t task;
    int64_t nominal, ready;
} aegis_certificate_job;

typedef struct aegis_certificate {
    aegis_analysis policy;
    const aegis_task *tasks; /* borrowed */
    size_t count;
    aegis_proof_kind kind;

    aegis_level_proof *levels; /* responses: one a task */

    aegis_horizon_rule rule; /* demand and queue */
    int64_t horizon;
    int64_t instants;                 /* up to there */
    int64_t *demand;                  /* t, demand + blocking, t, ...; none, or every instant */
    size_t demand_count, demand_room; /* pairs; numbers */
    int64_t longest;                  /* queue */

    aegis_certificate_job *jobs; /* miss: by task, then in the order of their releases */
    size_t job_count, job_room;
    bool blocked;
    size_t blocker, segment; /* started at 0, the jobs are ready at 1 or later */
    int64_t instant, total;  /* np-edf, edf: all jobs are due by then, and so much must be done */

    size_t job; /* which of them misses, except for np-edf and edf */
    int64_t completion;

    size_t task;       /* bound; overload and no-end: how many tasks */
    int64_t at, bound; /* bound */
} aegis_certificate;

/* read.c: proof kinds and horizon rules by number. */
const char *aegis_proof_kind_name(aegis_proof_kind kind);
const char *aegis_horizon_rule_name(aegis_horizon_rule rule);
bool aegis_proof_accepts(aegis_proof_kind kind);
/* Frees the arrays, not the tasks. */
void aegis_certificate_finish(aegis_certificate *certificate, const aegis_allocator *allocator);

/* verify.c: the argument. Statuses of aegis_certificate_verify. */
aegis_status aegis_certificate_check(const aegis_certificate *certificate,
                                     uint64_t steps,
                                     const aegis_allocator *allocator,
                                     aegis_certificate_report *ret_report,
                                     aegis_error *err);

/* proof.c: fills in the proof of `result`; the certificate has policy and tasks. */
aegis_status aegis_certificate_prove(aegis_certificate *certificate,
                                     const aegis_admission_result *result,
                                     const aegis_admission_limits *limits,
                                     const aegis_allocator *allocator,
                                     aegis_error *err);

#endif
