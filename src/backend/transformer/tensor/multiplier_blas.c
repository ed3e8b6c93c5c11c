/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenBLAS, opened at run time: its library takes 30 MB of address space and a part of a budget,
 * which programs that do not ask for it should not pay. Each call is one thread's: the pool divides
 * the work. Weights that are not f32 are widened in blocks first.
 */
#include "backend/transformer/tensor/multiplier.h"

#include "base/base.h"

#include <dlfcn.h>

#define HERE AEGIS_HERE("transformer.blas")
#define CLAIM_OUTPUTS 128u
#define BLOCK_INPUTS 512u
/* With fewer rows the kernels are bound by memory and the library by its packing. */
#define LEAST_ROWS 8u
/* Packed panels of a call of this shape; those of 0.3.21 have 0.8 and 0.3 MB on AVX-512. */
#define LIBRARY_BYTES ((uint64_t)2 << 20)

/* Values of the C interface to the BLAS (BLAS Technical Forum Standard, 2001, annex B). */
enum {
    ROW_MAJOR = 101,
    AS_IT_IS = 111,
    TRANSPOSED = 112
};
typedef void (*sgemm_function)(int order,
                               int transpose_a,
                               int transpose_b,
                               int m,
                               int n,
                               int k,
                               float alpha,
                               const float *a,
                               int a_stride,
                               const float *b,
                               int b_stride,
                               float beta,
                               float *c,
                               int c_stride);

typedef struct blas {
    aegis_allocator allocator;
    void *library;
    sgemm_function sgemm;
} blas;

static bool takes(aegis_dtype type)
{
    return type == AEGIS_DTYPE_F32 || type == AEGIS_DTYPE_F16 || type == AEGIS_DTYPE_BF16;
}

/* `count` pieces of `width` values, `from_bytes` apart, as f32, `apart` values apart. */
static void widen_pieces(const aegis_kernels *kernels,
                         aegis_dtype type,
                         const uint8_t *from,
                         uint64_t from_bytes,
                         uint32_t count,
                         uint32_t width,
                         float *to,
                         uint32_t apart)
{
    for (uint32_t r = 0; r < count; r++) {
        kernels->widen(type, from + r * from_bytes, width, to + (size_t)r * apart);
    }
}

/* Rows [first, first + count) of a stored matrix, `width` values from `column` on, as f32. */
static const float *widened(const aegis_kernels *kernels,
                            const aegis_weight_run *run,
                            uint32_t row_width,
                            uint32_t first,
                            uint32_t count,
                            uint32_t column,
                            uint32_t width,
                            float *scratch,
                            int *ret_stride)
{
    const uint64_t element = aegis_dtype_bytes(run->type);
    const uint8_t *data = run->data;
    data += ((uint64_t)(first - run->first) * row_width + column) * element;
    if (run->type == AEGIS_DTYPE_F32 && (uintptr_t)data % sizeof(float) == 0) {
        *ret_stride = (int)row_width;
        return (const float *)(const void *)data;
    }
    widen_pieces(kernels, run->type, data, row_width * element, count, width, scratch, width);
    *ret_stride = (int)width;
    return scratch;
}

/* The same of a matrix in bands: whole bands from output `begin` on. */
static const float *widened_bands(const aegis_kernels *kernels,
                                  const aegis_weight_run *run,
                                  uint32_t first,
                                  uint32_t count,
                                  uint32_t begin,
                                  uint32_t width,
                                  float *scratch)
{
    const uint64_t row_bytes = AEGIS_BAND_OUTPUTS * aegis_dtype_bytes(run->type);
    for (uint32_t at = 0; at < width; at += AEGIS_BAND_OUTPUTS) {
        const uint64_t row = (uint64_t)(begin + at) / AEGIS_BAND_OUTPUTS * run->inputs + first;
        widen_pieces(kernels, run->type, (const uint8_t *)run->data + row * row_bytes, row_bytes,
                     count, AEGIS_BAND_OUTPUTS, scratch + at, width);
    }
    return scratch;
}

static void multiply(void *self,
                     const aegis_kernels *kernels,
                     const aegis_weight_run *run,
                     uint32_t begin,
                     uint32_t end,
                     aegis_rows x,
                     uint32_t rows,
                     aegis_rows y,
                     float *scratch)
{
    const blas *library = self;
    const bool by_rows = run->layout == AEGIS_LAYOUT_ROWS;
    const uint32_t first = by_rows ? 0 : run->first, outputs = end - begin;
    const uint32_t last = by_rows ? run->inputs : run->first + run->count;
    for (uint32_t at = first; at < last; at += BLOCK_INPUTS) {
        const uint32_t inputs = last - at < BLOCK_INPUTS ? last - at : BLOCK_INPUTS;
        int stride = (int)outputs;
        const float *weights =
            run->layout == AEGIS_LAYOUT_BANDS
                ? widened_bands(kernels, run, at, inputs, begin, outputs, scratch)
            : by_rows
                ? widened(kernels, run, run->inputs, begin, outputs, at, inputs, scratch, &stride)
                : widened(kernels, run, run->outputs, at, inputs, begin, outputs, scratch, &stride);
        library->sgemm(ROW_MAJOR, AS_IT_IS, by_rows ? TRANSPOSED : AS_IT_IS, (int)rows,
                       (int)outputs, (int)inputs, 1.0f, x.at + at, (int)x.stride, weights, stride,
                       at == 0 ? 0.0f : 1.0f, y.at + begin, (int)y.stride);
    }
}

static void close_library(void *self)
{
    blas *made = self;
    const aegis_allocator allocator = made->allocator;
    dlclose(made->library);
    aegis_deallocate(&allocator, made, 1, sizeof *made);
}

static const aegis_multiplier_ops BLAS = {.name = "blas",
                                          .least_rows = LEAST_ROWS,
                                          .outputs = CLAIM_OUTPUTS,
                                          .scratch_bytes =
                                              CLAIM_OUTPUTS * BLOCK_INPUTS * sizeof(float),
                                          .library_bytes = LIBRARY_BYTES,
                                          .takes = takes,
                                          .multiply = multiply,
                                          .close = close_library};

/* A symbol as a function; ISO C has no cast from one to the other. */
static sgemm_function sgemm_of(void *library)
{
    union {
        void *symbol;
        sgemm_function function;
    } found = {.symbol = dlsym(library, "cblas_sgemm")};
    return found.function;
}

/* Of builds with threads of their own, which would compute beside the pool. */
static void keep_to_one_thread(void *library)
{
    union {
        void *symbol;
        void (*function)(int threads);
    } found = {.symbol = dlsym(library, "openblas_set_num_threads")};
    if (found.function != NULL) {
        found.function(1);
    }
}

aegis_status aegis_blas_open(const aegis_allocator *allocator,
                             aegis_multiplier *ret_multiplier,
                             aegis_error *err)
{
    blas *made = aegis_allocate_zeroed(allocator, 1, sizeof *made);
    if (made == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a BLAS");
    }
    made->allocator = *allocator;
    made->library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    made->sgemm = made->library != NULL ? sgemm_of(made->library) : NULL;
    if (made->sgemm == NULL) {
        const char *why = dlerror();
        aegis_status status = aegis_error_set(
            err, HERE, AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
            "products \"blas\": libopenblas.so.0 cannot be used (%s); install libopenblas0-serial "
            "or write \"own\"",
            why != NULL ? why : "it has no cblas_sgemm");
        if (made->library != NULL) {
            dlclose(made->library);
        }
        aegis_deallocate(allocator, made, 1, sizeof *made);
        return status;
    }
    keep_to_one_thread(made->library);
    *ret_multiplier = (aegis_multiplier){&BLAS, made};
    return AEGIS_OK;
}
