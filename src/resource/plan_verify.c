/* SPDX-License-Identifier: Apache-2.0 */

/* The separate checker. It shares nothing with the solvers, not even the sweep of plan.c. */

#include <aegisrt/memory_plan.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Buffers by start and by end; the live ones lie sorted by offset and are apart, so a new one can
 * only collide with its two neighbours there. */
typedef struct checker {
    const aegis_plan_buffer *buffers;
    const uint64_t *offsets;
    size_t *live;
    size_t live_count;
} checker;

typedef struct instant {
    int64_t at;
    size_t buffer;
} instant;

static int compare_instants(const void *a, const void *b)
{
    const instant *x = a, *y = b;
    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return (x->buffer > y->buffer) - (x->buffer < y->buffer);
}

static aegis_status
check_one(const aegis_plan_buffer *b, uint64_t offset, uint64_t capacity, aegis_error *err)
{
    uint64_t top, alignment = b->alignment == 0 ? 1 : b->alignment;
    if (b->lower >= b->upper || b->size_bytes == 0 || (alignment & (alignment - 1)) != 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffer %" PRIu32 " is malformed: [%" PRId64 ", %" PRId64
                               "), %" PRIu64 " bytes, alignment %" PRIu64,
                               b->id, b->lower, b->upper, b->size_bytes, b->alignment);
    }
    if (__builtin_add_overflow(offset, b->size_bytes, &top) || top > capacity) {
        return aegis_error_set(err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INTERNAL,
                               "buffer %" PRIu32 " at %" PRIu64 " with %" PRIu64
                               " bytes ends above the capacity %" PRIu64,
                               b->id, offset, b->size_bytes, capacity);
    }
    if (offset % alignment != 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INTERNAL,
                               "buffer %" PRIu32 " at %" PRIu64 " is not aligned to %" PRIu64,
                               b->id, offset, alignment);
    }
    if (b->fixed && offset != b->fixed_offset) {
        return aegis_error_set(err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INTERNAL,
                               "buffer %" PRIu32 " at %" PRIu64
                               " is not where it is fixed, %" PRIu64,
                               b->id, offset, b->fixed_offset);
    }
    return AEGIS_OK;
}

/* Where a buffer at `offset` stands among the live ones. */
static size_t position(const checker *c, uint64_t offset)
{
    size_t low = 0, high = c->live_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->offsets[c->live[middle]] < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static aegis_status overlap(const checker *c, size_t a, size_t b, aegis_error *err)
{
    const aegis_plan_buffer *x = &c->buffers[a], *y = &c->buffers[b];
    return aegis_error_set(
        err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INTERNAL,
        "buffers %" PRIu32 " and %" PRIu32 " overlap: bytes [%" PRIu64 ", %" PRIu64
        ") and [%" PRIu64 ", %" PRIu64 ") are both live at %" PRId64,
        x->id, y->id, c->offsets[a], c->offsets[a] + x->size_bytes, c->offsets[b],
        c->offsets[b] + y->size_bytes, x->lower > y->lower ? x->lower : y->lower);
}

static aegis_status enter(checker *c, size_t b, aegis_error *err)
{
    size_t at = position(c, c->offsets[b]);
    if (at < c->live_count && c->offsets[c->live[at]] < c->offsets[b] + c->buffers[b].size_bytes) {
        return overlap(c, c->live[at], b, err);
    }
    if (at > 0) {
        size_t below = c->live[at - 1];
        if (c->offsets[below] + c->buffers[below].size_bytes > c->offsets[b]) {
            return overlap(c, below, b, err);
        }
    }
    memmove(&c->live[at + 1], &c->live[at], (c->live_count - at) * sizeof *c->live);
    c->live[at] = b;
    c->live_count++;
    return AEGIS_OK;
}

static void leave(checker *c, size_t b)
{
    size_t at = position(c, c->offsets[b]);
    c->live_count--;
    memmove(&c->live[at], &c->live[at + 1], (c->live_count - at) * sizeof *c->live);
}

static aegis_status
check_pairs(checker *c, const instant *starts, const instant *ends, size_t count, aegis_error *err)
{
    for (size_t i = 0, ended = 0; i < count; i++) {
        while (ends[ended].at <= starts[i].at) {
            leave(c, ends[ended++].buffer);
        }
        aegis_status status = enter(c, starts[i].buffer, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_plan_verify(const aegis_plan_buffer *buffers,
                               const uint64_t *offsets,
                               size_t count,
                               uint64_t capacity_bytes,
                               const aegis_allocator *allocator,
                               aegis_error *err)
{
    if ((count > 0 && (buffers == NULL || offsets == NULL)) || allocator == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.verify"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "buffers, offsets and allocator must be given");
    }
    for (size_t i = 0; i < count; i++) {
        aegis_status status = check_one(&buffers[i], offsets[i], capacity_bytes, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    checker c = {.buffers = buffers, .offsets = offsets};
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    instant *starts = aegis_allocate_zeroed(allocator, count, sizeof *starts);
    instant *ends = aegis_allocate_zeroed(allocator, count, sizeof *ends);
    c.live = aegis_allocate_zeroed(allocator, count, sizeof *c.live);
    if (starts == NULL || ends == NULL || c.live == NULL) {
        aegis_error_set(err, AEGIS_HERE("resource.verify"), status,
                        "no host memory to verify %zu buffers", count);
        goto done;
    }
    for (size_t i = 0; i < count; i++) {
        starts[i] = (instant){buffers[i].lower, i};
        ends[i] = (instant){buffers[i].upper, i};
    }
    qsort(starts, count, sizeof *starts, compare_instants);
    qsort(ends, count, sizeof *ends, compare_instants);
    status = check_pairs(&c, starts, ends, count, err);
done:
    aegis_deallocate(allocator, starts, count, sizeof *starts);
    aegis_deallocate(allocator, ends, count, sizeof *ends);
    aegis_deallocate(allocator, c.live, count, sizeof *c.live);
    return status;
}
