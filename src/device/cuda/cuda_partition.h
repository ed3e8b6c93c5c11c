/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_PARTITION_H
#define AEGIS_DEVICE_CUDA_PARTITION_H

/* Multiprocessors of a stream's own: green contexts, which the driver may have (12.4 and later).
 * The driver's functions are asked for by name, so that nothing is linked but the CUDA runtime. */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <cuda_runtime_api.h>
#include <stdint.h>

typedef struct aegis_cuda_partitions aegis_cuda_partitions;

/* A function of the driver as it was in this version of CUDA (12040 for 12.4); NULL: it has none.
 */
void *aegis_cuda_driver_function(const char *name, unsigned version);

/* Multiprocessors come in multiples of this; 0 when device or driver cannot divide them. The device
 * is current. */
int aegis_cuda_partition_granularity(int index);

/* The multiprocessors of a device, of which nothing is taken yet. The device is current.
 * UNSUPPORTED, NO_MEMORY. */
aegis_status aegis_cuda_partitions_create(int index,
                                          const aegis_allocator *allocator,
                                          aegis_cuda_partitions **ret_partitions,
                                          aegis_error *err);
/* After its streams. NULL is fine. */
void aegis_cuda_partitions_destroy(aegis_cuda_partitions *partitions);

/* What one stream has taken. */
typedef struct aegis_cuda_part {
    void *context; /* CUgreenCtx; NULL: nothing was taken */
    uint64_t groups;
} aegis_cuda_part;

/* Takes `multiprocessors`, rounded up, and makes a stream that runs on them alone. NO_MEMORY with
 * what is left when they do not suffice. Any thread. */
aegis_status aegis_cuda_partition_take(aegis_cuda_partitions *partitions,
                                       int multiprocessors,
                                       int priority,
                                       aegis_cuda_part *ret_part,
                                       cudaStream_t *ret_stream,
                                       aegis_error *err);
/* A further stream on what was taken; the caller's. */
cudaError_t aegis_cuda_partition_stream(const aegis_cuda_partitions *partitions,
                                        const aegis_cuda_part *part,
                                        int priority,
                                        cudaStream_t *ret_stream);
/* Gives them back, after its streams were destroyed. */
void aegis_cuda_partition_give(aegis_cuda_partitions *partitions, const aegis_cuda_part *part);

#endif
