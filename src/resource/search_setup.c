/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "search_internal.h"

#include <stdlib.h>

/* Carves arrays out of one block; the first pass only counts. */
typedef struct carver {
    unsigned char *base;
    size_t used;
} carver;

static void *carve(carver *c, uint64_t count, size_t size)
{
    size_t at = c->used;
    c->used += (size_t)aegis_align_up((count + 1) * size, 16);
    return c->base == NULL ? NULL : c->base + at;
}

static void carve_all(aegis_search *s, carver *c)
{
    uint64_t n = s->count, m = s->sections;
    s->least_near = carve(c, n, sizeof *s->least_near);
    s->size = carve(c, n, sizeof *s->size);
    s->align_mask = carve(c, n, sizeof *s->align_mask);
    s->low = carve(c, n, sizeof *s->low);
    s->from = carve(c, n, sizeof *s->from);
    s->to = carve(c, n, sizeof *s->to);
    s->rank = carve(c, n, sizeof *s->rank);
    s->scale = carve(c, 3 * n, sizeof *s->scale);
    s->fixed = carve(c, n, sizeof *s->fixed);
    s->start = carve(c, n, sizeof *s->start);
    s->next = carve(c, n + 1, sizeof *s->next);
    s->previous = carve(c, n + 1, sizeof *s->previous);
    s->placed = carve(c, n, sizeof *s->placed);
    s->near_begin = carve(c, n + 1, sizeof *s->near_begin);
    s->near = carve(c, 2 * s->pairs, sizeof *s->near);
    s->member_begin = carve(c, m + 1, sizeof *s->member_begin);
    s->member = carve(c, s->incidences, sizeof *s->member);
    s->open_end = carve(c, m, sizeof *s->open_end);
    s->seat_begin = carve(c, n + 1, sizeof *s->seat_begin);
    s->seat = carve(c, s->incidences, sizeof *s->seat);
    s->section_total = carve(c, m, sizeof *s->section_total);
    s->section_sum = carve(c, m, sizeof *s->section_sum);
    s->section_low = carve(c, m, sizeof *s->section_low);
    s->cursor = carve(c, n > m ? n : m, sizeof *s->cursor);
    s->frames = carve(c, n + 1, sizeof *s->frames);
    s->windows = carve(c, 2 * n, sizeof *s->windows);
    s->raises = carve(c, s->pairs, sizeof *s->raises);
    s->ranking = carve(c, n, sizeof *s->ranking);
    s->heads = carve(c, n, sizeof *s->heads);
}

static int compare_int64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A maximal set of buffers live together starts at a `lower` after which, before the next `lower`,
 * an `upper` comes. Two intervals overlap exactly when they share one such set (Helly). */
static uint32_t
find_sections(const aegis_plan_buffer *b, uint32_t n, int64_t *uppers, int64_t *starts)
{
    for (uint32_t i = 0; i < n; i++) {
        uppers[i] = b[i].upper;
    }
    qsort(uppers, n, sizeof *uppers, compare_int64);
    uint32_t count = 0, done = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 < n && b[i + 1].lower == b[i].lower) {
            continue;
        }
        int64_t until = i + 1 < n ? b[i + 1].lower : INT64_MAX;
        while (done < n && uppers[done] <= b[i].lower) {
            done++;
        }
        if (done < n && uppers[done] <= until) {
            starts[count++] = b[i].lower;
        }
    }
    return count;
}

/* Index of the first start >= value. */
static uint32_t first_at_least(const int64_t *starts, uint32_t count, int64_t value)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (starts[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Stops counting at the limit. */
static uint64_t count_pairs(const aegis_plan_buffer *b, uint32_t n)
{
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < n && pairs <= AEGIS_SEARCH_MAX_PAIRS; i++) {
        for (uint32_t j = i + 1; j < n && b[j].lower < b[i].upper; j++) {
            pairs++;
        }
    }
    return pairs;
}

static void fill_neighbours(aegis_search *s)
{
    const aegis_plan_buffer *b = s->buffers;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t i = 0; i < s->count; i++) {
            for (uint32_t j = i + 1; j < s->count && b[j].lower < b[i].upper; j++) {
                if (pass == 0) {
                    s->near_begin[i + 1]++;
                    s->near_begin[j + 1]++;
                } else {
                    s->near[s->cursor[i]++] = j;
                    s->near[s->cursor[j]++] = i;
                }
            }
        }
        if (pass == 0) {
            for (uint32_t i = 0; i < s->count; i++) {
                s->near_begin[i + 1] += s->near_begin[i];
                s->cursor[i] = s->near_begin[i];
            }
        }
    }
}

static void fill_least_near(aegis_search *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->least_near[i] = UINT64_MAX / 4; /* nothing near: can never be raised */
        for (uint32_t m = s->near_begin[i]; m < s->near_begin[i + 1]; m++) {
            uint64_t size = s->size[s->near[m]];
            s->least_near[i] = size < s->least_near[i] ? size : s->least_near[i];
        }
    }
}

static void fill_sections(aegis_search *s, const int64_t *starts)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->from[i] = first_at_least(starts, s->sections, s->buffers[i].lower);
        s->to[i] = first_at_least(starts, s->sections, s->buffers[i].upper);
        s->seat_begin[i + 1] = s->seat_begin[i] + s->to[i] - s->from[i];
        for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
            s->member_begin[k + 1]++;
            s->section_total[k] += s->size[i];
        }
    }
    for (uint32_t k = 0; k < s->sections; k++) {
        s->member_begin[k + 1] += s->member_begin[k];
        s->cursor[k] = s->member_begin[k];
    }
    for (uint32_t i = 0; i < s->count; i++) {
        for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
            s->seat[s->seat_begin[i] + k - s->from[i]] = s->cursor[k];
            s->member[s->cursor[k]++] = i;
        }
    }
}

bool aegis_search_can_hold(const aegis_plan_buffer *buffers, size_t count)
{
    return count_pairs(buffers, (uint32_t)count) <= AEGIS_SEARCH_MAX_PAIRS;
}

aegis_status aegis_search_create(const aegis_plan_buffer *buffers,
                                 size_t count,
                                 const aegis_allocator *allocator,
                                 aegis_search **ret_search,
                                 aegis_error *err)
{
    uint32_t n = (uint32_t)count;
    uint64_t pairs = count_pairs(buffers, n);
    aegis_search *s = NULL;
    int64_t *times = aegis_allocate_zeroed(allocator, 2 * count, sizeof *times);
    if (times == NULL) {
        goto fail;
    }
    aegis_search counted = {
        .allocator = *allocator, .count = n, .pairs = pairs, .buffers = buffers};
    counted.sections = find_sections(buffers, n, times + count, times);
    for (uint32_t i = 0; i < n; i++) {
        counted.incidences += first_at_least(times, counted.sections, buffers[i].upper) -
                              first_at_least(times, counted.sections, buffers[i].lower);
    }
    carver c = {0};
    carve(&c, 1, sizeof *s);
    carve_all(&counted, &c);
    counted.block_bytes = c.used;
    s = aegis_allocate_zeroed(allocator, c.used, 1);
    if (s == NULL) {
        goto fail;
    }
    *s = counted;
    c = (carver){.base = (unsigned char *)s};
    carve(&c, 1, sizeof *s);
    carve_all(s, &c);
    for (uint32_t i = 0; i < n; i++) {
        s->size[i] = buffers[i].size_bytes;
        s->align_mask[i] = buffers[i].alignment == 0 ? 0 : buffers[i].alignment - 1;
        s->fixed[i] = buffers[i].fixed;
        s->start[i] = buffers[i].fixed ? buffers[i].fixed_offset : 0;
    }
    fill_neighbours(s);
    fill_least_near(s);
    fill_sections(s, times);
    aegis_deallocate(allocator, times, 2 * count, sizeof *times);
    *ret_search = s;
    return AEGIS_OK;
fail:
    aegis_deallocate(allocator, times, 2 * count, sizeof *times);
    return aegis_error_set(err, AEGIS_HERE("resource.search"), AEGIS_ERROR_NO_MEMORY,
                           "no host memory to search %zu buffers", count);
}

void aegis_search_destroy(aegis_search *s)
{
    if (s != NULL) {
        aegis_allocator allocator = s->allocator;
        aegis_deallocate(&allocator, s->lows.entries, s->lows.room, sizeof *s->lows.entries);
        aegis_deallocate(&allocator, s->ranks.entries, s->ranks.room, sizeof *s->ranks.entries);
        aegis_deallocate(&allocator, s, s->block_bytes, 1);
    }
}
