/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/model.h"

#include "backend/block.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define COMPONENT "backend.onnxruntime"

uint64_t aegis_ort_model_permanent_bytes(const aegis_ort_model *model)
{
    uint64_t total = model->compiled.weights_bytes;
    for (size_t i = 0; i < model->loading.allocation_count; i++) {
        const aegis_tape_allocation *one = &model->loading.allocations[i];
        total += one->died < 0 ? aegis_align_up(one->size_bytes, 64) : 0;
    }
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        total += aegis_align_up(model->surface.buffers[i].size_bytes, 64);
    }
    return total;
}

aegis_status
aegis_ort_model_check_limit(const aegis_ort_model *model, uint64_t activations, aegis_error *err)
{
    uint64_t permanent = aegis_ort_model_permanent_bytes(model);
    if (model->memory_limit == 0 || permanent + activations <= model->memory_limit) {
        return AEGIS_OK;
    }
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
        "needs at least %" PRIu64 " bytes (weights %" PRIu64 ", other permanent %" PRIu64
        ", activations %" PRIu64 "); its memory limit is %" PRIu64,
        permanent + activations, model->compiled.weights_bytes,
        permanent - model->compiled.weights_bytes, activations, model->memory_limit);
}

/* The weights file as it lies in the page cache, checked against its hash. */
static aegis_status map_weights(aegis_ort_model *model, aegis_error *err)
{
    char hash[AEGIS_SHA256_HEX_BYTES];
    const aegis_ort_compiled *compiled = &model->compiled;
    if (compiled->weights_bytes == 0) {
        return AEGIS_OK;
    }
    int fd = open(compiled->weights_path, O_RDONLY | O_CLOEXEC);
    void *bytes =
        fd < 0 ? MAP_FAILED : mmap(NULL, compiled->weights_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    int code = errno;
    if (fd >= 0) {
        close(fd);
    }
    if (bytes == MAP_FAILED) {
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                      code, "cannot map %s: %s", compiled->weights_path,
                                      strerror(code));
    }
    model->trial_weights = bytes;
    aegis_status status = aegis_sha256_bytes(bytes, compiled->weights_bytes, hash, err);
    if (status == AEGIS_OK && strcmp(hash, compiled->weights_hash) != 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                 "%s has the hash %s, %s was compiled; remove its folder",
                                 compiled->weights_path, hash, compiled->weights_hash);
    }
    return status;
}

static uint64_t malloc_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Creates the trial session, recording what loading allocates. */
static aegis_status load_trial(aegis_ort_model *model, aegis_error *err)
{
    aegis_ort_context *context = model->context;
    uint64_t before = malloc_bytes();
    context->tape = &model->loading;
    aegis_ort_enter(context);
    aegis_status status = aegis_ort_session_create(
        model->backend->ort, &model->compiled, model->threads, model->prepack, model->trial_weights,
        context, &model->allocator, &model->session, err);
    aegis_ort_leave();
    context->tape = NULL;
    if (status != AEGIS_OK) {
        return status;
    }
    if (model->loading.out_of_memory) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to record what loading allocates");
    }
    if (atomic_load(&context->strays) > 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "its %u threads allocate while it loads; use threads = 1",
                               model->threads);
    }
    uint64_t grown = malloc_bytes();
    grown = grown > before ? grown - before : 0;
    model->overhead_bytes = grown > context->live_bytes ? grown - context->live_bytes : 0;
    model->loading_peak_bytes =
        context->peak_bytes + model->compiled.graph_bytes + model->overhead_bytes;
    return AEGIS_OK;
}

static bool outputs_known(const aegis_ort_compiled *compiled)
{
    for (size_t i = 0; i < compiled->output_count; i++) {
        uint64_t elements;
        if (compiled->outputs[i].rank < 0 ||
            !aegis_shape_elements(compiled->outputs[i].shape, compiled->outputs[i].rank,
                                  &elements)) {
            return false;
        }
    }
    return true;
}

static aegis_status list_names(aegis_ort_model *model, aegis_error *err)
{
    const aegis_surface *surface = &model->surface;
    size_t count = surface->input_count + surface->output_count;
    model->names = aegis_allocate_zeroed(&model->allocator, count + 1, sizeof *model->names);
    if (model->names == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for names");
    }
    for (size_t i = 0; i < count; i++) {
        model->names[i] = i < surface->input_count
                              ? surface->inputs[i].name
                              : surface->outputs[i - surface->input_count].name;
    }
    return AEGIS_OK;
}

static aegis_status
make_surface(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    aegis_status status =
        aegis_surface_init(&model->surface, config, compiled->inputs, compiled->input_count,
                           compiled->outputs, compiled->output_count, &model->allocator, err);
    if (status == AEGIS_OK) {
        status = list_names(model, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_ort_model_check_limit(model, 0, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_surface_open_trial(&model->surface, err);
    }
    return status == AEGIS_OK ? aegis_ort_session_bind(&model->session, &model->surface, err)
                              : status;
}

static aegis_status
open_steps(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_ort_backend *backend = model->backend;
    aegis_status status = aegis_ort_compile(backend->ort, backend->cache_dir, config,
                                            &model->allocator, &model->compiled, err);
    if (status == AEGIS_OK) {
        /* Before a byte of the weights is read. */
        status = aegis_ort_model_check_limit(model, 0, err);
    }
    if (status == AEGIS_OK) {
        OrtStatus *native = aegis_ort_gate_init(&model->gate, backend->ort->api);
        if (native != NULL) {
            status = aegis_ort_error(backend->ort, native, AEGIS_HERE(COMPONENT),
                                     AEGIS_ERROR_NO_MEMORY, "cannot make run options", err);
        }
    }
    if (status == AEGIS_OK) {
        status = map_weights(model, err);
    }
    if (status == AEGIS_OK) {
        status = load_trial(model, err);
    }
    if (status == AEGIS_OK && !outputs_known(&model->compiled)) {
        status = aegis_ort_model_probe(model, config, err);
    }
    if (status == AEGIS_OK) {
        status = make_surface(model, config, err);
    }
    return status;
}

aegis_status aegis_ort_model_open(aegis_ort_backend *backend,
                                  const aegis_model_config *config,
                                  aegis_ort_model **ret_model,
                                  aegis_error *err)
{
    aegis_ort_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    if (model == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a model");
    }
    model->backend = backend;
    model->allocator = backend->allocator;
    model->threads = config->threads == 0 ? 1 : config->threads;
    model->prepack = config->prepack;
    model->memory_limit = config->memory_limit_bytes;
    model->context = &model->contexts[0];
    aegis_ort_context_init(&model->contexts[0], &backend->reserve);
    aegis_ort_context_init(&model->contexts[1], &backend->reserve);
    aegis_tape_init(&model->loading, &model->allocator);
    aegis_tape_init(&model->run, &model->allocator);
    aegis_status status = open_steps(model, config, err);
    if (status != AEGIS_OK) {
        aegis_ort_model_close(model);
        return status;
    }
    snprintf(model->label, sizeof model->label, "onnxruntime %s on host%s", backend->ort->version,
             model->compiled.at_load ? " (optimised at load)" : "");
    *ret_model = model;
    return AEGIS_OK;
}

void aegis_ort_model_close(aegis_ort_model *model)
{
    aegis_allocator allocator = model->allocator;
    model->context->mode = AEGIS_ORT_BLOCKS;
    model->context->tape = NULL;
    aegis_ort_enter(model->context);
    aegis_ort_session_finish(&model->session);
    aegis_ort_leave();
    aegis_ort_gate_finish(&model->gate);
    if (model->trial_weights != NULL) {
        munmap(model->trial_weights, model->compiled.weights_bytes);
    }
    size_t names = model->surface.input_count + model->surface.output_count + 1;
    aegis_deallocate(&allocator, (void *)model->names, names, sizeof *model->names);
    aegis_deallocate(&allocator, model->addresses, model->address_capacity,
                     sizeof *model->addresses);
    aegis_deallocate(&allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    aegis_tape_finish(&model->loading);
    aegis_tape_finish(&model->run);
    aegis_surface_finish(&model->surface);
    aegis_ort_compiled_finish(&model->compiled);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}
