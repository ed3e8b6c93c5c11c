/* SPDX-License-Identifier: Apache-2.0 */
/* Recording what a null model allocates, and moving it to planned addresses. */
#include "backend/null/null_model.h"

#include <inttypes.h>

#define COMPONENT AEGIS_NULL

static aegis_status
record_segment(null_model *model, uint32_t segment, aegis_tape *tape, aegis_error *err)
{
    aegis_tape_clear(tape);
    model->recording = tape;
    aegis_status status = aegis_null_run_segment(model, segment, 0, err);
    model->recording = NULL;
    return status;
}

static aegis_status list_lifetimes(null_model *model, aegis_error *err)
{
    size_t most = 2 + model->surface.buffer_count + model->file.boundary_count;
    for (size_t i = 0; i < model->file.segment_count; i++) {
        most += model->segments[i].tape.allocation_count;
    }
    aegis_deallocate(&model->allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    model->lifetime_capacity = model->lifetime_count = 0;
    model->lifetimes = aegis_allocate_zeroed(&model->allocator, most, sizeof *model->lifetimes);
    if (model->lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for lifetimes");
    }
    model->lifetime_capacity = most;
    size_t count = 0;
    const uint64_t sizes[] = {model->file.weights_bytes, model->file.prepacked_bytes};
    const aegis_memory_class classes[] = {AEGIS_MEMORY_WEIGHTS, AEGIS_MEMORY_PREPACKED};
    for (uint32_t i = 0; i < 2; i++) {
        if (sizes[i] > 0) {
            model->lifetimes[count++] = (aegis_tensor_lifetime){.tensor = i,
                                                                .memory_class = classes[i],
                                                                .end = 1,
                                                                .size_bytes = sizes[i],
                                                                .alignment = 64};
        }
    }
    aegis_surface_lifetimes(&model->surface, 2, model->lifetimes + count);
    count += model->surface.buffer_count;
    for (uint32_t i = 0; i < model->file.boundary_count; i++) {
        const aegis_null_boundary *one = &model->file.boundaries[i];
        model->lifetimes[count++] = (aegis_tensor_lifetime){.tensor = i,
                                                            .memory_class = AEGIS_MEMORY_BOUNDARY,
                                                            .segment = one->first,
                                                            .start = one->first,
                                                            .end = (int64_t)one->last + 1,
                                                            .size_bytes = one->bytes,
                                                            .alignment = 64};
    }
    for (uint32_t i = 0; i < model->file.segment_count; i++) {
        count += aegis_tape_lifetimes(&model->segments[i].tape, AEGIS_MEMORY_ACTIVATION, i,
                                      model->lifetimes + count);
    }
    model->lifetime_count = count;
    return AEGIS_OK;
}

aegis_status aegis_null_record(void *self, aegis_stream *stream, aegis_error *err)
{
    null_model *model = self;
    aegis_tape second;
    (void)stream;
    aegis_tape_init(&second, &model->allocator);
    aegis_status status = AEGIS_OK;
    uint64_t peak = 0;
    for (uint32_t i = 0; status == AEGIS_OK && i < model->file.segment_count; i++) {
        status = record_segment(model, i, &model->segments[i].tape, err);
        peak =
            model->segments[i].tape.peak_bytes > peak ? model->segments[i].tape.peak_bytes : peak;
    }
    for (uint32_t i = 0; status == AEGIS_OK && i < model->file.segment_count; i++) {
        status = record_segment(model, i, &second, err);
        if (status == AEGIS_OK) {
            status = aegis_tape_compare(&model->segments[i].tape, &second, err);
        }
    }
    aegis_tape_finish(&second);
    if (status == AEGIS_OK) {
        status = aegis_null_check_limit(model, peak, err);
    }
    if (status == AEGIS_OK) {
        status = list_lifetimes(model, err);
    }
    if (status == AEGIS_OK) {
        model->recorded = true;
    }
    return status;
}

aegis_status aegis_null_lifetimes(void *self,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    null_model *model = self;
    if (!model->recorded) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "the model was not recorded yet");
    }
    *ret_lifetimes = model->lifetimes;
    *ret_count = model->lifetime_count;
    return AEGIS_OK;
}

/* After the trial memory is gone: until then nothing may have changed. */
static void place_boundaries(null_model *model, const aegis_model_placement *placement)
{
    for (size_t i = 0; i < model->lifetime_count; i++) {
        const aegis_tensor_lifetime *one = &model->lifetimes[i];
        if (one->memory_class == AEGIS_MEMORY_BOUNDARY) {
            model->boundaries[one->tensor] =
                (unsigned char *)placement->base + placement->binding->placements[i].offset_bytes;
        }
    }
}

aegis_status aegis_null_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    null_model *model = self;
    unsigned char *base = placement->base, *weights = NULL, *prepacked = NULL;
    void **buffers =
        aegis_allocate_zeroed(&model->allocator, model->surface.buffer_count + 1, sizeof *buffers);
    if (buffers == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to place");
    }
    size_t next = 0;
    for (size_t i = 0; i < model->lifetime_count; i++) {
        const aegis_tensor_lifetime *one = &model->lifetimes[i];
        unsigned char *at = base + placement->binding->placements[i].offset_bytes;
        if (one->memory_class == AEGIS_MEMORY_WEIGHTS) {
            weights = at;
        } else if (one->memory_class == AEGIS_MEMORY_PREPACKED) {
            prepacked = at;
        } else if (one->memory_class == AEGIS_MEMORY_ACTIVATION) {
            model->segments[one->segment].addresses[one->tensor] = at;
        } else if (one->memory_class != AEGIS_MEMORY_BOUNDARY) {
            buffers[next++] = at;
        }
    }
    aegis_status status = aegis_surface_place(&model->surface, buffers, err);
    aegis_deallocate(&model->allocator, buffers, model->surface.buffer_count + 1, sizeof *buffers);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_null_free_trial(model);
    place_boundaries(model, placement);
    model->placed = true;
    model->runs = 0;
    model->weights = weights;
    model->prepacked = prepacked;
    aegis_null_fill_weights(model);
    model->player.planned_base = base;
    model->player.planned_bytes = placement->size_bytes;
    model->player.spill_base = placement->spill_base;
    model->player.spill_bytes = placement->spill_bytes;
    return AEGIS_OK;
}
