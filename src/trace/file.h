/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_FILE_H
#define AEGIS_TRACE_FILE_H

/* The trace that readers hold, and how it is filled: new, one add_ring per ring in order, the
 * records of each ring in written order, seal. */

#include <aegisrt/trace.h>

#include <jansson.h>

typedef struct trace_file_ring {
    char *name;
    size_t first, count, capacity; /* its part of by_ring */
    uint64_t dropped;
} trace_file_ring;

struct aegis_trace_file {
    aegis_allocator allocator;
    char *header;
    size_t header_bytes;
    json_t *json; /* the header, parsed */
    size_t ring_count, ring_capacity;
    trace_file_ring *rings;
    size_t record_count;
    aegis_trace_record *by_ring; /* ring after ring, in written order */
    aegis_trace_record *by_time;
    uint64_t dropped;
    bool complete;
};

/* Parses a header, which must be one JSON object. PARSE, NO_MEMORY. */
aegis_status
aegis_trace_header_parse(const char *text, size_t size, json_t **ret, aegis_error *err);

aegis_status aegis_trace_file_new(const aegis_allocator *allocator,
                                  const char *header,
                                  size_t header_bytes,
                                  size_t ring_count,
                                  size_t record_count,
                                  aegis_trace_file **ret_file,
                                  aegis_error *err);
/* `capacity` is the exact number of records that will come. */
aegis_status aegis_trace_file_add_ring(
    aegis_trace_file *file, const char *name, size_t name_bytes, size_t capacity, aegis_error *err);
void aegis_trace_file_add_records(aegis_trace_file *file,
                                  size_t ring,
                                  const void *records,
                                  size_t count);
/* Sorts. */
aegis_status aegis_trace_file_seal(aegis_trace_file *file, aegis_error *err);

/* Lanes to show though nothing ran on them: the header's "lanes", within reason. */
size_t aegis_trace_file_header_lanes(const aegis_trace_file *file);

#endif
