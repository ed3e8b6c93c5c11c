/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/pool.h>

#include "base/base.h"
#include "pool_spans.h"

#include <inttypes.h>
#include <pthread.h>

#define DEFAULT_GRANULE_BYTES UINT64_C(64)
#define LEAST_GRANULE_BYTES UINT64_C(8)
#define DEFAULT_CACHED_BLOCKS 16u
#define MAX_CACHED_BLOCKS 63u
/* A block larger than this part of the region goes to the spans at once. */
#define LARGEST_CACHED_PART 64u
/* Swaps that fail this often are left to the slow path: time stays bounded under contention. */
#define MAX_SWAPS 16

/* A stack of cached blocks in one word: tag (32 bits), depth (6), index of the top (26). Every
 * change has a tag of its own, so that a swap prepared on an old look at the stack fails. */
#define INDEX_BITS 26
#define DEPTH_BITS 6

/* Keeps what is rare out of the way of what is not. */
#define RARE __attribute__((noinline, cold))

struct aegis_pool {
    aegis_allocator allocator;
    uintptr_t base;
    uint64_t size_bytes; /* of whole granules */
    uint32_t shift;      /* granule = 1 << shift bytes */
    uint32_t cached_blocks, cached_classes;
    uint32_t granules_of[AEGIS_SPAN_CLASSES]; /* of a class: a look-up is cheaper than shifts */
    _Atomic uint64_t stacks[AEGIS_SPAN_CLASSES];
    aegis_spans spans;
    pthread_mutex_t lock;                         /* of `spans`; below it nothing is locked */
    _Atomic uint64_t out_granules, peak_granules; /* not in spans; written under the lock */
    _Atomic uint64_t slow, reclaims, exhausted, refused_frees;
};

/* ---- stacks ---- */

#define INDEX_MASK ((UINT64_C(1) << INDEX_BITS) - 1)
#define ONE_DEEPER (UINT64_C(1) << INDEX_BITS)
#define DEPTH_MASK (((UINT64_C(1) << DEPTH_BITS) - 1) << INDEX_BITS)
#define NEXT_TAG (UINT64_C(1) << (INDEX_BITS + DEPTH_BITS))

static uint32_t top_of(uint64_t stack)
{
    return (uint32_t)(stack & INDEX_MASK);
}

static uint32_t depth_of(uint64_t stack)
{
    return (uint32_t)((stack & DEPTH_MASK) >> INDEX_BITS);
}

static uint32_t pop(aegis_pool *pool, uint32_t class_index)
{
    _Atomic uint64_t *stack = &pool->stacks[class_index];
    uint64_t seen = atomic_load_explicit(stack, memory_order_acquire);
    for (int swap = 0; swap < MAX_SWAPS && (seen & DEPTH_MASK) != 0; swap++) {
        uint32_t top = top_of(seen);
        /* May be nonsense when another thread has taken `top`; then the swap fails. */
        uint32_t next = atomic_load_explicit(&pool->spans.next[top], memory_order_relaxed);
        uint64_t popped = ((seen & ~INDEX_MASK) + NEXT_TAG - ONE_DEEPER) | (next & INDEX_MASK);
        if (atomic_compare_exchange_weak_explicit(stack, &seen, popped, memory_order_acquire,
                                                  memory_order_acquire)) {
            return top;
        }
    }
    return AEGIS_SPAN_NONE;
}

static bool push(aegis_pool *pool, uint32_t class_index, uint32_t start)
{
    _Atomic uint64_t *stack = &pool->stacks[class_index];
    uint64_t seen = atomic_load_explicit(stack, memory_order_relaxed);
    for (int swap = 0; swap < MAX_SWAPS && depth_of(seen) < pool->cached_blocks; swap++) {
        atomic_store_explicit(&pool->spans.next[start], top_of(seen), memory_order_relaxed);
        uint64_t pushed = ((seen & ~INDEX_MASK) + NEXT_TAG + ONE_DEEPER) | start;
        if (atomic_compare_exchange_weak_explicit(stack, &seen, pushed, memory_order_release,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* ---- the slow path ---- */

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void give_to_spans(aegis_pool *pool, uint32_t start, uint32_t granules)
{
    aegis_spans_give(&pool->spans, start, granules);
    uint64_t out = atomic_load_explicit(&pool->out_granules, memory_order_relaxed);
    atomic_store_explicit(&pool->out_granules, out - granules, memory_order_relaxed);
}

/* Empties all stacks. Each is taken as a whole, so what it held is ours alone. */
static void reclaim(aegis_pool *pool)
{
    count(&pool->reclaims);
    for (uint32_t c = 0; c < pool->cached_classes; c++) {
        uint64_t seen = atomic_load_explicit(&pool->stacks[c], memory_order_acquire);
        bool taken = false;
        for (int swap = 0; swap < MAX_SWAPS && depth_of(seen) > 0 && !taken; swap++) {
            taken = atomic_compare_exchange_weak_explicit(
                &pool->stacks[c], &seen, (seen & ~INDEX_MASK & ~DEPTH_MASK) + NEXT_TAG,
                memory_order_acquire, memory_order_acquire);
        }
        uint32_t start = top_of(seen);
        for (uint32_t left = taken ? depth_of(seen) : 0; left > 0; left--) {
            uint32_t next = atomic_load_explicit(&pool->spans.next[start], memory_order_relaxed);
            give_to_spans(pool, start, aegis_span_class_granules(c));
            start = next;
        }
    }
}

RARE static uint32_t take_slowly(aegis_pool *pool, uint32_t granules, uint32_t alignment)
{
    uint64_t phase = pool->base >> pool->shift;
    count(&pool->slow);
    pthread_mutex_lock(&pool->lock);
    uint32_t start = aegis_spans_take(&pool->spans, granules, alignment, phase);
    if (start == AEGIS_SPAN_NONE) {
        reclaim(pool);
        start = aegis_spans_take(&pool->spans, granules, alignment, phase);
    }
    if (start != AEGIS_SPAN_NONE) {
        uint64_t out = atomic_load_explicit(&pool->out_granules, memory_order_relaxed) + granules;
        atomic_store_explicit(&pool->out_granules, out, memory_order_relaxed);
        if (out > atomic_load_explicit(&pool->peak_granules, memory_order_relaxed)) {
            atomic_store_explicit(&pool->peak_granules, out, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&pool->lock);
    return start;
}

RARE static void give_slowly(aegis_pool *pool, uint32_t start, uint32_t granules)
{
    count(&pool->slow);
    pthread_mutex_lock(&pool->lock);
    give_to_spans(pool, start, granules);
    pthread_mutex_unlock(&pool->lock);
}

/* ---- blocks ---- */

RARE static aegis_status refuse(aegis_pool *pool, uint64_t size_bytes, aegis_error *err)
{
    aegis_pool_counters now;
    count(&pool->exhausted);
    aegis_pool_read(pool, &now);
    return aegis_error_set(
        err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_BUDGET_EXCEEDED,
        "%" PRIu64 " bytes asked for, %" PRIu64 " of the pool's %" PRIu64
        " are free, at most %" PRIu64 " for sure in one piece; free blocks or give the pool more",
        size_bytes, now.size_bytes - now.used_bytes, now.size_bytes, now.largest_free_bytes);
}

RARE static aegis_status refuse_request(uint64_t size_bytes, uint64_t alignment, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                           "pool, output, a size above 0 and an alignment that is a power of two "
                           "must be given; size %" PRIu64 ", alignment %" PRIu64,
                           size_bytes, alignment);
}

aegis_status aegis_pool_allocate(
    aegis_pool *pool, uint64_t size_bytes, uint64_t alignment, void **ret_block, aegis_error *err)
{
    if (pool == NULL || ret_block == NULL || size_bytes == 0 ||
        (alignment & (alignment - 1)) != 0) {
        return refuse_request(size_bytes, alignment, err);
    }
    if (size_bytes > pool->size_bytes || alignment > pool->size_bytes) {
        return refuse(pool, size_bytes, err);
    }
    uint32_t class_index = aegis_span_class((uint32_t)((size_bytes - 1) >> pool->shift) + 1);
    uint32_t granules = pool->granules_of[class_index], start = AEGIS_SPAN_NONE;
    uint32_t aligned = (uint32_t)(alignment >> pool->shift);
    if (aligned <= 1 && class_index < pool->cached_classes) {
        start = pop(pool, class_index);
        if (start != AEGIS_SPAN_NONE) {
            atomic_store_explicit(&pool->spans.state[start],
                                  aegis_span_state(AEGIS_SPAN_USED, granules),
                                  memory_order_relaxed);
        }
    }
    if (start == AEGIS_SPAN_NONE) {
        start = take_slowly(pool, granules, aligned <= 1 ? 1 : aligned);
    }
    if (start == AEGIS_SPAN_NONE) {
        return refuse(pool, size_bytes, err);
    }
    *ret_block = (void *)(pool->base + ((uintptr_t)start << pool->shift)); /* NOLINT */
    return AEGIS_OK;
}

RARE static aegis_status refuse_free(aegis_pool *pool, const void *block, aegis_error *err)
{
    uintptr_t offset = (uintptr_t)block - pool->base;
    count(&pool->refused_frees);
    if (offset >= pool->size_bytes) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%p is not in the pool's %" PRIu64 " bytes from %p", block,
                               pool->size_bytes, (void *)pool->base); /* NOLINT */
    }
    if ((offset & ((UINT64_C(1) << pool->shift) - 1)) != 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%p lies inside a block: free the pointer that was handed out",
                               block);
    }
    uint32_t state =
        atomic_load_explicit(&pool->spans.state[offset >> pool->shift], memory_order_relaxed);
    bool inside = aegis_span_kind_of(state) == AEGIS_SPAN_INSIDE;
    return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_STATE,
                           inside ? "no block begins at %p: inside one, or freed before"
                                  : "%p is free already: freed twice",
                           block);
}

aegis_status aegis_pool_free(aegis_pool *pool, void *block, aegis_error *err)
{
    if (block == NULL) {
        return AEGIS_OK;
    }
    if (pool == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "the pool must be given");
    }
    uintptr_t offset = (uintptr_t)block - pool->base;
    if (offset >= pool->size_bytes || (offset & ((UINT64_C(1) << pool->shift) - 1)) != 0) {
        return refuse_free(pool, block, err);
    }
    uint32_t start = (uint32_t)(offset >> pool->shift);
    _Atomic uint32_t *word = &pool->spans.state[start];
    uint32_t state = atomic_load_explicit(word, memory_order_relaxed);
    uint32_t granules = aegis_span_value_of(state);
    /* Of two threads that free the same block one wins. */
    if (aegis_span_kind_of(state) != AEGIS_SPAN_USED ||
        !atomic_compare_exchange_strong_explicit(word, &state,
                                                 aegis_span_state(AEGIS_SPAN_CACHED, granules),
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        return refuse_free(pool, block, err);
    }
    uint32_t class_index = aegis_span_class(granules);
    if (class_index >= pool->cached_classes || !push(pool, class_index, start)) {
        give_slowly(pool, start, granules);
    }
    return AEGIS_OK;
}

uint64_t aegis_pool_block_bytes(const aegis_pool *pool, const void *block)
{
    uintptr_t offset = pool == NULL ? 0 : (uintptr_t)block - pool->base;
    if (pool == NULL || offset >= pool->size_bytes ||
        (offset & ((UINT64_C(1) << pool->shift) - 1)) != 0) {
        return 0;
    }
    uint32_t state =
        atomic_load_explicit(&pool->spans.state[offset >> pool->shift], memory_order_relaxed);
    return aegis_span_kind_of(state) == AEGIS_SPAN_USED
               ? (uint64_t)aegis_span_value_of(state) << pool->shift
               : 0;
}

void aegis_pool_read(const aegis_pool *pool, aegis_pool_counters *ret_counters)
{
    uint64_t cached = 0;
    for (uint32_t c = 0; c < pool->cached_classes; c++) {
        uint64_t stack = atomic_load_explicit(&pool->stacks[c], memory_order_relaxed);
        cached += (uint64_t)depth_of(stack) * aegis_span_class_granules(c);
    }
    uint64_t out = atomic_load_explicit(&pool->out_granules, memory_order_relaxed);
    cached = cached < out ? cached : out; /* the reads are not of one instant */
    *ret_counters = (aegis_pool_counters){
        .size_bytes = pool->size_bytes,
        .used_bytes = (out - cached) << pool->shift,
        .cached_bytes = cached << pool->shift,
        .peak_bytes = atomic_load_explicit(&pool->peak_granules, memory_order_relaxed)
                      << pool->shift,
        .largest_free_bytes = (uint64_t)aegis_spans_largest(&pool->spans) << pool->shift,
        .slow = atomic_load_explicit(&pool->slow, memory_order_relaxed),
        .reclaims = atomic_load_explicit(&pool->reclaims, memory_order_relaxed),
        .exhausted = atomic_load_explicit(&pool->exhausted, memory_order_relaxed),
        .refused_frees = atomic_load_explicit(&pool->refused_frees, memory_order_relaxed),
    };
}

/* ---- create and destroy ---- */

static aegis_status check_config(const aegis_pool_config *config, aegis_error *err)
{
    uint64_t granule = config->granule_bytes == 0 ? DEFAULT_GRANULE_BYTES : config->granule_bytes;
    if (granule < LEAST_GRANULE_BYTES || !aegis_is_power_of_two(granule)) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "granule of %" PRIu64 " bytes: a power of two from %" PRIu64
                               " is needed",
                               granule, LEAST_GRANULE_BYTES);
    }
    if (config->base == NULL || (uintptr_t)config->base % granule != 0) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "base %p must be a multiple of the granule, %" PRIu64
                               " bytes, and not NULL",
                               config->base, granule);
    }
    uint64_t granules = config->size_bytes / granule;
    if (granules == 0 || granules > AEGIS_SPAN_MAX_GRANULES - 1 ||
        config->size_bytes > UINTPTR_MAX - (uintptr_t)config->base) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%" PRIu64 " bytes in granules of %" PRIu64
                               ": 1 to %u granules are possible",
                               config->size_bytes, granule, AEGIS_SPAN_MAX_GRANULES - 1);
    }
    if (config->cached_blocks > MAX_CACHED_BLOCKS) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%" PRIu32 " cached blocks a class: at most %u",
                               config->cached_blocks, MAX_CACHED_BLOCKS);
    }
    return AEGIS_OK;
}

/* Whoever waits for the lock lends its priority to the holder. */
static int init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    int code = pthread_mutexattr_init(&attributes);
    if (code == 0) {
        code = pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
        code = code == 0 ? pthread_mutex_init(lock, &attributes) : code;
        pthread_mutexattr_destroy(&attributes);
    }
    return code;
}

aegis_status aegis_pool_create(const aegis_pool_config *config,
                               const aegis_allocator *allocator,
                               aegis_pool **ret_pool,
                               aegis_error *err)
{
    if (config == NULL || allocator == NULL || ret_pool == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "config, allocator and output must be given");
    }
    aegis_status status = check_config(config, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t granule = config->granule_bytes == 0 ? DEFAULT_GRANULE_BYTES : config->granule_bytes;
    uint32_t granules = (uint32_t)(config->size_bytes / granule);
    aegis_pool *pool = aegis_allocate_zeroed(allocator, 1, sizeof *pool);
    if (pool == NULL || !aegis_spans_init(&pool->spans, granules, allocator)) {
        aegis_deallocate(allocator, pool, 1, sizeof *pool);
        return aegis_error_set(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the records of %" PRIu32 " granules", granules);
    }
    int code = init_lock(&pool->lock);
    if (code != 0) {
        aegis_spans_finish(&pool->spans, allocator);
        aegis_deallocate(allocator, pool, 1, sizeof *pool);
        return aegis_error_set_native(err, AEGIS_HERE("resource.pool"), AEGIS_ERROR_UNSUPPORTED,
                                      code, "no mutex with priority inheritance here");
    }
    pool->allocator = *allocator;
    pool->base = (uintptr_t)config->base;
    pool->shift = (uint32_t)__builtin_ctzll(granule);
    pool->size_bytes = (uint64_t)granules << pool->shift;
    pool->cached_blocks =
        config->cached_blocks == 0 ? DEFAULT_CACHED_BLOCKS : config->cached_blocks;
    pool->cached_classes = granules < LARGEST_CACHED_PART
                               ? 0
                               : aegis_span_class_within(granules / LARGEST_CACHED_PART) + 1;
    for (uint32_t c = 0; c < AEGIS_SPAN_CLASSES; c++) {
        pool->granules_of[c] = aegis_span_class_granules(c);
    }
    *ret_pool = pool;
    return AEGIS_OK;
}

void aegis_pool_destroy(aegis_pool *pool)
{
    if (pool != NULL) {
        aegis_allocator allocator = pool->allocator;
        pthread_mutex_destroy(&pool->lock);
        aegis_spans_finish(&pool->spans, &allocator);
        aegis_deallocate(&allocator, pool, 1, sizeof *pool);
    }
}

/* ---- guards ---- */

aegis_status aegis_pool_guard_take(aegis_pool_guard *guard,
                                   aegis_pool *pool,
                                   uint64_t size_bytes,
                                   uint64_t alignment,
                                   aegis_error *err)
{
    if (guard == NULL || guard->pool != NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.pool"),
                               guard == NULL ? AEGIS_ERROR_INVALID_ARGUMENT : AEGIS_ERROR_STATE,
                               "an empty guard must be given");
    }
    void *block;
    aegis_status status = aegis_pool_allocate(pool, size_bytes, alignment, &block, err);
    if (status == AEGIS_OK) {
        *guard = (aegis_pool_guard){pool, block};
    }
    return status;
}

void aegis_pool_guard_release(aegis_pool_guard *guard)
{
    if (guard != NULL && guard->pool != NULL) {
        (void)aegis_pool_free(guard->pool, guard->block, NULL);
        *guard = (aegis_pool_guard){0};
    }
}

void *aegis_pool_guard_keep(aegis_pool_guard *guard)
{
    void *block = guard == NULL ? NULL : guard->block;
    if (guard != NULL) {
        *guard = (aegis_pool_guard){0};
    }
    return block;
}
