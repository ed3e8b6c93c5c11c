/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_PROMISE_H
#define AEGIS_SCHEDULE_PROMISE_H

/* Responses against what was proved of them. The core knows when a premise of a lane's proofs
 * broke, and not which responses they promise; here both meet. Actions are seen in the order in
 * which the core made them, in the turn; counts are read by anyone. */

#include <aegisrt/ext/core.h>
#include <aegisrt/scheduler.h>

#include <stdatomic.h>

/* Why the proofs of a lane do not hold now, and how often and how long they did not. */
typedef struct aegis_promise_lane {
    _Atomic uint64_t voided[AEGIS_PREMISE_COUNT]; /* by premise */
    _Atomic uint64_t void_ns;                     /* until they held again */
    _Atomic uint64_t void_since_ns;               /* 0: they hold */
    aegis_premise premise;                        /* NONE: they hold */
    uint64_t since_ns;
    uint32_t model; /* whose job broke it */
    uint64_t job, allowed_ns, measured_ns;
    uint64_t overrun_job; /* the last segment that passed its execution bound */
    int64_t overrun_segment;
} aegis_promise_lane;

/* Of one model. */
typedef struct aegis_promise {
    _Atomic uint64_t proved_ns; /* the largest since it was admitted; UINT64_MAX: none is proved */
    bool reordered;             /* a submission of it gave a priority; the turn's */
    _Atomic uint64_t jobs, unexplained;
    /* of the last of them, or of the first that no premise explains */
    _Atomic uint64_t job, response_ns, past_ns, cause_job, allowed_ns, measured_ns, since_ns;
    _Atomic uint32_t premise, cause_model, lane;
} aegis_promise;

/* The worst response as an admission finds it, negative: it finds none. Only grows: who leaves may
 * have delayed a job that is still there. */
void aegis_promise_raise(aegis_promise *promise, int64_t response_ns);
/* Takes note of what the action says of its lane. */
void aegis_promise_see(aegis_promise_lane *lane, const aegis_core_action *action, uint64_t now_ns);
/* Of COMPLETE and MISS: whether the response was proved, and if it was not to be, why. */
void aegis_promise_judge(aegis_promise *promise,
                         const aegis_promise_lane *lane,
                         const aegis_core_action *action);
void aegis_promise_read(const aegis_promise *promise, aegis_past_proof *ret_past);
void aegis_promise_read_lane(const aegis_promise_lane *lane,
                             uint64_t now_ns,
                             aegis_lane_proofs *ret_proofs);

#endif
