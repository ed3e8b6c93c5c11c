/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_DEVICE_H
#define AEGIS_DEVICE_DEVICE_H

/* The object behind the public handle, shared by device.c and stream.c. */

#include <aegisrt/ext/device_ops.h>

#include "device/arena_list.h"

#include <stdatomic.h>

struct aegis_device {
    const aegis_device_ops *ops;
    void *self;
    aegis_allocator allocator;
    aegis_arena_list *list;
    void *base;
    uint64_t size;
    atomic_size_t children; /* streams and events alive: destroyed before their device */
};

/* INVALID_ARGUMENT for NULL pointers and for ranges partly outside the arena. */
aegis_status aegis_device_check_copy(const aegis_device *device,
                                     const void *destination,
                                     const void *source,
                                     size_t size_bytes,
                                     aegis_error *err);

#endif
