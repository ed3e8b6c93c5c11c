/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANES_H
#define AEGIS_TRANSFORMER_LANES_H

/* Sixteen f32 lanes in four NEON registers; lanes_scalar.h says what each operation means. */

#include "backend/transformer/tensor/tensor.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define LANES_SET neon
#define LANES_NAME "neon"
#define TILE_OUTPUTS 2
#define TILE_ROWS 2
#define TILE_VECTORS 1
#define STRIP_VECTORS 1
#define COLUMN_ROWS 4

typedef struct lanes {
    float32x4_t a, b, c, d;
} lanes;

static inline lanes lanes_set(float value)
{
    float32x4_t four = vdupq_n_f32(value);
    return (lanes){four, four, four, four};
}

/* Through bytes: weights lie as the file has them, at any address. */
static inline float32x4_t load_f32(const uint8_t *from)
{
    return vreinterpretq_f32_u8(vld1q_u8(from));
}

static inline lanes lanes_load_f32(const void *from)
{
    const uint8_t *bytes = from;
    return (lanes){load_f32(bytes), load_f32(bytes + 16), load_f32(bytes + 32),
                   load_f32(bytes + 48)};
}

static inline float32x4_t load_f16(const uint8_t *from)
{
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(from)));
}

static inline lanes lanes_load_f16(const void *from)
{
    const uint8_t *bytes = from;
    return (lanes){load_f16(bytes), load_f16(bytes + 8), load_f16(bytes + 16),
                   load_f16(bytes + 24)};
}

static inline float32x4_t load_bf16(const uint8_t *from)
{
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(from)), 16));
}

static inline lanes lanes_load_bf16(const void *from)
{
    const uint8_t *bytes = from;
    return (lanes){load_bf16(bytes), load_bf16(bytes + 8), load_bf16(bytes + 16),
                   load_bf16(bytes + 24)};
}

static inline lanes lanes_load_i8(const void *from)
{
    int8x16_t bytes = vld1q_s8(from);
    int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
    return (lanes){vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                   vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                   vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                   vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))};
}

static inline void lanes_store(float *to, lanes all)
{
    vst1q_f32(to, all.a);
    vst1q_f32(to + 4, all.b);
    vst1q_f32(to + 8, all.c);
    vst1q_f32(to + 12, all.d);
}

static inline void lanes_store_f16(uint16_t *to, lanes all)
{
    vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(all.a)));
    vst1_u16(to + 4, vreinterpret_u16_f16(vcvt_f16_f32(all.b)));
    vst1_u16(to + 8, vreinterpret_u16_f16(vcvt_f16_f32(all.c)));
    vst1_u16(to + 12, vreinterpret_u16_f16(vcvt_f16_f32(all.d)));
}

static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    return (lanes){vfmaq_f32(c.a, a.a, b.a), vfmaq_f32(c.b, a.b, b.b), vfmaq_f32(c.c, a.c, b.c),
                   vfmaq_f32(c.d, a.d, b.d)};
}

static inline float lanes_sum(lanes all)
{
    float32x4_t low = vaddq_f32(all.a, all.c), high = vaddq_f32(all.b, all.d);
    float32x4_t four = vaddq_f32(low, high);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Inlined before the compiler looks for effects: GCC sees none in a function that only prefetches,
 * and drops its calls. */
static inline __attribute__((always_inline)) void lanes_prefetch(const void *from)
{
    __builtin_prefetch(from);
}

/* Into the second cache only: of lines on their way into the first a core keeps fewer than hide the
 * latency of memory. */
static inline __attribute__((always_inline)) void lanes_prefetch_far(const void *from)
{
    __builtin_prefetch(from, 0, 2);
}

#endif
