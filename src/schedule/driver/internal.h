/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_DRIVER_INTERNAL_H
#define AEGIS_SCHEDULE_DRIVER_INTERNAL_H

/*
 * The real driver around the pure core. Who owns what:
 *  - whoever has the turn touches the core, the release heap, the job table, the orchestration ring
 *    and the running state of lanes. That is the orchestration thread from its wake to its sleep;
 *    while it sleeps, a lane that ended a segment takes the turn for the next decision, so that no
 *    thread has to wake for it;
 *  - a lane's stream thread writes its results between dispatch and done;
 *  - submitters touch an entry's queue, its record bits and `active`, as `visitors`;
 *  - set-up calls (admit, evict, start, stop) hold `admin` and speak to a running orchestration
 *    thread through `mailbox`.
 */

#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/scheduler.h>

#include "base/base.h"
#include "device/worker.h"
#include "schedule/driver/histogram.h"
#include "schedule/driver/promise.h"
#include "schedule/driver/submit_queue.h"
#include "schedule/driver/turn.h"
#include "schedule/driver/visitors.h"
#include "schedule/driver/wake.h"

#include <pthread.h>
#include <semaphore.h>

#define AEGIS_DRIVER "schedule.driver"
#define AEGIS_MAX_LANES 64u

/* What a submitter wants to hear about one job. Owned by the job from submit to callback. */
typedef struct aegis_call_record {
    struct aegis_entry *entry;
    aegis_job_callback callback;
    void *callback_self;
    aegis_job_result result;
    uint32_t index;
} aegis_call_record;

/* The copy of a job's inputs on the stream for that; of a model with early copies. */
typedef struct aegis_copy {
    uint64_t job; /* that waits for it; 0: none does any more; the turn's */
    uint32_t data_slot;
    bool under_way; /* the turn's */
    uint64_t begun_ns, hung_at_ns;
    /* written by the stream's thread, published by `done` */
    uint64_t start_ns, end_ns;
    aegis_status status;
    aegis_error error;
    _Atomic bool done;
} aegis_copy;

/* One model of the pool. */
typedef struct aegis_entry {
    aegis_scheduler *scheduler;
    aegis_context *context;
    aegis_model *model;
    uint32_t id;
    aegis_admission_request request; /* request.profile points to `profile` */
    aegis_profile profile;
    aegis_admission_answer answer;
    aegis_core_model core;
    _Atomic bool active; /* takes submissions */
    atomic_bool in_core;
    _Atomic bool never_ahead; /* its segments cannot be put behind a gate */
    bool has_halves;          /* what is put there depends on `odd` */
    bool odd;                 /* so many commits; the turn's */
    bool in_job;              /* a job has begun and not ended; the turn's */
    uint64_t next_release_ns; /* of a periodic model */
    uint32_t continuous_jobs; /* of a continuous model: that exist now */
    bool continuous_waits;    /* it stands in the release heap */
    /* Of a model whose weights come from a disk; the turn's. */
    uint32_t due_segment; /* comes next */
    bool is_due;          /* nothing of the model runs, and the core does not know it ready */

    aegis_copy copy;
    /* Of early copies: how late after a release inputs may come. `admin` writes; the core is told
     * when the model that changed it joins. */
    _Atomic uint64_t copy_response_ns;

    aegis_submit_queue queue;
    aegis_call_record *records;
    _Atomic uint64_t *record_bits; /* 1: free */
    uint32_t record_count;

    aegis_histogram response, execution, start, arrival;
    aegis_promise promise;
    /* What the profile says that few executions of each segment pass. */
    uint64_t claimed_ns[AEGIS_MAX_SEGMENTS];
    uint64_t least_ns[AEGIS_MAX_SEGMENTS]; /* the shortest that the profile saw of each; 0: none */
    _Atomic uint64_t busy_ns;              /* in which it executed */
    _Atomic uint64_t past_claim;           /* executions that did */
    _Atomic uint64_t page_ins, paged_in_bytes; /* written by the lane */
} aegis_entry;

/* Jobs of a continuous model that exist at once: with a second one ready, the model takes part in
 * the choice that follows the end of the first, so that weights decide and not who comes back. */
#define AEGIS_CONTINUOUS_JOBS 2u

/* A background model that the driver releases anew whenever one of its jobs ends. */
static inline bool aegis_request_is_continuous(const aegis_admission_request *request)
{
    return request->background && request->periodic && request->period_ns == 0;
}

/* What stands behind the gate of a lane: a segment of a model as it is enqueued for a slot and one
 * half of the state, whichever job it was put there for. */
typedef struct aegis_ahead {
    aegis_entry *entry; /* NULL: nothing does */
    uint32_t segment, data_slot;
    bool odd; /* the model's number of commits, where it has halves */
} aegis_ahead;

/* What is to be put there while a segment runs. */
typedef enum aegis_ahead_want_state {
    AEGIS_AHEAD_NONE = 0,
    AEGIS_AHEAD_WANTED, /* `wanted`; the turn takes it back, or the lane's thread takes it */
    AEGIS_AHEAD_TAKEN   /* until the segment has been collected */
} aegis_ahead_want_state;

typedef struct aegis_lane {
    aegis_scheduler *scheduler;
    aegis_stream *stream;
    aegis_trace_ring *ring;
    uint16_t index;
    /* written at dispatch */
    aegis_entry *entry;
    uint64_t job, dispatched_ns;
    uint32_t segment, data_slot;
    bool opened;                /* the segment stood behind the gate */
    bool running, hung;         /* the turn's */
    aegis_ahead stands;         /* the turn's */
    aegis_ahead wanted;         /* the turn's while it is not WANTED */
    aegis_promise_lane promise; /* the turn's */
    uint64_t hung_at_ns;        /* still running then, it does not end */
    /* written by the stream's thread, published by `done` */
    uint64_t start_ns, end_ns;
    aegis_status status;
    aegis_error error;
    bool was_put;   /* what it took stands behind the gate */
    bool puts_late; /* its thread puts things there while it waits; since start */
    _Atomic bool done;
    _Atomic uint32_t want; /* aegis_ahead_want_state */
    _Atomic bool gateless; /* nothing of the stream can stand behind a gate */
    _Atomic bool discards; /* it lets run what nobody wants any more */
    _Atomic uint64_t busy_ns;
} aegis_lane;

typedef enum aegis_command_to_driver {
    AEGIS_DRIVER_ADD,
    AEGIS_DRIVER_REMOVE,
    AEGIS_DRIVER_CLEAR_FAULT,
    AEGIS_DRIVER_PAUSE_AHEAD,
    AEGIS_DRIVER_STOP
} aegis_command_to_driver;

typedef struct aegis_driver_command {
    aegis_command_to_driver kind;
    aegis_entry *entry;
    aegis_status status;
    aegis_error error;
    sem_t done;
} aegis_driver_command;

/* Jobs that have a record, by number: open addressing, at most half full. */
typedef struct aegis_job_table {
    uint64_t *jobs;
    uint32_t *records;
    uint64_t mask;
} aegis_job_table;

/* What the last admissions found out about each lane, so that the next one costs what is new; under
 * `admin`. A set counts only while it holds the very tasks of its lane, so that it need not be told
 * of models that leave or move. */
typedef struct aegis_lane_memory {
    aegis_admission_set *standing[AEGIS_MAX_LANES]; /* NULL: nothing is known */
    aegis_admission_set *proved[AEGIS_MAX_LANES];   /* by the last search, where it tested */
    bool first_fit; /* the standing lanes are those of first fit by decreasing utilisation, */
    size_t models;  /* of so many models: sets know nothing of background alone on a lane */
    bool proved_first_fit;
    size_t proved_models;
} aegis_lane_memory;

struct aegis_scheduler {
    aegis_allocator allocator;
    aegis_scheduler_config config;
    aegis_lane lanes[AEGIS_MAX_LANES];
    _Atomic(aegis_entry *) *entries; /* by model number, NULL: none; `admin` writes */
    aegis_visitors visitors;         /* submitters, who may be looking at any of them */
    aegis_core *core;
    aegis_core_action *actions;
    size_t max_actions;
    aegis_lane_memory lane_memory;
    aegis_job_table jobs;
    uint32_t *heap; /* periodic models by (next release, number) */
    uint32_t heap_count;
    uint32_t *streaming; /* models with segments that wait for bytes */
    uint32_t streaming_count;
    aegis_entry *
        *copies; /* whose inputs are on their way, first come first: a ring of max_models */
    uint32_t first_copy, copy_count;
    bool copies_hang; /* the first of them does not end */

    aegis_trace_ring *ring;
    aegis_worker *orchestrator, *callbacks;
    bool has_results; /* for the callback thread, not woken yet; the turn's */
    aegis_wake wake;
    aegis_turn turn;
    uint64_t sleeps_until_ns;    /* the orchestration thread; the turn's */
    _Atomic uint32_t pauses;     /* more than 0: nothing is put ahead */
    _Atomic uint64_t *submitted; /* one bit a model: its queue has something */
    _Atomic(aegis_driver_command *) mailbox;
    aegis_driver_command *removing; /* waits for a running segment, or for what was put ahead */
    _Atomic uint64_t next_job;
    pthread_mutex_t admin;
    sem_t entered; /* posted when those of the start are in the core: who comes then is told of */
    bool started, stopping;
    _Atomic bool accepting;
    uint64_t start_ns, stop_ns;
    aegis_status loop_status; /* the turn's; others read it when the orchestration thread has ended,
                                 or `failed` is set */
    aegis_error loop_error;
    _Atomic bool failed; /* fatal */
    _Atomic bool hung;   /* a lane does not end: what it may touch is never given back */

    _Atomic uint64_t decisions, lane_turns, opened;
    aegis_histogram wakes, decision_times;
};

/* NULL: the model is not admitted. */
static inline aegis_entry *aegis_scheduler_entry(const aegis_scheduler *scheduler, uint32_t model)
{
    return model < scheduler->config.max_models
               ? atomic_load_explicit(&scheduler->entries[model], memory_order_acquire)
               : NULL;
}

/* lane.c */
aegis_status aegis_lane_dispatch(aegis_lane *lane, aegis_error *err);

/* ahead.c: what is foreseen to follow what runs, behind the gate of its lane. */

/* Before and after all jobs; the lanes are idle. Stop waits for what stands there. */
void aegis_ahead_start(aegis_lane *lane);
void aegis_ahead_stop(aegis_lane *lane);
/* At dispatch, the turn's; lane->entry, segment and data_slot say what. Opens the gate if that is
 * what stands behind it. */
void aegis_ahead_open(aegis_lane *lane);
/* The turn's, of a lane that runs: what is to be put behind its gate, as the core sees it now. At
 * dispatch before the lane hears of it. */
void aegis_ahead_want(aegis_lane *lane, uint64_t now);
/* After an event, of the lanes that were running before. */
void aegis_ahead_want_again(aegis_scheduler *scheduler, uint64_t now);
/* When the segment has ended, the turn's. */
void aegis_ahead_collect(aegis_lane *lane);
/* On the lane's thread, when the segment that runs was launched: puts what is wanted there, unless
 * that is done later, while the thread waits. */
void aegis_ahead_put(aegis_lane *lane);
/* The turn's. Whether nothing of `entry`, which goes and does not run, stands behind a gate, and
 * nothing of any model that has no job under way, or without an entry nothing at all; else sees to
 * it, and rings the orchestration thread when it has been done. */
bool aegis_ahead_is_clear(aegis_scheduler *scheduler, const aegis_entry *entry);

/* copies.c: inputs that come to the device before their job is ready. */

/* Before a placed model joins: CONFIG when it was opened for the other way. */
aegis_status aegis_copies_check(const aegis_entry *entry, aegis_error *err);
/* The turn's. The inputs of `job` in `data_slot` are enqueued behind those that are on their way.
 */
void aegis_copies_begin(
    aegis_scheduler *scheduler, aegis_entry *entry, uint64_t job, uint32_t data_slot, uint64_t now);
/* The turn's. The job has ended, whether its inputs have come or not. */
static inline void aegis_copies_forget(aegis_entry *entry, uint64_t job)
{
    entry->copy.job = entry->copy.job == job ? 0 : entry->copy.job;
}
/* The turn's. Tells the core of those that have come; false: none has. */
bool aegis_copies_collect(aegis_scheduler *scheduler);

/* faults.c: what ends a run for good; the turn's. */
void aegis_driver_keep_fatal(aegis_scheduler *scheduler, const aegis_lane *lane);
void aegis_driver_keep_fatal_copy(aegis_scheduler *scheduler, const aegis_entry *entry);
void aegis_driver_watch(aegis_lane *lane, uint64_t now); /* at dispatch */
void aegis_driver_find_hung(aegis_scheduler *scheduler);
uint64_t aegis_driver_next_hang(const aegis_scheduler *scheduler);

/* decide.c: hands an event to the core, does what it decides and writes both down. A failure is
 * kept in the scheduler too. */
aegis_status aegis_driver_step(aegis_scheduler *scheduler, const aegis_core_event *event);
/* Of a model's slots, the one with the job's inputs and outputs. */
uint32_t
aegis_driver_data_slot(const aegis_scheduler *scheduler, const aegis_entry *entry, uint64_t job);
/* A continuous model releases one more job at `from_ns`, unless it has as many as it may. */
void aegis_driver_want_job(aegis_scheduler *scheduler, aegis_entry *entry, uint64_t from_ns);

/* loop.c: the orchestration thread's function; `argument` is the scheduler. */
void aegis_driver_loop(void *argument);
/* On the thread of a lane that has said that its segment is done, or of the copies when inputs have
 * come: the next decision, here or by the orchestration thread. */
void aegis_driver_segment_ended(aegis_scheduler *scheduler);

/* scheduler.c: before a placed model joins: CONFIG when it waits for more, or other inputs, than
 * was admitted. */
aegis_status aegis_driver_prepare(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err);
/* A model joins a running scheduler; `admin` is held. */
aegis_status aegis_driver_add(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err);

/* jobs.c: records of submitters, and which job has which. */
aegis_status aegis_job_table_init(aegis_job_table *table,
                                  uint32_t jobs,
                                  const aegis_allocator *allocator,
                                  aegis_error *err);
void aegis_job_table_finish(aegis_job_table *table, const aegis_allocator *allocator);
void aegis_job_table_put(aegis_job_table *table, uint64_t job, uint32_t record);
/* AEGIS_NO_RECORD when the job has none. */
uint32_t aegis_job_table_find(const aegis_job_table *table, uint64_t job);
void aegis_job_table_remove(aegis_job_table *table, uint64_t job);

aegis_status aegis_entry_create(aegis_scheduler *scheduler,
                                aegis_context *context,
                                const aegis_admission_request *request,
                                aegis_entry **ret_entry,
                                aegis_error *err);
void aegis_entry_destroy(aegis_entry *entry);
/* Destroys an entry that submitters may still see. `admin` is held. */
void aegis_scheduler_drop_entry(aegis_scheduler *scheduler, aegis_entry *entry);
/* Takes on a profile (a copy) and with it the bounds of its segments. */
void aegis_entry_set_profile(aegis_entry *entry, const aegis_profile *profile);
/* Lowest free record, or NULL. Any thread. */
aegis_call_record *aegis_entry_take_record(aegis_entry *entry);
void aegis_entry_give_record(aegis_entry *entry, aegis_call_record *record);

/* heap.c: the periodic models of the driver. */
void aegis_release_heap_push(aegis_scheduler *scheduler, uint32_t model);
uint32_t aegis_release_heap_top(const aegis_scheduler *scheduler); /* heap not empty */
/* After the top's next release grew. */
void aegis_release_heap_sink(aegis_scheduler *scheduler);
void aegis_release_heap_remove(aegis_scheduler *scheduler, uint32_t model);

/* streaming.c: models whose segments wait for bytes. */

/* Before a placed model joins: what its segments wait for. CONFIG when it has a deadline too. These
 * three may wait for a lock of the model and are not for the orchestration thread. */
aegis_status
aegis_streaming_watch(aegis_scheduler *scheduler, aegis_entry *entry, aegis_error *err);
void aegis_streaming_unwatch(aegis_entry *entry);
void aegis_streaming_unwatch_all(aegis_scheduler *scheduler);
/* The orchestration thread's. */
void aegis_streaming_add(aegis_scheduler *scheduler, aegis_entry *entry);
void aegis_streaming_remove(aegis_scheduler *scheduler, aegis_entry *entry);
/* `segment` is the next one of the model; what it needs may be brought from now on. */
static inline void aegis_streaming_expect(aegis_entry *entry, uint32_t segment)
{
    entry->due_segment = segment;
    entry->is_due = true;
}
/* The next model whose due segment can be executed by now, NULL: none. It is due no longer. */
aegis_entry *aegis_streaming_take_ready(aegis_scheduler *scheduler);

/* calibrate.c: bounds of the driver itself, measured with all other lanes loaded. */
aegis_status aegis_driver_calibrate(aegis_scheduler *scheduler, aegis_error *err);

/* assignment.c: lanes for a set of models, each lane proved. */
typedef struct aegis_candidate {
    uint32_t id;
    const char *name;
    aegis_policy_model policy; /* lane: the result */
    uint64_t enforceable_ns, jitter_ns;
    int64_t copy_ns,
        copy_response_ns;    /* of early copies: K, and how late inputs may come; else 0 */
    const int64_t *segments; /* enforceable bounds of segments, NULL: one */
    size_t segment_count;
    int pinned;      /* -1: free to move */
    bool fixed;      /* running: stays where it is */
    bool background; /* blocks its lane with its longest segment, is in no proof itself */
    int64_t response_ns, blocking_ns;
    double lane_utilisation;
} aegis_candidate;

/* Whether other assignments than the first-fit ones were looked at before a refusal. */
typedef enum aegis_lane_search {
    AEGIS_LANE_SEARCH_NONE = 0, /* there are none */
    AEGIS_LANE_SEARCH_ALL,      /* all of them fail */
    AEGIS_LANE_SEARCH_LIMIT     /* the search ended before it had seen all */
} aegis_lane_search;

typedef struct aegis_refusal {
    aegis_rationale rationale;
    uint16_t lane;    /* where it was nearest to fitting */
    uint32_t culprit; /* id of the model that would miss */
    int64_t at_ns, demand_ns, response_ns, deadline_ns, blocking_ns;
    int64_t bound_ns, limit_ns; /* of the compute budget */
    double utilisation;
    uint32_t blocker; /* id of the model that blocks, AEGIS_TRACE_NONE: none */
    bool beside; /* the lane is another one, where inputs would come later because of its copies */
    aegis_fit fit;
    aegis_lane_search search;
} aegis_refusal;

/* refusal.c: why the last candidate is refused and what of it would fit. */
void aegis_refusal_describe(const aegis_refusal *refusal,
                            const aegis_candidate *candidates,
                            size_t count,
                            char *text,
                            size_t size);

/* A candidate as the tests take it; borrows the candidate's segments. */
aegis_task aegis_candidate_task(const aegis_candidate *candidate);

/* lane_test.c. Finish is fine on zeroes. */
void aegis_lane_memory_finish(aegis_lane_memory *memory);
void aegis_lane_memory_forget_proved(aegis_lane_memory *memory);
/* The assignment found last becomes what stands. */
void aegis_lane_memory_take_over(aegis_lane_memory *memory);

/* True in `ret_fits`: candidates carry lane, response and blocking, those on lanes where nothing
 * changes the ones they came with, and `memory` what was proved. Otherwise `ret_refusal` tells
 * about the last candidate (the new one), which no lane could take. */
aegis_status aegis_assignment_find(const aegis_policy *policy,
                                   aegis_candidate *candidates,
                                   size_t count,
                                   uint16_t lanes,
                                   aegis_lane_memory *memory,
                                   const aegis_allocator *allocator,
                                   bool *ret_fits,
                                   aegis_refusal *ret_refusal,
                                   aegis_error *err);

/* admit.c: what a request and the pool are to the tests. */

/* C^E of theory, of one segment of a profile: what it may occupy a lane for. */
uint64_t aegis_admit_segment_ns(const aegis_scheduler *scheduler,
                                const aegis_admission_request *request,
                                const aegis_profile *profile,
                                uint32_t segment);

/* Of a job: the sum of its segments'. */
uint64_t aegis_admit_enforceable_ns(const aegis_scheduler *scheduler,
                                    const aegis_admission_request *request);

/* What the copies of early models do to the link. */
typedef enum aegis_link_verdict {
    AEGIS_LINK_HOLDS = 0,
    AEGIS_LINK_OVERLOADED, /* no queue of them ends */
    AEGIS_LINK_UNDECIDED
} aegis_link_verdict;

typedef struct aegis_link {
    aegis_link_verdict verdict;
    double utilisation;
} aegis_link;

/* The models of the pool, changed as the request says, and the new one last. */
typedef struct aegis_candidate_set {
    aegis_candidate *candidates;
    int64_t *lengths; /* AEGIS_MAX_SEGMENTS for each; what the candidates' segments point to */
    size_t count, capacity;
    aegis_link link;
} aegis_candidate_set;

/* admit_check.c: checks the request and fills in its defaults. INVALID_ARGUMENT, STATE. */
aegis_status aegis_admit_check(const aegis_scheduler *scheduler,
                               const char *name,
                               aegis_admission_request *request,
                               aegis_error *err);
/* `admin` is held. NO_MEMORY. */
aegis_status aegis_admit_collect(const aegis_scheduler *scheduler,
                                 const char *name,
                                 uint32_t id,
                                 const aegis_admission_request *request,
                                 aegis_candidate_set *ret_set,
                                 aegis_error *err);
/* link.c: fills in the jitter of candidates with early copies, and the set's link. OVERFLOW,
 * NO_MEMORY. */
aegis_status
aegis_link_test(const aegis_scheduler *scheduler, aegis_candidate_set *set, aegis_error *err);
/* Why the new model is refused when the link does not hold. */
void aegis_link_refuse(const aegis_link *link, aegis_refusal *ret_refusal);
void aegis_admit_finish(const aegis_scheduler *scheduler, aegis_candidate_set *set);
uint64_t aegis_candidate_longest_ns(const aegis_candidate *candidate);

#endif
