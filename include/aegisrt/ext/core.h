/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_CORE_H
#define AEGISRT_EXT_CORE_H

/**
 * @file core.h The scheduler core: a pure function of its state, the time and one event.
 *
 * `aegis_core_step(core, now, event) -> actions` allocates nothing, calls nothing but the policy
 * and reads no clock. The real driver, the simulator and the replayer all run this one code. Every
 * event and every action maps to trace records (trace.h), so a trace is enough to replay.
 *
 * One step applies the event, moves releases that are due into the ready queues, detects overruns,
 * then fills idle lanes in lane order, and last arms the timer when its instant changed.
 *
 * Rules it enforces:
 *  - one segment at a time on a lane; a job's segments run in order; the policy decides at segment
 *    ends. Order: smallest key, then model number, then job priority (higher first), then sequence
 *    (of acceptance). A model has at most one job between its first and its last segment: that one
 *    goes before the model's other jobs whatever their keys.
 *  - arrival curve: releases of a model are at least its period apart. An earlier one is rejected
 *    (TOO_EARLY) or its release delayed, as the model says; its deadline moves with it. Policies
 *    see the admitted deadline, release + D: a later one asked for at submission only says when the
 *    job counts as late, because a schedule by it would not be the one that was proved.
 *  - a deadline below release + D is rejected (DEADLINE_EARLIER).
 *  - at most `queue_depth` jobs of a model exist at once, else QUEUE_FULL. Each job holds one slot
 *    number 0..queue_depth-1 of its model from acceptance to the end (lowest free one).
 *  - a segment that runs longer than `bound`, or still runs `bound` after its start allowance, is
 *    an overrun: `abort` terminates it, `skip` drops the model's next release, `report` records.
 *    The compute budget of a period, which is that of one job, terminates in the same way whatever
 *    the overrun rule, and at segment ends takes the rest of the job.
 *  - a job that was told to terminate still counts as finished when its last segment reports OK.
 *  - occupancy of a lane (dispatch until SEGMENT_DONE is processed) beyond the enforceable bound,
 *    and a release that became ready later than nominal plus `wake_bound_ns` plus the model's own
 *    jitter, break the lane's proof: the lane is void until it is idle of foreground work
 *    (LANE_WHOLE; a background segment within its bound is blocking that every proof contains). A
 *    late job is excused only then. What broke it is an OVERRUN action with the rationale that the
 *    misses will carry, EXCUSED_OVERRUN or EXCUSED_WAKE: model, job and operands name the cause.
 *  - background models run when no foreground job of the lane is ready, by virtual time: execution
 *    over weight, smallest first. They have no deadline and are never late. One with a share rests
 *    after each of its segments, whatever is ready of it, so long that it executes for at most that
 *    part of any time between the starts of two of its segments.
 *  - a segment of a background model may wait for more than the lane: for bytes that a disk brings.
 *    Such a segment (`awaited_segments`) is ready from a SEGMENT_READY event of it on, until a
 *    segment of the model is dispatched. Meanwhile its model stands aside and holds up nobody;
 *    nothing bounds that wait, so models with deadlines cannot have such segments.
 *  - the inputs of a job may have to come to the device before it can run (`copies_early`): when it
 *    is released, COPY_IN asks for them, and the job is ready from INPUTS_READY of it on. How late
 *    that is counts as the lateness of its release does, so jitter_ns has what copies take. One job
 *    of a model at a time has its inputs there, from COPY_IN to its end: the next one's are asked
 *    for then, so that nobody writes over what a job still reads.
 *  - a run that failed for a permanent or fatal reason makes its model faulted: its other jobs end
 *    (ABORT, MODEL_FAULTED) and submissions are rejected until CLEAR_FAULT.
 *  - a job finishes at the `end_ns` that the lane reports; its response counts from its release.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>
#include <aegisrt/policy.h>
#include <aegisrt/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_core aegis_core;

typedef enum aegis_overrun_rule {
    AEGIS_OVERRUN_ABORT = 0,
    AEGIS_OVERRUN_SKIP,
    AEGIS_OVERRUN_REPORT
} aegis_overrun_rule;

typedef enum aegis_early_rule {
    AEGIS_EARLY_REFUSE = 0,
    AEGIS_EARLY_DELAY
} aegis_early_rule;

#define AEGIS_MAX_SEGMENTS 64
/** A share of all the time, in parts per million. */
#define AEGIS_SHARE_WHOLE 1000000u
#define AEGIS_CORE_MAX_LANES 64u
#define AEGIS_CORE_MAX_MODELS 65534u
#define AEGIS_CORE_MAX_QUEUE_DEPTH 1024u
/** Largest bound, period or deadline: 73 years, so that sums of a few never overflow. Instants may
 * be up to INT64_MAX; sums with them stop there. */
#define AEGIS_CORE_MAX_DURATION_NS (UINT64_MAX / 8)

typedef struct aegis_core_config {
    uint16_t lanes;         /**< 1..64 */
    uint32_t max_models;    /**< model numbers are below this; 1..65,534 */
    uint32_t max_jobs;      /**< of all models together; 1..2^24 */
    uint64_t wake_bound_ns; /**< J: how late a release may become ready without breaking a proof */
    /** From dispatch to start of execution: allowance before an overrun. */
    uint64_t launch_bound_ns;
} aegis_core_config;

/** One admitted model. */
typedef struct aegis_core_model {
    uint32_t model;
    uint16_t lane;
    uint64_t period_ns; /**< T; for background models the smallest distance of releases, may be 0 */
    uint64_t deadline_ns; /**< D; 0 for background */
    int32_t priority;
    /** Of its releases, beside the driver's wake_bound_ns; part of the proof. With copies_early how
     * long after its nominal release the inputs of a job may arrive, likewise. */
    uint64_t jitter_ns;
    uint32_t queue_depth; /**< 1..1,024 */
    aegis_overrun_rule overrun;
    aegis_early_rule early;
    bool background;
    uint32_t weight;    /**< of background models, >= 1 */
    uint32_t share_ppm; /**< of background models: most of the time, 1..AEGIS_SHARE_WHOLE; 0: all */
    bool copies_early;  /**< jobs wait for INPUTS_READY; not for background models */
    uint64_t awaited_segments;  /**< bit s: segment s waits for SEGMENT_READY; background only */
    uint64_t compute_budget_ns; /**< per period; 0: none */
    uint32_t segment_count;
    uint64_t segment_bound_ns[AEGIS_MAX_SEGMENTS];       /**< C of each segment */
    uint64_t segment_enforceable_ns[AEGIS_MAX_SEGMENTS]; /**< C^E of each segment */
} aegis_core_model;

typedef enum aegis_core_event_kind {
    AEGIS_CORE_MODEL_ADD = 1, /**< `add` */
    AEGIS_CORE_MODEL_REMOVE,  /**< model: its jobs end (REMOVED) when none of it runs, else at its
                                 end */
    AEGIS_CORE_SUBMIT, /**< model, job, release_ns, deadline_ns (0: release + D), job_priority,
                            seen_ns, more */
    AEGIS_CORE_TIMER,  /**< seen_ns; the time that was armed has come (early and stale ones are
                            harmless) */
    AEGIS_CORE_SEGMENT_DONE,  /**< model, job, lane, segment, start_ns, end_ns, status */
    AEGIS_CORE_CLEAR_FAULT,   /**< model: submissions are accepted again */
    AEGIS_CORE_SEGMENT_READY, /**< model, segment: what it waited for is there */
    AEGIS_CORE_INPUTS_READY,  /**< model, job, start_ns, end_ns, status: of the copy that COPY_IN
                                   asked for; a status that is not OK ends the job as a run's does */
    AEGIS_CORE_MODEL_JITTER,  /**< model, jitter_ns: in place of the one that it was added with */
    AEGIS_CORE_STOP           /**< no more dispatches; running segments still report */
} aegis_core_event_kind;

typedef struct aegis_core_event {
    aegis_core_event_kind kind;
    uint32_t model;
    uint16_t lane;
    uint32_t segment;
    uint64_t job; /**< > 0, unique; given by the driver */
    uint64_t release_ns, deadline_ns;
    int32_t job_priority;
    uint64_t start_ns, end_ns;
    uint64_t jitter_ns;
    /** SUBMIT and TIMER: when the driver saw that there was something to hand over, not later than
     * the step; 0: at the step. A release is late by this instant: what the driver does from then
     * on is its own work, which the enforceable bounds of segments hold. */
    uint64_t seen_ns;
    aegis_status status;
    const aegis_core_model *add;
    /** SUBMIT only: another one that was seen with it follows, so nothing is released, dispatched
     * or armed yet. Submissions that are seen together are thus ordered by the policy alone, and
     * judged by the seen_ns of the last. */
    bool more;
} aegis_core_event;

/**
 * One output. `kind` is a decision kind of trace.h (DISPATCH .. COPY_IN) and a..d are the
 * operands documented there. DISPATCH: execute `segment` of `job` in `slot` on `lane`; for
 * background models the keys are virtual times. TERMINATE: end the segment that runs on `lane`
 * (rationale OVERRUN or COMPUTE_BUDGET; a is the bound or the budget). COMPLETE, MISS, ABORT,
 * REJECT, SKIP end a job; `slot` is the one it held, meaningless for REJECT. REJECT has in b what
 * would have been accepted: the earliest release (TOO_EARLY), the deadline (DEADLINE_EARLIER), the
 * queue depth (QUEUE_FULL), the status (MODEL_FAULTED). OVERRUN: a bound, b elapsed, c segment;
 * with EXCUSED_OVERRUN a is the enforceable bound and b the occupancy, with EXCUSED_WAKE a is how
 * late the release could have become ready and b how late it did. COPY_IN: copy the inputs of `job`
 * in `slot`, and report INPUTS_READY. ARM_TIMER: a is the next instant
 * at which a TIMER event is wanted (INT64_MAX: none); later ones replace it. Deadlines of
 * background jobs are INT64_MAX.
 */
typedef struct aegis_core_action {
    aegis_trace_kind kind;
    aegis_rationale rationale;
    uint32_t model; /**< AEGIS_TRACE_NONE: none */
    uint16_t lane;
    uint32_t segment, slot;
    uint64_t job;
    int64_t a, b, c, d;
} aegis_core_action;

/** All memory is taken here. The policy's `self` is borrowed. INVALID_ARGUMENT naming the field of
 * the configuration or the op that is wrong; NO_MEMORY. One thread at a time, like all of it. */
aegis_status aegis_core_create(const aegis_core_config *config,
                               const aegis_policy *policy,
                               const aegis_allocator *allocator,
                               aegis_core **ret_core,
                               aegis_error *err);
void aegis_core_destroy(aegis_core *core);

/** Upper bound of the actions of one step: the size of the caller's buffer. */
size_t aegis_core_max_actions(const aegis_core *core);

/**
 * Takes one event. `now_ns` never goes back and is at most INT64_MAX. `ret_actions` has room for
 * aegis_core_max_actions; actions are written in a total, deterministic order. A malformed event
 * (time going back, a model number never possible or, but for SUBMIT, not admitted; a job number in
 * use or 0; limits out of range; done for a lane that runs something else, inputs of a job that
 * does not wait for them, or with start <= end <= now untrue) is INVALID_ARGUMENT and changes
 * nothing. O(log n) in ready jobs, except MODEL_REMOVE and faults, which end all jobs of a model.
 */
aegis_status aegis_core_step(aegis_core *core,
                             uint64_t now_ns,
                             const aegis_core_event *event,
                             aegis_core_action *ret_actions,
                             size_t *ret_count,
                             aegis_error *err);

/** Counters of one model. jobs = completed + missed + aborted + dropped + skipped + pending. */
typedef struct aegis_core_counters {
    uint64_t jobs, completed, missed, aborted, dropped, skipped, pending;
    uint64_t refused;  /**< submissions that never became jobs (too early, deadline too early, not
                            admitted, faulted, stopping) */
    uint64_t overruns; /**< segments past their bound */
    uint64_t excused, unexcused; /**< of `missed` */
} aegis_core_counters;
/** Also while another thread applies events: then each counter is a moment's view, and they need
 * not add up. INVALID_ARGUMENT when `model` is not below max_models. They stay after a removal and
 * start anew when the number is admitted again. */
aegis_status aegis_core_model_counters(const aegis_core *core,
                                       uint32_t model,
                                       aegis_core_counters *ret_counters,
                                       aegis_error *err);
/** Next instant at which a TIMER event is wanted; UINT64_MAX: none. */
uint64_t aegis_core_next_timer(const aegis_core *core);
/** True when nothing runs and nothing is ready on the lane. */
bool aegis_core_lane_idle(const aegis_core *core, uint16_t lane);
/** True when every bound held since the lane was last idle of foreground work. */
bool aegis_core_lane_whole(const aegis_core *core, uint16_t lane);
/** Jobs that wait for the lane, background ones included. */
size_t aegis_core_ready_count(const aegis_core *core, uint16_t lane);
/** Model, job and segment that run on the lane; false when none does. */
bool aegis_core_lane_running(const aegis_core *core,
                             uint16_t lane,
                             uint32_t *ret_model,
                             uint64_t *ret_job,
                             uint32_t *ret_segment);

/** What a lane would run next. */
typedef struct aegis_core_next {
    uint32_t model; /**< AEGIS_TRACE_NONE: nothing */
    uint32_t segment, slot;
    uint64_t job;
} aegis_core_next;
/**
 * What the lane would run next if the next event were that what runs on it ended without fault:
 * SEGMENT_DONE with the status OK, now and at `end_ns`, after executing for `execution_ns`. The
 * answer is what that step dispatches on the lane. Advice, and a pure function: it changes nothing,
 * and whatever comes before the end may change what follows. O(1).
 * @return false when it is not known, or nothing runs on the lane: the policy may wait
 * (`idle_until`), a release is due by then or a rest ends, so that keys and ranks would be made
 * anew, the segment that follows competes under a policy of which `key_keeps` is not known, or
 * `end_ns` has passed.
 */
bool aegis_core_foresee(const aegis_core *core,
                        uint16_t lane,
                        uint64_t end_ns,
                        uint64_t execution_ns,
                        aegis_core_next *ret_next);

/* ---- events and actions as trace records ---- */

/** The EVENT_CORE record: the first of an orchestration ring. */
aegis_trace_record aegis_core_config_to_record(const aegis_core_config *config, uint64_t now_ns);

#define AEGIS_CORE_EVENT_RECORDS (AEGIS_MAX_SEGMENTS + 2)
/** Records of one event, in order, to be written before those of its actions. MODEL_ADD takes
 * several: its limits, one per segment, then the addition itself, with the jitter in d. SUBMIT has
 * `more` in d. At most AEGIS_CORE_EVENT_RECORDS. Returns the number. */
size_t aegis_core_event_to_records(const aegis_core_event *event,
                                   uint64_t now_ns,
                                   aegis_trace_record *ret_records);
/** The record of one action. */
aegis_trace_record aegis_core_action_to_record(const aegis_core_action *action, uint64_t now_ns);

/** The inverse: false when it is no EVENT_CORE record or its limits are out of range. */
bool aegis_core_config_from_record(const aegis_trace_record *record, aegis_core_config *ret_config);
/**
 * Reads an event record. LIMITS and SEGMENT records only fill in `add`, which the caller keeps from
 * call to call: `ret_whole` is false then and `ret_event` untouched. An addition borrows `add`.
 * @return NULL, or what is wrong with the record, static: it does not belong to the records before
 * it, or is no event.
 */
const char *aegis_core_event_from_record(const aegis_trace_record *record,
                                         aegis_core_model *add,
                                         aegis_core_event *ret_event,
                                         bool *ret_whole);

#ifdef __cplusplus
}
#endif
#endif
