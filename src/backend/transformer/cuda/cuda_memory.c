/* SPDX-License-Identifier: Apache-2.0 */
/* What a language model has in a device's memory: before it is placed, and where it is placed. */
#include "backend/transformer/cuda/cuda_model.h"

#include "base/base.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"

#include <inttypes.h>
#include <string.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)
#define ALIGNMENT 256u
/* f32 0x3c3c3c3c is 0.0115: no subnormals, no infinities. */
#define CACHE_FILLING 0x3c

/* Numbers of tensors that are not the surface's. */
enum {
    TENSOR_WEIGHTS = 0,
    TENSOR_CACHE,
    TENSOR_WORK,
    TENSOR_SURFACE
};

static uint64_t resident_bytes(const cuda_model *model)
{
    return model->facts->layer_bytes * (model->facts->layers - model->residency.streamed);
}

uint64_t aegis_cuda_model_weight_bytes(const cuda_model *model)
{
    return resident_bytes(model) + model->facts->fixed_bytes;
}

uint64_t aegis_cuda_model_ring_bytes(const cuda_model *model)
{
    return model->base.stream ? AEGIS_RESIDENCY_SLOTS * model->facts->layer_bytes : 0;
}

/* Behind the surface: the ring of a streamed model, then block and table of one with blocks. */
static size_t ring_tensor(const cuda_model *model)
{
    return TENSOR_SURFACE + model->base.surface.buffer_count;
}

static size_t block_tensor(const cuda_model *model)
{
    return ring_tensor(model) + (model->base.stream ? 1 : 0);
}

static size_t table_tensor(const cuda_model *model)
{
    return block_tensor(model) + 1;
}

static size_t tensor_count(const cuda_model *model)
{
    return block_tensor(model) + (model->prompt.plan.rows > 0 ? 2 : 0);
}

size_t aegis_cuda_model_buffer(const cuda_model *model, const void *host)
{
    size_t i = 0;
    while (i < model->base.surface.buffer_count && model->base.surface.buffers[i].pointer != host) {
        i++;
    }
    return i;
}

/* ---- the host's side ---- */

/* Fills the host's copies from their sources and sends them all. */
aegis_status aegis_cuda_model_fill(cuda_model *model, aegis_error *err)
{
    aegis_status status = aegis_surface_reset(&model->base.surface, err);
    if (status == AEGIS_OK) {
        aegis_language_write_prompt(&model->base);
        for (uint32_t half = 0; half < 2; half++) {
            model->words->positions[half] = *(const int64_t *)aegis_surface_input_pointer(
                &model->base.surface, LANGUAGE_CURSOR, 0, half);
        }
    }
    for (size_t i = 0; i < model->base.surface.buffer_count && status == AEGIS_OK; i++) {
        const aegis_surface_buffer *buffer = &model->base.surface.buffers[i];
        status = aegis_device_copy(model->device, model->mirrors[i], buffer->pointer,
                                   buffer->size_bytes, err);
        atomic_store(&model->dirty[i], false);
    }
    return status;
}

static aegis_status
take_pinned(cuda_model *model, uint64_t bytes, aegis_buffer *ret_part, aegis_error *err)
{
    aegis_status status = aegis_device_pinned_alloc(model->device, bytes, ALIGNMENT, ret_part, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err,
                           "%" PRIu64 " bytes of pinned memory for what the host gives and what "
                           "comes from there: raise [device] pinned",
                           bytes);
        *ret_part = (aegis_buffer){.pointer = NULL};
    }
    return status;
}

/* The surface's buffers and words, in one pinned block. */
static aegis_status pin_host(cuda_model *model, void **pointers, aegis_error *err)
{
    const size_t count = model->base.surface.buffer_count;
    uint64_t bytes = aegis_align_up(sizeof *model->words, 64);
    for (size_t i = 0; i < count; i++) {
        bytes += aegis_align_up(model->base.surface.buffers[i].size_bytes, 64);
    }
    aegis_status status = take_pinned(model, bytes, &model->pinned, err);
    if (status != AEGIS_OK) {
        return status;
    }
    memset(model->pinned.pointer, 0, bytes);
    model->words = model->pinned.pointer;
    uint8_t *at = (uint8_t *)model->pinned.pointer + aegis_align_up(sizeof *model->words, 64);
    for (size_t i = 0; i < count; i++) {
        pointers[i] = at;
        at += aegis_align_up(model->base.surface.buffers[i].size_bytes, 64);
    }
    return aegis_surface_place(&model->base.surface, pointers, err);
}

static aegis_status open_host(cuda_model *model, aegis_error *err)
{
    const size_t count = model->base.surface.buffer_count;
    aegis_status status = aegis_surface_open_trial(&model->base.surface, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model->mirrors = aegis_allocate_zeroed(&model->base.allocator, count, sizeof *model->mirrors);
    model->dirty = aegis_allocate_zeroed(&model->base.allocator, count, sizeof *model->dirty);
    void **pointers = aegis_allocate_zeroed(&model->base.allocator, count, sizeof *pointers);
    if (model->mirrors == NULL || model->dirty == NULL || pointers == NULL) {
        status =
            aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu buffers", count);
    } else {
        status = pin_host(model, pointers, err);
    }
    if (status == AEGIS_OK && model->base.stream) {
        status = take_pinned(model, model->residency.streamed * model->facts->layer_bytes,
                             &model->streamed, err);
    }
    aegis_deallocate(&model->base.allocator, pointers, count, sizeof *pointers);
    return status;
}

/* ---- the device's side ---- */

static uint8_t *take(uint8_t *base, uint64_t *used, uint64_t bytes)
{
    uint8_t *at = base != NULL ? base + *used : NULL;
    *used = aegis_align_up(*used + bytes, ALIGNMENT);
    return at;
}

/* With a NULL base it only counts. */
static uint64_t lay_out_trial(cuda_model *model, uint8_t *base)
{
    uint64_t used = 0;
    model->layers = take(base, &used, aegis_cuda_model_weight_bytes(model));
    model->fixed = base != NULL ? model->layers + resident_bytes(model) : NULL;
    model->cache = take(base, &used, model->facts->cache_bytes);
    model->work = take(base, &used, model->facts->work_bytes);
    for (size_t i = 0; i < model->base.surface.buffer_count; i++) {
        model->mirrors[i] = take(base, &used, model->base.surface.buffers[i].size_bytes);
    }
    if (model->base.stream) {
        model->ring = take(base, &used, aegis_cuda_model_ring_bytes(model));
    }
    if (model->prompt.plan.rows > 0) {
        model->block = take(base, &used, model->prompt.plan.bytes);
        model->table = take(base, &used, aegis_cuda_prompt_table_bytes(model));
    }
    return used;
}

/* To its place on the device, or in pinned memory. */
static aegis_status load_layer(cuda_model *model, uint32_t layer, void *staging, aegis_error *err)
{
    const uint64_t bytes = model->facts->layer_bytes;
    const aegis_residency_plan *plan = &model->residency;
    const uint32_t come = aegis_residency_streamed_before(plan, layer);
    if (aegis_residency_is_streamed(plan, layer)) {
        return aegis_program_pack_layer(model->program, layer,
                                        (uint8_t *)model->streamed.pointer + come * bytes, err);
    }
    aegis_status status = aegis_program_pack_layer(model->program, layer, staging, err);
    return status == AEGIS_OK
               ? aegis_device_copy(model->device, model->layers + (layer - come) * bytes, staging,
                                   bytes, err)
               : status;
}

/* Packed on the host, one layer at a time. */
static aegis_status load_weights(cuda_model *model, aegis_error *err)
{
    const aegis_program_facts *facts = model->facts;
    const uint64_t room =
        facts->layer_bytes > facts->fixed_bytes ? facts->layer_bytes : facts->fixed_bytes;
    void *staging = aegis_allocate_zeroed(&model->base.allocator, room, 1);
    if (staging == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %" PRIu64 " bytes of a layer", room);
    }
    aegis_status status = aegis_program_pack_fixed(model->program, staging, err);
    if (status == AEGIS_OK) {
        status = aegis_device_copy(model->device, model->fixed, staging, facts->fixed_bytes, err);
    }
    for (uint32_t l = 0; l < facts->layers && status == AEGIS_OK; l++) {
        status = load_layer(model, l, staging, err);
    }
    aegis_deallocate(&model->base.allocator, staging, room, 1);
    return status;
}

static aegis_status fill_memory(uint8_t *memory, int value, uint64_t bytes, aegis_error *err)
{
    aegis_status status =
        aegis_cuda_check(cudaMemset(memory, value, bytes), "cudaMemset", HERE, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaStreamSynchronize(NULL), "cudaStreamSynchronize", HERE, err);
    }
    return status;
}

static aegis_status open_device(cuda_model *model, aegis_error *err)
{
    const uint64_t bytes = lay_out_trial(model, NULL);
    aegis_status status =
        aegis_cuda_check(cudaMalloc(&model->trial, bytes), "cudaMalloc", HERE, err);
    if (status != AEGIS_OK) {
        model->trial = NULL;
        aegis_error_prefix(err, "%" PRIu64 " bytes to try the model, beside the arena", bytes);
        return status;
    }
    lay_out_trial(model, model->trial);
    status = load_weights(model, err);
    if (status == AEGIS_OK) {
        status = fill_memory(model->cache, 0, model->facts->cache_bytes, err);
    }
    if (status == AEGIS_OK) {
        status = fill_memory(model->work, 0, model->facts->work_bytes, err);
    }
    if (status == AEGIS_OK && model->prompt.plan.rows > 0) {
        status = fill_memory(model->block, 0, model->prompt.plan.bytes, err);
        if (status == AEGIS_OK) {
            status = aegis_cuda_prompt_load(model, err);
        }
    }
    return status == AEGIS_OK ? aegis_cuda_model_fill(model, err) : status;
}

aegis_status aegis_cuda_model_open_trial(cuda_model *model, aegis_error *err)
{
    int previous = 0;
    aegis_status status =
        aegis_cuda_check(aegis_cuda_enter(model->index, &previous), "cudaSetDevice", HERE, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = open_host(model, err);
    if (status == AEGIS_OK) {
        status = open_device(model, err);
    }
    if (status == AEGIS_OK && model->base.stream) {
        status = aegis_cuda_fetch_init(model, err);
    }
    if (status == AEGIS_OK && model->prompt.plan.rows > 0) {
        status = aegis_cuda_prompt_capture(model, err);
    }
    aegis_cuda_leave(previous);
    return status;
}

static void free_trial(cuda_model *model)
{
    (void)cudaFree(model->trial);
    model->trial = NULL;
}

static void give_pinned(cuda_model *model, const aegis_buffer *part)
{
    if (part->pointer != NULL) {
        (void)aegis_device_pinned_free(model->device, part, NULL);
    }
}

void aegis_cuda_model_free(cuda_model *model)
{
    int previous = 0;
    if (aegis_cuda_enter(model->index, &previous) == cudaSuccess) {
        aegis_cuda_fetch_finish(model);
        aegis_cuda_prompt_close(model);
        free_trial(model);
        aegis_cuda_leave(previous);
    }
    give_pinned(model, &model->streamed);
    give_pinned(model, &model->pinned);
    aegis_deallocate(&model->base.allocator, model->mirrors, model->base.surface.buffer_count,
                     sizeof *model->mirrors);
    aegis_deallocate(&model->base.allocator, (void *)model->dirty, model->base.surface.buffer_count,
                     sizeof *model->dirty);
}

/* ---- record ---- */

static aegis_tensor_lifetime
permanent(uint32_t tensor, aegis_memory_class memory_class, uint64_t bytes)
{
    return (aegis_tensor_lifetime){.tensor = tensor,
                                   .memory_class = memory_class,
                                   .end = 1,
                                   .size_bytes = bytes,
                                   .alignment = ALIGNMENT};
}

/* Of one job, and of all its segments. */
static aegis_tensor_lifetime passing(const cuda_model *model, uint32_t tensor, uint64_t bytes)
{
    aegis_tensor_lifetime one = permanent(
        tensor, model->base.segment_count == 1 ? AEGIS_MEMORY_ACTIVATION : AEGIS_MEMORY_BOUNDARY,
        bytes);
    one.end = model->base.segment_count;
    return one;
}

/* Packets are state: a kernel knows them by the epochs that the one before has left. Slots and
 * blocks of the prompt hold nothing between jobs. */
static void list_lifetimes(cuda_model *model)
{
    aegis_tensor_lifetime *list = model->base.lifetimes;
    const uint32_t buffers = (uint32_t)model->base.surface.buffer_count;
    list[TENSOR_WEIGHTS] =
        permanent(TENSOR_WEIGHTS, AEGIS_MEMORY_WEIGHTS, aegis_cuda_model_weight_bytes(model));
    list[TENSOR_CACHE] = permanent(TENSOR_CACHE, AEGIS_MEMORY_STATE, model->facts->cache_bytes);
    list[TENSOR_WORK] = permanent(TENSOR_WORK, AEGIS_MEMORY_STATE, model->facts->work_bytes);
    aegis_surface_lifetimes(&model->base.surface, TENSOR_SURFACE, list + TENSOR_SURFACE);
    for (uint32_t i = TENSOR_SURFACE; i < TENSOR_SURFACE + buffers; i++) {
        list[i].alignment = ALIGNMENT;
    }
    const uint32_t ring = (uint32_t)ring_tensor(model), block = (uint32_t)block_tensor(model);
    const uint32_t table = (uint32_t)table_tensor(model);
    if (model->base.stream) {
        list[ring] = passing(model, ring, aegis_cuda_model_ring_bytes(model));
    }
    if (model->prompt.plan.rows > 0) {
        list[block] = passing(model, block, model->prompt.plan.bytes);
        list[table] = permanent(table, AEGIS_MEMORY_WEIGHTS, aegis_cuda_prompt_table_bytes(model));
    }
    model->base.lifetime_count = tensor_count(model);
}

typedef struct trial_job {
    cuda_model *model;
    aegis_stream *stream;
    aegis_status status;
    aegis_error error;
} trial_job;

static void run_trial(void *argument)
{
    trial_job *job = argument;
    for (uint32_t s = 0; s < job->model->base.segment_count && job->status == AEGIS_OK; s++) {
        job->status = aegis_cuda_model_execute(job->model, s, 0, job->stream, &job->error);
    }
}

/* One job on the stream's thread, to its end. */
static aegis_status run_job(cuda_model *model, aegis_stream *stream, aegis_error *err)
{
    trial_job job = {.model = model, .stream = stream};
    aegis_status status = aegis_stream_call(stream, run_trial, &job, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(stream, err);
    }
    if (status == AEGIS_OK && job.status != AEGIS_OK) {
        if (err != NULL) {
            *err = job.error;
        }
        status = job.status;
    }
    return status;
}

/* Which job is the longest: a block of the prompt or a step. Copies are the same in both, and what
 * computes longer beside the same copies is never done earlier; timed with them, two that are
 * hidden behind their copies would be told apart by noise. */
static aegis_status compare(cuda_model *model, aegis_error *err)
{
    uint64_t block = 0, step = 0;
    if (model->prompt.plan.rows == 0) {
        return AEGIS_OK;
    }
    model->base.recorded = true; /* such jobs belong to no sequence */
    aegis_status status = aegis_cuda_model_measure(model, 0, true, &block, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_model_measure(model, model->facts->layers, false, &step, err);
    }
    model->prompt.is_longest = block >= step;
    return status;
}

aegis_status aegis_cuda_model_record(void *self, aegis_stream *stream, aegis_error *err)
{
    cuda_model *model = self;
    int previous = 0;
    stream = stream != NULL ? stream : model->stream;
    if (stream == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "recording on a CUDA device needs a stream of it, here or when the "
                               "model is opened");
    }
    aegis_status status = aegis_language_make_lifetimes(&model->base, tensor_count(model), err);
    if (status == AEGIS_OK) {
        list_lifetimes(model);
        status = run_job(model, stream, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    model->base.surface.written = model->base.surface.parity; /* of a job that begins no sequence */
    status =
        aegis_cuda_check(aegis_cuda_enter(model->index, &previous), "cudaSetDevice", HERE, err);
    if (status == AEGIS_OK) {
        status = compare(model, err);
        if (status == AEGIS_OK) {
            status = fill_memory(model->cache, CACHE_FILLING, model->facts->cache_bytes, err);
        }
        aegis_cuda_leave(previous);
    }
    model->base.recorded = status == AEGIS_OK;
    return status;
}

/* ---- place ---- */

static aegis_status
move_all(cuda_model *model, const aegis_model_placement *placement, aegis_error *err)
{
    const aegis_memory_placement *places = placement->binding->placements;
    uint8_t *base = placement->base;
    model->cache = base + places[TENSOR_CACHE].offset_bytes;
    model->work = base + places[TENSOR_WORK].offset_bytes;
    for (size_t i = 0; i < model->base.surface.buffer_count; i++) {
        model->mirrors[i] = base + places[TENSOR_SURFACE + i].offset_bytes;
    }
    if (model->base.stream) {
        model->ring = base + places[ring_tensor(model)].offset_bytes;
    }
    uint8_t *table = model->table;
    if (model->prompt.plan.rows > 0) {
        model->block = base + places[block_tensor(model)].offset_bytes;
        model->table = base + places[table_tensor(model)].offset_bytes;
    }
    aegis_status status = fill_memory(model->cache, 0, model->facts->cache_bytes, err);
    if (status == AEGIS_OK) {
        status = fill_memory(model->work, 0, model->facts->work_bytes, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_device_copy(model->device, base + places[TENSOR_WEIGHTS].offset_bytes,
                                   model->layers, aegis_cuda_model_weight_bytes(model), err);
    }
    if (status == AEGIS_OK) {
        model->layers = base + places[TENSOR_WEIGHTS].offset_bytes;
        model->fixed = model->layers + resident_bytes(model);
    }
    if (status == AEGIS_OK && model->prompt.plan.rows > 0) {
        status = aegis_device_copy(model->device, model->table, table,
                                   aegis_cuda_prompt_table_bytes(model), err);
        if (status == AEGIS_OK) {
            status = aegis_cuda_prompt_capture(model, err);
        }
    }
    return status == AEGIS_OK ? aegis_cuda_model_fill(model, err) : status;
}

/* On failure everything is where it was. */
aegis_status
aegis_cuda_model_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    cuda_model *model = self;
    int previous = 0;
    aegis_status status =
        aegis_cuda_check(aegis_cuda_enter(model->index, &previous), "cudaSetDevice", HERE, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = move_all(model, placement, err);
    if (status == AEGIS_OK) {
        free_trial(model);
        model->base.placed = true;
        model->base.next = 0;
    } else {
        lay_out_trial(model, model->trial);
    }
    aegis_cuda_leave(previous);
    return status;
}
