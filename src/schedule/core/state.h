/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CORE_STATE_H
#define AEGIS_SCHEDULE_CORE_STATE_H

/*
 * What the scheduler core remembers. Jobs live in one pool and are named by their index.
 *
 * Ready jobs stand in two levels: each model orders its own (a leftist heap, linked through the
 * jobs), and each lane orders the models that have any by their first job (an indexed heap). So one
 * job of a model can go before the others whatever the keys, and background models can be ordered
 * by a rank that changes for all their jobs at once. Both levels are O(log n).
 */

#include "base/base.h"
#include "schedule/core/heap.h"

#include <aegisrt/ext/core.h>
#include <aegisrt/ext/policy_ops.h>

#define NO_JOB UINT32_MAX
#define NO_MODEL UINT32_MAX
#define NO_SEGMENT UINT32_MAX
#define NEVER UINT64_MAX
#define LAST_INSTANT ((uint64_t)INT64_MAX)
#define SLOT_WORDS (AEGIS_CORE_MAX_QUEUE_DEPTH / 64)

typedef enum core_job_state {
    JOB_FREE = 0,
    JOB_PENDING,  /* its release is to come */
    JOB_RELEASED, /* its inputs have still to be asked for */
    JOB_COPYING,  /* they are on their way */
    JOB_READY,
    JOB_RUNNING
} core_job_state;

typedef struct core_job {
    uint64_t id, sequence;
    uint64_t release_ns;
    uint64_t deadline_ns; /* decides whether it is late; policies see release + D */
    uint64_t executed_ns;
    int64_t key;
    int32_t priority;
    uint32_t model, slot;
    uint32_t segment;           /* the next one, or the one that runs */
    uint32_t left, right, rank; /* in the model's leftist heap */
    uint32_t previous, next;    /* in the model's list, by sequence; `next` also in the free list */
    core_job_state state;
} core_job;

typedef enum core_model_state {
    MODEL_ABSENT = 0,
    MODEL_ADMITTED,
    MODEL_REMOVING /* one of its segments still runs */
} core_model_state;

typedef struct core_model {
    aegis_core_model limits;
    aegis_policy_model policy;
    core_model_state state;
    bool faulted, skip_next, has_released;
    bool listed;            /* stands in its lane's heap: its first job can be dispatched */
    bool resting;           /* stands in its lane's heap of models that rest */
    uint32_t ready_segment; /* an awaited one that can be dispatched; NO_SEGMENT: none */
    aegis_status fault;
    uint64_t last_release_ns;
    uint32_t loaded; /* job whose inputs are on the device, or on their way there; NO_JOB: none's */
    uint32_t ready_root, ready_count;
    uint32_t first_job, last_job;
    uint64_t virtual_ns, virtual_rest; /* execution over weight, exactly */
    uint64_t rests_until_ns;           /* of a model with a share */
    uint64_t slots[SLOT_WORDS];        /* bit set: taken */
    aegis_core_counters counters;      /* by aegis_core_count alone */
} core_model;

/* Who has the turn alone counts; others read at any time, each counter a moment's view. */
static inline void aegis_core_count(uint64_t *counter, int by)
{
    __atomic_store_n(counter, *counter + (uint64_t)(int64_t)by, __ATOMIC_RELAXED);
}

typedef struct core_lane {
    aegis_core_heap foreground, background;        /* of models with ready jobs */
    aegis_core_heap releases, background_releases; /* of jobs, by release */
    aegis_core_heap resting;                       /* of models with ready jobs, by end of rest */
    size_t ready_count;                            /* foreground jobs */
    size_t background_ready_count;
    uint32_t running; /* job */
    uint64_t last_id; /* job that ran last */
    uint64_t dispatched_ns;
    uint64_t held_from_ns; /* when what it was dispatched for was seen: the driver's time counts */
    uint64_t overrun_at_ns, budget_at_ns, void_at_ns; /* NEVER once it happened */
    bool terminated;
    aegis_rationale terminated_why;
    bool whole;
    aegis_rationale broken_why; /* first cause since the lane was whole */
    uint64_t waits_until_ns;    /* the policy's wish; 0: none */
    uint64_t virtual_ns;        /* of the background model dispatched last */
} core_lane;

struct aegis_core {
    aegis_core_config config;
    aegis_policy policy;
    aegis_allocator allocator;
    core_lane *lanes;
    core_model *models;
    core_job *jobs;
    uint32_t *heap_items, *job_positions, *model_positions;
    uint32_t *job_table; /* open addressing by job number: index + 1, or 0 */
    uint32_t table_mask;
    uint32_t free_job;
    uint64_t next_sequence;
    uint64_t now_ns, armed_ns;
    uint64_t seen_ns; /* when the driver saw what this step is about; now at the latest */
    bool stopping;
    aegis_policy_peer *peers;   /* what a policy that waits looks at; NULL when it never waits */
    aegis_core_action *actions; /* of the step under way */
    size_t action_count;
};

static inline uint64_t core_add_ns(uint64_t instant_ns, uint64_t duration_ns)
{
    uint64_t sum = instant_ns + duration_ns;
    return sum < instant_ns || sum > LAST_INSTANT ? LAST_INSTANT : sum;
}

/* jobs.c: the pool, the numbers in use, slots, the two levels of ready jobs */
uint32_t aegis_core_job_find(const aegis_core *core, uint64_t id);
/* Takes a job, a slot and a place in the model's list. The pool and the slots are not exhausted. */
uint32_t aegis_core_job_take(aegis_core *core, uint32_t number, uint64_t id);
/* Gives all that back. The job stands in no heap. */
void aegis_core_job_give(aegis_core *core, uint32_t index);
/* The heap in which a job of the model waits for its release. */
aegis_core_heap *aegis_core_releases_of(aegis_core *core, const core_model *model);
/* Asks the policy for its key and puts it among the ready ones of its model and lane. */
void aegis_core_ready_push(aegis_core *core, uint32_t index);
/* After what its first job waits for has come: the model stands in its lane's heap again. */
void aegis_core_ready_list(aegis_core *core, uint32_t number);
/* The model stands aside until then, whatever is ready of it. */
void aegis_core_ready_rest(aegis_core *core, uint32_t number, uint64_t until_ns);
/* Models whose rest is over stand in their lane's heap again. */
void aegis_core_ready_wake(aegis_core *core, uint16_t lane);
/* Takes out the first job of a model. */
void aegis_core_ready_pop(aegis_core *core, uint32_t number);
/* The job that would be next if model `number` were without its first one; NO_JOB when there is
 * none. */
uint32_t
aegis_core_ready_second(const aegis_core *core, const aegis_core_heap *heap, uint32_t number);
/* Takes all ready jobs of a model out of the heaps; they stay in the model's list. */
void aegis_core_ready_clear(aegis_core *core, uint32_t number);
void aegis_core_policy_job(const aegis_core *core, uint32_t index, aegis_policy_job *ret_job);
/* The orders of the heaps. */
bool aegis_core_foreground_before(const void *context, uint32_t a, uint32_t b);
bool aegis_core_background_before(const void *context, uint32_t a, uint32_t b);
bool aegis_core_release_before(const void *context, uint32_t a, uint32_t b);
bool aegis_core_rest_before(const void *context, uint32_t a, uint32_t b);

/* check.c: refuses malformed events; changes nothing */
aegis_status aegis_core_check_event(const aegis_core *core,
                                    uint64_t now_ns,
                                    const aegis_core_event *event,
                                    aegis_error *err);

/* event.c: step 1 */
void aegis_core_apply(aegis_core *core, const aegis_core_event *event);
/* How long a model with the share rests after executing so long. */
uint64_t aegis_core_rest_ns(uint64_t execution_ns, uint32_t share_ppm);

/* enforce.c: overruns, termination and broken proofs */
void aegis_core_enforce(aegis_core *core, uint16_t lane_number);
void aegis_core_overrun(aegis_core *core, uint16_t lane_number, uint64_t elapsed_ns);
void aegis_core_break_proof(
    aegis_core *core, uint32_t job, aegis_rationale why, uint64_t bound_ns, uint64_t measured_ns);

/* dispatch.c: releases that are due, idle lanes, the timer */
void aegis_core_release_due(aegis_core *core, uint16_t lane);
/* Asks for the inputs of the model's next job that has none on the device, when their place is
 * free. */
void aegis_core_copy_next(aegis_core *core, uint32_t number);
/* The job can be dispatched: now, which is to be no later than its release plus the jitter. */
void aegis_core_become_ready(aegis_core *core, uint32_t job);
void aegis_core_fill_lane(aegis_core *core, uint16_t lane_number);

/* core.c */
aegis_core_action *
aegis_core_emit(aegis_core *core, aegis_trace_kind kind, aegis_rationale rationale, uint32_t job);

#endif
