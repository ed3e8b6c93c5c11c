/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_ATTENTION_CUH
#define AEGIS_TRANSFORMER_CUDA_PROMPT_ATTENTION_CUH

/* Attention of a block of a prompt. */

#include "backend/transformer/cuda/prompt_row.cuh"

#define TILE_QUERIES 16u
#define TILE_THREADS 128u               /* of a group */
#define TILE_STRIDE (TILE_QUERIES + 2u) /* of the scores of a key */

/* Keys of a tile, which a group of threads looks at together, and groups. */
static inline __host__ __device__ uint32_t tile_keys(uint32_t head_width)
{
    return head_width <= 128 ? 64 : 32;
}

static inline __host__ __device__ uint32_t tile_groups(uint32_t head_width)
{
    return head_width <= 64 ? 4 : head_width <= 128 ? 2 : 1;
}

static inline __host__ __device__ uint32_t group_floats(uint32_t head_width)
{
    const uint32_t keys = tile_keys(head_width);
    return keys * (head_width + 4) + keys * head_width + keys * TILE_STRIDE + 3 * TILE_QUERIES;
}

static inline __host__ __device__ uint32_t tile_floats(uint32_t head_width)
{
    return TILE_QUERIES * head_width + tile_groups(head_width) * group_floats(head_width);
}

struct attention_arguments {
    const aegis_prompt_state *state;
    const float *queries, *keys; /* keys: of the layer */
    const float *values;
    float *inputs; /* of the product that follows */
    uint32_t rows, heads, kv_heads, head_width, context;
    float factor;
};

/*
 * softmax(q K / sqrt(width)) V of TILE_QUERIES tokens and one head, over all positions up to each.
 * Tiles of KEYS positions go by, GROUPS at once, each to a group of threads with sums of its own
 * until the end. COLUMNS: fours of a head's elements that a thread sums, times two queries.
 */
template <int PARTS, int COLUMNS, int KEYS, int GROUPS> class prompt_tile
{
    static constexpr uint32_t per_thread = KEYS / 16;

    const attention_arguments &a;
    const uint32_t group, thread, width, fours, head, first_row, position, rows;
    float *query, *areas, *key, *value, *scores, *shrinks, *mosts, *weights;
    float4 sum[2][COLUMNS];
    float most, weight; /* of query thread / 8 */

    /* Asynchronously; zeros behind the last position. */
    __device__ __forceinline__ void load(const float *from, float *to, uint32_t stride, uint32_t at)
    {
        const uint32_t rows_each = TILE_THREADS / fours, rest = TILE_THREADS % fours;
        uint32_t one = thread / fours, four = thread % fours;
        while (one < KEYS) {
            const bool is = at + one < position + rows;
            const float *source = is ? from + (size_t)(at + one) * width + 4 * four : from;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                             (uint32_t)__cvta_generic_to_shared(to + one * stride + 4 * four)),
                         "l"(source), "r"(is ? 16 : 0)
                         : "memory");
            one += rows_each;
            four += rest;
            if (four >= fours) {
                four -= fours;
                one++;
            }
        }
    }

    /* Two queries times every sixteenth key. */
    __device__ __forceinline__ void score(uint32_t at)
    {
        const uint32_t q = thread / 16 * 2, k = thread % 16;
        float got[2][per_thread] = {};
#pragma unroll 4
        for (uint32_t f = 0; f < fours; f++) {
            float4 of[2];
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                of[i] = reinterpret_cast<const float4 *>(query + (q + i) * width)[f];
            }
#pragma unroll
            for (uint32_t j = 0; j < per_thread; j++) {
                const float4 is =
                    reinterpret_cast<const float4 *>(key + (k + 16 * j) * (width + 4))[f];
#pragma unroll
                for (uint32_t i = 0; i < 2; i++) {
                    got[i][j] = fmaf(is.x, of[i].x, got[i][j]);
                    got[i][j] = fmaf(is.y, of[i].y, got[i][j]);
                    got[i][j] = fmaf(is.z, of[i].z, got[i][j]);
                    got[i][j] = fmaf(is.w, of[i].w, got[i][j]);
                }
            }
        }
#pragma unroll
        for (uint32_t j = 0; j < per_thread; j++) {
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                const bool seen = at + k + 16 * j <= position + q + i;
                scores[(k + 16 * j) * TILE_STRIDE + q + i] =
                    seen ? got[i][j] * a.factor : -INFINITY;
            }
        }
    }

    /* Scores become factors; eight threads a query. A tile may hold nothing that a query sees. */
    __device__ __forceinline__ void weigh()
    {
        const uint32_t q = thread / 8;
        float largest = most, total = 0;
#pragma unroll
        for (uint32_t k = thread % 8; k < KEYS; k += 8) {
            largest = fmaxf(largest, scores[k * TILE_STRIDE + q]);
        }
#pragma unroll
        for (int other = 4; other > 0; other /= 2) {
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, other));
        }
        const float pivot = largest > -INFINITY ? largest : 0.0f;
#pragma unroll
        for (uint32_t k = thread % 8; k < KEYS; k += 8) {
            const float factor = __expf(scores[k * TILE_STRIDE + q] - pivot);
            scores[k * TILE_STRIDE + q] = factor;
            total += factor;
        }
#pragma unroll
        for (int other = 4; other > 0; other /= 2) {
            total += __shfl_xor_sync(ALL_LANES, total, other);
        }
        const float shrink = __expf(most - pivot);
        weight = weight * shrink + total;
        most = largest;
        if (thread % 8 == 0) {
            shrinks[q] = shrink;
        }
    }

    __device__ __forceinline__ void add_values()
    {
        const uint32_t q = thread / 16 * 2, column = thread % 16;
        const float shrink[2] = {shrinks[q], shrinks[q + 1]};
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
            for (uint32_t c = 0; c < COLUMNS; c++) {
                sum[i][c].x *= shrink[i];
                sum[i][c].y *= shrink[i];
                sum[i][c].z *= shrink[i];
                sum[i][c].w *= shrink[i];
            }
        }
#pragma unroll 4
        for (uint32_t k = 0; k < KEYS; k++) {
            const float2 factor = *reinterpret_cast<const float2 *>(scores + k * TILE_STRIDE + q);
#pragma unroll
            for (uint32_t c = 0; c < COLUMNS; c++) {
                if (column + 16 * c < fours) {
                    const float4 v =
                        reinterpret_cast<const float4 *>(value + k * width)[column + 16 * c];
                    add(sum[0][c], factor.x, v);
                    add(sum[1][c], factor.y, v);
                }
            }
        }
    }

    static __device__ __forceinline__ void add(float4 &to, float factor, const float4 &v)
    {
        to.x = fmaf(factor, v.x, to.x);
        to.y = fmaf(factor, v.y, to.y);
        to.z = fmaf(factor, v.z, to.z);
        to.w = fmaf(factor, v.w, to.w);
    }

    /* Where the group's keys were. */
    __device__ __forceinline__ void leave_sums()
    {
        const uint32_t q = thread / 16 * 2, column = thread % 16;
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
            for (uint32_t c = 0; c < COLUMNS; c++) {
                if (column + 16 * c < fours) {
                    reinterpret_cast<float4 *>(key + (q + i) * width)[column + 16 * c] = sum[i][c];
                }
            }
        }
        if (thread % 8 == 0) {
            mosts[thread / 8] = most;
            weights[thread / 8] = weight;
        }
    }

    /* The groups' sums together, in their order; zeros for rows that are no tokens. */
    __device__ __forceinline__ void join()
    {
        constexpr uint32_t each = TILE_THREADS * GROUPS / TILE_QUERIES;
        const uint32_t q = threadIdx.x / each, row = first_row + q, floats = group_floats(width);
        float largest = -INFINITY, all = 0, factors[GROUPS];
        if (row >= a.rows) {
            return;
        }
#pragma unroll
        for (uint32_t g = 0; g < GROUPS; g++) {
            largest = fmaxf(largest, (mosts - key + areas)[g * floats + q]);
        }
#pragma unroll
        for (uint32_t g = 0; g < GROUPS; g++) {
            factors[g] = __expf((mosts - key + areas)[g * floats + q] - largest);
            all = fmaf(factors[g], (weights - key + areas)[g * floats + q], all);
        }
        for (uint32_t i = threadIdx.x % each; i < width; i += each) {
            float value_of = 0;
#pragma unroll
            for (uint32_t g = 0; g < GROUPS; g++) {
                value_of = fmaf(factors[g], areas[g * floats + q * width + i], value_of);
            }
            put_input<PARTS>(a.inputs, a.rows, a.heads * width, row, head * width + i,
                             q < rows ? __fdividef(value_of, all) : 0.0f);
        }
    }

  public:
    /* The longest rows are computed first. */
    __device__ __forceinline__ prompt_tile(const attention_arguments &arguments, float *memory)
        : a(arguments), group(threadIdx.x / TILE_THREADS), thread(threadIdx.x % TILE_THREADS),
          width(a.head_width), fours(width / 4), head(blockIdx.x),
          first_row((gridDim.y - 1 - blockIdx.y) * TILE_QUERIES),
          position(a.state->position + first_row),
          rows(a.state->count > first_row ? min(a.state->count - first_row, TILE_QUERIES) : 0),
          query(memory), areas(memory + TILE_QUERIES * width),
          key(areas + group * group_floats(width)), value(key + KEYS * (width + 4)),
          scores(value + KEYS * width), shrinks(scores + KEYS * TILE_STRIDE),
          mosts(shrinks + TILE_QUERIES), weights(mosts + TILE_QUERIES), most(-INFINITY), weight(0)
    {
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
#pragma unroll
            for (uint32_t c = 0; c < COLUMNS; c++) {
                sum[i][c] = make_float4(0, 0, 0, 0);
            }
        }
    }

    __device__ __forceinline__ void run()
    {
        const size_t line = (size_t)(head / (a.heads / a.kv_heads)) * a.context * width;
        for (uint32_t i = threadIdx.x; i < TILE_QUERIES * fours; i += TILE_THREADS * GROUPS) {
            const uint32_t one = i / fours, four = i % fours;
            const size_t row = (size_t)(first_row + one) * a.heads + head;
            reinterpret_cast<float4 *>(query + one * width)[four] =
                one < rows ? reinterpret_cast<const float4 *>(a.queries + row * width)[four]
                           : make_float4(0, 0, 0, 0);
        }
        for (uint32_t round = 0; rows > 0 && round < position + rows; round += KEYS * GROUPS) {
            const uint32_t at = round + group * KEYS;
            load(a.keys + line, key, width + 4, at);
            load(a.values + line, value, width, at);
            commit();
            await<0>();
            __syncthreads();
            score(at);
            __syncthreads();
            weigh();
            __syncthreads();
            add_values();
            __syncthreads(); /* before the next keys take the place of these */
        }
        leave_sums();
        __syncthreads();
        join();
    }
};

template <int PARTS, int COLUMNS, int KEYS, int GROUPS>
__global__ void __launch_bounds__(TILE_THREADS *GROUPS, 1) prompt_attention(attention_arguments a)
{
    extern __shared__ __align__(16) float tile_memory[];
    prompt_tile<PARTS, COLUMNS, KEYS, GROUPS> tile(a, tile_memory);
    tile.run();
}

#endif
