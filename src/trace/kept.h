/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_KEPT_H
#define AEGIS_TRACE_KEPT_H

/* The newest records, in a ring that overwrites its oldest. One thread at a time. */

#include <aegisrt/trace.h>

typedef struct trace_kept {
    aegis_trace_record *records;
    size_t capacity, count, next;
} trace_kept;

/* False when memory is short. A capacity of 0 keeps nothing. */
bool aegis_trace_kept_init(trace_kept *kept, const aegis_allocator *allocator, size_t capacity);
void aegis_trace_kept_finish(trace_kept *kept, const aegis_allocator *allocator);
void aegis_trace_kept_add(trace_kept *kept, const aegis_trace_record *records, size_t count);
/* Adds the number of records of each ring to `counts`. */
void aegis_trace_kept_count(const trace_kept *kept, size_t *counts);
/* Adds all records to a file that has their rings. */
void aegis_trace_kept_copy(const trace_kept *kept, aegis_trace_file *file);
/* As aegis_trace_collector_query. */
aegis_status aegis_trace_kept_query(const trace_kept *kept,
                                    const aegis_allocator *allocator,
                                    const aegis_trace_query *query,
                                    aegis_trace_record *records,
                                    size_t capacity,
                                    size_t *ret_count,
                                    aegis_error *err);

#endif
