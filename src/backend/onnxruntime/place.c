/* SPDX-License-Identifier: Apache-2.0 */
/* Moving into the arena: a second session over planned bytes, then the end of the first. */
#include "backend/onnxruntime/model.h"

#include "backend/block.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define COMPONENT "backend.onnxruntime"

/* Of one segment. */
typedef struct addresses {
    aegis_ort_place *kept;
    void **activations;
    size_t kept_count, activation_count;
    aegis_ort_session session;
} addresses;

typedef struct planned {
    const aegis_model_placement *placement;
    void **chunks; /* NULL: stays in the file */
    void **sources, **buffers, **boundaries;
    void **packed; /* packed copies that others may read too, of all segments; NULL: another */
    unsigned char *image; /* of a paged model: where its weights are when it runs */
    size_t chunk_count, buffer_count, boundary_count, packed_count;
    addresses *segments;
    size_t segment_count;
} planned;

static void finish_planned(const aegis_allocator *allocator, planned *p)
{
    for (size_t i = 0; p->segments != NULL && i < p->segment_count; i++) {
        addresses *one = &p->segments[i];
        aegis_deallocate(allocator, one->kept, one->kept_count, sizeof *one->kept);
        aegis_deallocate(allocator, one->activations, one->activation_count, sizeof(void *));
    }
    aegis_deallocate(allocator, p->segments, p->segment_count, sizeof *p->segments);
    aegis_deallocate(allocator, p->chunks, p->chunk_count, sizeof(void *));
    aegis_deallocate(allocator, p->sources, p->chunk_count, sizeof(void *));
    aegis_deallocate(allocator, p->packed, p->packed_count + 1, sizeof(void *));
    aegis_deallocate(allocator, p->buffers, p->buffer_count, sizeof(void *));
    aegis_deallocate(allocator, p->boundaries, p->boundary_count, sizeof(void *));
    memset(p, 0, sizeof *p);
}

static bool make_planned(const aegis_ort_model *model, planned *p)
{
    const aegis_allocator *allocator = &model->allocator;
    p->chunk_count = model->compiled.chunk_count + 1;
    p->buffer_count = model->surface.buffer_count + 1;
    p->boundary_count = model->compiled.boundary_count + 1;
    p->segment_count = model->segment_count;
    p->chunks = aegis_allocate_zeroed(allocator, p->chunk_count, sizeof(void *));
    p->sources = aegis_allocate_zeroed(allocator, p->chunk_count, sizeof(void *));
    p->buffers = aegis_allocate_zeroed(allocator, p->buffer_count, sizeof(void *));
    p->boundaries = aegis_allocate_zeroed(allocator, p->boundary_count, sizeof(void *));
    p->segments = aegis_allocate_zeroed(allocator, p->segment_count, sizeof *p->segments);
    bool whole = p->chunks != NULL && p->sources != NULL && p->buffers != NULL &&
                 p->boundaries != NULL && p->segments != NULL;
    for (size_t i = 0; whole && i < p->segment_count; i++) {
        addresses *one = &p->segments[i];
        one->kept_count = model->segments[i].loading.allocation_count + 1;
        one->activation_count = model->segments[i].run.allocation_count + 1;
        one->kept = aegis_allocate_zeroed(allocator, one->kept_count, sizeof *one->kept);
        one->activations = aegis_allocate_zeroed(allocator, one->activation_count, sizeof(void *));
        whole = one->kept != NULL && one->activations != NULL;
        p->packed_count += model->segments[i].kept_count;
    }
    p->packed = aegis_allocate_zeroed(allocator, p->packed_count + 1, sizeof(void *));
    return whole && p->packed != NULL;
}

/* On a device the runtime's own copies follow the weights of the file (see list_lifetimes). */
static void resolve_weight(const aegis_ort_model *model,
                           planned *p,
                           const aegis_tensor_lifetime *one,
                           uint64_t planned_bytes,
                           unsigned char *at)
{
    size_t chunks = model->compiled.chunk_count;
    if (one->tensor >= chunks) {
        p->segments[one->segment].kept[one->tensor - chunks] =
            (aegis_ort_place){.address = at, .size_bytes = one->size_bytes};
        return;
    }
    /* As the plan has it: it was made from an earlier recording. */
    p->chunks[one->tensor] = planned_bytes == 0 ? NULL : at;
    p->sources[one->tensor] =
        p->chunks[one->tensor] != NULL ? p->chunks[one->tensor] : model->chunks[one->tensor];
}

static aegis_ort_place
packed_place(const aegis_ort_model *model, size_t lifetime, bool shared, void *at)
{
    return (aegis_ort_place){.address = at,
                             .size_bytes = model->lifetimes[lifetime].size_bytes,
                             .shared = shared,
                             .origin =
                                 shared ? aegis_ort_model_packed_block(model, lifetime)->at : NULL};
}

static void resolve(const aegis_ort_model *model, planned *p)
{
    const aegis_model_placement *placement = p->placement;
    size_t next = 0;
    for (size_t i = 0; i < model->lifetime_count; i++) {
        const aegis_tensor_lifetime *one = &model->lifetimes[i];
        unsigned char *at =
            (unsigned char *)placement->base + placement->binding->placements[i].offset_bytes;
        switch (one->memory_class) {
        case AEGIS_MEMORY_WEIGHTS:
            resolve_weight(model, p, one, placement->binding->placements[i].size_bytes, at);
            break;
        case AEGIS_MEMORY_PREPACKED:
            p->segments[one->segment].kept[one->tensor] =
                packed_place(model, i, placement->binding->placements[i].shared, at);
            break;
        case AEGIS_MEMORY_STATE:
        case AEGIS_MEMORY_INPUT:
        case AEGIS_MEMORY_OUTPUT:
            p->buffers[next++] = at;
            break;
        case AEGIS_MEMORY_ACTIVATION:
            p->segments[one->segment].activations[one->tensor] = at;
            break;
        case AEGIS_MEMORY_BOUNDARY:
            p->boundaries[one->tensor] = at;
            break;
        case AEGIS_MEMORY_PAGED:
            p->image = at;
            break;
        case AEGIS_MEMORY_SPILL:
        case AEGIS_MEMORY_CLASS_COUNT:
            break;
        }
    }
}

/* The image's chunks are read to their places, and the session will look for them there. */
static aegis_status fill_image(aegis_ort_model *model, planned *p, aegis_error *err)
{
    aegis_status status =
        aegis_ort_paging_fill(&model->paging, &model->compiled, p->image, p->chunks, err);
    for (size_t i = 0; status == AEGIS_OK && i < model->compiled.chunk_count; i++) {
        p->sources[i] = p->chunks[i] != NULL ? p->chunks[i] : model->chunks[i];
    }
    aegis_ort_paging_places(&model->paging, p->image, p->segments[0].kept);
    model->segments[0].kept_count = model->paging.kept_count;
    return status;
}

/* The context that the segment's session does not use. */
static aegis_ort_context *spare(aegis_ort_segment *segment)
{
    return &segment->contexts[segment->context == &segment->contexts[0] ? 1 : 0];
}

/* Creates a segment's session at planned addresses; a departure from the recorded loading ends it.
 */
static aegis_status load_placed(aegis_ort_model *model, planned *p, size_t index, aegis_error *err)
{
    aegis_ort_context *context = spare(&model->segments[index]);
    addresses *own = &p->segments[index];
    aegis_ort_session_config config = aegis_ort_model_session(model, index);
    config.chunks = p->sources;
    config.context = context;
    context->mode = AEGIS_ORT_LOADING;
    context->places = own->kept;
    context->place_count = model->segments[index].kept_count;
    context->departed = false;
    context->player.planned_base = p->placement->base;
    context->player.planned_bytes = p->placement->size_bytes;
    context->player.spill_base = p->placement->spill_base;
    context->player.spill_bytes = p->placement->spill_bytes;
    if (model->cuda != NULL) {
        aegis_ort_cuda_own(model, context);
    }
    aegis_ort_enter(context);
    aegis_status status = aegis_ort_session_create(model->backend->ort, &config, &model->allocator,
                                                   &own->session, err);
    context->mode = AEGIS_ORT_BLOCKS;
    size_t left = 0, count = context->place_count;
    for (size_t i = 0; i < count; i++) {
        left += !context->places[i].used;
    }
    context->places = NULL;
    context->place_count = 0;
    /* A temporary block without a place was given back; one that stays outside the plan is not. */
    bool complete = left == 0 && context->live_bytes == 0 && atomic_load(&context->strays) == 0;
    if (status == AEGIS_OK && !complete) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                 "loading left its recording: %zu of %zu blocks that stay were not "
                                 "asked for, %" PRIu64 " bytes stay that have no place (first "
                                 "asked: %" PRIu64 " bytes)",
                                 left, count, context->live_bytes, context->asked_bytes);
    }
    aegis_ort_leave();
    return status;
}

/* Of the context that each segment does not use. */
static void end_sessions(aegis_ort_model *model, planned *p)
{
    for (size_t i = 0; i < p->segment_count; i++) {
        aegis_ort_enter(spare(&model->segments[i]));
        aegis_ort_session_finish(&p->segments[i].session);
        aegis_ort_leave();
    }
}

static void end_trial(aegis_ort_model *model)
{
    aegis_ort_cuda *cuda = model->cuda;
    if (cuda == NULL) {
        aegis_block_free(model->trial_boundaries);
    } else {
        (void)aegis_ort_heap_free(&cuda->heap, model->trial_boundaries);
        aegis_ort_heap_trim(&cuda->heap);
    }
    model->trial_boundaries = NULL;
}

/* The file stays mapped while a session may read of it, however unlikely; none of it resident. */
static void take_weights(aegis_ort_model *model, planned *p)
{
    bool needed = false;
    for (size_t i = 0; i < model->compiled.chunk_count; i++) {
        needed = needed || p->chunks[i] == NULL;
    }
    if (!needed && model->mapped_weights != NULL) {
        munmap(model->mapped_weights, model->compiled.weights_bytes);
        model->mapped_weights = NULL;
    }
    aegis_ort_weights_forget(&model->compiled, model->mapped_weights);
    if (!model->paging.wanted) {
        model->places = p->chunks;
        p->chunks = NULL;
        model->packed = p->packed;
        model->packed_count = p->packed_count;
        p->packed = NULL;
    }
}

/* What the sessions packed at shared places is what others have there. */
static aegis_status take_packed(aegis_ort_model *model, planned *p, aegis_error *err)
{
    aegis_ort_residents *residents = &model->backend->residents;
    aegis_status status = AEGIS_OK;
    size_t taken = 0;
    for (size_t i = 0; status == AEGIS_OK && i < p->segment_count; i++) {
        size_t count = model->paging.wanted ? 0 : model->segments[i].kept_count;
        status =
            aegis_ort_packed_take(residents, p->segments[i].kept, count, p->packed + taken, err);
        taken += status == AEGIS_OK ? count : 0;
    }
    if (status != AEGIS_OK) {
        aegis_ort_weights_give(residents, p->packed, taken);
    }
    return status;
}

/* Packing clears places before it fills them, and others may read there. `status` says why nothing
 * came of it; worse is only that they cannot read any more. */
static aegis_status
restore_packed(const aegis_ort_model *model, planned *p, aegis_status status, aegis_error *err)
{
    aegis_error why;
    for (size_t i = 0; i < p->segment_count && !model->paging.wanted; i++) {
        aegis_status own = aegis_ort_packed_restore(&model->backend->residents, p->segments[i].kept,
                                                    model->segments[i].kept_count, &why);
        if (own != AEGIS_OK) {
            status = own;
            if (err != NULL) {
                *err = why;
            }
        }
    }
    return status;
}

/* The new sessions come in, the ones before go. */
static void exchange_sessions(aegis_ort_model *model, planned *p)
{
    for (size_t i = 0; i < model->segment_count; i++) {
        aegis_ort_segment *segment = &model->segments[i];
        aegis_ort_session before = segment->session;
        segment->session = p->segments[i].session;
        p->segments[i].session = before;
        segment->context = spare(segment);
    }
    end_sessions(model, p);
    for (size_t i = 0; i < model->segment_count; i++) {
        aegis_ort_context_init(spare(&model->segments[i]), &model->backend->reserve);
    }
}

static void move_in(aegis_ort_model *model, planned *p)
{
    for (size_t i = 0; i < model->segment_count; i++) {
        aegis_ort_segment *segment = &model->segments[i];
        segment->addresses = p->segments[i].activations;
        segment->address_capacity = p->segments[i].activation_count;
        p->segments[i].activations = NULL;
        p->segments[i].activation_count = 0;
    }
    exchange_sessions(model, p);
    end_trial(model);
    take_weights(model, p);
    for (size_t i = 0; i < model->compiled.boundary_count; i++) {
        model->boundaries[i] = p->boundaries[i];
        if (model->cuda == NULL) {
            memset(model->boundaries[i], 0, model->compiled.boundaries[i].info.size_bytes);
        }
    }
    model->placed = true;
    model->reached = 0;
}

static void start_playing(aegis_ort_model *model)
{
    for (size_t i = 0; i < model->segment_count; i++) {
        aegis_ort_segment *segment = &model->segments[i];
        segment->context->player.tape = &segment->run;
        segment->context->player.addresses = segment->addresses;
        segment->context->mode = AEGIS_ORT_PLAYING;
    }
}

static aegis_status place_surface(aegis_ort_model *model, planned *p, aegis_error *err)
{
    return model->cuda != NULL ? aegis_ort_cuda_place_surface(model, p->buffers, err)
                               : aegis_surface_place(&model->surface, p->buffers, err);
}

/* A model that was measured as graphs has to run as graphs, and no other. */
static aegis_status capture_placed(aegis_ort_model *model, bool was_captured, aegis_error *err)
{
    aegis_ort_cuda *cuda = model->cuda;
    uint32_t slots = was_captured ? model->surface.slots : 0;
    aegis_status status = aegis_ort_cuda_capture(model, slots, err);
    if (status == AEGIS_OK && was_captured && !cuda->captured) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                                 "it could be captured before it was placed and cannot now: %s",
                                 cuda->note);
    }
    return status == AEGIS_OK ? aegis_ort_cuda_reset(model, err) : status;
}

aegis_status aegis_ort_model_place(aegis_ort_model *model,
                                   const aegis_model_placement *placement,
                                   aegis_error *err)
{
    planned p = {.placement = placement};
    bool was_captured = model->cuda != NULL && model->cuda->captured;
    if (!make_planned(model, &p)) {
        finish_planned(&model->allocator, &p);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to place");
    }
    resolve(model, &p);
    bool paged = model->paging.wanted;
    if (paged && placement->paged_resident != NULL) {
        *placement->paged_resident = NULL; /* what lay there is overwritten */
    }
    if (model->cuda != NULL) {
        aegis_ort_cuda_drop_graphs(model);
    }
    aegis_ort_residents *residents = &model->backend->residents;
    aegis_status status = paged
                              ? fill_image(model, &p, err)
                              : aegis_ort_weights_take(residents, &model->compiled, p.chunks, err);
    bool taken = status == AEGIS_OK && !paged, packed = false;
    for (size_t i = 0; status == AEGIS_OK && i < model->segment_count; i++) {
        status = load_placed(model, &p, i, err);
    }
    if (status == AEGIS_OK) {
        status = take_packed(model, &p, err);
        packed = status == AEGIS_OK;
    }
    if (status == AEGIS_OK && paged) {
        status = aegis_ort_paging_keep(&model->paging, &model->compiled, p.image,
                                       placement->paged_resident, &model->allocator, err);
    }
    if (status == AEGIS_OK) {
        status = place_surface(model, &p, err);
    }
    if (status != AEGIS_OK) {
        end_sessions(model, &p);
        status = restore_packed(model, &p, status, err);
        aegis_ort_weights_give(residents, p.chunks, taken ? model->compiled.chunk_count : 0);
        aegis_ort_weights_give(residents, p.packed, packed ? p.packed_count : 0);
        finish_planned(&model->allocator, &p);
        return status;
    }
    /* From here on the model lives in the arena; what fails now loses it. */
    move_in(model, &p);
    finish_planned(&model->allocator, &p);
    status = aegis_ort_model_bind(model, err);
    start_playing(model);
    if (status == AEGIS_OK && model->cuda != NULL) {
        status = capture_placed(model, was_captured, err);
    }
    model->lost = status != AEGIS_OK;
    return status;
}

/* ---- the trial of a paged model ---- */

static aegis_status load_over_image(aegis_ort_model *model, planned *p, aegis_error *err)
{
    aegis_status status = fill_image(model, p, err);
    if (status == AEGIS_OK) {
        status = load_placed(model, p, 0, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_ort_paging_keep(&model->paging, &model->compiled, p->image, NULL,
                                       &model->allocator, err);
    }
    return status;
}

aegis_status aegis_ort_model_page_trial(aegis_ort_model *model, aegis_error *err)
{
    aegis_ort_paging *paging = &model->paging;
    void *pages =
        mmap(NULL, paging->size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no %" PRIu64 " bytes for the weights of a trial",
                               paging->size_bytes);
    }
    paging->trial = pages;
    const aegis_model_placement placement = {.base = pages, .size_bytes = paging->size_bytes};
    planned p = {.placement = &placement};
    aegis_status status = make_planned(model, &p)
                              ? AEGIS_OK
                              : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                                "no memory for a trial");
    p.image = pages;
    if (status == AEGIS_OK) {
        status = load_over_image(model, &p, err);
    }
    if (status != AEGIS_OK) {
        end_sessions(model, &p);
        finish_planned(&model->allocator, &p);
        munmap(pages, paging->size_bytes);
        paging->trial = NULL;
        return status;
    }
    exchange_sessions(model, &p);
    finish_planned(&model->allocator, &p);
    aegis_ort_weights_forget(&model->compiled, model->mapped_weights);
    status = aegis_ort_model_bind(model, err);
    model->lost = status != AEGIS_OK;
    return status;
}
