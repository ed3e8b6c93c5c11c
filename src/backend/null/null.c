/* SPDX-License-Identifier: Apache-2.0 */
/* The null runtime: opening and describing models, and its ops table. */
#include "backend/null/null_model.h"

#include "backend/runtimes.h"

#include <inttypes.h>
#include <string.h>

#define COMPONENT AEGIS_NULL
#define LARGEST_FILE (UINT64_C(1) << 24)
#define RESERVE_BYTES (UINT64_C(4) << 20)

/* ---- opening ---- */

void aegis_null_free_trial(null_model *model)
{
    if (!model->placed) {
        aegis_block_free(model->weights);
        aegis_block_free(model->prepacked);
        for (size_t i = 0; model->boundaries != NULL && i < model->file.boundary_count; i++) {
            aegis_block_free(model->boundaries[i]);
            model->boundaries[i] = NULL;
        }
    }
    model->weights = model->prepacked = NULL;
}

static void null_close(void *self)
{
    null_model *model = self;
    const aegis_allocator allocator = model->allocator;
    for (size_t i = 0; model->segments != NULL && i < model->file.segment_count; i++) {
        null_segment *segment = &model->segments[i];
        size_t count = model->file.segments[i].allocation_count + 1;
        aegis_tape_finish(&segment->tape);
        aegis_deallocate(&allocator, segment->addresses, count, sizeof(void *));
        aegis_deallocate(&allocator, segment->live, count, sizeof(void *));
    }
    aegis_deallocate(&allocator, model->segments, model->file.segment_count,
                     sizeof *model->segments);
    aegis_deallocate(&allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    aegis_deallocate(&allocator, model->digests, model->surface.slots, sizeof *model->digests);
    if (model->copied != NULL) {
        aegis_deallocate(&allocator, model->copied, model->surface.slots,
                         aegis_null_input_bytes(model) + 1);
    }
    aegis_null_free_trial(model);
    aegis_deallocate(&allocator, model->boundaries, model->file.boundary_count,
                     sizeof *model->boundaries);
    aegis_deallocate(&allocator, model->candidates, model->file.operator_count,
                     sizeof *model->candidates);
    aegis_surface_finish(&model->surface);
    aegis_null_file_finish(&model->file);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

static aegis_status
make_surface(null_model *model, const aegis_model_config *config, aegis_error *err)
{
    const aegis_null_file *file = &model->file;
    size_t inputs = file->input_count, outputs = file->output_count;
    aegis_input_shape *shapes = aegis_allocate_zeroed(&model->allocator, inputs, sizeof *shapes);
    aegis_tensor_info *infos =
        aegis_allocate_zeroed(&model->allocator, inputs + outputs, sizeof *infos);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    if (shapes == NULL || infos == NULL) {
        aegis_error_set(err, AEGIS_HERE(COMPONENT), status, "no memory for a null model");
        goto done;
    }
    status = aegis_surface_fix_shapes(config, file->inputs, inputs, shapes, err);
    for (size_t i = 0; status == AEGIS_OK && i < inputs; i++) {
        infos[i] = (aegis_tensor_info){
            .name = shapes[i].name, .element = file->inputs[i].element, .rank = shapes[i].rank};
        memcpy(infos[i].shape, shapes[i].shape, sizeof infos[i].shape);
    }
    for (size_t i = 0; status == AEGIS_OK && i < outputs; i++) {
        const aegis_surface_declaration *one = &file->outputs[i];
        infos[inputs + i] =
            (aegis_tensor_info){.name = one->name, .element = one->element, .rank = one->rank};
        memcpy(infos[inputs + i].shape, one->shape, sizeof one->shape);
    }
    if (status == AEGIS_OK) {
        status = aegis_surface_init(&model->surface, config, infos, inputs, infos + inputs, outputs,
                                    &model->allocator, err);
    }
done:
    aegis_deallocate(&model->allocator, shapes, inputs, sizeof *shapes);
    aegis_deallocate(&model->allocator, infos, inputs + outputs, sizeof *infos);
    return status;
}

void aegis_null_fill_weights(null_model *model)
{
    for (uint64_t i = 0; i < model->file.weights_bytes; i++) {
        model->weights[i] = (unsigned char)(i * 131 + 7);
    }
    for (uint64_t i = 0; i < model->file.prepacked_bytes; i++) {
        model->prepacked[i] = (unsigned char)(i * 29 + 3);
    }
}

static uint64_t permanent_bytes(const null_model *model)
{
    uint64_t total = model->file.weights_bytes + model->file.prepacked_bytes;
    for (size_t i = 0; i < model->surface.buffer_count; i++) {
        total += model->surface.buffers[i].size_bytes;
    }
    for (size_t i = 0; i < model->file.boundary_count; i++) {
        total += model->file.boundaries[i].bytes;
    }
    return total;
}

aegis_status aegis_null_check_limit(const null_model *model, uint64_t activations, aegis_error *err)
{
    uint64_t total = permanent_bytes(model) + activations;
    if (model->memory_limit != 0 && total > model->memory_limit) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs at least %" PRIu64 " bytes, its memory limit is %" PRIu64,
                               total, model->memory_limit);
    }
    return AEGIS_OK;
}

static aegis_status
open_trial(null_model *model, const aegis_model_config *config, aegis_error *err)
{
    const aegis_null_file *file = &model->file;
    aegis_status status = aegis_null_check_limit(model, 0, err);
    if (status == AEGIS_OK && config->reserve != NULL) {
        status = config->reserve(config->reserve_self, permanent_bytes(model), err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    model->weights = aegis_block_alloc(file->weights_bytes, 0, model);
    model->prepacked = aegis_block_alloc(file->prepacked_bytes, 0, model);
    model->digests =
        aegis_allocate_zeroed(&model->allocator, model->surface.slots, sizeof *model->digests);
    model->segments =
        aegis_allocate_zeroed(&model->allocator, file->segment_count, sizeof *model->segments);
    model->boundaries =
        aegis_allocate_zeroed(&model->allocator, file->boundary_count, sizeof *model->boundaries);
    bool short_of = model->weights == NULL || model->prepacked == NULL || model->digests == NULL ||
                    model->segments == NULL ||
                    (model->boundaries == NULL && file->boundary_count > 0);
    for (size_t i = 0; !short_of && i < file->boundary_count; i++) {
        model->boundaries[i] = aegis_block_alloc(file->boundaries[i].bytes, 0, model);
        short_of = model->boundaries[i] == NULL;
    }
    for (size_t i = 0; !short_of && i < file->segment_count; i++) {
        size_t count = file->segments[i].allocation_count + 1;
        aegis_tape_init(&model->segments[i].tape, &model->allocator);
        model->segments[i].addresses =
            aegis_allocate_zeroed(&model->allocator, count, sizeof(void *));
        model->segments[i].live = aegis_allocate_zeroed(&model->allocator, count, sizeof(void *));
        short_of = model->segments[i].addresses == NULL || model->segments[i].live == NULL;
    }
    if (short_of) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a null model");
    }
    if (config->early_copies) {
        model->copied = aegis_allocate_zeroed(&model->allocator, model->surface.slots,
                                              aegis_null_input_bytes(model) + 1);
    }
    if (config->early_copies && model->copied == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the inputs of a null model");
    }
    aegis_null_fill_weights(model);
    return aegis_surface_open_trial(&model->surface, err);
}

static aegis_status
null_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    null_backend *backend = self;
    char *bytes = NULL;
    size_t size = 0;
    null_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    if (model == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a null model");
    }
    model->backend = backend;
    model->allocator = backend->allocator;
    model->memory_limit = config->memory_limit_bytes;
    model->player =
        (aegis_player){.reserve = &backend->reserve, .empty = model->empty, .inject_index = -1};
    model->player.spill.first_index = -1;
    aegis_status status =
        aegis_file_read(config->path, LARGEST_FILE, &model->allocator, &bytes, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_sha256_bytes(bytes, size, model->hash, err);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_null_file_parse(bytes, size, config->path, &model->allocator, &model->file, err);
    }
    aegis_file_free(&model->allocator, bytes, size);
    if (status == AEGIS_OK) {
        status = aegis_null_file_cut(&model->file, config->cuts, config->cut_count, err);
    }
    if (status == AEGIS_OK) {
        status = make_surface(model, config, err);
    }
    if (status == AEGIS_OK) {
        status = open_trial(model, config, err);
    }
    if (status != AEGIS_OK) {
        null_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- the rest of the table ---- */

static const char *null_hash(void *self)
{
    return ((null_model *)self)->hash;
}

static const char *null_label(void *self)
{
    (void)self;
    return "null 1 on host";
}

static bool null_is_valid(void *self)
{
    return !((null_model *)self)->lost;
}

static const aegis_tensor_info *null_inputs(void *self, size_t *ret_count)
{
    null_model *model = self;
    *ret_count = model->surface.input_count;
    return model->surface.inputs;
}

static const aegis_tensor_info *null_outputs(void *self, size_t *ret_count)
{
    null_model *model = self;
    *ret_count = model->surface.output_count;
    return model->surface.outputs;
}

static uint32_t null_segment_count(void *self)
{
    return (uint32_t)((null_model *)self)->file.segment_count;
}

static uint64_t null_overhead_bytes(void *self)
{
    (void)self;
    return sizeof(null_model);
}

static uint64_t null_loading_peak_bytes(void *self)
{
    null_model *model = self;
    return model->file.weights_bytes + model->file.prepacked_bytes;
}

static bool null_is_placed(void *self)
{
    return ((null_model *)self)->placed;
}

static aegis_status null_reset(void *self, aegis_error *err)
{
    return aegis_surface_reset(&((null_model *)self)->surface, err);
}

static aegis_status null_input(void *self,
                               uint32_t slot,
                               const char *name,
                               void **ret_data,
                               uint64_t *ret_size,
                               aegis_error *err)
{
    return aegis_surface_find_input(&((null_model *)self)->surface, slot, name, ret_data, ret_size,
                                    err);
}

static aegis_status null_output(void *self,
                                uint32_t slot,
                                const char *name,
                                void **ret_data,
                                uint64_t *ret_size,
                                aegis_error *err)
{
    return aegis_surface_find_output(&((null_model *)self)->surface, slot, name, ret_data, ret_size,
                                     err);
}

static void null_commit(void *self)
{
    null_model *model = self;
    model->surface.parity = model->surface.written;
}

static void null_last_spill(void *self, aegis_model_spill *ret_spill)
{
    *ret_spill = ((null_model *)self)->player.spill;
}

static void null_visit_touched(void *model, aegis_model_visit visit, void *self)
{
    const null_model *one = model;
    visit(self, one->weights, one->file.weights_bytes);
    visit(self, one->prepacked, one->file.prepacked_bytes);
    for (size_t i = 0; i < one->surface.buffer_count; i++) {
        visit(self, one->surface.buffers[i].pointer, one->surface.buffers[i].size_bytes);
    }
}

static const char *null_version(void *self)
{
    (void)self;
    return "1";
}

static void null_destroy(void *self)
{
    null_backend *backend = self;
    aegis_allocator allocator = backend->allocator;
    aegis_reserve_finish(&backend->reserve);
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

static const aegis_backend_ops NULL_OPS = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "null",
    .destroy = null_destroy,
    .runtime_version = null_version,
    .open = null_open,
    .close = null_close,
    .hash = null_hash,
    .label = null_label,
    .is_valid = null_is_valid,
    .inputs = null_inputs,
    .outputs = null_outputs,
    .segment_count = null_segment_count,
    .record = aegis_null_record,
    .lifetimes = aegis_null_lifetimes,
    .overhead_bytes = null_overhead_bytes,
    .loading_peak_bytes = null_loading_peak_bytes,
    .place = aegis_null_place,
    .is_placed = null_is_placed,
    .reset = null_reset,
    .input = null_input,
    .output = null_output,
    .execute = aegis_null_execute,
    .terminate = aegis_null_terminate,
    .commit = null_commit,
    .last_spill = null_last_spill,
    .cut_candidates = aegis_null_cut_candidates,
    .visit_touched = null_visit_touched,
    .enqueue_inputs = aegis_null_enqueue_inputs,
};

aegis_status aegis_null_backend_create(const aegis_backend_config *config,
                                       aegis_device *device,
                                       const aegis_allocator *allocator,
                                       aegis_backend **ret_backend,
                                       aegis_error *err)
{
    (void)config;
    (void)device;
    null_backend *backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the null runtime");
    }
    backend->allocator = *allocator;
    aegis_status status = aegis_reserve_init(&backend->reserve, RESERVE_BYTES, err);
    if (status != AEGIS_OK) {
        aegis_deallocate(allocator, backend, 1, sizeof *backend);
        return status;
    }
    return aegis_backend_wrap(&NULL_OPS, backend, allocator, ret_backend, err);
}
