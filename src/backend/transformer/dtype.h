/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_DTYPE_H
#define AEGIS_TRANSFORMER_DTYPE_H

/* Element types of weights. */

#include <stddef.h>

typedef enum aegis_dtype {
    AEGIS_DTYPE_F32 = 0,
    AEGIS_DTYPE_F16,
    AEGIS_DTYPE_BF16,
    AEGIS_DTYPE_I8,   /* value = integer * scale of its output feature */
    AEGIS_DTYPE_OTHER /* legal in a SafeTensors file, but nothing that is computed with here */
} aegis_dtype;

/* Bytes of one element; 0 for OTHER. */
static inline size_t aegis_dtype_bytes(aegis_dtype dtype)
{
    switch (dtype) {
    case AEGIS_DTYPE_F32:
        return 4;
    case AEGIS_DTYPE_F16:
    case AEGIS_DTYPE_BF16:
        return 2;
    case AEGIS_DTYPE_I8:
        return 1;
    case AEGIS_DTYPE_OTHER:
        break;
    }
    return 0;
}

/* "f32", "f16", "bf16", "i8", "other". Static. */
static inline const char *aegis_dtype_name(aegis_dtype dtype)
{
    switch (dtype) {
    case AEGIS_DTYPE_F32:
        return "f32";
    case AEGIS_DTYPE_F16:
        return "f16";
    case AEGIS_DTYPE_BF16:
        return "bf16";
    case AEGIS_DTYPE_I8:
        return "i8";
    case AEGIS_DTYPE_OTHER:
        break;
    }
    return "other";
}

#endif
