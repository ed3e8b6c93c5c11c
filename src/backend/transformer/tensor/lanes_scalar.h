/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANES_H
#define AEGIS_TRANSFORMER_LANES_H

/* Sixteen f32 lanes in plain C; the meaning of the operations in lanes_*.h. */

#include "backend/transformer/tensor/tensor.h"

#include <math.h>
#include <string.h>

#define LANES_SET scalar
#define LANES_NAME "scalar"
#define TILE_OUTPUTS 1
#define TILE_ROWS 1
#define TILE_VECTORS 1
#define STRIP_VECTORS 1
#define COLUMN_ROWS 1

typedef struct lanes {
    float at[16];
} lanes;

static inline lanes lanes_set(float value)
{
    lanes all;
    for (int i = 0; i < 16; i++) {
        all.at[i] = value;
    }
    return all;
}

static inline lanes lanes_load_f32(const void *from)
{
    lanes all;
    memcpy(all.at, from, sizeof all.at);
    return all;
}

static inline lanes lanes_load_f16(const void *from)
{
    uint16_t bits[16];
    lanes all;
    memcpy(bits, from, sizeof bits);
    for (int i = 0; i < 16; i++) {
        all.at[i] = aegis_half_to_float(bits[i]);
    }
    return all;
}

static inline lanes lanes_load_bf16(const void *from)
{
    uint16_t bits[16];
    lanes all;
    memcpy(bits, from, sizeof bits);
    for (int i = 0; i < 16; i++) {
        all.at[i] = aegis_bfloat_to_float(bits[i]);
    }
    return all;
}

static inline lanes lanes_load_i8(const void *from)
{
    const int8_t *values = from;
    lanes all;
    for (int i = 0; i < 16; i++) {
        all.at[i] = (float)values[i];
    }
    return all;
}

static inline void lanes_store(float *to, lanes all)
{
    memcpy(to, all.at, sizeof all.at);
}

static inline void lanes_store_f16(uint16_t *to, lanes all)
{
    for (int i = 0; i < 16; i++) {
        to[i] = aegis_float_to_half(all.at[i]);
    }
}

/* a * b + c, rounded once */
static inline lanes lanes_fma(lanes a, lanes b, lanes c)
{
    for (int i = 0; i < 16; i++) {
        c.at[i] = fmaf(a.at[i], b.at[i], c.at[i]);
    }
    return c;
}

/* ((l0 + l8) + (l4 + l12)) + ...: halves are added until one lane is left. */
static inline float lanes_sum(lanes all)
{
    for (int width = 8; width > 0; width /= 2) {
        for (int i = 0; i < width; i++) {
            all.at[i] += all.at[i + width];
        }
    }
    return all.at[0];
}

static inline void lanes_prefetch(const void *from)
{
    (void)from;
}

static inline void lanes_prefetch_far(const void *from)
{
    (void)from;
}

#endif
