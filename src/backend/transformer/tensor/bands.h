/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_BANDS_H
#define AEGIS_TRANSFORMER_BANDS_H

/* Matrices that are stored by inputs, put into bands of outputs in memory. */

#include "backend/transformer/tensor/tensor.h"

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

/* Whether a matrix of so many outputs can be: whole bands only. */
bool aegis_bands_fit(uint32_t outputs);

/* Turns a whole matrix from AEGIS_LAYOUT_COLUMNS into AEGIS_LAYOUT_BANDS where it lies, `data` with
 * any alignment. Takes a bit for each input of each band meanwhile. NO_MEMORY (then nothing is
 * moved). */
aegis_status aegis_bands_arrange(aegis_dtype type,
                                 uint32_t inputs,
                                 uint32_t outputs,
                                 void *data,
                                 const aegis_allocator *allocator,
                                 aegis_error *err);

#endif
