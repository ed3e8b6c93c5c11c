/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/file.h"

#include "base/base.h"
#include "trace/sort.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MOST_HEADER_LANES 256

aegis_status aegis_trace_header_parse(const char *text, size_t size, json_t **ret, aegis_error *err)
{
    json_error_t problem = {0};
    json_t *json = json_loadb(text, size, 0, &problem);
    if (json == NULL && json_error_code(&problem) == json_error_out_of_memory) {
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_NO_MEMORY,
                               "no memory to parse a trace header of %zu bytes", size);
    }
    if (json == NULL) {
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_PARSE,
                               "the trace header is no JSON: line %d column %d: %s", problem.line,
                               problem.column, problem.text);
    }
    if (!json_is_object(json)) {
        json_decref(json);
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_PARSE,
                               "the trace header must be a JSON object such as {\"models\": []}");
    }
    *ret = json;
    return AEGIS_OK;
}

static char *copy_bytes(const aegis_allocator *allocator, const char *bytes, size_t size)
{
    char *copy = aegis_allocate_zeroed(allocator, size + 1, 1);
    if (copy != NULL) {
        memcpy(copy, bytes, size);
    }
    return copy;
}

static aegis_status no_memory(size_t ring_count, size_t record_count, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_NO_MEMORY,
                           "no memory for a trace of %zu records in %zu rings", record_count,
                           ring_count);
}

aegis_status aegis_trace_file_new(const aegis_allocator *allocator,
                                  const char *header,
                                  size_t header_bytes,
                                  size_t ring_count,
                                  size_t record_count,
                                  aegis_trace_file **ret_file,
                                  aegis_error *err)
{
    json_t *json = NULL;
    aegis_status status = aegis_trace_header_parse(header, header_bytes, &json, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_trace_file *file = aegis_allocate_zeroed(allocator, 1, sizeof *file);
    if (file == NULL) {
        json_decref(json);
        return no_memory(ring_count, record_count, err);
    }
    file->allocator = *allocator;
    file->json = json;
    file->header_bytes = header_bytes;
    file->ring_capacity = ring_count;
    file->record_count = record_count;
    file->header = copy_bytes(allocator, header, header_bytes);
    file->rings = aegis_allocate_zeroed(allocator, ring_count, sizeof *file->rings);
    file->by_ring = aegis_allocate_zeroed(allocator, record_count, sizeof *file->by_ring);
    file->by_time = aegis_allocate_zeroed(allocator, record_count, sizeof *file->by_time);
    if (file->header == NULL || file->rings == NULL || file->by_ring == NULL ||
        file->by_time == NULL) {
        goto fail;
    }
    *ret_file = file;
    return AEGIS_OK;
fail:
    aegis_trace_file_close(file);
    return no_memory(ring_count, record_count, err);
}

void aegis_trace_file_close(aegis_trace_file *file)
{
    if (file == NULL) {
        return;
    }
    aegis_allocator allocator = file->allocator;
    for (size_t i = 0; file->rings != NULL && i < file->ring_count; i++) {
        aegis_free_text(&allocator, file->rings[i].name);
    }
    aegis_deallocate(&allocator, file->header, file->header_bytes + 1, 1);
    aegis_deallocate(&allocator, file->rings, file->ring_capacity, sizeof *file->rings);
    aegis_deallocate(&allocator, file->by_ring, file->record_count, sizeof *file->by_ring);
    aegis_deallocate(&allocator, file->by_time, file->record_count, sizeof *file->by_time);
    json_decref(file->json);
    aegis_deallocate(&allocator, file, 1, sizeof *file);
}

aegis_status aegis_trace_file_add_ring(
    aegis_trace_file *file, const char *name, size_t name_bytes, size_t capacity, aegis_error *err)
{
    char *copy = copy_bytes(&file->allocator, name, name_bytes);
    if (copy == NULL) {
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the name of ring %zu", file->ring_count);
    }
    assert(file->rings != NULL && file->ring_count < file->ring_capacity);
    size_t index = file->ring_count++;
    const trace_file_ring *last = index == 0 ? NULL : &file->rings[index - 1];
    file->rings[index] = (trace_file_ring){.name = copy,
                                           .first = last == NULL ? 0 : last->first + last->capacity,
                                           .capacity = capacity};
    return AEGIS_OK;
}

void aegis_trace_file_add_records(aegis_trace_file *file,
                                  size_t ring,
                                  const void *records,
                                  size_t count)
{
    trace_file_ring *part = &file->rings[ring];
    memcpy(&file->by_ring[part->first + part->count], records, count * sizeof *file->by_ring);
    part->count += count;
}

/* Items are indices into by_ring, which is in (ring, sequence) order: stability does the rest. */
static bool is_earlier(const void *context, const void *b, const void *a)
{
    const aegis_trace_record *records = context;
    return records[*(const uint32_t *)b].time_ns < records[*(const uint32_t *)a].time_ns;
}

aegis_status aegis_trace_file_seal(aegis_trace_file *file, aegis_error *err)
{
    size_t count = file->record_count;
    if (count > UINT32_MAX) {
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_UNSUPPORTED,
                               "a trace of %zu records is more than the %u that can be sorted",
                               count, UINT32_MAX);
    }
    uint32_t *order = aegis_allocate_zeroed(&file->allocator, 2 * count, sizeof *order);
    if (order == NULL) {
        return aegis_error_set(err, AEGIS_HERE("trace.file"), AEGIS_ERROR_NO_MEMORY,
                               "no memory to sort %zu trace records", count);
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = (uint32_t)i;
    }
    aegis_trace_sort(order, order + count, count, sizeof *order, is_earlier, file->by_ring);
    for (size_t i = 0; i < count; i++) {
        file->by_time[i] = file->by_ring[order[i]];
    }
    aegis_deallocate(&file->allocator, order, 2 * count, sizeof *order);
    return AEGIS_OK;
}

const char *aegis_trace_file_header(const aegis_trace_file *file)
{
    return file->header;
}

const aegis_trace_record *aegis_trace_file_records(const aegis_trace_file *file, size_t *ret_count)
{
    *ret_count = file->record_count;
    return file->by_time;
}

uint64_t aegis_trace_file_dropped(const aegis_trace_file *file)
{
    return file->dropped;
}

bool aegis_trace_file_complete(const aegis_trace_file *file)
{
    return file->complete;
}

size_t aegis_trace_file_ring_count(const aegis_trace_file *file)
{
    return file->ring_count;
}

const char *aegis_trace_file_ring_name(const aegis_trace_file *file, size_t ring)
{
    return ring < file->ring_count ? file->rings[ring].name : "";
}

bool aegis_trace_file_ring_find(const aegis_trace_file *file, const char *name, size_t *ret_ring)
{
    for (size_t i = 0; i < file->ring_count; i++) {
        if (strcmp(file->rings[i].name, name) == 0) {
            *ret_ring = i;
            return true;
        }
    }
    return false;
}

const aegis_trace_record *
aegis_trace_file_ring_records(const aegis_trace_file *file, size_t ring, size_t *ret_count)
{
    if (ring >= file->ring_count) {
        *ret_count = 0;
        return NULL;
    }
    *ret_count = file->rings[ring].count;
    return &file->by_ring[file->rings[ring].first];
}

uint64_t aegis_trace_file_ring_dropped(const aegis_trace_file *file, size_t ring)
{
    return ring < file->ring_count ? file->rings[ring].dropped : 0;
}

size_t aegis_trace_file_model_count(const aegis_trace_file *file)
{
    return json_array_size(json_object_get(file->json, "models"));
}

const char *
aegis_trace_file_model_name(const aegis_trace_file *file, uint16_t model, char *buffer, size_t size)
{
    if (model == AEGIS_TRACE_NONE) {
        return "";
    }
    const json_t *entry = json_array_get(json_object_get(file->json, "models"), model);
    const char *name = json_string_value(json_object_get(entry, "name"));
    if (name != NULL) {
        return name;
    }
    snprintf(buffer, size, "model-%u", model);
    return buffer;
}

size_t aegis_trace_file_header_lanes(const aegis_trace_file *file)
{
    json_int_t lanes = json_integer_value(json_object_get(file->json, "lanes"));
    if (lanes < 0) {
        return 0;
    }
    return lanes > MOST_HEADER_LANES ? MOST_HEADER_LANES : (size_t)lanes;
}
