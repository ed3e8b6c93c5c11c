/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/bands.h"

#include "base/base.h"

#include <assert.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.bands")
#define WORD_BITS 64u
#define MOST_BYTES (AEGIS_BAND_OUTPUTS * sizeof(float))

bool aegis_bands_fit(uint32_t outputs)
{
    return outputs % AEGIS_BAND_OUTPUTS == 0;
}

/* Moves what lies at `begin` to its place, what lies there to its own, and so on, until the circle
 * closes: the matrix of pieces is transposed, [inputs][bands] to [bands][inputs]. */
static void go_round(
    uint8_t *data, size_t piece, uint64_t inputs, uint64_t bands, uint64_t begin, uint64_t *moved)
{
    uint8_t carried[MOST_BYTES], found[MOST_BYTES];
    memcpy(carried, data + begin * piece, piece);
    uint64_t at = begin;
    do {
        at = at % bands * inputs + at / bands;
        memcpy(found, data + at * piece, piece);
        memcpy(data + at * piece, carried, piece);
        memcpy(carried, found, piece);
        moved[at / WORD_BITS] |= UINT64_C(1) << at % WORD_BITS;
    } while (at != begin);
}

aegis_status aegis_bands_arrange(aegis_dtype type,
                                 uint32_t inputs,
                                 uint32_t outputs,
                                 void *data,
                                 const aegis_allocator *allocator,
                                 aegis_error *err)
{
    assert(aegis_bands_fit(outputs));
    const size_t piece = AEGIS_BAND_OUTPUTS * aegis_dtype_bytes(type);
    const uint64_t bands = outputs / AEGIS_BAND_OUTPUTS, pieces = inputs * bands;
    const size_t words = (size_t)((pieces + WORD_BITS - 1) / WORD_BITS);
    uint64_t *moved = aegis_allocate_zeroed(allocator, words, sizeof *moved);
    if (moved == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu bytes while a matrix is put into bands",
                               words * sizeof *moved);
    }
    for (uint64_t at = 0; at < pieces; at++) {
        if ((moved[at / WORD_BITS] >> at % WORD_BITS & 1) == 0) {
            go_round(data, piece, inputs, bands, at, moved);
        }
    }
    aegis_deallocate(allocator, moved, words, sizeof *moved);
    return AEGIS_OK;
}
