/* SPDX-License-Identifier: Apache-2.0 */
/* Enqueueing a segment. */
#include "backend/transformer/cuda/cuda_model.h"

#include "base/base.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/cuda_error.h"

#include <aegisrt/ext/cuda.h>

#include <inttypes.h>
#include <stdlib.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)
#define MEASURED_RUNS 7

static void *mirror_of(const cuda_model *model, const void *host)
{
    return model->mirrors[aegis_cuda_model_buffer(model, host)];
}

static void *input_at(const cuda_model *model, size_t input, uint32_t slot)
{
    return mirror_of(model, aegis_surface_input_pointer(&model->base.surface, input, slot,
                                                        model->base.surface.parity));
}

static void *output_at(const cuda_model *model, size_t output, uint32_t slot)
{
    return mirror_of(model, aegis_surface_output_pointer(&model->base.surface, output, slot,
                                                         model->base.surface.parity));
}

static aegis_status check(const cuda_model *model,
                          uint32_t segment,
                          uint32_t slot,
                          const aegis_stream *stream,
                          aegis_error *err)
{
    if (stream == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "a job on a CUDA device needs a stream of it");
    }
    return aegis_language_check_segment(&model->base, segment, slot, err);
}

/* What an earlier job has found wrong. */
static aegis_status take_fault(cuda_model *model, aegis_error *err)
{
    aegis_decode_fault *fault = &model->words->fault;
    const uint32_t kind = fault->kind;
    const int64_t position = fault->position, token = fault->token;
    if (kind == AEGIS_DECODE_FINE) {
        return AEGIS_OK;
    }
    fault->kind = AEGIS_DECODE_FINE;
    if (kind == AEGIS_DECODE_BAD_CURSOR) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INFERENCE,
                               "the job before found its cursor at position %" PRId64
                               " with token %" PRId64 "; reset the model",
                               position, token);
    }
    return aegis_error_set(err, HERE, AEGIS_ERROR_INFERENCE,
                           "the job before found token %" PRId64 " at position %" PRId64
                           "; the vocabulary has 0 to %" PRIu32,
                           token, position, model->facts->vocabulary - 1);
}

/* Copies of the slot's inputs, and of the state, that the host has touched. */
static aegis_status
send_inputs(cuda_model *model, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (size_t input = 0; input < LANGUAGE_INPUTS && status == AEGIS_OK; input++) {
        void *host = aegis_surface_input_pointer(&model->base.surface, input, slot,
                                                 model->base.surface.parity);
        const size_t which = aegis_cuda_model_buffer(model, host);
        if (atomic_exchange(&model->dirty[which], false)) {
            status = aegis_stream_enqueue_copy(stream, model->mirrors[which], host,
                                               model->base.surface.buffers[which].size_bytes, err);
            if (input == LANGUAGE_CURSOR) {
                model->words->positions[model->base.surface.parity] = *(const int64_t *)host;
            }
        }
    }
    return status;
}

aegis_program_memory aegis_cuda_model_memory(const cuda_model *model, const uint8_t *layers)
{
    return (aegis_program_memory){
        .layers = layers, .fixed = model->fixed, .cache = model->cache, .work = model->work};
}

static aegis_program_job job_of(const cuda_model *model, uint32_t segment, uint32_t slot)
{
    return (aegis_program_job){.first = segment > 0 ? model->ends[segment - 1] : 0,
                               .last = model->ends[segment],
                               .head = segment + 1 == model->base.segment_count,
                               .measured = aegis_language_is_measured(&model->base),
                               .stop_at_end = model->base.stop_at_end,
                               .crossing_in = segment % 2,
                               .crossing_out = (segment + 1) % 2,
                               .prompt = input_at(model, LANGUAGE_TOKENS, slot),
                               .prompt_count = model->base.prompt,
                               .cursor = input_at(model, LANGUAGE_CURSOR, slot),
                               .next_cursor = output_at(model, LANGUAGE_NEXT_CURSOR, slot),
                               .token = output_at(model, LANGUAGE_TOKEN, slot),
                               .logits = output_at(model, LANGUAGE_LOGITS, slot),
                               .next_position =
                                   &model->words->positions[model->base.surface.parity ^ 1u],
                               .fault = &model->words->fault};
}

typedef struct step_run {
    const cuda_model *model;
    cudaStream_t stream;
    const aegis_program_job *job; /* the segment as one launch */
} step_run;

/* What a segment begins with stays as it was, so that it can run again: its own launches hand on
 * through two other areas. */
static aegis_status launch_part(void *self, const cuda_part *part, aegis_error *err)
{
    const step_run *run = self;
    const aegis_program_memory memory = aegis_cuda_model_memory(run->model, part->layers);
    aegis_program_job job = *run->job;
    job.first = part->first;
    job.last = part->last;
    if (part->number > 0) {
        job.crossing_in = 2 + (part->number - 1) % 2;
    }
    if (part->last != run->job->last) {
        job.crossing_out = 2 + part->number % 2;
        job.head = false;
    }
    return aegis_program_launch(run->model->program, &memory, &job, run->stream, err);
}

static aegis_status run_step(cuda_model *model,
                             uint32_t segment,
                             const aegis_program_job *job,
                             cudaStream_t stream,
                             aegis_error *err)
{
    if (model->base.stream) {
        step_run run = {.model = model, .stream = stream, .job = job};
        return aegis_cuda_fetch_run(model, segment, stream, launch_part, &run, err);
    }
    /* Also where it has no layers but the head. */
    const aegis_program_memory memory =
        aegis_cuda_model_memory(model, model->layers + job->first * model->facts->layer_bytes);
    return aegis_program_launch(model->program, &memory, job, stream, err);
}

aegis_status aegis_cuda_model_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    cuda_model *model = self;
    struct CUstream_st *handle = NULL;
    aegis_status status = check(model, segment, slot, stream, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_stream_handle(stream, &handle, err);
    }
    if (status == AEGIS_OK) {
        status = take_fault(model, err);
    }
    if (status == AEGIS_OK && segment == 0) {
        model->base.next = 0;
        status = send_inputs(model, slot, stream, err);
        model->prompt.is_due = aegis_cuda_prompt_takes(model);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_program_job job = job_of(model, segment, slot);
    status = model->prompt.is_due ? aegis_cuda_prompt_run(model, segment, &job, handle, err)
                                  : run_step(model, segment, &job, handle, err);
    if (status != AEGIS_OK) {
        return status;
    }
    model->base.next = segment + 1;
    if (job.head && !job.measured) {
        model->base.surface.written = model->base.surface.parity ^ 1u;
    }
    return AEGIS_OK;
}

/* ---- times of parts ---- */

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static aegis_status
launch_first(const cuda_model *model, uint32_t last, cudaStream_t stream, aegis_error *err)
{
    aegis_program_job job = job_of(model, 0, 0);
    const aegis_program_memory memory = aegis_cuda_model_memory(model, model->layers);
    job.last = last;
    job.head = false;
    return aegis_program_launch(model->program, &memory, &job, stream, err);
}

/* All layers of a step or a block, in the parts that jobs have. */
static aegis_status
launch_all(const cuda_model *model, bool block, cudaStream_t stream, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; s < model->base.segment_count && status == AEGIS_OK; s++) {
        aegis_program_job job = job_of(model, s, 0);
        step_run run = {.model = model, .stream = stream, .job = &job};
        job.head = false;
        status = block ? aegis_cuda_prompt_compute(model, s, &job, stream, err)
                       : aegis_cuda_fetch_visit(model, s, launch_part, &run, err);
    }
    return status;
}

static aegis_status time_once(const cuda_model *model,
                              uint32_t last,
                              bool block,
                              cudaStream_t stream,
                              const cudaEvent_t *events,
                              float *ret_ms,
                              aegis_error *err)
{
    aegis_status status =
        aegis_cuda_check(cudaEventRecord(events[0], stream), "cudaEventRecord", HERE, err);
    if (status == AEGIS_OK) {
        status = block || model->base.stream ? launch_all(model, block, stream, err)
                                             : launch_first(model, last, stream, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaEventRecord(events[1], stream), "cudaEventRecord", HERE, err);
    }
    if (status == AEGIS_OK) {
        status =
            aegis_cuda_check(cudaEventSynchronize(events[1]), "cudaEventSynchronize", HERE, err);
    }
    return status == AEGIS_OK ? aegis_cuda_check(cudaEventElapsedTime(ret_ms, events[0], events[1]),
                                                 "cudaEventElapsedTime", HERE, err)
                              : status;
}

aegis_status aegis_cuda_model_measure(
    cuda_model *model, uint32_t last, bool block, uint64_t *ret_ns, aegis_error *err)
{
    float times[MEASURED_RUNS] = {0};
    cudaStream_t stream = NULL;
    cudaEvent_t events[2] = {NULL, NULL};
    int previous = 0;
    aegis_status status =
        aegis_cuda_check(aegis_cuda_enter(model->index, &previous), "cudaSetDevice", HERE, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                              "cudaStreamCreateWithFlags", HERE, err);
    for (int i = 0; i < 2 && status == AEGIS_OK; i++) {
        status = aegis_cuda_check(cudaEventCreate(&events[i]), "cudaEventCreate", HERE, err);
    }
    for (int run = 0; run < MEASURED_RUNS && status == AEGIS_OK; run++) {
        status = time_once(model, last, block, stream, events, &times[run], err);
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) {
            (void)cudaEventDestroy(events[i]);
        }
    }
    if (stream != NULL) {
        (void)cudaStreamDestroy(stream);
    }
    aegis_cuda_leave(previous);
    if (status == AEGIS_OK) {
        qsort(times, MEASURED_RUNS, sizeof *times, compare);
        *ret_ns = (uint64_t)((double)times[MEASURED_RUNS / 2] * 1e6);
    }
    return status;
}
