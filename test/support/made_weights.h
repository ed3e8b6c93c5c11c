/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_MADE_WEIGHTS_H
#define AEGIS_TEST_MADE_WEIGHTS_H

/* Values and weights for tests of products. */

#include "backend/transformer/tensor/tensor.h"
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

static inline float noise(uint64_t *random)
{
    return (float)(int32_t)(uint32_t)(aegis_random_next(random) >> 32) * 0x1p-31f;
}

static inline void fill(float *values, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = noise(&seed);
    }
}

/* Weights of a type from f32, at an address that is aligned to one byte more than nothing. */
static inline uint8_t *make_weights(aegis_dtype type, const float *values, size_t count)
{
    const size_t element = aegis_dtype_bytes(type);
    uint8_t *raw = malloc(count * element + 1), *to = raw + 1;
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = aegis_float_to_half(values[i]);
        const int8_t byte = (int8_t)(values[i] * 127);
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        const uint16_t upper = (uint16_t)(bits >> 16);
        const void *from = type == AEGIS_DTYPE_F32    ? (const void *)&values[i]
                           : type == AEGIS_DTYPE_F16  ? (const void *)&half
                           : type == AEGIS_DTYPE_BF16 ? (const void *)&upper
                                                      : (const void *)&byte;
        memcpy(to + i * element, from, element);
    }
    return raw;
}

#endif
