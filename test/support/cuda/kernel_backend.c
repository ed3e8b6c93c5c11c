/* SPDX-License-Identifier: Apache-2.0 */
#include "support/cuda/kernel_backend.h"

#include <aegisrt/ext/backend_ops.h>
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
    aegis_allocator allocator;
    aegis_device *device;
} kernel_backend;

typedef struct kernel_model {
    kernel_backend *backend;
    uint32_t segments, due;
    uint64_t ns;
    kernel_kind kind;
    aegis_buffer stamps; /* KERNEL_BACKEND_STAMPS, and the flag of a hang behind them */
    _Atomic size_t launched;
    uint32_t input, output;
    aegis_tensor_info in, out;
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
    int got = sscanf(path, "%" SCNu32 "x%" SCNu64 "%31s", &model->segments, &model->ns, rest);
    if (got < 2 || model->segments == 0 || !read_kind(rest, &model->kind)) {
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

static aegis_tensor_info tensor(const char *name)
{
    return (aegis_tensor_info){
        .name = name, .element = AEGIS_ELEMENT_U32, .rank = 1, .shape = {1}, .size_bytes = 4};
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
    model->in = tensor("in");
    model->out = tensor("out");
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
    model->due = (segment + 1) % model->segments;
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
    model->due = (segment + 1) % model->segments;
    return AEGIS_OK;
}

/* ---- the rest of the table says that there is nothing ---- */

static void kernel_destroy(void *self)
{
    kernel_backend *backend = self;
    aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

static const char *kernel_version(void *self)
{
    (void)self;
    return "1";
}

static const char *kernel_hash(void *self)
{
    (void)self;
    return "0000000000000000000000000000000000000000000000000000000000000000";
}

static const char *kernel_label(void *self)
{
    (void)self;
    return "kernels 1 on cuda";
}

static bool kernel_yes(void *self)
{
    (void)self;
    return true;
}

static const aegis_tensor_info *kernel_inputs(void *self, size_t *ret_count)
{
    *ret_count = 1;
    return &((kernel_model *)self)->in;
}

static const aegis_tensor_info *kernel_outputs(void *self, size_t *ret_count)
{
    *ret_count = 1;
    return &((kernel_model *)self)->out;
}

static uint32_t kernel_segments(void *self)
{
    return ((kernel_model *)self)->segments;
}

static aegis_status kernel_record(void *self, aegis_stream *stream, aegis_error *err)
{
    (void)self;
    (void)stream;
    (void)err;
    return AEGIS_OK;
}

static aegis_status kernel_lifetimes(void *self,
                                     const aegis_tensor_lifetime **ret_lifetimes,
                                     size_t *ret_count,
                                     aegis_error *err)
{
    (void)self;
    (void)err;
    *ret_lifetimes = NULL;
    *ret_count = 0;
    return AEGIS_OK;
}

static uint64_t kernel_bytes(void *self)
{
    (void)self;
    return 0;
}

static aegis_status
kernel_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    (void)self;
    (void)placement;
    (void)err;
    return AEGIS_OK;
}

static aegis_status kernel_reset(void *self, aegis_error *err)
{
    (void)err;
    ((kernel_model *)self)->due = 0;
    return AEGIS_OK;
}

static aegis_status kernel_input(void *self,
                                 uint32_t slot,
                                 const char *name,
                                 void **ret_data,
                                 uint64_t *ret_size,
                                 aegis_error *err)
{
    (void)slot;
    (void)name;
    (void)err;
    *ret_data = &((kernel_model *)self)->input;
    *ret_size = 4;
    return AEGIS_OK;
}

static aegis_status kernel_output(void *self,
                                  uint32_t slot,
                                  const char *name,
                                  void **ret_data,
                                  uint64_t *ret_size,
                                  aegis_error *err)
{
    (void)slot;
    (void)name;
    (void)err;
    *ret_data = &((kernel_model *)self)->output;
    *ret_size = 4;
    return AEGIS_OK;
}

static void kernel_commit(void *self)
{
    (void)self;
}

static void kernel_last_spill(void *self, aegis_model_spill *ret_spill)
{
    (void)self;
    *ret_spill = (aegis_model_spill){.first_index = -1};
}

static const aegis_backend_ops kernel_ops = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "kernels",
    .destroy = kernel_destroy,
    .runtime_version = kernel_version,
    .open = kernel_open,
    .close = kernel_close,
    .hash = kernel_hash,
    .label = kernel_label,
    .is_valid = kernel_yes,
    .inputs = kernel_inputs,
    .outputs = kernel_outputs,
    .segment_count = kernel_segments,
    .record = kernel_record,
    .lifetimes = kernel_lifetimes,
    .overhead_bytes = kernel_bytes,
    .loading_peak_bytes = kernel_bytes,
    .place = kernel_place,
    .is_placed = kernel_yes,
    .reset = kernel_reset,
    .input = kernel_input,
    .output = kernel_output,
    .execute = kernel_execute,
    .commit = kernel_commit,
    .last_spill = kernel_last_spill,
    .enqueue_ahead = kernel_enqueue_ahead,
    .take_ahead = kernel_take_ahead,
};

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
    return aegis_backend_wrap(&kernel_ops, backend, allocator, ret_backend, err);
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
