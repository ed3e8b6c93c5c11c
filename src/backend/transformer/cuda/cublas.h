/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CUBLAS_H
#define AEGIS_TRANSFORMER_CUDA_CUBLAS_H

/*
 * The products of several rows that cuBLAS makes, which is found when a model asks for them: a
 * build needs nothing of it, and a machine without it says so. A handle is one model's.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_cublas aegis_cublas;
struct CUstream_st;

/* For the current device. RUNTIME_NOT_AVAILABLE names the libraries that were looked for. */
aegis_status
aegis_cublas_open(const aegis_allocator *allocator, aegis_cublas **ret_cublas, aegis_error *err);
/* NULL is fine. */
void aegis_cublas_close(aegis_cublas *cublas);
/* As "13.0.2"; lives as long as the handle. */
const char *aegis_cublas_version(const aegis_cublas *cublas);

/* What follows goes to this stream and works in this memory of the device, aligned to 256. */
aegis_status aegis_cublas_use(aegis_cublas *cublas,
                              struct CUstream_st *stream,
                              void *workspace,
                              size_t bytes,
                              aegis_error *err);

/* y[r][o] = the sum over i of x[r][i] w[o][i], all f32; a stride is a row's in floats. */
typedef struct aegis_cublas_product {
    uint32_t rows, outputs, inputs;
    const float *w, *x;
    float *y;
    uint32_t w_stride, x_stride, y_stride;
    bool tf32; /* only the upper 19 bits of w and x count; else all of them */
} aegis_cublas_product;
aegis_status
aegis_cublas_multiply(aegis_cublas *cublas, const aegis_cublas_product *product, aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
