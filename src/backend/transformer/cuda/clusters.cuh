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
#include "backend/transformer/cuda/clusters.h"
#include "backend/transformer/cuda/job.cuh"

#define CLUSTER_THREADS (AEGIS_CLUSTER_WARPS * 32)
#define CLUSTER_MOST_AHEAD 20 /* products, or rows of the head, that a warp reads ahead */
#define CLUSTER_PASS (AEGIS_CLUSTER_BLOCKS * AEGIS_CLUSTER_WARPS * 4) /* positions at once */

/* What blocks of a cluster send each other. */
enum {
    CHANNEL_STREAM = 0,
    CHANNEL_QKV,
    CHANNEL_ATTENTION,
    CHANNEL_DOWN,
    CHANNELS
};

template <int R> struct cluster_memory {
    static constexpr int part = 32 * R;
    uint64_t full[AEGIS_CLUSTER_WARPS * CLUSTER_MOST_AHEAD], channels[CHANNELS];
    /* written by the cluster */
    float stream[AEGIS_CLUSTER_BLOCKS * part];
    float qkv[3 * AEGIS_CLUSTER_HEAD_WIDTH];
    float attended[AEGIS_CLUSTER_BLOCKS][AEGIS_CLUSTER_HEAD_WIDTH];
    float2 ends[AEGIS_CLUSTER_BLOCKS]; /* largest score, sum of weights */
    float down[AEGIS_CLUSTER_BLOCKS][part];
    /* by this block */
    float gathered[2][4][part];
    float own[AEGIS_CLUSTER_WARPS][AEGIS_CLUSTER_HEAD_WIDTH];
    float2 own_ends[AEGIS_CLUSTER_WARPS];
    float hidden[4 * AEGIS_CLUSTER_WARPS];
    packet bests[AEGIS_CLUSTER_WARPS];
};

/* ---- instructions ---- */

__device__ __forceinline__ uint32_t shared_address(const void *at)
{
    return (uint32_t)__cvta_generic_to_shared(at);
}

__device__ __forceinline__ uint32_t rank_in_cluster()
{
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

__device__ __forceinline__ uint32_t address_at(uint32_t address, uint32_t rank)
{
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

__device__ __forceinline__ void send(uint32_t to, float value, uint32_t barrier)
{
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(to),
        "r"(__float_as_uint(value)), "r"(barrier)
        : "memory");
}

__device__ __forceinline__ void send_two(uint32_t to, float a, float b, uint32_t barrier)
{
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [%0], {%1, %2}, [%3];" ::"r"(
            to),
        "r"(__float_as_uint(a)), "r"(__float_as_uint(b)), "r"(barrier)
        : "memory");
}

__device__ __forceinline__ void barrier_init(uint64_t *barrier, uint32_t count)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count)
                 : "memory");
}

__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ bool barrier_is_past(uint32_t barrier, uint32_t parity)
{
    uint32_t past;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(past)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return past != 0;
}

__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    uint32_t polls = 0;
    while (!barrier_is_past(barrier, parity)) {
        count_poll(polls);
    }
}

__device__ __forceinline__ uint4 load_shared(uint32_t at)
{
    uint4 got;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(got.x), "=r"(got.y), "=r"(got.z), "=r"(got.w)
                 : "r"(at)
                 : "memory");
    return got;
}

/* Of this launch's own writing or a former one's: not through the read-only path. */
__device__ __forceinline__ float4 load_cached(const float *at)
{
    float4 got;
    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(got.x), "=f"(got.y), "=f"(got.z), "=f"(got.w)
                 : "l"(at)
                 : "memory");
    return got;
}

__device__ __forceinline__ void synchronise_cluster()
{
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

/* ---- reading weights ahead ---- */

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

/* ---- computing ---- */

template <int TYPE, int R, int F0, int F1> class cluster_step
{
    static constexpr int E = element<TYPE>::chunk; /* elements in 16 bytes */
    static constexpr int K = 8 * R / E;            /* units of a row */
    static constexpr int O = 8 / E;                /* slots of a head's elements, or a warp's row */
    static constexpr uint32_t part = 32 * R;       /* of the stream */
    static constexpr uint32_t HEAD = AEGIS_CLUSTER_HEAD_WIDTH;

    const aegis_decode_step &p;
    cluster_memory<R> &shared;
    const uint32_t thread, warp, lane, rank, cluster;
    cluster_reader<TYPE, R, F0, F1> &reader;
    uint32_t phases; /* of channels, a bit each */
    uint32_t epoch, position;
    float own;           /* this thread's element of the stream, of the first `part` threads */
    float mean;          /* of the stream, where norms are folded */
    float x[8 * R];      /* the normalised stream: this lane's elements */
    float4 scale[4 * R]; /* of the next norm */

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
        add_lanes<1>(sum, 4);
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

    /* ---- what a cluster exchanges ---- */

    static __device__ __forceinline__ constexpr uint32_t bytes_of(uint32_t channel)
    {
        return channel == CHANNEL_STREAM ? sizeof(cluster_memory<R>::stream)
               : channel == CHANNEL_QKV  ? sizeof(cluster_memory<R>::qkv)
               : channel == CHANNEL_ATTENTION
                   ? sizeof(cluster_memory<R>::attended) + sizeof(cluster_memory<R>::ends)
                   : sizeof(cluster_memory<R>::down);
    }

    template <int CHANNEL> __device__ __forceinline__ void receive()
    {
        const uint32_t barrier = shared_address(&shared.channels[CHANNEL]);
        barrier_wait(barrier, phases >> CHANNEL & 1);
        phases ^= 1u << CHANNEL;
        if (thread == 0) { /* nothing of the next comes before all have read this */
            barrier_expect(barrier, bytes_of(CHANNEL));
        }
    }

    template <int CHANNEL>
    __device__ __forceinline__ void give(const float *to, float value, uint32_t rank_there)
    {
        send(address_at(shared_address(to), rank_there), value,
             address_at(shared_address(&shared.channels[CHANNEL]), rank_there));
    }

    template <int CHANNEL> __device__ __forceinline__ void give_all(const float *to, float value)
    {
#pragma unroll
        for (uint32_t r = 0; r < AEGIS_CLUSTER_BLOCKS; r++) {
            give<CHANNEL>(to, value, r);
        }
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
            give_all<CHANNEL_STREAM>(shared.stream + rank * part + thread, own);
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
        receive<CHANNEL_STREAM>();
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
            receive<CHANNEL_STREAM>();
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
            add_lanes<2>(ends, 16);
            mean = __fmul_rn(ends[0], p.width_inverse); /* the same in every cluster */
            const float variance = fmaf(-mean, mean, ends[1] * p.width_inverse);
            return add_apart<N>(rows) * rsqrtf(fmaxf(variance, 0.0f) + p.epsilon);
        } else {
            normalise();
            multiply<K, N>(weights, x, rows);
            return add_apart<N>(rows);
        }
    }

    /* ---- attention ---- */

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
            give_all<CHANNEL_ATTENTION>(&shared.attended[rank][thread], sum);
        } else {
            const uint32_t to = thread - HEAD;
            send_two(address_at(shared_address(&shared.ends[rank]), to), all, weight,
                     address_at(shared_address(&shared.channels[CHANNEL_ATTENTION]), to));
        }
    }

    /* Eight elements of what the head gives. */
    __device__ __forceinline__ void join(float (&head)[8])
    {
        receive<CHANNEL_ATTENTION>();
        const float2 end = shared.ends[lane % 8];
        float all = fmaxf(end.x, __shfl_xor_sync(ALL_LANES, end.x, 4));
        all = fmaxf(all, __shfl_xor_sync(ALL_LANES, all, 2));
        all = fmaxf(all, __shfl_xor_sync(ALL_LANES, all, 1));
        const float factor = share(end.x, all);
        float weight[1] = {factor * end.y};
        add_lanes<1>(weight, 4);
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
        const float value = multiply_stream<N>(weights) + bias;
        if (i < N) {
            give<CHANNEL_QKV>(shared.qkv + row, value, lane % 8);
        }
        receive<CHANNEL_QKV>();
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
        multiply<O, R>(weights, head, sums);
        add_lanes<R>(sums, 4);
        if (lane % 8 < R) {
            const uint32_t row = (warp * R + lane % 8) * 4 + lane / 8;
            publish(heads_terms() + (size_t)cluster * p.width + rank * part + row,
                    pick<R>(sums, lane % 8), wanted);
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
            const float value = multiply_stream<F>(weights) + bias;
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
        multiply<D, R>(down, hidden, sums);
#pragma unroll
        for (int r = 0; r < R; r++) {
            give<CHANNEL_DOWN>(&shared.down[rank][r * 32 + lane], sums[r], warp);
        }
        if (thread < part) {
            receive<CHANNEL_DOWN>();
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
        : p(parameters), shared(memory), thread(threadIdx.x), warp(threadIdx.x / 32),
          lane(threadIdx.x % 32), rank(rank_in_cluster()),
          cluster(blockIdx.x / AEGIS_CLUSTER_BLOCKS), reader(weights), phases(0)
    {
    }

    /* By one thread, before the cluster meets. */
    static __device__ __forceinline__ void init(cluster_memory<R> &memory)
    {
        for (uint32_t c = 0; c < CHANNELS; c++) {
            barrier_init(&memory.channels[c], 1);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        for (uint32_t c = 0; c < CHANNELS; c++) {
            barrier_expect(shared_address(&memory.channels[c]), bytes_of(c));
        }
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
