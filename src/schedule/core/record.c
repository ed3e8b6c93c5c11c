/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration, events and actions as trace records. */
#include "state.h"

static aegis_trace_record blank(aegis_trace_kind kind, uint64_t now_ns)
{
    return (aegis_trace_record){.time_ns = now_ns,
                                .kind = (uint16_t)kind,
                                .model = AEGIS_TRACE_NONE,
                                .lane = AEGIS_TRACE_NONE};
}

aegis_trace_record aegis_core_config_to_record(const aegis_core_config *config, uint64_t now_ns)
{
    aegis_trace_record record = blank(AEGIS_TRACE_EVENT_CORE, now_ns);
    record.a = config->lanes;
    record.b = config->max_models;
    record.c = config->max_jobs;
    record.d = (int64_t)config->wake_bound_ns;
    record.job = config->launch_bound_ns;
    return record;
}

static size_t
model_to_records(const aegis_core_model *add, uint64_t now_ns, aegis_trace_record *ret_records)
{
    size_t count = 0;
    aegis_trace_record *limits = &ret_records[count++];
    *limits = blank(AEGIS_TRACE_EVENT_MODEL_LIMITS, now_ns);
    limits->model = (uint16_t)add->model;
    limits->job = add->share_ppm;
    limits->a = (int64_t)add->compute_budget_ns;
    limits->b = add->priority;
    limits->c = add->queue_depth;
    limits->d = (int64_t)((uint64_t)add->overrun | (uint64_t)add->early << 8 |
                          (uint64_t)add->background << 16 | (uint64_t)add->copies_early << 24 |
                          (uint64_t)add->weight << 32);
    for (uint32_t i = 0; i < add->segment_count && i < AEGIS_MAX_SEGMENTS; i++) {
        aegis_trace_record *segment = &ret_records[count++];
        *segment = blank(AEGIS_TRACE_EVENT_MODEL_SEGMENT, now_ns);
        segment->model = (uint16_t)add->model;
        segment->a = i;
        segment->b = (int64_t)add->segment_bound_ns[i];
        segment->c = (int64_t)add->segment_enforceable_ns[i];
        segment->d = (int64_t)(add->awaited_segments >> i & 1);
    }
    aegis_trace_record *model = &ret_records[count++];
    *model = blank(AEGIS_TRACE_EVENT_MODEL_ADD, now_ns);
    model->model = (uint16_t)add->model;
    model->lane = add->lane;
    model->a = (int64_t)add->period_ns;
    model->b = (int64_t)add->deadline_ns;
    model->c = add->segment_count;
    model->d = (int64_t)add->jitter_ns;
    return count;
}

/* How long the driver had known of it. */
static uint64_t handled_after(const aegis_core_event *event, uint64_t now_ns)
{
    return event->seen_ns > 0 ? now_ns - event->seen_ns : 0;
}

size_t aegis_core_event_to_records(const aegis_core_event *event,
                                   uint64_t now_ns,
                                   aegis_trace_record *ret_records)
{
    aegis_trace_record *record = ret_records;
    switch (event->kind) {
    case AEGIS_CORE_MODEL_ADD:
        return model_to_records(event->add, now_ns, ret_records);
    case AEGIS_CORE_MODEL_REMOVE:
        *record = blank(AEGIS_TRACE_EVENT_MODEL_REMOVE, now_ns);
        record->model = (uint16_t)event->model;
        break;
    case AEGIS_CORE_SUBMIT:
        *record = blank(AEGIS_TRACE_EVENT_SUBMIT, now_ns);
        record->model = (uint16_t)event->model;
        record->job = event->job;
        record->a = (int64_t)event->release_ns;
        record->b = (int64_t)event->deadline_ns;
        record->c = event->job_priority;
        record->d = (int64_t)(handled_after(event, now_ns) << 1 | (event->more ? 1 : 0));
        break;
    case AEGIS_CORE_TIMER:
        *record = blank(AEGIS_TRACE_EVENT_TIMER, now_ns);
        record->a = (int64_t)handled_after(event, now_ns);
        break;
    case AEGIS_CORE_SEGMENT_DONE:
        *record = blank(AEGIS_TRACE_EVENT_SEGMENT_DONE, now_ns);
        record->model = (uint16_t)event->model;
        record->lane = event->lane;
        record->job = event->job;
        record->a = event->segment;
        record->b = (int64_t)event->start_ns;
        record->c = (int64_t)event->end_ns;
        record->d = event->status;
        break;
    case AEGIS_CORE_CLEAR_FAULT:
        *record = blank(AEGIS_TRACE_EVENT_CLEAR_FAULT, now_ns);
        record->model = (uint16_t)event->model;
        break;
    case AEGIS_CORE_SEGMENT_READY:
        *record = blank(AEGIS_TRACE_EVENT_SEGMENT_READY, now_ns);
        record->model = (uint16_t)event->model;
        record->a = event->segment;
        break;
    case AEGIS_CORE_INPUTS_READY:
        *record = blank(AEGIS_TRACE_EVENT_INPUTS_READY, now_ns);
        record->model = (uint16_t)event->model;
        record->job = event->job;
        record->a = (int64_t)event->start_ns;
        record->b = (int64_t)event->end_ns;
        record->c = event->status;
        break;
    case AEGIS_CORE_MODEL_JITTER:
        *record = blank(AEGIS_TRACE_EVENT_MODEL_JITTER, now_ns);
        record->model = (uint16_t)event->model;
        record->a = (int64_t)event->jitter_ns;
        break;
    case AEGIS_CORE_STOP:
        *record = blank(AEGIS_TRACE_EVENT_STOP, now_ns);
        break;
    }
    return 1;
}

aegis_trace_record aegis_core_action_to_record(const aegis_core_action *action, uint64_t now_ns)
{
    aegis_trace_record record = blank(action->kind, now_ns);
    record.rationale = (uint16_t)action->rationale;
    record.model = (uint16_t)action->model;
    record.lane = action->lane;
    record.job = action->job;
    record.a = action->a;
    record.b = action->b;
    record.c = action->c;
    record.d = action->d;
    return record;
}
