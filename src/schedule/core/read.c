/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration and events of a core out of trace records: the inverse of record.c. */
#include "state.h"

static bool fits(int64_t value, uint64_t largest)
{
    return value >= 0 && (uint64_t)value <= largest;
}

bool aegis_core_config_from_record(const aegis_trace_record *record, aegis_core_config *ret_config)
{
    if (record->kind != AEGIS_TRACE_EVENT_CORE || !fits(record->a, AEGIS_CORE_MAX_LANES) ||
        !fits(record->b, AEGIS_CORE_MAX_MODELS) || !fits(record->c, UINT32_C(1) << 24) ||
        !fits(record->d, INT64_MAX)) {
        return false;
    }
    *ret_config = (aegis_core_config){.lanes = (uint16_t)record->a,
                                      .max_models = (uint32_t)record->b,
                                      .max_jobs = (uint32_t)record->c,
                                      .wake_bound_ns = (uint64_t)record->d,
                                      .launch_bound_ns = record->job};
    return true;
}

static void read_limits(const aegis_trace_record *record, aegis_core_model *add)
{
    uint64_t packed = (uint64_t)record->d;
    uint64_t share = record->job < UINT32_MAX ? record->job : UINT32_MAX;
    *add = (aegis_core_model){.model = record->model,
                              .compute_budget_ns = (uint64_t)record->a,
                              .priority = (int32_t)record->b,
                              .queue_depth = (uint32_t)record->c,
                              .overrun = (aegis_overrun_rule)(packed & 0xff),
                              .early = (aegis_early_rule)(packed >> 8 & 0xff),
                              .background = (packed >> 16 & 0xff) != 0,
                              .copies_early = (packed >> 24 & 0xff) != 0,
                              .weight = (uint32_t)(packed >> 32),
                              .share_ppm = (uint32_t)share};
}

static const char *read_segment(const aegis_trace_record *record, aegis_core_model *add)
{
    if (record->model != add->model || !fits(record->a, AEGIS_MAX_SEGMENTS - 1)) {
        return "a segment that does not belong to the limits before it";
    }
    add->segment_bound_ns[record->a] = (uint64_t)record->b;
    add->segment_enforceable_ns[record->a] = (uint64_t)record->c;
    if ((record->d & 1) != 0) {
        add->awaited_segments |= UINT64_C(1) << record->a;
    }
    return NULL;
}

static const char *read_model(const aegis_trace_record *record, aegis_core_model *add)
{
    if (record->model != add->model || !fits(record->c, AEGIS_MAX_SEGMENTS)) {
        return "a model that does not belong to the limits before it";
    }
    add->lane = record->lane;
    add->period_ns = (uint64_t)record->a;
    add->deadline_ns = (uint64_t)record->b;
    add->segment_count = (uint32_t)record->c;
    add->jitter_ns = (uint64_t)record->d;
    return NULL;
}

const char *aegis_core_event_from_record(const aegis_trace_record *record,
                                         aegis_core_model *add,
                                         aegis_core_event *ret_event,
                                         bool *ret_whole)
{
    aegis_core_event event = {.model = record->model, .lane = record->lane, .job = record->job};
    *ret_whole = true;
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_LIMITS) {
        read_limits(record, add);
        *ret_whole = false;
        return NULL;
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_SEGMENT) {
        *ret_whole = false;
        return read_segment(record, add);
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_ADD) {
        event.kind = AEGIS_CORE_MODEL_ADD;
        event.add = add;
        *ret_event = event;
        return read_model(record, add);
    }
    if (record->kind == AEGIS_TRACE_EVENT_MODEL_REMOVE) {
        event.kind = AEGIS_CORE_MODEL_REMOVE;
    } else if (record->kind == AEGIS_TRACE_EVENT_SUBMIT) {
        event.kind = AEGIS_CORE_SUBMIT;
        event.release_ns = (uint64_t)record->a;
        event.deadline_ns = (uint64_t)record->b;
        event.job_priority = (int32_t)record->c;
        if (!fits(record->d >> 1, record->time_ns)) {
            return "a submission that was seen before there was time";
        }
        event.seen_ns = record->time_ns - ((uint64_t)record->d >> 1);
        event.more = (record->d & 1) != 0;
    } else if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_DONE) {
        event.kind = AEGIS_CORE_SEGMENT_DONE;
        event.segment = (uint32_t)record->a;
        event.start_ns = (uint64_t)record->b;
        event.end_ns = (uint64_t)record->c;
        event.status = (aegis_status)record->d;
    } else if (record->kind == AEGIS_TRACE_EVENT_TIMER) {
        if (!fits(record->a, record->time_ns)) {
            return "a timer that was seen before there was time";
        }
        event.kind = AEGIS_CORE_TIMER;
        event.seen_ns = record->time_ns - (uint64_t)record->a;
    } else if (record->kind == AEGIS_TRACE_EVENT_CLEAR_FAULT) {
        event.kind = AEGIS_CORE_CLEAR_FAULT;
    } else if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_READY) {
        if (!fits(record->a, AEGIS_MAX_SEGMENTS - 1)) {
            return "a segment that no model has";
        }
        event.kind = AEGIS_CORE_SEGMENT_READY;
        event.segment = (uint32_t)record->a;
    } else if (record->kind == AEGIS_TRACE_EVENT_INPUTS_READY) {
        event.kind = AEGIS_CORE_INPUTS_READY;
        event.start_ns = (uint64_t)record->a;
        event.end_ns = (uint64_t)record->b;
        event.status = (aegis_status)record->c;
    } else if (record->kind == AEGIS_TRACE_EVENT_MODEL_JITTER) {
        event.kind = AEGIS_CORE_MODEL_JITTER;
        event.jitter_ns = (uint64_t)record->a;
    } else if (record->kind == AEGIS_TRACE_EVENT_STOP) {
        event.kind = AEGIS_CORE_STOP;
    } else {
        return "a second core record";
    }
    *ret_event = event;
    return NULL;
}
