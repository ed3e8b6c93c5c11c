/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_ROW_CUH
#define AEGIS_TRANSFORMER_CUDA_PROMPT_ROW_CUH

/* What the kernels of a block of a prompt share: a row is a token. */

#include "backend/transformer/cuda/primitives.cuh"
#include "backend/transformer/cuda/prompt.h"

#define ROW_THREADS 256u

__device__ __forceinline__ float to_tf32(float value)
{
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return __uint_as_float(bits);
}

/* An input of a product; of two parts the second is what the first lacks. */
template <int PARTS>
__device__ __forceinline__ void
put_input(float *inputs, uint32_t rows, uint32_t stride, uint32_t row, uint32_t at, float value)
{
    float *to = inputs + (size_t)row * stride + at;
    if constexpr (PARTS == 1) {
        *to = value;
    } else {
        const float upper = to_tf32(value);
        *to = upper;
        to[(size_t)rows * stride] = to_tf32(value - upper);
    }
}

template <int PARTS>
__device__ __forceinline__ float
get_output(const float *outputs, uint32_t rows, uint32_t stride, uint32_t row, uint32_t at)
{
    const float *from = outputs + (size_t)row * stride + at;
    return PARTS == 1 ? *from : *from + from[(size_t)rows * stride];
}

/* Over the block of threads; `sums` has a place for each warp. */
__device__ __forceinline__ float sum_of_block(float value, float *sums)
{
    value = sum_of_warp(value);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = value;
    }
    __syncthreads();
    return sum_of_warp(threadIdx.x % 32 < ROW_THREADS / 32 ? sums[threadIdx.x % 32] : 0.0f);
}

#endif
