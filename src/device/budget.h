/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_BUDGET_H
#define AEGIS_DEVICE_BUDGET_H

/* Whether the memory that a device is to reserve is there. Pure: the figures are given. */

#include <aegisrt/device.h>

typedef struct aegis_budget {
    uint64_t arena_bytes, pinned_bytes;
    uint64_t available_bytes; /* of the host, without what it would have to swap out */
    bool limited_by_cgroup;   /* available_bytes is a control group's */
} aegis_budget;

/* On an integrated device arena and pinned memory are one sum in the host's memory. On another the
 * arena is held against the device's own memory and the pinned part against the host's. NO_MEMORY
 * with what is asked, what is there and the cure. */
aegis_status aegis_budget_check(const aegis_budget *budget,
                                const aegis_device_capabilities *device,
                                aegis_error *err);

#endif
