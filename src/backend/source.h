/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_SOURCE_H
#define AEGIS_BACKEND_SOURCE_H

/* What fills an input: .npy files, random values, constants. */

#include "base/base.h"

#include <aegisrt/backend.h>

/* A .npy file's header, checked against its size. */
typedef struct aegis_npy {
    aegis_element element;
    int rank;
    int64_t shape[AEGIS_MAX_RANK];
    const unsigned char *data; /* within the bytes that were parsed */
    uint64_t data_bytes;
} aegis_npy;

/* PARSE for anything that is not a little-endian C-order array of versions 1 to 3 whose size is
 * exactly what its header says. `name` is for the message. */
aegis_status aegis_npy_parse(
    const void *bytes, size_t size, const char *name, aegis_npy *ret_npy, aegis_error *err);

/* Elements of a shape; false when a dimension is negative or the product overflows. */
bool aegis_shape_elements(const int64_t *shape, int rank, uint64_t *ret_elements);
/* "[1, 3, 480, 640]", negative ones as "?". Returns `buffer`. */
const char *aegis_shape_text(const int64_t *shape, int rank, char *buffer, size_t size);

/* Fills `data` (host memory) for `info`. The same seed and input give the same values on every
 * machine. CONFIG when a constant does not fit the element or a file has another dtype or shape. */
aegis_status aegis_source_fill(const aegis_source *source,
                               const aegis_tensor_info *info,
                               uint64_t seed,
                               const aegis_allocator *allocator,
                               void *data,
                               aegis_error *err);

#endif
