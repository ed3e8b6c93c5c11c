/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANES_H
#define AEGIS_TRANSFORMER_LANES_H

/* Sixteen f32 lanes in two AVX2 registers; lanes_scalar.h says what each operation means. */

#include "backend/transformer/tensor/tensor.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define LANES_SET avx2
#define LANES_NAME "avx2"
#define TILE_OUTPUTS 2
#define TILE_ROWS 2
#define TILE_VECTORS 2
#define STRIP_VECTORS 1
#define COLUMN_ROWS 6

typedef struct lanes {
    __m256 low, high;
} lanes;

static inline lanes lanes_set(float value)
{
    return (lanes){_mm256_set1_ps(value), _mm256_set1_ps(value)};
}

static inline lanes lanes_load_f32(const void *from)
{
    const float *values = from;
    return (lanes){_mm256_loadu_ps(values), _mm256_loadu_ps(values + 8)};
}

static inline lanes lanes_load_f16(const void *from)
{
    const __m128i_u *halves = from;
    return (lanes){_mm256_cvtph_ps(_mm_loadu_si128(halves)),
                   _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
}

static inline __m256 widen_bf16(__m128i bits)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

static inline lanes lanes_load_bf16(const void *from)
{
    const __m128i_u *halves = from;
    return (lanes){widen_bf16(_mm_loadu_si128(halves)), widen_bf16(_mm_loadu_si128(halves + 1))};
}

static inline lanes lanes_load_i8(const void *from)
{
    const char *bytes = from;
    __m128i low = _mm_loadu_si64(bytes), high = _mm_loadu_si64(bytes + 8);
    return (lanes){_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(low)),
                   _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high))};
}

static inline void lanes_store(float *to, lanes all)
{
    _mm256_storeu_ps(to, all.low);
    _mm256_storeu_ps(to + 8, all.high);
}

static inline void lanes_store_f16(uint16_t *to, lanes all)
{
    _mm_storeu_si128((__m128i_u *)to, _mm256_cvtps_ph(all.low, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i_u *)(to + 8), _mm256_cvtps_ph(all.high, _MM_FROUND_TO_NEAREST_INT));
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

static inline float lanes_sum(lanes all)
{
    __m256 eight = _mm256_add_ps(all.low, all.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Inlined before the compiler looks for effects: GCC sees none in a function that only prefetches,
 * and drops its calls. */
static inline __attribute__((always_inline)) void lanes_prefetch(const void *from)
{
    _mm_prefetch((const char *)from, _MM_HINT_T0);
}

/* Into the second cache only: of lines on their way into the first a core keeps fewer than hide the
 * latency of memory. */
static inline __attribute__((always_inline)) void lanes_prefetch_far(const void *from)
{
    _mm_prefetch((const char *)from, _MM_HINT_T1);
}

#endif
