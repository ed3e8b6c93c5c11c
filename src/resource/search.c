/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "search_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NONE AEGIS_SEARCH_NONE

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

/* What a buffer is ranked by, most to least. */
static uint64_t rank_key(const aegis_search *s, uint32_t i, char criterion)
{
    uint64_t life = (uint64_t)s->buffers[i].upper - (uint64_t)s->buffers[i].lower;
    uint64_t key = 0;
    switch (criterion) {
    case 'T': /* the section it takes part in with the most still open */
        for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
            key = s->section_sum[k] > key ? s->section_sum[k] : key;
        }
        break;
    case 'A': /* area in time and space */
        if (__builtin_mul_overflow(life, s->size[i], &key)) {
            key = UINT64_MAX;
        }
        break;
    case 'W':
        key = life;
        break;
    case 'O':
        key = s->near_begin[i + 1] - s->near_begin[i];
        break;
    default:
        key = s->size[i];
        break;
    }
    return key >> 53 == 0 ? key : UINT64_C(1) << 53;
}

/* Four proven orders; with a seed their keys are scaled by 1 to 1.5 at random, those of odd seeds
 * without the first key. */
static void choose_order(aegis_search *s, unsigned order, uint64_t seed)
{
    static const char *const orders[AEGIS_SEARCH_ORDERS] = {"TWA", "TWAs", "TAW", "TOW", "TZA"};
    s->criteria = orders[order % AEGIS_SEARCH_ORDERS];
    s->reranks = s->criteria[3] != 's';
    int kept = seed == 0 ? 3 : (int)(seed % 2);
    seed = seed * AEGIS_SEARCH_ORDERS + order;
    for (uint32_t i = 0; i < s->count; i++) {
        for (int k = 0; k < 3; k++) {
            s->scale[3 * (size_t)i + (size_t)k] =
                (uint16_t)(k >= kept ? 1024 + aegis_random_next(&seed) % 512 : 1024);
        }
    }
}

/* Sorts the open buffers of [first, end) into `ranking`. Fixed ones come first: once something else
 * lies at their offset or above, they cannot be placed any more. */
static uint32_t sort_open(aegis_search *s, uint32_t first, uint32_t end)
{
    uint32_t open = 0;
    for (uint32_t i = first; i < end; i = s->next[i]) {
        if (s->placed[i]) {
            continue;
        }
        ranked *r = &s->ranking[open++];
        r->index = i;
        for (int k = 0; k < 3; k++) {
            r->key[k] = s->fixed[i]
                            ? UINT64_MAX
                            : rank_key(s, i, s->criteria[k]) * s->scale[3 * (size_t)i + (size_t)k];
        }
    }
    qsort(s->ranking, open, sizeof *s->ranking, compare_ranked);
    return open;
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

static bool keep(aegis_search *s, trail *t, saved entry)
{
    if (t->top == t->room) {
        size_t room = t->room == 0 ? 4096 : 2 * t->room;
        saved *entries = aegis_allocate_zeroed(&s->allocator, room, sizeof *entries);
        if (entries == NULL) {
            s->starved = true;
            return false;
        }
        if (t->top > 0) {
            memcpy(entries, t->entries, t->top * sizeof *entries);
        }
        aegis_deallocate(&s->allocator, t->entries, t->room, sizeof *t->entries);
        t->entries = entries;
        t->room = room;
    }
    t->entries[t->top++] = entry;
    return true;
}

static void swap_members(aegis_search *s, uint32_t section, uint32_t a, uint32_t b)
{
    uint32_t i = s->member[a], j = s->member[b];
    s->member[a] = j;
    s->member[b] = i;
    s->seat[s->seat_begin[i] + section - s->from[i]] = b;
    s->seat[s->seat_begin[j] + section - s->from[j]] = a;
}

static void place(aegis_search *s, frame *f, uint32_t i)
{
    f->placed = i;
    f->raise_top = s->raise_top;
    f->low_top = s->lows.top;
    f->rank_top = s->ranks.top;
    s->placed[i] = true;
    unlink_buffer(s, i);
    for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
        s->section_sum[k] -= s->size[i];
        swap_members(s, k, s->seat[s->seat_begin[i] + k - s->from[i]], --s->open_end[k]);
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
    while (s->lows.top > f->low_top) {
        const saved *last = &s->lows.entries[--s->lows.top];
        s->section_low[last->index] = last->value;
    }
    while (s->ranks.top > f->rank_top) {
        const saved *last = &s->ranks.entries[--s->ranks.top];
        s->rank[last->index] = (uint32_t)last->value;
    }
    for (uint32_t k = s->from[i]; k < s->to[i]; k++) {
        s->section_sum[k] += s->size[i];
        s->open_end[k]++; /* placements end in reverse order: the buffer still lies there */
    }
    relink_buffer(s, i);
    s->placed[i] = false;
    f->placed = NONE;
}

/* ---- inference ---- */

/* The lowest offset still open to a buffer. One whose `low` is below the floor can only be lifted
 * past it by a neighbour placed from now on. */
static uint64_t lowest_open(const aegis_search *s, uint32_t j, uint64_t floor)
{
    return s->low[j] >= floor ? s->low[j] : floor + s->least_near[j];
}

/* The open buffers of a section are jobs on one machine with their lowest open offsets as release
 * times: served without needless idling they end at the least height any plan can have there. Each
 * pass serves what is released by `height`; when that is nothing, the machine idles until the next
 * release. */
static uint64_t section_height(aegis_search *s, uint32_t section, uint64_t floor)
{
    uint32_t waiting = 0;
    for (uint32_t m = s->member_begin[section]; m < s->open_end[section]; m++) {
        uint32_t j = s->member[m];
        s->heads[waiting++] = (saved){j, lowest_open(s, j, floor)};
    }
    uint64_t height = floor;
    while (waiting > 0) {
        uint64_t served = 0, next = UINT64_MAX;
        uint32_t kept = 0;
        for (uint32_t k = 0; k < waiting; k++) {
            saved head = s->heads[k];
            if (head.value <= height + served) {
                served += s->size[head.index];
            } else {
                next = head.value < next ? head.value : next;
                s->heads[kept++] = head;
            }
        }
        height = served > 0 ? height + served : next;
        waiting = kept;
    }
    return height;
}

/* Brings `section_low` up to date after a change in the section, and says whether what is open in
 * it can still be held. The sorted bound is computed only where the two simple ones leave it open.
 */
static bool update_section(aegis_search *s, uint32_t section, uint64_t floor)
{
    uint64_t sum = s->section_sum[section], low = UINT64_MAX, high = 0;
    if (sum == 0) {
        return true;
    }
    for (uint32_t m = s->member_begin[section]; m < s->open_end[section]; m++) {
        uint32_t j = s->member[m];
        uint64_t open = lowest_open(s, j, floor);
        low = s->low[j] < low ? s->low[j] : low;
        high = open > high ? open : high;
    }
    if (low != s->section_low[section]) {
        if (!keep(s, &s->lows, (saved){section, s->section_low[section]})) {
            return false;
        }
        s->section_low[section] = low;
    }
    return (low > floor ? low : floor) + sum <= s->capacity &&
           (high + sum <= s->capacity || section_height(s, section, floor) <= s->capacity);
}

/* Whether every section of the frame's window can hold what is open above the floor. */
static bool window_holds(const aegis_search *s, const frame *f, uint64_t floor)
{
    for (uint32_t k = s->from[f->first]; k < f->section_end; k++) {
        uint64_t low = s->section_low[k] > floor ? s->section_low[k] : floor;
        if (s->section_sum[k] != 0 && low + s->section_sum[k] > s->capacity) {
            return false;
        }
    }
    return true;
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
        if (low + s->size[j] > s->capacity || s->fixed[j]) {
            return false;
        }
        s->raises[s->raise_top++] = (saved){j, s->low[j]};
        s->low[j] = low;
        first = s->from[j] < first ? s->from[j] : first;
        end = s->to[j] > end ? s->to[j] : end;
    }
    bool holds = window_holds(s, f, offset);
    for (uint32_t k = first; k < end && holds; k++) {
        holds = update_section(s, k, offset);
    }
    return holds;
}

/* ---- the search ---- */

/* Enters a window: what is not placed in it, the place to go back to, and the ceiling. A buffer
 * placed at or above the top that another open buffer would have now leaves a hole that the other
 * one could drop into, so some other sequence gives a plan as good (dominance); and above a floor
 * that high some section could not hold what is open in it. */
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
        /* A fixed buffer is placed before all that lies higher. */
        uint64_t top = s->low[i] + (s->fixed[i] ? 1 : s->size[i]);
        f->ceiling = top < f->ceiling ? top : f->ceiling;
        f->section_end = s->to[i] > f->section_end ? s->to[i] : f->section_end;
    }
    for (uint32_t k = s->from[w->first]; k < f->section_end; k++) {
        uint64_t above = s->capacity - s->section_sum[k] + 1;
        f->ceiling = s->section_sum[k] != 0 && above < f->ceiling ? above : f->ceiling;
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

/* Ranks a window anew: what was full may be nearly done by now. */
static bool rerank_window(aegis_search *s, window *w)
{
    uint32_t open = sort_open(s, w->first, w->end);
    for (uint32_t k = 0; k < open; k++) {
        uint32_t i = s->ranking[k].index;
        if (!keep(s, &s->ranks, (saved){i, s->rank[i]})) {
            return false;
        }
        s->rank[i] = k + 1;
    }
    w->rank = 0;
    return true;
}

/* Splits what is open in the window of frame `depth` where no open buffer spans, chains the pieces
 * before `pending`, and returns the new head. The pieces have nothing in common any more: one that
 * has no plan fails the whole placement, whatever was chosen in the others. */
static uint32_t split_window(aegis_search *s, uint32_t depth, uint32_t pending)
{
    const frame *f = &s->frames[depth];
    uint32_t reach = 0, before = s->window_top;
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
    if (s->reranks && s->window_top > before + 1) {
        for (uint32_t k = before; k < s->window_top; k++) {
            if (!rerank_window(s, &s->windows[k])) {
                break;
            }
        }
    }
    return pending;
}

static void reset(aegis_search *s, uint64_t capacity)
{
    s->capacity = capacity;
    s->window_top = 0;
    s->raise_top = s->lows.top = s->ranks.top = 0;
    s->starved = false;
    memcpy(s->low, s->start, s->count * sizeof *s->low);
    memset(s->placed, 0, s->count * sizeof *s->placed);
    memset(s->section_low, 0, s->sections * sizeof *s->section_low);
    memcpy(s->section_sum, s->section_total, s->sections * sizeof *s->section_sum);
    memcpy(s->open_end, s->member_begin + 1, s->sections * sizeof *s->open_end);
    for (uint32_t i = 0; i <= s->count; i++) {
        s->next[i] = i == s->count ? 0 : i + 1;
        s->previous[i] = i == 0 ? s->count : i - 1;
    }
    sort_open(s, 0, s->count);
    for (uint32_t i = 0; i < s->count; i++) {
        s->rank[s->ranking[i].index] = i + 1;
    }
}

static bool past(uint64_t deadline_ns)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec >= deadline_ns;
}

/* Looking at the clock and at the others costs more than a placement: now and then is enough. */
static bool ended(const aegis_search_quota *quota, uint64_t nodes)
{
    return nodes % 256 == 0 &&
           ((quota->winner != NULL &&
             atomic_load_explicit(quota->winner, memory_order_relaxed) < quota->number) ||
            (quota->deadline_ns != 0 && past(quota->deadline_ns)));
}

/* Something cannot be anywhere: more live at once than the capacity, or fixed above it. */
static bool is_hopeless(const aegis_search *s)
{
    for (uint32_t k = 0; k < s->sections; k++) {
        if (s->section_total[k] > s->capacity) {
            return true;
        }
    }
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->start[i] + s->size[i] > s->capacity) {
            return true;
        }
    }
    return false;
}

/* Goes back to the placement that cut this window off. */
static uint32_t jump_back(aegis_search *s, uint32_t depth)
{
    uint32_t back = s->frames[depth].jump;
    while (depth > back) {
        take_back(s, &s->frames[--depth]);
    }
    s->window_top = s->frames[depth].window_top;
    return depth;
}

void aegis_search_start(aegis_search *s, uint64_t capacity, unsigned order, uint64_t seed)
{
    choose_order(s, order, seed);
    reset(s, capacity);
    s->depth = 0;
    if (!is_hopeless(s)) {
        open_frame(s, 0, &(window){.end = s->count, .split = NONE}, NONE);
    } else {
        s->frames[0] =
            (frame){.placed = NONE, .jump = NONE}; /* no candidate below a ceiling of 0 */
    }
}

aegis_search_outcome aegis_search_continue(aegis_search *s,
                                           const aegis_search_quota *quota,
                                           uint64_t *ret_nodes,
                                           uint64_t *ret_offsets)
{
    *ret_nodes = 0;
    for (;;) {
        frame *f = &s->frames[s->depth];
        uint32_t i = next_candidate(s, f);
        if (i == NONE) {
            if (f->jump == NONE) {
                return AEGIS_SEARCH_EXHAUSTED;
            }
            s->depth = jump_back(s, s->depth);
            continue;
        }
        if (*ret_nodes == quota->nodes || ended(quota, *ret_nodes)) {
            return AEGIS_SEARCH_LIMIT;
        }
        ++*ret_nodes;
        f->tried_offset = s->low[i];
        f->tried_rank = s->rank[i];
        if (s->fixed[i]) {
            f->ceiling = 0; /* what is tried later would leave it behind */
        }
        place(s, f, i);
        bool holds = propagate(s, f);
        uint32_t pending = holds ? split_window(s, s->depth, f->pending) : NONE;
        if (s->starved) {
            return AEGIS_SEARCH_NO_MEMORY;
        }
        if (!holds) {
            take_back(s, f);
            continue;
        }
        if (pending == NONE) {
            memcpy(ret_offsets, s->low, s->count * sizeof *ret_offsets);
            return AEGIS_SEARCH_FOUND;
        }
        s->depth++;
        open_frame(s, s->depth, &s->windows[pending], s->windows[pending].next);
    }
}
