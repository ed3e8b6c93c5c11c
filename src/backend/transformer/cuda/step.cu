/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step as one kernel. A token through a small model is a chain of some sixty products that each
 * need the whole result of the one before: launched one by one, launches and cold pipelines would
 * take several times as long as the bytes. So all blocks stay, and three things happen at once:
 *
 *  - Each warp reads its weights ahead into shared memory, `depth` units at any time, also across
 *    the borders of products and layers: weights depend on nothing. A lane copies exactly the 16
 *    bytes that it multiplies itself, so nobody waits for anybody.
 *  - Results travel as packets of a value and an epoch in one 8-byte word. Who needs a value polls
 *    its packet: no barrier, no fence, one trip through L2. Packets of a layer lie in one of two
 *    halves in turns. Each block computes at least one tile of AEGIS_DECODE_UP in each layer, so a
 *    block that writes into a half has seen a result of every other block that came after that
 *    block's last read of the half's former contents.
 *  - Every block keeps the whole residual stream in registers and normalises it itself.
 *
 * Sums: a row's units are summed by `parts` warps, each over rising units with two partial sums per
 * lane; then lanes, then parts. All orders are fixed: equal inputs give equal bits, wherever the
 * weights came from.
 *
 * All blocks must run at once: a cooperative launch sees to that. A wait that lasts unreasonably long traps.
 */
#include "backend/transformer/cuda/layout.h"
#include "backend/transformer/cuda/step.h"

extern "C" {
#include "device/cuda/cuda_error.h"
}

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define SPLIT_POSITIONS 64u /* a head is divided among blocks when it has more */
#define KEY_FLOATS 4096u    /* keys of a chunk of positions in shared memory; values likewise */
#define MOST_CHUNK 64u
#define SUM_GROUPS 32u
#define JOINED 4u /* splits whose packets are looked at together */
#define MOST_POLLS (1u << 26)

namespace
{

typedef unsigned long long packet;

template <int TYPE> struct element {
    static constexpr uint32_t bytes = 2, chunk = 8;
};
template <> struct element<AEGIS_DECODE_F32> {
    static constexpr uint32_t bytes = 4, chunk = 4;
};

/* ---- asynchronous copies of weights ---- */

__device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return (uint32_t)__cvta_generic_to_shared(pointer);
}

__device__ __forceinline__ void copy_chunk(uint32_t to, const void *from, uint64_t policy)
{
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "l"(policy)
                 : "memory");
}

__device__ __forceinline__ void commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int LEFT> __device__ __forceinline__ void await()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

__device__ __forceinline__ uint64_t cache_policy(bool keep)
{
    uint64_t policy;
    if (keep) {
        asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
    } else {
        asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    }
    return policy;
}

/* ---- packets ---- */

__device__ __forceinline__ void publish(uint64_t *at, float value, uint32_t epoch)
{
    const packet both = (packet)epoch << 32 | __float_as_uint(value);
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(both) : "memory");
}

struct two {
    packet a, b;
};

__device__ __forceinline__ two look(const uint64_t *at)
{
    two got;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(got.a), "=l"(got.b)
                 : "l"(at)
                 : "memory");
    return got;
}

__device__ __forceinline__ bool is_of(const two &got, uint32_t epoch)
{
    return (uint32_t)(got.a >> 32) == epoch && (uint32_t)(got.b >> 32) == epoch;
}

__device__ __forceinline__ float2 values_of(const two &got)
{
    return make_float2(__uint_as_float((uint32_t)got.a), __uint_as_float((uint32_t)got.b));
}

/* What never comes would hold the device for ever. */
__device__ __forceinline__ void count_poll(uint32_t &polls)
{
    if (++polls > MOST_POLLS) {
        __trap();
    }
}

__device__ __forceinline__ float2 await_two(const uint64_t *at, uint32_t epoch)
{
    uint32_t polls = 0;
    two got = look(at);
    while (!is_of(got, epoch)) {
        count_poll(polls);
        got = look(at);
    }
    return values_of(got);
}

/* ---- small loads that must be on their way before they are needed ---- */

__device__ __forceinline__ float4 load_four(const float *at)
{
    float4 got;
    asm volatile("ld.global.nc.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(got.x), "=f"(got.y), "=f"(got.z), "=f"(got.w)
                 : "l"(at));
    return got;
}

__device__ __forceinline__ float load_one(const float *at)
{
    float got;
    asm volatile("ld.global.nc.f32 %0, [%1];" : "=f"(got) : "l"(at));
    return got;
}

/* ---- arithmetic ---- */

template <int TYPE> __device__ __forceinline__ float2 widen(uint32_t bits);
template <> __device__ __forceinline__ float2 widen<AEGIS_DECODE_F16>(uint32_t bits)
{
    return __half22float2(*reinterpret_cast<const __half2 *>(&bits));
}
template <> __device__ __forceinline__ float2 widen<AEGIS_DECODE_BF16>(uint32_t bits)
{
    return make_float2(__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000u));
}

__device__ __forceinline__ void add_product(float2 w, float x, float y, float &sum, float &other)
{
    sum = fmaf(w.x, x, sum);
    other = fmaf(w.y, y, other);
}

/* 16 bytes of weights times their inputs, which lie at x. */
template <int TYPE>
__device__ __forceinline__ void multiply_chunk(uint4 w, const float *x, float &sum, float &other)
{
    const float4 a = *reinterpret_cast<const float4 *>(x);
    if constexpr (TYPE == AEGIS_DECODE_F32) {
        add_product(make_float2(__uint_as_float(w.x), __uint_as_float(w.y)), a.x, a.y, sum, other);
        add_product(make_float2(__uint_as_float(w.z), __uint_as_float(w.w)), a.z, a.w, sum, other);
    } else {
        const float4 b = *reinterpret_cast<const float4 *>(x + 4);
        add_product(widen<TYPE>(w.x), a.x, a.y, sum, other);
        add_product(widen<TYPE>(w.y), a.z, a.w, sum, other);
        add_product(widen<TYPE>(w.z), b.x, b.y, sum, other);
        add_product(widen<TYPE>(w.w), b.z, b.w, sum, other);
    }
}

__device__ __forceinline__ float gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)));
}

__device__ __forceinline__ float gelu_erf(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
}

__device__ __forceinline__ float silu(float x)
{
    return x / (1.0f + expf(-x));
}

/* Two elements of a stored row; `at` is even. */
template <int TYPE> __device__ __forceinline__ float2 load_pair(const void *row, uint32_t at)
{
    if constexpr (TYPE == AEGIS_DECODE_F32) {
        return *reinterpret_cast<const float2 *>((const float *)row + at);
    } else {
        return widen<TYPE>(*reinterpret_cast<const uint32_t *>((const uint16_t *)row + at));
    }
}

__device__ __forceinline__ float sum_of_warp(float value)
{
#pragma unroll
    for (int other = 16; other > 0; other /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, other);
    }
    return value;
}

__device__ __forceinline__ float largest_of_warp(float value)
{
#pragma unroll
    for (int other = 16; other > 0; other /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, other));
    }
    return value;
}

__device__ __forceinline__ packet larger(packet a, packet b)
{
    return a > b ? a : b;
}

/* Larger for a larger logit, and for the smaller token of two equal ones; 0: not a number. */
__device__ __forceinline__ packet rank(float logit, uint32_t token)
{
    const float value = logit + 0.0f; /* minus zero is zero */
    const uint32_t bits = __float_as_uint(value);
    const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return value == value && value > -INFINITY ? (packet)ordered << 32 | (0xffffffffu - token) : 0;
}

/* ---- one block's part of a step ---- */

/* PASSES: pairs of the residual stream that a thread keeps. */
template <int TYPE, int WARPS, int DEPTH, int PASSES> class step
{
    static constexpr uint32_t threads = WARPS * 32;
    static constexpr uint32_t unit_columns = AEGIS_DECODE_UNIT_ROW_BYTES / element<TYPE>::bytes;

    const aegis_decode_step &p;
    const uint32_t thread, warp, lane, row_in_tile, quarter;

    /* shared memory */
    uint4 *ring;         /* this lane's: one entry every 32 */
    float *x;            /* inputs of a product; the attention's arrays lie here too */
    float *partial;      /* [2][warps][8] */
    float2 *statistics;  /* [warps] */
    packet *bests;       /* [warps] */
    uint4 *plans;        /* [product of a layer][warps]: round 0 */
    float *cosines, *sines;

    /* weights that are read ahead */
    const uint8_t *from;
    uint64_t policy;
    uint32_t left, stretch; /* units of the present stretch; its layer */
    uint32_t slot;

    uint32_t half; /* of `partial` */
    uint32_t epoch, position;
    float2 residual[PASSES];
    float pivot;

  public:
    __device__ __forceinline__ step(const aegis_decode_step &parameters, unsigned char *memory)
        : p(parameters), thread(threadIdx.x), warp(threadIdx.x / 32), lane(threadIdx.x % 32),
          row_in_tile(lane / 4), quarter(lane % 4), slot(0), half(0), pivot(0)
    {
        ring = reinterpret_cast<uint4 *>(memory) + (size_t)warp * DEPTH * 32 + lane;
        float *rest = reinterpret_cast<float *>(memory + (size_t)WARPS * DEPTH * AEGIS_DECODE_UNIT_BYTES);
        partial = rest;
        bests = reinterpret_cast<packet *>(partial + 2 * WARPS * 8);
        statistics = reinterpret_cast<float2 *>(bests + WARPS);
        cosines = reinterpret_cast<float *>(statistics + WARPS);
        sines = cosines + AEGIS_DECODE_MAX_HEAD_WIDTH / 2;
        plans = reinterpret_cast<uint4 *>(sines + AEGIS_DECODE_MAX_HEAD_WIDTH / 2);
        x = reinterpret_cast<float *>(plans + AEGIS_DECODE_LAYER_PRODUCTS * WARPS);
    }

    /* ---- weights ---- */

    __device__ __forceinline__ const aegis_decode_lane &own() const
    {
        return p.lanes[blockIdx.x * WARPS + warp];
    }

    /* To the next stretch that has units for this warp; none: nothing is read any more. */
    __device__ __forceinline__ void next_stretch()
    {
        while (left == 0 && stretch < p.last + p.head) {
            const bool head = stretch == p.last;
            const aegis_decode_lane lane_of = own();
            left = head ? lane_of.head_units : lane_of.layer_units;
            from = head ? (const uint8_t *)p.head_weights + (size_t)lane_of.head_first * AEGIS_DECODE_UNIT_BYTES
                        : (const uint8_t *)p.layer_weights + (size_t)(stretch - p.first) * p.layer_bytes +
                              (size_t)lane_of.layer_first * AEGIS_DECODE_UNIT_BYTES;
            from += lane * 16;
            stretch++;
        }
    }

    __device__ __forceinline__ void read_ahead(uint32_t into)
    {
        if (left > 0) {
            copy_chunk(shared_address(ring + into * 32), from, policy);
            from += AEGIS_DECODE_UNIT_BYTES;
            if (--left == 0) {
                next_stretch();
            }
        }
        commit();
    }

    __device__ __forceinline__ void start_reading()
    {
        policy = cache_policy(p.keep_in_cache != 0);
        left = 0;
        stretch = p.first;
        next_stretch();
        for (uint32_t i = 0; i < DEPTH; i++) {
            read_ahead(i);
        }
    }

    __device__ __forceinline__ uint32_t behind(uint32_t which) const
    {
        return which + 1 == DEPTH ? 0 : which + 1;
    }

    /* This lane's part of `units` units of a row whose inputs begin at `inputs`. */
    __device__ __forceinline__ float multiply_units(uint32_t units, const float *inputs)
    {
        float a = 0, b = 0, c = 0, d = 0;
        inputs += quarter * element<TYPE>::chunk;
        for (; units >= 2; units -= 2) {
            await<DEPTH - 2>();
            const uint32_t one = slot, other = behind(slot);
            const uint4 first = ring[one * 32], second = ring[other * 32];
            multiply_chunk<TYPE>(first, inputs, a, b);
            multiply_chunk<TYPE>(second, inputs + unit_columns, c, d);
            read_ahead(one);
            read_ahead(other);
            inputs += 2 * unit_columns;
            slot = behind(other);
        }
        if (units > 0) {
            await<DEPTH - 1>();
            multiply_chunk<TYPE>(ring[slot * 32], inputs, a, b);
            read_ahead(slot);
            slot = behind(slot);
        }
        return (a + b) + (c + d);
    }

    /* Of a row, over its four lanes. */
    __device__ __forceinline__ float sum_of_row(float value)
    {
        value += __shfl_xor_sync(0xffffffffu, value, 1);
        return value + __shfl_xor_sync(0xffffffffu, value, 2);
    }

    /* ---- products ---- */

    __device__ __forceinline__ aegis_decode_share share_of(uint32_t product) const
    {
        return p.shares[product * p.blocks + blockIdx.x];
    }

    /* Divisions take longer than a small product: those of the first round are done once. */
    __device__ __forceinline__ void make_plans()
    {
        if (lane < AEGIS_DECODE_LAYER_PRODUCTS) {
            const aegis_decode_share share = share_of(lane);
            aegis_decode_item item = {0, 1, 0, 0, 0};
            if (share.count > 0) {
                item = aegis_decode_item_of(share.count, p.units[lane], 0, warp, WARPS);
            }
            plans[lane * WARPS + warp] =
                make_uint4(share.first * AEGIS_DECODE_TILE_ROWS | (share.count > WARPS ? 0x80000000u : 0),
                           item.tiles << 16 | item.parts, item.first_unit, item.units);
        }
        __syncwarp();
    }

    /*
     * y = W x for this block's rows, plus bias; `finish(row, value)` gets each. In pairs: the even
     * row's thread gets both, `finish(row, even, odd)`.
     */
    template <bool PAIRS, class F>
    __device__ __forceinline__ void multiply(uint32_t product, const float *bias, F finish)
    {
        const uint4 plan = plans[product * WARPS + warp];
        const uint32_t first_row = plan.x & 0x7fffffffu;
        if (plan.y >> 16 == 0) {
            return;
        }
        multiply_round<PAIRS>(first_row, plan.y >> 16, plan.y & 0xffffu, plan.z, plan.w, bias, finish);
        if (plan.x >> 31 != 0) {
            const aegis_decode_share share = share_of(product);
            for (uint32_t round = 1; round * WARPS < share.count; round++) {
                const aegis_decode_item item =
                    aegis_decode_item_of(share.count, p.units[product], round, warp, WARPS);
                multiply_round<PAIRS>(first_row + round * WARPS * AEGIS_DECODE_TILE_ROWS, item.tiles,
                                      item.parts, item.first_unit, item.units, bias, finish);
            }
        }
    }

    template <bool PAIRS, class F>
    __device__ __forceinline__ void multiply_round(uint32_t first_row,
                                                   uint32_t tiles,
                                                   uint32_t parts,
                                                   uint32_t first_unit,
                                                   uint32_t units,
                                                   const float *bias,
                                                   F finish)
    {
        const bool mine = thread < tiles * AEGIS_DECODE_TILE_ROWS;
        const float added = bias != nullptr && mine ? load_one(bias + first_row + thread) : 0.0f;
        float *to = partial + half * WARPS * 8;
        if (units > 0) {
            const float value = sum_of_row(multiply_units(units, x + first_unit * unit_columns));
            if (quarter == 0) {
                to[warp * 8 + row_in_tile] = value;
            }
        }
        __syncthreads();
        half ^= 1;
        if (warp * 4 < tiles) { /* whole warps: they exchange values */
            float value = 0;
            if (mine) {
                const float *of = to + (thread / 8) * parts * 8 + thread % 8;
                for (uint32_t i = 0; i < parts; i++) {
                    value += of[i * 8];
                }
                value += added;
            }
            const float odd = PAIRS ? __shfl_xor_sync(0xffffffffu, value, 1) : 0.0f;
            if (mine && (!PAIRS || thread % 2 == 0)) {
                finish(first_row + thread, value, odd);
            }
        }
    }

    /* ---- the residual stream ---- */

    __device__ __forceinline__ bool has_pair(uint32_t pass) const
    {
        return 2 * (pass * threads + thread) < p.width;
    }

    __device__ __forceinline__ uint32_t pair_of(uint32_t pass) const
    {
        return pass * threads + thread;
    }

    /* Zeros behind the last input of a product, where its last unit goes on. */
    __device__ __forceinline__ void pad(uint32_t columns, uint32_t product)
    {
        for (uint32_t i = columns + thread; i < p.units[product] * unit_columns; i += threads) {
            x[i] = 0;
        }
    }

    __device__ __forceinline__ void add_delta(const uint64_t *packets, uint32_t wanted)
    {
        two got[PASSES];
        uint32_t polls = 0;
        bool good;
        do {
            good = true;
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                if (has_pair(i)) {
                    got[i] = look(packets + 2 * pair_of(i));
                }
            }
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                good &= !has_pair(i) || is_of(got[i], wanted);
            }
            count_poll(polls);
        } while (!good);
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                const float2 delta = values_of(got[i]);
                residual[i].x += delta.x;
                residual[i].y += delta.y;
            }
        }
    }

    /*
     * x = norm(residual), after the packets have been added if there are any. Mean and variance from
     * one pass over values less the mean of the norm before, which is near.
     */
    __device__ __forceinline__ void
    normalise(const float *norm, const uint64_t *packets, uint32_t wanted, uint32_t product)
    {
        float4 scale[PASSES];
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                scale[i] = load_four(norm + 4 * pair_of(i));
            }
        }
        if (packets != nullptr) {
            add_delta(packets, wanted);
        }
        float sum = 0, squares = 0;
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                const float a = residual[i].x - pivot, b = residual[i].y - pivot;
                sum += a + b;
                squares = fmaf(a, a, fmaf(b, b, squares));
            }
        }
        sum = sum_of_warp(sum);
        squares = sum_of_warp(squares);
        if (lane == 0) {
            statistics[warp] = make_float2(sum, squares);
        }
        __syncthreads();
        const float2 of = lane < WARPS ? statistics[lane] : make_float2(0, 0);
        sum = sum_of_warp(of.x) / (float)p.width;
        squares = sum_of_warp(of.y) / (float)p.width;
        float mean = 0;
        if (p.llama == 0) {
            mean = pivot + sum;
            squares -= sum * sum;
            pivot = mean;
        }
        const float factor = 1.0f / sqrtf(squares + p.epsilon);
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            if (has_pair(i)) {
                reinterpret_cast<float2 *>(x)[pair_of(i)] =
                    make_float2(fmaf((residual[i].x - mean) * factor, scale[i].x, scale[i].z),
                                fmaf((residual[i].y - mean) * factor, scale[i].y, scale[i].w));
            }
        }
        pad(p.width, product);
        __syncthreads();
    }

    /* x = the values of `count` packets. */
    __device__ __forceinline__ void gather(const uint64_t *packets, uint32_t count, uint32_t wanted, uint32_t product)
    {
        for (uint32_t begin = 0; 2 * begin < count; begin += PASSES * threads) {
            two got[PASSES];
            uint32_t polls = 0;
            bool good;
            do {
                good = true;
#pragma unroll
                for (uint32_t i = 0; i < PASSES; i++) {
                    const uint32_t pair = begin + pair_of(i);
                    if (2 * pair < count) {
                        got[i] = look(packets + 2 * pair);
                    }
                }
#pragma unroll
                for (uint32_t i = 0; i < PASSES; i++) {
                    good &= 2 * (begin + pair_of(i)) >= count || is_of(got[i], wanted);
                }
                count_poll(polls);
            } while (!good);
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                const uint32_t pair = begin + pair_of(i);
                if (2 * pair < count) {
                    reinterpret_cast<float2 *>(x)[pair] = values_of(got[i]);
                }
            }
        }
        pad(count, product);
        __syncthreads();
    }

    /* ---- attention ---- */

    __device__ __forceinline__ uint32_t splits_in_use() const
    {
        const uint32_t wanted = (position + SPLIT_POSITIONS) / SPLIT_POSITIONS;
        return wanted < p.splits ? wanted : p.splits;
    }

    /* Positions [begin, end) of one head: unnormalised values, largest score and sum; or, when no
     * other block has a part of the head, its result. */
    __device__ __forceinline__ void
    attend(uint32_t layer, uint32_t head, uint32_t split, uint32_t used, uint64_t *packets, uint32_t wanted)
    {
        const uint32_t width = p.head_width, fours = width / 4, pairs = width / 2;
        const uint32_t group = p.heads / p.kv_heads, kv = head / group;
        const uint32_t per = (position + used) / used; /* (position + 1) / used, rounded up */
        const uint32_t begin = split * per;
        const uint32_t end = begin + per < position + 1 ? begin + per : position + 1;
        const uint32_t chunk = KEY_FLOATS / width < MOST_CHUNK ? KEY_FLOATS / width : MOST_CHUNK;
        const uint64_t *own = packets + p.packets.qkv;
        const size_t line = (size_t)p.context * width;
        float *keys = p.cache + ((size_t)(2 * layer) * p.kv_heads + kv) * line;
        float *values = p.cache + ((size_t)(2 * layer + 1) * p.kv_heads + kv) * line;
        float *query = x, *key = query + width, *value = key + width;
        float *near_keys = value + width, *near_values = near_keys + KEY_FLOATS;
        float *scores = near_values + KEY_FLOATS, *sums = scores + MOST_CHUNK;
        const uint32_t groups = threads / fours < SUM_GROUPS ? threads / fours : SUM_GROUPS;
        const uint32_t four = thread % fours, place = thread / fours;
        float4 sum = make_float4(0, 0, 0, 0);
        float most = -INFINITY, weight = 0;

        for (uint32_t at = begin; at < end; at += chunk) {
            const uint32_t count = end - at < chunk ? end - at : chunk;
            const uint32_t stored = at + count > position ? position - at : count;
            for (uint32_t i = thread; i < stored * fours; i += threads) {
                reinterpret_cast<float4 *>(near_keys)[i] =
                    __ldcg(reinterpret_cast<const float4 *>(keys + (size_t)at * width) + i);
                reinterpret_cast<float4 *>(near_values)[i] =
                    __ldcg(reinterpret_cast<const float4 *>(values + (size_t)at * width) + i);
            }
            if (at == begin) {
                fetch_query(own, head, kv, pairs, wanted, query);
            }
            if (stored < count) { /* the step's own key and value */
                for (uint32_t i = thread; i < width; i += threads) {
                    near_keys[stored * width + i] = key[i];
                    near_values[stored * width + i] = value[i];
                    if (head % group == 0) {
                        keys[(size_t)position * width + i] = key[i];
                        values[(size_t)position * width + i] = value[i];
                    }
                }
            }
            __syncthreads();
            for (uint32_t t = warp * 4; t < count; t += WARPS * 4) { /* eight lanes a position */
                const uint32_t mine = t + lane / 8;
                float score = 0;
                if (mine < count) {
                    for (uint32_t f = lane % 8; f < fours; f += 8) {
                        const float4 k = reinterpret_cast<const float4 *>(near_keys)[mine * fours + f];
                        const float4 q = reinterpret_cast<const float4 *>(query)[f];
                        score = fmaf(k.x, q.x, fmaf(k.y, q.y, fmaf(k.z, q.z, fmaf(k.w, q.w, score))));
                    }
                }
                score += __shfl_xor_sync(0xffffffffu, score, 4);
                score += __shfl_xor_sync(0xffffffffu, score, 2);
                score += __shfl_xor_sync(0xffffffffu, score, 1);
                if (mine < count && lane % 8 == 0) {
                    scores[mine] = score * rsqrtf((float)width);
                }
            }
            __syncthreads();
            float largest = most, total = 0;
            for (uint32_t t = lane; t < count; t += 32) {
                largest = fmaxf(largest, scores[t]);
            }
            largest = largest_of_warp(largest);
            for (uint32_t t = lane; t < count; t += 32) {
                total += expf(scores[t] - largest);
            }
            total = sum_of_warp(total);
            const float shrink = expf(most - largest);
            weight = weight * shrink + total;
            most = largest;
            sum = make_float4(sum.x * shrink, sum.y * shrink, sum.z * shrink, sum.w * shrink);
            if (place < groups) {
                for (uint32_t t = place; t < count; t += groups) {
                    const float factor = expf(scores[t] - largest);
                    const float4 v = reinterpret_cast<const float4 *>(near_values)[t * fours + four];
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
        if (place < groups) {
            reinterpret_cast<float4 *>(sums)[place * fours + four] = sum;
        }
        __syncthreads();
        uint64_t *to = packets + p.packets.attention + (size_t)(head * p.splits + split) * (width + 2);
        for (uint32_t i = thread; i < width; i += threads) {
            float all = 0;
            for (uint32_t g = 0; g < groups; g++) {
                all += sums[g * width + i];
            }
            publish(to + i, used == 1 ? all / weight : all, wanted);
        }
        if (used > 1 && thread == 0) {
            publish(to + width, most, wanted);
            publish(to + width + 1, weight, wanted);
        }
        __syncthreads();
    }

    /* Query, key and value of the step for one head, rotated if the model does so. */
    __device__ __forceinline__ void fetch_query(
        const uint64_t *qkv, uint32_t head, uint32_t kv, uint32_t pairs, uint32_t wanted, float *query)
    {
        const uint32_t width = p.head_width;
        for (uint32_t i = thread; i < 3 * pairs; i += threads) {
            const uint32_t kind = i < pairs ? 0 : i < 2 * pairs ? 1 : 2;
            const uint32_t row = kind == 0 ? head * width
                                           : (p.heads + (kind - 1) * p.kv_heads + kv) * width;
            const uint32_t pair = i - kind * pairs;
            reinterpret_cast<float2 *>(query)[i] = await_two(qkv + row + 2 * pair, wanted);
        }
        __syncthreads();
        if (p.llama != 0) {
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

    __device__ __forceinline__ void attend_all(uint32_t layer, uint64_t *packets, uint32_t wanted)
    {
        const uint32_t used = splits_in_use();
        for (uint32_t unit = blockIdx.x; unit < p.heads * used; unit += gridDim.x) {
            attend(layer, unit / used, unit % used, used, packets, wanted);
        }
    }

    /* x = the results of all heads. */
    __device__ __forceinline__ void gather_heads(const uint64_t *packets, uint32_t wanted)
    {
        const uint32_t used = splits_in_use(), width = p.head_width;
        const uint32_t pairs = p.heads * width / 2;
        for (uint32_t pair = thread; pair < pairs; pair += threads) {
            const uint32_t head = 2 * pair / width, i = 2 * pair % width;
            const uint64_t *from_head =
                packets + p.packets.attention + (size_t)head * p.splits * (width + 2);
            float2 value;
            if (used == 1) {
                value = await_two(from_head + i, wanted);
            } else {
                value = join_splits(from_head, i, used, wanted);
            }
            reinterpret_cast<float2 *>(x)[pair] = value;
        }
        pad(p.heads * width, AEGIS_DECODE_OUTPUT);
        __syncthreads();
    }

    __device__ __forceinline__ float2
    join_splits(const uint64_t *packets, uint32_t i, uint32_t used, uint32_t wanted)
    {
        const uint32_t stride = p.head_width + 2;
        float most = -INFINITY, weight = 0;
        float2 sum = make_float2(0, 0);
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
                    const float shrink = expf(most - largest), factor = expf(of.x - largest);
                    weight = fmaf(factor, of.y, weight * shrink);
                    sum.x = fmaf(factor, value.x, sum.x * shrink);
                    sum.y = fmaf(factor, value.y, sum.y * shrink);
                    most = largest;
                }
            }
        }
        return make_float2(sum.x / weight, sum.y / weight);
    }

    /* ---- blocks of the model ---- */

    __device__ __forceinline__ void run_layer(uint32_t layer)
    {
        uint64_t *packets = p.exchange + (size_t)(layer % 2) * p.packets.stride;
        const uint64_t *former = p.exchange + (size_t)((layer + 1) % 2) * p.packets.stride;
        const float *vectors = p.vectors + (size_t)layer * p.at.stride;
        const bool biases = p.biases != 0;
        const uint32_t wanted = epoch + layer + 1;
        normalise(vectors + p.at.attention_norm,
                  layer > p.first ? former + p.packets.down : nullptr, wanted - 1, AEGIS_DECODE_QKV);
        multiply<false>(AEGIS_DECODE_QKV, biases ? vectors + p.at.qkv_bias : nullptr,
                        [&](uint32_t row, float value, float) {
                            if (row < (p.heads + 2 * p.kv_heads) * p.head_width) {
                                publish(packets + p.packets.qkv + row, value, wanted);
                            }
                        });
        attend_all(layer, packets, wanted);
        gather_heads(packets, wanted);
        multiply<false>(AEGIS_DECODE_OUTPUT, biases ? vectors + p.at.output_bias : nullptr,
                        [&](uint32_t row, float value, float) {
                            if (row < p.width) {
                                publish(packets + p.packets.output + row, value, wanted);
                            }
                        });
        normalise(vectors + p.at.feed_forward_norm, packets + p.packets.output, wanted,
                  AEGIS_DECODE_UP);
        if (p.llama != 0) {
            multiply<true>(AEGIS_DECODE_UP, nullptr, [&](uint32_t row, float gate, float up) {
                if (row < 2 * p.feed_forward) {
                    publish(packets + p.packets.up + row / 2, silu(gate) * up, wanted);
                }
            });
        } else {
            multiply<false>(AEGIS_DECODE_UP, biases ? vectors + p.at.up_bias : nullptr,
                            [&](uint32_t row, float value, float) {
                                if (row < p.feed_forward) {
                                    publish(packets + p.packets.up + row,
                                            p.gelu_erf != 0 ? gelu_erf(value) : gelu_tanh(value),
                                            wanted);
                                }
                            });
        }
        gather(packets + p.packets.up, p.feed_forward, wanted, AEGIS_DECODE_DOWN);
        multiply<false>(AEGIS_DECODE_DOWN, biases ? vectors + p.at.down_bias : nullptr,
                        [&](uint32_t row, float value, float) {
                            if (row < p.width) {
                                publish(packets + p.packets.down + row, value, wanted);
                            }
                        });
    }

    __device__ __forceinline__ const uint64_t *last_packets() const
    {
        return p.last > p.first
                   ? p.exchange + (size_t)((p.last - 1) % 2) * p.packets.stride + p.packets.down
                   : nullptr;
    }

    __device__ __forceinline__ void leave_crossing()
    {
        if (last_packets() != nullptr) {
            add_delta(last_packets(), epoch + p.last);
        }
        if (blockIdx.x == 0) {
#pragma unroll
            for (uint32_t i = 0; i < PASSES; i++) {
                if (has_pair(i)) {
                    reinterpret_cast<float2 *>(p.crossing_out)[pair_of(i)] = residual[i];
                }
            }
            if (thread == 0) {
                p.crossing_out[p.width] = pivot;
            }
        }
    }

    /* Logits, and the best of this block's. */
    __device__ __forceinline__ packet run_head()
    {
        normalise(p.final_norm, last_packets(), epoch + p.last, AEGIS_DECODE_HEAD);
        const aegis_decode_share share = share_of(AEGIS_DECODE_HEAD);
        packet best = 0;
        for (uint32_t tile = warp; tile < share.count; tile += WARPS) {
            const float value = sum_of_row(multiply_units(p.units[AEGIS_DECODE_HEAD], x));
            const uint32_t row = (share.first + tile) * AEGIS_DECODE_TILE_ROWS + row_in_tile;
            if (quarter == 0 && row < p.vocabulary) {
                p.logits[row] = value;
                best = larger(best, rank(value, row));
            }
        }
#pragma unroll
        for (int other = 16; other > 0; other /= 2) {
            best = larger(best, __shfl_xor_sync(0xffffffffu, best, other));
        }
        if (lane == 0) {
            bests[warp] = best;
        }
        __syncthreads();
        for (uint32_t w = 0; w < WARPS; w++) {
            best = larger(best, bests[w]);
        }
        return best;
    }

    /* The block that is done last ends the step. */
    __device__ __forceinline__ void end(packet best)
    {
        if (warp != 0) {
            return;
        }
        uint32_t ticket = 0;
        if (lane == 0) {
            if (p.head != 0) {
                p.best[blockIdx.x] = best;
            }
            __threadfence();
            ticket = atomicAdd(&p.control->ticket, 1u);
            __threadfence();
        }
        if (__shfl_sync(0xffffffffu, ticket, 0) != gridDim.x - 1) {
            return;
        }
        for (uint32_t b = lane; p.head != 0 && b < gridDim.x; b += 32) {
            best = larger(best, __ldcg((const packet *)p.best + b));
        }
#pragma unroll
        for (int other = 16; other > 0; other /= 2) {
            best = larger(best, __shfl_xor_sync(0xffffffffu, best, other));
        }
        if (lane == 0) {
            p.control->ticket = 0;
            p.control->epoch = epoch + p.layers + 1;
            if (p.head != 0) {
                finish(best != 0 ? 0xffffffffu - (uint32_t)best : 0);
            }
        }
    }

    __device__ __forceinline__ bool is_end(uint32_t token) const
    {
        bool is = false;
        for (uint32_t e = 0; e < p.end_count; e++) {
            is |= p.ends[e] == token;
        }
        return is;
    }

    /* The token behind the position, and where the next job begins. */
    __device__ __forceinline__ void finish(uint32_t chosen)
    {
        const uint32_t next = position + 1;
        const bool given = next < p.prompt_count;
        const int64_t token = given ? p.prompt[next] : (int64_t)chosen;
        *p.token = token;
        if (p.measured != 0) { /* such jobs belong to no sequence */
            return;
        }
        const bool ends = next == p.context || (!given && is_end(chosen));
        p.next_cursor[0] = !ends ? next : p.stop_at_end != 0 ? p.context : 0;
        p.next_cursor[1] = ends && p.stop_at_end == 0 ? 0 : token;
    }

    /* ---- the begin ---- */

    __device__ __forceinline__ void refuse(uint32_t kind, int64_t at, int64_t token)
    {
        if (blockIdx.x == 0 && thread == 0) {
            p.fault->position = at;
            p.fault->token = token;
            p.fault->kind = kind;
            *p.token = -1;
        }
    }

    /* Where the job stands; false when there is nothing to compute. All blocks answer alike. */
    __device__ __forceinline__ bool find_position(uint32_t *ret_token)
    {
        int64_t at = p.cursor[0], token = p.cursor[1];
        if (p.measured != 0) {
            at = p.context - 1;
            token = 0;
        }
        if (at < 0 || token < 0) {
            refuse(AEGIS_DECODE_BAD_CURSOR, at, token);
            return false;
        }
        if (at >= p.context) {
            if (p.head != 0 && blockIdx.x == 0 && thread == 0) {
                *p.token = -1;
                p.next_cursor[0] = at;
                p.next_cursor[1] = token;
            }
            return false;
        }
        token = at < p.prompt_count ? p.prompt[at] : token;
        if (token < 0 || token >= p.vocabulary) {
            refuse(AEGIS_DECODE_BAD_TOKEN, at, token);
            return false;
        }
        position = (uint32_t)at;
        *ret_token = (uint32_t)token;
        return true;
    }

    /* Two elements of the token's row of the head's tiles. */
    __device__ __forceinline__ float2 pair_in_head(uint32_t token, uint32_t column) const
    {
        const size_t unit = (size_t)p.head_tiles[token / AEGIS_DECODE_TILE_ROWS] + column / unit_columns;
        const uint8_t *row = (const uint8_t *)p.head_weights + unit * AEGIS_DECODE_UNIT_BYTES +
                             token % AEGIS_DECODE_TILE_ROWS * AEGIS_DECODE_UNIT_ROW_BYTES;
        return load_pair<TYPE>(row, column % unit_columns);
    }

    __device__ __forceinline__ void begin_residual(uint32_t token)
    {
#pragma unroll
        for (uint32_t i = 0; i < PASSES; i++) {
            residual[i] = make_float2(0, 0);
            if (!has_pair(i)) {
                continue;
            }
            const uint32_t column = 2 * pair_of(i);
            if (p.first > 0) {
                residual[i] = reinterpret_cast<const float2 *>(p.crossing_in)[pair_of(i)];
                continue;
            }
            const size_t row = (size_t)token * p.width, place = (size_t)position * p.width;
            residual[i] = p.tokens != nullptr
                              ? load_pair<TYPE>((const uint8_t *)p.tokens + row * element<TYPE>::bytes, column)
                              : pair_in_head(token, column);
            if (p.positions != nullptr) {
                const float2 more = load_pair<TYPE>(
                    (const uint8_t *)p.positions + place * element<TYPE>::bytes, column);
                residual[i].x += more.x;
                residual[i].y += more.y;
            }
        }
        if (p.first > 0) {
            pivot = p.crossing_in[p.width];
        }
    }

    __device__ __forceinline__ void set_angles()
    {
        for (uint32_t i = thread; p.llama != 0 && i < p.head_width / 2; i += threads) {
            const float angle = (float)position * p.frequencies[i];
            sincosf(angle, &sines[i], &cosines[i]);
        }
    }

    __device__ __forceinline__ void run()
    {
        uint32_t token = 0;
        start_reading();
        make_plans();
        epoch = *(volatile uint32_t *)&p.control->epoch;
        if (!find_position(&token)) {
            await<0>();
            return;
        }
        begin_residual(token);
        set_angles();
        for (uint32_t layer = p.first; layer < p.last; layer++) {
            run_layer(layer);
        }
        packet best = 0;
        if (p.head != 0) {
            best = run_head();
        } else {
            leave_crossing();
        }
        await<0>();
        end(best);
    }
};

template <int TYPE, int WARPS, int DEPTH, int PASSES>
__global__ void __launch_bounds__(WARPS * 32, 1) decode_step(const __grid_constant__ aegis_decode_step p)
{
    extern __shared__ __align__(128) unsigned char memory[];
    step<TYPE, WARPS, DEPTH, PASSES> own(p, memory);
    own.run();
}

typedef void (*kernel)(aegis_decode_step);

struct compiled {
    aegis_decode_form form;
    kernel narrow[3], wide[3]; /* by type; narrow: one pair a thread */
};

#define KERNELS(warps, depth, passes)                                                              \
    {                                                                                              \
        decode_step<AEGIS_DECODE_F32, warps, depth, passes>,                                       \
            decode_step<AEGIS_DECODE_F16, warps, depth, passes>,                                   \
            decode_step<AEGIS_DECODE_BF16, warps, depth, passes>                                   \
    }
#define FORM(warps, depth, most)                                                                   \
    {                                                                                              \
        {warps, depth}, KERNELS(warps, depth, 1), KERNELS(warps, depth, most)                      \
    }

/* The last one is for devices with less shared memory. */
const compiled FORMS[] = {FORM(16, 16, 4), FORM(12, 24, 6), FORM(16, 8, 4)};

kernel kernel_of(const aegis_decode_step *step, uint32_t type, uint32_t form)
{
    const compiled *one = &FORMS[form];
    return step->width <= 2 * 32 * one->form.warps ? one->narrow[type] : one->wide[type];
}

#define HERE AEGIS_HERE("transformer.cuda")

} // namespace

extern "C" aegis_decode_form aegis_decode_form_at(uint32_t index)
{
    const aegis_decode_form none = {0, 0};
    return index < sizeof FORMS / sizeof *FORMS ? FORMS[index].form : none;
}

/* Inputs of a product, or what attention needs. */
static uint32_t floats_of_inputs(const aegis_decode_step *step)
{
    const uint32_t attention =
        3 * step->head_width + 2 * KEY_FLOATS + MOST_CHUNK + SUM_GROUPS * step->head_width;
    uint32_t most = attention;
    for (uint32_t product = 0; product < 5; product++) {
        const uint32_t inputs = step->units[product] * AEGIS_DECODE_UNIT_ROW_BYTES / 2;
        most = inputs > most ? inputs : most; /* elements of two bytes: never too little */
    }
    return most;
}

extern "C" uint32_t aegis_decode_shared_bytes(const aegis_decode_step *step,
                                              const aegis_decode_form *form)
{
    return form->warps * form->depth * AEGIS_DECODE_UNIT_BYTES +
           form->warps * (2 * 8 * 4 + 8 + 8 + 16 * AEGIS_DECODE_LAYER_PRODUCTS) + AEGIS_DECODE_MAX_HEAD_WIDTH * 4 +
           floats_of_inputs(step) * 4;
}

extern "C" aegis_status aegis_decode_prepare(const aegis_decode_step *step,
                                             uint32_t type,
                                             uint32_t form,
                                             uint32_t *ret_blocks,
                                             aegis_error *err)
{
    const compiled *one = &FORMS[form];
    const uint32_t shared = aegis_decode_shared_bytes(step, &one->form);
    int device = 0, most = 0, cooperative = 0, processors = 0, each = 0;
    aegis_status status = aegis_cuda_check(cudaGetDevice(&device), "cudaGetDevice", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&cooperative, cudaDevAttrCooperativeLaunch, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(
            cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
            "cudaDeviceGetAttribute", HERE, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (shared > (uint32_t)most || cooperative == 0) {
        *ret_blocks = 0;
        return AEGIS_OK;
    }
    const void *function = (const void *)kernel_of(step, type, form);
    status = aegis_cuda_check(
        cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
        "cudaFuncSetAttribute", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(
                                      &each, function, (int)one->form.warps * 32, shared),
                                  "cudaOccupancyMaxActiveBlocksPerMultiprocessor", HERE, err);
    }
    if (status == AEGIS_OK) {
        *ret_blocks = each > 0 ? (uint32_t)processors : 0; /* one a multiprocessor */
    }
    return status;
}

extern "C" aegis_status aegis_decode_launch(const aegis_decode_step *step,
                                            uint32_t type,
                                            uint32_t form,
                                            struct CUstream_st *stream,
                                            aegis_error *err)
{
    const compiled *one = &FORMS[form];
    void *arguments[] = {(void *)step};
    return aegis_cuda_check(
        cudaLaunchCooperativeKernel((const void *)kernel_of(step, type, form), dim3(step->blocks),
                                    dim3(one->form.warps * 32), arguments,
                                    aegis_decode_shared_bytes(step, &one->form), stream),
        "cudaLaunchCooperativeKernel", HERE, err);
}
