/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_WAKE_H
#define AEGIS_SCHEDULE_WAKE_H

/* One sleeper, many wakers. A ring costs one atomic addition, and a system call only when the
 * sleeper sleeps. */

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef struct aegis_wake {
    _Atomic uint32_t count;
    _Atomic uint32_t sleeping;
} aegis_wake;

static inline uint32_t aegis_wake_count(aegis_wake *wake)
{
    return atomic_load(&wake->count);
}

static inline void aegis_wake_ring(aegis_wake *wake)
{
    atomic_fetch_add(&wake->count, 1);
    if (atomic_load(&wake->sleeping) != 0) {
        syscall(SYS_futex, &wake->count, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

/* Sleeps until rung since `seen` was read, or until CLOCK_MONOTONIC `until_ns` (UINT64_MAX: no
 * end). May return early. */
static inline void aegis_wake_wait(aegis_wake *wake, uint32_t seen, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000u),
                             .tv_nsec = (long)(until_ns % 1000000000u)};
    atomic_store(&wake->sleeping, 1);
    if (atomic_load(&wake->count) == seen) {
        syscall(SYS_futex, &wake->count, FUTEX_WAIT_BITSET_PRIVATE, seen,
                until_ns == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    atomic_store(&wake->sleeping, 0);
}

#endif
