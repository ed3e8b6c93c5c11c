/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"
#include "device/cuda/cuda_measure.h"
#include "device/factories.h"

#include <stdio.h>

cudaError_t aegis_cuda_enter(int index, int *ret_previous)
{
    int previous = 0;
    cudaError_t code = cudaGetDevice(&previous);
    if (code == cudaSuccess) {
        code = cudaSetDevice(index);
    }
    if (code == cudaSuccess) {
        *ret_previous = previous;
    }
    return code;
}

void aegis_cuda_leave(int previous)
{
    (void)cudaSetDevice(previous);
}

aegis_status aegis_cuda_count(int *ret_count, aegis_error *err)
{
    int count = 0;
    aegis_status status = aegis_cuda_check(cudaGetDeviceCount(&count), "cudaGetDeviceCount",
                                           AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_count = count;
    return AEGIS_OK;
}

/* FP32 cores of a multiprocessor: CUDA C++ Programming Guide, arithmetic instructions, throughput
 * of 32-bit multiply-add by compute capability. 0 for those that came later. */
static int fp32_lanes(int major, int minor)
{
    switch (major) {
    case 5:
        return 128;
    case 6:
        return minor == 0 ? 64 : 128;
    case 7:
        return 64;
    case 8:
        return minor == 0 ? 64 : 128;
    case 9:
    case 10:
    case 11:
    case 12:
        return 128;
    default:
        return 0;
    }
}

/* An attribute, or 0 where this device or driver does not know it. */
static int attribute(enum cudaDeviceAttr which, int index)
{
    int value = 0;
    if (cudaDeviceGetAttribute(&value, which, index) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    return value;
}

static aegis_status
read_properties(int index, aegis_device_capabilities *ret_capabilities, aegis_error *err)
{
    struct cudaDeviceProp is;
    aegis_status status =
        aegis_cuda_check(cudaGetDeviceProperties(&is, index), "cudaGetDeviceProperties",
                         AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_capabilities = (aegis_device_capabilities){
        .kind = AEGIS_DEVICE_CUDA,
        .index = index,
        .multiprocessor_count = is.multiProcessorCount,
        .total_memory_bytes = is.totalGlobalMem,
        .shared_memory_per_block_bytes = is.sharedMemPerBlock,
        .l2_cache_bytes = is.l2CacheSize > 0 ? (uint64_t)is.l2CacheSize : 0,
        .max_threads_per_block = is.maxThreadsPerBlock,
        .compute_capability_major = is.major,
        .compute_capability_minor = is.minor,
        .core_clock_khz = attribute(cudaDevAttrClockRate, index),
        .memory_clock_khz = attribute(cudaDevAttrMemoryClockRate, index),
        .memory_bus_width_bits = is.memoryBusWidth,
        .fp32_lanes_per_multiprocessor = fp32_lanes(is.major, is.minor),
        .integrated = is.integrated != 0,
        .copy_engines = is.asyncEngineCount,
    };
    snprintf(ret_capabilities->name, sizeof ret_capabilities->name, "%.*s",
             (int)sizeof ret_capabilities->name - 1, is.name);
    return AEGIS_OK;
}

/* The device is current. */
static aegis_status
read_current(bool measure, aegis_device_capabilities *capabilities, aegis_error *err)
{
    size_t free_bytes = 0, total = 0;
    int least = 0, greatest = 0;
    aegis_status status = aegis_cuda_check(cudaMemGetInfo(&free_bytes, &total), "cudaMemGetInfo",
                                           AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_cuda_check(cudaDeviceGetStreamPriorityRange(&least, &greatest),
                              "cudaDeviceGetStreamPriorityRange", AEGIS_HERE("device.cuda"), err);
    if (status != AEGIS_OK) {
        return status;
    }
    capabilities->free_memory_bytes = free_bytes;
    capabilities->stream_priorities = least - greatest + 1;
    capabilities->partition_granularity = aegis_cuda_partition_granularity(capabilities->index);
    if (measure) {
        capabilities->measured_bandwidth_bytes_per_second =
            aegis_cuda_measure_bandwidth(capabilities);
        capabilities->measured_flops = aegis_cuda_measure_flops(capabilities);
    }
    return AEGIS_OK;
}

static aegis_status check_index(int index, aegis_error *err)
{
    int count = 0;
    aegis_status status = aegis_cuda_count(&count, err);
    if (status == AEGIS_OK && (index < 0 || index >= count)) {
        return aegis_error_set(err, AEGIS_HERE("device.cuda"), AEGIS_ERROR_DEVICE_NOT_AVAILABLE,
                               "CUDA device %d does not exist: there are %d, counted from 0", index,
                               count);
    }
    return status;
}

aegis_status aegis_cuda_query(int index,
                              bool measure,
                              aegis_device_capabilities *ret_capabilities,
                              aegis_error *err)
{
    aegis_device_capabilities capabilities;
    int previous = 0;
    aegis_status status = check_index(index, err);
    if (status == AEGIS_OK) {
        status = read_properties(index, &capabilities, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(aegis_cuda_enter(index, &previous), "cudaSetDevice",
                                  AEGIS_HERE("device.cuda"), err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    status = read_current(measure, &capabilities, err);
    aegis_cuda_leave(previous);
    if (status == AEGIS_OK) {
        *ret_capabilities = capabilities;
    }
    return status;
}
