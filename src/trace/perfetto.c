/* SPDX-License-Identifier: Apache-2.0 */
/* Perfetto export. Field numbers are those of perfetto_trace.proto. */
#include "base/base.h"
#include "trace/kinds.h"
#include "trace/output.h"
#include "trace/proto.h"
#include "trace/text.h"
#include "trace/timeline.h"

#include <inttypes.h>
#include <string.h>

enum {
    TRACE_PACKET = 1,
    PACKET_TIMESTAMP = 8,
    PACKET_SEQUENCE_ID = 10,
    PACKET_EVENT = 11,
    PACKET_DESCRIPTOR = 60,
    DESCRIPTOR_UUID = 1,
    DESCRIPTOR_NAME = 2,
    DESCRIPTOR_PROCESS = 3,
    DESCRIPTOR_PARENT = 5,
    DESCRIPTOR_COUNTER = 8,
    DESCRIPTOR_CHILD_ORDERING = 11,
    DESCRIPTOR_RANK = 12,
    PROCESS_PID = 1,
    PROCESS_NAME = 6,
    COUNTER_UNIT = 3,
    COUNTER_UNIT_NAME = 6,
    EVENT_ANNOTATION = 4,
    EVENT_TYPE = 9,
    EVENT_TRACK = 11,
    EVENT_CATEGORY = 22,
    EVENT_NAME = 23,
    EVENT_COUNTER_VALUE = 30,
    EVENT_FLOW = 47,
    EVENT_FLOW_END = 48,
    ANNOTATION_TEXT = 6,
    ANNOTATION_NAME = 10
};

enum {
    UNIT_COUNT = 2,
    UNIT_BYTES = 3
};
enum {
    ORDERING_EXPLICIT = 3
};

#define SEQUENCE_ID 1
#define PROCESS_NUMBER 1
#define NAME_BYTES 256

typedef struct exporter {
    const aegis_trace_file *file;
    FILE *out;
} exporter;

/* ---- packets ---- */

static void write_packet(const exporter *export, trace_proto *packet)
{
    trace_proto outer = {0};
    aegis_trace_proto_uint(packet, PACKET_SEQUENCE_ID, SEQUENCE_ID);
    aegis_trace_proto_message(&outer, TRACE_PACKET, packet);
    fwrite(outer.bytes, 1, outer.used, export->out);
}

static void write_descriptor(const exporter *export, const trace_proto *descriptor)
{
    trace_proto packet = {0};
    aegis_trace_proto_message(&packet, PACKET_DESCRIPTOR, descriptor);
    write_packet(export, &packet);
}

/* The model's name cut to what a packet holds. */
static void model_name(const exporter *export, uint16_t model, char name[NAME_BYTES])
{
    char made_up[32];
    snprintf(name, NAME_BYTES, "%s",
             aegis_trace_file_model_name(export->file, model, made_up, sizeof made_up));
    aegis_trace_trim_text(name);
}

static void track_name(const exporter *export, uint64_t track, char *name, size_t size)
{
    char model[NAME_BYTES];
    uint16_t index = aegis_trace_track_index(track);
    switch (aegis_trace_track_type(track)) {
    case TRACE_TRACK_PROCESS:
        snprintf(name, size, "aegisrt");
        break;
    case TRACE_TRACK_SCHEDULER:
        snprintf(name, size, "scheduler");
        break;
    case TRACE_TRACK_LANE:
        snprintf(name, size, "lane %u", index);
        break;
    case TRACE_TRACK_MODEL:
        model_name(export, index, model);
        snprintf(name, size, "%s", model);
        break;
    case TRACE_TRACK_COUNTER:
        model_name(export, index, model);
        snprintf(name, size, "%s%s%s", aegis_trace_counter_name(aegis_trace_track_counter(track)),
                 model[0] == '\0' ? "" : " ", model);
        break;
    }
}

static void add_counter_descriptor(trace_proto *descriptor, uint64_t track)
{
    trace_proto counter = {0};
    unsigned which = aegis_trace_track_counter(track);
    if (which == AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES) {
        aegis_trace_proto_text(&counter, COUNTER_UNIT_NAME, "millidegrees Celsius");
    } else {
        bool is_memory = which == AEGIS_COUNTER_MEMORY_BYTES;
        aegis_trace_proto_uint(&counter, COUNTER_UNIT, is_memory ? UNIT_BYTES : UNIT_COUNT);
    }
    aegis_trace_proto_message(descriptor, DESCRIPTOR_COUNTER, &counter);
}

static void write_process(const exporter *export)
{
    trace_proto process = {0}, descriptor = {0};
    aegis_trace_proto_uint(&process, PROCESS_PID, PROCESS_NUMBER);
    aegis_trace_proto_text(&process, PROCESS_NAME, "aegisrt");
    aegis_trace_proto_uint(&descriptor, DESCRIPTOR_UUID,
                           aegis_trace_track(TRACE_TRACK_PROCESS, 0, 0, 0));
    aegis_trace_proto_message(&descriptor, DESCRIPTOR_PROCESS, &process);
    aegis_trace_proto_uint(&descriptor, DESCRIPTOR_CHILD_ORDERING, ORDERING_EXPLICIT);
    write_descriptor(export, &descriptor);
}

/* Rows of one lane or model have the same name and parent: the viewer shows them as one track. */
static void write_track(const exporter *export, uint64_t track, size_t rank)
{
    char name[2 * NAME_BYTES];
    trace_proto descriptor = {0};
    track_name(export, track, name, sizeof name);
    aegis_trace_proto_uint(&descriptor, DESCRIPTOR_UUID, track);
    aegis_trace_proto_text(&descriptor, DESCRIPTOR_NAME, name);
    aegis_trace_proto_uint(&descriptor, DESCRIPTOR_PARENT,
                           aegis_trace_track(TRACE_TRACK_PROCESS, 0, 0, 0));
    aegis_trace_proto_uint(&descriptor, DESCRIPTOR_RANK, rank);
    if (aegis_trace_track_type(track) == TRACE_TRACK_COUNTER) {
        add_counter_descriptor(&descriptor, track);
    }
    write_descriptor(export, &descriptor);
}

/* ---- events ---- */

static void slice_name(const aegis_trace_record *record, const char *model, char *name, size_t size)
{
    if (record->kind != AEGIS_TRACE_EXECUTE) {
        snprintf(name, size, "job %" PRIu64, record->job);
    } else if (record->a > 0) {
        snprintf(name, size, "%s job %" PRIu64 " segment %" PRId64, model, record->job, record->a);
    } else {
        snprintf(name, size, "%s job %" PRIu64, model, record->job);
    }
}

/* "miss job 12: unexcused". A model's own track need not repeat its name. */
static void instant_name(const trace_event *event,
                         const aegis_trace_record *record,
                         const char *model,
                         char *name,
                         size_t size)
{
    char job[32] = "";
    bool is_own_track = aegis_trace_track_type(event->track) == TRACE_TRACK_MODEL;
    bool has_model = !is_own_track && model[0] != '\0';
    bool has_reason = record->rationale != AEGIS_WHY_NONE;
    if (record->job != 0) {
        snprintf(job, sizeof job, " job %" PRIu64, record->job);
    }
    snprintf(name, size, "%s%s%s%s%s%s", aegis_trace_kind_name((aegis_trace_kind)record->kind),
             has_model ? " " : "", has_model ? model : "", job, has_reason ? ": " : "",
             has_reason ? aegis_rationale_name((aegis_rationale)record->rationale) : "");
}

/* Jobs are numbered by the scheduler; the model keeps ids apart where it numbers per model. */
static uint64_t flow_id(const aegis_trace_record *record)
{
    return record->job << 16 | record->model;
}

static void add_flow(trace_proto *message, const aegis_trace_record *record)
{
    if (record->job == 0) {
        return;
    }
    switch (record->kind) {
    case AEGIS_TRACE_EVENT_SUBMIT:
    case AEGIS_TRACE_DISPATCH:
    case AEGIS_TRACE_EXECUTE:
        aegis_trace_proto_fixed64(message, EVENT_FLOW, flow_id(record));
        break;
    case AEGIS_TRACE_COMPLETE:
    case AEGIS_TRACE_MISS:
    case AEGIS_TRACE_ABORT:
    case AEGIS_TRACE_REJECT:
    case AEGIS_TRACE_SKIP:
        aegis_trace_proto_fixed64(message, EVENT_FLOW_END, flow_id(record));
        break;
    default:
        break;
    }
}

static void
add_sentence(const exporter *export, trace_proto *message, const aegis_trace_record *record)
{
    char text[AEGIS_TRACE_SENTENCE_BYTES];
    trace_proto annotation = {0};
    aegis_trace_proto_text(&annotation, ANNOTATION_NAME, "sentence");
    aegis_trace_proto_text(&annotation, ANNOTATION_TEXT,
                           aegis_trace_file_describe(export->file, record, text, sizeof text));
    aegis_trace_proto_message(message, EVENT_ANNOTATION, &annotation);
}

/* What BEGIN and INSTANT events have: name, category, reason and flow. A job's slice has no flow:
 * its submission and completion have. */
static void add_details(const exporter *export,
                        trace_proto *message,
                        const trace_event *event,
                        const aegis_trace_record *record)
{
    char model[NAME_BYTES], name[2 * NAME_BYTES];
    bool is_slice = event->type == TRACE_EVENT_BEGIN;
    model_name(export, record->model, model);
    if (is_slice) {
        slice_name(record, model, name, sizeof name);
    } else {
        instant_name(event, record, model, name, sizeof name);
    }
    aegis_trace_proto_text(message, EVENT_NAME, name);
    aegis_trace_proto_text(message, EVENT_CATEGORY,
                           aegis_trace_kind_name((aegis_trace_kind)record->kind));
    add_sentence(export, message, record);
    if (!is_slice || record->kind == AEGIS_TRACE_EXECUTE) {
        add_flow(message, record);
    }
}

static void
write_event(const exporter *export, const trace_event *event, const aegis_trace_record *record)
{
    trace_proto message = {0}, packet = {0};
    aegis_trace_proto_uint(&message, EVENT_TYPE, event->type);
    aegis_trace_proto_uint(&message, EVENT_TRACK, event->track);
    if (event->type == TRACE_EVENT_COUNTER) {
        bool is_recorded = record->kind == AEGIS_TRACE_COUNTER;
        aegis_trace_proto_int(&message, EVENT_COUNTER_VALUE,
                              is_recorded ? record->b : (int64_t)event->jobs);
    } else if (event->type != TRACE_EVENT_END) {
        add_details(export, &message, event, record);
    }
    aegis_trace_proto_uint(&packet, PACKET_TIMESTAMP, event->time_ns);
    aegis_trace_proto_message(&packet, PACKET_EVENT, &message);
    write_packet(export, &packet);
}

static void write_timeline(const exporter *export, const trace_timeline *timeline)
{
    size_t count;
    const aegis_trace_record *records = aegis_trace_file_records(export->file, &count);
    write_process(export);
    for (size_t i = 0; i < timeline->track_count; i++) {
        write_track(export, timeline->tracks[i], i);
    }
    for (size_t i = 0; i < timeline->event_count && !ferror(export->out); i++) {
        write_event(export, &timeline->events[i], &records[timeline->events[i].record]);
    }
}

aegis_status
aegis_trace_export_perfetto(const aegis_trace_file *file, const char *path, aegis_error *err)
{
    trace_timeline timeline;
    aegis_status status = aegis_trace_timeline_init(&timeline, file, err);
    if (status != AEGIS_OK) {
        return status;
    }
    trace_output output;
    status = aegis_trace_output_open(&output, path, err);
    if (status == AEGIS_OK) {
        write_timeline(&(exporter){.file = file, .out = output.stream}, &timeline);
        status = aegis_trace_output_close(&output, err);
    }
    aegis_trace_timeline_finish(&timeline);
    return status;
}
