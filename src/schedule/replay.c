/* SPDX-License-Identifier: Apache-2.0 */
/* Re-derives the decisions of a trace from its events. */
#include "base/base.h"

#include <aegisrt/ext/core.h>
#include <aegisrt/replay.h>

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#define HERE AEGIS_HERE("schedule.replay")

typedef struct replay_state {
    const aegis_trace_record *records;
    size_t count, at; /* of records */
    bool complete;
    aegis_core *core;
    aegis_core_action *actions;
    size_t action_capacity;
    aegis_core_model add; /* gathered from LIMITS and SEGMENT records */
    bool lost;            /* the core could not take an event: the rest is not comparable */
    aegis_replay_result result;
} replay_state;

static bool is_event(const aegis_trace_record *record)
{
    return record->kind >= AEGIS_TRACE_EVENT_MODEL_ADD && record->kind <= AEGIS_TRACE_EVENT_STOP &&
           record->kind != AEGIS_TRACE_EVENT_MODE;
}

static bool is_decision(const aegis_trace_record *record)
{
    return record->kind >= AEGIS_TRACE_DISPATCH && record->kind <= AEGIS_TRACE_IDLE_UNTIL;
}

static aegis_status broken(const replay_state *replay, const char *what, aegis_error *err)
{
    return aegis_error_set(
        err, HERE, AEGIS_ERROR_PARSE, "record %zu (%s, %" PRIu64 " ns) cannot be replayed: %s",
        replay->at, aegis_trace_kind_name((aegis_trace_kind)replay->records[replay->at].kind),
        replay->records[replay->at].time_ns, what);
}

/* ---- the core record ---- */

static bool fits(int64_t value, uint64_t largest)
{
    return value >= 0 && (uint64_t)value <= largest;
}

static aegis_status create_core(replay_state *replay,
                                const aegis_policy *policy,
                                const aegis_allocator *allocator,
                                aegis_error *err)
{
    while (replay->at < replay->count && !is_event(&replay->records[replay->at])) {
        replay->at++;
    }
    if (replay->at == replay->count || replay->records[replay->at].kind != AEGIS_TRACE_EVENT_CORE) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_PARSE,
                               "the trace has no core record before its events: it was not written "
                               "by a scheduler, or its start is missing");
    }
    const aegis_trace_record *record = &replay->records[replay->at];
    if (!fits(record->a, AEGIS_CORE_MAX_LANES) || !fits(record->b, AEGIS_CORE_MAX_MODELS) ||
        !fits(record->c, UINT32_C(1) << 24) || !fits(record->d, INT64_MAX)) {
        return broken(replay, "the core's limits are out of range", err);
    }
    aegis_core_config config = {.lanes = (uint16_t)record->a,
                                .max_models = (uint32_t)record->b,
                                .max_jobs = (uint32_t)record->c,
                                .wake_bound_ns = (uint64_t)record->d,
                                .launch_bound_ns = record->job};
    aegis_status status = aegis_core_create(&config, policy, allocator, &replay->core, err);
    if (status == AEGIS_ERROR_INVALID_ARGUMENT) {
        return broken(replay, "no core can be made with these limits", err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    replay->at++;
    replay->action_capacity = aegis_core_max_actions(replay->core);
    replay->actions =
        aegis_allocate_zeroed(allocator, replay->action_capacity, sizeof *replay->actions);
    if (replay->actions == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu actions",
                               replay->action_capacity);
    }
    return AEGIS_OK;
}

/* ---- events ---- */

static void read_limits(replay_state *replay, const aegis_trace_record *record)
{
    uint64_t packed = (uint64_t)record->d;
    replay->add = (aegis_core_model){.model = record->model,
                                     .compute_budget_ns = (uint64_t)record->a,
                                     .priority = (int32_t)record->b,
                                     .queue_depth = (uint32_t)record->c,
                                     .overrun = (aegis_overrun_rule)(packed & 0xff),
                                     .early = (aegis_early_rule)(packed >> 8 & 0xff),
                                     .background = (packed >> 16 & 0xff) != 0,
                                     .weight = (uint32_t)(packed >> 32)};
}

static aegis_status
read_segment(replay_state *replay, const aegis_trace_record *record, aegis_error *err)
{
    if (record->model != replay->add.model || !fits(record->a, AEGIS_MAX_SEGMENTS - 1)) {
        return broken(replay, "a segment that does not belong to the limits before it", err);
    }
    replay->add.segment_bound_ns[record->a] = (uint64_t)record->b;
    replay->add.segment_enforceable_ns[record->a] = (uint64_t)record->c;
    return AEGIS_OK;
}

static aegis_status
read_model(replay_state *replay, const aegis_trace_record *record, aegis_error *err)
{
    if (record->model != replay->add.model || !fits(record->c, AEGIS_MAX_SEGMENTS)) {
        return broken(replay, "a model that does not belong to the limits before it", err);
    }
    replay->add.lane = record->lane;
    replay->add.period_ns = (uint64_t)record->a;
    replay->add.deadline_ns = (uint64_t)record->b;
    replay->add.segment_count = (uint32_t)record->c;
    replay->add.jitter_ns = (uint64_t)record->d;
    return AEGIS_OK;
}

/* False in `ret_whole`: the record only prepares an event. */
static aegis_status
read_event(replay_state *replay, aegis_core_event *ret_event, bool *ret_whole, aegis_error *err)
{
    const aegis_trace_record *record = &replay->records[replay->at];
    aegis_core_event event = {.model = record->model, .lane = record->lane, .job = record->job};
    *ret_whole = true;
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_LIMITS) {
        read_limits(replay, record);
        *ret_whole = false;
        return AEGIS_OK;
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_SEGMENT) {
        *ret_whole = false;
        return read_segment(replay, record, err);
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_ADD) {
        event.kind = AEGIS_CORE_MODEL_ADD;
        event.add = &replay->add;
        *ret_event = event;
        return read_model(replay, record, err);
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_REMOVE) {
        event.kind = AEGIS_CORE_MODEL_REMOVE;
    } else if (record->kind == AEGIS_TRACE_EVENT_SUBMIT) {
        event.kind = AEGIS_CORE_SUBMIT;
        event.release_ns = (uint64_t)record->a;
        event.deadline_ns = (uint64_t)record->b;
        event.job_priority = (int32_t)record->c;
        event.more = record->d != 0;
    } else if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_DONE) {
        event.kind = AEGIS_CORE_SEGMENT_DONE;
        event.segment = (uint32_t)record->a;
        event.start_ns = (uint64_t)record->b;
        event.end_ns = (uint64_t)record->c;
        event.status = (aegis_status)record->d;
    } else if (record->kind == AEGIS_TRACE_EVENT_TIMER) {
        event.kind = AEGIS_CORE_TIMER;
    } else if (record->kind == AEGIS_TRACE_EVENT_CLEAR_FAULT) {
        event.kind = AEGIS_CORE_CLEAR_FAULT;
    } else if (record->kind == AEGIS_TRACE_EVENT_STOP) {
        event.kind = AEGIS_CORE_STOP;
    } else {
        return broken(replay, "a second core record", err);
    }
    *ret_event = event;
    return AEGIS_OK;
}

/* ---- comparison ---- */

static bool same(const aegis_trace_record *a, const aegis_trace_record *b)
{
    return a->time_ns == b->time_ns && a->kind == b->kind && a->rationale == b->rationale &&
           a->model == b->model && a->lane == b->lane && a->job == b->job && a->a == b->a &&
           a->b == b->b && a->c == b->c && a->d == b->d;
}

static void
compare(replay_state *replay, const aegis_trace_record *recorded, const aegis_trace_record *derived)
{
    static const aegis_trace_record none = {.kind = AEGIS_TRACE_INVALID};
    aegis_replay_result *result = &replay->result;
    if (recorded != NULL && derived != NULL && same(recorded, derived)) {
        result->identical++;
    } else if (!result->first_difference.found) {
        result->first_difference =
            (aegis_replay_difference){.found = true,
                                      .index = result->decisions,
                                      .recorded = recorded == NULL ? none : *recorded,
                                      .derived = derived == NULL ? none : *derived};
    }
    if (recorded != NULL) {
        result->decisions++;
    }
}

/* The next recorded decision before the next event, passing over other records; NULL: none. */
static const aegis_trace_record *next_decision(replay_state *replay)
{
    while (replay->at < replay->count && !is_event(&replay->records[replay->at])) {
        const aegis_trace_record *record = &replay->records[replay->at++];
        if (is_decision(record)) {
            return record;
        }
    }
    return NULL;
}

static void compare_step(replay_state *replay, uint64_t now_ns, size_t action_count)
{
    for (size_t i = 0; i < action_count; i++) {
        aegis_trace_record derived = aegis_core_action_to_record(&replay->actions[i], now_ns);
        const aegis_trace_record *recorded = next_decision(replay);
        if (recorded == NULL && !replay->complete && replay->at == replay->count) {
            return; /* the writer died here */
        }
        compare(replay, recorded, &derived);
    }
    for (const aegis_trace_record *extra = next_decision(replay); extra != NULL;
         extra = next_decision(replay)) {
        compare(replay, extra, NULL);
    }
}

/* ---- the replay ---- */

static aegis_status replay_event(replay_state *replay, aegis_error *err)
{
    const aegis_trace_record *record = &replay->records[replay->at];
    aegis_core_event event;
    bool whole = true;
    aegis_status status = read_event(replay, &event, &whole, err);
    size_t action_count = 0;
    if (status != AEGIS_OK) {
        return status;
    }
    if (whole && !replay->lost) {
        aegis_error refusal = {0};
        if (aegis_core_step(replay->core, record->time_ns, &event, replay->actions, &action_count,
                            &refusal) != AEGIS_OK) {
            if (!replay->result.first_difference.found) {
                return broken(replay, refusal.message, err);
            }
            replay->lost = true;
        }
    }
    replay->at++;
    compare_step(replay, record->time_ns, action_count);
    return AEGIS_OK;
}

aegis_status aegis_replay_verify_records(const aegis_trace_record *records,
                                         size_t count,
                                         bool complete,
                                         const aegis_policy *policy,
                                         const aegis_allocator *allocator,
                                         aegis_replay_result *ret_result,
                                         aegis_error *err)
{
    replay_state replay = {.records = records, .count = count, .complete = complete};
    aegis_status status = create_core(&replay, policy, allocator, err);
    if (status == AEGIS_OK) {
        compare_step(&replay, 0, 0); /* decisions before any event have no cause */
    }
    while (status == AEGIS_OK && replay.at < replay.count) {
        status = replay_event(&replay, err);
    }
    aegis_deallocate(allocator, replay.actions, replay.action_capacity, sizeof *replay.actions);
    aegis_core_destroy(replay.core);
    if (status == AEGIS_OK) {
        *ret_result = replay.result;
    }
    return status;
}

/* ---- trace files ---- */

static aegis_status find_ring(const aegis_trace_file *file, size_t *ret_ring, aegis_error *err)
{
    size_t rings = aegis_trace_file_ring_count(file);
    for (size_t ring = 0; ring < rings; ring++) {
        size_t count = 0;
        const aegis_trace_record *records = aegis_trace_file_ring_records(file, ring, &count);
        for (size_t i = 0; i < count; i++) {
            if (records[i].kind == AEGIS_TRACE_EVENT_CORE) {
                *ret_ring = ring;
                return AEGIS_OK;
            }
        }
    }
    return aegis_error_set(err, HERE, AEGIS_ERROR_PARSE,
                           "none of the trace's %zu rings has a core record: it was not written by "
                           "a scheduler, or its start is missing",
                           rings);
}

static aegis_status
find_policy(const aegis_trace_file *file, aegis_policy *ret_policy, aegis_error *err)
{
    json_t *root = json_loads(aegis_trace_file_header(file), 0, NULL);
    const char *name = json_string_value(json_object_get(root, "policy"));
    if (name == NULL) {
        name = json_string_value(json_object_get(json_object_get(root, "schedule"), "policy"));
    }
    aegis_status status;
    if (name == NULL) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_NOT_FOUND,
                                 "the trace's header names no policy; give one");
    } else {
        status = aegis_policy_find(name, ret_policy, err);
    }
    json_decref(root);
    return status;
}

aegis_status aegis_replay_verify(const aegis_trace_file *file,
                                 const aegis_policy *policy,
                                 const aegis_allocator *allocator,
                                 aegis_replay_result *ret_result,
                                 aegis_error *err)
{
    size_t ring = 0, count = 0;
    aegis_policy own = {0};
    aegis_status status = find_ring(file, &ring, err);
    if (status == AEGIS_OK && policy == NULL) {
        status = find_policy(file, &own, err);
        policy = &own;
    }
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t dropped = aegis_trace_file_ring_dropped(file, ring);
    if (dropped > 0) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_PARSE,
            "ring \"%s\" dropped %" PRIu64
            " records, so decisions lack their causes; record with a larger ring",
            aegis_trace_file_ring_name(file, ring), dropped);
    }
    const aegis_trace_record *records = aegis_trace_file_ring_records(file, ring, &count);
    return aegis_replay_verify_records(records, count, aegis_trace_file_complete(file), policy,
                                       allocator, ret_result, err);
}
