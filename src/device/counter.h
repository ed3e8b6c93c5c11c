/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_COUNTER_H
#define AEGIS_DEVICE_COUNTER_H

/* A 32-bit count that one thread at a time advances and any thread can wait for (futex). Counts are
 * compared modulo 2^32, so no more than 2^31 may lie between the oldest target and the value. */

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct aegis_counter {
    _Atomic uint32_t value;
    _Atomic uint32_t waiters;
} aegis_counter;

/* Sleeps while *word == expected; returns on a wake, a signal or at once. */
static inline void aegis_futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
    errno = saved;
}

/* As above, at most until CLOCK_MONOTONIC `until_ns`. */
static inline void
aegis_futex_wait_until(_Atomic uint32_t *word, uint32_t expected, uint64_t until_ns)
{
    int saved = errno;
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
    errno = saved;
}

static inline uint64_t aegis_counter_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void aegis_futex_wake(_Atomic uint32_t *word, int threads)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, threads, NULL, NULL, 0);
    errno = saved;
}

static inline uint32_t aegis_counter_get(aegis_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_acquire);
}

static inline bool aegis_counter_reached(aegis_counter *counter, uint32_t target)
{
    return (int32_t)(aegis_counter_get(counter) - target) >= 0;
}

/* The two sequentially consistent pairs (value, waiters) here and in wait make it impossible that a
 * waiter sleeps on an old value while this side sees no waiter. */
static inline void aegis_counter_set(aegis_counter *counter, uint32_t value)
{
    atomic_store(&counter->value, value);
    if (atomic_load(&counter->waiters) != 0) {
        aegis_futex_wake(&counter->value, INT_MAX);
    }
}

static inline void aegis_counter_wait(aegis_counter *counter, uint32_t target)
{
    if (aegis_counter_reached(counter, target)) {
        return;
    }
    atomic_fetch_add(&counter->waiters, 1);
    uint32_t seen;
    while ((int32_t)((seen = atomic_load(&counter->value)) - target) < 0) {
        aegis_futex_wait(&counter->value, seen);
    }
    atomic_fetch_sub(&counter->waiters, 1);
}

/* False when the target was not reached by CLOCK_MONOTONIC `until_ns`. */
static inline bool
aegis_counter_wait_until(aegis_counter *counter, uint32_t target, uint64_t until_ns)
{
    if (aegis_counter_reached(counter, target)) {
        return true;
    }
    bool reached;
    atomic_fetch_add(&counter->waiters, 1);
    for (;;) {
        uint32_t seen = atomic_load(&counter->value);
        reached = (int32_t)(seen - target) >= 0;
        if (reached || aegis_counter_now_ns() >= until_ns) {
            break;
        }
        aegis_futex_wait_until(&counter->value, seen, until_ns);
    }
    atomic_fetch_sub(&counter->waiters, 1);
    return reached;
}

#endif
