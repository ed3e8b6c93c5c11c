/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/ring.h"

#include "base/base.h"

#include <stdatomic.h>
#include <string.h>

#define CACHE_LINE 64

/* Padding rather than _Alignas keeps the three parts on lines of their own: an allocator promises
 * no more than the alignment of max_align_t. */
struct aegis_trace_ring {
    /* constant after create */
    aegis_trace_record *records; /* on a cache line: a record is one line */
    uint64_t mask;
    aegis_clock clock;
    char *name;
    void *storage;
    uint16_t index;
    char padding_0[CACHE_LINE];
    /* the writer's */
    _Atomic uint64_t tail;
    _Atomic uint64_t dropped;
    uint64_t head_seen; /* an older head: read again only when the ring looks full */
    uint32_t sequence;
    char padding_1[CACHE_LINE];
    /* the reader's */
    _Atomic uint64_t head;
    char padding_2[CACHE_LINE];
};

static aegis_trace_record *align_to_line(void *storage)
{
    return (aegis_trace_record *)(uintptr_t)aegis_align_up((uintptr_t)storage, CACHE_LINE);
}

aegis_trace_ring *aegis_trace_ring_new(const aegis_allocator *allocator,
                                       const aegis_clock *clock,
                                       const char *name,
                                       uint16_t index,
                                       size_t capacity)
{
    aegis_trace_ring *ring = aegis_allocate_zeroed(allocator, 1, sizeof *ring);
    if (ring == NULL) {
        return NULL;
    }
    ring->mask = capacity - 1;
    ring->clock = *clock;
    ring->index = index;
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->dropped, 0);
    atomic_init(&ring->head, 0);
    /* Zeroing touches every page here, so that the writer never takes a first-touch fault. */
    ring->storage = aegis_allocate_zeroed(allocator, capacity + 1, sizeof *ring->records);
    ring->name = aegis_copy_text(allocator, name);
    if (ring->storage == NULL || ring->name == NULL) {
        aegis_trace_ring_free(allocator, ring);
        return NULL;
    }
    ring->records = align_to_line(ring->storage);
    return ring;
}

void aegis_trace_ring_free(const aegis_allocator *allocator, aegis_trace_ring *ring)
{
    if (ring == NULL) {
        return;
    }
    if (ring->name != NULL) {
        aegis_free_text(allocator, ring->name);
    }
    aegis_deallocate(allocator, ring->storage, (size_t)ring->mask + 2, sizeof *ring->records);
    aegis_deallocate(allocator, ring, 1, sizeof *ring);
}

const char *aegis_trace_ring_name(const aegis_trace_ring *ring)
{
    return ring->name;
}

static bool is_full(aegis_trace_ring *ring, uint64_t tail)
{
    if (tail - ring->head_seen <= ring->mask) {
        return false;
    }
    /* Acquire: the reader's copies out of the slots happen before we write them again. */
    ring->head_seen = atomic_load_explicit(&ring->head, memory_order_acquire);
    return tail - ring->head_seen > ring->mask;
}

void aegis_trace_record_write(aegis_trace_ring *ring, const aegis_trace_record *record)
{
    if (ring == NULL) {
        return;
    }
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (is_full(ring, tail)) {
        aegis_trace_ring_count_drop(ring);
        return;
    }
    aegis_trace_record *slot = &ring->records[tail & ring->mask];
    *slot = *record;
    slot->sequence = ring->sequence++;
    slot->ring = ring->index;
    slot->reserved = 0;
    if (slot->time_ns == 0) {
        slot->time_ns = aegis_clock_now_ns(&ring->clock);
    }
    /* Release: a reader that sees the new tail sees the record. */
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
}

void aegis_trace_ring_count_drop(aegis_trace_ring *ring)
{
    ring->sequence++;
    uint64_t dropped = atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    atomic_store_explicit(&ring->dropped, dropped + 1, memory_order_relaxed);
}

trace_span aegis_trace_ring_peek(aegis_trace_ring *ring)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t start = (size_t)(head & ring->mask);
    size_t unread = (size_t)(tail - head);
    size_t to_end = (size_t)ring->mask + 1 - start;
    size_t first = unread < to_end ? unread : to_end;
    return (trace_span){.records = {&ring->records[start], ring->records},
                        .counts = {first, unread - first}};
}

void aegis_trace_ring_consume(aegis_trace_ring *ring, size_t count)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    atomic_store_explicit(&ring->head, head + count, memory_order_release);
}

uint64_t aegis_trace_ring_written(const aegis_trace_ring *ring)
{
    return atomic_load_explicit(&ring->tail, memory_order_relaxed);
}

uint64_t aegis_trace_ring_dropped(const aegis_trace_ring *ring)
{
    return atomic_load_explicit(&ring->dropped, memory_order_relaxed);
}
