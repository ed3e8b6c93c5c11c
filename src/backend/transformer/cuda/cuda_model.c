/* SPDX-License-Identifier: Apache-2.0 */
/* The transformer runtime on a CUDA device: opening and describing models, and its ops table. */
#include "backend/transformer/cuda/cuda_model.h"

#include "backend/runtimes.h"
#include "base/base.h"

#include <aegisrt/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)

static void model_close(void *self)
{
    cuda_model *model = self;
    const aegis_allocator allocator = model->allocator;
    aegis_deallocate(&allocator, model->lifetimes, aegis_cuda_model_tensors(model),
                     sizeof *model->lifetimes);
    aegis_deallocate(&allocator, model->candidates, model->facts != NULL ? model->facts->layers : 0,
                     sizeof *model->candidates);
    aegis_deallocate(&allocator, model->ends, model->segment_count, sizeof *model->ends);
    aegis_cuda_model_free(model);
    aegis_surface_finish(&model->surface);
    aegis_program_close(model->program);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

/* ---- opening ---- */

static aegis_status
make_surface(cuda_model *model, const aegis_model_config *config, aegis_error *err)
{
    static const aegis_state_pair pair = {"cursor", "next_cursor"};
    static const aegis_surface_declaration declared[CUDA_INPUTS] = {
        {.name = "tokens",
         .element = AEGIS_ELEMENT_I64,
         .rank = 1,
         .shape = {-1},
         .free_name = {"prompt"}},
        {.name = "cursor", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {2}}};
    aegis_input_shape shapes[CUDA_INPUTS];
    aegis_tensor_info inputs[CUDA_INPUTS] = {0};
    aegis_status status = aegis_surface_fix_shapes(config, declared, CUDA_INPUTS, shapes, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (int i = 0; i < CUDA_INPUTS; i++) {
        inputs[i] =
            (aegis_tensor_info){.name = declared[i].name, .element = AEGIS_ELEMENT_I64, .rank = 1};
        inputs[i].shape[0] = shapes[i].shape[0];
    }
    if (inputs[CUDA_TOKENS].shape[0] >= (int64_t)model->facts->context) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "input 'tokens' has %" PRId64 " tokens and leaves no room in a "
                               "context of %u; write fewer or raise context",
                               inputs[CUDA_TOKENS].shape[0], model->facts->context);
    }
    model->prompt = (uint32_t)inputs[CUDA_TOKENS].shape[0];
    const aegis_tensor_info outputs[CUDA_OUTPUTS] = {
        {.name = "token", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {1}},
        {.name = "logits",
         .element = AEGIS_ELEMENT_F32,
         .rank = 1,
         .shape = {model->facts->vocabulary}},
        {.name = "next_cursor", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {2}}};
    aegis_model_config paired = *config;
    if (config->state_count == 0) {
        paired.state = &pair;
        paired.state_count = 1;
    }
    status = aegis_surface_init(&model->surface, &paired, inputs, CUDA_INPUTS, outputs,
                                CUDA_OUTPUTS, &model->allocator, err);
    if (status == AEGIS_OK && model->surface.input_partner[CUDA_CURSOR] < 0) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                                 "its state is cursor = \"next_cursor\"; write that, or no state");
    }
    return status;
}

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
    model->ends = aegis_allocate_zeroed(&model->allocator, count + 1, sizeof *model->ends);
    if (model->ends == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu segments",
                               count + 1);
    }
    model->segment_count = (uint32_t)count + 1;
    for (size_t i = 0; i <= count; i++) {
        model->ends[i] = i < count ? cuts[i] : layers;
    }
    return AEGIS_OK;
}

static aegis_status check_limit(const cuda_model *model, uint64_t limit, aegis_error *err)
{
    const aegis_program_facts *facts = model->facts;
    uint64_t total = aegis_cuda_model_weight_bytes(model) + facts->cache_bytes + facts->work_bytes;
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        total += model->surface.buffers[i].size_bytes;
    }
    if (limit != 0 && total > limit) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs %" PRIu64 " bytes (weights %" PRIu64 ", keys and values of "
                               "%u positions %" PRIu64 "), its memory limit is %" PRIu64
                               "; raise memory, shorten context or take a smaller dtype",
                               total, aegis_cuda_model_weight_bytes(model), facts->context,
                               facts->cache_bytes, limit);
    }
    return AEGIS_OK;
}

static aegis_status
open_parts(cuda_model *model, const aegis_model_config *config, aegis_error *err)
{
    if (config->prompt != NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "a text as prompt is turned into tokens on the host alone; give the "
                               "tokens by source");
    }
    if (config->threads > 1) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "%u threads; a step on a CUDA device takes all of it and one thread "
                               "of the host: write threads = 1",
                               config->threads);
    }
    if (config->residency != AEGIS_RESIDENT) {
        return aegis_error_set(
            err, HERE, AEGIS_ERROR_UNSUPPORTED,
            "residency = \"paged\" or \"streamed\": on a CUDA device a "
            "language model keeps all weights in the arena; raise memory, take a "
            "smaller dtype, or use kind = \"host\"");
    }
    aegis_status status = aegis_program_open(config->path, config->context_tokens, model->index,
                                             UINT32_MAX, &model->allocator, &model->program, err);
    if (status == AEGIS_OK) {
        const aegis_program_facts *facts = model->facts = aegis_program_about(model->program);
        snprintf(model->label, sizeof model->label,
                 "transformer %s on cuda (%s, %s, %u blocks of %u warps, context %u)",
                 AEGIS_VERSION_STRING, facts->architecture, facts->dtype, facts->blocks,
                 facts->warps, facts->context);
        status = cut(model, config->cuts, config->cut_count, err);
    }
    if (status == AEGIS_OK) {
        status = make_surface(model, config, err);
    }
    if (status == AEGIS_OK) {
        status = check_limit(model, config->memory_limit_bytes, err);
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
    model->allocator = backend->allocator;
    model->device = backend->device;
    model->index = backend->index;
    model->stream = config->stream;
    model->stop_at_end = config->stop_at_end;
    aegis_status status = open_parts(model, config, err);
    if (status != AEGIS_OK) {
        model_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- where it can be cut ---- */

static aegis_status model_cut_candidates(void *self,
                                         aegis_stream *stream,
                                         const aegis_cut_candidate **ret_candidates,
                                         size_t *ret_count,
                                         aegis_error *err)
{
    cuda_model *model = self;
    const uint32_t layers = model->facts->layers;
    (void)stream; /* a stream of its own, so that events stand beside nothing else */
    if (model->placed || !model->recorded || model->segment_count > 1) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_STATE,
                               "cuts are looked for in a recorded, uncut model that is not placed");
    }
    if (model->candidates == NULL) {
        model->candidates =
            aegis_allocate_zeroed(&model->allocator, layers, sizeof *model->candidates);
        if (model->candidates == NULL) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                                   "no memory for %" PRIu32 " places to cut", layers);
        }
    }
    uint64_t before = 0;
    for (uint32_t l = 1; l <= layers; l++) {
        uint64_t elapsed = 0;
        aegis_status status = aegis_cuda_model_measure(model, l, &elapsed, err);
        if (status != AEGIS_OK) {
            return status;
        }
        before = elapsed > before ? elapsed : before; /* noise must not make time run back */
        model->candidates[l - 1] = (aegis_cut_candidate){
            .position = l,
            .live_tensors = 1,
            .live_bytes = model->facts->crossing_bytes,
            .elapsed_ns = before,
        };
    }
    model->next = 0;
    *ret_candidates = model->candidates;
    *ret_count = layers;
    return AEGIS_OK;
}

/* ---- the rest of the table ---- */

static const char *model_hash(void *self)
{
    return ((cuda_model *)self)->facts->hash;
}

static const char *model_label(void *self)
{
    return ((cuda_model *)self)->label;
}

/* What fails on the device is the stream's to report; after a fatal failure all of it is lost. */
static bool model_is_valid(void *self)
{
    (void)self;
    return true;
}

static const aegis_tensor_info *model_inputs(void *self, size_t *ret_count)
{
    cuda_model *model = self;
    *ret_count = model->surface.input_count;
    return model->surface.inputs;
}

static const aegis_tensor_info *model_outputs(void *self, size_t *ret_count)
{
    cuda_model *model = self;
    *ret_count = model->surface.output_count;
    return model->surface.outputs;
}

static uint32_t model_segment_count(void *self)
{
    return ((cuda_model *)self)->segment_count;
}

static uint64_t model_overhead_bytes(void *self)
{
    const cuda_model *model = self;
    return sizeof *model + model->facts->heap_bytes + model->pinned_bytes;
}

/* Of the host: one packed layer, or what is no layer. */
static uint64_t model_loading_peak_bytes(void *self)
{
    const aegis_program_facts *facts = ((cuda_model *)self)->facts;
    return facts->layer_bytes > facts->fixed_bytes ? facts->layer_bytes : facts->fixed_bytes;
}

static bool model_is_placed(void *self)
{
    return ((cuda_model *)self)->placed;
}

static aegis_status model_reset(void *self, aegis_error *err)
{
    cuda_model *model = self;
    model->next = 0;
    model->fault->kind = AEGIS_DECODE_FINE;
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
    aegis_status status = aegis_surface_find_input(&model->surface, slot, name, &data, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const size_t which = aegis_cuda_model_buffer(model, data);
    if (model->surface.buffers[which].memory_class == AEGIS_MEMORY_STATE &&
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
    aegis_status status = aegis_surface_find_output(&model->surface, slot, name, &data, &size, err);
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

static void model_commit(void *self)
{
    cuda_model *model = self;
    model->surface.parity = model->surface.written;
}

/* A step allocates nothing. */
static void model_last_spill(void *self, aegis_model_spill *ret_spill)
{
    (void)self;
    *ret_spill = (aegis_model_spill){.first_index = -1};
}

static const char *model_version(void *self)
{
    (void)self;
    return AEGIS_VERSION_STRING;
}

static void backend_destroy(void *self)
{
    cuda_backend *backend = self;
    const aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

/* No terminate: a kernel runs to its end. */
static const aegis_backend_ops CUDA_OPS = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "transformer",
    .destroy = backend_destroy,
    .runtime_version = model_version,
    .open = model_open,
    .close = model_close,
    .hash = model_hash,
    .label = model_label,
    .is_valid = model_is_valid,
    .inputs = model_inputs,
    .outputs = model_outputs,
    .segment_count = model_segment_count,
    .record = aegis_cuda_model_record,
    .lifetimes = aegis_cuda_model_lifetimes,
    .overhead_bytes = model_overhead_bytes,
    .loading_peak_bytes = model_loading_peak_bytes,
    .place = aegis_cuda_model_place,
    .is_placed = model_is_placed,
    .reset = model_reset,
    .input = model_input,
    .output = model_output,
    .execute = aegis_cuda_model_execute,
    .commit = model_commit,
    .last_spill = model_last_spill,
    .cut_candidates = model_cut_candidates,
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
