/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTER_READER_CUH
#define AEGIS_TRANSFORMER_CUDA_CLUSTER_READER_CUH

/* Weights of the kernel in clusters, read ahead of their use. */

#include "backend/transformer/cuda/cluster_exchange.cuh"

/* Of a warp: the weights of its products, or of one row of the head, in the order in which it needs
 * them. F: hidden units where there is a head, and where there is none. */
template <int TYPE, int R, int F0, int F1> class cluster_reader
{
    static constexpr int E = element<TYPE>::chunk;
    static constexpr uint32_t K = 8 * R / E, O = 8 / E; /* slots of a row, of a head's elements */

    const aegis_decode_step &p;
    uint64_t *full;
    const uint32_t warp, lane;
    const bool has_head;
    uint32_t ring, units; /* of the ring */
    uint64_t policy;
    uint32_t unit, barrier, parity; /* to be taken next */
    uint32_t free_units;            /* less what lane 0 has under way */
    /* of lane 0: what is read next, and to where */
    const uint8_t *from;
    uint32_t to, to_barrier, layer, at, count;

    /* Units of product `at` of a layer, or of row `at` of the head. */
    __device__ __forceinline__ uint32_t next() const
    {
        if (layer >= p.last) {
            return K;
        }
        const uint32_t kind = has_head ? at : at + 2;
        const uint32_t hidden = K * (has_head ? F0 : F1);
        return kind == 0 ? K * AEGIS_CLUSTER_UNIT_ROWS : kind == 1 ? K : hidden;
    }

    __device__ __forceinline__ void enter()
    {
        at = 0;
        if (layer < p.last) {
            from = (const uint8_t *)p.layer_weights + (size_t)(layer - p.first) * p.layer_bytes +
                   (size_t)aegis_clusters_begin(&p.clusters, blockIdx.x, warp) *
                       AEGIS_DECODE_UNIT_BYTES;
            count = has_head ? 4 : 2;
        } else {
            uint32_t rows = p.head != 0 && layer == p.last ? p.clusters.head_rows : 0;
            if (rows > 0 &&
                aegis_clusters_word(&p.clusters, blockIdx.x, 0, rows - 1) >= p.vocabulary) {
                rows--;
            }
            from = (const uint8_t *)p.head_weights +
                   (size_t)(blockIdx.x * AEGIS_CLUSTER_WARPS + warp) *
                       aegis_clusters_head_units(&p.clusters) * AEGIS_DECODE_UNIT_BYTES;
            count = rows;
        }
    }

    __device__ __forceinline__ void copy(uint32_t into, uint32_t bytes, uint32_t on)
    {
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                     ".L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(into),
                     "l"(from), "r"(bytes), "r"(on), "l"(policy)
                     : "memory");
        from += bytes;
    }

    /* By lane 0: whatever there is room for. */
    __device__ __forceinline__ void fill()
    {
#pragma unroll 1
        while (at < count && next() <= free_units && next() > 0) {
            const uint32_t wanted = next();
            const uint32_t first = units - to < wanted ? units - to : wanted;
            const uint32_t on = shared_address(full + to_barrier);
            barrier_expect(on, wanted * AEGIS_DECODE_UNIT_BYTES);
            copy(ring + to * AEGIS_DECODE_UNIT_BYTES, first * AEGIS_DECODE_UNIT_BYTES, on);
            if (first < wanted) {
                copy(ring, (wanted - first) * AEGIS_DECODE_UNIT_BYTES, on);
            }
            free_units -= wanted;
            to = first < wanted ? wanted - first : to + wanted;
            to = to == units ? 0 : to;
            to_barrier = to_barrier + 1 == CLUSTER_MOST_AHEAD ? 0 : to_barrier + 1;
            if (++at == count) {
                layer++;
                enter();
            }
        }
    }

  public:
    __device__ __forceinline__ cluster_reader(const aegis_decode_step &parameters,
                                              unsigned char *memory,
                                              uint64_t *barriers)
        : p(parameters), full(barriers + threadIdx.x / 32 * CLUSTER_MOST_AHEAD),
          warp(threadIdx.x / 32), lane(threadIdx.x % 32),
          has_head(blockIdx.x < parameters.clusters.heads * AEGIS_CLUSTER_BLOCKS), unit(0),
          barrier(0), parity(0), to(0), to_barrier(0), layer(parameters.first)
    {
        units = p.ring_bytes / (AEGIS_CLUSTER_WARPS * AEGIS_DECODE_UNIT_BYTES);
        units = units < CLUSTER_MOST_AHEAD * K ? units : CLUSTER_MOST_AHEAD * K;
        free_units = units;
        ring = shared_address(memory) + warp * units * AEGIS_DECODE_UNIT_BYTES;
        policy = cache_policy(p.keep_in_cache != 0);
        if (lane == 0) {
            for (uint32_t i = 0; i < CLUSTER_MOST_AHEAD; i++) {
                barrier_init(full + i, 1);
            }
            asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
            enter();
            fill();
        }
        __syncwarp();
    }

    /* The next product. */
    template <int S, int M> __device__ __forceinline__ void take(uint4 (&weights)[S][M])
    {
        barrier_wait(shared_address(full + barrier), parity);
#pragma unroll
        for (int i = 0; i < S * M; i++) {
            const uint32_t where = unit + i < units ? unit + i : unit + i - units;
            weights[i / M][i % M] = load_shared(ring + where * AEGIS_DECODE_UNIT_BYTES + lane * 16);
        }
        unit = unit + S * M < units ? unit + S * M : unit + S * M - units;
        free_units += S * M;
        if (++barrier == CLUSTER_MOST_AHEAD) {
            barrier = 0;
            parity ^= 1;
        }
    }

    /* Into the place of what has been taken. The fence: a copy must not overtake the loads. */
    __device__ __forceinline__ void refill()
    {
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncwarp();
        if (lane == 0) {
            fill();
        }
        __syncwarp();
    }

    /* Waits for what is under way and will not be used, before anything was taken. */
    __device__ __forceinline__ void drop()
    {
        for (uint32_t i = 0; lane == 0 && i < to_barrier; i++) {
            barrier_wait(shared_address(full + i), 0);
        }
    }
};

#endif
