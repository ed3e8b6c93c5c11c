/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls above the ops of a device: what they check, they check here, once for all. */
#include "device/device.h"

#include "base/base.h"

#include <assert.h>
#include <inttypes.h>

#define MAXIMUM_ALIGNMENT 4096u
#define DEFAULT_ALIGNMENT 64u

static const aegis_device_ops nothing_newer = {0};

/* ---- create and destroy ---- */

static bool is_complete(const aegis_device_ops *ops)
{
    bool known = ops->version >= 1 && ops->version <= AEGIS_DEVICE_OPS_VERSION;
    return known && ops->name != NULL && ops->destroy != NULL && ops->capabilities != NULL &&
           ops->host_addressable != NULL && ops->arena != NULL && ops->copy != NULL &&
           ops->stream_create != NULL && ops->stream_destroy != NULL && ops->stream_call != NULL &&
           ops->stream_notify != NULL && ops->stream_copy != NULL &&
           ops->stream_synchronize != NULL && ops->stream_query != NULL &&
           ops->stream_wait_event != NULL && ops->event_create != NULL &&
           ops->event_destroy != NULL && ops->event_record != NULL && ops->event_query != NULL &&
           ops->event_synchronize != NULL && ops->event_elapsed_ns != NULL;
}

static bool newer_is_complete(const aegis_device_ops *newer)
{
    bool enqueues =
        newer->enqueue_copy != NULL || newer->enqueue_record != NULL || newer->enqueue_wait != NULL;
    return !enqueues || newer->stream_is_own_thread != NULL;
}

/* All of them or none. */
static bool ahead_is_complete(const aegis_device_ops *ahead)
{
    int there = (ahead->ahead_begin != NULL) + (ahead->ahead_end != NULL) +
                (ahead->ahead_open != NULL) + (ahead->ahead_take != NULL) +
                (ahead->ahead_discard != NULL);
    return there == 0 || (there == 5 && ahead->stream_is_own_thread != NULL);
}

static aegis_status
list_arena(aegis_device *device, const aegis_allocator *allocator, aegis_error *err)
{
    device->ops->arena(device->self, &device->base, &device->size);
    return aegis_arena_list_create(device->base, device->size, "arena_bytes ([device] memory)",
                                   allocator, &device->list, err);
}

static aegis_status
list_pinned(aegis_device *device, const aegis_allocator *allocator, aegis_error *err)
{
    if (device->newer->pinned == NULL) {
        return AEGIS_OK;
    }
    device->newer->pinned(device->self, &device->pinned_base, &device->pinned_size);
    if (device->pinned_size == 0) {
        return AEGIS_OK;
    }
    return aegis_arena_list_create(device->pinned_base, device->pinned_size,
                                   "pinned_bytes ([device] pinned)", allocator,
                                   &device->pinned_list, err);
}

aegis_status aegis_device_wrap(const aegis_device_ops *ops,
                               void *self,
                               const aegis_allocator *allocator,
                               aegis_device **ret_device,
                               aegis_error *err)
{
    aegis_status status;
    aegis_device *device = NULL;
    if (ops == NULL || allocator == NULL || ret_device == NULL || !is_complete(ops) ||
        (ops->version >= 2 && !newer_is_complete(ops)) ||
        (ops->version >= 3 && !ahead_is_complete(ops)) ||
        (ops->version >= 4 && (ops->set_meanwhile == NULL) != (ops->ask_meanwhile == NULL))) {
        status = aegis_error_set(err, AEGIS_HERE("device"), AEGIS_ERROR_INVALID_ARGUMENT,
                                 "a device needs ops of version 1 to %u with every required entry",
                                 AEGIS_DEVICE_OPS_VERSION);
        goto fail;
    }
    device = aegis_allocate_zeroed(allocator, 1, sizeof *device);
    if (device == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("device"), AEGIS_ERROR_NO_MEMORY,
                                 "no host memory for device '%s'", ops->name);
        goto fail;
    }
    device->ops = ops;
    device->newer = ops->version >= 2 ? ops : &nothing_newer;
    device->ahead = ops->version >= 3 ? ops : &nothing_newer;
    device->meanwhile = ops->version >= 4 ? ops : &nothing_newer;
    device->self = self;
    device->allocator = *allocator;
    status = list_arena(device, allocator, err);
    if (status == AEGIS_OK) {
        status = list_pinned(device, allocator, err);
    }
    if (status != AEGIS_OK) {
        goto fail;
    }
    *ret_device = device;
    return AEGIS_OK;
fail:
    if (device != NULL) {
        aegis_arena_list_destroy(device->list);
        aegis_deallocate(allocator, device, 1, sizeof *device);
    }
    if (ops != NULL && ops->destroy != NULL) {
        ops->destroy(self);
    }
    return status;
}

void aegis_device_destroy(aegis_device *device)
{
    if (device == NULL) {
        return;
    }
    assert(atomic_load(&device->children) == 0 && "a stream or event outlives its device");
    aegis_arena_list_destroy(device->list);
    aegis_arena_list_destroy(device->pinned_list);
    if (!atomic_load(&device->lost)) {
        device->ops->destroy(device->self);
    }
    aegis_allocator allocator = device->allocator;
    aegis_deallocate(&allocator, device, 1, sizeof *device);
}

const aegis_device_ops *aegis_device_get_ops(const aegis_device *device)
{
    return device->ops;
}

const aegis_device_capabilities *aegis_device_get_capabilities(const aegis_device *device)
{
    return device->ops->capabilities(device->self);
}

bool aegis_device_host_addressable(const aegis_device *device)
{
    return device->ops->host_addressable(device->self);
}

void aegis_device_get_arena(const aegis_device *device, void **ret_base, uint64_t *ret_size_bytes)
{
    if (ret_base != NULL) {
        *ret_base = device->base;
    }
    if (ret_size_bytes != NULL) {
        *ret_size_bytes = device->size;
    }
}

/* ---- buffers ---- */

static aegis_status null_argument(aegis_place place, const char *name, aegis_error *err)
{
    return aegis_error_set(err, place, AEGIS_ERROR_INVALID_ARGUMENT, "%s is NULL", name);
}

static aegis_status take_part(aegis_arena_list *list,
                              uint64_t size_bytes,
                              uint64_t alignment,
                              aegis_buffer *ret_buffer,
                              aegis_error *err)
{
    if (alignment == 0) {
        alignment = DEFAULT_ALIGNMENT;
    }
    if (size_bytes == 0 || !aegis_is_power_of_two(alignment) || alignment > MAXIMUM_ALIGNMENT) {
        return aegis_error_set(err, AEGIS_HERE("device"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "%" PRIu64 " bytes aligned to %" PRIu64
                               ": the size must not be 0 and the alignment a power of two up to %u",
                               size_bytes, alignment, MAXIMUM_ALIGNMENT);
    }
    return aegis_arena_list_take(list, size_bytes, alignment, ret_buffer, err);
}

aegis_status aegis_device_alloc(aegis_device *device,
                                uint64_t size_bytes,
                                uint64_t alignment,
                                aegis_buffer *ret_buffer,
                                aegis_error *err)
{
    if (device == NULL || ret_buffer == NULL) {
        return null_argument(AEGIS_HERE("device"), "device or ret_buffer", err);
    }
    return take_part(device->list, size_bytes, alignment, ret_buffer, err);
}

aegis_status aegis_device_free(aegis_device *device, const aegis_buffer *buffer, aegis_error *err)
{
    if (device == NULL || buffer == NULL) {
        return null_argument(AEGIS_HERE("device"), "device or buffer", err);
    }
    return aegis_arena_list_give(device->list, buffer, err);
}

void aegis_device_usage(const aegis_device *device, uint64_t *ret_used, uint64_t *ret_peak)
{
    aegis_arena_list_usage(device->list, ret_used, ret_peak);
}

/* ---- pinned host memory ---- */

static aegis_status no_pinned_memory(const aegis_device *device, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("device"), AEGIS_ERROR_NO_MEMORY,
                           "device '%s' was created without pinned memory: set pinned_bytes "
                           "([device] pinned)",
                           device->ops->name);
}

void aegis_device_get_pinned(const aegis_device *device, void **ret_base, uint64_t *ret_size_bytes)
{
    if (ret_base != NULL) {
        *ret_base = device->pinned_base;
    }
    if (ret_size_bytes != NULL) {
        *ret_size_bytes = device->pinned_size;
    }
}

aegis_status aegis_device_pinned_alloc(aegis_device *device,
                                       uint64_t size_bytes,
                                       uint64_t alignment,
                                       aegis_buffer *ret_buffer,
                                       aegis_error *err)
{
    if (device == NULL || ret_buffer == NULL) {
        return null_argument(AEGIS_HERE("device"), "device or ret_buffer", err);
    }
    if (device->pinned_list == NULL) {
        return no_pinned_memory(device, err);
    }
    return take_part(device->pinned_list, size_bytes, alignment, ret_buffer, err);
}

aegis_status
aegis_device_pinned_free(aegis_device *device, const aegis_buffer *buffer, aegis_error *err)
{
    if (device == NULL || buffer == NULL) {
        return null_argument(AEGIS_HERE("device"), "device or buffer", err);
    }
    if (device->pinned_list == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "device '%s' has no pinned memory to give back to",
                               device->ops->name);
    }
    return aegis_arena_list_give(device->pinned_list, buffer, err);
}

void aegis_device_pinned_usage(const aegis_device *device, uint64_t *ret_used, uint64_t *ret_peak)
{
    if (device->pinned_list != NULL) {
        aegis_arena_list_usage(device->pinned_list, ret_used, ret_peak);
        return;
    }
    if (ret_used != NULL) {
        *ret_used = 0;
    }
    if (ret_peak != NULL) {
        *ret_peak = 0;
    }
}

/* ---- copies ---- */

/* A range outside the arena is host memory, which cannot be checked; one that touches the arena
 * must lie in it. */
static bool range_is_sound(const aegis_device *device, const void *pointer, size_t size_bytes)
{
    uintptr_t address = (uintptr_t)pointer, base = (uintptr_t)device->base;
    if (address < base) {
        return size_bytes <= base - address;
    }
    uint64_t offset = address - base;
    return offset >= device->size || size_bytes <= device->size - offset;
}

aegis_status aegis_device_check_copy(const aegis_device *device,
                                     const void *destination,
                                     const void *source,
                                     size_t size_bytes,
                                     aegis_error *err)
{
    if (size_bytes > 0 && (destination == NULL || source == NULL)) {
        return null_argument(AEGIS_HERE("device"), "source or destination", err);
    }
    if (!range_is_sound(device, destination, size_bytes) ||
        !range_is_sound(device, source, size_bytes)) {
        return aegis_error_set(
            err, AEGIS_HERE("device"), AEGIS_ERROR_INVALID_ARGUMENT,
            "a copy of %zu bytes from %p to %p lies partly outside the arena (%" PRIu64
            " bytes at %p)",
            size_bytes, source, destination, device->size, device->base);
    }
    return AEGIS_OK;
}

aegis_status aegis_device_copy(aegis_device *device,
                               void *destination,
                               const void *source,
                               size_t size_bytes,
                               aegis_error *err)
{
    if (device == NULL) {
        return null_argument(AEGIS_HERE("device"), "device", err);
    }
    aegis_status status = aegis_device_check_copy(device, destination, source, size_bytes, err);
    if (status != AEGIS_OK || size_bytes == 0) {
        return status;
    }
    return device->ops->copy(device->self, destination, source, size_bytes, err);
}
