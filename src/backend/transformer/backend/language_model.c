/* SPDX-License-Identifier: Apache-2.0 */
/* The transformer runtime: opening and describing models, and its ops table. */
#include "backend/transformer/backend/language_model.h"

#include "backend/runtimes.h"

#include <aegisrt/version.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT AEGIS_LANGUAGE

static void language_close(void *self)
{
    language_model *model = self;
    const aegis_allocator allocator = model->allocator;
    aegis_deallocate(&allocator, model->lifetimes, aegis_language_lifetime_room(model),
                     sizeof *model->lifetimes);
    aegis_deallocate(&allocator, model->candidates, model->facts != NULL ? model->facts->pieces : 0,
                     sizeof *model->candidates);
    aegis_deallocate(&allocator, model->segments, model->segment_count, sizeof *model->segments);
    aegis_block_free(model->trial);
    aegis_deallocate(&allocator, model->written, model->prompt, sizeof *model->written);
    aegis_surface_finish(&model->surface);
    aegis_runner_close(model->runner);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

/* ---- opening ---- */

static aegis_status check_threads(const aegis_model_config *config, aegis_error *err)
{
    if (config->threads > 1) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%u threads; a step is bound by memory and computes on the one "
                               "thread of its lane: write threads = 1",
                               config->threads);
    }
    return AEGIS_OK;
}

/* The surface with its state pair, whether the configuration names it or not. */
static aegis_status
make_surface(language_model *model, const aegis_model_config *config, aegis_error *err)
{
    static const aegis_state_pair pair = {"cursor", "next_cursor"};
    static const aegis_surface_declaration declared[LANGUAGE_INPUTS] = {
        {.name = "tokens",
         .element = AEGIS_ELEMENT_I64,
         .rank = 1,
         .shape = {-1},
         .free_name = {"prompt"}},
        {.name = "cursor", .element = AEGIS_ELEMENT_I64, .rank = 1, .shape = {2}}};
    aegis_input_shape shapes[LANGUAGE_INPUTS];
    aegis_tensor_info inputs[LANGUAGE_INPUTS] = {0};
    const aegis_input_shape written = {.name = "tokens", .rank = 1, .shape = {model->prompt}};
    aegis_model_config shaped = *config;
    if (model->written != NULL) {
        shaped.inputs = &written;
        shaped.input_count = 1;
    }
    aegis_status status = aegis_surface_fix_shapes(&shaped, declared, LANGUAGE_INPUTS, shapes, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (int i = 0; i < LANGUAGE_INPUTS; i++) {
        inputs[i] =
            (aegis_tensor_info){.name = declared[i].name, .element = AEGIS_ELEMENT_I64, .rank = 1};
        inputs[i].shape[0] = shapes[i].shape[0];
    }
    if (inputs[LANGUAGE_TOKENS].shape[0] >= (int64_t)model->facts->context) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "input 'tokens' has %" PRId64 " tokens and leaves no room in a "
                               "context of %u; write fewer or raise context",
                               inputs[LANGUAGE_TOKENS].shape[0], model->facts->context);
    }
    model->prompt = (uint32_t)inputs[LANGUAGE_TOKENS].shape[0];
    const aegis_tensor_info outputs[LANGUAGE_OUTPUTS] = {
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
    status = aegis_surface_init(&model->surface, &paired, inputs, LANGUAGE_INPUTS, outputs,
                                LANGUAGE_OUTPUTS, &model->allocator, err);
    if (status == AEGIS_OK && model->surface.input_partner[LANGUAGE_CURSOR] < 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                 "its state is cursor = \"next_cursor\"; write that, or no state");
    }
    return status;
}

static uint64_t surface_bytes(const language_model *model)
{
    uint64_t total = 0;
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        total += model->surface.buffers[i].size_bytes;
    }
    return total;
}

static aegis_status check_limit(const language_model *model, aegis_error *err)
{
    const aegis_runner_sizes *sizes = &model->facts->sizes;
    const uint64_t total = sizes->weights + sizes->buffers + sizes->cache + sizes->crossing +
                           sizes->working + surface_bytes(model);
    if (model->memory_limit != 0 && total > model->memory_limit) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs %" PRIu64 " bytes (weights %" PRIu64 ", keys and values of "
                               "%u positions %" PRIu64 "), its memory limit is %" PRIu64
                               "; raise memory, shorten context, take a smaller dtype, or let "
                               "weights come from the disk with residency = \"streamed\" (class = "
                               "\"background\" alone)",
                               total, sizes->weights, model->facts->context, sizes->cache,
                               model->memory_limit);
    }
    return AEGIS_OK;
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
    for (uint32_t s = 0; s < model->segment_count; s++) {
        model->segments[s].working = (uint8_t *)model->trial + sizes->crossing;
    }
    aegis_status status = aegis_surface_open_trial(&model->surface, err);
    if (status == AEGIS_OK) {
        aegis_language_write_prompt(model);
        status = aegis_runner_load(model->runner, err);
    }
    return status;
}

static aegis_status check_streaming(const aegis_model_config *config, aegis_error *err)
{
    if (config->residency == AEGIS_STREAMED && config->memory_limit_bytes == 0) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
            "residency = \"streamed\" divides a memory limit, and there is none: "
            "write memory");
    }
    if (config->residency == AEGIS_STREAMED && config->cut_count > 0) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
            "residency = \"streamed\": its segments are what comes from the files "
            "together; remove cuts");
    }
    return AEGIS_OK;
}

/* A model that fits is not streamed, and is cut as any other. */
static aegis_status divide(language_model *model, aegis_error *err)
{
    const aegis_runner_division division = {.stream = model->stream,
                                            .memory_bytes = model->memory_limit,
                                            .other_bytes = surface_bytes(model)};
    aegis_status status = aegis_runner_divide(model->runner, &division, err);
    model->stream = model->stream && model->facts->streamed_bytes > 0;
    return status;
}

static void write_label(language_model *model)
{
    const aegis_runner_facts *facts = model->facts;
    int at = snprintf(model->label, sizeof model->label,
                      "transformer %s on host (%s, %s, %s, context %u", AEGIS_VERSION_STRING,
                      facts->architecture, facts->dtype, facts->instructions, facts->context);
    if (model->stream) {
        at += snprintf(model->label + at, sizeof model->label - (size_t)at,
                       ", %" PRIu64 " of %" PRIu64 " KiB from files", facts->streamed_bytes / 1024,
                       facts->model_bytes / 1024);
    }
    snprintf(model->label + at, sizeof model->label - (size_t)at, ")");
}

static aegis_status
open_parts(language_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_status status = check_threads(config, err);
    if (status == AEGIS_OK) {
        status = check_streaming(config, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_runner_open(config->path, config->context_tokens, &model->allocator,
                                   &model->runner, err);
    }
    if (status == AEGIS_OK) {
        model->facts = aegis_runner_about(model->runner);
        status = config->prompt != NULL ? aegis_language_read_prompt(model, config, err) : AEGIS_OK;
    }
    if (status == AEGIS_OK) {
        status = make_surface(model, config, err);
    }
    if (status == AEGIS_OK) {
        status = divide(model, err);
    }
    if (status == AEGIS_OK) {
        write_label(model);
        status = model->stream ? aegis_language_segment(model, err)
                               : aegis_language_cut(model, config->cuts, config->cut_count, err);
    }
    if (status == AEGIS_OK) {
        status = check_limit(model, err);
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
    model->allocator = backend->allocator;
    model->memory_limit = config->memory_limit_bytes;
    model->stop_at_end = config->stop_at_end;
    model->stream = config->residency == AEGIS_STREAMED;
    aegis_status status = open_parts(model, config, err);
    if (status != AEGIS_OK) {
        language_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- the rest of the table ---- */

static const char *language_hash(void *self)
{
    return ((language_model *)self)->facts->hash;
}

static const char *language_label(void *self)
{
    return ((language_model *)self)->label;
}

static bool language_is_valid(void *self)
{
    (void)self;
    return true; /* nothing that runs can break it */
}

static const aegis_tensor_info *language_inputs(void *self, size_t *ret_count)
{
    language_model *model = self;
    *ret_count = model->surface.input_count;
    return model->surface.inputs;
}

static const aegis_tensor_info *language_outputs(void *self, size_t *ret_count)
{
    language_model *model = self;
    *ret_count = model->surface.output_count;
    return model->surface.outputs;
}

static uint32_t language_segment_count(void *self)
{
    return ((language_model *)self)->segment_count;
}

static uint64_t language_overhead_bytes(void *self)
{
    const language_model *model = self;
    return sizeof *model + model->facts->sizes.heap;
}

/* Beside what stays: each reading thread has a block of its own. */
static uint64_t language_loading_peak_bytes(void *self)
{
    const aegis_runner_sizes *sizes = &((language_model *)self)->facts->sizes;
    return sizes->weights + sizes->buffers + sizes->cache + sizes->heap +
           2 * AEGIS_RUNNER_TILE_BYTES;
}

static bool language_is_placed(void *self)
{
    return ((language_model *)self)->placed;
}

static aegis_status language_reset(void *self, aegis_error *err)
{
    language_model *model = self;
    model->next = 0;
    aegis_status status = aegis_surface_reset(&model->surface, err);
    if (status == AEGIS_OK) {
        aegis_language_write_prompt(model);
    }
    return status;
}

static aegis_status language_input(void *self,
                                   uint32_t slot,
                                   const char *name,
                                   void **ret_data,
                                   uint64_t *ret_size,
                                   aegis_error *err)
{
    return aegis_surface_find_input(&((language_model *)self)->surface, slot, name, ret_data,
                                    ret_size, err);
}

static aegis_status language_output(void *self,
                                    uint32_t slot,
                                    const char *name,
                                    void **ret_data,
                                    uint64_t *ret_size,
                                    aegis_error *err)
{
    return aegis_surface_find_output(&((language_model *)self)->surface, slot, name, ret_data,
                                     ret_size, err);
}

static void language_commit(void *self)
{
    language_model *model = self;
    model->surface.parity = model->surface.written;
}

/* A step allocates nothing. */
static void language_last_spill(void *self, aegis_model_spill *ret_spill)
{
    (void)self;
    *ret_spill = (aegis_model_spill){.first_index = -1};
}

static const char *language_version(void *self)
{
    (void)self;
    return AEGIS_VERSION_STRING;
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
    .runtime_version = language_version,
    .open = language_open,
    .close = language_close,
    .hash = language_hash,
    .label = language_label,
    .is_valid = language_is_valid,
    .inputs = language_inputs,
    .outputs = language_outputs,
    .segment_count = language_segment_count,
    .record = aegis_language_record,
    .lifetimes = aegis_language_lifetimes,
    .overhead_bytes = language_overhead_bytes,
    .loading_peak_bytes = language_loading_peak_bytes,
    .place = aegis_language_place,
    .is_placed = language_is_placed,
    .reset = language_reset,
    .input = language_input,
    .output = language_output,
    .execute = aegis_language_execute,
    .terminate = aegis_language_terminate,
    .commit = language_commit,
    .last_spill = language_last_spill,
    .cut_candidates = aegis_language_cut_candidates,
    .awaited_segments = aegis_language_awaited_segments,
    .is_ready = aegis_language_is_ready,
    .watch = aegis_language_watch,
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
