/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_WRITER_H
#define AEGIS_TRACE_WRITER_H

/* Writes the native trace file, chunk after chunk, in place. */

#include "trace/format.h"
#include "trace/ring.h"

/* After the first failure nothing more is written: the file ends at its last whole chunk. */
typedef struct trace_writer {
    int fd;          /* -1: there is no file */
    uint64_t offset; /* end of the last whole chunk */
    aegis_error error;
} trace_writer;

/* Makes the file with its head. `path` NULL: no file. */
aegis_status aegis_trace_writer_open(trace_writer *writer, const char *path, aegis_error *err);
/* False when the bytes are not in the file; true when they are, or when there is no file. */
bool aegis_trace_writer_header(trace_writer *writer, const char *json);
bool aegis_trace_writer_name(trace_writer *writer, uint32_t ring, const char *name);
bool aegis_trace_writer_records(trace_writer *writer, uint32_t ring, const trace_span *span);
bool aegis_trace_writer_totals(trace_writer *writer, const trace_totals *rings, uint32_t count);
/* Closes the file and reports the first failure since open, also when called again. */
aegis_status aegis_trace_writer_close(trace_writer *writer, aegis_error *err);
/* The first failure so far. */
aegis_status aegis_trace_writer_status(const trace_writer *writer, aegis_error *err);

#endif
