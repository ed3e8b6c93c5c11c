/* SPDX-License-Identifier: Apache-2.0 */
/* The device's multiprocessors are split once into groups of the least size; a stream's part is a
 * set of groups. (What a split has left over cannot be split well again, says the driver's
 * documentation, so parts of several sizes are not cut from one another.) */
#include "device/cuda/cuda_partition.h"

#include "device/cuda/cuda_error.h"

#include <cudaTypedefs.h>
#include <pthread.h>
#include <stdbool.h>

#define MAXIMUM_GROUPS 64u /* bits of a mask */
#define COMPONENT "device.cuda"

typedef struct driver_calls {
    PFN_cuDeviceGetDevResource_v12040 get_resource;
    PFN_cuDevSmResourceSplitByCount_v12040 split;
    PFN_cuDevResourceGenerateDesc_v12040 describe;
    PFN_cuGreenCtxCreate_v12040 create;
    PFN_cuGreenCtxDestroy_v12040 destroy;
    PFN_cuGreenCtxStreamCreate_v12050 create_stream;
} driver_calls;

struct aegis_cuda_partitions {
    aegis_allocator allocator;
    driver_calls driver;
    int index;
    pthread_mutex_t mutex; /* guards `taken` */
    uint64_t taken;
    unsigned group_count, group_size;
    CUdevResource groups[MAXIMUM_GROUPS];
};

void *aegis_cuda_driver_function(const char *name, unsigned version)
{
    void *function = NULL;
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    if (cudaGetDriverEntryPointByVersion(name, &function, version, cudaEnableDefault, &found) !=
            cudaSuccess ||
        found != cudaDriverEntryPointSuccess) {
        (void)cudaGetLastError();
        return NULL;
    }
    return function;
}

static bool find_driver(driver_calls *driver)
{
    /* POSIX lets a pointer to an object hold one to a function. */
    *(void **)&driver->get_resource = aegis_cuda_driver_function("cuDeviceGetDevResource", 12040);
    *(void **)&driver->split = aegis_cuda_driver_function("cuDevSmResourceSplitByCount", 12040);
    *(void **)&driver->describe = aegis_cuda_driver_function("cuDevResourceGenerateDesc", 12040);
    *(void **)&driver->create = aegis_cuda_driver_function("cuGreenCtxCreate", 12040);
    *(void **)&driver->destroy = aegis_cuda_driver_function("cuGreenCtxDestroy", 12040);
    *(void **)&driver->create_stream = aegis_cuda_driver_function("cuGreenCtxStreamCreate", 12050);
    return driver->get_resource != NULL && driver->split != NULL && driver->describe != NULL &&
           driver->create != NULL && driver->destroy != NULL && driver->create_stream != NULL;
}

/* False when this device cannot be divided. */
static bool split(aegis_cuda_partitions *partitions)
{
    CUdevResource all = {0}, rest = {0};
    unsigned count = MAXIMUM_GROUPS;
    if (!find_driver(&partitions->driver) ||
        partitions->driver.get_resource(partitions->index, &all, CU_DEV_RESOURCE_TYPE_SM) !=
            CUDA_SUCCESS ||
        partitions->driver.split(partitions->groups, &count, &all, &rest, 0,
                                 all.sm.minSmPartitionSize) != CUDA_SUCCESS ||
        count < 2) {
        return false;
    }
    partitions->group_count = count;
    partitions->group_size = partitions->groups[0].sm.smCount;
    return partitions->group_size > 0;
}

int aegis_cuda_partition_granularity(int index)
{
    aegis_cuda_partitions probe = {.index = index};
    return split(&probe) ? (int)probe.group_size : 0;
}

aegis_status aegis_cuda_partitions_create(int index,
                                          const aegis_allocator *allocator,
                                          aegis_cuda_partitions **ret_partitions,
                                          aegis_error *err)
{
    aegis_cuda_partitions *partitions = aegis_allocate_zeroed(allocator, 1, sizeof *partitions);
    if (partitions == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the multiprocessors' groups");
    }
    partitions->allocator = *allocator;
    partitions->index = index;
    if (!split(partitions)) {
        aegis_deallocate(allocator, partitions, 1, sizeof *partitions);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "CUDA device %d or its driver cannot divide the multiprocessors",
                               index);
    }
    pthread_mutex_init(&partitions->mutex, NULL);
    *ret_partitions = partitions;
    return AEGIS_OK;
}

void aegis_cuda_partitions_destroy(aegis_cuda_partitions *partitions)
{
    if (partitions == NULL) {
        return;
    }
    aegis_allocator allocator = partitions->allocator;
    pthread_mutex_destroy(&partitions->mutex);
    aegis_deallocate(&allocator, partitions, 1, sizeof *partitions);
}

/* The lowest `wanted` free groups, marked as taken; 0 when there are fewer. */
static uint64_t take_groups(aegis_cuda_partitions *partitions, unsigned wanted, unsigned *ret_free)
{
    uint64_t groups = 0;
    unsigned found = 0, free_groups = 0;
    pthread_mutex_lock(&partitions->mutex);
    for (unsigned i = 0; i < partitions->group_count; i++) {
        uint64_t bit = UINT64_C(1) << i;
        if ((partitions->taken & bit) == 0) {
            free_groups++;
            if (found < wanted) {
                groups |= bit;
                found++;
            }
        }
    }
    if (found < wanted) {
        groups = 0;
    }
    partitions->taken |= groups;
    pthread_mutex_unlock(&partitions->mutex);
    *ret_free = free_groups;
    return groups;
}

static void give_groups(aegis_cuda_partitions *partitions, uint64_t groups)
{
    pthread_mutex_lock(&partitions->mutex);
    partitions->taken &= ~groups;
    pthread_mutex_unlock(&partitions->mutex);
}

static CUresult make_stream(aegis_cuda_partitions *partitions,
                            uint64_t groups,
                            int priority,
                            CUgreenCtx *ret_context,
                            CUstream *ret_stream)
{
    CUdevResource resources[MAXIMUM_GROUPS];
    CUdevResourceDesc description = NULL;
    unsigned count = 0;
    for (unsigned i = 0; i < partitions->group_count; i++) {
        if ((groups >> i & 1) != 0) {
            resources[count++] = partitions->groups[i];
        }
    }
    CUresult code = partitions->driver.describe(&description, resources, count);
    if (code == CUDA_SUCCESS) {
        code = partitions->driver.create(ret_context, description, partitions->index,
                                         CU_GREEN_CTX_DEFAULT_STREAM);
    }
    if (code != CUDA_SUCCESS) {
        return code;
    }
    code = partitions->driver.create_stream(ret_stream, *ret_context, CU_STREAM_NON_BLOCKING,
                                            priority);
    if (code != CUDA_SUCCESS) {
        (void)partitions->driver.destroy(*ret_context);
    }
    return code;
}

aegis_status aegis_cuda_partition_take(aegis_cuda_partitions *partitions,
                                       int multiprocessors,
                                       int priority,
                                       aegis_cuda_part *ret_part,
                                       cudaStream_t *ret_stream,
                                       aegis_error *err)
{
    unsigned size = partitions->group_size, free_groups = 0;
    unsigned wanted = ((unsigned)multiprocessors + size - 1) / size;
    uint64_t groups = take_groups(partitions, wanted, &free_groups);
    if (groups == 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "a stream wants %d multiprocessors for itself, in groups of %u, and "
                               "%u are left that no other stream has",
                               multiprocessors, size, free_groups * size);
    }
    CUgreenCtx context = NULL;
    CUstream stream = NULL;
    CUresult code = make_stream(partitions, groups, priority, &context, &stream);
    if (code != CUDA_SUCCESS) {
        give_groups(partitions, groups);
        return aegis_error_set_native(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEVICE, (int64_t)code,
            "a green context of %u multiprocessors cannot be made (driver "
            "error %d)",
            wanted * size, (int)code);
    }
    *ret_part = (aegis_cuda_part){.context = context, .groups = groups};
    *ret_stream = stream;
    return AEGIS_OK;
}

cudaError_t aegis_cuda_partition_stream(const aegis_cuda_partitions *partitions,
                                        const aegis_cuda_part *part,
                                        int priority,
                                        cudaStream_t *ret_stream)
{
    return (cudaError_t)partitions->driver.create_stream(ret_stream, part->context,
                                                         CU_STREAM_NON_BLOCKING, priority);
}

void aegis_cuda_partition_give(aegis_cuda_partitions *partitions, const aegis_cuda_part *part)
{
    if (part->context != NULL) {
        (void)partitions->driver.destroy(part->context);
        give_groups(partitions, part->groups);
    }
}
