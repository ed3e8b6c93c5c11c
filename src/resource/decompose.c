/* SPDX-License-Identifier: Apache-2.0 */
#include "decompose.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

typedef struct sorted {
    aegis_plan_buffer buffer;
    size_t origin;
} sorted;

static int compare_sorted(const void *a, const void *b)
{
    const sorted *x = a, *y = b;
    if (x->buffer.lower != y->buffer.lower) {
        return x->buffer.lower < y->buffer.lower ? -1 : 1;
    }
    if (x->buffer.upper != y->buffer.upper) {
        return x->buffer.upper < y->buffer.upper ? -1 : 1;
    }
    return x->origin < y->origin ? -1 : 1;
}

static aegis_status sort_buffers(aegis_decomposition *d,
                                 const aegis_plan_buffer *buffers,
                                 const aegis_allocator *allocator,
                                 aegis_error *err)
{
    sorted *order = aegis_allocate_zeroed(allocator, d->count, sizeof *order);
    if (order == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.decompose"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to sort %zu buffers", d->count);
    }
    for (size_t i = 0; i < d->count; i++) {
        order[i] = (sorted){buffers[i], i};
    }
    qsort(order, d->count, sizeof *order, compare_sorted);
    for (size_t i = 0; i < d->count; i++) {
        d->buffers[i] = order[i].buffer;
        d->origin[i] = order[i].origin;
    }
    aegis_deallocate(allocator, order, d->count, sizeof *order);
    return AEGIS_OK;
}

static void settle(aegis_decomposition *d, size_t i, uint64_t base)
{
    uint64_t top = base + d->buffers[i].size_bytes;
    d->base[i] = base;
    d->settled_height = top > d->settled_height ? top : d->settled_height;
}

static void swap_down(aegis_decomposition *d, size_t from, size_t to)
{
    aegis_plan_buffer buffer = d->buffers[from];
    size_t origin = d->origin[from];
    memmove(&d->buffers[to + 1], &d->buffers[to], (from - to) * sizeof *d->buffers);
    memmove(&d->origin[to + 1], &d->origin[to], (from - to) * sizeof *d->origin);
    d->buffers[to] = buffer;
    d->origin[to] = origin;
}

/* A buffer that overlaps all others of a part can lie at its bottom: whatever lay below it can be
 * shifted above as long as its size keeps all alignments. Moves such buffers to the front of the
 * part, gives them their bytes, and leaves the rest. */
static void settle_pillars(aegis_decomposition *d, aegis_part *part)
{
    int64_t least_upper = INT64_MAX, most_lower = INT64_MIN;
    uint64_t alignment = 1;
    size_t end = part->first + part->count;
    for (size_t i = part->first; i < end; i++) {
        const aegis_plan_buffer *b = &d->buffers[i];
        least_upper = b->upper < least_upper ? b->upper : least_upper;
        most_lower = b->lower > most_lower ? b->lower : most_lower;
        alignment = b->alignment > alignment ? b->alignment : alignment;
        if (b->fixed) {
            return; /* it cannot be shifted */
        }
    }
    for (size_t i = part->first; i < end; i++) {
        const aegis_plan_buffer *b = &d->buffers[i];
        if (b->lower < least_upper && b->upper > most_lower && b->size_bytes % alignment == 0) {
            swap_down(d, i, part->first);
            settle(d, part->first, part->base);
            part->base += d->buffers[part->first].size_bytes;
            part->first++;
            part->count--;
        }
    }
}

/* Pushes what `part` falls into where no buffer spans. Returns how many. */
static size_t split(const aegis_decomposition *d, const aegis_part *part, aegis_part *stack)
{
    size_t pushed = 0;
    int64_t reach = INT64_MIN;
    for (size_t i = part->first; i < part->first + part->count; i++) {
        if (pushed == 0 || d->buffers[i].lower >= reach) {
            stack[pushed++] = (aegis_part){.first = i, .base = part->base};
        }
        stack[pushed - 1].count++;
        reach = d->buffers[i].upper > reach ? d->buffers[i].upper : reach;
    }
    return pushed;
}

/* The parts on the stack are disjoint and not empty, so it never holds more than `count`. */
static void take_apart(aegis_decomposition *d, aegis_part *stack)
{
    size_t top = 0;
    stack[top++] = (aegis_part){.count = d->count};
    while (top > 0) {
        aegis_part part = stack[--top];
        size_t pushed = split(d, &part, &stack[top]);
        if (pushed > 1) {
            top += pushed;
            continue;
        }
        size_t before = part.count;
        settle_pillars(d, &part);
        if (part.count == before) {
            d->parts[d->piece_count++] = part;
            for (size_t i = part.first; i < part.first + part.count; i++) {
                d->base[i] = part.base;
            }
        } else if (part.count > 0) {
            stack[top++] = part;
        }
    }
}

aegis_status aegis_decompose(const aegis_plan_buffer *buffers,
                             size_t count,
                             const aegis_allocator *allocator,
                             aegis_decomposition *ret_parts,
                             aegis_error *err)
{
    aegis_decomposition *d = ret_parts;
    *d = (aegis_decomposition){.count = count};
    d->buffers = aegis_allocate_zeroed(allocator, count, sizeof *d->buffers);
    d->origin = aegis_allocate_zeroed(allocator, count, sizeof *d->origin);
    d->base = aegis_allocate_zeroed(allocator, count, sizeof *d->base);
    d->offsets = aegis_allocate_zeroed(allocator, count, sizeof *d->offsets);
    d->parts = aegis_allocate_zeroed(allocator, count, sizeof *d->parts);
    aegis_part *stack = aegis_allocate_zeroed(allocator, count, sizeof *stack);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    if (d->buffers == NULL || d->origin == NULL || d->base == NULL || d->offsets == NULL ||
        d->parts == NULL || stack == NULL) {
        aegis_error_set(err, AEGIS_HERE("resource.decompose"), status,
                        "no host memory to plan %zu buffers", count);
    } else {
        status = sort_buffers(d, buffers, allocator, err);
    }
    if (status == AEGIS_OK) {
        take_apart(d, stack);
    }
    aegis_deallocate(allocator, stack, count, sizeof *stack);
    if (status != AEGIS_OK) {
        aegis_decomposition_finish(d, allocator);
    }
    return status;
}

void aegis_decomposition_finish(aegis_decomposition *d, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, d->buffers, d->count, sizeof *d->buffers);
    aegis_deallocate(allocator, d->origin, d->count, sizeof *d->origin);
    aegis_deallocate(allocator, d->base, d->count, sizeof *d->base);
    aegis_deallocate(allocator, d->offsets, d->count, sizeof *d->offsets);
    aegis_deallocate(allocator, d->parts, d->count, sizeof *d->parts);
    *d = (aegis_decomposition){0};
}

void aegis_decomposition_offsets(const aegis_decomposition *d, uint64_t *ret_offsets)
{
    for (size_t i = 0; i < d->count; i++) {
        ret_offsets[d->origin[i]] = d->base[i] + d->offsets[i];
    }
}
