/* SPDX-License-Identifier: Apache-2.0 */
#include "device/host/host_device.h"

#include "device/budget.h"
#include "device/factories.h"
#include "device/host/host_memory.h"
#include "device/host/measure.h"

#include <string.h>

static void destroy(void *self)
{
    aegis_host_device *host = self;
    aegis_allocator allocator = host->allocator;
    aegis_host_unmap(host->base, host->size);
    aegis_host_unmap(host->pinned, host->pinned_size);
    aegis_deallocate(&allocator, host, 1, sizeof *host);
}

static const aegis_device_capabilities *capabilities(void *self)
{
    return &((aegis_host_device *)self)->capabilities;
}

static bool host_addressable(void *self)
{
    (void)self;
    return true;
}

static void arena(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    const aegis_host_device *host = self;
    *ret_base = host->base;
    *ret_size_bytes = host->size;
}

static void pinned(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    const aegis_host_device *host = self;
    *ret_base = host->pinned;
    *ret_size_bytes = host->pinned_size;
}

static aegis_status
copy(void *self, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    (void)self;
    (void)err;
    memmove(destination, source, size_bytes);
    return AEGIS_OK;
}

static const aegis_device_ops host_ops = {
    .version = AEGIS_DEVICE_OPS_VERSION,
    .name = "host",
    .destroy = destroy,
    .capabilities = capabilities,
    .host_addressable = host_addressable,
    .arena = arena,
    .copy = copy,
    .stream_create = aegis_host_stream_create,
    .stream_destroy = aegis_host_stream_destroy,
    .stream_call = aegis_host_stream_call,
    .stream_notify = aegis_host_stream_notify,
    .stream_copy = aegis_host_stream_copy,
    .stream_synchronize = aegis_host_stream_synchronize,
    .stream_query = aegis_host_stream_query,
    .stream_wait_event = aegis_host_stream_wait_event,
    .event_create = aegis_host_event_create,
    .event_destroy = aegis_host_event_destroy,
    .event_record = aegis_host_event_record,
    .event_query = aegis_host_event_query,
    .event_synchronize = aegis_host_event_synchronize,
    .event_elapsed_ns = aegis_host_event_elapsed_ns,
    .pinned = pinned,
    .stream_synchronize_until = aegis_host_stream_synchronize_until,
    .stream_abandon = aegis_host_stream_abandon,
    .stream_is_own_thread = aegis_host_stream_is_own_thread,
    .enqueue_copy = aegis_host_enqueue_copy,
    .enqueue_record = aegis_host_enqueue_record,
    .enqueue_wait = aegis_host_enqueue_wait,
};

/* Both regions, or neither. */
static aegis_status
reserve(aegis_host_device *host, const aegis_device_config *config, aegis_error *err)
{
    aegis_status status = aegis_host_map(config, config->arena_bytes, &host->base, err);
    if (status == AEGIS_OK) {
        host->size = config->arena_bytes;
    }
    if (status == AEGIS_OK && config->pinned_bytes > 0) {
        status = aegis_host_map(config, config->pinned_bytes, &host->pinned, err);
    }
    if (status == AEGIS_OK) {
        host->pinned_size = config->pinned_bytes;
    }
    return status;
}

aegis_status aegis_host_device_create(const aegis_device_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_device **ret_device,
                                      aegis_error *err)
{
    aegis_host_facts facts;
    aegis_status status = aegis_host_facts_read("/", &facts, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (config->measure) {
        aegis_host_measure(&facts);
    }
    aegis_host_device *host = aegis_allocate_zeroed(allocator, 1, sizeof *host);
    if (host == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the host device");
    }
    host->allocator = *allocator;
    host->capabilities = facts.capabilities;
    aegis_budget budget = {.arena_bytes = config->arena_bytes,
                           .pinned_bytes = config->pinned_bytes,
                           .available_bytes = facts.available_bytes,
                           .limited_by_cgroup = facts.limited_by_cgroup};
    status = aegis_budget_check(&budget, &host->capabilities, err);
    if (status == AEGIS_OK) {
        status = reserve(host, config, err);
    }
    if (status != AEGIS_OK) {
        destroy(host);
        return status;
    }
    return aegis_device_wrap(&host_ops, host, allocator, ret_device, err);
}
