/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/null/null.h"

#include "backend/block.h"
#include "backend/runtimes.h"
#include "backend/tape.h"

#include <aegisrt/ext/backend_ops.h>

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COMPONENT "backend.null"
#define LARGEST_FILE (UINT64_C(1) << 24)
#define RESERVE_BYTES (UINT64_C(4) << 20)
#define LONGEST_HANG_NS (UINT64_C(10) * AEGIS_NS_PER_S)

typedef struct null_backend {
    aegis_allocator allocator;
    aegis_reserve reserve;
} null_backend;

typedef struct null_segment {
    aegis_tape tape;
    void **addresses; /* planned, one per allocation of the tape */
    void **live;      /* what the script holds while it runs */
} null_segment;

typedef struct null_model {
    null_backend *backend;
    aegis_allocator allocator;
    aegis_null_file file;
    aegis_surface surface;
    char hash[AEGIS_SHA256_HEX_BYTES];
    uint64_t memory_limit;
    null_segment *segments;
    unsigned char *weights, *prepacked; /* trial blocks until placed */
    uint64_t *digests;                  /* per slot: what a job has computed so far */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count, lifetime_capacity;
    aegis_player player;
    aegis_tape *recording; /* set while recording */
    bool placed, recorded, lost;
    uint64_t runs;
    _Atomic uint64_t generation; /* odd while a segment runs */
    _Atomic uint64_t stop;       /* the generation that is to end */
    unsigned char empty[64];
} null_model;

/* ---- opening ---- */

static void free_trial(null_model *model)
{
    if (!model->placed) {
        aegis_block_free(model->weights);
        aegis_block_free(model->prepacked);
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
    free_trial(model);
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
    aegis_status status = shapes == NULL || infos == NULL
                              ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                                "no memory for a null model")
                              : aegis_surface_fix_shapes(config, file->inputs, inputs, shapes, err);
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
    aegis_deallocate(&model->allocator, shapes, inputs, sizeof *shapes);
    aegis_deallocate(&model->allocator, infos, inputs + outputs, sizeof *infos);
    return status;
}

static void fill_weights(null_model *model)
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
    return total;
}

static aegis_status check_limit(const null_model *model, uint64_t activations, aegis_error *err)
{
    uint64_t total = permanent_bytes(model) + activations;
    if (model->memory_limit != 0 && total > model->memory_limit) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                               "needs at least %" PRIu64 " bytes, its memory limit is %" PRIu64,
                               total, model->memory_limit);
    }
    return AEGIS_OK;
}

static aegis_status open_trial(null_model *model, aegis_error *err)
{
    const aegis_null_file *file = &model->file;
    aegis_status status = check_limit(model, 0, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model->weights = aegis_block_alloc(file->weights_bytes, 0, model);
    model->prepacked = aegis_block_alloc(file->prepacked_bytes, 0, model);
    model->digests =
        aegis_allocate_zeroed(&model->allocator, model->surface.slots, sizeof *model->digests);
    model->segments =
        aegis_allocate_zeroed(&model->allocator, file->segment_count, sizeof *model->segments);
    bool short_of = model->weights == NULL || model->prepacked == NULL || model->digests == NULL ||
                    model->segments == NULL;
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
    fill_weights(model);
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
        status = make_surface(model, config, err);
    }
    if (status == AEGIS_OK) {
        status = open_trial(model, err);
    }
    if (status != AEGIS_OK) {
        null_close(model);
        return status;
    }
    *ret_model = model;
    return AEGIS_OK;
}

/* ---- running ---- */

static uint64_t now_ns(void)
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
    uint64_t end = now_ns() + duration_ns;
    while (now_ns() < end && !stopped(model)) {
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
                memset(live[next], (int)((*state >> 8) & 0xff), step->operand);
            }
            next++;
            break;
        }
        case AEGIS_NULL_FREE: {
            uint64_t size = 0;
            for (size_t k = 0, seen = 0; k < i; k++) {
                if (script->steps[k].kind == AEGIS_NULL_ALLOC && seen++ == step->operand) {
                    size = script->steps[k].operand;
                }
            }
            *state = digest(*state, live[step->operand], size);
            give(model, live[step->operand]);
            live[step->operand] = NULL;
            break;
        }
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

static uint64_t begin_digest(const null_model *model, uint32_t slot)
{
    const aegis_surface *surface = &model->surface;
    uint64_t state =
        digest(UINT64_C(0xcbf29ce484222325), model->weights, model->file.weights_bytes);
    state = digest(state, model->prepacked, model->file.prepacked_bytes);
    for (size_t i = 0; i < surface->input_count; i++) {
        state = digest(state, aegis_surface_input_pointer(surface, i, slot, surface->parity),
                       surface->inputs[i].size_bytes);
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

static aegis_status
run_segment(null_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
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

static aegis_status
null_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
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
    return run_segment(model, segment, slot, err);
}

static void null_terminate(void *self)
{
    null_model *model = self;
    uint64_t generation = atomic_load(&model->generation);
    if ((generation & 1u) != 0) {
        atomic_store(&model->stop, generation);
    }
}

/* ---- recording and placing ---- */

static aegis_status
record_segment(null_model *model, uint32_t segment, aegis_tape *tape, aegis_error *err)
{
    aegis_tape_clear(tape);
    model->recording = tape;
    aegis_status status = run_segment(model, segment, 0, err);
    model->recording = NULL;
    return status;
}

static aegis_status list_lifetimes(null_model *model, aegis_error *err)
{
    size_t most = 2 + model->surface.buffer_count;
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
    for (uint32_t i = 0; i < model->file.segment_count; i++) {
        count += aegis_tape_lifetimes(&model->segments[i].tape, AEGIS_MEMORY_ACTIVATION, i,
                                      model->lifetimes + count);
    }
    model->lifetime_count = count;
    return AEGIS_OK;
}

static aegis_status null_record(void *self, aegis_stream *stream, aegis_error *err)
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
        status = check_limit(model, peak, err);
    }
    if (status == AEGIS_OK) {
        status = list_lifetimes(model, err);
    }
    if (status == AEGIS_OK) {
        model->recorded = true;
    }
    return status;
}

static aegis_status null_lifetimes(void *self,
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

static aegis_status null_place(void *self, const aegis_model_placement *placement, aegis_error *err)
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
        } else {
            buffers[next++] = at;
        }
    }
    aegis_status status = aegis_surface_place(&model->surface, buffers, err);
    aegis_deallocate(&model->allocator, buffers, model->surface.buffer_count + 1, sizeof *buffers);
    if (status != AEGIS_OK) {
        return status;
    }
    free_trial(model);
    model->placed = true;
    model->runs = 0;
    model->weights = weights;
    model->prepacked = prepacked;
    fill_weights(model);
    model->player.planned_base = base;
    model->player.planned_bytes = placement->size_bytes;
    model->player.spill_base = placement->spill_base;
    model->player.spill_bytes = placement->spill_bytes;
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
    .record = null_record,
    .lifetimes = null_lifetimes,
    .overhead_bytes = null_overhead_bytes,
    .loading_peak_bytes = null_loading_peak_bytes,
    .place = null_place,
    .is_placed = null_is_placed,
    .reset = null_reset,
    .input = null_input,
    .output = null_output,
    .execute = null_execute,
    .terminate = null_terminate,
    .commit = null_commit,
    .last_spill = null_last_spill,
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
