/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_POOL_SPANS_H
#define AEGIS_RESOURCE_POOL_SPANS_H

/*
 * The pool's slow level: free runs of granules, joined at once, found in constant time.
 *
 * One word of state for each granule, out of band:
 *   INSIDE  (zero) not the first granule of anything
 *   FREE    first granule of a free run; its length
 *   TAIL    last granule of a free run of two or more; the index of its first
 *   USED    first granule of a block that is out; its length
 *   CACHED  first granule of a block that its class keeps; its length
 * Everything but USED and CACHED changes under the caller's lock; these two change by compare-and-
 * swap of whoever frees or takes the block.
 */

#include <aegisrt/allocator.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define AEGIS_SPAN_NONE UINT32_MAX
#define AEGIS_SPAN_MAX_GRANULES (UINT32_C(1) << 26)
#define AEGIS_SPAN_CLASSES 200u
#define AEGIS_SPAN_WORDS 4u

typedef enum aegis_span_kind {
    AEGIS_SPAN_INSIDE = 0,
    AEGIS_SPAN_FREE,
    AEGIS_SPAN_TAIL,
    AEGIS_SPAN_USED,
    AEGIS_SPAN_CACHED
} aegis_span_kind;

typedef struct aegis_spans {
    _Atomic uint32_t *state;
    _Atomic uint32_t *next; /* of a free run in its list; of a cached block in its stack */
    uint32_t *previous;     /* of a free run */
    uint32_t granules;
    uint32_t first[AEGIS_SPAN_CLASSES];        /* lists of free runs, by the class they can hold */
    _Atomic uint64_t filled[AEGIS_SPAN_WORDS]; /* classes with a run; written under the lock */
} aegis_spans;

static inline uint32_t aegis_span_state(aegis_span_kind kind, uint32_t value)
{
    return (uint32_t)kind << 28 | value;
}

static inline aegis_span_kind aegis_span_kind_of(uint32_t state)
{
    return (aegis_span_kind)(state >> 28);
}

static inline uint32_t aegis_span_value_of(uint32_t state)
{
    return state & ((UINT32_C(1) << 28) - 1);
}

/* Classes of 1 to 8 granules, then (8 + k) * 2^j for k of 1 to 8: the class that holds `granules`
 * (at least 1) with the least waste. */
static inline uint32_t aegis_span_class(uint32_t granules)
{
    if (granules <= 8) {
        return granules - 1;
    }
    uint32_t least = granules - 1, octave = 28 - (uint32_t)__builtin_clz(least);
    return 8 * octave + (least >> octave);
}

/* The largest class that a run of `granules` (at least 1) can hold. */
static inline uint32_t aegis_span_class_within(uint32_t granules)
{
    if (granules <= 8) {
        return granules - 1;
    }
    uint32_t octave = 28 - (uint32_t)__builtin_clz(granules);
    return 8 * octave + (granules >> octave) - 1;
}

static inline uint32_t aegis_span_class_granules(uint32_t class_index)
{
    return class_index < 8 ? class_index + 1 : (9 + class_index % 8) << ((class_index - 8) / 8);
}

/* All granules one free run. False: host memory ran out. */
bool aegis_spans_init(aegis_spans *spans, uint32_t granules, const aegis_allocator *allocator);
void aegis_spans_finish(aegis_spans *spans, const aegis_allocator *allocator);

/* Under the lock: takes `granules` (of a class) out of a free run, beginning at a granule i with
 * (i + phase) % alignment == 0, and marks them USED. AEGIS_SPAN_NONE when no run will do. */
uint32_t
aegis_spans_take(aegis_spans *spans, uint32_t granules, uint32_t alignment, uint64_t phase);

/* Under the lock: gives [start, start + granules) back; joins neighbours. */
void aegis_spans_give(aegis_spans *spans, uint32_t start, uint32_t granules);

/* Granules of the largest class that a run holds; 0: none. Any thread. */
uint32_t aegis_spans_largest(const aegis_spans *spans);

#endif
