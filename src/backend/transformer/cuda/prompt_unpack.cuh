/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_UNPACK_CUH
#define AEGIS_TRANSFORMER_CUDA_PROMPT_UNPACK_CUH

/* Weights of a layer, packed for the step's kernel, to rows of f32. */

#include "backend/transformer/cuda/prompt_row.cuh"

struct unpack_arguments {
    const uint8_t *layer;
    const uint32_t *where;
    float *to;
    uint32_t first, last; /* units of the layer, in their order */
    uint32_t before[4];   /* units of the products before each */
    uint32_t units[4];    /* of a tile */
};

#define UNITS_OF_WARP 4u /* so that many loads are on their way at once */
#define UNITS_OF_BLOCK (UNITS_OF_WARP * ROW_THREADS / 32)

/* Of a unit, 8 rows and 64 bytes of each, to rows of f32. */
template <int TYPE>
__device__ __forceinline__ void unpack_unit(const unpack_arguments &a, uint32_t unit, uint4 got)
{
    constexpr uint32_t chunk = element<TYPE>::chunk;
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t product = (unit >= a.before[1]) + (unit >= a.before[2]) + (unit >= a.before[3]);
    const uint32_t units = a.units[product], in_tile = (unit - a.before[product]) % units;
    float *tile = a.to + (size_t)(unit - in_tile - a.first) * (32 * chunk);
    float4 *to = reinterpret_cast<float4 *>(tile + (lane / 4 * units + in_tile) * 4 * chunk +
                                            lane % 4 * chunk);
    if constexpr (TYPE == AEGIS_DECODE_F32) {
        to[0] = make_float4(__uint_as_float(got.x), __uint_as_float(got.y), __uint_as_float(got.z),
                            __uint_as_float(got.w));
    } else {
        const float2 x = widen<TYPE>(got.x), y = widen<TYPE>(got.y), z = widen<TYPE>(got.z),
                     w = widen<TYPE>(got.w);
        to[0] = make_float4(x.x, x.y, y.x, y.y);
        to[1] = make_float4(z.x, z.y, w.x, w.y);
    }
}

template <int TYPE> __global__ void __launch_bounds__(ROW_THREADS) prompt_unpack(unpack_arguments a)
{
    const uint32_t first = a.first + blockIdx.x * UNITS_OF_BLOCK + threadIdx.x / 32 * UNITS_OF_WARP;
    const uint8_t *from = a.layer + threadIdx.x % 32 * 16;
    uint32_t where[UNITS_OF_WARP];
    uint4 got[UNITS_OF_WARP];
#pragma unroll
    for (uint32_t i = 0; i < UNITS_OF_WARP; i++) {
        where[i] = a.where[first + i < a.last ? first + i : a.first];
    }
#pragma unroll
    for (uint32_t i = 0; i < UNITS_OF_WARP; i++) {
        got[i] = __ldcs(
            reinterpret_cast<const uint4 *>(from + (size_t)where[i] * AEGIS_DECODE_UNIT_BYTES));
    }
#pragma unroll
    for (uint32_t i = 0; i < UNITS_OF_WARP; i++) {
        if (first + i < a.last) {
            unpack_unit<TYPE>(a, first + i, got[i]);
        }
    }
}

#endif
