/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_DEVICE_H
#define AEGIS_DEVICE_DEVICE_H

/* The object behind the public handle, shared by device.c and stream.c. */

#include <aegisrt/ext/device_ops.h>

#include "device/arena_list.h"

#include <stdatomic.h>

struct aegis_device {
    const aegis_device_ops *ops;
    const aegis_device_ops *newer;     /* entries since version 2; all NULL for an older table */
    const aegis_device_ops *ahead;     /* those since version 3, likewise */
    const aegis_device_ops *meanwhile; /* since version 4 */
    void *self;
    aegis_allocator allocator;
    aegis_arena_list *list;
    void *base;
    uint64_t size;
    aegis_arena_list *pinned_list; /* NULL: no pinned memory */
    void *pinned_base;
    uint64_t pinned_size;
    atomic_size_t children; /* streams and events alive: destroyed before their device */
    atomic_bool lost;       /* a stream was abandoned: `self` stays until the process ends */
};

/* INVALID_ARGUMENT for NULL pointers and for ranges partly outside the arena. */
aegis_status aegis_device_check_copy(const aegis_device *device,
                                     const void *destination,
                                     const void *source,
                                     size_t size_bytes,
                                     aegis_error *err);

#endif
