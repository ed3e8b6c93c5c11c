/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_spans.h"

#define NONE AEGIS_SPAN_NONE

static uint32_t load(const _Atomic uint32_t *words, uint32_t i)
{
    return atomic_load_explicit(&words[i], memory_order_relaxed);
}

static void store(_Atomic uint32_t *words, uint32_t i, uint32_t value)
{
    atomic_store_explicit(&words[i], value, memory_order_relaxed);
}

static void set_filled(aegis_spans *s, uint32_t class_index, bool filled)
{
    _Atomic uint64_t *word = &s->filled[class_index / 64];
    uint64_t bit = UINT64_C(1) << class_index % 64;
    uint64_t bits = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, filled ? bits | bit : bits & ~bit, memory_order_relaxed);
}

/* Makes [start, start + granules) a free run and lists it. */
static void insert(aegis_spans *s, uint32_t start, uint32_t granules)
{
    uint32_t class_index = aegis_span_class_within(granules), first = s->first[class_index];
    store(s->state, start, aegis_span_state(AEGIS_SPAN_FREE, granules));
    if (granules > 1) {
        store(s->state, start + granules - 1, aegis_span_state(AEGIS_SPAN_TAIL, start));
    }
    store(s->next, start, first);
    s->previous[start] = NONE;
    if (first != NONE) {
        s->previous[first] = start;
    }
    s->first[class_index] = start;
    set_filled(s, class_index, true);
}

/* Takes a free run off its list and leaves its granules INSIDE. Returns its length. */
static uint32_t remove_run(aegis_spans *s, uint32_t start)
{
    uint32_t granules = aegis_span_value_of(load(s->state, start));
    uint32_t class_index = aegis_span_class_within(granules);
    uint32_t next = load(s->next, start), previous = s->previous[start];
    if (next != NONE) {
        s->previous[next] = previous;
    }
    if (previous != NONE) {
        store(s->next, previous, next);
    } else {
        s->first[class_index] = next;
        set_filled(s, class_index, next != NONE);
    }
    store(s->state, start, 0);
    store(s->state, start + granules - 1, 0);
    return granules;
}

/* The first class from `class_index` on that has a run. */
static uint32_t find_filled(const aegis_spans *s, uint32_t class_index)
{
    for (uint32_t word = class_index / 64; word < AEGIS_SPAN_WORDS; word++) {
        uint64_t bits = atomic_load_explicit(&s->filled[word], memory_order_relaxed);
        if (word == class_index / 64) {
            bits &= UINT64_MAX << class_index % 64;
        }
        if (bits != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return NONE;
}

uint32_t aegis_spans_take(aegis_spans *s, uint32_t granules, uint32_t alignment, uint64_t phase)
{
    uint64_t need = (uint64_t)granules + alignment - 1;
    uint32_t class_index =
        need > s->granules ? NONE : find_filled(s, aegis_span_class((uint32_t)need));
    if (class_index == NONE) {
        return NONE;
    }
    uint32_t start = s->first[class_index], length = remove_run(s, start);
    uint32_t beyond = (uint32_t)((start + phase) % alignment);
    uint32_t lead = beyond == 0 ? 0 : alignment - beyond;
    if (lead > 0) {
        insert(s, start, lead);
    }
    if (length > lead + granules) {
        insert(s, start + lead + granules, length - lead - granules);
    }
    store(s->state, start + lead, aegis_span_state(AEGIS_SPAN_USED, granules));
    return start + lead;
}

void aegis_spans_give(aegis_spans *s, uint32_t start, uint32_t granules)
{
    store(s->state, start, 0);
    uint32_t right = start + granules;
    if (right < s->granules && aegis_span_kind_of(load(s->state, right)) == AEGIS_SPAN_FREE) {
        granules += remove_run(s, right);
    }
    if (start > 0) {
        uint32_t state = load(s->state, start - 1), left = NONE;
        if (aegis_span_kind_of(state) == AEGIS_SPAN_TAIL) {
            left = aegis_span_value_of(state);
        } else if (aegis_span_kind_of(state) == AEGIS_SPAN_FREE) {
            left = start - 1; /* a run of one granule has no tail */
        }
        if (left != NONE) {
            granules += remove_run(s, left);
            start = left;
        }
    }
    insert(s, start, granules);
}

uint32_t aegis_spans_largest(const aegis_spans *s)
{
    for (uint32_t word = AEGIS_SPAN_WORDS; word-- > 0;) {
        uint64_t bits = atomic_load_explicit(&s->filled[word], memory_order_relaxed);
        if (bits != 0) {
            return aegis_span_class_granules(word * 64 + 63 - (uint32_t)__builtin_clzll(bits));
        }
    }
    return 0;
}

/* Writes to every page, so that no page fault is left for later. */
static void touch(aegis_spans *s)
{
    for (uint32_t i = 0; i < s->granules; i += 512) {
        store(s->state, i, 0);
        store(s->next, i, 0);
        *(volatile uint32_t *)&s->previous[i] = 0;
    }
}

bool aegis_spans_init(aegis_spans *s, uint32_t granules, const aegis_allocator *allocator)
{
    *s = (aegis_spans){.granules = granules};
    s->state = aegis_allocate_zeroed(allocator, granules, sizeof *s->state);
    s->next = aegis_allocate_zeroed(allocator, granules, sizeof *s->next);
    s->previous = aegis_allocate_zeroed(allocator, granules, sizeof *s->previous);
    if (s->state == NULL || s->next == NULL || s->previous == NULL) {
        aegis_spans_finish(s, allocator);
        return false;
    }
    for (uint32_t i = 0; i < AEGIS_SPAN_CLASSES; i++) {
        s->first[i] = NONE;
    }
    touch(s);
    insert(s, 0, granules);
    return true;
}

void aegis_spans_finish(aegis_spans *s, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, (void *)s->state, s->granules, sizeof *s->state);
    aegis_deallocate(allocator, (void *)s->next, s->granules, sizeof *s->next);
    aegis_deallocate(allocator, s->previous, s->granules, sizeof *s->previous);
    *s = (aegis_spans){0};
}
