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

typedef struct aegis_certificate_job {
    size_t task;
    int64_t nominal, ready;
} aegis_certificate_job;

/* Jobs to be simulated; by task, then in the order of their releases. */
typedef struct aegis_certificate_witness {
    aegis_certificate_job *jobs;
    size_t count, room;
    bool blocked;
    size_t blocker, segment; /* started at 0, the jobs are ready at 1 or later */
    size_t job;              /* which of them it is about; none for a miss under np-edf or edf */
} aegis_certificate_witness;

/* What is said about the worst response of one task, and the proof of it. */
typedef struct aegis_response_proof {
    int64_t response;       /* no job's is larger; -1: nothing is said */
    int64_t blocking, busy; /* fixed priorities; no busy period of fp */
    int64_t *points;        /* w(q); the checker finds those behind the last one */
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

    aegis_horizon_rule rule; /* demand and queue */
    int64_t horizon;
    int64_t instants;                 /* up to there, and as far as the responses need them */
    int64_t *demand;                  /* t, demand + blocking, t, ...; none, or every instant */
    size_t demand_count, demand_room; /* pairs; numbers */
    int64_t longest;                  /* queue */

    aegis_certificate_witness miss;
    int64_t instant, total; /* np-edf, edf: all jobs are due by then, and so much must be done */
    int64_t completion;     /* else: of the job that misses */

    size_t task;       /* bound; overload and no-end: how many tasks */
    int64_t at, bound; /* bound */
} aegis_certificate;

/* read.c: proof kinds and horizon rules by number. */
const char *aegis_proof_kind_name(aegis_proof_kind kind);
const char *aegis_horizon_rule_name(aegis_horizon_rule rule);
bool aegis_proof_accepts(aegis_proof_kind kind);
/* Policies with priorities: responses are proved one by one. */
bool aegis_certificate_has_levels(aegis_analysis policy);
/* Frees the arrays, not the tasks. */
void aegis_certificate_finish(aegis_certificate *certificate, const aegis_allocator *allocator);

/* verify.c: the argument, or only that the jobs given for the response of
 * task `reached` have it; SIZE_MAX: all. Statuses of aegis_certificate_verify. */
aegis_status aegis_certificate_check(const aegis_certificate *c,
                                     size_t reached,
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
