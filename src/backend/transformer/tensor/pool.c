/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/pool.h"

#include "base/base.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* About 30 us: longer than the serial stretches between two pieces of work, shorter than what the
 * kernel needs to give the core to somebody else. */
#define SPIN_ROUNDS 800
#define CACHE_LINE 64
#define STACK_BYTES ((size_t)256 << 10)

/*
 * ticket: work number (24 bits), chunks (20), next chunk (20). A claim is one fetch_add: the value
 * before says which work, how many chunks and which one. The claim is good when the chunk is below
 * the count; then the work cannot end before it is done, so `function` and `argument` stand still.
 */
#define CHUNK_BITS 20
#define CHUNK_MASK ((UINT64_C(1) << CHUNK_BITS) - 1)

struct aegis_compute_pool {
    aegis_allocator allocator;
    uint32_t threads, started;
    char apart_ticket[CACHE_LINE]; /* words that different threads write: lines of their own */
    _Atomic uint64_t ticket;
    char apart_left[CACHE_LINE];
    _Atomic uint32_t left; /* chunks not done; futex of the caller */
    char apart_work[CACHE_LINE];
    _Atomic uint32_t work; /* number of the work; futex of the others */
    _Atomic uint32_t sleepers;
    _Atomic bool caller_sleeps, stop;
    aegis_compute_function function;
    void *argument;
    struct pool_thread {
        aegis_compute_pool *pool;
        uint32_t number;
        pthread_t handle;
    } workers[AEGIS_POOL_MAX_THREADS];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t next_of(uint64_t ticket)
{
    return (uint32_t)(ticket & CHUNK_MASK);
}

static uint32_t count_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> CHUNK_BITS & CHUNK_MASK);
}

static void finish_chunk(aegis_compute_pool *pool)
{
    /* Sequentially consistent with the caller's "I sleep, is anything left?". */
    if (atomic_fetch_sub(&pool->left, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
        futex_wake(&pool->left, 1);
    }
}

static void work_on(aegis_compute_pool *pool, uint32_t thread)
{
    for (;;) {
        /* Looks first, so that the counter grows past the count by one a thread at most. */
        uint64_t seen = atomic_load_explicit(&pool->ticket, memory_order_relaxed);
        if (next_of(seen) >= count_of(seen)) {
            return;
        }
        uint64_t claim = atomic_fetch_add_explicit(&pool->ticket, 1, memory_order_acquire);
        if (next_of(claim) >= count_of(claim)) {
            return;
        }
        pool->function(pool->argument, next_of(claim), thread);
        finish_chunk(pool);
    }
}

/* Waits until the work number differs from `last` and returns it. */
static uint32_t await_work(aegis_compute_pool *pool, uint32_t last)
{
    for (;;) {
        for (int round = 0; round < SPIN_ROUNDS; round++) {
            uint32_t work = atomic_load_explicit(&pool->work, memory_order_acquire);
            if (work != last) {
                return work;
            }
            relax();
        }
        atomic_fetch_add(&pool->sleepers, 1);
        futex_wait(&pool->work, last);
        atomic_fetch_sub(&pool->sleepers, 1);
    }
}

static void *worker(void *argument)
{
    const struct pool_thread *self = argument;
    aegis_compute_pool *pool = self->pool;
    uint32_t work = 0;
    for (;;) {
        work = await_work(pool, work);
        if (atomic_load_explicit(&pool->stop, memory_order_acquire)) {
            return NULL;
        }
        work_on(pool, self->number);
    }
}

static void announce(aegis_compute_pool *pool)
{
    atomic_fetch_add(&pool->work, 1);
    if (atomic_load(&pool->sleepers) > 0) {
        futex_wake(&pool->work, INT_MAX);
    }
}

void aegis_compute_pool_run(aegis_compute_pool *pool,
                            uint32_t chunks,
                            aegis_compute_function function,
                            void *argument)
{
    if (pool->threads == 1 || chunks == 1) {
        for (uint32_t chunk = 0; chunk < chunks; chunk++) {
            function(argument, chunk, 0);
        }
        return;
    }
    if (chunks == 0) {
        return;
    }
    pool->function = function;
    pool->argument = argument;
    atomic_store_explicit(&pool->left, chunks, memory_order_relaxed);
    uint64_t number = (uint64_t)atomic_load_explicit(&pool->work, memory_order_relaxed) + 1;
    atomic_store_explicit(&pool->ticket,
                          number << (2 * CHUNK_BITS) | (uint64_t)chunks << CHUNK_BITS,
                          memory_order_release);
    announce(pool);
    work_on(pool, 0);
    for (int round = 0; round < SPIN_ROUNDS; round++) {
        if (atomic_load_explicit(&pool->left, memory_order_acquire) == 0) {
            return;
        }
        relax();
    }
    atomic_store(&pool->caller_sleeps, true);
    for (uint32_t left = atomic_load(&pool->left); left != 0; left = atomic_load(&pool->left)) {
        futex_wait(&pool->left, left);
    }
    atomic_store(&pool->caller_sleeps, false);
}

static aegis_status start_threads(aegis_compute_pool *pool, aegis_error *err)
{
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code == 0) {
        pthread_attr_setstacksize(&attributes, STACK_BYTES);
        while (code == 0 && pool->started + 1 < pool->threads) {
            struct pool_thread *next = &pool->workers[pool->started];
            *next = (struct pool_thread){.pool = pool, .number = pool->started + 1};
            code = pthread_create(&next->handle, &attributes, worker, next);
            pool->started += code == 0;
        }
        pthread_attr_destroy(&attributes);
    }
    if (code != 0) {
        return aegis_error_set_native(err, AEGIS_HERE("transformer.pool"), AEGIS_ERROR_NO_MEMORY,
                                      code, "thread %u of %u cannot be created; ask for fewer",
                                      pool->started + 2, pool->threads);
    }
    return AEGIS_OK;
}

aegis_status aegis_compute_pool_create(uint32_t threads,
                                       const aegis_allocator *allocator,
                                       aegis_compute_pool **ret_pool,
                                       aegis_error *err)
{
    if (threads == 0 || threads > AEGIS_POOL_MAX_THREADS) {
        return aegis_error_set(err, AEGIS_HERE("transformer.pool"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%u threads; from 1 to %d", threads, AEGIS_POOL_MAX_THREADS);
    }
    aegis_compute_pool *pool = aegis_allocate_zeroed(allocator, 1, sizeof *pool);
    if (pool == NULL) {
        return aegis_error_set(err, AEGIS_HERE("transformer.pool"), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a pool of %u threads", threads);
    }
    pool->allocator = *allocator;
    pool->threads = threads;
    aegis_status status = start_threads(pool, err);
    if (status != AEGIS_OK) {
        aegis_compute_pool_destroy(pool);
        return status;
    }
    *ret_pool = pool;
    return AEGIS_OK;
}

void aegis_compute_pool_destroy(aegis_compute_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    announce(pool);
    for (uint32_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].handle, NULL);
    }
    aegis_allocator allocator = pool->allocator;
    aegis_deallocate(&allocator, pool, 1, sizeof *pool);
}

uint32_t aegis_compute_pool_threads(const aegis_compute_pool *pool)
{
    return pool->threads;
}
