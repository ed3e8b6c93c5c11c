/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_POOL_H
#define AEGISRT_POOL_H

/**
 * @file pool.h Blocks of varying size out of one fixed region: for what cannot be planned.
 *
 * The pool hands out addresses and never looks at them: all of its records lie in host memory of
 * their own, so the region may be device memory. It never grows. After create it makes no system
 * call, unless two threads meet in the slow path.
 *
 * **Sizes.** The region is cut into granules. A block is as many granules as its size class: 1 to
 * 8, then eight classes to each doubling. So a request of at least 8 granules wastes at most 12.5
 * %, a smaller one less than a granule.
 *
 * **Two levels.** Each class of small blocks keeps a stack of up to `cached_blocks` freed ones,
 * taken and given by one compare-and-swap (index, depth and a tag of 32 bits in one word; the tag
 * would have to turn over fully while one thread is held up for a stale swap to pass). What the
 * stacks do not have or hold lies in spans, free runs of granules that are joined with their free
 * neighbours at once and found through a bitmap of classes (two levels as in TLSF; Masmano, Ripoll,
 * Crespo, Real, ECRTS 2004), under a mutex with priority inheritance.
 *
 * **No class starves another.** When no span is long enough, all stacks are emptied into the spans,
 * where neighbours join, and the search is made again: an allocation fails only if there is no free
 * run as long as its class even then. This costs at most `cached_blocks` joins a class, so it is
 * bounded too, and is counted (`reclaims`). No allocation moves a block; external fragmentation is
 * bounded by nothing but the caller's pattern, which is why the planner exists.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_pool aegis_pool;

/** Metadata costs 12 bytes of host memory a granule. */
typedef struct aegis_pool_config {
    void *base;             /**< of the region; borrowed, never read or written; a multiple of the
                                 granule; not NULL */
    uint64_t size_bytes;    /**< the hard budget; what does not fill a granule is left over */
    uint64_t granule_bytes; /**< power of two from 8; 0: 64. At most 2^26 fit into the region */
    uint32_t cached_blocks; /**< a class keeps at most this many; 0: 16; at most 63. Only blocks of
                                 up to 1/64 of the region are kept at all */
} aegis_pool_config;

/**
 * Makes a pool over a region. Owns its records, from `allocator`. @return OK; INVALID_ARGUMENT;
 * NO_MEMORY (host memory); UNSUPPORTED (the C library has no mutexes with priority inheritance).
 */
aegis_status aegis_pool_create(const aegis_pool_config *config,
                               const aegis_allocator *allocator,
                               aegis_pool **ret_pool,
                               aegis_error *err);

/** No other thread may use the pool any more. Blocks still out become meaningless. NULL is fine. */
void aegis_pool_destroy(aegis_pool *pool);

/**
 * Takes a block of at least `size_bytes` (> 0) at a multiple of `alignment` (power of two; 0: the
 * granule). Alignments above the granule always take the slow path, and may fail although a run
 * exists that is long enough only because of how it happens to lie. Any thread. Constant time.
 * @return OK; BUDGET_EXCEEDED: no free run of that length, what is free and the longest run are in
 * the message; INVALID_ARGUMENT.
 */
aegis_status aegis_pool_allocate(
    aegis_pool *pool, uint64_t size_bytes, uint64_t alignment, void **ret_block, aegis_error *err);

/**
 * Gives a block back; NULL is fine. Any thread. Constant time. @return OK; INVALID_ARGUMENT: the
 * pointer is outside the region or inside a granule; STATE: no block begins there: freed before, or
 * a pointer into a block. Nothing changes then. (A second free after the same bytes were handed out
 * again is a valid free of the new block, as with every allocator.)
 */
aegis_status aegis_pool_free(aegis_pool *pool, void *block, aegis_error *err);

/** Bytes that the block really has, or 0 when no block that is out begins there. Any thread. */
uint64_t aegis_pool_block_bytes(const aegis_pool *pool, const void *block);

/** Read without locks, one by one: exact when no other thread is in the pool. */
typedef struct aegis_pool_counters {
    uint64_t size_bytes;         /**< the region's whole granules */
    uint64_t used_bytes;         /**< out with callers, rounded up to classes */
    uint64_t cached_bytes;       /**< freed and kept by the classes */
    uint64_t peak_bytes;         /**< most ever of used and cached together */
    uint64_t largest_free_bytes; /**< a request of this size is sure to find a span now */
    uint64_t slow;               /**< allocations and frees that took the slow path */
    uint64_t reclaims;           /**< times that all stacks were emptied */
    uint64_t exhausted;          /**< allocations refused for want of bytes */
    uint64_t refused_frees;      /**< double, interior and foreign ones */
} aegis_pool_counters;

void aegis_pool_read(const aegis_pool *pool, aegis_pool_counters *ret_counters);

/**
 * A block that ends with its scope:
 *
 *     AEGIS_POOL_SCOPED aegis_pool_guard staging = {0};
 *     status = aegis_pool_guard_take(&staging, pool, bytes, 0, err);
 */
typedef struct aegis_pool_guard {
    aegis_pool *pool; /**< NULL: holds nothing */
    void *block;
} aegis_pool_guard;

/** Before a declaration of an aegis_pool_guard: releases it when the scope is left. */
#define AEGIS_POOL_SCOPED __attribute__((cleanup(aegis_pool_guard_release)))

/** As aegis_pool_allocate, into an empty guard; STATE when it holds something. */
aegis_status aegis_pool_guard_take(aegis_pool_guard *guard,
                                   aegis_pool *pool,
                                   uint64_t size_bytes,
                                   uint64_t alignment,
                                   aegis_error *err);

/** Frees what the guard holds and leaves it empty. An empty guard is fine. */
void aegis_pool_guard_release(aegis_pool_guard *guard);

/** Leaves the guard empty and the block with the caller, who frees it. NULL when empty. */
void *aegis_pool_guard_keep(aegis_pool_guard *guard);

#ifdef __cplusplus
}
#endif
#endif
