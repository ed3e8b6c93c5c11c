/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTER_ATTENTION_CUH
#define AEGIS_TRANSFORMER_CUDA_CLUSTER_ATTENTION_CUH

/* Attention of the kernel in clusters: positions are divided among the blocks of a head's cluster.
 */

#include "backend/transformer/cuda/cluster_stream.cuh"

#define CLUSTER_PASS (AEGIS_CLUSTER_BLOCKS * AEGIS_CLUSTER_WARPS * 4) /* positions at once */

template <int TYPE, int R> class cluster_attention : public cluster_stream<TYPE, R>
{
    using stream = cluster_stream<TYPE, R>;

  protected:
    using stream::HEAD, stream::receive, stream::give_all, stream::add_lanes;
    using stream::p, stream::shared, stream::thread, stream::warp, stream::lane, stream::rank;

    uint32_t position;

    __device__ __forceinline__ cluster_attention(const aegis_decode_step &parameters,
                                                 cluster_memory<R> &memory)
        : stream(parameters, memory)
    {
    }

    struct part_of_head {
        float most, weight, sum[8]; /* of this lane's elements */
    };

    __device__ __forceinline__ void attend(part_of_head &of,
                                           const float (&query)[8],
                                           const float4 (&k)[2],
                                           const float4 (&v)[2],
                                           bool has)
    {
        float score = 0, other = 0;
        score = fmaf(query[0], k[0].x, score);
        other = fmaf(query[1], k[0].y, other);
        score = fmaf(query[2], k[0].z, score);
        other = fmaf(query[3], k[0].w, other);
        score = fmaf(query[4], k[1].x, score);
        other = fmaf(query[5], k[1].y, other);
        score = fmaf(query[6], k[1].z, score);
        other = fmaf(query[7], k[1].w, other);
        score += other;
        score += __shfl_xor_sync(ALL_LANES, score, 4);
        score += __shfl_xor_sync(ALL_LANES, score, 2);
        score += __shfl_xor_sync(ALL_LANES, score, 1);
        if (has) {
            const float most = fmaxf(of.most, score);
            const float shrink = __expf(of.most - most), factor = __expf(score - most);
            of.most = most;
            of.weight = fmaf(of.weight, shrink, factor);
            of.sum[0] = fmaf(of.sum[0], shrink, factor * v[0].x);
            of.sum[1] = fmaf(of.sum[1], shrink, factor * v[0].y);
            of.sum[2] = fmaf(of.sum[2], shrink, factor * v[0].z);
            of.sum[3] = fmaf(of.sum[3], shrink, factor * v[0].w);
            of.sum[4] = fmaf(of.sum[4], shrink, factor * v[1].x);
            of.sum[5] = fmaf(of.sum[5], shrink, factor * v[1].y);
            of.sum[6] = fmaf(of.sum[6], shrink, factor * v[1].z);
            of.sum[7] = fmaf(of.sum[7], shrink, factor * v[1].w);
        }
    }

    /* How much what was weighted against `most` counts against `all`. */
    __device__ __forceinline__ float share(float most, float all) const
    {
        return most == -INFINITY ? 0.0f : __expf(most - all);
    }

    __device__ __forceinline__ void load_eight(const float *from, float4 (&to)[2]) const
    {
        to[0] = load_cached(from);
        to[1] = load_cached(from + 4);
    }

    /* The position of this lane in the first pass. */
    __device__ __forceinline__ uint32_t first_position() const
    {
        return (rank * AEGIS_CLUSTER_WARPS + warp) * 4 + lane / 8;
    }

    /* Leaves the warps' parts in shared memory. `k`, `v`: of the first pass. */
    __device__ __forceinline__ void
    attend_positions(float *keys, float *values, float4 (&k)[2], float4 (&v)[2])
    {
        float query[8];
        part_of_head of = {-INFINITY, 0, {0, 0, 0, 0, 0, 0, 0, 0}};
        const uint32_t column = lane % 8 * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            query[i] = shared.qkv[column + i] * p.score_factor;
        }
        uint32_t t = first_position();
#pragma unroll 1
        for (uint32_t warps = t - lane / 8; warps <= position; warps += CLUSTER_PASS) {
            if (t == position) { /* the step's own */
                const float4 *near = reinterpret_cast<const float4 *>(shared.qkv + column);
                k[0] = near[HEAD / 4];
                k[1] = near[HEAD / 4 + 1];
                v[0] = near[HEAD / 2];
                v[1] = near[HEAD / 2 + 1];
                float4 *to = reinterpret_cast<float4 *>(keys + (size_t)t * HEAD + column);
                to[0] = k[0];
                to[1] = k[1];
                to = reinterpret_cast<float4 *>(values + (size_t)t * HEAD + column);
                to[0] = v[0];
                to[1] = v[1];
            }
            attend(of, query, k, v, t <= position);
            t += CLUSTER_PASS;
            if (t < position) {
                load_eight(keys + (size_t)t * HEAD + column, k);
                load_eight(values + (size_t)t * HEAD + column, v);
            }
        }
        const float most = fmaxf(of.most, __shfl_xor_sync(ALL_LANES, of.most, 8));
        const float all = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 16));
        const float factor = share(of.most, all);
        float sums[9];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            sums[i] = of.sum[i] * factor;
        }
        sums[8] = of.weight * factor;
#pragma unroll
        for (int i = 0; i < 9; i++) {
            sums[i] += __shfl_xor_sync(ALL_LANES, sums[i], 8);
            sums[i] += __shfl_xor_sync(ALL_LANES, sums[i], 16);
        }
        if (lane < 8) {
            float4 *to = reinterpret_cast<float4 *>(shared.own[warp] + column);
            to[0] = make_float4(sums[0], sums[1], sums[2], sums[3]);
            to[1] = make_float4(sums[4], sums[5], sums[6], sums[7]);
            if (lane == 0) {
                shared.own_ends[warp] = make_float2(all, sums[8]);
            }
        }
    }

    /* The warps' parts added, to all blocks of the cluster. */
    __device__ __forceinline__ void give_attended()
    {
        if (thread >= HEAD + AEGIS_CLUSTER_BLOCKS) {
            return;
        }
        float2 ends[AEGIS_CLUSTER_WARPS];
        float all = -INFINITY, weight = 0, sum = 0;
#pragma unroll
        for (int w = 0; w < (int)AEGIS_CLUSTER_WARPS; w++) {
            ends[w] = shared.own_ends[w];
            all = fmaxf(all, ends[w].x);
        }
#pragma unroll
        for (int w = 0; w < (int)AEGIS_CLUSTER_WARPS; w++) {
            const float factor = share(ends[w].x, all);
            weight = fmaf(factor, ends[w].y, weight);
            sum = fmaf(factor, shared.own[w][thread % HEAD], sum);
        }
        if (thread < HEAD) {
            give_all(CHANNEL_ATTENTION, &shared.attended[rank][thread], sum);
        } else {
            const uint32_t to = thread - HEAD;
            send_two(address_at(shared_address(&shared.ends[rank]), to), all, weight,
                     address_at(shared_address(&shared.channels[CHANNEL_ATTENTION]), to));
        }
    }

    /* Eight elements of what the head gives. */
    __device__ __forceinline__ void join(float (&head)[8])
    {
        receive(CHANNEL_ATTENTION);
        const float2 end = shared.ends[lane % 8];
        float all = fmaxf(end.x, __shfl_xor_sync(ALL_LANES, end.x, 4));
        all = fmaxf(all, __shfl_xor_sync(ALL_LANES, all, 2));
        all = fmaxf(all, __shfl_xor_sync(ALL_LANES, all, 1));
        const float factor = share(end.x, all);
        float weight[1] = {factor * end.y};
        add_lanes(weight, 4);
        const float of = __fdividef(factor, weight[0]);
        float2 sum = make_float2(0, 0); /* elements 2 lane and 2 lane + 1 */
#pragma unroll
        for (int r = 0; r < (int)AEGIS_CLUSTER_BLOCKS; r++) {
            const float one = __shfl_sync(ALL_LANES, of, r);
            const float2 two_of = reinterpret_cast<const float2 *>(shared.attended[r])[lane];
            sum.x = fmaf(one, two_of.x, sum.x);
            sum.y = fmaf(one, two_of.y, sum.y);
        }
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
            head[i] = __shfl_sync(ALL_LANES, sum.x, lane % 8 * 4 + i / 2);
            head[i + 1] = __shfl_sync(ALL_LANES, sum.y, lane % 8 * 4 + i / 2);
        }
    }
};

#endif
