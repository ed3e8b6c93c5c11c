/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_CLOCK_OPS_H
#define AEGISRT_EXT_CLOCK_OPS_H

/** @file clock_ops.h For people who write a clock (a simulated one, a hardware counter). */

#include <aegisrt/clock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_CLOCK_OPS_VERSION 1u

typedef struct aegis_clock_ops {
    uint32_t version; /**< AEGIS_CLOCK_OPS_VERSION; the table grows at its end only */
    const char *name;
    /** Required. Never goes back. Any thread; must not block or allocate. */
    uint64_t (*now_ns)(void *self);
    /** Optional (NULL if the clock cannot block): returns at `when_ns` or later. */
    aegis_status (*wait_until)(void *self, uint64_t when_ns, aegis_error *err);
} aegis_clock_ops;

#ifdef __cplusplus
}
#endif
#endif
