/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_SCHEDULER_H
#define AEGISRT_SCHEDULER_H

/**
 * @file scheduler.h Admission, then dispatch by the proved policy, in real time.
 *
 * One orchestration thread drives the scheduler core (ext/core.h): it releases periodic jobs at
 * their nominal instants, takes submissions from bounded lock-free queues, dispatches segments to
 * lanes (streams) and enforces bounds. While it sleeps, the thread of a lane whose segment ended
 * makes the decision that follows; one of them at a time does, and only the orchestration thread
 * ever waits for another's to end. After start none of this takes another lock, allocates, or makes
 * a system call but the clock and the wake. Callbacks run on a thread of their own.
 *
 * Threads: submit, check, hangs and the metrics may be called from any thread at any time, other
 * set-up calls from any thread but a callback's; these wait for each other. Metrics and answer of a
 * model are not asked for while it is evicted. The model, its inputs and its context are
 * the scheduler's from admit until evict has returned.
 */

#include <aegisrt/admission.h>
#include <aegisrt/backend.h>
#include <aegisrt/clock.h>
#include <aegisrt/context.h>
#include <aegisrt/cuts.h>
#include <aegisrt/device.h>
#include <aegisrt/ext/core.h>
#include <aegisrt/policy.h>
#include <aegisrt/profile.h>
#include <aegisrt/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_scheduler aegis_scheduler;

/** How the orchestration thread waits. */
typedef enum aegis_wait_mode {
    AEGIS_WAIT_SLEEP = 0, /**< futex; costs its wake-up */
    AEGIS_WAIT_POLL       /**< spins: wants a core of its own, refused when lanes need all cores */
} aegis_wait_mode;

typedef struct aegis_scheduler_config {
    aegis_stream *const *lanes; /**< borrowed */
    uint16_t lane_count;
    aegis_policy policy;
    aegis_clock clock;   /**< a monotonic clock in real time */
    uint32_t max_models; /**< 0: 64 */
    uint32_t max_jobs;   /**< 0: 4,096 */
    aegis_wait_mode wait;
    int cpu;                    /**< pin the orchestration thread; -1: not */
    int fifo_priority;          /**< SCHED_FIFO of the orchestration thread; 0: ordinary */
    uint64_t wake_bound_ns;     /**< J in the proofs; 0: measured at create */
    uint64_t overhead_bound_ns; /**< launch + completion detection + one decision; 0: measured */
    aegis_trace_collector *collector; /**< may be NULL */
    /** A segment that still runs this long after its enforceable bound does not end: the run fails
     * with DEVICE_LOST. 0: segments are waited for without end. */
    uint64_t hang_ns;
    /** Copies inputs of models with early copies, first come first served, beside the lanes; has
     * room for two commands a model. NULL: there are no such models. Borrowed. */
    aegis_stream *copy_stream;
} aegis_scheduler_config;

/** Lanes and collector are borrowed and outlive it. INVALID_ARGUMENT; PERMISSION when pinning or
 * SCHED_FIFO is refused; CONFIG when polling would take a lane's core; EXISTS when the collector
 * has had a scheduler before, STATE when it is finished; NO_MEMORY. */
aegis_status aegis_scheduler_create(const aegis_scheduler_config *config,
                                    const aegis_allocator *allocator,
                                    aegis_scheduler **ret_scheduler,
                                    aegis_error *err);
/** Stops first when needed. NULL is fine. When a lane hangs nothing is freed: its thread may still
 * touch scheduler, lanes, models, device and trace collector, which all stay until the process
 * ends.
 */
void aegis_scheduler_destroy(aegis_scheduler *scheduler);
/** True once a lane did not end (hang_ns). Any thread. NULL is fine. */
bool aegis_scheduler_hangs(const aegis_scheduler *scheduler);
/** The fatal failure that stop will return (DEVICE_LOST), as soon as there is one; else OK. Any
 * thread. */
aegis_status aegis_scheduler_check(const aegis_scheduler *scheduler, aegis_error *err);

/** The bounds of the driver that every proof uses. */
uint64_t aegis_scheduler_wake_bound_ns(const aegis_scheduler *scheduler);
uint64_t aegis_scheduler_overhead_bound_ns(const aegis_scheduler *scheduler);

/** A model of the pool that takes on another profile: it was cut for the sake of the new one. */
typedef struct aegis_admission_change {
    uint32_t model;
    const aegis_profile *profile; /**< copied */
} aegis_admission_change;

/** What a model asks for. A cut model brings the bounds of its segments in its profile; each of
 * them counts with its own stretch and the driver's overhead, and the model with their sum. */
typedef struct aegis_admission_request {
    const aegis_profile *profile;
    uint64_t period_ns, deadline_ns; /**< deadline 0: the period */
    uint64_t offset_ns;              /**< of the first periodic release after start */
    uint64_t jitter_ns;              /**< of its submissions, beside the driver's own */
    int32_t priority;                /**< np-fp: smaller is more urgent */
    int lane;                        /**< -1: admission chooses */
    bool periodic;                   /**< the driver releases it; else it is submitted */
    uint32_t queue_depth;            /**< 0: 64 */
    uint32_t slots;                  /**< data slots of the model (aegis_model_config); 0: 1 */
    bool external;                   /**< inputs come with each submission, one data slot a job */
    aegis_overrun_rule overrun;
    aegis_early_rule early;
    /** No deadline (deadline_ns is 0), not in the proofs but as blocking by its longest segment.
     * With `periodic` and a period of 0 it is continuous: the driver keeps two jobs of it in being
     * and releases one when one ends; it takes no submissions then. */
    bool background;
    uint32_t weight; /**< of background models, >= 1: their share of the slack */
    /** Of background models: part of its lane's time that it executes for at most, in parts per
     * million up to AEGIS_SHARE_WHOLE; 0: all that is left. It leaves the rest to nobody else. */
    uint32_t share_ppm;
    /** The inputs of a job are copied to the device when it is released, and it is ready when they
     * have come: how long that takes is jitter of its release (copy_response_ns of the answer), and
     * no part of C. The profile has copy_bound_ns; the model has a deadline, at most its period,
     * and was opened so (aegis_model_config.early_copies). It makes inputs of the other early
     * models come later; their lanes are proved with that too. */
    bool early_copies;
    /** Other models whose profiles change together with this admission, or not at all when it is
     * refused. Only before start: STATE. Borrowed for the call. */
    const aegis_admission_change *changes;
    size_t change_count;
} aegis_admission_request;

typedef struct aegis_admission_answer {
    bool admitted;
    aegis_rationale rationale;
    uint16_t lane;
    uint64_t bound_ns;       /**< C */
    uint64_t enforceable_ns; /**< C^E: what the proof counts */
    int64_t response_ns;     /**< proved worst response; negative: see AEGIS_RESPONSE_...;
                                  OMITTED for background */
    int64_t blocking_ns;
    double utilisation;      /**< of the lane, by enforceable bounds, this model included
                                  (background never is) */
    int64_t violation_at_ns; /**< np-edf refusals */
    uint32_t culprit;        /**< model that would miss, AEGIS_TRACE_NONE: none */
    aegis_fit fit;           /**< on refusal: what of this model would be accepted */
    char reason[512];        /**< one sentence: which test, where, who competes */
    uint32_t segments;       /**< that it runs in */
    uint64_t longest_ns;     /**< enforceable bound of the longest */
    uint32_t blocker;        /**< on refusal: model whose segment blocks, AEGIS_TRACE_NONE: none */
    uint64_t copy_bound_ns;  /**< of early copies: K, the profile's and the driver's overhead; 0: it
                                  copies inline */
    /** Likewise: how late after a nominal release its inputs may arrive, behind those of all early
     * models; first in, first out over their K, T and release jitters. */
    uint64_t copy_response_ns;
    uint64_t jitter_ns; /**< J that the proof counts: the driver's and its own, or for early copies
                             copy_response_ns and the driver's once more, to see that they came */
} aegis_admission_answer;

/** Analyses without admitting: pure in effect. OK also when it would be refused: `ret_answer` says
 * so. INVALID_ARGUMENT for a request that contradicts itself, or with times, bounds and stretches
 * that reach 2^61 ns; STATE for changes of other models while it runs; OVERFLOW; NO_MEMORY. */
aegis_status aegis_scheduler_analyse(aegis_scheduler *scheduler,
                                     const char *name,
                                     const aegis_admission_request *request,
                                     aegis_admission_answer *ret_answer,
                                     aegis_error *err);

/** What the other models of a lane tolerate of one: the ground for cutting it. */
typedef struct aegis_cut_advice {
    uint32_t model;
    uint64_t longest_ns;   /**< enforceable bound of its longest segment as it stands */
    uint64_t tolerance_ns; /**< what it may be at most (aegis_cut_tolerances); UINT64_MAX: anything;
                                0: no cut helps, one of the others misses without blocking */
    uint32_t limited_by;   /**< model whose slack it is, AEGIS_TRACE_NONE: none */
    uint64_t at_ns;        /**< aegis_cut_tolerance.at */
} aegis_cut_advice;

/**
 * Compares, for a lane as it would be with the model of the request on it, each model's longest
 * segment with what the others tolerate. `ret_advice` has room for max_models + 1 entries (`name`
 * has the number `model`). Pure in effect.
 * @return OK, with 0 entries when the policy has no proof; UNDECIDED when there is too much to look
 * at; else as aegis_scheduler_analyse.
 */
aegis_status aegis_scheduler_cut_advice(aegis_scheduler *scheduler,
                                        const char *name,
                                        uint32_t model,
                                        const aegis_admission_request *request,
                                        uint16_t lane,
                                        aegis_cut_advice *ret_advice,
                                        size_t *ret_count,
                                        aegis_error *err);

/**
 * Analyses and, when the proof holds, adds the model of `context` to the pool. Before start the
 * models that are not pinned may be moved between lanes (first fit by decreasing utilisation, then
 * by search); after start nobody moves. The context is borrowed until evict or destroy; its id is
 * the model number.
 * @return NOT_ADMITTED with the answer filled in when refused; EXISTS when the number is taken;
 * when the scheduler runs, STATE for a model that is not placed, and CONFIG for one with a deadline
 * that waits for its weights, or one opened for other copies than it is admitted with; else as
 * aegis_scheduler_analyse.
 */
aegis_status aegis_scheduler_admit(aegis_scheduler *scheduler,
                                   aegis_context *context,
                                   const aegis_admission_request *request,
                                   aegis_admission_answer *ret_answer,
                                   aegis_error *err);
/** The answer of an admitted model as it stands now (lane and response change as others come).
 * NOT_FOUND. */
aegis_status aegis_scheduler_answer(const aegis_scheduler *scheduler,
                                    uint32_t model,
                                    aegis_admission_answer *ret_answer,
                                    aegis_error *err);
/** Takes a model out; blocks until none of its jobs runs and every submitter has its answer.
 * Submissions to it may go on meanwhile and are refused. NOT_FOUND; DEVICE_LOST when a lane hangs.
 */
aegis_status aegis_scheduler_evict(aegis_scheduler *scheduler, uint32_t model, aegis_error *err);

/** For who opens, places or closes a model of a CUDA device while the scheduler runs: that may wait
 * for the whole device on a lane's thread, and so for what was launched ahead of its decision,
 * which would wait for that thread. Returns when nothing launched ahead stands there any more;
 * until aegis_scheduler_resume_ahead, as often as this one, nothing is. Jobs go on. @return
 * DEVICE_LOST when a lane hangs, and then it counts for nothing. */
aegis_status aegis_scheduler_pause_ahead(aegis_scheduler *scheduler, aegis_error *err);
void aegis_scheduler_resume_ahead(aegis_scheduler *scheduler);

/** Starts the orchestration thread, once in a scheduler's life. Periodic releases begin at
 * `start_ns` of the clock (0: 10 ms from now). STATE when it was started before or a model is not
 * placed; CONFIG when one with a deadline waits for its weights, or was opened for other copies
 * than it was admitted with. */
aegis_status aegis_scheduler_start(aegis_scheduler *scheduler, uint64_t start_ns, aegis_error *err);
/** No more releases; waits for running segments; jobs that are left count as pending, and who
 * waits for one hears REJECTED, on this thread. STATE when it does not run. A fatal failure of a
 * lane while it ran (DEVICE_LOST) is returned here, after all but a lane that hangs has ended. */
aegis_status aegis_scheduler_stop(aegis_scheduler *scheduler, aegis_error *err);

/** How a job ended. */
typedef enum aegis_job_end {
    AEGIS_JOB_COMPLETED = 0,
    AEGIS_JOB_MISSED, /**< done, late */
    AEGIS_JOB_ABORTED,
    AEGIS_JOB_REJECTED,
    AEGIS_JOB_SKIPPED
} aegis_job_end;

typedef struct aegis_job_result {
    uint32_t model;
    uint32_t slot; /**< for aegis_model_output during the callback */
    uint64_t job;
    aegis_job_end end;
    aegis_rationale rationale;
    aegis_status status;
    uint64_t release_ns, deadline_ns, finish_ns;
} aegis_job_result;

/** Called on the callback thread; outputs of the slot stay as they are until it returns. It may
 * submit, and makes no set-up call. */
typedef void (*aegis_job_callback)(void *self, const aegis_job_result *result);

typedef struct aegis_job_input {
    const char *name;
    const void *data;
    size_t size_bytes;
} aegis_job_input;

typedef struct aegis_submission {
    uint64_t earliest_start_ns;    /**< absolute; 0: now. The release */
    uint64_t deadline_ns;          /**< absolute; 0: release + admitted deadline */
    int32_t priority;              /**< higher first, among the jobs of this model only */
    const aegis_job_input *inputs; /**< copied in before this returns */
    size_t input_count;
    aegis_job_callback callback; /**< may be NULL */
    void *callback_self;
} aegis_submission;

/** Submits one job from any thread. Lock-free, no allocation. A job's record (with external inputs
 * also its slot) stays taken until its callback has returned. QUEUE_FULL, NOT_ADMITTED, STATE (not
 * started), INVALID_ARGUMENT (inputs of another size, or for a model that has its own; a continuous
 * model), NOT_FOUND (no such input), and what copying the inputs returned. What the core refuses
 * later (too early) reaches the callback as REJECTED. */
aegis_status aegis_scheduler_submit(aegis_scheduler *scheduler,
                                    uint32_t model,
                                    const aegis_submission *submission,
                                    uint64_t *ret_job,
                                    aegis_error *err);

/** Makes a model that failed take jobs again; one that did not fail is left as it is. NOT_FOUND. */
aegis_status
aegis_scheduler_clear_fault(aegis_scheduler *scheduler, uint32_t model, aegis_error *err);

/** Distribution of times in ns, from a histogram with 1.6 % relative steps; max is exact. */
typedef struct aegis_distribution {
    uint64_t count, max, p50, p99, p999;
    double mean, cv;
} aegis_distribution;

/** What a proof of responses rests on and what a run can break. Arrivals are no such thing:
 * submissions that come earlier than was admitted are refused or delayed. */
typedef enum aegis_premise {
    AEGIS_PREMISE_NONE = 0,  /**< no premise broke: the proof, or what it rests on, is wrong */
    AEGIS_PREMISE_EXECUTION, /**< a segment passed its execution bound, and what is allowed to end
                                it after that */
    AEGIS_PREMISE_OVERHEAD,  /**< a segment kept to its bound, but held the lane longer than the
                                bound and what is counted to launch, detect and decide */
    AEGIS_PREMISE_WAKE, /**< a release was seen later than the wake bound and its jitter; inputs
                           of an early model came later */
    AEGIS_PREMISE_ORDER /**< submissions gave priorities, so that jobs of the model overtake
                           each other */
} aegis_premise;
#define AEGIS_PREMISE_COUNT 5
/** "none", "execution", "overhead", "wake", "order"; "unknown" for another value. Static. */
const char *aegis_premise_name(aegis_premise premise);

/** Jobs of a model that finished later after their release than any response that was proved of the
 * model since it was admitted. What broke voids the proofs of its lane until the lane is idle. */
typedef struct aegis_past_proof {
    uint64_t jobs;
    uint64_t unexplained; /**< of them, while every premise held: a defect of AegisRT */
    /** Of the last such job, or of the first unexplained one: */
    uint64_t job, response_ns, proved_ns;
    aegis_premise premise;
    uint16_t lane;
    uint32_t cause_model; /**< whose job broke the premise; the model itself for ORDER and NONE */
    uint64_t cause_job;
    /** EXECUTION and OVERHEAD: how long the lane may be held by the segment, and was until then;
     * WAKE: how late a release may be seen, and was; else 0. */
    uint64_t allowed_ns, measured_ns;
    uint64_t since_ns; /**< when it broke; ORDER and NONE: 0 */
} aegis_past_proof;

typedef struct aegis_model_metrics {
    aegis_core_counters counters;
    aegis_distribution response_ns;  /**< nominal release to finish, of jobs that finished */
    aegis_distribution execution_ns; /**< of executions that ended by themselves */
    aegis_distribution start_ns;     /**< dispatch decision to start of execution */
    aegis_distribution arrival_ns; /**< of early copies: decision to copy to the inputs' arrival */
    uint64_t busy_ns;              /**< in which it executed, runs that were ended included */
    aegis_drift drift;             /**< whether executions keep to the profile */
    uint64_t page_ins;             /**< executions that read weights in first */
    uint64_t paged_in_bytes;       /**< read by them */
    aegis_past_proof past_proof;   /**< responses beyond what was proved */
} aegis_model_metrics;

/** How far the proofs of a lane held: what breaks a premise voids them until the lane is idle, and
 * what breaks while they are void is not counted. */
typedef struct aegis_lane_proofs {
    uint64_t voided[AEGIS_PREMISE_COUNT]; /**< how often, by the premise that broke */
    uint64_t void_ns;                     /**< for how long in all, until now */
} aegis_lane_proofs;

typedef struct aegis_scheduler_metrics {
    uint64_t decisions;
    uint64_t lane_turns; /**< ends of segments after which the lane itself made the decision,
                            because the orchestration thread slept */
    uint64_t opened;     /**< segments that were enqueued ahead, while another one ran, as what is
                            foreseen to follow it, and begun by opening their gate */
    uint64_t elapsed_ns; /**< since start */
    uint16_t lane_count;
    uint64_t lane_busy_ns[64];         /**< time in which the lane executed */
    aegis_lane_proofs lane_proofs[64]; /**< of its periodic models */
    aegis_distribution wake_ns;        /**< nominal release to the moment the driver saw it */
    aegis_distribution decision_ns;    /**< time of one core step */
} aegis_scheduler_metrics;

/** While running: counters are a moment's view. Always OK. */
aegis_status aegis_scheduler_get_metrics(const aegis_scheduler *scheduler,
                                         aegis_scheduler_metrics *ret_metrics,
                                         aegis_error *err);
/** Of one model, likewise. NOT_FOUND when it is not admitted. */
aegis_status aegis_scheduler_model_metrics(const aegis_scheduler *scheduler,
                                           uint32_t model,
                                           aegis_model_metrics *ret_metrics,
                                           aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
