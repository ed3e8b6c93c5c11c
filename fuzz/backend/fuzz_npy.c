/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the bytes, the reader answers, and what it accepts lies within them. */
#include "backend/source.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_npy npy;
    aegis_error err;
    uint64_t elements;
    if (aegis_npy_parse(data, size, "fuzz", &npy, &err) != AEGIS_OK) {
        return 0;
    }
    if (npy.data < data || npy.data_bytes > size || npy.data + npy.data_bytes != data + size ||
        !aegis_shape_elements(npy.shape, npy.rank, &elements) ||
        elements * aegis_element_bytes(npy.element) != npy.data_bytes) {
        abort();
    }
    return 0;
}
