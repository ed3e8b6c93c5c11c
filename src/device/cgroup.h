/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CGROUP_H
#define AEGIS_DEVICE_CGROUP_H

/* The limits that the control groups of this process put on it, of version 1 and 2. A limit holds
 * for all descendants, so every group from the process's own up to the visible root is asked and
 * the tightest answer counts. Of version 2 both memory.max and memory.high are limits. */

#include <stdbool.h>
#include <stdint.h>

typedef struct aegis_cgroup_limits {
    bool memory_limited;
    uint64_t memory_limit_bytes;     /* smallest limit */
    uint64_t memory_available_bytes; /* smallest (limit - usage + inactive page cache) */
    bool cpu_limited;
    uint64_t cpu_quota_us, cpu_period_us; /* of the group with the smallest quota / period */
} aegis_cgroup_limits;

/* Groups that cannot be read limit nothing. */
void aegis_cgroup_read(const char *root, aegis_cgroup_limits *ret_limits);

#endif
