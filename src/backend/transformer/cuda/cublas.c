/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/cuda/cublas.h"

#include "base/base.h"

#include <dlfcn.h>
#include <stdio.h>

#define HERE AEGIS_HERE("transformer.cuda")

/* Of cublas_api.h and library_types.h; the same since version 11. */
enum {
    OPERATION_NONE = 0,
    OPERATION_TRANSPOSED = 1,
    TYPE_F32 = 0,
    MATH_DEFAULT = 0, /* no less precise than what a product asks for */
    COMPUTE_F32 = 68,
    COMPUTE_F32_FAST_TF32 = 77,
    ALGORITHM_DEFAULT = -1
};

typedef struct cublas_table {
    int (*create)(void **ret_handle);
    int (*destroy)(void *handle);
    int (*version)(void *handle, int *ret_version);
    int (*set_math)(void *handle, int mode);
    int (*set_stream)(void *handle, struct CUstream_st *stream);
    int (*set_workspace)(void *handle, void *workspace, size_t bytes);
    int (*multiply)(void *handle,
                    int operation_a,
                    int operation_b,
                    int m,
                    int n,
                    int k,
                    const void *alpha,
                    const void *a,
                    int type_a,
                    int stride_a,
                    const void *b,
                    int type_b,
                    int stride_b,
                    const void *beta,
                    void *c,
                    int type_c,
                    int stride_c,
                    int compute,
                    int algorithm);
    const char *(*text)(int code);
} cublas_table;

struct aegis_cublas {
    aegis_allocator allocator;
    void *library, *handle;
    cublas_table call;
    char version[24];
};

static aegis_status check(const aegis_cublas *cublas, int code, const char *call, aegis_error *err)
{
    if (code == 0) {
        return AEGIS_OK;
    }
    return aegis_error_set_native(err, HERE, AEGIS_ERROR_DEVICE, code, "%s: %s", call,
                                  cublas->call.text(code));
}

/* ---- finding it ---- */

static bool find_calls(aegis_cublas *cublas)
{
    const struct {
        const char *name;
        void *to; /* a pointer to a function's, which ISO C does not convert */
    } names[] = {{"cublasCreate_v2", &cublas->call.create},
                 {"cublasDestroy_v2", &cublas->call.destroy},
                 {"cublasGetVersion_v2", &cublas->call.version},
                 {"cublasSetMathMode", &cublas->call.set_math},
                 {"cublasSetStream_v2", &cublas->call.set_stream},
                 {"cublasSetWorkspace_v2", &cublas->call.set_workspace},
                 {"cublasGemmEx", &cublas->call.multiply},
                 {"cublasGetStatusString", &cublas->call.text}};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        void *symbol = dlsym(cublas->library, names[i].name);
        if (symbol == NULL) {
            return false;
        }
        *(void **)names[i].to = symbol;
    }
    return true;
}

static aegis_status load(aegis_cublas *cublas, aegis_error *err)
{
    static const char *const names[] = {"libcublas.so.13", "libcublas.so.12"};
    const char *why = NULL;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names) && cublas->library == NULL; i++) {
        cublas->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (cublas->library == NULL) {
        why = dlerror();
    } else if (find_calls(cublas)) {
        return AEGIS_OK;
    }
    return aegis_error_set(
        err, HERE, AEGIS_ERROR_RUNTIME_NOT_AVAILABLE,
        "prompt_block: neither libcublas.so.13 nor libcublas.so.12 can be used (%s); the folder of "
        "CUDA's libraries belongs into LD_LIBRARY_PATH: scripts/cuda-libraries.sh prints it. Or "
        "remove the key: prompts then go token by token",
        why != NULL ? why : "it lacks a call");
}

aegis_status
aegis_cublas_open(const aegis_allocator *allocator, aegis_cublas **ret_cublas, aegis_error *err)
{
    aegis_cublas *cublas = aegis_allocate_zeroed(allocator, 1, sizeof *cublas);
    if (cublas == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a handle");
    }
    cublas->allocator = *allocator;
    int version = 0;
    aegis_status status = load(cublas, err);
    if (status == AEGIS_OK) {
        status = check(cublas, cublas->call.create(&cublas->handle), "cublasCreate", err);
    }
    if (status == AEGIS_OK) {
        status =
            check(cublas, cublas->call.version(cublas->handle, &version), "cublasGetVersion", err);
    }
    if (status == AEGIS_OK) {
        status = check(cublas, cublas->call.set_math(cublas->handle, MATH_DEFAULT),
                       "cublasSetMathMode", err);
    }
    if (status != AEGIS_OK) {
        aegis_cublas_close(cublas);
        return status;
    }
    snprintf(cublas->version, sizeof cublas->version, "%d.%d.%d", version / 10000,
             version / 100 % 100, version % 100);
    *ret_cublas = cublas;
    return AEGIS_OK;
}

/* The library stays: its kernels are loaded in the device's context, which outlives a model. */
void aegis_cublas_close(aegis_cublas *cublas)
{
    if (cublas == NULL) {
        return;
    }
    const aegis_allocator allocator = cublas->allocator;
    if (cublas->handle != NULL) {
        (void)cublas->call.destroy(cublas->handle);
    }
    aegis_deallocate(&allocator, cublas, 1, sizeof *cublas);
}

const char *aegis_cublas_version(const aegis_cublas *cublas)
{
    return cublas->version;
}

/* ---- computing ---- */

/* A new stream takes the workspace back. */
aegis_status aegis_cublas_use(aegis_cublas *cublas,
                              struct CUstream_st *stream,
                              void *workspace,
                              size_t bytes,
                              aegis_error *err)
{
    aegis_status status =
        check(cublas, cublas->call.set_stream(cublas->handle, stream), "cublasSetStream", err);
    return status == AEGIS_OK
               ? check(cublas, cublas->call.set_workspace(cublas->handle, workspace, bytes),
                       "cublasSetWorkspace", err)
               : status;
}

/* cuBLAS reads matrices by columns: a row of ours is a column of its. */
aegis_status
aegis_cublas_multiply(aegis_cublas *cublas, const aegis_cublas_product *product, aegis_error *err)
{
    const float one = 1, zero = 0;
    return check(cublas,
                 cublas->call.multiply(
                     cublas->handle, OPERATION_TRANSPOSED, OPERATION_NONE, (int)product->outputs,
                     (int)product->rows, (int)product->inputs, &one, product->w, TYPE_F32,
                     (int)product->w_stride, product->x, TYPE_F32, (int)product->x_stride, &zero,
                     product->y, TYPE_F32, (int)product->y_stride,
                     product->tf32 ? COMPUTE_F32_FAST_TF32 : COMPUTE_F32, ALGORITHM_DEFAULT),
                 "cublasGemmEx", err);
}
