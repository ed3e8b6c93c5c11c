/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_PRIMITIVES_CUH
#define AEGIS_TRANSFORMER_CUDA_PRIMITIVES_CUH

/* What the step's kernel is made of: asynchronous copies, packets between blocks, arithmetic. */

#include "backend/transformer/cuda/step.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define ALL_LANES 0xffffffffu
/* A wait of many seconds: what never comes would hold the device for ever. */
#define MOST_POLLS (1u << 25)

typedef unsigned long long packet;

template <int TYPE> struct element {
    static constexpr uint32_t bytes = 2, chunk = 8; /* chunk: in 16 bytes */
};
template <> struct element<AEGIS_DECODE_F32> {
    static constexpr uint32_t bytes = 4, chunk = 4;
};

/* ---- asynchronous copies ---- */

__device__ __forceinline__ void copy_chunk(uint32_t to, const void *from, uint64_t policy)
{
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(to),
                 "l"(from), "l"(policy)
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

/* Until a group is complete behind which `later` others were committed. */
__device__ __forceinline__ void await_before(uint32_t later)
{
    if (later >= 6) {
        await<6>();
    } else if (later >= 3) {
        await<3>();
    } else {
        await<0>();
    }
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

/* 16 bytes of weights times their inputs. */
template <int TYPE>
__device__ __forceinline__ void multiply_chunk(uint4 w, const float *x, float &sum, float &other)
{
    if constexpr (TYPE == AEGIS_DECODE_F32) {
        add_product(make_float2(__uint_as_float(w.x), __uint_as_float(w.y)), x[0], x[1], sum,
                    other);
        add_product(make_float2(__uint_as_float(w.z), __uint_as_float(w.w)), x[2], x[3], sum,
                    other);
    } else {
        add_product(widen<TYPE>(w.x), x[0], x[1], sum, other);
        add_product(widen<TYPE>(w.y), x[2], x[3], sum, other);
        add_product(widen<TYPE>(w.z), x[4], x[5], sum, other);
        add_product(widen<TYPE>(w.w), x[6], x[7], sum, other);
    }
}

/* tanh(y) = 1 - 2 / (exp(2 y) + 1), without the branches of the library's. */
__device__ __forceinline__ float gelu_tanh(float x)
{
    const float y = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return x - __fdividef(x, __expf(2.0f * y) + 1.0f);
}

__device__ __forceinline__ float gelu_erf(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
}

__device__ __forceinline__ float silu(float x)
{
    return __fdividef(x, 1.0f + __expf(-x));
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
        value += __shfl_xor_sync(ALL_LANES, value, other);
    }
    return value;
}

__device__ __forceinline__ float largest_of_warp(float value)
{
#pragma unroll
    for (int other = 16; other > 0; other /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, other));
    }
    return value;
}

__device__ __forceinline__ packet larger(packet a, packet b)
{
    return a > b ? a : b;
}

__device__ __forceinline__ packet largest_of_warp(packet value)
{
#pragma unroll
    for (int other = 16; other > 0; other /= 2) {
        value = larger(value, __shfl_xor_sync(ALL_LANES, value, other));
    }
    return value;
}

/* Larger for a larger logit, and for the smaller token of two equal ones; 0: not a number. */
__device__ __forceinline__ packet rank(float logit, uint32_t token)
{
    const float value = logit + 0.0f; /* minus zero is zero */
    const uint32_t bits = __float_as_uint(value);
    const uint32_t ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return value == value && value > -INFINITY ? (packet)ordered << 32 | (0xffffffffu - token) : 0;
}

#endif
