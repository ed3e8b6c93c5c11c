/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of a model that take a block of the prompt: their memory, and their segments as CUDA graphs,
 * so that the dispatch path never enters cuBLAS. */
#include "backend/transformer/cuda/cuda_model.h"

#include "base/base.h"
#include "device/cuda/cuda_error.h"

#include <aegisrt/ext/cuda.h>

#include <inttypes.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)

/* ---- opening ---- */

static aegis_status check(const cuda_model *model, uint32_t rows, aegis_error *err)
{
    if (rows > AEGIS_PROMPT_MAX_ROWS) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_CONFIG,
                               "prompt_block: %" PRIu32 " tokens, at most %u", rows,
                               AEGIS_PROMPT_MAX_ROWS);
    }
    if (model->base.stream) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "prompt_block: weights that come from pinned memory take a prompt "
                               "token by token; remove prompt_block or residency = \"streamed\"");
    }
    return AEGIS_OK;
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
    aegis_status status = check(model, rows, err);
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
    for (uint32_t s = 0; graphs != NULL && s < model->base.segment_count; s++) {
        if (graphs[s] != NULL) {
            (void)cudaGraphExecDestroy(graphs[s]);
        }
    }
    aegis_deallocate(&model->base.allocator, graphs, model->base.segment_count, sizeof *graphs);
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

/* cuBLAS and kernels, one launch each. */
static aegis_status
launch_layers(const cuda_model *model, uint32_t segment, cudaStream_t stream, aegis_error *err)
{
    const aegis_program_job job = {.first = segment > 0 ? model->ends[segment - 1] : 0,
                                   .last = model->ends[segment]};
    const aegis_program_memory memory = aegis_cuda_model_memory(model, job.first);
    const aegis_prompt_memory block = block_of(model);
    aegis_prompt_lane lane = model->prompt.lane;
    lane.stream = stream;
    return aegis_program_launch_prompt(model->program, &model->prompt.plan, &memory, &block, &job,
                                       segment % 2, model->prompt.cublas, &lane, err);
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

aegis_status aegis_cuda_prompt_run(cuda_model *model,
                                   uint32_t segment,
                                   const aegis_program_job *job,
                                   struct CUstream_st *stream,
                                   aegis_error *err)
{
    const cuda_prompt *prompt = &model->prompt;
    const aegis_program_memory memory = aegis_cuda_model_memory(model, 0);
    const aegis_prompt_memory block = block_of(model);
    aegis_status status = AEGIS_OK;
    if (segment == 0) {
        status = aegis_program_begin_prompt(model->program, &prompt->plan, &memory, &block, job,
                                            stream, err);
    }
    if (status == AEGIS_OK && prompt->graphs[segment] != NULL) {
        status = aegis_cuda_check(cudaGraphLaunch(prompt->graphs[segment], stream),
                                  "cudaGraphLaunch", HERE, err);
    } else if (status == AEGIS_OK) {
        status = launch_layers(model, segment, stream, err);
    }
    if (status != AEGIS_OK || !job->head) {
        return status;
    }
    aegis_program_job head = *job;
    head.first = head.last;
    head.crossing_in = AEGIS_PROGRAM_PROMPT_CROSSING;
    head.cursor = aegis_prompt_cursor(&prompt->plan, &block);
    return aegis_program_launch(model->program, &memory, &head, stream, err);
}

/* ---- graphs ---- */

static aegis_status capture(const cuda_model *model,
                            uint32_t segment,
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
    status = launch_layers(model, segment, stream, err);
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

/* On the lane's thread, whose stream may be confined to a part of the device. */
static void capture_all(void *argument)
{
    capture_job *job = argument;
    const cuda_model *model = job->model;
    const uint32_t segments = model->base.segment_count;
    for (uint32_t s = 0; s < segments && job->first && job->status == AEGIS_OK; s++) {
        job->status = launch_layers(model, s, job->stream, &job->error);
    }
    for (uint32_t s = 0; s < segments && !model->eager && job->status == AEGIS_OK; s++) {
        if (s == 0 || model->ends[s] > model->ends[s - 1]) { /* else it has no layers */
            job->status = capture(model, s, job->stream, &job->graphs[s], &job->error);
        }
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
    job.graphs = aegis_allocate_zeroed(&model->base.allocator, model->base.segment_count,
                                       sizeof *job.graphs);
    if (job.graphs == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %" PRIu32 " graphs",
                               model->base.segment_count);
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
