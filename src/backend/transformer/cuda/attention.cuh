/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_ATTENTION_CUH
#define AEGIS_TRANSFORMER_CUDA_ATTENTION_CUH

/* softmax(q K / sqrt(width)) V of one head over some positions, by one block. Positions go by in
 * chunks; sums are rescaled when a larger score comes. */

#include "backend/transformer/cuda/primitives.cuh"

#define SPLIT_POSITIONS 64u /* a head is divided among blocks when it has more */
#define KEY_FLOATS 4096u    /* keys of a chunk of positions in shared memory; values likewise */
#define MOST_CHUNK 64u
#define SUM_GROUPS 32u
#define NOT_READ UINT32_MAX /* nothing was read ahead */
#define JOINED 4u           /* splits whose packets are looked at together */

/* Floats that a block's part of the attention takes, for heads of `width`. */
static inline __host__ __device__ uint32_t attention_floats(uint32_t width)
{
    return 3 * width + 2 * KEY_FLOATS + MOST_CHUNK + SUM_GROUPS * width;
}

/* A block's part: positions [begin, end) of one head. */
struct attention_part {
    uint32_t head, split;
};

template <int WARPS> class attention
{
    static constexpr uint32_t threads = WARPS * 32;

    const aegis_decode_step &p;
    const uint32_t thread, warp, lane;
    const float *cosines, *sines;
    float *query, *near_keys, *near_values, *scores, *sums; /* key and value behind the query */
    uint32_t position, used;                                /* splits in use */
    attention_part own;                                     /* the first part of this block */

    /* Query, key and value of the step for one head, rotated if the model does so. */
    __device__ __forceinline__ void
    fetch(const uint64_t *qkv, uint32_t head, uint32_t kv, uint32_t wanted)
    {
        const uint32_t width = p.head_width, pairs = width / 2;
#pragma unroll 1
        for (uint32_t i = thread; i < 3 * pairs; i += threads) {
            const uint32_t kind = (i >= pairs) + (i >= 2 * pairs);
            const uint32_t of = kind == 0 ? head : p.heads + (kind - 1) * p.kv_heads + kv;
            reinterpret_cast<float2 *>(query)[i] =
                await_two(qkv + of * width + 2 * (i - kind * pairs), wanted);
        }
        __syncthreads();
        if (p.llama != 0) {
#pragma unroll 1
            for (uint32_t i = thread; i < 2 * pairs; i += threads) { /* queries, then keys */
                float *of = i < pairs ? query : query + width;
                const uint32_t one = i < pairs ? i : i - pairs;
                const float a = of[one], b = of[one + pairs];
                of[one] = a * cosines[one] - b * sines[one];
                of[one + pairs] = b * cosines[one] + a * sines[one];
            }
            __syncthreads();
        }
    }

    /* Keys and values of `count` positions, asynchronously. */
    __device__ __forceinline__ void
    load_near(const float *keys, const float *values, uint32_t count)
    {
        const uint32_t to_keys = (uint32_t)__cvta_generic_to_shared(near_keys);
        const uint32_t to_values = (uint32_t)__cvta_generic_to_shared(near_values);
        const uint64_t policy = cache_policy(true);
#pragma unroll 1
        for (uint32_t i = thread * 4; i < count * p.head_width; i += threads * 4) {
            copy_chunk(to_keys + i * 4, keys + i, policy);
            copy_chunk(to_values + i * 4, values + i, policy);
        }
        commit();
    }

    struct span {
        uint32_t begin, end;
    };

    __device__ __forceinline__ span positions_of(uint32_t split) const
    {
        const uint32_t per = used == 1 ? position + 1 : (position + used) / used;
        const uint32_t end = split * per + per;
        return {split * per, end < position + 1 ? end : position + 1};
    }

    /* Of the chunk that begins at `at`: how many positions, and how many of them are in the cache.
     */
    __device__ __forceinline__ uint32_t chunk_at(uint32_t at, uint32_t end, uint32_t &stored) const
    {
        const uint32_t count = end - at < p.attention_chunk ? end - at : p.attention_chunk;
        stored = at + count > position ? position - at : count;
        return count;
    }

    /* The step's own key and value: behind the stored ones, and into the cache. */
    __device__ __forceinline__ void add_own(float *keys, float *values, uint32_t stored, bool keep)
    {
        const uint32_t width = p.head_width;
#pragma unroll 1
        for (uint32_t i = thread; i < width; i += threads) {
            const float key = query[width + i], value = query[2 * width + i];
            near_keys[stored * width + i] = key;
            near_values[stored * width + i] = value;
            if (keep) {
                keys[(size_t)position * width + i] = key;
                values[(size_t)position * width + i] = value;
            }
        }
    }

    /* Eight lanes a position. */
    __device__ __forceinline__ void score(uint32_t count)
    {
        const uint32_t fours = p.head_width / 4;
#pragma unroll 1
        for (uint32_t t = warp * 4; t < count; t += WARPS * 4) {
            const uint32_t mine = t + lane / 8;
            float sum = 0;
            if (mine < count) {
#pragma unroll 2
                for (uint32_t f = lane % 8; f < fours; f += 8) {
                    const float4 k = reinterpret_cast<const float4 *>(near_keys)[mine * fours + f];
                    const float4 q = reinterpret_cast<const float4 *>(query)[f];
                    sum = fmaf(k.x, q.x, fmaf(k.y, q.y, fmaf(k.z, q.z, fmaf(k.w, q.w, sum))));
                }
            }
            sum += __shfl_xor_sync(ALL_LANES, sum, 4);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            if (mine < count && lane % 8 == 0) {
                scores[mine] = sum * p.score_factor;
            }
        }
    }

    __device__ __forceinline__ void attend(const attention_part &part,
                                           uint32_t later,
                                           float *keys,
                                           float *values,
                                           const uint64_t *qkv,
                                           uint64_t *to,
                                           uint32_t wanted)
    {
        const uint32_t width = p.head_width, fours = width / 4, group = p.heads / p.kv_heads;
        const uint32_t begin = positions_of(part.split).begin, end = positions_of(part.split).end;
        const uint32_t chunk = p.attention_chunk, kv = part.head / group;
        const size_t line = (size_t)p.context * width;
        const uint32_t four = thread % fours, place = thread / fours;
        float4 sum = make_float4(0, 0, 0, 0);
        float most = -INFINITY, weight = 0;
        keys += kv * line;
        values += kv * line;
#pragma unroll 1
        for (uint32_t at = begin; at < end; at += chunk) {
            uint32_t stored;
            const uint32_t count = chunk_at(at, end, stored);
            if (later == NOT_READ || at != begin) {
                load_near(keys + (size_t)at * width, values + (size_t)at * width, stored);
                await<0>();
            } else {
                await_before(later);
            }
            if (at == begin) {
                fetch(qkv, part.head, kv, wanted);
            }
            if (stored < count) {
                add_own(keys, values, stored, part.head % group == 0);
            }
            __syncthreads();
            score(count);
            __syncthreads();
            float largest = most, total = 0;
#pragma unroll 1
            for (uint32_t t = lane; t < count; t += 32) {
                largest = fmaxf(largest, scores[t]);
            }
            largest = largest_of_warp(largest);
            const float shrink = __expf(most - largest);
#pragma unroll 1
            for (uint32_t t = lane; t < count; t += 32) {
                total += __expf(scores[t] - largest);
            }
            weight = weight * shrink + sum_of_warp(total);
            most = largest;
            sum = make_float4(sum.x * shrink, sum.y * shrink, sum.z * shrink, sum.w * shrink);
            if (place < p.attention_groups) {
#pragma unroll 2
                for (uint32_t t = place; t < count; t += p.attention_groups) {
                    const float factor = __expf(scores[t] - largest);
                    const float4 v =
                        reinterpret_cast<const float4 *>(near_values)[t * fours + four];
                    sum.x = fmaf(factor, v.x, sum.x);
                    sum.y = fmaf(factor, v.y, sum.y);
                    sum.z = fmaf(factor, v.z, sum.z);
                    sum.w = fmaf(factor, v.w, sum.w);
                }
            }
            if (at + chunk < end) {
                __syncthreads(); /* before the next chunk takes the place of this one */
            }
        }
        if (place < p.attention_groups) {
            reinterpret_cast<float4 *>(sums)[place * fours + four] = sum;
        }
        __syncthreads();
#pragma unroll 1
        for (uint32_t i = thread; i < width; i += threads) {
            float all = 0;
#pragma unroll 8
            for (uint32_t g = 0; g < p.attention_groups; g++) {
                all += sums[g * width + i];
            }
            publish(to + i, used == 1 ? __fdividef(all, weight) : all, wanted);
        }
        if (used > 1 && thread == 0) {
            publish(to + width, most, wanted);
            publish(to + width + 1, weight, wanted);
        }
        __syncthreads();
    }

    /* Elements i and i + 1 of a head that several blocks have computed. */
    __device__ __forceinline__ float2 join(const uint64_t *packets, uint32_t i, uint32_t wanted)
    {
        const uint32_t stride = p.head_width + 2;
        float most = -INFINITY, weight = 0;
        float2 sum = make_float2(0, 0);
#pragma unroll 1
        for (uint32_t first = 0; first < used; first += JOINED) {
            two got[JOINED], ends[JOINED];
            uint32_t polls = 0;
            bool good;
            do {
                good = true;
#pragma unroll
                for (uint32_t s = 0; s < JOINED; s++) {
                    if (first + s < used) {
                        got[s] = look(packets + (first + s) * stride + i);
                        ends[s] = look(packets + (first + s) * stride + p.head_width);
                    }
                }
#pragma unroll
                for (uint32_t s = 0; s < JOINED; s++) {
                    good &= first + s >= used || (is_of(got[s], wanted) && is_of(ends[s], wanted));
                }
                count_poll(polls);
            } while (!good);
#pragma unroll
            for (uint32_t s = 0; s < JOINED; s++) {
                if (first + s < used) {
                    const float2 value = values_of(got[s]), of = values_of(ends[s]);
                    const float largest = fmaxf(most, of.x);
                    const float shrink = __expf(most - largest), factor = __expf(of.x - largest);
                    weight = fmaf(factor, of.y, weight * shrink);
                    sum.x = fmaf(factor, value.x, sum.x * shrink);
                    sum.y = fmaf(factor, value.y, sum.y * shrink);
                    most = largest;
                }
            }
        }
        return make_float2(__fdividef(sum.x, weight), __fdividef(sum.y, weight));
    }

    __device__ __forceinline__ uint32_t packet_of(uint32_t pair) const
    {
        const uint32_t head = 2 * pair / p.head_width;
        return head * p.splits * (p.head_width + 2) + 2 * pair % p.head_width;
    }

  public:
    /* `memory`: attention_floats of it. */
    __device__ __forceinline__ attention(const aegis_decode_step &parameters,
                                         float *memory,
                                         const float *of_cosines,
                                         const float *of_sines)
        : p(parameters), thread(threadIdx.x), warp(threadIdx.x / 32), lane(threadIdx.x % 32),
          cosines(of_cosines), sines(of_sines), query(memory),
          near_keys(memory + 3 * parameters.head_width), near_values(near_keys + KEY_FLOATS),
          scores(near_values + KEY_FLOATS), sums(scores + MOST_CHUNK)
    {
    }

    /* Divisions take long: what they give is the same in every layer. */
    __device__ __forceinline__ void begin(uint32_t at)
    {
        const uint32_t wanted = (at + SPLIT_POSITIONS) / SPLIT_POSITIONS;
        position = at;
        used = wanted < p.splits ? wanted : p.splits;
        own = {blockIdx.x / used, blockIdx.x % used};
    }

    /* The first chunk of this block's first part, long before it is needed: it becomes there with
     * the group of copies that is committed here. */
    __device__ __forceinline__ void read_ahead(uint32_t layer)
    {
        if (blockIdx.x < p.heads * used) {
            const size_t line = (size_t)p.context * p.head_width;
            const uint32_t kv = own.head / (p.heads / p.kv_heads);
            const float *keys = p.cache + (size_t)(2 * layer * p.kv_heads + kv) * line;
            const span of = positions_of(own.split);
            uint32_t stored;
            (void)chunk_at(of.begin, of.end, stored);
            keys += (size_t)of.begin * p.head_width;
            load_near(keys, keys + p.kv_heads * line, stored);
        }
    }

    /* This block's parts of all heads. `later`: groups that were committed since read_ahead. */
    __device__ __forceinline__ void
    run(uint32_t layer, uint64_t *packets, uint32_t wanted, uint32_t later)
    {
        const size_t half = (size_t)p.kv_heads * p.context * p.head_width;
        float *keys = p.cache + 2 * layer * half;
        attention_part part = own;
#pragma unroll 1
        for (uint32_t unit = blockIdx.x; unit < p.heads * used; unit += gridDim.x) {
            if (unit != blockIdx.x) {
                part = {unit / used, unit % used};
            }
            attend(part, unit == blockIdx.x ? later : NOT_READ, keys, keys + half,
                   packets + p.packets.results[AEGIS_DECODE_QKV],
                   packets + p.packets.attention +
                       (size_t)(part.head * p.splits + part.split) * (p.head_width + 2),
                   wanted);
        }
    }

    /* x = the results of all heads. `first`: packet_of(thread), which is the same in every layer.
     */
    __device__ __forceinline__ void
    gather(const uint64_t *packets, uint32_t first, float *x, uint32_t wanted)
    {
#pragma unroll 1
        for (uint32_t pair = thread; pair < p.heads * p.head_width / 2; pair += threads) {
            const uint32_t at = pair == thread ? first : packet_of(pair);
            if (used == 1) {
                reinterpret_cast<float2 *>(x)[pair] =
                    await_two(packets + p.packets.attention + at, wanted);
            } else {
                const uint32_t i = 2 * pair % p.head_width;
                reinterpret_cast<float2 *>(x)[pair] =
                    join(packets + p.packets.attention + at - i, i, wanted);
            }
        }
    }

    __device__ __forceinline__ uint32_t first_packet() const
    {
        return packet_of(thread);
    }
};

#endif
