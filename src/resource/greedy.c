/* SPDX-License-Identifier: Apache-2.0 */
#include "greedy.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

typedef enum greedy_order {
    ORDER_START = 0, /* as time goes; holes only among what is live */
    ORDER_SIZE,
    ORDER_AREA,
    ORDER_LIFETIME,
    ORDER_COUNT
} greedy_order;

/* A placed buffer; the list of them is sorted by offset. */
typedef struct block {
    int64_t lower, upper;
    uint64_t offset, top;
} block;

typedef struct keyed {
    uint64_t key;
    size_t index;
} keyed;

typedef struct greedy {
    const aegis_plan_buffer *buffers;
    size_t count;
    keyed *order;
    block *blocks;
    size_t block_count;
    uint64_t *offsets;
} greedy;

static int compare_keyed(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key) {
        return x->key > y->key ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

static uint64_t greedy_key(const aegis_plan_buffer *b, greedy_order order)
{
    uint64_t life = (uint64_t)b->upper - (uint64_t)b->lower, area;
    switch (order) {
    case ORDER_SIZE:
        return b->size_bytes;
    case ORDER_AREA:
        return __builtin_mul_overflow(life, b->size_bytes, &area) ? UINT64_MAX : area;
    case ORDER_LIFETIME:
        return life;
    case ORDER_START:
    case ORDER_COUNT:
        break;
    }
    return 0; /* ties keep the order of starts */
}

/* Time only goes on in this order: what has ended cannot be in the way any more. */
static void drop_ended(greedy *g, int64_t now)
{
    size_t kept = 0;
    for (size_t i = 0; i < g->block_count; i++) {
        if (g->blocks[i].upper > now) {
            g->blocks[kept++] = g->blocks[i];
        }
    }
    g->block_count = kept;
}

static uint64_t lowest_hole(const greedy *g, const aegis_plan_buffer *b)
{
    uint64_t alignment = b->alignment == 0 ? 1 : b->alignment, offset = 0;
    for (size_t i = 0; i < g->block_count; i++) {
        const block *other = &g->blocks[i];
        if (other->lower >= b->upper || b->lower >= other->upper || other->top <= offset) {
            continue;
        }
        if (offset + b->size_bytes <= other->offset) {
            break;
        }
        offset = aegis_align_up(other->top, alignment);
    }
    return offset;
}

static void insert_block(greedy *g, const aegis_plan_buffer *b, uint64_t offset)
{
    size_t low = 0, high = g->block_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (g->blocks[middle].offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    memmove(&g->blocks[low + 1], &g->blocks[low], (g->block_count - low) * sizeof *g->blocks);
    g->blocks[low] = (block){b->lower, b->upper, offset, offset + b->size_bytes};
    g->block_count++;
}

/* Those that have no choice come first. */
static uint64_t place_fixed(greedy *g)
{
    uint64_t height = 0;
    g->block_count = 0;
    for (size_t i = 0; i < g->count; i++) {
        const aegis_plan_buffer *b = &g->buffers[i];
        if (b->fixed) {
            uint64_t top = b->fixed_offset + b->size_bytes;
            insert_block(g, b, b->fixed_offset);
            g->offsets[i] = b->fixed_offset;
            height = top > height ? top : height;
        }
    }
    return height;
}

static uint64_t place_all(greedy *g, greedy_order order)
{
    for (size_t i = 0; i < g->count; i++) {
        g->order[i] = (keyed){greedy_key(&g->buffers[i], order), i};
    }
    qsort(g->order, g->count, sizeof *g->order, compare_keyed);
    uint64_t height = place_fixed(g);
    for (size_t i = 0; i < g->count; i++) {
        size_t index = g->order[i].index;
        const aegis_plan_buffer *b = &g->buffers[index];
        if (b->fixed) {
            continue;
        }
        if (order == ORDER_START) {
            drop_ended(g, b->lower);
        }
        uint64_t offset = lowest_hole(g, b), top = offset + b->size_bytes;
        insert_block(g, b, offset);
        g->offsets[index] = offset;
        height = top > height ? top : height;
    }
    return height;
}

aegis_status aegis_greedy_plan(const aegis_plan_buffer *buffers,
                               size_t count,
                               uint64_t target_bytes,
                               const aegis_allocator *allocator,
                               uint64_t *ret_offsets,
                               uint64_t *ret_height,
                               aegis_error *err)
{
    greedy g = {.buffers = buffers, .count = count};
    g.order = aegis_allocate_zeroed(allocator, count, sizeof *g.order);
    g.blocks = aegis_allocate_zeroed(allocator, count, sizeof *g.blocks);
    g.offsets = aegis_allocate_zeroed(allocator, count, sizeof *g.offsets);
    aegis_status status = AEGIS_OK;
    if (g.order == NULL || g.blocks == NULL || g.offsets == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("resource.greedy"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory to plan %zu buffers", count);
        goto done;
    }
    uint64_t best = UINT64_MAX;
    for (greedy_order order = ORDER_START; order < ORDER_COUNT && best > target_bytes; order++) {
        if (order != ORDER_START && count > AEGIS_GREEDY_MAX_COUNT) {
            break;
        }
        uint64_t height = place_all(&g, order);
        if (height < best) {
            best = height;
            memcpy(ret_offsets, g.offsets, count * sizeof *ret_offsets);
        }
    }
    *ret_height = best;
done:
    aegis_deallocate(allocator, g.order, count, sizeof *g.order);
    aegis_deallocate(allocator, g.blocks, count, sizeof *g.blocks);
    aegis_deallocate(allocator, g.offsets, count, sizeof *g.offsets);
    return status;
}
