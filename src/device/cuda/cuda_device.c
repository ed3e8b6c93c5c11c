/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_device.h"

#include "device/budget.h"
#include "device/cuda/cuda_error.h"
#include "device/factories.h"
#include "device/host/host_capabilities.h"

#include <inttypes.h>
#include <string.h>

#define MIB(bytes) ((double)(bytes) / 1048576.0)

static void destroy(void *self)
{
    aegis_cuda_device *device = self;
    aegis_allocator allocator = device->allocator;
    int previous = 0;
    if (aegis_cuda_enter(device->index, &previous) == cudaSuccess) {
        if (device->copies != NULL) {
            (void)cudaStreamDestroy(device->copies);
        }
        (void)cudaFree(device->base);
        if (device->pinned != NULL) {
            (void)cudaFreeHost(device->pinned);
        }
        aegis_cuda_leave(previous);
    }
    aegis_cuda_partitions_destroy(device->partitions);
    aegis_deallocate(&allocator, device, 1, sizeof *device);
}

static const aegis_device_capabilities *capabilities(void *self)
{
    return &((aegis_cuda_device *)self)->capabilities;
}

static bool host_addressable(void *self)
{
    (void)self;
    return false; /* cudaMalloc, also where host and device share one pool */
}

static void arena(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    const aegis_cuda_device *device = self;
    *ret_base = device->base;
    *ret_size_bytes = device->size;
}

static void pinned(void *self, void **ret_base, uint64_t *ret_size_bytes)
{
    const aegis_cuda_device *device = self;
    *ret_base = device->pinned;
    *ret_size_bytes = device->pinned_size;
}

static aegis_status
copy(void *self, void *destination, const void *source, size_t size_bytes, aegis_error *err)
{
    const aegis_cuda_device *device = self;
    aegis_status status = aegis_cuda_check(
        cudaMemcpyAsync(destination, source, size_bytes, cudaMemcpyDefault, device->copies),
        "cudaMemcpyAsync", AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        return status;
    }
    return aegis_cuda_check(cudaStreamSynchronize(device->copies), "cudaStreamSynchronize",
                            AEGIS_HERE("device.cuda"), err);
}

static const aegis_device_ops cuda_ops = {
    .version = AEGIS_DEVICE_OPS_VERSION,
    .name = "cuda",
    .destroy = destroy,
    .capabilities = capabilities,
    .host_addressable = host_addressable,
    .arena = arena,
    .copy = copy,
    .stream_create = aegis_cuda_stream_create,
    .stream_destroy = aegis_cuda_stream_destroy,
    .stream_call = aegis_cuda_stream_call,
    .stream_notify = aegis_cuda_stream_notify,
    .stream_copy = aegis_cuda_stream_copy,
    .stream_synchronize = aegis_cuda_stream_synchronize,
    .stream_query = aegis_cuda_stream_query,
    .stream_wait_event = aegis_cuda_stream_wait_event,
    .stream_native = aegis_cuda_stream_native,
    .event_create = aegis_cuda_event_create,
    .event_destroy = aegis_cuda_event_destroy,
    .event_record = aegis_cuda_event_record,
    .event_query = aegis_cuda_event_query,
    .event_synchronize = aegis_cuda_event_synchronize,
    .event_elapsed_ns = aegis_cuda_event_elapsed_ns,
    .pinned = pinned,
    .stream_synchronize_until = aegis_cuda_stream_synchronize_until,
    .stream_take_failure = aegis_cuda_stream_take_failure,
    .stream_abandon = aegis_cuda_stream_abandon,
    .stream_is_own_thread = aegis_cuda_stream_is_own_thread,
    .enqueue_copy = aegis_cuda_enqueue_copy,
    .enqueue_record = aegis_cuda_enqueue_record,
    .enqueue_wait = aegis_cuda_enqueue_wait,
    .stream_expect = aegis_cuda_stream_expect,
    .ahead_begin = aegis_cuda_ahead_begin,
    .ahead_end = aegis_cuda_ahead_end,
    .ahead_open = aegis_cuda_ahead_open,
    .ahead_take = aegis_cuda_ahead_take,
    .ahead_discard = aegis_cuda_ahead_discard,
    .set_meanwhile = aegis_cuda_set_meanwhile,
    .ask_meanwhile = aegis_cuda_ask_meanwhile,
};

static aegis_status does_not_fit(const aegis_cuda_device *device, aegis_error *err)
{
    return aegis_error_set_native(
        err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_NO_MEMORY, (int64_t)cudaErrorMemoryAllocation,
        "an arena of %" PRIu64 " bytes (%.1f MiB) does not fit on '%s': %" PRIu64
        " bytes (%.1f MiB) are free; reduce arena_bytes ([device] memory) or end other "
        "programs on the GPU",
        device->size, MIB(device->size), device->capabilities.name,
        device->capabilities.free_memory_bytes, MIB(device->capabilities.free_memory_bytes));
}

/* What is free is left to CUDA to judge: on an integrated GPU the figure leaves out the page cache,
 * which gives way. */
static aegis_status reserve_arena(aegis_cuda_device *device, aegis_error *err)
{
    cudaError_t code = cudaMalloc(&device->base, device->size);
    if (code != cudaSuccess) {
        device->base = NULL;
    }
    if (code == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return does_not_fit(device, err);
    }
    return aegis_cuda_check(code, "cudaMalloc", AEGIS_HERE("device.cuda"), err);
}

/* Mapped, so that kernels reach it, and for all contexts. */
static aegis_status reserve_pinned(aegis_cuda_device *device, aegis_error *err)
{
    if (device->pinned_size == 0) {
        return AEGIS_OK;
    }
    cudaError_t code = cudaHostAlloc(&device->pinned, device->pinned_size,
                                     cudaHostAllocPortable | cudaHostAllocMapped);
    if (code != cudaSuccess) {
        device->pinned = NULL;
        (void)cudaGetLastError();
    }
    if (code == cudaErrorMemoryAllocation) {
        return aegis_error_set_native(
            err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_NO_MEMORY, (int64_t)code,
            "%" PRIu64 " bytes (%.1f MiB) of host memory cannot be pinned: reduce pinned_bytes "
            "([device] pinned), or raise the limit of locked memory (ulimit -l)",
            device->pinned_size, MIB(device->pinned_size));
    }
    if (code == cudaSuccess) {
        memset(device->pinned, 0, device->pinned_size);
    }
    return aegis_cuda_check(code, "cudaHostAlloc", AEGIS_HERE("device.cuda"), err);
}

static aegis_status check_budget(const aegis_cuda_device *device, aegis_error *err)
{
    aegis_host_facts host;
    aegis_status status = aegis_host_facts_read("/", &host, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_budget budget = {.arena_bytes = device->size,
                           .pinned_bytes = device->pinned_size,
                           .available_bytes = host.available_bytes,
                           .limited_by_cgroup = host.limited_by_cgroup};
    return aegis_budget_check(&budget, &device->capabilities, err);
}

/* The device is current. */
static aegis_status start(aegis_cuda_device *device, aegis_error *err)
{
    int greatest;
    aegis_status status =
        aegis_cuda_check(cudaDeviceGetStreamPriorityRange(&device->lowest_priority, &greatest),
                         "cudaDeviceGetStreamPriorityRange", AEGIS_HERE("device.cuda"), err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaStreamCreateWithFlags(&device->copies, cudaStreamNonBlocking),
                                  "cudaStreamCreateWithFlags", AEGIS_HERE("device.cuda"), err);
    }
    if (status == AEGIS_OK && device->capabilities.partition_granularity > 0) {
        status = aegis_cuda_partitions_create(device->index, &device->allocator,
                                              &device->partitions, err);
    }
    if (status == AEGIS_OK) {
        status = check_budget(device, err);
    }
    if (status == AEGIS_OK) {
        status = reserve_arena(device, err);
    }
    if (status == AEGIS_OK) {
        status = reserve_pinned(device, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaMemsetAsync(device->base, 0, device->size, device->copies),
                                  "cudaMemsetAsync", AEGIS_HERE("device.cuda"), err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaStreamSynchronize(device->copies), "cudaStreamSynchronize",
                                  AEGIS_HERE("device.cuda"), err);
    }
    return status;
}

aegis_status aegis_cuda_device_create(const aegis_device_config *config,
                                      const aegis_allocator *allocator,
                                      aegis_device **ret_device,
                                      aegis_error *err)
{
    aegis_device_capabilities is;
    aegis_status status = aegis_cuda_query(config->index, config->measure, &is, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_cuda_device *device = aegis_allocate_zeroed(allocator, 1, sizeof *device);
    if (device == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for CUDA device %d", config->index);
    }
    device->allocator = *allocator;
    device->capabilities = is;
    device->index = config->index;
    device->size = config->arena_bytes;
    device->pinned_size = config->pinned_bytes;
    int previous = 0;
    status = aegis_cuda_check(aegis_cuda_enter(device->index, &previous), "cudaSetDevice",
                              AEGIS_HERE("device.cuda"), err);
    if (status == AEGIS_OK) {
        status = start(device, err);
        aegis_cuda_leave(previous);
    }
    if (status != AEGIS_OK) {
        destroy(device);
        return status;
    }
    return aegis_device_wrap(&cuda_ops, device, allocator, ret_device, err);
}
