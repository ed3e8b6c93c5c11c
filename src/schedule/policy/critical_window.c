/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Critical-window EDF: M. Nasri, G. Fohler, "Non-work-conserving non-preemptive scheduling:
 * motivations, challenges, and potential solutions", ECRTS 2016 (doi 10.1109/ECRTS.2016.11). EDF
 * with an idle-time insertion policy: before the job with the earliest deadline starts, look at the
 * next job of each other model. From the latest deadline backwards, each must start by
 *   latest = min(latest, d_k) - C_k
 * so that it and all after it are in time. When the head would end after `latest`, the lane idles
 * until the next release instead, and decides anew then: the job that comes is due earlier.
 *
 * The paper has one segment a job. Of a cut model, the next segment of the head is what cannot be
 * preempted, and of the others all segments left count.
 *
 * Two conditions are ours. The lane waits only when
 *  - the release waited for comes before the head would end: else waiting makes nobody earlier;
 *  - the head still meets its deadline when it starts at that release: else a miss is only moved.
 * In a run in which the rule of the paper meets all deadlines, executions being their bounds,
 * neither fires: a wait that breaks one of them is followed by a miss, of the window or of the
 * head. Without them an overloaded lane could idle for ever.
 *
 * Next releases are taken as periodic. No admission test is known for that here, so there is no
 * proof, and the policy runs in simulation only.
 */
#include "schedule/policy/policies.h"

typedef struct window {
    uint64_t segment_ns, left_ns; /* of the head */
    int64_t latest_ns;            /* start of the others, all of them in time */
    uint64_t next_release_ns;     /* of another model, after now */
} window;

static window look_ahead(const aegis_policy_view *view)
{
    size_t count;
    const aegis_policy_peer *peers = view->peers(view, &count);
    window ahead = {.latest_ns = INT64_MAX, .next_release_ns = UINT64_MAX};
    for (size_t i = count; i-- > 0;) {
        const aegis_policy_peer *peer = &peers[i];
        if (peer->model == view->head->model) {
            ahead.segment_ns = peer->segment_ns;
            ahead.left_ns = peer->left_ns;
            continue;
        }
        if ((int64_t)peer->deadline_ns < ahead.latest_ns) {
            ahead.latest_ns = (int64_t)peer->deadline_ns;
        }
        /* Far below zero already: all of it is late. */
        ahead.latest_ns -= ahead.latest_ns < INT64_MIN / 2 ? 0 : (int64_t)peer->left_ns;
        if (peer->release_ns > view->now_ns && peer->release_ns < ahead.next_release_ns) {
            ahead.next_release_ns = peer->release_ns;
        }
    }
    return ahead;
}

uint64_t aegis_policy_critical_window(void *self, const aegis_policy_view *view)
{
    (void)self;
    window ahead = look_ahead(view);
    uint64_t end_ns = view->now_ns + ahead.segment_ns, until = ahead.next_release_ns;
    bool fits = (int64_t)end_ns <= ahead.latest_ns;
    if (fits || until >= end_ns || until + ahead.left_ns > view->head->deadline_ns) {
        return 0;
    }
    return until;
}
