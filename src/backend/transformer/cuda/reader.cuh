/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_READER_CUH
#define AEGIS_TRANSFORMER_CUDA_READER_CUH

/* A lane's weights, read ahead: DEPTH units at any time, in the order in which they are multiplied.
 * A lane copies exactly the 16 bytes that it multiplies itself, so nobody waits for anybody. */

#include "backend/transformer/cuda/layout.h"
#include "backend/transformer/cuda/primitives.cuh"

/* Where a warp's units lie; in shared memory. */
struct lane_units {
    const uint8_t *layers, *head;
    uint32_t layer_units, head_units;
};

template <int TYPE, int WARPS, int DEPTH> class weight_reader
{
    static constexpr uint32_t unit_columns = AEGIS_DECODE_UNIT_ROW_BYTES / element<TYPE>::bytes;

    const aegis_decode_step &p;
    const uint4 *ring;       /* this lane's: one entry every 32 */
    uint32_t ring_address;   /* the same, for copies */
    const lane_units *units; /* of this warp */
    const uint8_t *from;     /* the next unit */
    uint64_t policy;
    uint32_t left, stretch; /* units of the present stretch; its layer, or `last` for the head */
    uint32_t slot;          /* the next to multiply, as the next to be read into */

    __device__ __forceinline__ void enter(uint32_t next)
    {
        const uint32_t lane = threadIdx.x % 32;
        stretch = next;
        if (next < p.last && units->layer_units > 0) {
            left = units->layer_units;
            from = units->layers + (size_t)(next - p.first) * p.layer_bytes + lane * 16;
        } else {
            stretch = p.last;
            left = next <= p.last && p.head != 0 ? units->head_units : 0;
            from = units->head + lane * 16;
        }
    }

    /* Into the slot that has just been multiplied. */
    __device__ __forceinline__ void read_ahead()
    {
        if (left > 0) {
            copy_chunk(ring_address + slot * AEGIS_DECODE_UNIT_BYTES, from, policy);
            from += AEGIS_DECODE_UNIT_BYTES;
            if (--left == 0) {
                enter(stretch + 1);
            }
        }
        commit();
        slot = slot + 1 == DEPTH ? 0 : slot + 1;
    }

  public:
    __device__ __forceinline__ weight_reader(const aegis_decode_step &parameters,
                                             unsigned char *memory,
                                             lane_units *of_warps)
        : p(parameters), slot(0)
    {
        const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        ring = reinterpret_cast<uint4 *>(memory) + (size_t)warp * DEPTH * 32 + lane;
        ring_address = (uint32_t)__cvta_generic_to_shared(ring);
        units = of_warps + warp;
        if (lane == 0) {
            const aegis_decode_lane is = p.lanes[blockIdx.x * WARPS + warp];
            of_warps[warp] = {
                (const uint8_t *)p.layer_weights + (size_t)is.layer_first * AEGIS_DECODE_UNIT_BYTES,
                (const uint8_t *)p.head_weights + (size_t)is.head_first * AEGIS_DECODE_UNIT_BYTES,
                is.layer_units, is.head_units};
        }
        __syncwarp();
        policy = cache_policy(p.keep_in_cache != 0);
        enter(p.first);
#pragma unroll 1
        for (uint32_t i = 0; i < DEPTH; i++) {
            read_ahead();
        }
    }

    /* Sums of this lane's part of `tiles` rows, one of each tile: `units` units of each, whose
     * inputs begin at `inputs`. */
    __device__ __forceinline__ void
    multiply(uint32_t tiles, uint32_t units, const float *inputs, float *sums)
    {
        constexpr uint32_t most = AEGIS_DECODE_ROUND_TILES;
        float others[most];
#pragma unroll
        for (uint32_t t = 0; t < most; t++) {
            sums[t] = others[t] = 0;
        }
        inputs += threadIdx.x % 4 * element<TYPE>::chunk;
#pragma unroll 1
        for (; units > 0; units--, inputs += unit_columns) {
            uint4 got[most];
            float x[element<TYPE>::chunk];
#pragma unroll
            for (uint32_t i = 0; i < element<TYPE>::chunk; i += 4) {
                *reinterpret_cast<float4 *>(x + i) = *reinterpret_cast<const float4 *>(inputs + i);
            }
            await<DEPTH - (int)most>();
            uint32_t at = slot;
#pragma unroll
            for (uint32_t t = 0; t < most; t++) {
                if (t < tiles) {
                    got[t] = ring[at * 32];
                    at = at + 1 == DEPTH ? 0 : at + 1;
                }
            }
#pragma unroll
            for (uint32_t t = 0; t < most; t++) {
                if (t < tiles) {
                    multiply_chunk<TYPE>(got[t], x, sums[t], others[t]);
                }
            }
#pragma unroll 1
            for (uint32_t t = 0; t < tiles; t++) {
                read_ahead();
            }
        }
#pragma unroll
        for (uint32_t t = 0; t < most; t++) {
            sums[t] += others[t];
        }
    }
};

#endif
