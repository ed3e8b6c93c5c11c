/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLOCK_H
#define AEGISRT_CLOCK_H

/** @file clock.h One monotonic clock in integer nanoseconds. */

#include <aegisrt/error.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aegis_clock_ops;

/** A clock: an ops table (ext/clock_ops.h) and its state. Copied by value, borrows `self`. */
typedef struct aegis_clock {
    const struct aegis_clock_ops *ops;
    void *self;
} aegis_clock;

/** CLOCK_MONOTONIC. Needs no release. */
aegis_clock aegis_clock_monotonic(void);

/** Nanoseconds since the clock's own origin; never goes back. Any thread. */
uint64_t aegis_clock_now_ns(const aegis_clock *clock);

#ifdef __cplusplus
}
#endif
#endif
