/* SPDX-License-Identifier: Apache-2.0 */
/* Executing a segment of a null model, with the faults that its file asks for. */
#include "backend/null/null_model.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#define COMPONENT AEGIS_NULL
#define LONGEST_HANG_NS (UINT64_C(10) * AEGIS_NS_PER_S)

uint64_t aegis_null_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec;
}

static bool stopped(null_model *model)
{
    return atomic_load(&model->stop) == atomic_load(&model->generation);
}

static void spin(null_model *model, uint64_t duration_ns)
{
    uint64_t end = aegis_null_now_ns() + duration_ns;
    while (aegis_null_now_ns() < end && !stopped(model)) {
    }
}

/* FNV-1a. */
static uint64_t digest(uint64_t state, const void *bytes, uint64_t size)
{
    const unsigned char *at = bytes;
    for (uint64_t i = 0; i < size; i++) {
        state = (state ^ at[i]) * UINT64_C(0x100000001b3);
    }
    return state;
}

static const aegis_null_fault *find_fault(const null_model *model, uint32_t segment)
{
    for (size_t i = 0; i < model->file.fault_count; i++) {
        const aegis_null_fault *fault = &model->file.faults[i];
        if (fault->run == model->runs && fault->segment == segment &&
            fault->trial != model->placed) {
            return fault;
        }
    }
    return NULL;
}

static void *take(null_model *model, uint64_t size)
{
    if (model->placed) {
        return aegis_player_alloc(&model->player, size);
    }
    uint64_t tag = model->recording != NULL ? aegis_tape_alloc(model->recording, size) : 0;
    return aegis_block_alloc(size, tag, model);
}

static void give(null_model *model, void *pointer)
{
    uint64_t size, tag;
    const void *owner;
    if (model->placed) {
        aegis_player_free(&model->player, pointer);
    } else if (aegis_block_describe(pointer, &size, &tag, &owner)) {
        if (model->recording != NULL) {
            aegis_tape_free(model->recording, tag);
        }
        aegis_block_free(pointer);
    }
}

/* What a tensor is filled with depends on all that was computed before. */
static int filling(uint64_t state)
{
    return (int)((state >> 8) & 0xff);
}

/* Runs the script. False when no memory was to be had (unplaced models only). */
static bool
run_steps(null_model *model, uint32_t index, const aegis_null_fault *fault, uint64_t *state)
{
    const aegis_null_segment *script = &model->file.segments[index];
    void **live = model->segments[index].live;
    size_t next = 0;
    bool served = true;
    for (size_t i = 0; i < script->step_count && served && !stopped(model) &&
                       model->player.state != AEGIS_PLAYER_DEPARTED;
         i++) {
        const aegis_null_step *step = &script->steps[i];
        switch (step->kind) {
        case AEGIS_NULL_ALLOC: {
            bool grows = fault != NULL && fault->kind == AEGIS_NULL_GROW &&
                         fault->allocation == (int64_t)next;
            live[next] = take(model, step->operand + (grows ? fault->bytes : 0));
            served = live[next] != NULL;
            if (served) {
                memset(live[next], filling(*state), step->operand);
            }
            next++;
            break;
        }
        case AEGIS_NULL_FREE:
            *state = digest(*state, live[step->operand], step->bytes);
            give(model, live[step->operand]);
            live[step->operand] = NULL;
            break;
        case AEGIS_NULL_WRITE:
            memset(model->boundaries[step->operand], filling(*state), step->bytes);
            break;
        case AEGIS_NULL_READ:
            *state = digest(*state, model->boundaries[step->operand], step->bytes);
            break;
        case AEGIS_NULL_MARK:
            if (model->marks != NULL) {
                model->marks[step->operand] = aegis_null_now_ns();
            }
            break;
        case AEGIS_NULL_SPIN:
            spin(model, step->operand);
            break;
        }
    }
    for (size_t i = 0; i < next; i++) {
        if (live[i] != NULL) {
            give(model, live[i]);
            live[i] = NULL;
        }
    }
    return served;
}

uint64_t aegis_null_input_bytes(const null_model *model)
{
    uint64_t total = 0;
    for (size_t i = 0; i < model->surface.input_count; i++) {
        total += model->surface.inputs[i].size_bytes;
    }
    return total;
}

aegis_status
aegis_null_enqueue_inputs(void *self, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    const null_model *model = self;
    const aegis_surface *surface = &model->surface;
    if (slot >= surface->slots) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no slot %" PRIu32, slot);
    }
    unsigned char *to = model->copied + slot * aegis_null_input_bytes(model);
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < surface->input_count && status == AEGIS_OK; i++) {
        if (surface->input_partner[i] < 0) {
            status = aegis_stream_enqueue_copy(stream, to,
                                               aegis_surface_input_pointer(surface, i, slot, 0),
                                               surface->inputs[i].size_bytes, err);
        }
        to += surface->inputs[i].size_bytes;
    }
    return status;
}

static uint64_t begin_digest(const null_model *model, uint32_t slot)
{
    const unsigned char *copied =
        model->copied == NULL ? NULL : model->copied + slot * aegis_null_input_bytes(model);
    const aegis_surface *surface = &model->surface;
    uint64_t state =
        digest(UINT64_C(0xcbf29ce484222325), model->weights, model->file.weights_bytes);
    state = digest(state, model->prepacked, model->file.prepacked_bytes);
    for (size_t i = 0; i < surface->input_count; i++) {
        const uint64_t size = surface->inputs[i].size_bytes;
        const bool came = copied != NULL && surface->input_partner[i] < 0;
        state = digest(
            state, came ? copied : aegis_surface_input_pointer(surface, i, slot, surface->parity),
            size);
        copied = copied == NULL ? NULL : copied + size;
    }
    return state;
}

/* Floats in [0, 1), integers in 0..127, bools in 0..1: values that every element type can hold. */
static void write_outputs(null_model *model, uint32_t slot, uint64_t state)
{
    const aegis_surface *surface = &model->surface;
    for (size_t i = 0; i < surface->output_count; i++) {
        const aegis_tensor_info *info = &surface->outputs[i];
        aegis_source source = {.kind = AEGIS_SOURCE_RANDOM,
                               .high = info->element == AEGIS_ELEMENT_BOOL ? 1 : 127};
        aegis_source_fill(&source, info, state, &model->allocator,
                          aegis_surface_output_pointer(surface, i, slot, surface->parity), NULL);
    }
}

static aegis_status finish_run(null_model *model,
                               uint32_t segment,
                               const aegis_null_fault *fault,
                               bool served,
                               bool was_stopped,
                               aegis_error *err)
{
    bool failed =
        fault != NULL && (fault->kind == AEGIS_NULL_FAIL || fault->kind == AEGIS_NULL_LOSE);
    if (model->placed) {
        aegis_status status = aegis_player_end(&model->player, !was_stopped && !failed, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    if (!served) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for an allocation of segment %" PRIu32, segment);
    }
    if (was_stopped) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TERMINATED,
                               "segment %" PRIu32 " was ended", segment);
    }
    if (failed) {
        model->lost = fault->kind == AEGIS_NULL_LOSE;
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "run %" PRIu64 " failed as its file says", model->runs);
    }
    return AEGIS_OK;
}

aegis_status
aegis_null_run_segment(null_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    if (segment == 0) {
        model->runs++;
        model->digests[slot] = begin_digest(model, slot);
    }
    const aegis_null_fault *fault = find_fault(model, segment);
    uint64_t state = model->digests[slot];
    if (model->placed) {
        model->player.tape = &model->segments[segment].tape;
        model->player.addresses = model->segments[segment].addresses;
        aegis_player_start(&model->player);
    }
    atomic_fetch_add(&model->generation, 1); /* now odd: it can be stopped */
    if (fault != NULL && fault->kind == AEGIS_NULL_HANG) {
        spin(model, LONGEST_HANG_NS);
    }
    bool served = run_steps(model, segment, fault, &state);
    bool was_stopped = stopped(model);
    atomic_fetch_add(&model->generation, 1);
    aegis_status status = finish_run(model, segment, fault, served, was_stopped, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model->digests[slot] = state;
    if (segment + 1 == model->file.segment_count) {
        write_outputs(model, slot, state);
        model->surface.written = model->surface.parity ^ 1u;
    }
    return AEGIS_OK;
}

aegis_status aegis_null_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    null_model *model = self;
    (void)stream;
    if (segment >= model->file.segment_count || slot >= model->surface.slots) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is no segment %" PRIu32 " of %zu or no slot %" PRIu32
                               " of %" PRIu32,
                               segment, model->file.segment_count, slot, model->surface.slots);
    }
    if (model->lost) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "the model was lost; open it anew");
    }
    return aegis_null_run_segment(model, segment, slot, err);
}

void aegis_null_terminate(void *self)
{
    null_model *model = self;
    uint64_t generation = atomic_load(&model->generation);
    if ((generation & 1u) != 0) {
        atomic_store(&model->stop, generation);
    }
}
