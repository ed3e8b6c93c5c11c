/* SPDX-License-Identifier: Apache-2.0 */
/* What a language model keeps in memory, and moving it to planned addresses. */
#include "backend/transformer/backend/language_model.h"

#include <string.h>

#define COMPONENT AEGIS_LANGUAGE

/* Numbers of tensors that are not the surface's. */
enum {
    TENSOR_WEIGHTS = 0,
    TENSOR_CACHE,
    TENSOR_CROSSING,
    TENSOR_WORKING,
    TENSOR_SURFACE
};

static size_t lifetime_room(const language_model *model)
{
    return 4 + model->base.surface.buffer_count + model->base.segment_count;
}

/* Weights, cache, the surface's buffers in their order, what crosses cuts, working memory of each
 * segment, and last the buffers of a streamed model. Without cuts nothing crosses: then all
 * activations are the one segment's. */
static void list_lifetimes(language_model *model)
{
    const aegis_runner_sizes *sizes = &model->facts->sizes;
    const bool whole = model->base.segment_count == 1;
    aegis_tensor_lifetime *list = model->base.lifetimes;
    size_t count = 0;
    list[count++] = (aegis_tensor_lifetime){.tensor = TENSOR_WEIGHTS,
                                            .memory_class = AEGIS_MEMORY_WEIGHTS,
                                            .end = 1,
                                            .size_bytes = sizes->weights,
                                            .alignment = 64};
    list[count++] = (aegis_tensor_lifetime){.tensor = TENSOR_CACHE,
                                            .memory_class = AEGIS_MEMORY_STATE,
                                            .end = 1,
                                            .size_bytes = sizes->cache,
                                            .alignment = 64};
    aegis_surface_lifetimes(&model->base.surface, TENSOR_SURFACE, list + count);
    count += model->base.surface.buffer_count;
    list[count++] = (aegis_tensor_lifetime){.tensor = TENSOR_CROSSING,
                                            .memory_class = whole ? AEGIS_MEMORY_ACTIVATION
                                                                  : AEGIS_MEMORY_BOUNDARY,
                                            .end = model->base.segment_count,
                                            .size_bytes = sizes->crossing,
                                            .alignment = 64};
    for (uint32_t s = 0; s < model->base.segment_count; s++) {
        list[count++] = (aegis_tensor_lifetime){.tensor = TENSOR_WORKING,
                                                .memory_class = AEGIS_MEMORY_ACTIVATION,
                                                .segment = s,
                                                .end = 1,
                                                .size_bytes = sizes->working,
                                                .alignment = 64};
    }
    if (sizes->buffers > 0) { /* what is in them outlives segments and jobs */
        list[count++] = (aegis_tensor_lifetime){
            .tensor = TENSOR_SURFACE + (uint32_t)model->base.surface.buffer_count,
            .memory_class = AEGIS_MEMORY_STATE,
            .end = 1,
            .size_bytes = sizes->buffers,
            .alignment = AEGIS_RUNNER_BUFFER_ALIGNMENT};
    }
    model->base.lifetime_count = count;
}

static aegis_status run_job(language_model *model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; s < model->base.segment_count && status == AEGIS_OK; s++) {
        status = aegis_language_execute(model, s, 0, NULL, err);
    }
    return status;
}

/* A step allocates nothing, so there is nothing to compare: one job shows that it runs. From here
 * on jobs are as long as they can be. */
aegis_status aegis_language_record(void *self, aegis_stream *stream, aegis_error *err)
{
    language_model *model = self;
    (void)stream;
    aegis_status status = aegis_language_make_lifetimes(&model->base, lifetime_room(model), err);
    if (status == AEGIS_OK) {
        list_lifetimes(model);
        status = run_job(model, err);
    }
    if (status == AEGIS_OK) {
        model->base.surface.written =
            model->base.surface.parity; /* of a job that begins no sequence */
        aegis_runner_fill_cache(model->runner);
        model->base.recorded = true;
    }
    return status;
}

/* The only step that can fail: what fills the inputs may be gone. */
static aegis_status
place_surface(language_model *model, const aegis_model_placement *placement, aegis_error *err)
{
    const size_t count = model->base.surface.buffer_count;
    void **buffers = aegis_allocate_zeroed(&model->base.allocator, count, sizeof *buffers);
    if (buffers == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to place");
    }
    for (size_t i = 0; i < count; i++) {
        buffers[i] = (uint8_t *)placement->base +
                     placement->binding->placements[TENSOR_CROSSING + i].offset_bytes;
    }
    aegis_status status = aegis_surface_place(&model->base.surface, buffers, err);
    aegis_deallocate(&model->base.allocator, buffers, count, sizeof *buffers);
    return status;
}

aegis_status
aegis_language_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    language_model *model = self;
    const aegis_memory_placement *places = placement->binding->placements;
    uint8_t *base = placement->base;
    size_t at = TENSOR_CROSSING + model->base.surface.buffer_count;
    aegis_status status = place_surface(model, placement, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_language_write_prompt(&model->base);
    aegis_runner_move(model->runner, base + places[TENSOR_WEIGHTS].offset_bytes,
                      base + places[model->base.lifetime_count - 1].offset_bytes,
                      base + places[TENSOR_CACHE].offset_bytes);
    aegis_block_free(model->trial);
    model->trial = NULL;
    model->crossing = base + places[at++].offset_bytes;
    for (uint32_t s = 0; s < model->base.segment_count; s++) {
        model->segments[s].working = base + places[at++].offset_bytes;
    }
    model->base.placed = true;
    model->base.next = 0;
    return AEGIS_OK;
}
