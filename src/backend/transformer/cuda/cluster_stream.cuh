/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTER_STREAM_CUH
#define AEGIS_TRANSFORMER_CUDA_CLUSTER_STREAM_CUH

/* The residual stream of the kernel in clusters, its norms and the products with it. */

#include "backend/transformer/cuda/cluster_exchange.cuh"

template <int TYPE, int R> class cluster_stream : public cluster_block<R>
{
    using block = cluster_block<R>;

  protected:
    using block::p, block::shared, block::thread, block::lane, block::rank, block::part;
    using block::receive, block::give_all;

    static constexpr int E = element<TYPE>::chunk; /* elements in 16 bytes */
    static constexpr int K = 8 * R / E;            /* units of a row */

    float own;           /* this thread's element of the stream, of the first `part` threads */
    float mean;          /* of the stream, where norms are folded */
    float x[8 * R];      /* the normalised stream: this lane's elements */
    float4 scale[4 * R]; /* of the next norm */

    __device__ __forceinline__ cluster_stream(const aegis_decode_step &parameters,
                                              cluster_memory<R> &memory)
        : block(parameters, memory)
    {
    }

    /* ---- products ---- */

    /* Sums of this lane's part of N rows. */
    template <int S, int N>
    __device__ __forceinline__ void
    multiply(const uint4 (&weights)[S][N], const float *inputs, float (&sums)[N])
    {
        float others[N];
#pragma unroll
        for (int i = 0; i < N; i++) {
            sums[i] = others[i] = 0;
        }
#pragma unroll
        for (int s = 0; s < S; s++) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                multiply_chunk<TYPE>(weights[s][i], inputs + s * E, sums[i], others[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            sums[i] += others[i];
        }
    }

    /* Over lanes whose numbers differ in the bits up to `most`. */
    template <int N> __device__ __forceinline__ void add_lanes(float (&sums)[N], int most)
    {
#pragma unroll
        for (int other = most; other > 0; other /= 2) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[i] += __shfl_xor_sync(ALL_LANES, sums[i], other);
            }
        }
    }

    /* Over all lanes; each gets the sum of its eighth: that numbered lane / 8. */
    template <int N> __device__ __forceinline__ float add_apart(const float (&sums)[N])
    {
        static_assert(N == 3 || N == 4);
        const bool upper = (lane & 16) != 0, odd = (lane & 8) != 0;
        float pair[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float high = i + 2 < N ? sums[i + 2 < N ? i + 2 : 0] : 0.0f;
            pair[i] =
                (upper ? high : sums[i]) + __shfl_xor_sync(ALL_LANES, upper ? sums[i] : high, 16);
        }
        float sum[1] = {(odd ? pair[1] : pair[0]) +
                        __shfl_xor_sync(ALL_LANES, odd ? pair[0] : pair[1], 8)};
        add_lanes(sum, 4);
        return sum[0];
    }

    template <int N> __device__ __forceinline__ float pick(const float (&of)[N], uint32_t which)
    {
        float value = of[0];
#pragma unroll
        for (int i = 1; i < N; i++) {
            value = which == (uint32_t)i ? of[i] : value;
        }
        return value;
    }
    /* ---- the residual stream ---- */

    /* Adds `terms` of each of the part's elements to the stream. */
    __device__ __forceinline__ void
    add_terms(const uint64_t *packets, uint32_t terms, uint32_t wanted, float bias, uint32_t half)
    {
        if (thread < 2 * part) {
            const uint32_t pair = thread % (part / 2), group = thread / (part / 2);
            packets += rank * part + 2 * pair + (size_t)group * 4 * p.width;
            two got[4];
            uint32_t polls = 0;
            bool good;
            do {
                good = true;
#pragma unroll
                for (uint32_t i = 0; i < 4; i++) {
                    if (group * 4 + i < terms) {
                        got[i] = look(packets + i * p.width);
                    }
                }
#pragma unroll
                for (uint32_t i = 0; i < 4; i++) {
                    good &= group * 4 + i >= terms || is_of(got[i], wanted);
                }
                count_poll(polls);
            } while (!good);
            float2 sum = make_float2(0, 0);
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                if (group * 4 + i < terms) {
                    sum.x += values_of(got[i]).x;
                    sum.y += values_of(got[i]).y;
                }
            }
            reinterpret_cast<float2 *>(shared.gathered[half][group])[pair] = sum;
        }
        __syncthreads();
        if (thread < part) {
            const float(*of)[part] = shared.gathered[half];
            own += ((of[0][thread] + of[1][thread]) + (of[2][thread] + of[3][thread])) + bias;
        }
    }

    /* To all blocks of the cluster. */
    __device__ __forceinline__ void spread()
    {
        if (thread < part) {
            give_all(CHANNEL_STREAM, shared.stream + rank * part + thread, own);
        }
    }

    /* Long before it is needed. */
    __device__ __forceinline__ void load_scale(const float *norm)
    {
#pragma unroll
        for (int s = 0; s < K; s++) {
#pragma unroll
            for (int i = 0; i < E / 2; i++) {
                scale[s * E / 2 + i] = load_four(norm + 2 * E * (32 * s + lane) + 4 * i);
            }
        }
    }

    __device__ __forceinline__ void load_scale_of(const float *norm)
    {
        if constexpr (!AEGIS_CLUSTERS_FOLD(TYPE)) {
            load_scale(norm);
        }
    }

    __device__ __forceinline__ float load_bias(const float *vector, uint32_t at) const
    {
        return thread < part ? load_one(vector + at + rank * part + thread) : 0.0f;
    }

    /* x, by each warp for itself. */
    __device__ __forceinline__ void normalise()
    {
        receive(CHANNEL_STREAM);
        float sums[4] = {0, 0, 0, 0};
#pragma unroll
        for (int s = 0; s < K; s++) {
#pragma unroll
            for (int i = 0; i < E; i += 4) {
                const float4 four =
                    *reinterpret_cast<const float4 *>(shared.stream + E * (32 * s + lane) + i);
                x[s * E + i] = four.x;
                x[s * E + i + 1] = four.y;
                x[s * E + i + 2] = four.z;
                x[s * E + i + 3] = four.w;
                sums[0] += four.x;
                sums[1] += four.y;
                sums[2] += four.z;
                sums[3] += four.w;
            }
        }
        const float mean = sum_of_warp((sums[0] + sums[1]) + (sums[2] + sums[3])) * p.width_inverse;
        sums[0] = sums[1] = 0;
#pragma unroll
        for (int i = 0; i < 8 * R; i++) {
            x[i] -= mean;
            sums[i % 2] = fmaf(x[i], x[i], sums[i % 2]);
        }
        const float factor = rsqrtf(sum_of_warp(sums[0] + sums[1]) * p.width_inverse + p.epsilon);
#pragma unroll
        for (int i = 0; i < 8 * R; i += 2) {
            x[i] = fmaf(x[i] * factor, scale[i / 2].x, scale[i / 2].z);
            x[i + 1] = fmaf(x[i + 1] * factor, scale[i / 2].y, scale[i / 2].w);
        }
    }

    /* Row lane / 8 of N of a product with the normalised stream. */
    template <int N> __device__ __forceinline__ float multiply_stream(const uint4 (&weights)[K][N])
    {
        float rows[N];
        if constexpr (AEGIS_CLUSTERS_FOLD(TYPE)) {
            float others[N] = {}, ends[2] = {0, 0}, other_ends[2] = {0, 0}; /* sum, of squares */
            receive(CHANNEL_STREAM);
#pragma unroll
            for (int i = 0; i < N; i++) {
                rows[i] = 0;
            }
#pragma unroll
            for (int s = 0; s < K; s++) {
                float of[E];
#pragma unroll
                for (int i = 0; i < E; i += 4) {
                    const float4 four =
                        *reinterpret_cast<const float4 *>(shared.stream + E * (32 * s + lane) + i);
                    of[i] = four.x;
                    of[i + 1] = four.y;
                    of[i + 2] = four.z;
                    of[i + 3] = four.w;
                }
#pragma unroll
                for (int i = 0; i < E; i += 2) {
                    ends[0] += of[i];
                    other_ends[0] += of[i + 1];
                    ends[1] = fmaf(of[i], of[i], ends[1]);
                    other_ends[1] = fmaf(of[i + 1], of[i + 1], other_ends[1]);
                }
#pragma unroll
                for (int i = 0; i < N; i++) {
                    multiply_chunk<TYPE>(weights[s][i], of, rows[i], others[i]);
                }
            }
#pragma unroll
            for (int i = 0; i < N; i++) {
                rows[i] += others[i];
            }
            ends[0] += other_ends[0];
            ends[1] += other_ends[1];
            add_lanes(ends, 16);
            mean = __fmul_rn(ends[0], p.width_inverse); /* the same in every cluster */
            const float variance = fmaf(-mean, mean, ends[1] * p.width_inverse);
            return add_apart(rows) * rsqrtf(fmaxf(variance, 0.0f) + p.epsilon);
        } else {
            normalise();
            multiply(weights, x, rows);
            return add_apart(rows);
        }
    }
};

#endif
