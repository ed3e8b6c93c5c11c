/* SPDX-License-Identifier: Apache-2.0 */
/* The transformer runtime: opening and describing models, and its ops table. */
#include "backend/transformer/backend/language_model.h"

#include "backend/code.h"
#include "backend/runtimes.h"

#include <aegisrt/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT AEGIS_LANGUAGE

static void language_close(void *self)
{
    language_model *model = self;
    const aegis_allocator source = model->source;
    aegis_deallocate(&model->base.allocator, model->segments, model->base.segment_count,
                     sizeof *model->segments);
    aegis_block_free(model->trial);
    aegis_language_finish(&model->base);
    aegis_runner_close(model->runner);
    aegis_deallocate(&source, model, 1, sizeof *model);
}

/* ---- opening ---- */

static void *allocate_counted(void *self, size_t size)
{
    language_model *model = self;
    void *made = model->source.alloc(model->source.self, size);
    atomic_fetch_add_explicit(&model->held, made != NULL ? size : 0, memory_order_relaxed);
    return made;
}

static void free_counted(void *self, void *pointer, size_t size)
{
    language_model *model = self;
    atomic_fetch_sub_explicit(&model->held, pointer != NULL ? size : 0, memory_order_relaxed);
    model->source.free(model->source.self, pointer, size);
}

static aegis_status check_limit(const language_model *model, aegis_error *err)
{
    const aegis_runner_sizes *sizes = &model->facts->sizes;
    const uint64_t total = sizes->weights + sizes->buffers + sizes->cache + sizes->crossing +
                           sizes->working + aegis_language_surface_bytes(&model->base);
    if (model->base.memory_limit != 0 && total > model->base.memory_limit) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs %" PRIu64 " bytes (weights %" PRIu64 ", keys and values of "
                               "%u positions %" PRIu64 "), its memory limit is %" PRIu64
                               "; raise memory, shorten context, take a smaller dtype, or let "
                               "weights come from the disk with residency = \"streamed\" (class = "
                               "\"background\" alone)",
                               total, sizes->weights, model->facts->context, sizes->cache,
                               model->base.memory_limit);
    }
    return AEGIS_OK;
}

/* All of the trial is beside the plan, and norms are there twice while they are widened. */
static aegis_status
reserve(const language_model *model, const aegis_model_config *config, aegis_error *err)
{
    const aegis_runner_sizes *sizes = &model->facts->sizes;
    const uint64_t bytes = sizes->weights + sizes->buffers + sizes->cache + sizes->crossing +
                           sizes->working + 2 * sizes->vectors + 2 * AEGIS_RUNNER_TILE_BYTES +
                           aegis_language_surface_bytes(&model->base);
    return config->reserve != NULL ? config->reserve(config->reserve_self, bytes, err) : AEGIS_OK;
}

/* Crossing area first, then one working area for all segments. */
static aegis_status open_trial(language_model *model, aegis_error *err)
{
    const aegis_runner_sizes *sizes = &model->facts->sizes;
    model->trial = aegis_block_alloc(sizes->crossing + sizes->working, 0, model);
    if (model->trial == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the activations of a step");
    }
    model->crossing = model->trial;
    for (uint32_t s = 0; s < model->base.segment_count; s++) {
        model->segments[s].working = (uint8_t *)model->trial + sizes->crossing;
    }
    aegis_status status = aegis_surface_open_trial(&model->base.surface, err);
    if (status == AEGIS_OK) {
        aegis_language_write_prompt(&model->base);
        status = aegis_runner_load(model->runner, err);
    }
    return status;
}

/* A model that fits is not streamed, and is cut as any other. */
static aegis_status divide(language_model *model, aegis_error *err)
{
    const aegis_runner_division division = {.stream = model->base.stream,
                                            .memory_bytes = model->base.memory_limit,
                                            .other_bytes =
                                                aegis_language_surface_bytes(&model->base)};
    aegis_status status = aegis_runner_divide(model->runner, &division, err);
    model->base.stream = model->base.stream && model->facts->streamed_bytes > 0;
    return status;
}

static aegis_status check_block(const aegis_model_config *config, aegis_error *err)
{
    return config->prompt_block > 1
               ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "prompt_block: on the host a job takes one token; remove the key "
                                 "or use kind = \"cuda\"")
               : AEGIS_OK;
}

static void write_label(language_model *model)
{
    const aegis_runner_facts *facts = model->facts;
    int at = snprintf(model->base.label, sizeof model->base.label,
                      "transformer %s on host (%s, %s, %s, context %u", AEGIS_VERSION_STRING,
                      facts->architecture, facts->dtype, facts->instructions, facts->context);
    if (model->base.stream) {
        at += snprintf(model->base.label + at, sizeof model->base.label - (size_t)at,
                       ", %" PRIu64 " of %" PRIu64 " KiB from files", facts->streamed_bytes / 1024,
                       facts->model_bytes / 1024);
    }
    snprintf(model->base.label + at, sizeof model->base.label - (size_t)at, ")");
}

static aegis_status
open_parts(language_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_status status = aegis_runner_open(config->path, config->context_tokens,
                                            &model->base.allocator, &model->runner, err);
    if (status == AEGIS_OK) {
        model->facts = aegis_runner_about(model->runner);
        model->base.hash = model->facts->hash;
        status = aegis_language_make_surface(&model->base, config, model->facts->context,
                                             model->facts->vocabulary, err);
    }
    if (status == AEGIS_OK) {
        status = divide(model, err);
    }
    if (status == AEGIS_OK) {
        write_label(model);
        status = model->base.stream
                     ? aegis_language_segment(model, err)
                     : aegis_language_cut(model, config->cuts, config->cut_count, err);
    }
    if (status == AEGIS_OK) {
        status = check_limit(model, err);
    }
    if (status == AEGIS_OK) {
        status = reserve(model, config, err);
    }
    return status == AEGIS_OK ? open_trial(model, err) : status;
}

static aegis_status
language_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    language_backend *backend = self;
    language_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    if (model == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a model");
    }
    model->source = backend->allocator;
    const aegis_allocator counted = {allocate_counted, free_counted, model};
    aegis_status status = aegis_language_init(&model->base, COMPONENT, config, &counted, err);
    if (status == AEGIS_OK) {
        status = check_block(config, err);
    }
    if (status == AEGIS_OK) {
        status = open_parts(model, config, err);
    }
    if (status != AEGIS_OK) {
        language_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- the rest of the table ---- */

static uint64_t language_overhead_bytes(void *self)
{
    const language_model *model = self;
    return sizeof *model + atomic_load_explicit(&model->held, memory_order_relaxed);
}

/* Beside what stays: each reading thread has a block of its own. */
static uint64_t language_loading_peak_bytes(void *self)
{
    const aegis_runner_sizes *sizes = &((language_model *)self)->facts->sizes;
    return sizes->weights + sizes->buffers + sizes->cache + language_overhead_bytes(self) +
           2 * AEGIS_RUNNER_TILE_BYTES;
}

static aegis_status language_reset(void *self, aegis_error *err)
{
    language_model *model = self;
    model->base.next = 0;
    aegis_status status = aegis_surface_reset(&model->base.surface, err);
    if (status == AEGIS_OK) {
        aegis_language_write_prompt(&model->base);
    }
    return status;
}

/* While it is measured, all segments work in the same place; later, among what others use too. */
static void language_visit_touched(void *self, aegis_model_visit visit, void *visitor)
{
    const language_model *model = self;
    const aegis_surface *surface = &model->base.surface;
    aegis_runner_visit(model->runner, visit, visitor);
    for (size_t i = 0; i < surface->buffer_count; i++) {
        visit(visitor, surface->buffers[i].pointer, surface->buffers[i].size_bytes);
    }
    visit(visitor, model->crossing, model->facts->sizes.crossing);
    visit(visitor, model->segments[0].working, model->facts->sizes.working);
    aegis_code_visit((uintptr_t)language_close, visit, visitor);
}

static aegis_status language_input(void *self,
                                   uint32_t slot,
                                   const char *name,
                                   void **ret_data,
                                   uint64_t *ret_size,
                                   aegis_error *err)
{
    return aegis_surface_find_input(&((aegis_language *)self)->surface, slot, name, ret_data,
                                    ret_size, err);
}

static aegis_status language_output(void *self,
                                    uint32_t slot,
                                    const char *name,
                                    void **ret_data,
                                    uint64_t *ret_size,
                                    aegis_error *err)
{
    return aegis_surface_find_output(&((aegis_language *)self)->surface, slot, name, ret_data,
                                     ret_size, err);
}

static void language_destroy(void *self)
{
    language_backend *backend = self;
    const aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

static const aegis_backend_ops LANGUAGE_OPS = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "transformer",
    .destroy = language_destroy,
    .runtime_version = aegis_language_version,
    .open = language_open,
    .close = language_close,
    .hash = aegis_language_hash,
    .label = aegis_language_label,
    .is_valid = aegis_language_is_valid,
    .inputs = aegis_language_inputs,
    .outputs = aegis_language_outputs,
    .segment_count = aegis_language_segment_count,
    .record = aegis_language_record,
    .lifetimes = aegis_language_lifetimes,
    .overhead_bytes = language_overhead_bytes,
    .loading_peak_bytes = language_loading_peak_bytes,
    .place = aegis_language_place,
    .is_placed = aegis_language_is_placed,
    .reset = language_reset,
    .input = language_input,
    .output = language_output,
    .execute = aegis_language_execute,
    .terminate = aegis_language_terminate,
    .commit = aegis_language_commit,
    .last_spill = aegis_language_last_spill,
    .cut_candidates = aegis_language_cut_candidates,
    .awaited_segments = aegis_language_awaited_segments,
    .is_ready = aegis_language_is_ready,
    .watch = aegis_language_watch,
    .visit_touched = language_visit_touched,
};

aegis_status aegis_transformer_backend_create(const aegis_backend_config *config,
                                              aegis_device *device,
                                              const aegis_allocator *allocator,
                                              aegis_backend **ret_backend,
                                              aegis_error *err)
{
    (void)config;
    (void)device;
    language_backend *backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the transformer runtime");
    }
    backend->allocator = *allocator;
    return aegis_backend_wrap(&LANGUAGE_OPS, backend, allocator, ret_backend, err);
}
