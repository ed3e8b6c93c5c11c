/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of a model that take a block of the prompt: their memory, and what their segments launch as
 * CUDA graphs, so that the dispatch path never enters cuBLAS. A graph is a part (cuda_model.h): of
 * a streamed model what is computed between two fetches, so that copies are ordered with graphs as
 * they are with kernels (cuda_fetch.c). */
#include "backend/transformer/cuda/cuda_model.h"

#include "base/base.h"
#include "device/cuda/cuda_error.h"

#include <aegisrt/ext/cuda.h>

#include <inttypes.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)

/* ---- opening ---- */

static aegis_status check(uint32_t rows, aegis_error *err)
{
    return rows > AEGIS_PROMPT_MAX_ROWS
               ? aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                                 "prompt_block: %" PRIu32 " tokens, at most %u", rows,
                                 AEGIS_PROMPT_MAX_ROWS)
               : AEGIS_OK;
}

static aegis_status make_lane(aegis_prompt_lane *lane, aegis_error *err)
{
    cudaEvent_t *const events[] = {&lane->multiplied, &lane->unpacked[0], &lane->unpacked[1]};
    aegis_status status =
        aegis_cuda_check(cudaStreamCreateWithFlags(&lane->unpacking, cudaStreamNonBlocking),
                         "cudaStreamCreateWithFlags", HERE, err);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(events) && status == AEGIS_OK; i++) {
        status = aegis_cuda_check(cudaEventCreateWithFlags(events[i], cudaEventDisableTiming),
                                  "cudaEventCreateWithFlags", HERE, err);
    }
    return status;
}

static void drop_lane(aegis_prompt_lane *lane)
{
    const cudaEvent_t events[] = {lane->multiplied, lane->unpacked[0], lane->unpacked[1]};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(events); i++) {
        if (events[i] != NULL) {
            (void)cudaEventDestroy(events[i]);
        }
    }
    if (lane->unpacking != NULL) {
        (void)cudaStreamDestroy(lane->unpacking);
    }
    *lane = (aegis_prompt_lane){.stream = NULL};
}

aegis_status aegis_cuda_prompt_open(cuda_model *model, uint32_t rows, aegis_error *err)
{
    cuda_prompt *prompt = &model->prompt;
    rows = rows < model->base.prompt ? rows : model->base.prompt;
    if (rows < 2) {
        return AEGIS_OK;
    }
    aegis_status status = check(rows, err);
    if (status == AEGIS_OK) {
        status = aegis_cublas_open(&model->base.allocator, &prompt->cublas, err);
    }
    if (status == AEGIS_OK) {
        status = make_lane(&prompt->lane, err);
    }
    return status == AEGIS_OK ? aegis_program_plan_prompt(model->program, rows, &prompt->plan, err)
                              : status;
}

static void drop_graphs(cuda_model *model, cudaGraphExec_t *graphs)
{
    if (graphs == NULL) {
        return;
    }
    for (uint32_t l = 0; l < model->facts->layers; l++) {
        if (graphs[l] != NULL) {
            (void)cudaGraphExecDestroy(graphs[l]);
        }
    }
    aegis_deallocate(&model->base.allocator, graphs, model->facts->layers, sizeof *graphs);
}

void aegis_cuda_prompt_close(cuda_model *model)
{
    drop_graphs(model, model->prompt.graphs);
    model->prompt.graphs = NULL;
    drop_lane(&model->prompt.lane);
    aegis_cublas_close(model->prompt.cublas);
    model->prompt.cublas = NULL;
}

uint64_t aegis_cuda_prompt_table_bytes(const cuda_model *model)
{
    return (uint64_t)model->prompt.plan.units * sizeof(uint32_t);
}

aegis_status aegis_cuda_prompt_load(cuda_model *model, aegis_error *err)
{
    const uint32_t units = model->prompt.plan.units;
    uint32_t *where = aegis_allocate_zeroed(&model->base.allocator, units, sizeof *where);
    if (where == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %" PRIu32 " units",
                               units);
    }
    aegis_program_where(model->program, where);
    aegis_status status = aegis_device_copy(model->device, model->table, where,
                                            aegis_cuda_prompt_table_bytes(model), err);
    aegis_deallocate(&model->base.allocator, where, units, sizeof *where);
    return status;
}

/* ---- launching ---- */

static aegis_prompt_memory block_of(const cuda_model *model)
{
    return (aegis_prompt_memory){.block = model->block,
                                 .where = (const uint32_t *)(const void *)model->table};
}

/* The residual stream that a segment begins with: one that has layers leaves the other. Of a
 * streamed model the first may have none. */
static uint32_t residual_before(const cuda_model *model, uint32_t segment)
{
    return (segment + (model->ends[0] == 0 ? 1 : 0)) % 2;
}

/* cuBLAS and kernels, one launch each. What the segment begins with stays as it was, so that it can
 * run again: its first part goes to the other residual stream, and the rest stay there. */
static aegis_status
compute(const cuda_model *model, const cuda_part *part, cudaStream_t stream, aegis_error *err)
{
    const aegis_program_job job = {.first = part->first, .last = part->last};
    const aegis_program_memory memory = aegis_cuda_model_memory(model, part->layers);
    const aegis_prompt_memory block = block_of(model);
    const uint32_t before = residual_before(model, part->segment);
    aegis_prompt_lane lane = model->prompt.lane;
    lane.stream = stream;
    return aegis_program_launch_prompt(model->program, &model->prompt.plan, &memory, &block, &job,
                                       part->number > 0 ? 1 - before : before, 1 - before,
                                       model->prompt.cublas, &lane, err);
}

typedef struct block_run {
    const cuda_model *model;
    cudaStream_t stream;
} block_run;

static aegis_status launch_part(void *self, const cuda_part *part, aegis_error *err)
{
    const block_run *run = self;
    const cudaGraphExec_t *graphs = run->model->prompt.graphs;
    return graphs != NULL && graphs[part->first] != NULL
               ? aegis_cuda_check(cudaGraphLaunch(graphs[part->first], run->stream),
                                  "cudaGraphLaunch", HERE, err)
               : compute(run->model, part, run->stream, err);
}

bool aegis_cuda_prompt_takes(const cuda_model *model)
{
    const cuda_prompt *prompt = &model->prompt;
    if (prompt->plan.rows == 0) {
        return false;
    }
    if (aegis_language_is_measured(&model->base)) {
        return prompt->is_longest;
    }
    /* A single token is a step's. A wrong answer, from a job that is not awaited, changes the time
     * that a job takes and nothing else. */
    const int64_t position = model->words->positions[model->base.surface.parity];
    return position >= 0 && position + 1 < (int64_t)model->base.prompt;
}

static aegis_status begin(const cuda_model *model,
                          uint32_t segment,
                          const aegis_program_job *job,
                          cudaStream_t stream,
                          aegis_error *err)
{
    const aegis_program_memory memory = aegis_cuda_model_memory(model, model->layers);
    const aegis_prompt_memory block = block_of(model);
    return segment > 0 ? AEGIS_OK
                       : aegis_program_begin_prompt(model->program, &model->prompt.plan, &memory,
                                                    &block, job, stream, err);
}

/* As a step's last launch, which has no layers. */
static aegis_status launch_head(const cuda_model *model,
                                const aegis_program_job *job,
                                cudaStream_t stream,
                                aegis_error *err)
{
    const aegis_program_memory memory = aegis_cuda_model_memory(model, model->layers);
    const aegis_prompt_memory block = block_of(model);
    aegis_program_job head = *job;
    head.first = head.last;
    head.crossing_in = AEGIS_PROGRAM_PROMPT_CROSSING;
    head.cursor = aegis_prompt_cursor(&model->prompt.plan, &block);
    return aegis_program_launch(model->program, &memory, &head, stream, err);
}

aegis_status aegis_cuda_prompt_run(cuda_model *model,
                                   uint32_t segment,
                                   const aegis_program_job *job,
                                   struct CUstream_st *stream,
                                   aegis_error *err)
{
    block_run run = {.model = model, .stream = stream};
    aegis_status status = begin(model, segment, job, stream, err);
    if (status == AEGIS_OK) {
        status = aegis_cuda_fetch_run(model, segment, stream, launch_part, &run, err);
    }
    return status == AEGIS_OK && job->head ? launch_head(model, job, stream, err) : status;
}

aegis_status aegis_cuda_prompt_compute(const cuda_model *model,
                                       uint32_t segment,
                                       const aegis_program_job *job,
                                       struct CUstream_st *stream,
                                       aegis_error *err)
{
    block_run run = {.model = model, .stream = stream};
    aegis_status status = begin(model, segment, job, stream, err);
    return status == AEGIS_OK ? aegis_cuda_fetch_visit(model, segment, launch_part, &run, err)
                              : status;
}

/* ---- graphs ---- */

static aegis_status capture(const cuda_model *model,
                            const cuda_part *part,
                            cudaStream_t stream,
                            cudaGraphExec_t *ret_graph,
                            aegis_error *err)
{
    cudaGraph_t graph = NULL;
    aegis_status status =
        aegis_cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal),
                         "cudaStreamBeginCapture", HERE, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = compute(model, part, stream, err);
    const cudaError_t ended = cudaStreamEndCapture(stream, &graph);
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(ended, "cudaStreamEndCapture", HERE, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaGraphInstantiate(ret_graph, graph, 0), "cudaGraphInstantiate",
                                  HERE, err);
    }
    if (graph != NULL) {
        (void)cudaGraphDestroy(graph);
    }
    return status == AEGIS_OK
               ? aegis_cuda_check(cudaGraphUpload(*ret_graph, stream), "cudaGraphUpload", HERE, err)
               : status;
}

typedef struct capture_job {
    cuda_model *model;
    cudaStream_t stream;
    bool first; /* nothing of cuBLAS has run yet: what it loads is loaded now */
    cudaGraphExec_t *graphs;
    aegis_status status;
    aegis_error error;
} capture_job;

static aegis_status capture_part(void *self, const cuda_part *part, aegis_error *err)
{
    const capture_job *job = self;
    return capture(job->model, part, job->stream, &job->graphs[part->first], err);
}

/* On the lane's thread, whose stream may be confined to a part of the device. */
static void capture_all(void *argument)
{
    capture_job *job = argument;
    cuda_model *model = job->model;
    block_run run = {.model = model, .stream = job->stream};
    const uint32_t segments = model->base.segment_count;
    for (uint32_t s = 0; s < segments && job->first && job->status == AEGIS_OK; s++) {
        job->status = aegis_cuda_fetch_run(model, s, job->stream, launch_part, &run, &job->error);
    }
    for (uint32_t s = 0; s < segments && !model->eager && job->status == AEGIS_OK; s++) {
        job->status = aegis_cuda_fetch_visit(model, s, capture_part, job, &job->error);
    }
    if (job->status == AEGIS_OK) {
        job->status = aegis_cuda_check(cudaStreamSynchronize(job->stream), "cudaStreamSynchronize",
                                       HERE, &job->error);
    }
}

aegis_status aegis_cuda_prompt_capture(cuda_model *model, aegis_error *err)
{
    capture_job job = {.model = model, .first = model->prompt.graphs == NULL};
    if (model->stream == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "prompt_block needs the stream that runs the model when it is "
                               "opened");
    }
    job.graphs =
        aegis_allocate_zeroed(&model->base.allocator, model->facts->layers, sizeof *job.graphs);
    if (job.graphs == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %" PRIu32 " graphs",
                               model->facts->layers);
    }
    aegis_status status = aegis_cuda_stream_handle(model->stream, &job.stream, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_call(model->stream, capture_all, &job, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(model->stream, err);
    }
    if (status == AEGIS_OK && job.status != AEGIS_OK) {
        if (err != NULL) {
            *err = job.error;
        }
        status = job.status;
    }
    if (status != AEGIS_OK) {
        drop_graphs(model, job.graphs);
        return status;
    }
    drop_graphs(model, model->prompt.graphs);
    model->prompt.graphs = job.graphs;
    return AEGIS_OK;
}
