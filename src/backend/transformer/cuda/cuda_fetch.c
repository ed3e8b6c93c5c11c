/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a model whose layers come from pinned memory: copies on a stream of their own, beside
 * the kernels of the same segment and ordered with them by events. */
#include "backend/transformer/cuda/cuda_model.h"

#include "device/cuda/cuda_error.h"

#include <cuda_runtime_api.h>

#define HERE AEGIS_HERE(AEGIS_LANGUAGE_CUDA)

/* ---- set-up ---- */

static aegis_status make_event(cudaEvent_t *event, aegis_error *err)
{
    return aegis_cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming),
                            "cudaEventCreateWithFlags", HERE, err);
}

aegis_status aegis_cuda_fetch_init(cuda_model *model, aegis_error *err)
{
    aegis_status status =
        aegis_cuda_check(cudaStreamCreateWithFlags(&model->copies, cudaStreamNonBlocking),
                         "cudaStreamCreateWithFlags", HERE, err);
    if (status == AEGIS_OK) {
        status = make_event(&model->begun, err);
    }
    for (uint32_t slot = 0; slot < AEGIS_RESIDENCY_SLOTS && status == AEGIS_OK; slot++) {
        status = make_event(&model->filled[slot], err);
        if (status == AEGIS_OK) {
            status = make_event(&model->freed[slot], err);
        }
    }
    return status;
}

static void drop_event(cudaEvent_t event)
{
    if (event != NULL) {
        (void)cudaEventDestroy(event);
    }
}

/* Waits for nothing: the lane has waited for all copies, unless it hangs. */
void aegis_cuda_fetch_finish(cuda_model *model)
{
    if (model->copies != NULL) {
        (void)cudaStreamDestroy(model->copies);
    }
    drop_event(model->begun);
    for (uint32_t slot = 0; slot < AEGIS_RESIDENCY_SLOTS; slot++) {
        drop_event(model->filled[slot]);
        drop_event(model->freed[slot]);
    }
}

/* ---- a segment ---- */

typedef struct segment_run {
    cuda_model *model;
    cudaStream_t lane;
    const aegis_program_job *job; /* the segment as one launch */
    uint32_t launches;
} segment_run;

/* The stream goes on once everything is done that was put into `behind` so far. */
static aegis_status
follow(cudaStream_t stream, cudaStream_t behind, cudaEvent_t event, aegis_error *err)
{
    aegis_status status =
        aegis_cuda_check(cudaEventRecord(event, behind), "cudaEventRecord", HERE, err);
    return status == AEGIS_OK ? aegis_cuda_check(cudaStreamWaitEvent(stream, event, 0),
                                                 "cudaStreamWaitEvent", HERE, err)
                              : status;
}

static aegis_status begin(void *self, aegis_error *err)
{
    const segment_run *run = self;
    return follow(run->model->copies, run->lane, run->model->begun, err);
}

static uint8_t *slot_of(const cuda_model *model, uint32_t fetch)
{
    return model->ring + fetch % AEGIS_RESIDENCY_SLOTS * model->facts->layer_bytes;
}

static aegis_status fetch(void *self, uint32_t which, bool behind_launch, aegis_error *err)
{
    const segment_run *run = self;
    const cuda_model *model = run->model;
    const uint32_t slot = which % AEGIS_RESIDENCY_SLOTS;
    const uint64_t bytes = model->facts->layer_bytes;
    const uint8_t *from = (const uint8_t *)model->streamed.pointer + which * bytes;
    aegis_status status = AEGIS_OK;
    if (behind_launch) {
        status = follow(model->copies, run->lane, model->freed[slot], err);
    }
    if (status == AEGIS_OK) {
        status = aegis_cuda_check(cudaMemcpyAsync(slot_of(model, which), from, bytes,
                                                  cudaMemcpyHostToDevice, model->copies),
                                  "cudaMemcpyAsync", HERE, err);
    }
    return status == AEGIS_OK
               ? aegis_cuda_check(cudaEventRecord(model->filled[slot], model->copies),
                                  "cudaEventRecord", HERE, err)
               : status;
}

/* What a segment begins with stays as it was, so that it can run again: its own launches hand on
 * through two other areas. */
static aegis_status launch_layers(
    segment_run *run, const uint8_t *layers, uint32_t first, uint32_t last, aegis_error *err)
{
    const cuda_model *model = run->model;
    const aegis_program_memory memory = {
        .layers = layers, .fixed = model->fixed, .cache = model->cache, .work = model->work};
    aegis_program_job job = *run->job;
    job.first = first;
    job.last = last;
    if (run->launches > 0) {
        job.crossing_in = 2 + (run->launches - 1) % 2;
    }
    if (last != run->job->last) {
        job.crossing_out = 2 + run->launches % 2;
        job.head = false;
    }
    run->launches++;
    return aegis_program_launch(model->program, &memory, &job, run->lane, err);
}

static aegis_status launch(void *self, uint32_t first, uint32_t last, aegis_error *err)
{
    segment_run *run = self;
    const cuda_model *model = run->model;
    const uint32_t resident = first - aegis_residency_streamed_before(&model->residency, first);
    return launch_layers(run, model->layers + resident * model->facts->layer_bytes, first, last,
                         err);
}

static aegis_status await(void *self, uint32_t which, aegis_error *err)
{
    const segment_run *run = self;
    cudaEvent_t filled = run->model->filled[which % AEGIS_RESIDENCY_SLOTS];
    return aegis_cuda_check(cudaStreamWaitEvent(run->lane, filled, 0), "cudaStreamWaitEvent", HERE,
                            err);
}

static aegis_status launch_fetched(void *self, uint32_t layer, uint32_t which, aegis_error *err)
{
    segment_run *run = self;
    aegis_status status = await(self, which, err);
    return status == AEGIS_OK
               ? launch_layers(run, slot_of(run->model, which), layer, layer + 1, err)
               : status;
}

static const aegis_residency_ops OPS = {.begin = begin,
                                        .fetch = fetch,
                                        .launch = launch,
                                        .launch_fetched = launch_fetched,
                                        .await = await};

aegis_status aegis_cuda_fetch_run(cuda_model *model,
                                  uint32_t segment,
                                  const aegis_program_job *job,
                                  struct CUstream_st *stream,
                                  aegis_error *err)
{
    segment_run run = {.model = model, .lane = stream, .job = job};
    aegis_status status =
        aegis_residency_run(&model->residency, segment, &model->slots, &OPS, &run, err);
    if (status != AEGIS_OK) { /* what was begun ends before the lane goes on */
        (void)follow(stream, model->copies, model->begun, NULL);
    }
    return status;
}
