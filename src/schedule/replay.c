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
    return record->kind >= AEGIS_TRACE_EVENT_MODEL_ADD &&
           record->kind <= AEGIS_TRACE_EVENT_MODEL_JITTER && record->kind != AEGIS_TRACE_EVENT_MODE;
}

static bool is_decision(const aegis_trace_record *record)
{
    return record->kind >= AEGIS_TRACE_DISPATCH && record->kind <= AEGIS_TRACE_COPY_IN;
}

static aegis_status broken(const replay_state *replay, const char *what, aegis_error *err)
{
    return aegis_error_set(
        err, HERE, AEGIS_ERROR_PARSE, "record %zu (%s, %" PRIu64 " ns) cannot be replayed: %s",
        replay->at, aegis_trace_kind_name((aegis_trace_kind)replay->records[replay->at].kind),
        replay->records[replay->at].time_ns, what);
}

/* ---- the core record ---- */

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
    aegis_core_config config;
    if (!aegis_core_config_from_record(&replay->records[replay->at], &config)) {
        return broken(replay, "the core's limits are out of range", err);
    }
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
    const char *wrong = aegis_core_event_from_record(record, &replay->add, &event, &whole);
    size_t action_count = 0;
    if (wrong != NULL) {
        return broken(replay, wrong, err);
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

aegis_status
aegis_replay_policy(const aegis_trace_file *file, aegis_policy *ret_policy, aegis_error *err)
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

aegis_status aegis_replay_records(const aegis_trace_file *file,
                                  const aegis_trace_record **ret_records,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    size_t ring = 0;
    aegis_status status = find_ring(file, &ring, err);
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
    *ret_records = aegis_trace_file_ring_records(file, ring, ret_count);
    return AEGIS_OK;
}

aegis_status aegis_replay_verify(const aegis_trace_file *file,
                                 const aegis_policy *policy,
                                 const aegis_allocator *allocator,
                                 aegis_replay_result *ret_result,
                                 aegis_error *err)
{
    const aegis_trace_record *records = NULL;
    size_t count = 0;
    aegis_policy own = {0};
    aegis_status status = aegis_replay_records(file, &records, &count, err);
    if (status == AEGIS_OK && policy == NULL) {
        status = aegis_replay_policy(file, &own, err);
        policy = &own;
    }
    if (status != AEGIS_OK) {
        return status;
    }
    return aegis_replay_verify_records(records, count, aegis_trace_file_complete(file), policy,
                                       allocator, ret_result, err);
}
