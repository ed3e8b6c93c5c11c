/* SPDX-License-Identifier: Apache-2.0 */
/* The transformer runtime on a CUDA device: opening and describing models, and its ops table. */
#include "backend/transformer/cuda/cuda_model.h"

#include "backend/runtimes.h"
#include "base/base.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"

#include <aegisrt/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)
#define MOST_SEGMENTS 64u /* that the scheduler, which is above this layer, takes of a model */

static void model_close(void *self)
{
    cuda_model *model = self;
    const aegis_allocator allocator = model->base.allocator;
    aegis_deallocate(&allocator, model->ends, model->base.segment_count, sizeof *model->ends);
    aegis_cuda_model_free(model);
    aegis_language_finish(&model->base);
    aegis_program_close(model->program);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

/* ---- opening ---- */

static aegis_status cut(cuda_model *model, const uint32_t *cuts, size_t count, aegis_error *err)
{
    const uint32_t layers = model->facts->layers;
    for (size_t i = 0; i < count; i++) {
        const uint32_t before = i > 0 ? cuts[i - 1] : 0;
        if (cuts[i] <= before || cuts[i] > layers) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                                   "cuts: position %" PRIu32 " does not lie between %" PRIu32
                                   " and the head, position %" PRIu32 "; write rising positions, "
                                   "each the block before which to cut",
                                   cuts[i], before, layers);
        }
    }
    model->ends = aegis_allocate_zeroed(&model->base.allocator, count + 1, sizeof *model->ends);
    if (model->ends == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu segments",
                               count + 1);
    }
    model->base.segment_count = (uint32_t)count + 1;
    for (size_t i = 0; i <= count; i++) {
        model->ends[i] = i < count ? cuts[i] : layers;
    }
    return AEGIS_OK;
}

static uint64_t block_bytes(const cuda_model *model)
{
    return model->prompt.plan.bytes + aegis_cuda_prompt_table_bytes(model);
}

static uint64_t other_bytes(const cuda_model *model)
{
    return model->facts->fixed_bytes + model->facts->cache_bytes + model->facts->work_bytes +
           block_bytes(model) + aegis_language_surface_bytes(&model->base);
}

static aegis_status check_limit(const cuda_model *model, aegis_error *err)
{
    const aegis_program_facts *facts = model->facts;
    const uint64_t limit = model->base.memory_limit, layers = facts->layers * facts->layer_bytes;
    const uint64_t total = other_bytes(model) + layers;
    if (!model->base.stream && limit != 0 && total > limit) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs %" PRIu64 " bytes (weights %" PRIu64 ", keys and values of "
                               "%u positions %" PRIu64 "), its memory limit is %" PRIu64
                               "; raise memory, shorten context, take a smaller dtype or "
                               "prompt_block, or let layers come from pinned memory with residency "
                               "= \"streamed\"",
                               total, layers + facts->fixed_bytes, facts->context,
                               facts->cache_bytes, limit);
    }
    return AEGIS_OK;
}

/* Which layers stay. A model that fits is not streamed, and is cut as any other. */
static aegis_status divide(cuda_model *model, aegis_error *err)
{
    const aegis_program_facts *facts = model->facts;
    const uint64_t others = other_bytes(model), limit = model->base.memory_limit;
    const uint64_t available = limit > others ? limit - others : 0;
    const uint64_t least = aegis_residency_least(facts->layers, facts->layer_bytes);
    model->residency = (aegis_residency_plan){.layers = facts->layers};
    if (model->base.stream && !aegis_residency_divide(facts->layers, facts->layer_bytes, available,
                                                      MOST_SEGMENTS, &model->residency)) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
            "needs %" PRIu64 " bytes even when all layers come from pinned memory (slots for two "
            "%" PRIu64 ", head and tables %" PRIu64 ", keys and values of %u positions %" PRIu64
            ", blocks of the prompt %" PRIu64 "), its memory limit is %" PRIu64
            "; raise memory, shorten context or take a smaller dtype%s",
            others + least, least, facts->fixed_bytes, facts->context, facts->cache_bytes,
            block_bytes(model), limit, model->prompt.plan.rows > 0 ? " or prompt_block" : "");
    }
    model->base.stream = model->base.stream && model->residency.streamed > 0;
    return AEGIS_OK;
}

/* The segments of a streamed model are its residency's. */
static aegis_status segment(cuda_model *model, aegis_error *err)
{
    const aegis_residency_plan *plan = &model->residency;
    model->ends =
        aegis_allocate_zeroed(&model->base.allocator, plan->segments, sizeof *model->ends);
    if (model->ends == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for %" PRIu32 " segments", plan->segments);
    }
    model->base.segment_count = plan->segments;
    for (uint32_t s = 0; s < plan->segments; s++) {
        model->ends[s] = aegis_residency_end_of(plan, s);
    }
    return AEGIS_OK;
}

static void write_label(cuda_model *model)
{
    const aegis_program_facts *facts = model->facts;
    char *label = model->base.label;
    const size_t size = sizeof model->base.label;
    int at =
        snprintf(label, size, "transformer %s on cuda (%s, %s, %u blocks of %u warps%s, context %u",
                 AEGIS_VERSION_STRING, facts->architecture, facts->dtype, facts->blocks,
                 facts->warps, facts->clusters ? " in clusters" : "", facts->context);
    if (model->base.stream) {
        at += snprintf(label + at, size - (size_t)at, ", %u of %u layers from pinned memory",
                       model->residency.streamed, facts->layers);
    }
    if (model->prompt.plan.rows > 0) {
        at += snprintf(label + at, size - (size_t)at, ", prompts by %u, cuBLAS %s",
                       model->prompt.plan.rows, aegis_cublas_version(model->prompt.cublas));
    }
    snprintf(label + at, size - (size_t)at, ")");
}

static aegis_status open_prompt(cuda_model *model, uint32_t rows, aegis_error *err)
{
    int previous = 0;
    aegis_status status =
        aegis_cuda_check(aegis_cuda_enter(model->index, &previous), "cudaSetDevice", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_prompt_open(model, rows, err);
        aegis_cuda_leave(previous);
    }
    return status;
}

static aegis_status
open_parts(cuda_model *model, const aegis_model_config *config, aegis_error *err)
{
    const uint32_t form =
        config->prompt_block >= 2 ? AEGIS_PROGRAM_UNIT_FORM : AEGIS_PROGRAM_ANY_FORM;
    aegis_status status = aegis_program_open(config->path, config->context_tokens, model->index,
                                             form, &model->base.allocator, &model->program, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model->facts = aegis_program_about(model->program);
    model->base.hash = model->facts->hash;
    status = aegis_language_make_surface(&model->base, config, model->facts->context,
                                         model->facts->vocabulary, err);
    if (status == AEGIS_OK) { /* before dividing: what blocks take, layers do not get */
        status = open_prompt(model, config->prompt_block, err);
    }
    if (status == AEGIS_OK) {
        status = divide(model, err);
    }
    if (status == AEGIS_OK) {
        write_label(model);
        status = model->base.stream ? segment(model, err)
                                    : cut(model, config->cuts, config->cut_count, err);
    }
    if (status == AEGIS_OK) {
        status = check_limit(model, err);
    }
    return status == AEGIS_OK ? aegis_cuda_model_open_trial(model, err) : status;
}

static aegis_status
model_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    cuda_backend *backend = self;
    cuda_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    if (model == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a model");
    }
    model->device = backend->device;
    model->index = backend->index;
    model->stream = config->stream;
    model->eager = config->eager;
    aegis_status status =
        aegis_language_init(&model->base, AEGIS_LANGUAGE_CUDA, config, &backend->allocator, err);
    if (status == AEGIS_OK) {
        status = open_parts(model, config, err);
    }
    if (status != AEGIS_OK) {
        model_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- where it can be cut ---- */

/* Of the longest job. The layers of a block are alike, launch by launch. */
static aegis_status
elapsed_before(cuda_model *model, uint32_t layer, uint64_t *ret_ns, aegis_error *err)
{
    if (!model->prompt.is_longest) {
        return aegis_cuda_model_measure(model, layer, false, ret_ns, err);
    }
    aegis_status status = aegis_cuda_model_measure(model, 0, true, ret_ns, err);
    *ret_ns = *ret_ns * layer / model->facts->layers;
    return status;
}

static aegis_status model_cut_candidates(void *self,
                                         aegis_stream *stream,
                                         const aegis_cut_candidate **ret_candidates,
                                         size_t *ret_count,
                                         aegis_error *err)
{
    cuda_model *model = self;
    const uint32_t layers = model->facts->layers;
    (void)stream; /* a stream of its own, so that events stand beside nothing else */
    aegis_status status = aegis_language_make_candidates(&model->base, layers, err);
    uint64_t before = 0;
    for (uint32_t l = 1; l <= layers && status == AEGIS_OK; l++) {
        uint64_t elapsed = 0;
        status = elapsed_before(model, l, &elapsed, err);
        before = elapsed > before ? elapsed : before; /* noise must not make time run back */
        model->base.candidates[l - 1] = (aegis_cut_candidate){
            .position = l,
            .live_tensors = 1,
            .live_bytes = model->facts->crossing_bytes + model->prompt.plan.bytes,
            .elapsed_ns = before,
        };
    }
    model->base.next = 0;
    if (status == AEGIS_OK) {
        *ret_candidates = model->base.candidates;
        *ret_count = layers;
    }
    return status;
}

/* ---- the rest of the table ---- */

static uint64_t model_overhead_bytes(void *self)
{
    const cuda_model *model = self;
    return sizeof *model + model->facts->heap_bytes + model->pinned.size_bytes +
           model->streamed.size_bytes;
}

/* Of the host: one packed layer, or what is no layer. */
static uint64_t model_loading_peak_bytes(void *self)
{
    const aegis_program_facts *facts = ((cuda_model *)self)->facts;
    return facts->layer_bytes > facts->fixed_bytes ? facts->layer_bytes : facts->fixed_bytes;
}

static aegis_status model_reset(void *self, aegis_error *err)
{
    cuda_model *model = self;
    model->base.next = 0;
    model->words->fault.kind = AEGIS_DECODE_FINE;
    return aegis_cuda_model_fill(model, err);
}

/* The caller may read and write it: what the state is now comes first, and goes back. */
static aegis_status model_input(void *self,
                                uint32_t slot,
                                const char *name,
                                void **ret_data,
                                uint64_t *ret_size,
                                aegis_error *err)
{
    cuda_model *model = self;
    void *data = NULL;
    uint64_t size = 0;
    aegis_status status =
        aegis_surface_find_input(&model->base.surface, slot, name, &data, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const size_t which = aegis_cuda_model_buffer(model, data);
    if (model->base.surface.buffers[which].memory_class == AEGIS_MEMORY_STATE &&
        !atomic_load(&model->dirty[which])) {
        status = aegis_device_copy(model->device, data, model->mirrors[which], size, err);
    }
    if (status == AEGIS_OK) {
        atomic_store(&model->dirty[which], true);
        *ret_data = data;
        *ret_size = size;
    }
    return status;
}

static aegis_status model_output(void *self,
                                 uint32_t slot,
                                 const char *name,
                                 void **ret_data,
                                 uint64_t *ret_size,
                                 aegis_error *err)
{
    cuda_model *model = self;
    void *data = NULL;
    uint64_t size = 0;
    aegis_status status =
        aegis_surface_find_output(&model->base.surface, slot, name, &data, &size, err);
    if (status == AEGIS_OK) {
        const size_t which = aegis_cuda_model_buffer(model, data);
        status = aegis_device_copy(model->device, data, model->mirrors[which], size, err);
    }
    if (status == AEGIS_OK) {
        *ret_data = data;
        *ret_size = size;
    }
    return status;
}

static void backend_destroy(void *self)
{
    cuda_backend *backend = self;
    const aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

/* Copies from pinned memory are part of the segments, which wait for nothing else. */
static uint64_t model_awaited_segments(void *self)
{
    (void)self;
    return 0;
}

static bool model_is_ready(void *self, uint32_t segment)
{
    (void)self;
    (void)segment;
    return true;
}

static void model_watch(void *self, aegis_model_wake wake, void *watcher)
{
    (void)self;
    (void)wake;
    (void)watcher;
}

/* No terminate: a kernel runs to its end. */
static const aegis_backend_ops CUDA_OPS = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "transformer",
    .destroy = backend_destroy,
    .runtime_version = aegis_language_version,
    .open = model_open,
    .close = model_close,
    .hash = aegis_language_hash,
    .label = aegis_language_label,
    .is_valid = aegis_language_is_valid,
    .inputs = aegis_language_inputs,
    .outputs = aegis_language_outputs,
    .segment_count = aegis_language_segment_count,
    .record = aegis_cuda_model_record,
    .lifetimes = aegis_language_lifetimes,
    .overhead_bytes = model_overhead_bytes,
    .loading_peak_bytes = model_loading_peak_bytes,
    .place = aegis_cuda_model_place,
    .is_placed = aegis_language_is_placed,
    .reset = model_reset,
    .input = model_input,
    .output = model_output,
    .execute = aegis_cuda_model_execute,
    .commit = aegis_language_commit,
    .last_spill = aegis_language_last_spill,
    .cut_candidates = model_cut_candidates,
    .awaited_segments = model_awaited_segments,
    .is_ready = model_is_ready,
    .watch = model_watch,
};

aegis_status aegis_transformer_cuda_backend_create(const aegis_backend_config *config,
                                                   aegis_device *device,
                                                   const aegis_allocator *allocator,
                                                   aegis_backend **ret_backend,
                                                   aegis_error *err)
{
    (void)config;
    cuda_backend *backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory for the transformer runtime");
    }
    backend->allocator = *allocator;
    backend->device = device;
    backend->index = aegis_device_get_capabilities(device)->index;
    return aegis_backend_wrap(&CUDA_OPS, backend, allocator, ret_backend, err);
}
