/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PROMPT_CUH
#define AEGIS_TRANSFORMER_CUDA_PROMPT_CUH

/* The kernels of a block of a prompt, beside its products. Each row is a token; rows behind the
 * block's last token are computed as the others, from zeros, and go nowhere. */

#include "backend/transformer/cuda/prompt_attention.cuh"
#include "backend/transformer/cuda/prompt_unpack.cuh"

/* ---- the begin ---- */

struct begin_arguments {
    aegis_prompt_state *state;
    float *residual;
    uint32_t rows;
};

/* What find_position of step.cuh asks of one token, of all; the step that follows says what is
 * wrong, and where: so it is sent there. */
__device__ __forceinline__ int64_t prompt_token(const aegis_decode_step &p, int64_t at)
{
    return p.measured != 0 ? 0 : at < p.prompt_count ? p.prompt[at] : p.cursor[1];
}

__device__ __forceinline__ aegis_prompt_state find_block(const aegis_decode_step &p,
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
    const aegis_prompt_state state = find_block(p, a.rows, &first_bad);
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

/* ---- the residual stream ---- */

struct norm_arguments {
    const aegis_prompt_state *state;
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
    const aegis_prompt_state *state;
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
