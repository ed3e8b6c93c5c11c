/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTERS_CUH
#define AEGIS_TRANSFORMER_CUDA_CLUSTERS_CUH

/*
 * A step of a GPT-2 as one kernel on thread-block clusters (compute capability 9.0): as step.cuh,
 * but blocks of a cluster exchange through each other's shared memory, and all blocks meet twice a
 * layer only.
 *
 *  - A cluster has a head: its queries, keys and values, its attention (positions are divided among
 *    the blocks) and the part of the output product that reads the head. What this gives is one
 *    term of the sum of all heads: packets, as in step.cuh.
 *  - A block has some hidden units of the feed-forward: their rows of up and their columns of down.
 *    The blocks of a cluster add their terms among themselves; the sum is one term of all
 * clusters'.
 *  - Block r of a cluster adds all terms for the r-th part of the residual stream, and gives the
 * sum to its cluster. Each warp normalises the whole stream for itself, in registers. In f32 the
 *    matrices hold the norms' scales and means (aegis_decode_fold_scale), so that a norm in front
 * of one is no more than a factor behind it.
 *  - Each warp reads its weights ahead by bulk copies into a ring of slots of its own, and takes
 * those of a product into registers before its inputs are there.
 *
 * Packets of the heads' terms are written again when the next layer's are: by then every block has
 * given hidden units' terms that came after its reading them. Those of the hidden units lie in two
 * halves in turns, as a cluster without a head may still read them while the heads' next come.
 *
 * All sums have their order: equal inputs give equal bits, however the step is cut.
 */
#include "backend/transformer/cuda/cluster_attention.cuh"
#include "backend/transformer/cuda/cluster_reader.cuh"

template <int TYPE, int R, int F0, int F1> class cluster_step : public cluster_attention<TYPE, R>
{
    using attention = cluster_attention<TYPE, R>;
    using attention::add_lanes, attention::pick, attention::first_position, attention::load_eight;
    using attention::attend_positions, attention::give_attended, attention::join;
    using attention::E, attention::K, attention::own, attention::mean, attention::x;
    using attention::load_scale_of, attention::load_bias, attention::add_terms, attention::spread;
    using attention::normalise, attention::multiply, attention::multiply_stream;
    using attention::p, attention::shared, attention::thread, attention::warp, attention::lane;
    using attention::position, attention::receive, attention::give, attention::load_scale;
    using attention::rank, attention::cluster, attention::part, attention::HEAD;

    static constexpr int O = 8 / E; /* slots of a head's elements, or a warp's row */

    cluster_reader<TYPE, R, F0, F1> &reader;
    uint32_t epoch;

    /* ---- a layer ---- */

    __device__ __forceinline__ uint64_t *heads_terms() const
    {
        return p.exchange;
    }

    __device__ __forceinline__ uint64_t *hidden_terms(uint32_t layer) const
    {
        return p.exchange + (size_t)AEGIS_CLUSTER_MOST * p.width * (1 + layer % 2);
    }

    __device__ __forceinline__ const float *vectors_of(uint32_t layer) const
    {
        return p.vectors + (size_t)layer * p.at.stride;
    }

    /* What the layer before has left to be added. */
    __device__ __forceinline__ void add_former(uint32_t layer, float bias)
    {
        if (layer > p.first) {
            add_terms(hidden_terms(layer - 1), p.clusters.clusters, epoch + layer, bias, 0);
        }
    }

    __device__ __forceinline__ float former_bias(uint32_t layer) const
    {
        return layer > p.first ? load_bias(vectors_of(layer - 1), p.at.biases[AEGIS_DECODE_DOWN])
                               : 0;
    }

    __device__ __forceinline__ void run_head_of(uint32_t layer)
    {
        constexpr int N = AEGIS_CLUSTER_UNIT_ROWS;
        const float *vectors = vectors_of(layer);
        const size_t line = (size_t)p.context * HEAD;
        float *keys = p.cache + ((size_t)2 * layer * p.kv_heads + cluster) * line;
        float *values = keys + p.kv_heads * line;
        uint4 weights[K][N];
        float4 k[2] = {}, v[2] = {};
        const uint32_t first = (rank * AEGIS_CLUSTER_WARPS + warp) * N, i = lane / 8;
        const uint32_t row = first + (i < N ? i : 0);
        const float bias = load_one(vectors + p.at.biases[AEGIS_DECODE_QKV] + row / HEAD * p.width +
                                    cluster * HEAD + row % HEAD);
        const float former = former_bias(layer);
        load_scale_of(vectors + p.at.attention_norm);
        if (first_position() < position) {
            load_eight(keys + (size_t)first_position() * HEAD + lane % 8 * 8, k);
            load_eight(values + (size_t)first_position() * HEAD + lane % 8 * 8, v);
        }
        reader.take(weights);
        add_former(layer, former);
        spread();
        reader.refill();
        const float value = multiply_stream(weights) + bias;
        if (i < N) {
            give(CHANNEL_QKV, shared.qkv + row, value, lane % 8);
        }
        receive(CHANNEL_QKV);
        attend_positions(keys, values, k, v);
        __syncthreads();
        give_attended();
        multiply_output(epoch + layer + 1);
    }

    __device__ __forceinline__ void multiply_output(uint32_t wanted)
    {
        uint4 weights[O][R];
        float head[8], sums[R];
        reader.take(weights);
        join(head);
        multiply(weights, head, sums);
        add_lanes(sums, 4);
        if (lane % 8 < R) {
            const uint32_t row = (warp * R + lane % 8) * 4 + lane / 8;
            publish(heads_terms() + (size_t)cluster * p.width + rank * part + row,
                    pick(sums, lane % 8), wanted);
        }
    }

    template <int F> __device__ __forceinline__ void run_feed_forward(uint32_t layer)
    {
        constexpr int D = 8 * F / E;
        const uint32_t wanted = epoch + layer + 1;
        const float *vectors = vectors_of(layer);
        const uint32_t i = lane / 8, unit = warp * F + (i < F ? i : 0);
        const uint32_t row = aegis_clusters_hidden(&p.clusters, blockIdx.x) + unit;
        const float bias =
            row < p.feed_forward ? load_one(vectors + p.at.biases[AEGIS_DECODE_UP] + row) : 0.0f;
        const float output_bias = load_bias(vectors, p.at.biases[AEGIS_DECODE_OUTPUT]);
        uint4 down[D][R];
        float sums[R];
        {
            uint4 weights[K][F];
            load_scale_of(vectors + p.at.feed_forward_norm);
            reader.take(weights);
            if constexpr (E == 8) { /* of f32 they would be too many at once */
                reader.take(down);
            }
            add_terms(heads_terms(), p.clusters.heads, wanted, output_bias, 1);
            spread();
            reader.refill();
            const float value = multiply_stream(weights) + bias;
            if (i < F && lane % 8 == 0) {
                shared.hidden[unit] = p.gelu_erf != 0 ? gelu_erf(value) : gelu_tanh(value);
            }
            /* No norm sees it, and the next one's squares lose less. */
            if constexpr (AEGIS_CLUSTERS_FOLD(TYPE)) {
                own -= mean;
            }
        }
        if constexpr (E == 4) {
            reader.take(down);
        }
        __syncthreads();
        float hidden[8 * F];
#pragma unroll
        for (int e = 0; e < 8 * F; e += 4) {
            const float4 four = *reinterpret_cast<const float4 *>(shared.hidden + e);
            hidden[e] = four.x;
            hidden[e + 1] = four.y;
            hidden[e + 2] = four.z;
            hidden[e + 3] = four.w;
        }
        multiply(down, hidden, sums);
#pragma unroll
        for (int r = 0; r < R; r++) {
            give(CHANNEL_DOWN, &shared.down[rank][r * 32 + lane], sums[r], warp);
        }
        if (thread < part) {
            receive(CHANNEL_DOWN);
            float all[4] = {0, 0, 0, 0};
#pragma unroll
            for (int r = 0; r < (int)AEGIS_CLUSTER_BLOCKS; r++) {
                all[r % 4] += shared.down[r][thread];
            }
            publish(hidden_terms(layer) + (size_t)cluster * p.width + rank * part + thread,
                    (all[0] + all[1]) + (all[2] + all[3]), wanted);
        }
    }

    __device__ __forceinline__ void run_layer(uint32_t layer)
    {
        if (cluster < p.clusters.heads) {
            run_head_of(layer);
            run_feed_forward<F0>(layer);
        } else {
            add_former(layer, former_bias(layer));
            reader.refill();
            run_feed_forward<F1>(layer);
        }
    }

    /* ---- the end ---- */

    __device__ __forceinline__ void leave_crossing()
    {
        const float bias = former_bias(p.last);
        add_former(p.last, bias);
        if (cluster == 0 && thread < part) {
            p.crossing_out[rank * part + thread] = own;
        }
    }

    /* Logits, and the best of this block's. */
    __device__ __forceinline__ packet run_head()
    {
        packet best = 0;
        const float bias = former_bias(p.last);
        load_scale(p.final_norm);
        add_former(p.last, bias);
        spread();
        reader.refill();
        normalise();
#pragma unroll 1
        for (uint32_t index = 0; index < p.clusters.head_rows; index++) {
            const uint32_t row = aegis_clusters_word(&p.clusters, blockIdx.x, warp, index);
            if (row - warp >= p.vocabulary) {
                break;
            }
            uint4 weights[O][R];
            reader.take(weights);
            float sums[2] = {0, 0};
#pragma unroll
            for (int s = 0; s < O; s++) {
#pragma unroll
                for (int i = 0; i < R; i++) {
                    multiply_chunk<TYPE>(weights[s][i], x + (s * R + i) * E, sums[0], sums[1]);
                }
            }
            const float value = sum_of_warp(sums[0] + sums[1]);
            if (lane == 0 && row < p.vocabulary) {
                p.logits[row] = value;
                best = larger(best, rank_of(value, row));
            }
            reader.refill();
        }
        if (lane == 0) {
            shared.bests[warp] = best;
        }
        __syncthreads();
        return largest_of_warp(lane < AEGIS_CLUSTER_WARPS ? shared.bests[lane] : 0);
    }

    static __device__ __forceinline__ packet rank_of(float value, uint32_t row)
    {
        return ::rank(value, row);
    }

    __device__ __forceinline__ float begin_element(uint32_t token, uint32_t column) const
    {
        if (p.first > 0) {
            return p.crossing_in[column];
        }
        const uint32_t bytes = element<TYPE>::bytes, even = column & ~1u;
        const uint8_t *row = (const uint8_t *)p.tokens + (size_t)token * p.width * bytes;
        if (p.tokens == nullptr) { /* the head's row: aegis_clusters_word, and the slots of rows */
            const uint32_t blocks = p.clusters.clusters * AEGIS_CLUSTER_BLOCKS;
            const uint32_t block = token / AEGIS_CLUSTER_WARPS % blocks;
            const uint32_t index = token / AEGIS_CLUSTER_WARPS / blocks;
            const uint32_t unit = column / (32 * E);
            const size_t warps = (size_t)block * AEGIS_CLUSTER_WARPS + token % AEGIS_CLUSTER_WARPS;
            const size_t units =
                warps * aegis_clusters_head_units(&p.clusters) + (size_t)index * K + unit;
            row = (const uint8_t *)p.head_weights + units * AEGIS_DECODE_UNIT_BYTES -
                  unit * (32 * E) * bytes;
        }
        const float2 pair = load_pair<TYPE>(row, even);
        float value = column % 2 == 0 ? pair.x : pair.y;
        if (p.positions != nullptr) {
            const float2 more = load_pair<TYPE>(
                (const uint8_t *)p.positions + (size_t)position * p.width * bytes, even);
            value += column % 2 == 0 ? more.x : more.y;
        }
        return value;
    }

  public:
    __device__ __forceinline__ cluster_step(const aegis_decode_step &parameters,
                                            cluster_memory<R> &memory,
                                            cluster_reader<TYPE, R, F0, F1> &weights)
        : attention(parameters, memory), reader(weights)
    {
    }

    __device__ __forceinline__ void run(uint32_t at, uint32_t token)
    {
        epoch = *(volatile uint32_t *)&p.control->epoch;
        position = at;
        own = thread < part ? begin_element(token, rank * part + thread) : 0;
#pragma unroll 1
        for (uint32_t layer = p.first; layer < p.last; layer++) {
            run_layer(layer);
        }
        packet best = 0;
        if (p.head != 0) {
            best = run_head();
        } else {
            leave_crossing();
        }
        end_step(p, epoch, position, warp, lane, best);
    }
};

#endif
