/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/kept.h"

#include "trace/file.h"
#include "trace/sort.h"

bool aegis_trace_kept_init(trace_kept *kept, const aegis_allocator *allocator, size_t capacity)
{
    kept->records = aegis_allocate_zeroed(allocator, capacity, sizeof *kept->records);
    if (kept->records == NULL) {
        return false;
    }
    kept->capacity = capacity;
    return true;
}

void aegis_trace_kept_finish(trace_kept *kept, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, kept->records, kept->capacity, sizeof *kept->records);
    *kept = (trace_kept){0};
}

void aegis_trace_kept_add(trace_kept *kept, const aegis_trace_record *records, size_t count)
{
    for (size_t i = 0; i < count && kept->capacity > 0; i++) {
        kept->records[kept->next] = records[i];
        kept->next = kept->next + 1 == kept->capacity ? 0 : kept->next + 1;
        kept->count += kept->count < kept->capacity;
    }
}

/* The i-th oldest record. */
static const aegis_trace_record *at(const trace_kept *kept, size_t i)
{
    size_t oldest = kept->count < kept->capacity ? 0 : kept->next;
    return &kept->records[(oldest + i) % kept->capacity];
}

void aegis_trace_kept_count(const trace_kept *kept, size_t *counts)
{
    for (size_t i = 0; i < kept->count; i++) {
        counts[at(kept, i)->ring]++;
    }
}

void aegis_trace_kept_copy(const trace_kept *kept, aegis_trace_file *file)
{
    for (size_t i = 0; i < kept->count; i++) {
        const aegis_trace_record *record = at(kept, i);
        aegis_trace_file_add_records(file, record->ring, record, 1);
    }
}

static bool is_match(const aegis_trace_query *query, const aegis_trace_record *record)
{
    return record->time_ns >= query->start_ns &&
           (query->end_ns == 0 || record->time_ns < query->end_ns) &&
           (query->kind == AEGIS_TRACE_INVALID || record->kind == query->kind);
}

/* Items are places in the kept records, oldest first; those of one ring are in written order. */
static bool is_earlier(const void *context, const void *b, const void *a)
{
    const trace_kept *kept = context;
    const aegis_trace_record *late = at(kept, *(const size_t *)a);
    const aegis_trace_record *early = at(kept, *(const size_t *)b);
    return early->time_ns < late->time_ns ||
           (early->time_ns == late->time_ns && early->ring < late->ring);
}

aegis_status aegis_trace_kept_query(const trace_kept *kept,
                                    const aegis_allocator *allocator,
                                    const aegis_trace_query *query,
                                    aegis_trace_record *records,
                                    size_t capacity,
                                    size_t *ret_count,
                                    aegis_error *err)
{
    size_t *matches = aegis_allocate_zeroed(allocator, 2 * kept->count, sizeof *matches);
    if (matches == NULL) {
        return aegis_error_set(err, AEGIS_HERE("trace.kept"), AEGIS_ERROR_NO_MEMORY,
                               "no memory to sort the matches of a query over %zu records",
                               kept->count);
    }
    size_t count = 0;
    for (size_t i = 0; i < kept->count; i++) {
        if (is_match(query, at(kept, i))) {
            matches[count++] = i;
        }
    }
    aegis_trace_sort(matches, matches + kept->count, count, sizeof *matches, is_earlier, kept);
    for (size_t i = 0; i < count && i < capacity; i++) {
        records[i] = *at(kept, matches[i]);
    }
    *ret_count = count;
    aegis_deallocate(allocator, matches, 2 * kept->count, sizeof *matches);
    return AEGIS_OK;
}
