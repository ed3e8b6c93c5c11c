/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/model.h"

#include "backend/block.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define COMPONENT "backend.onnxruntime"
#define BOUNDARY_ALIGNMENT 256u /* in trial mode; CUDA's */

/* The most bytes of boundary tensors that live at once. */
static uint64_t boundary_bytes(const aegis_ort_model *model)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    uint64_t most = 0;
    for (size_t segment = 0; segment < compiled->part_count; segment++) {
        uint64_t live = 0;
        for (size_t i = 0; i < compiled->boundary_count; i++) {
            const aegis_ort_boundary *one = &compiled->boundaries[i];
            live += one->first <= segment && segment < one->end
                        ? aegis_align_up(one->info.size_bytes, 64)
                        : 0;
        }
        most = live > most ? live : most;
    }
    return most;
}

static uint64_t kept_bytes(const aegis_tape *loading)
{
    uint64_t total = 0;
    for (size_t i = 0; i < loading->allocation_count; i++) {
        const aegis_tape_allocation *one = &loading->allocations[i];
        total += one->died < 0 ? aegis_align_up(one->size_bytes, 64) : 0;
    }
    return total;
}

/* Weights and packed copies. Originals that only packing reads need no bytes, but which these are
 * is known after the recording: until then at least the larger of the two. */
static uint64_t weight_bytes(const aegis_ort_model *model)
{
    uint64_t kept = 0, unread = 0, weights = model->compiled.different_bytes;
    for (size_t i = 0; i < model->segment_count; i++) {
        kept += kept_bytes(&model->segments[i].loading);
    }
    if (!model->recorded) {
        return kept > weights ? kept : weights;
    }
    for (size_t i = 0; i < model->compiled.chunk_count; i++) {
        unread += model->unread[i] ? model->compiled.chunks[i].length : 0;
    }
    return kept + (weights > unread ? weights - unread : 0);
}

uint64_t aegis_ort_model_permanent_bytes(const aegis_ort_model *model)
{
    uint64_t total = weight_bytes(model) + boundary_bytes(model);
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
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                           "needs at least %" PRIu64 " bytes (weights %" PRIu64
                           ", other permanent %" PRIu64 ", activations %" PRIu64
                           "); its memory limit is %" PRIu64,
                           permanent + activations, weight_bytes(model),
                           permanent - weight_bytes(model), activations, model->memory_limit);
}

static aegis_status map_weights(aegis_ort_model *model, aegis_error *err)
{
    size_t count = model->compiled.chunk_count;
    model->chunks = aegis_allocate_zeroed(&model->allocator, count + 1, sizeof *model->chunks);
    model->unread = aegis_allocate_zeroed(&model->allocator, count + 1, sizeof *model->unread);
    if (model->chunks == NULL || model->unread == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for weights");
    }
    return aegis_ort_weights_map(&model->compiled, &model->mapped_weights, model->chunks, err);
}

static uint64_t malloc_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

aegis_ort_session_config aegis_ort_model_session(const aegis_ort_model *model, size_t segment)
{
    return (aegis_ort_session_config){
        .compiled = &model->compiled,
        .part = model->compiled.parts != NULL ? &model->compiled.parts[segment] : NULL,
        .threads = model->threads,
        .prepack = model->prepack,
        .chunks = model->chunks,
        .cuda = model->cuda};
}

/* Creates the trial session of one segment, recording what loading allocates. */
static aegis_status load_segment(aegis_ort_model *model, size_t index, aegis_error *err)
{
    aegis_ort_segment *segment = &model->segments[index];
    aegis_ort_context *context = segment->context;
    aegis_ort_session_config config = aegis_ort_model_session(model, index);
    config.context = context;
    context->tape = &segment->loading;
    context->clears = model->cuda == NULL;
    aegis_ort_enter(context);
    aegis_status status = aegis_ort_session_create(model->backend->ort, &config, &model->allocator,
                                                   &segment->session, err);
    aegis_ort_leave();
    context->tape = NULL;
    context->clears = false;
    if (status != AEGIS_OK) {
        return status;
    }
    if (segment->loading.out_of_memory) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to record what loading allocates");
    }
    if (atomic_load(&context->strays) > 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "its %u threads allocate while it loads; use threads = 1",
                               model->threads);
    }
    return AEGIS_OK;
}

/* One session after the other, so that only one graph at a time is in the making. */
static aegis_status load_trial(aegis_ort_model *model, aegis_error *err)
{
    uint64_t kept = 0;
    for (size_t i = 0; i < model->segment_count; i++) {
        const aegis_ort_context *context = model->segments[i].context;
        uint64_t before = malloc_bytes();
        aegis_status status = load_segment(model, i, err);
        if (status != AEGIS_OK) {
            return status;
        }
        uint64_t grown = malloc_bytes(), tensors = model->cuda == NULL ? context->live_bytes : 0;
        grown = grown > before ? grown - before : 0;
        model->overhead_bytes += grown > tensors ? grown - tensors : 0;
        uint64_t peak = kept + context->peak_bytes + model->compiled.parts[i].graph_bytes +
                        model->overhead_bytes;
        model->loading_peak_bytes =
            peak > model->loading_peak_bytes ? peak : model->loading_peak_bytes;
        kept += context->live_bytes;
    }
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

static const char *name_of(const aegis_ort_model *model, aegis_ort_operand operand)
{
    switch (operand.role) {
    case AEGIS_ORT_ROLE_INPUT:
        return model->surface.inputs[operand.index].name;
    case AEGIS_ORT_ROLE_OUTPUT:
        return model->surface.outputs[operand.index].name;
    case AEGIS_ORT_ROLE_BOUNDARY:
        break;
    }
    return model->compiled.boundaries[operand.index].info.name;
}

static size_t operand_count(const aegis_ort_model *model, size_t segment)
{
    const aegis_ort_part *part = &model->compiled.parts[segment];
    return part->input_count + part->output_count;
}

static aegis_status list_names(aegis_ort_model *model, aegis_error *err)
{
    for (size_t s = 0; s < model->segment_count; s++) {
        size_t count = operand_count(model, s);
        const char **names =
            aegis_allocate_zeroed(&model->allocator, count + 1, sizeof(const char *));
        model->segments[s].names = names;
        if (names == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for names");
        }
        for (size_t i = 0; i < count; i++) {
            names[i] = name_of(model, model->compiled.parts[s].operands[i]);
        }
    }
    return AEGIS_OK;
}

/* In trial mode every boundary tensor has bytes of its own. */
static aegis_status make_boundaries(aegis_ort_model *model, aegis_error *err)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    uint64_t total = 0;
    for (size_t i = 0; i < compiled->boundary_count; i++) {
        uint64_t size = compiled->boundaries[i].info.size_bytes;
        if (size > INT64_MAX - BOUNDARY_ALIGNMENT ||
            __builtin_add_overflow(total, aegis_align_up(size, BOUNDARY_ALIGNMENT), &total)) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_OVERFLOW,
                                   "its boundary tensors are too large together");
        }
    }
    model->boundaries = aegis_allocate_zeroed(&model->allocator, compiled->boundary_count + 1,
                                              sizeof *model->boundaries);
    model->trial_boundaries = total == 0 ? NULL
                              : model->cuda != NULL
                                  ? aegis_ort_heap_alloc(&model->cuda->heap, total, 0, model)
                                  : aegis_block_alloc(total, 0, model);
    if (model->boundaries == NULL || (total > 0 && model->trial_boundaries == NULL)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no %" PRIu64 " bytes for what crosses its cuts", total);
    }
    unsigned char *at = model->trial_boundaries;
    for (size_t i = 0; at != NULL && i < compiled->boundary_count; i++) {
        uint64_t size = aegis_align_up(compiled->boundaries[i].info.size_bytes, BOUNDARY_ALIGNMENT);
        model->boundaries[i] = at;
        if (model->cuda == NULL) {
            memset(at, 0, size);
        }
        at += size;
    }
    return AEGIS_OK;
}

aegis_status aegis_ort_model_bind(aegis_ort_model *model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; status == AEGIS_OK && i < model->segment_count; i++) {
        const aegis_ort_binding binding = {
            .part = &model->compiled.parts[i],
            .surface = model->cuda != NULL ? &model->cuda->mirror : &model->surface,
            .boundaries = model->compiled.boundaries,
            .boundary_pointers = model->boundaries,
            .memory = model->cuda != NULL ? model->backend->ort->device_memory : NULL};
        status = aegis_ort_session_bind(&model->segments[i].session, &binding, err);
    }
    return status;
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
        status = model->cuda != NULL ? aegis_ort_cuda_open_surface(model, err)
                                     : aegis_surface_open_trial(&model->surface, err);
    }
    if (status == AEGIS_OK) {
        status = make_boundaries(model, err);
    }
    return status == AEGIS_OK ? aegis_ort_model_bind(model, err) : status;
}

static aegis_status
make_parts(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_status status;
    if (config->cuts == NULL || config->cut_count == 0) {
        status = aegis_ort_parts_whole(&model->compiled, err);
    } else {
        aegis_ort_session_config whole = aegis_ort_model_session(model, 0);
        whole.cuda = NULL; /* types and shapes are the same on the CPU */
        status = aegis_ort_parts_cut(model->backend->ort, &whole, config, &model->compiled, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    size_t count = model->compiled.part_count;
    model->segments = aegis_allocate_zeroed(&model->allocator, count, sizeof *model->segments);
    if (model->segments == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for segments");
    }
    model->segment_count = count;
    for (size_t i = 0; i < count; i++) {
        aegis_ort_segment *segment = &model->segments[i];
        segment->context = &segment->contexts[0];
        aegis_ort_context_init(&segment->contexts[0], &model->backend->reserve);
        aegis_ort_context_init(&segment->contexts[1], &model->backend->reserve);
        if (model->cuda != NULL) {
            aegis_ort_cuda_own(model, &segment->contexts[0]);
            aegis_ort_cuda_own(model, &segment->contexts[1]);
        }
        aegis_tape_init(&segment->loading, &model->allocator);
        aegis_tape_init(&segment->run, &model->allocator);
    }
    return AEGIS_OK;
}

/* On a device sessions take its memory, which is planned. */
static aegis_status
ask_sessions(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    if (model->cuda != NULL) {
        return AEGIS_OK;
    }
    model->loading =
        (aegis_ort_loading){.prepack = model->prepack,
                            .paged = model->paging.wanted,
                            .segments = config->cuts != NULL ? config->cut_count + 1 : 1,
                            .slots = config->slots == 0 ? 1 : config->slots};
    for (size_t i = 0; i < compiled->input_count; i++) {
        uint64_t elements = 0;
        (void)aegis_shape_elements(compiled->inputs[i].shape, compiled->inputs[i].rank, &elements);
        model->loading.input_elements += elements;
    }
    aegis_status status = aegis_ort_ask_sessions(config, compiled, &model->loading, err);
    model->held_before = aegis_ort_hold();
    return status;
}

static aegis_status
open_steps(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_ort_backend *backend = model->backend;
    aegis_status status =
        backend->device != NULL ? aegis_ort_cuda_open(model, config, err) : AEGIS_OK;
    if (status == AEGIS_OK) {
        status = aegis_ort_compile(backend->ort, backend->cache_dir, config, model->cuda != NULL,
                                   &model->allocator, &model->compiled, err);
    }
    if (status == AEGIS_OK && model->paging.wanted && model->cuda != NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "weights are paged on the host only; make it resident");
    }
    if (status == AEGIS_OK && model->paging.wanted && model->compiled.at_load) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "its graph is optimised at load, so its weights have no form that "
                                 "could be paged; make it resident");
    }
    if (status == AEGIS_OK) {
        /* Before a byte of the weights is read. */
        status = aegis_ort_model_check_limit(model, 0, err);
    }
    if (status == AEGIS_OK) {
        status = ask_sessions(model, config, err);
    }
    if (status == AEGIS_OK) {
        OrtStatus *native = aegis_ort_gate_init(&model->gate, backend->ort->api);
        if (native == NULL && model->cuda != NULL) { /* a run ends when its work is enqueued */
            native =
                aegis_ort_gate_set(&model->gate, "disable_synchronize_execution_providers", "1");
        }
        if (native != NULL) {
            status = aegis_ort_error(backend->ort, native, AEGIS_HERE(COMPONENT),
                                     AEGIS_ERROR_NO_MEMORY, "cannot make run options", err);
        }
    }
    if (status == AEGIS_OK) {
        status = map_weights(model, err);
    }
    if (status == AEGIS_OK) {
        status = make_parts(model, config, err);
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
    aegis_ort_paging_init(&model->paging, config->residency == AEGIS_PAGED, model);
    aegis_status status = open_steps(model, config, err);
    if (status != AEGIS_OK) {
        aegis_ort_model_close(model);
        return status;
    }
    /* In the key of profiles: all of it moves times. */
    snprintf(model->label, sizeof model->label, "onnxruntime %s on %s, graph %.8s%s%s%s",
             backend->ort->version,
             model->cuda == NULL ? "host"
             : config->eager     ? "cuda, launched node by node"
                                 : "cuda, as graphs where it can be captured",
             model->compiled.graph_hash, model->compiled.at_load ? " (optimised at load)" : "",
             model->prepack ? "" : " (not packed)", model->paging.wanted ? " (paged)" : "");
    *ret_model = model;
    return AEGIS_OK;
}

static void close_segment(aegis_ort_model *model, size_t index)
{
    const aegis_allocator *allocator = &model->allocator;
    aegis_ort_segment *segment = &model->segments[index];
    segment->context->mode = AEGIS_ORT_BLOCKS;
    segment->context->tape = NULL;
    aegis_ort_enter(segment->context);
    aegis_ort_session_finish(&segment->session);
    aegis_ort_leave();
    aegis_deallocate(allocator, (void *)segment->names, operand_count(model, index) + 1,
                     sizeof(const char *));
    aegis_deallocate(allocator, segment->addresses, segment->address_capacity,
                     sizeof *segment->addresses);
    aegis_tape_finish(&segment->loading);
    aegis_tape_finish(&segment->run);
}

void aegis_ort_model_close(aegis_ort_model *model)
{
    aegis_allocator allocator = model->allocator;
    for (size_t i = 0; i < model->segment_count; i++) {
        close_segment(model, i);
    }
    aegis_deallocate(&allocator, model->segments, model->segment_count, sizeof *model->segments);
    aegis_ort_gate_finish(&model->gate);
    aegis_ort_paging_finish(&model->paging, &allocator);
    if (model->places != NULL) {
        aegis_ort_weights_give(&model->backend->residents, model->places,
                               model->compiled.chunk_count);
    }
    if (model->mapped_weights != NULL) {
        munmap(model->mapped_weights, model->compiled.weights_bytes);
    }
    if (model->packed != NULL) {
        aegis_ort_weights_give(&model->backend->residents, model->packed, model->packed_count);
    }
    aegis_deallocate(&allocator, model->packed, model->packed_count + 1, sizeof *model->packed);
    aegis_deallocate(&allocator, model->places, model->compiled.chunk_count + 1,
                     sizeof *model->places);
    aegis_deallocate(&allocator, model->chunks, model->compiled.chunk_count + 1,
                     sizeof *model->chunks);
    aegis_deallocate(&allocator, model->unread, model->compiled.chunk_count + 1,
                     sizeof *model->unread);
    if (model->cuda == NULL) {
        aegis_block_free(model->trial_boundaries);
    }
    aegis_ort_cuda_close(model);
    aegis_deallocate(&allocator, model->boundaries, model->compiled.boundary_count + 1,
                     sizeof *model->boundaries);
    aegis_deallocate(&allocator, model->candidates, model->candidate_count + 1,
                     sizeof *model->candidates);
    aegis_deallocate(&allocator, model->births, model->surface.output_count + 1,
                     sizeof *model->births);
    aegis_deallocate(&allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    aegis_surface_finish(&model->surface);
    aegis_ort_compiled_finish(&model->compiled);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}
