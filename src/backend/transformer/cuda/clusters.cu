/* SPDX-License-Identifier: Apache-2.0 */
/* The compiled forms of the kernel in clusters, and launching them. */
#include "backend/transformer/cuda/cluster_kernel.h"
#include "backend/transformer/cuda/clusters.cuh"

extern "C" {
#include "device/cuda/cuda_error.h"
}

#include <math.h>

#define HERE AEGIS_HERE("transformer.cuda")
#define NEEDED_MAJOR 9 /* compute capability with clusters */

namespace
{

template <int TYPE, int R, int F0, int F1>
__global__ void __launch_bounds__(CLUSTER_THREADS, 1)
    cluster_decode_step(const __grid_constant__ aegis_decode_step p)
{
#if __CUDA_ARCH__ >= 900
    extern __shared__ __align__(128) unsigned char memory[];
    cluster_memory<R> &shared = *reinterpret_cast<cluster_memory<R> *>(memory + p.ring_bytes);
    cluster_reader<TYPE, R, F0, F1> reader(p, memory, shared.full);
    if (threadIdx.x == 0) {
        cluster_step<TYPE, R, F0, F1>::init(shared);
    }
    synchronise_cluster();
    uint32_t position = 0, token = 0;
    if (!find_position(p, &position, &token)) {
        reader.drop();
        return;
    }
    cluster_step<TYPE, R, F0, F1> block(p, shared, reader);
    block.run(position, token);
#else
    __trap();
#endif
}

typedef void (*kernel)(aegis_decode_step);

struct compiled {
    uint32_t rows, hidden[2];
    kernel kernels[3]; /* by type */
};

#define KERNELS(rows, first, second)                                         \
    {                                                                        \
        rows, {first, second},                                               \
        {                                                                    \
            cluster_decode_step<AEGIS_DECODE_F32, rows, first, second>,      \
                cluster_decode_step<AEGIS_DECODE_F16, rows, first, second>,  \
                cluster_decode_step<AEGIS_DECODE_BF16, rows, first, second>, \
        }                                                                    \
    }

/* Feed-forwards of four widths, for 12 heads: on 16 clusters, or on 15. */
const compiled FORMS[] = {KERNELS(3, 3, 3), KERNELS(3, 3, 4)};

const compiled *form_of(const aegis_decode_clusters *is)
{
    for (const compiled &one : FORMS) {
        if (one.rows == is->rows && one.hidden[0] == is->hidden[0] &&
            one.hidden[1] == is->hidden[1]) {
            return &one;
        }
    }
    return nullptr;
}

uint32_t own_bytes()
{
    return (uint32_t)(sizeof(cluster_memory<3>) + 127) / 128 * 128;
}

cudaLaunchConfig_t
configuration(const aegis_decode_step *step, uint32_t clusters, cudaLaunchAttribute attributes[2])
{
    cudaLaunchConfig_t is = {};
    is.gridDim = dim3(clusters * AEGIS_CLUSTER_BLOCKS);
    is.blockDim = dim3(CLUSTER_THREADS);
    is.dynamicSmemBytes = step->ring_bytes + own_bytes();
    attributes[0].id = cudaLaunchAttributeClusterDimension;
    attributes[0].val.clusterDim = {AEGIS_CLUSTER_BLOCKS, 1, 1};
    attributes[1].id = cudaLaunchAttributeCooperative;
    attributes[1].val.cooperative = 1;
    is.attrs = attributes;
    is.numAttrs = 2;
    return is;
}

/* For a warp's rows of up and its columns of down: some types take both before they refill. */
bool ring_has_room(const aegis_decode_step *step, const compiled *form, uint32_t row_units)
{
    const uint32_t hidden = form->hidden[0] > form->hidden[1] ? form->hidden[0] : form->hidden[1];
    return 2 * hidden * row_units * AEGIS_DECODE_UNIT_BYTES * AEGIS_CLUSTER_WARPS <=
           step->ring_bytes;
}

/* Of the compiled forms the first whose blocks have all hidden units. */
void choose(aegis_decode_step *step, uint32_t type, uint32_t most)
{
    const uint32_t bytes = type == AEGIS_DECODE_F32 ? 4 : 2;
    const uint32_t row_units = step->width * bytes / AEGIS_DECODE_UNIT_BYTES;
    for (const compiled &one : FORMS) {
        const uint32_t hidden =
            AEGIS_CLUSTER_BLOCKS * AEGIS_CLUSTER_WARPS *
            (step->heads * one.hidden[0] + (most - step->heads) * one.hidden[1]);
        if (step->width == 256 * one.rows && hidden >= step->feed_forward &&
            ring_has_room(step, &one, row_units)) {
            const uint32_t words = most * AEGIS_CLUSTER_BLOCKS * AEGIS_CLUSTER_WARPS;
            step->clusters = {most,      step->heads,
                              one.rows,  {one.hidden[0], one.hidden[1]},
                              row_units, (step->vocabulary + words - 1) / words};
            return;
        }
    }
}

aegis_status attribute(cudaDeviceAttr which, int *ret_value, aegis_error *err)
{
    int device = 0;
    aegis_status status = aegis_cuda_check(cudaGetDevice(&device), "cudaGetDevice", HERE, err);
    return status == AEGIS_OK ? aegis_cuda_check(cudaDeviceGetAttribute(ret_value, which, device),
                                                 "cudaDeviceGetAttribute", HERE, err)
                              : status;
}

bool suits(const aegis_decode_step *step)
{
    return step->llama == 0 && step->head_width == AEGIS_CLUSTER_HEAD_WIDTH &&
           step->heads == step->kv_heads && step->heads * step->head_width == step->width &&
           step->width == 256 * FORMS[0].rows;
}

} // namespace

extern "C" aegis_status aegis_clusters_prepare(aegis_decode_step *step,
                                               uint32_t type,
                                               uint32_t *ret_blocks,
                                               aegis_error *err)
{
    int major = 0, most_bytes = 0, most = 0;
    *ret_blocks = 0;
    if (!suits(step)) {
        return AEGIS_OK;
    }
    aegis_status status = attribute(cudaDevAttrComputeCapabilityMajor, &major, err);
    if (status == AEGIS_OK) {
        status = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, &most_bytes, err);
    }
    if (status != AEGIS_OK || major < NEEDED_MAJOR) {
        return status;
    }
    step->ring_bytes = ((uint32_t)most_bytes - own_bytes()) / 1024 * 1024;
    for (const compiled &one : FORMS) {
        cudaLaunchAttribute attributes[2];
        const cudaLaunchConfig_t is = configuration(step, AEGIS_CLUSTER_MOST, attributes);
        const void *function = (const void *)one.kernels[type];
        int clusters = 0;
        status = aegis_cuda_check(cudaFuncSetAttribute(function,
                                                       cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                       (int)is.dynamicSmemBytes),
                                  "cudaFuncSetAttribute", HERE, err);
        if (status == AEGIS_OK) {
            status = aegis_cuda_check(cudaOccupancyMaxActiveClusters(&clusters, function, &is),
                                      "cudaOccupancyMaxActiveClusters", HERE, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
        most = most == 0 || clusters < most ? clusters : most;
    }
    most = most < (int)AEGIS_CLUSTER_MOST ? most : (int)AEGIS_CLUSTER_MOST;
    if (most < (int)step->heads) {
        return AEGIS_OK;
    }
    choose(step, type, (uint32_t)most);
    step->score_factor = 1.0f / sqrtf((float)step->head_width);
    *ret_blocks = step->clusters.clusters * AEGIS_CLUSTER_BLOCKS;
    return AEGIS_OK;
}

extern "C" aegis_status aegis_clusters_launch(const aegis_decode_step *step,
                                              uint32_t type,
                                              struct CUstream_st *stream,
                                              aegis_error *err)
{
    cudaLaunchAttribute attributes[2];
    cudaLaunchConfig_t is = configuration(step, step->clusters.clusters, attributes);
    void *arguments[] = {(void *)step};
    is.stream = stream;
    return aegis_cuda_check(
        cudaLaunchKernelExC(&is, (const void *)form_of(&step->clusters)->kernels[type], arguments),
        "cudaLaunchKernelExC", HERE, err);
}
