/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANES_H
#define AEGIS_TRANSFORMER_LANES_H

/* Sixteen f32 lanes in one AVX-512 register; lanes_scalar.h says what each operation means. */

#include "backend/transformer/tensor/tensor.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

#define LANES_SET avx512
#define LANES_NAME "avx512"
#define TILE_OUTPUTS 4
#define TILE_ROWS 4
#define TILE_VECTORS 4
#define STRIP_VECTORS 4
#define COLUMN_ROWS 6

typedef __m512 lanes;

static inline lanes lanes_set(float value)
{
    return _mm512_set1_ps(value);
}

static inline lanes lanes_load_f32(const void *from)
{
    return _mm512_loadu_ps(from);
}

static inline lanes lanes_load_f16(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)from));
}

static inline lanes lanes_load_bf16(const void *from)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline lanes lanes_load_i8(const void *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i_u *)from)));
}

static inline void lanes_store(float *to, lanes all)
{
    _mm512_storeu_ps(to, all);
}

static inline void lanes_store_f16(uint16_t *to, lanes all)
{
    _mm256_storeu_si256((__m256i_u *)to, _mm512_cvtps_ph(all, _MM_FROUND_TO_NEAREST_INT));
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline float lanes_sum(lanes all)
{
    __m256 low = _mm512_castps512_ps256(all);
    __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(all), 1));
    __m256 eight = _mm256_add_ps(low, high);
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
