/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_CUH
#define AEGIS_TRANSFORMER_CUDA_PROMPT_CUH

/* The kernels of a block of a prompt, beside its products. Each row is a token; rows behind the
 * block's last token are computed as the others, from zeros, and go nowhere. */

#include "backend/transformer/cuda/primitives.cuh"
#include "backend/transformer/cuda/prompt.h"

#define ROW_THREADS 256u

struct prompt_state {
    uint32_t position, count; /* of the block's first token; tokens, 0: nothing to compute */
    int64_t cursor[2];        /* for the step that follows */
};

/* ---- small parts ---- */

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

/* ---- the begin ---- */

struct begin_arguments {
    prompt_state *state;
    float *residual;
    uint32_t rows;
};

/* What find_position of step.cuh asks of one token, of all; the step that follows says what is
 * wrong, and where: so it is sent there. */
__device__ __forceinline__ int64_t prompt_token(const aegis_decode_step &p, int64_t at)
{
    return p.measured != 0 ? 0 : at < p.prompt_count ? p.prompt[at] : p.cursor[1];
}

__device__ __forceinline__ prompt_state find_block(const aegis_decode_step &p,
                                                   uint32_t rows,
                                                   uint32_t *first_bad)
{
    int64_t at = p.cursor[0], token = p.cursor[1];
    uint32_t count = 1;
    if (p.measured != 0) {
        count = rows < p.context ? rows : p.context;
        at = p.context - count;
        token = 0;
    } else if (at < 0 || token < 0 || at >= p.context) {
        return {0, 0, {at, token}};
    } else if (at < p.prompt_count) {
        count = p.prompt_count - at < rows ? (uint32_t)(p.prompt_count - at) : rows;
    }
    for (uint32_t i = threadIdx.x; i < count; i += ROW_THREADS) {
        const int64_t one = prompt_token(p, at + i);
        if (one < 0 || one >= p.vocabulary) {
            atomicMin(first_bad, i);
        }
    }
    __syncthreads();
    if (*first_bad < count) {
        return {0, 0, {at + *first_bad, token}};
    }
    const int64_t last = at + count - 1;
    return {(uint32_t)at, count, {last, prompt_token(p, last)}};
}

template <int TYPE>
__device__ __forceinline__ float2
embedding(const aegis_decode_step &p, uint32_t token, uint32_t position, uint32_t column)
{
    constexpr uint32_t unit_columns = AEGIS_DECODE_UNIT_ROW_BYTES / element<TYPE>::bytes;
    float2 value;
    if (p.tokens != nullptr) {
        value = load_pair<TYPE>(
            (const uint8_t *)p.tokens + (size_t)token * p.width * element<TYPE>::bytes, column);
    } else {
        const aegis_decode_head_tile tile = p.head_tiles[token / AEGIS_DECODE_TILE_ROWS];
        const size_t unit = tile.first + (size_t)(column / unit_columns) * tile.stride;
        value = load_pair<TYPE>((const uint8_t *)p.head_weights + unit * AEGIS_DECODE_UNIT_BYTES +
                                    token % AEGIS_DECODE_TILE_ROWS * AEGIS_DECODE_UNIT_ROW_BYTES,
                                column % unit_columns);
    }
    if (p.positions != nullptr) {
        const float2 more = load_pair<TYPE>((const uint8_t *)p.positions +
                                                (size_t)position * p.width * element<TYPE>::bytes,
                                            column);
        value.x += more.x;
        value.y += more.y;
    }
    return value;
}

/* A row a block. */
template <int TYPE>
__global__ void __launch_bounds__(ROW_THREADS)
    prompt_begin(const __grid_constant__ aegis_decode_step p, begin_arguments a)
{
    __shared__ uint32_t first_bad;
    const uint32_t row = blockIdx.x;
    if (threadIdx.x == 0) {
        first_bad = UINT32_MAX;
    }
    __syncthreads();
    const prompt_state state = find_block(p, a.rows, &first_bad);
    if (row == 0 && threadIdx.x == 0) {
        *a.state = state;
    }
    const bool has = row < state.count;
    const uint32_t position = state.position + row;
    const uint32_t token = has ? (uint32_t)prompt_token(p, position) : 0;
    for (uint32_t pair = threadIdx.x; 2 * pair < p.width; pair += ROW_THREADS) {
        reinterpret_cast<float2 *>(a.residual + (size_t)row * p.width)[pair] =
            has ? embedding<TYPE>(p, token, position, 2 * pair) : make_float2(0, 0);
    }
}

/* ---- weights ---- */

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

/* ---- the residual stream ---- */

struct norm_arguments {
    const prompt_state *state;
    const float *from;
    float *to;            /* may be `from` */
    const float *outputs; /* of a product, to be added; NULL: `from` is only normalised */
    const float *bias;    /* NULL: none */
    const float *norm;    /* NULL: nothing follows */
    float *inputs;        /* of the product that follows */
    float *crossing;      /* the last token's stream; NULL: goes on */
    uint32_t rows, width, llama;
    float epsilon, width_inverse;
};

/* A row a block; `row_memory` has a row's floats. */
template <int PARTS> __global__ void __launch_bounds__(ROW_THREADS) prompt_norm(norm_arguments a)
{
    extern __shared__ float row_memory[];
    __shared__ float sums[ROW_THREADS / 32];
    const uint32_t row = blockIdx.x;
    const float *from = a.from + (size_t)row * a.width;
    float sum = 0, squares = 0;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < a.width; i += ROW_THREADS) {
        float value = from[i];
        if (a.outputs != nullptr) {
            value += get_output<PARTS>(a.outputs, a.rows, a.width, row, i) +
                     (a.bias != nullptr ? a.bias[i] : 0.0f);
            a.to[(size_t)row * a.width + i] = value;
        }
        row_memory[i] = value;
        sum += value;
    }
    const float mean = a.llama != 0 ? 0.0f : sum_of_block(sum, sums) * a.width_inverse;
    if (a.crossing != nullptr) {
        for (uint32_t i = threadIdx.x; i < a.width && row + 1 == a.state->count; i += ROW_THREADS) {
            a.crossing[i] = row_memory[i];
        }
        if (threadIdx.x == 0 && row + 1 == a.state->count) {
            a.crossing[a.width] = mean;
        }
        return;
    }
    if (a.norm == nullptr) {
        return;
    }
    for (uint32_t i = threadIdx.x; i < a.width; i += ROW_THREADS) {
        const float value = row_memory[i] - mean;
        squares = fmaf(value, value, squares);
    }
    const float factor = rsqrtf(sum_of_block(squares, sums) * a.width_inverse + a.epsilon);
    for (uint32_t i = threadIdx.x; i < a.width; i += ROW_THREADS) {
        const float *of = a.norm + i / 2 * 4 + i % 2;
        put_input<PARTS>(a.inputs, a.rows, a.width, row, i,
                         fmaf((row_memory[i] - mean) * factor, of[0], of[2]));
    }
}

/* ---- queries, keys and values ---- */

struct qkv_arguments {
    const prompt_state *state;
    const float *outputs, *bias; /* bias NULL: none */
    const float *frequencies;    /* NULL: nothing is rotated */
    float *queries, *cache;      /* cache: of the layer */
    uint32_t rows, heads, kv_heads, head_width, context;
};

/* A row a block. */
template <int PARTS> __global__ void __launch_bounds__(ROW_THREADS) prompt_qkv(qkv_arguments a)
{
    const uint32_t row = blockIdx.x, half = a.head_width / 2;
    const uint32_t heads = a.heads + 2 * a.kv_heads, stride = heads * a.head_width;
    if (row >= a.state->count) {
        return;
    }
    const uint32_t position = a.state->position + row;
    for (uint32_t i = threadIdx.x; i < heads * half; i += ROW_THREADS) {
        const uint32_t head = i / half, pair = i % half, at = head * a.head_width + pair;
        float x = get_output<PARTS>(a.outputs, a.rows, stride, row, at);
        float y = get_output<PARTS>(a.outputs, a.rows, stride, row, at + half);
        if (a.bias != nullptr) {
            x += a.bias[at];
            y += a.bias[at + half];
        }
        if (a.frequencies != nullptr && head < a.heads + a.kv_heads) {
            float sine, cosine;
            sincosf((float)position * a.frequencies[pair], &sine, &cosine);
            const float turned = x * cosine - y * sine;
            y = y * cosine + x * sine;
            x = turned;
        }
        float *to = head < a.heads ? a.queries + ((size_t)row * a.heads + head) * a.head_width
                                   : a.cache + ((size_t)(head - a.heads) * a.context + position) *
                                                   a.head_width;
        to[pair] = x;
        to[pair + half] = y;
    }
}

/* ---- attention ---- */

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
    const prompt_state *state;
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

/* ---- feed-forward ---- */

struct activation_arguments {
    const float *outputs, *bias; /* bias NULL: none */
    float *inputs;               /* of the product that follows */
    uint32_t rows, feed_forward, llama, gelu_erf;
};

template <int PARTS>
__global__ void __launch_bounds__(ROW_THREADS) prompt_activation(activation_arguments a)
{
    const uint32_t row = blockIdx.y, i = blockIdx.x * ROW_THREADS + threadIdx.x;
    if (i >= a.feed_forward) {
        return;
    }
    float value;
    if (a.llama != 0) {
        const uint32_t stride = 2 * a.feed_forward;
        value = silu(get_output<PARTS>(a.outputs, a.rows, stride, row, 2 * i)) *
                get_output<PARTS>(a.outputs, a.rows, stride, row, 2 * i + 1);
    } else {
        value = get_output<PARTS>(a.outputs, a.rows, a.feed_forward, row, i) +
                (a.bias != nullptr ? a.bias[i] : 0.0f);
        value = a.gelu_erf != 0 ? gelu_erf(value) : gelu_tanh(value);
    }
    put_input<PARTS>(a.inputs, a.rows, a.feed_forward, row, i, value);
}

#endif
