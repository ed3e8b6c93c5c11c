/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_RING_H
#define AEGIS_TRACE_RING_H

/* A ring of records with one writer thread and one reader at a time. */

#include <aegisrt/trace.h>

/* `capacity` is a power of two. Copies the name. */
aegis_trace_ring *aegis_trace_ring_new(const aegis_allocator *allocator,
                                       const aegis_clock *clock,
                                       const char *name,
                                       uint16_t index,
                                       size_t capacity);
void aegis_trace_ring_free(const aegis_allocator *allocator, aegis_trace_ring *ring);

const char *aegis_trace_ring_name(const aegis_trace_ring *ring);

/* Unread records, oldest first, in at most two pieces (the second is used when they wrap). */
typedef struct trace_span {
    const aegis_trace_record *records[2];
    size_t counts[2];
} trace_span;

/* The reader looks, copies, and then hands the slots back. */
trace_span aegis_trace_ring_peek(aegis_trace_ring *ring);
void aegis_trace_ring_consume(aegis_trace_ring *ring, size_t count);

/* Records put in and records refused so far. Any thread. */
uint64_t aegis_trace_ring_written(const aegis_trace_ring *ring);
uint64_t aegis_trace_ring_dropped(const aegis_trace_ring *ring);

/* Counts one record that was refused before it reached the ring. The writer only. */
void aegis_trace_ring_count_drop(aegis_trace_ring *ring);

#endif
