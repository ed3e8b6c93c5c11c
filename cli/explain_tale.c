/* SPDX-License-Identifier: Apache-2.0 */
#include "explain_tale.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LANES 64

/* ---- words ---- */

void story_tell(const story *s, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_array_append_new(s->lines, json_string(text));
}

/* Instants as in the other sentences, so that --at takes them; ticks as they are. */
const char *story_instant(const story *s, uint64_t ns, char buffer[CLI_TEXT_BYTES])
{
    if (s->ticks) {
        snprintf(buffer, CLI_TEXT_BYTES, "%" PRIu64, ns);
    } else {
        aegis_trace_format_instant(ns, buffer, CLI_TEXT_BYTES);
    }
    return buffer;
}

const char *story_length(const story *s, uint64_t ns, char buffer[CLI_TEXT_BYTES])
{
    if (!s->ticks) {
        return cli_duration((int64_t)ns, buffer);
    }
    snprintf(buffer, CLI_TEXT_BYTES, "%" PRIu64, ns);
    return buffer;
}

const char *story_name(const story *s, uint16_t model, char buffer[32])
{
    return aegis_trace_file_model_name(s->file, model, buffer, 32);
}

json_t *story_header(const story *s, uint16_t model)
{
    return json_array_get(json_object_get(s->header, "models"), model);
}

/* ---- reading ---- */

static void read_stays(story *s)
{
    size_t open[MOST_LANES];
    for (size_t i = 0; i < MOST_LANES; i++) {
        open[i] = SIZE_MAX;
    }
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->lane >= MOST_LANES) {
            continue;
        }
        if (record->kind == AEGIS_TRACE_DISPATCH) {
            open[record->lane] = s->stay_count;
            s->stays[s->stay_count++] = (stay){.job = record->job,
                                               .from = record->time_ns,
                                               .to = UINT64_MAX,
                                               .segment = record->a,
                                               .key = record->b,
                                               .other_key = record->c,
                                               .other_model = record->d,
                                               .model = record->model,
                                               .lane = record->lane,
                                               .why = record->rationale};
        } else if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_DONE &&
                   open[record->lane] != SIZE_MAX) {
            stay *last = &s->stays[open[record->lane]];
            last->to = record->time_ns;
            last->start = (uint64_t)record->b;
            last->end = (uint64_t)record->c;
            last->done = true;
            open[record->lane] = SIZE_MAX;
        }
    }
}

bool story_open(story *s, const aegis_trace_file *file)
{
    *s = (story){.file = file, .lines = json_array()};
    s->records = aegis_trace_file_records(file, &s->count);
    s->stays = calloc(s->count + 1, sizeof *s->stays);
    s->header = json_loads(aegis_trace_file_header(file), 0, NULL);
    if (s->stays == NULL || s->lines == NULL) {
        json_decref(s->lines);
        json_decref(s->header);
        free(s->stays);
        return false;
    }
    const char *unit = json_string_value(json_object_get(s->header, "unit"));
    s->ticks = unit != NULL && strcmp(unit, "tick") == 0;
    read_stays(s);
    return true;
}

json_t *story_close(story *s)
{
    json_decref(s->header);
    free(s->stays);
    return s->lines;
}

bool story_is_end(const aegis_trace_record *record)
{
    return record->kind == AEGIS_TRACE_COMPLETE || record->kind == AEGIS_TRACE_MISS ||
           record->kind == AEGIS_TRACE_ABORT || record->kind == AEGIS_TRACE_REJECT ||
           record->kind == AEGIS_TRACE_SKIP;
}

tale story_tale(const story *s, uint64_t job)
{
    tale t = {.job = job, .model = AEGIS_TRACE_NONE, .seen = UINT64_MAX, .release = UINT64_MAX};
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->job != job || record->kind == AEGIS_TRACE_EVENT_CORE) {
            continue;
        }
        if (record->kind == AEGIS_TRACE_EVENT_SUBMIT) {
            t.release = (uint64_t)record->a;
            t.seen = record->time_ns > t.release ? record->time_ns : t.release;
            t.model = record->model;
        } else if (story_is_end(record)) {
            t.end = record;
            t.release = (uint64_t)record->a; /* delayed, perhaps */
            t.model = record->model;
        }
    }
    if (t.seen < t.release || t.seen == UINT64_MAX) {
        t.seen = t.release;
    }
    for (size_t i = 0; i < s->stay_count; i++) {
        const stay *at = &s->stays[i];
        if (at->job == job) {
            t.first = t.first == NULL ? at : t.first;
            t.last = at;
            t.ran += at->done ? at->end - at->start : 0;
        }
    }
    return t;
}
