/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_POLICY_OPS_H
#define AEGISRT_EXT_POLICY_OPS_H

/**
 * @file policy_ops.h For people who write a policy.
 *
 * A policy is pure: ready jobs and the time go in, a decision comes out. It is called by the
 * scheduler (on its orchestration thread or that of a lane, one at a time), in the simulator and in
 * the replayer, and must give the same answer in all three: no clock, no allocation, no lock, no
 * state beyond `self`.
 */

#include <aegisrt/admission.h>
#include <aegisrt/policy.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_POLICY_OPS_VERSION 2u

typedef struct aegis_policy_model {
    uint32_t model;
    uint16_t lane;
    uint64_t period_ns, deadline_ns; /**< relative */
    int32_t priority;                /**< of the workload; smaller is more urgent */
    uint64_t bound_ns;               /**< sum of its segments' bounds */
    uint32_t segment_count;
} aegis_policy_model;

typedef struct aegis_policy_job {
    uint64_t job, sequence;
    uint32_t model;
    uint64_t release_ns;  /**< absolute */
    uint64_t deadline_ns; /**< absolute: release + D, as admitted */
    uint32_t segment;
} aegis_policy_job;

/** The next job of one foreground model of the lane: its first one that is ready, else its earliest
 * possible release to come. */
typedef struct aegis_policy_peer {
    uint32_t model;
    uint64_t release_ns, deadline_ns; /**< absolute; the deadline as admitted */
    uint64_t left_ns;                 /**< bounds of the segments that are left */
    uint64_t segment_ns;              /**< bound of the next one */
} aegis_policy_peer;

/** What a policy may look at when a lane is free. Grows at the end only. */
typedef struct aegis_policy_view {
    uint64_t now_ns;
    uint16_t lane;
    size_t ready_count;                /**< foreground jobs */
    const aegis_policy_job *head;      /**< what runs unless the policy waits; never NULL */
    const aegis_policy_job *runner_up; /**< the next one, or NULL */
    uint64_t next_release_ns; /**< earliest known future release of this lane; UINT64_MAX */
    uint32_t next_release_model;
    /** The next job of each model of the lane, the head's included, by deadline and then model; not
     * those of which no job was seen yet. Valid until idle_until returns. Made when it is asked
     * for: O(n log n) in the models of the core. */
    const aegis_policy_peer *(*peers)(const struct aegis_policy_view *view, size_t *ret_count);
    const void *context; /**< of the core */
} aegis_policy_view;

typedef struct aegis_policy_ops {
    uint32_t version; /**< AEGIS_POLICY_OPS_VERSION, or 1 without the last member; grows at the end
                         only */
    const char *name;
    /** Optional: bookkeeping when a model enters or leaves. O(log n). */
    void (*add_model)(void *self, const aegis_policy_model *model);
    void (*remove_model)(void *self, uint32_t model);
    /** Required: the key of a job when it becomes ready and after each segment. Smallest first;
     * ties go to the lower model number, then the higher job priority, then the earlier
     * submission. */
    int64_t (*key)(void *self, const aegis_policy_model *model, const aegis_policy_job *job);
    /** Optional: a policy that may wait returns an instant later than view->now_ns until which the
     * lane stays idle (or until the next event); 0 runs view->head. NULL: always runs the head. */
    uint64_t (*idle_until)(void *self, const aegis_policy_view *view);
    /** Optional: true when a proof exists: which test, and how tasks are ordered for it (indexes of
     * `models` in priority order, highest first, written to `ret_order`; EDF and FIFO tests ignore
     * it). `models` are those of one lane. NULL: no proof, so the policy runs in simulation only.
     */
    bool (*proof)(void *self,
                  const aegis_policy_model *models,
                  size_t count,
                  aegis_analysis *ret_analysis,
                  size_t *ret_order);
    /** Since version 2. True: all segments of a job have the same key, because `key` looks at the
     * model and at the release and the deadline of the job alone. What follows a segment can then
     * be foreseen (aegis_core_foresee), and on a GPU be launched ahead, also when it competes. */
    bool key_keeps;
} aegis_policy_ops;

/**
 * What background models add to the proof of a lane: a task to be put behind the foreground tasks
 * (lowest priority) that stands for blocking by the longest background segment and for nothing
 * else. For np-fp, fpp and np-edf it blocks with `longest_segment` - 1 exactly; for fifo too (by
 * one tick more when a segment is a single tick). Its own result means nothing.
 * @return false when the test knows no blocking (fp, edf: preemptive) or the length is out of
 * range: then there is no proof with background models.
 */
bool aegis_policy_background_task(aegis_analysis analysis,
                                  const aegis_task *tasks,
                                  size_t count,
                                  int64_t longest_segment,
                                  aegis_task *ret_task);

#ifdef __cplusplus
}
#endif
#endif
