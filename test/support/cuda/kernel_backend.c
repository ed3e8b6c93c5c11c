/* SPDX-License-Identifier: Apache-2.0 */
#include "support/cuda/kernel_backend.h"

#include "support/bare_backend.h"

#include <aegisrt/ext/cuda.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "test.kernels"
#define HANG_LIMIT_NS UINT64_C(20000000000)

typedef enum kernel_kind {
    KERNEL_SPIN,
    KERNEL_TRAP,
    KERNEL_ILLEGAL,
    KERNEL_HANG
} kernel_kind;

typedef struct kernel_backend {
    aegis_backend_ops ops;
    aegis_allocator allocator;
    aegis_device *device;
} kernel_backend;

typedef struct kernel_model {
    bare_model bare; /* first */
    kernel_backend *backend;
    uint32_t due;
    uint64_t ns;
    kernel_kind kind;
    aegis_buffer stamps; /* KERNEL_BACKEND_STAMPS, and the flag of a hang behind them */
    _Atomic size_t launched;
} kernel_model;

static bool read_kind(const char *text, kernel_kind *ret_kind)
{
    static const char *const names[] = {"", ":trap", ":illegal", ":hang"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_kind = (kernel_kind)i;
            return true;
        }
    }
    return false;
}

static aegis_status read_path(const char *path, kernel_model *model, aegis_error *err)
{
    char rest[32] = "";
    int got = sscanf(path, "%" SCNu32 "x%" SCNu64 "%31s", &model->bare.segments, &model->ns, rest);
    if (got < 2 || model->bare.segments == 0 || !read_kind(rest, &model->kind)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "'%s' is no model of kernels; write \"4x200000\"", path);
    }
    return AEGIS_OK;
}

static void kernel_close(void *self)
{
    kernel_model *model = self;
    aegis_allocator allocator = model->backend->allocator;
    if (model->stamps.pointer != NULL) {
        aegis_device_pinned_free(model->backend->device, &model->stamps, NULL);
    }
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

static aegis_status
kernel_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    kernel_backend *backend = self;
    kernel_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    if (model == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY, "no host memory");
    }
    model->backend = backend;
    bare_model_init(&model->bare);
    aegis_status status = read_path(config->path, model, err);
    if (status == AEGIS_OK) {
        status = aegis_device_pinned_alloc(backend->device,
                                           (KERNEL_BACKEND_STAMPS + 1) * sizeof(kernel_stamp), 0,
                                           &model->stamps, err);
    }
    if (status != AEGIS_OK) {
        kernel_close(model);
        return status;
    }
    memset(model->stamps.pointer, 0, (size_t)model->stamps.size_bytes);
    *ret_model = model;
    return AEGIS_OK;
}

static int launch(kernel_model *model, struct CUstream_st *stream)
{
    kernel_stamp *stamps = model->stamps.pointer;
    size_t index = atomic_fetch_add(&model->launched, 1);
    switch (model->kind) {
    case KERNEL_SPIN:
        return kernel_spin(stream, model->ns, &stamps[index % KERNEL_BACKEND_STAMPS]);
    case KERNEL_TRAP:
        return kernel_trap(stream);
    case KERNEL_ILLEGAL:
        return kernel_illegal_address(stream);
    case KERNEL_HANG:
        return kernel_hang(stream, (const volatile int *)&stamps[KERNEL_BACKEND_STAMPS],
                           HANG_LIMIT_NS);
    }
    return 0;
}

static aegis_status
kernel_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    kernel_model *model = self;
    struct CUstream_st *handle = NULL;
    (void)slot;
    if (segment != 0 && segment != model->due) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "segment %" PRIu32 " is due, not %" PRIu32, model->due, segment);
    }
    aegis_status status = aegis_cuda_stream_handle(stream, &handle, err);
    if (status != AEGIS_OK) {
        return status;
    }
    int code = launch(model, handle);
    if (code != 0) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE, code,
                                      "a kernel could not be launched (CUDA error %d)", code);
    }
    model->due = (segment + 1) % model->bare.segments;
    return AEGIS_OK;
}

static aegis_status kernel_enqueue_ahead(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    struct CUstream_st *handle = NULL;
    (void)segment;
    (void)slot;
    aegis_status status = aegis_cuda_stream_handle(stream, &handle, err);
    return status == AEGIS_OK && launch(self, handle) != 0
               ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE, "not launched")
               : status;
}

static aegis_status kernel_take_ahead(void *self, uint32_t segment, uint32_t slot, aegis_error *err)
{
    kernel_model *model = self;
    (void)slot;
    if (segment != model->due) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "segment %" PRIu32 " is due, not %" PRIu32, model->due, segment);
    }
    model->due = (segment + 1) % model->bare.segments;
    return AEGIS_OK;
}

static bool kernel_ahead_has_halves(void *self)
{
    (void)self;
    return false;
}

static void kernel_destroy(void *self)
{
    kernel_backend *backend = self;
    aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

static aegis_status kernel_reset(void *self, aegis_error *err)
{
    (void)err;
    ((kernel_model *)self)->due = 0;
    return AEGIS_OK;
}

aegis_status kernel_backend_create(aegis_device *device,
                                   const aegis_allocator *allocator,
                                   aegis_backend **ret_backend,
                                   aegis_error *err)
{
    int code = kernel_load();
    if (code != 0) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEVICE, code,
                                      "the kernels cannot be loaded (CUDA error %d)", code);
    }
    kernel_backend *backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY, "no host memory");
    }
    backend->allocator = *allocator;
    backend->device = device;
    bare_backend_fill(&backend->ops);
    backend->ops.name = "kernels";
    backend->ops.destroy = kernel_destroy;
    backend->ops.open = kernel_open;
    backend->ops.close = kernel_close;
    backend->ops.reset = kernel_reset;
    backend->ops.execute = kernel_execute;
    backend->ops.enqueue_ahead = kernel_enqueue_ahead;
    backend->ops.take_ahead = kernel_take_ahead;
    backend->ops.ahead_has_halves = kernel_ahead_has_halves;
    return aegis_backend_wrap(&backend->ops, backend, allocator, ret_backend, err);
}

const kernel_stamp *kernel_model_stamps(aegis_model *model, size_t *ret_count)
{
    const kernel_model *self = aegis_model_self(model);
    size_t launched = atomic_load(&self->launched);
    *ret_count = launched < KERNEL_BACKEND_STAMPS ? launched : KERNEL_BACKEND_STAMPS;
    return self->stamps.pointer;
}

void kernel_model_clear(aegis_model *model)
{
    atomic_store(&((kernel_model *)aegis_model_self(model))->launched, 0);
}
