/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_TENSOR_H
#define AEGIS_TRANSFORMER_TENSOR_H

/*
 * Matrices of weights as they lie in a file, and the arithmetic on them. Activations are always
 * f32; weights keep the type of the file and are widened in registers.
 *
 * Order of every sum, the same in each instruction set, for any number of rows and threads:
 *  - AEGIS_LAYOUT_ROWS (y = W x, W[outputs][inputs]): sixteen partial sums, partial l over the
 *    inputs i = l modulo 16 in rising order, each step one fused multiply-add; then partials l and
 *    l + 8, l + 4, l + 2, l + 1 are added. A missing input counts as zero.
 *  - AEGIS_LAYOUT_COLUMNS (y = x W, W[inputs][outputs], as GPT-2 stores them): one sum over rising
 *    inputs, each step one fused multiply-add.
 *  - AEGIS_LAYOUT_BANDS: as COLUMNS.
 * No sum crosses threads. Hence an output has the same bits whatever else is computed beside it.
 */

#include "backend/transformer/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum aegis_matrix_layout {
    AEGIS_LAYOUT_ROWS = 0,
    AEGIS_LAYOUT_COLUMNS,
    /* W[outputs / 64][inputs][64]: what COLUMNS becomes in memory (bands.h). Then a thread reads
     * one stream from end to end, which processors fetch ahead of; of pieces of stored rows they do
     * not, and a core waits for fewer lines at once than hide the latency of memory. */
    AEGIS_LAYOUT_BANDS
} aegis_matrix_layout;

#define AEGIS_BAND_OUTPUTS 64u

float aegis_half_to_float(uint16_t half);
uint16_t aegis_float_to_half(float value); /* round to nearest even; too large becomes infinite */
float aegis_bfloat_to_float(uint16_t bits);

/*
 * A run of whole rows of a stored matrix. `data` is the first row of the run and need not be
 * aligned. In the ROWS layout the run holds outputs [first, first + count), in the COLUMNS layout
 * inputs [first, first + count). In the BANDS layout it means those inputs too, and `data` is the
 * first byte of the whole matrix.
 */
typedef struct aegis_weight_run {
    const void *data;
    const float *scale; /* i8: of output 0; NULL otherwise */
    aegis_dtype type;
    aegis_matrix_layout layout;
    uint32_t inputs, outputs; /* of the whole matrix */
    uint32_t first, count;
} aegis_weight_run;

/* Row-major f32 values; `stride` elements from one row to the next. */
typedef struct aegis_rows {
    float *at;
    size_t stride;
} aegis_rows;

/*
 * The arithmetic for one instruction set. Functions of equal name give equal bits in every set.
 * None allocates; all may be called from any thread on disjoint outputs.
 */
typedef struct aegis_kernels {
    const char *name;
    /* y[r][o] = sum of W[o][i] x[r][i] for o in [begin, end) of the run's outputs, r < rows. */
    void (*rows)(const aegis_weight_run *run,
                 uint32_t begin,
                 uint32_t end,
                 aegis_rows x,
                 uint32_t rows,
                 aegis_rows y);
    /* y[r][o] goes on with the run's inputs, for outputs in [begin, end); from zero when the run
     * begins with input 0. i8: the scale is applied when it ends with the last input. BANDS too,
     * with `begin` and `end` multiples of AEGIS_BAND_OUTPUTS. */
    void (*columns)(const aegis_weight_run *run,
                    uint32_t begin,
                    uint32_t end,
                    aegis_rows x,
                    uint32_t rows,
                    aegis_rows y);
    /* One row of weights as f32; `count` elements. */
    void (*widen)(aegis_dtype type, const void *data, uint32_t count, float *y);
    /* Dot product in the order of ROWS, of f32 with f32 or f16. */
    float (*dot)(const float *a, const float *b, uint32_t count);
    float (*dot_half)(const float *a, const uint16_t *b, uint32_t count);
    /* y += factor * x */
    void (*add_scaled)(float factor, const float *x, uint32_t count, float *y);
    void (*add_scaled_half)(float factor, const uint16_t *x, uint32_t count, float *y);
    void (*narrow)(const float *x, uint32_t count, uint16_t *y); /* f32 to f16 */
    /* y = x / sqrt(mean(x^2) + epsilon) * weight */
    void (*rms_norm)(const float *x, const float *weight, float epsilon, uint32_t count, float *y);
    /* y = (x - mean) / sqrt(variance + epsilon) * weight + bias */
    void (*layer_norm)(const float *x,
                       const float *weight,
                       const float *bias,
                       float epsilon,
                       uint32_t count,
                       float *y);
    /* exp(x - max) in place; returns the sum, in the order of ROWS. */
    float (*exponentials)(float *x, uint32_t count);
    /* y = gelu(y), tanh form (Hendrycks and Gimpel 2016; "gelu_new" of GPT-2). */
    void (*gelu)(float *y, uint32_t count);
    /* y = gelu(y), exact form by the C library's erff: equal bits on one machine only. */
    void (*gelu_erf)(float *y, uint32_t count);
    /* y = silu(y) * x */
    void (*silu_gate)(const float *x, uint32_t count, float *y);
    /* y += x */
    void (*add)(const float *x, uint32_t count, float *y);
    /* y *= factor */
    void (*scale)(float factor, uint32_t count, float *y);
    /* Rotates (y[i], y[i + half]) by the angle whose cosine and sine are given; `half` pairs. */
    void (*rotate)(const float *cosines, const float *sines, uint32_t half, float *y);
} aegis_kernels;

/* The best set that this machine executes. Static. */
const aegis_kernels *aegis_kernels_choose(void);
/* Set number `index` of those that this machine executes, best first; NULL behind the last. The
 * last one is "scalar". */
const aegis_kernels *aegis_kernels_at(size_t index);
/* By name; NULL when there is none, or when this machine does not execute it. */
const aegis_kernels *aegis_kernels_find(const char *name);

#endif
