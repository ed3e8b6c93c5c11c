/* SPDX-License-Identifier: Apache-2.0 */
#include "coalesce.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

/* Rounds end when they have looked at so many joints: of what is cut deep each undoes a little. */
#define MOST_LOOKED_AT UINT64_C(4000000)

struct aegis_joint {
    aegis_plan_buffer buffer;
    size_t first, second; /* what it stands for; of no use in an original */
    bool stacked;         /* the second lies on the first; otherwise it follows it */
    uint64_t offset;
};

typedef struct entry {
    int64_t lower, upper;
    uint64_t size;
    size_t joint;
    bool taken;
} entry;

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int by_lifetime(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = compare(x->lower, y->lower);
    order = order != 0 ? order : compare(x->upper, y->upper);
    return order != 0 ? order : (x->joint > y->joint) - (x->joint < y->joint);
}

static int by_size(const entry *x, const entry *y)
{
    int order = (x->size > y->size) - (x->size < y->size);
    return order != 0 ? order : (x->joint > y->joint) - (x->joint < y->joint);
}

static int by_end(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = compare(x->upper, y->upper);
    return order != 0 ? order : by_size(x, y);
}

static int by_begin(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = compare(x->lower, y->lower);
    return order != 0 ? order : by_size(x, y);
}

static size_t join(aegis_coalesced *c, size_t first, size_t second, bool stacked)
{
    const aegis_plan_buffer *a = &c->joints[first].buffer, *b = &c->joints[second].buffer;
    aegis_plan_buffer both = *a;
    both.upper = b->upper;
    both.size_bytes += stacked ? b->size_bytes : 0;
    both.alignment = a->alignment > b->alignment ? a->alignment : b->alignment;
    c->joints[c->joint_count] = (aegis_joint){both, first, second, stacked, 0};
    return c->joint_count++;
}

static entry entry_of(const aegis_coalesced *c, size_t joint)
{
    const aegis_plan_buffer *b = &c->joints[joint].buffer;
    return (entry){b->lower, b->upper, b->size_bytes, joint, false};
}

/* Drops what was taken. */
static size_t compact(entry *entries, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!entries[i].taken) {
            entries[kept++] = entries[i];
        }
    }
    return kept;
}

/* What ends at an instant goes on in what begins there with the same size. Entries by their begins
 * are what stays; `ends` are the same by their ends, each with the index of its other self. */
static size_t follow(aegis_coalesced *c, entry *begins, size_t count, entry *ends)
{
    qsort(begins, count, sizeof *begins, by_begin);
    for (size_t i = 0; i < count; i++) {
        ends[i] = begins[i];
        ends[i].joint = i;
    }
    qsort(ends, count, sizeof *ends, by_end);
    for (size_t e = 0, b = 0; e < count && b < count;) {
        int order = compare(ends[e].upper, begins[b].lower);
        if (order == 0) {
            order = (ends[e].size > begins[b].size) - (ends[e].size < begins[b].size);
        }
        if (order == 0) {
            entry *before = &begins[ends[e].joint];
            begins[b].joint = join(c, before->joint, begins[b].joint, false);
            before->taken = true;
        }
        e += order <= 0;
        b += order >= 0;
    }
    size_t left = compact(begins, count);
    for (size_t i = 0; i < left; i++) {
        begins[i] = entry_of(c, begins[i].joint);
    }
    return left;
}

/* Puts those of one lifetime on top of each other. */
static size_t stack(aegis_coalesced *c, entry *entries, size_t count)
{
    qsort(entries, count, sizeof *entries, by_lifetime);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        entry *below = kept > 0 ? &entries[kept - 1] : NULL;
        if (below != NULL && below->lower == entries[i].lower && below->upper == entries[i].upper) {
            uint64_t alignment = c->joints[entries[i].joint].buffer.alignment;
            if (alignment <= 1 || below->size % alignment == 0) {
                *below = entry_of(c, join(c, below->joint, entries[i].joint, true));
                continue;
            }
        }
        entries[kept++] = entries[i];
    }
    return kept;
}

/* Sorts what is left, with what is fixed, into `buffers`. */
static void keep_left(aegis_coalesced *c, entry *entries, size_t count)
{
    for (size_t i = 0; i < c->original; i++) {
        if (c->joints[i].buffer.fixed) {
            entries[count++] = entry_of(c, i);
        }
    }
    qsort(entries, count, sizeof *entries, by_lifetime);
    for (size_t i = 0; i < count; i++) {
        c->left[i] = entries[i].joint;
        c->buffers[i] = c->joints[entries[i].joint].buffer;
    }
    c->count = count;
}

static void coalesce(aegis_coalesced *c, entry *entries, entry *ends)
{
    size_t count = 0, before;
    for (size_t i = 0; i < c->original; i++) {
        if (!c->joints[i].buffer.fixed) {
            entries[count++] = entry_of(c, i);
        }
    }
    uint64_t looked_at = 0;
    do {
        before = count;
        looked_at += count;
        count = stack(c, entries, count);
        count = follow(c, entries, count, ends);
    } while (count < before && looked_at < MOST_LOOKED_AT);
    keep_left(c, entries, count);
}

aegis_status aegis_coalesce(const aegis_plan_buffer *buffers,
                            size_t count,
                            const aegis_allocator *allocator,
                            aegis_coalesced *ret_coalesced,
                            aegis_error *err)
{
    aegis_coalesced *c = ret_coalesced;
    *c = (aegis_coalesced){.original = count, .joint_count = count};
    c->buffers = aegis_allocate_zeroed(allocator, count, sizeof *c->buffers);
    c->joints = aegis_allocate_zeroed(allocator, 2 * count, sizeof *c->joints);
    c->left = aegis_allocate_zeroed(allocator, count, sizeof *c->left);
    entry *entries = aegis_allocate_zeroed(allocator, 2 * count, sizeof *entries);
    aegis_status status = AEGIS_OK;
    if (c->buffers == NULL || c->joints == NULL || c->left == NULL || entries == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("resource.coalesce"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory to coalesce %zu buffers", count);
    } else {
        for (size_t i = 0; i < count; i++) {
            c->joints[i].buffer = buffers[i];
        }
        coalesce(c, entries, entries + count);
    }
    aegis_deallocate(allocator, entries, 2 * count, sizeof *entries);
    return status;
}

void aegis_coalesced_finish(aegis_coalesced *c, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, c->buffers, c->original, sizeof *c->buffers);
    aegis_deallocate(allocator, c->joints, 2 * c->original, sizeof *c->joints);
    aegis_deallocate(allocator, c->left, c->original, sizeof *c->left);
    *c = (aegis_coalesced){0};
}

void aegis_coalesced_offsets(aegis_coalesced *c, const uint64_t *offsets, uint64_t *ret_offsets)
{
    for (size_t i = 0; i < c->count; i++) {
        c->joints[c->left[i]].offset = offsets[i];
    }
    for (size_t i = c->joint_count; i-- > c->original;) {
        const aegis_joint *j = &c->joints[i];
        aegis_joint *first = &c->joints[j->first];
        first->offset = j->offset;
        c->joints[j->second].offset = j->offset + (j->stacked ? first->buffer.size_bytes : 0);
    }
    for (size_t i = 0; i < c->original; i++) {
        ret_offsets[i] = c->joints[i].offset;
    }
}
