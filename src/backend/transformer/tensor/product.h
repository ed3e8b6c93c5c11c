/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_PRODUCT_H
#define AEGIS_TRANSFORMER_PRODUCT_H

/* Products of activations with runs of weights, spread over a pool. */

#include "backend/transformer/tensor/multiplier.h"
#include "backend/transformer/tensor/pool.h"
#include "backend/transformer/tensor/tensor.h"

#define AEGIS_PRODUCTS_MAX 3

typedef struct aegis_product {
    aegis_weight_run run;
    aegis_rows x, y; /* y: all outputs of the matrix; the run fills in its own */
} aegis_product;

/* Up to AEGIS_PRODUCTS_MAX independent products of the same `rows` rows in one go. The bits of the
 * results depend on nothing but weights and x. */
void aegis_products_run(const aegis_kernels *kernels,
                        aegis_compute_pool *pool,
                        const aegis_product *products,
                        uint32_t count,
                        uint32_t rows);
/* The same by a multiplier, for the rows and types that it takes. `scratch` has the multiplier's
 * scratch_bytes for each thread of the pool. */
void aegis_products_run_by(const aegis_multiplier *multiplier,
                           float *scratch,
                           const aegis_kernels *kernels,
                           aegis_compute_pool *pool,
                           const aegis_product *products,
                           uint32_t count,
                           uint32_t rows);

#endif
