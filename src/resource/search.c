/* SPDX-License-Identifier: Apache-2.0 */
#include "search.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NONE UINT32_MAX

/* One level of the search: a window of buffers and the candidates tried in it so far. A key is
 * (offset, rank): placements of one window follow increasing keys, so that every set of offsets is
 * reached by exactly one sequence. */
typedef struct frame {
    uint32_t first, end;       /* the window: buffers [first, end) of the sorted order */
    uint32_t placed;           /* NONE: nothing is placed at this level now */
    uint32_t jump;             /* where to go back to when every candidate failed; NONE: give up */
    uint32_t pending;          /* windows still to solve after this one: list head or NONE */
    uint32_t window_top;       /* size of the list storage when the frame was made */
    uint32_t section_end;      /* the window's sections end here */
    uint64_t ceiling;          /* candidates at or above it are dominated */
    uint64_t tried_offset;
    uint32_t tried_rank;
    size_t raise_top, low_top; /* trails when the placement was made */
} frame;

typedef struct window {
    uint32_t first, end, split, next;
    uint64_t offset;
    uint32_t rank;
} window;

typedef struct saved {
    uint32_t index;
    uint64_t value;
} saved;

typedef struct ranked {
    uint64_t key[3];
    uint32_t index;
} ranked;

struct aegis_search {
    aegis_allocator allocator;
    uint32_t count, sections;
    uint64_t pairs, incidences;
    const aegis_plan_buffer *buffers;
    /* Of buffers. Sections [from, to) are the maximal sets of buffers live together. */
    uint64_t *size, *align_mask, *low, *least_near;
    uint32_t *from, *to, *rank, *next, *previous;
    bool *placed;
    uint32_t *near_begin, *near;       /* overlapping buffers */
    uint32_t *member_begin, *member;   /* buffers of a section */
    uint64_t *section_total;           /* all sizes */
    uint64_t *section_sum;             /* sizes not placed yet */
    uint64_t *section_low;             /* smallest offset open to a buffer not placed yet */
    uint32_t *cursor;                  /* scratch of set-up */
    frame *frames;
    window *windows;
    uint32_t window_top;
    saved *raises, *lows;
    size_t raise_top, low_top, low_room;
    size_t block_bytes;
    bool starved; /* host memory for a trail ran out */
    ranked *ranking;
    saved *heads;
    uint64_t capacity;
};

/* ---- set-up ---- */

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
    s->next = carve(c, n + 1, sizeof *s->next);
    s->previous = carve(c, n + 1, sizeof *s->previous);
    s->placed = carve(c, n, sizeof *s->placed);
    s->near_begin = carve(c, n + 1, sizeof *s->near_begin);
    s->near = carve(c, 2 * s->pairs, sizeof *s->near);
    s->member_begin = carve(c, m + 1, sizeof *s->member_begin);
    s->member = carve(c, s->incidences, sizeof *s->member);
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
static uint32_t find_sections(const aegis_plan_buffer *b, uint32_t n, int64_t *uppers, int64_t *starts)
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

static void fill_sections(aegis_search *s, const int64_t *starts)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->from[i] = first_at_least(starts, s->sections, s->buffers[i].lower);
        s->to[i] = first_at_least(starts, s->sections, s->buffers[i].upper);
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
            s->member[s->cursor[k]++] = i;
        }
    }
}

aegis_status aegis_search_create(const aegis_plan_buffer *buffers,
                                 size_t count,
                                 const aegis_allocator *allocator,
                                 aegis_search **ret_search,
                                 aegis_error *err)
{
    uint32_t n = (uint32_t)count;
    uint64_t pairs = count_pairs(buffers, n);
    if (pairs > AEGIS_SEARCH_MAX_PAIRS) {
        return aegis_error_set(err, AEGIS_HERE("resource.search"), AEGIS_ERROR_UNSUPPORTED,
                               "more than %llu overlapping pairs among %zu buffers",
                               (unsigned long long)AEGIS_SEARCH_MAX_PAIRS, count);
    }
    aegis_search *s = NULL;
    int64_t *times = aegis_allocate_zeroed(allocator, 2 * count, sizeof *times);
    if (times == NULL) {
        goto fail;
    }
    aegis_search counted = {.allocator = *allocator, .count = n, .pairs = pairs, .buffers = buffers};
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
    }
    fill_neighbours(s);
    fill_sections(s, times);
    for (uint32_t i = 0; i < n; i++) { s->least_near[i]=UINT64_MAX/4; for (uint32_t m = s->near_begin[i]; m < s->near_begin[i+1]; m++) if (s->size[s->near[m]]<s->least_near[i]) s->least_near[i]=s->size[s->near[m]]; }
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
        aegis_deallocate(&allocator, s->lows, s->low_room, sizeof *s->lows);
        aegis_deallocate(&allocator, s, s->block_bytes, 1);
    }
}

/* ---- orders ---- */

static int compare_ranked(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    for (int k = 0; k < 3; k++) {
        if (x->key[k] != y->key[k]) {
            return x->key[k] > y->key[k] ? -1 : 1;
        }
    }
    return x->index < y->index ? -1 : 1;
}

/* Ranks by three of: load (largest section total it takes part in), area, lifetime, size. */
static void rank_buffers(aegis_search *s, unsigned order)
{
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t load = 0;
        for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
            load = s->section_total[k] > load ? s->section_total[k] : load;
        }
        uint64_t life = (uint64_t)s->buffers[i].upper - (uint64_t)s->buffers[i].lower;
        uint64_t area;
        if (__builtin_mul_overflow(life, s->size[i], &area)) {
            area = UINT64_MAX;
        }
        ranked *r = &s->ranking[i];
        *r = (ranked){.index = i};
        static const char *const specs[]={"TAW","WAT","TWA","AZT","WTA","AWT","ATW","TZA","ZTA","WZT","OTW","TOW","WOT"};
        const char *q = order<13?specs[order]:specs[(int[]){2,11,1,7}[order%4]];
        uint64_t deg = s->near_begin[i+1]-s->near_begin[i];
        for(int k=0;k<3;k++) r->key[k]= q[k]=='T'?load:q[k]=='A'?area:q[k]=='W'?life:q[k]=='O'?deg:s->size[i];
        if(order>=13){ uint64_t z=i*7919+order*1000003ull; double u=(double)(aegis_random_next(&z)>>11)/9007199254740992.0; for(int k=0;k<3;k++){ r->key[k]=(uint64_t)((double)r->key[k]*(1.0+NOISE*u)); } }
    }
    qsort(s->ranking, s->count, sizeof *s->ranking, compare_ranked);
    for (uint32_t i = 0; i < s->count; i++) {
        s->rank[s->ranking[i].index] = i + 1;
    }
}

/* ---- state ---- */

static void unlink_buffer(aegis_search *s, uint32_t i)
{
    s->next[s->previous[i]] = s->next[i];
    s->previous[s->next[i]] = s->previous[i];
}

static void relink_buffer(aegis_search *s, uint32_t i)
{
    s->next[s->previous[i]] = i;
    s->previous[s->next[i]] = i;
}

static bool keep_low(aegis_search *s, uint32_t section)
{
    if (s->low_top == s->low_room) {
        size_t room = s->low_room == 0 ? 4096 : 2 * s->low_room;
        saved *lows = aegis_allocate_zeroed(&s->allocator, room, sizeof *lows);
        if (lows == NULL) {
            return false;
        }
        if (s->low_top > 0) {
            memcpy(lows, s->lows, s->low_top * sizeof *lows);
        }
        aegis_deallocate(&s->allocator, s->lows, s->low_room, sizeof *s->lows);
        s->lows = lows;
        s->low_room = room;
    }
    s->lows[s->low_top++] = (saved){section, s->section_low[section]};
    return true;
}

static void place(aegis_search *s, frame *f, uint32_t i)
{
    f->placed = i;
    f->raise_top = s->raise_top;
    f->low_top = s->low_top;
    s->placed[i] = true;
    unlink_buffer(s, i);
    for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
        s->section_sum[k] -= s->size[i];
    }
}

static void take_back(aegis_search *s, frame *f)
{
    uint32_t i = f->placed;
    if (i == NONE) {
        return;
    }
    while (s->raise_top > f->raise_top) {
        s->raise_top--;
        s->low[s->raises[s->raise_top].index] = s->raises[s->raise_top].value;
    }
    while (s->low_top > f->low_top) {
        s->low_top--;
        s->section_low[s->lows[s->low_top].index] = s->lows[s->low_top].value;
    }
    for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
        s->section_sum[k] += s->size[i];
    }
    relink_buffer(s, i);
    s->placed[i] = false;
    f->placed = NONE;
}

/* ---- inference ---- */

/* The buffers of a section are jobs on one machine with their lowest open offsets as release
 * times: served in that order they end at the least height any plan can have there. */
static uint64_t section_height(aegis_search *s, uint32_t section, uint64_t floor)
{
    uint32_t n = 0;
    for (uint32_t m = s->member_begin[section]; m < s->member_begin[section + 1]; m++) {
        uint32_t j = s->member[m];
        if (s->placed[j]) {
            continue;
        }
        uint64_t low = s->low[j] >= floor ? s->low[j] : floor + s->least_near[j];
        uint32_t at = n++;
        while (at > 0 && s->heads[at - 1].value > low) {
            s->heads[at] = s->heads[at - 1];
            at--;
        }
        s->heads[at] = (saved){j, low};
    }
    uint64_t height = 0;
    for (uint32_t k = 0; k < n; k++) {
        height = (s->heads[k].value > height ? s->heads[k].value : height) + s->size[s->heads[k].index];
    }
    return height;
}

static uint64_t section_lowest(const aegis_search *s, uint32_t section)
{
    uint64_t low = UINT64_MAX;
    for (uint32_t m = s->member_begin[section]; m < s->member_begin[section + 1]; m++) {
        uint32_t j = s->member[m];
        if (!s->placed[j] && s->low[j] < low) {
            low = s->low[j];
        }
    }
    return low;
}

/* Draws the consequences of the placement of frame `f`: raises what overlaps it, and checks that
 * each section of the window can still hold what is not placed. */
static bool propagate(aegis_search *s, const frame *f)
{
    uint32_t i = f->placed;
    uint64_t offset = s->low[i], top = offset + s->size[i];
    uint32_t first = s->from[i], end = s->to[i];
    for (uint32_t m = s->near_begin[i]; m < s->near_begin[i + 1]; m++) {
        uint32_t j = s->near[m];
        uint64_t low = (top + s->align_mask[j]) & ~s->align_mask[j];
        if (s->placed[j] || s->low[j] >= low) {
            continue;
        }
        if (low + s->size[j] > s->capacity) {
            return false;
        }
        s->raises[s->raise_top++] = (saved){j, s->low[j]};
        s->low[j] = low;
        first = s->from[j] < first ? s->from[j] : first;
        end = s->to[j] > end ? s->to[j] : end;
    }
    for (uint32_t k = first; k < end; k++) {
        uint64_t low = section_lowest(s, k);
        if (low != s->section_low[k]) {
            if (!keep_low(s, k)) {
                s->starved = true;
                return false;
            }
            s->section_low[k] = low;
        }
    }
    uint32_t window_first = s->from[f->first], window_end = f->section_end;
    for (uint32_t k = window_first; k < window_end; k++) {
        if (s->section_sum[k] == 0) {
            continue;
        }
        uint64_t low = s->section_low[k] > offset ? s->section_low[k] : offset;
        if (low + s->section_sum[k] > s->capacity) {
            return false;
        }
    }
    if (getenv("HEADS")==NULL) {
        for (uint32_t k = first; k < end; k++) {
            if (s->section_sum[k] != 0 && section_height(s, k, offset) > s->capacity) {
                return false;
            }
        }
    }
    return true;
}

/* ---- the search ---- */


/* Enters a window: what is not placed in it, the place to go back to, and the ceiling: a buffer
 * placed at or above the top that another open buffer would have now leaves a hole that the other
 * one could drop into, so some other sequence gives a plan as good (dominance). */
static void open_frame(aegis_search *s, uint32_t depth, const window *w, uint32_t pending)
{
    frame *f = &s->frames[depth];
    *f = (frame){.first = w->first,
                 .end = w->end,
                 .placed = NONE,
                 .jump = w->split,
                 .pending = pending,
                 .window_top = s->window_top,
                 .ceiling = UINT64_MAX,
                 .tried_offset = w->offset,
                 .tried_rank = w->rank};
    for (uint32_t i = w->first; i < w->end; i = s->next[i]) {
        uint64_t top = s->low[i] + s->size[i];
        f->ceiling = top < f->ceiling ? top : f->ceiling;
        f->section_end = s->to[i] > f->section_end ? s->to[i] : f->section_end;
    }
}

/* The open buffer with the least key above the last one tried, or NONE. */
static uint32_t next_candidate(const aegis_search *s, const frame *f)
{
    uint32_t best = NONE, best_rank = 0;
    uint64_t best_offset = f->ceiling;
    for (uint32_t i = f->first; i < f->end; i = s->next[i]) {
        uint64_t low = s->low[i];
        if (low > best_offset || low < f->tried_offset) {
            continue;
        }
        uint32_t rank = s->rank[i];
        if (low == f->tried_offset && rank <= f->tried_rank) {
            continue;
        }
        if (low < best_offset || (best != NONE && rank < best_rank)) {
            best = i;
            best_offset = low;
            best_rank = rank;
        }
    }
    return best;
}

/* Splits what is open in the window of frame `depth` where no open buffer spans, chains the pieces
 * before `pending`, and returns the new head. The pieces have nothing in common any more: one that
 * has no plan fails the whole placement, whatever was chosen in the others. */
static uint32_t split_window(aegis_search *s, uint32_t depth, uint32_t pending)
{
    const frame *f = &s->frames[depth];
    uint32_t reach = 0;
    window *w = NULL;
    for (uint32_t i = f->first; i < f->end; i = s->next[i]) {
        if (s->placed[i]) { /* only the first can be: it has just been unlinked */
            continue;
        }
        if (w == NULL || s->from[i] >= reach) {
            w = &s->windows[s->window_top];
            *w = (window){.first = i,
                          .split = depth,
                          .next = pending,
                          .offset = s->low[f->placed],
                          .rank = s->rank[f->placed]};
            pending = s->window_top++;
        }
        w->end = i + 1;
        reach = s->to[i] > reach ? s->to[i] : reach;
    }
    return pending;
}

static void reset(aegis_search *s, uint64_t capacity)
{
    s->capacity = capacity;
    s->window_top = 0;
    s->raise_top = s->low_top = 0;
    s->starved = false;
    memset(s->low, 0, s->count * sizeof *s->low);
    memset(s->placed, 0, s->count * sizeof *s->placed);
    memset(s->section_low, 0, s->sections * sizeof *s->section_low);
    memcpy(s->section_sum, s->section_total, s->sections * sizeof *s->section_sum);
    for (uint32_t i = 0; i <= s->count; i++) {
        s->next[i] = i == s->count ? 0 : i + 1;
        s->previous[i] = i == 0 ? s->count : i - 1;
    }
}

static bool past(uint64_t deadline_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec >= deadline_ns;
}

aegis_search_outcome aegis_search_run(aegis_search *s,
                                      uint64_t capacity,
                                      unsigned order,
                                      uint64_t deadline_ns,
                                      uint64_t *nodes,
                                      uint64_t *ret_offsets)
{
    rank_buffers(s, order);
    reset(s, capacity);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->size[i] > capacity) {
            return AEGIS_SEARCH_EXHAUSTED;
        }
    }
    uint32_t depth = 0;
    open_frame(s, 0, &(window){.end = s->count, .split = NONE}, NONE);
    for (;;) {
        frame *f = &s->frames[depth];
        uint32_t i = next_candidate(s, f);
        if (i == NONE) {
            if (f->jump == NONE) {
                return AEGIS_SEARCH_EXHAUSTED;
            }
            uint32_t back = f->jump;
            while (depth > back) {
                take_back(s, &s->frames[--depth]);
            }
            s->window_top = s->frames[depth].window_top;
            continue;
        }
        if (*nodes == 0 || (deadline_ns != 0 && *nodes % 1024 == 0 && past(deadline_ns))) {
            return AEGIS_SEARCH_LIMIT;
        }
        --*nodes;
        f->tried_offset = s->low[i];
        f->tried_rank = s->rank[i];
        place(s, f, i);
        if (!propagate(s, f)) {
            if (s->starved) {
                return AEGIS_SEARCH_LIMIT;
            }
            take_back(s, f);
            continue;
        }
        uint32_t pending = split_window(s, depth, f->pending);
        if (pending == NONE) {
            memcpy(ret_offsets, s->low, s->count * sizeof *ret_offsets);
            return AEGIS_SEARCH_FOUND;
        }
        depth++;
        open_frame(s, depth, &s->windows[pending], s->windows[pending].next);
    }
}
