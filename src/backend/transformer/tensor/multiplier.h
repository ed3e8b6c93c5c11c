/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_MULTIPLIER_H
#define AEGIS_TRANSFORMER_MULTIPLIER_H

/*
 * Who makes products of many rows: prompts and batches. The kernels of tensor.h are the rule. A
 * BLAS is the other way; it promises no order of its sums, so its outputs are near those of the
 * kernels and not equal to them, and depend on how many rows go together and where a matrix is cut.
 */

#include "backend/transformer/tensor/tensor.h"

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

typedef struct aegis_multiplier_ops {
    const char *name;
    uint32_t least_rows; /* fewer are the kernels' */
    uint32_t outputs;    /* of a claim */
    uint64_t scratch_bytes;
    /* That the library itself takes for each thread, at most. */
    uint64_t library_bytes;
    bool (*takes)(aegis_dtype type);
    /* As the kernels' `rows` and `columns`, by the run's layout, for outputs [begin, end).
     * `scratch` is the calling thread's. Any thread. */
    void (*multiply)(void *self,
                     const aegis_kernels *kernels,
                     const aegis_weight_run *run,
                     uint32_t begin,
                     uint32_t end,
                     aegis_rows x,
                     uint32_t rows,
                     aegis_rows y,
                     float *scratch);
    void (*close)(void *self);
} aegis_multiplier_ops;

/* Zeroed: the kernels make all. */
typedef struct aegis_multiplier {
    const aegis_multiplier_ops *ops;
    void *self;
} aegis_multiplier;

/* "own" or NULL, "blas". CONFIG (another name); RUNTIME_NOT_AVAILABLE (not in this build, or its
 * library cannot be opened: says which and the cure); NO_MEMORY. */
aegis_status aegis_multiplier_open(const char *name,
                                   const aegis_allocator *allocator,
                                   aegis_multiplier *ret_multiplier,
                                   aegis_error *err);
/* Of a zeroed one too. */
void aegis_multiplier_close(aegis_multiplier *multiplier);
const char *aegis_multiplier_name(const aegis_multiplier *multiplier);

/* multiplier_blas.c, when it is built. */
aegis_status aegis_blas_open(const aegis_allocator *allocator,
                             aegis_multiplier *ret_multiplier,
                             aegis_error *err);

#endif
