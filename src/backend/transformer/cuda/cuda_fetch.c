/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of a model whose layers come from pinned memory: copies on a stream of their own, beside
 * the parts that compute in the same segment and ordered with them by events. */
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

/*
 * Why nothing is read before it came, and nothing overwritten before it was read, whether a part is
 * a step's kernel or a block's graph. The lane's stream L computes, the copies' stream C copies:
 *
 *  1. What a segment copies first follows, on C, `begun`: everything that L was given before. That
 *     is all readers of both slots in segments before, this model's or others', whose bytes the
 *     slots were between jobs.
 *  2. Fetch f goes to slot f % 2 and is followed, on C, by `filled` of that slot; the part that
 *     reads it follows, on L, that event. Between the two no other fetch goes to the slot, so the
 *     event is that of f: f + 2 is enqueued behind the part.
 *  3. A part has read its slot when L is behind it. A step's kernel runs on L. A block's unpacking
 *     runs on a third stream U, but forks from L behind 2 and L waits for each of its pieces before
 *     it multiplies them (prompt.cu), so that L passes the part when the last one is done; in a
 *     graph the same, whose nodes all begin behind what L was given before and end before what
 *     comes after.
 *  4. Fetch f + 2 follows, on C, `freed` of its slot, recorded on L behind the part of 3.
 *  5. L ends a segment behind `filled` of the last fetch that no part has waited for: when the lane
 *     sees L's end, C is idle, and with 3 so is U.
 *
 * Events are recorded and waited for by this thread alone, the lane's. A wait is for the record
 * that was made last before it was enqueued; later records do not move it.
 *
 * test_transformer_cuda_order.c has a world in which all of this can be seen without a GPU.
 */
typedef struct segment_run {
    const cuda_model *model;
    cudaStream_t lane;
    cuda_part_launch call;
    void *self;
    uint32_t segment, launches;
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

static aegis_status
call(segment_run *run, const uint8_t *layers, uint32_t first, uint32_t last, aegis_error *err)
{
    const cuda_part part = {.segment = run->segment,
                            .number = run->launches++,
                            .first = first,
                            .last = last,
                            .layers = layers};
    return run->call(run->self, &part, err);
}

static aegis_status launch(void *self, uint32_t first, uint32_t last, aegis_error *err)
{
    segment_run *run = self;
    const cuda_model *model = run->model;
    const uint32_t resident = first - aegis_residency_streamed_before(&model->residency, first);
    return call(run, model->layers + resident * model->facts->layer_bytes, first, last, err);
}

static aegis_status await(void *self, uint32_t which, aegis_error *err)
{
    const segment_run *run = self;
    cudaEvent_t filled = run->model->filled[which % AEGIS_RESIDENCY_SLOTS];
    return aegis_cuda_check(cudaStreamWaitEvent(run->lane, filled, 0), "cudaStreamWaitEvent", HERE,
                            err);
}

static aegis_status visit_fetched(void *self, uint32_t layer, uint32_t which, aegis_error *err)
{
    segment_run *run = self;
    return call(run, slot_of(run->model, which), layer, layer + 1, err);
}

static aegis_status launch_fetched(void *self, uint32_t layer, uint32_t which, aegis_error *err)
{
    aegis_status status = await(self, which, err);
    return status == AEGIS_OK ? visit_fetched(self, layer, which, err) : status;
}

static const aegis_residency_ops OPS = {.begin = begin,
                                        .fetch = fetch,
                                        .launch = launch,
                                        .launch_fetched = launch_fetched,
                                        .await = await};

static aegis_status run_whole(segment_run *run, aegis_error *err)
{
    const cuda_model *model = run->model;
    const uint32_t first = run->segment > 0 ? model->ends[run->segment - 1] : 0;
    const uint32_t last = model->ends[run->segment];
    return first < last ? launch(run, first, last, err) : AEGIS_OK;
}

aegis_status aegis_cuda_fetch_run(cuda_model *model,
                                  uint32_t segment,
                                  struct CUstream_st *stream,
                                  cuda_part_launch launch_part,
                                  void *self,
                                  aegis_error *err)
{
    segment_run run = {
        .model = model, .lane = stream, .call = launch_part, .self = self, .segment = segment};
    if (!model->base.stream) {
        return run_whole(&run, err);
    }
    aegis_status status =
        aegis_residency_run(&model->residency, segment, &model->slots, &OPS, &run, err);
    if (status != AEGIS_OK) { /* what was begun ends before the lane goes on */
        (void)follow(stream, model->copies, model->begun, NULL);
    }
    return status;
}

/* ---- the same without copies ---- */

static aegis_status pass_begin(void *self, aegis_error *err)
{
    (void)self;
    (void)err;
    return AEGIS_OK;
}

static aegis_status pass_fetch(void *self, uint32_t which, bool behind_launch, aegis_error *err)
{
    (void)self;
    (void)which;
    (void)behind_launch;
    (void)err;
    return AEGIS_OK;
}

static aegis_status pass_await(void *self, uint32_t which, aegis_error *err)
{
    (void)self;
    (void)which;
    (void)err;
    return AEGIS_OK;
}

static const aegis_residency_ops VISIT_OPS = {.begin = pass_begin,
                                              .fetch = pass_fetch,
                                              .launch = launch,
                                              .launch_fetched = visit_fetched,
                                              .await = pass_await};

/* What the slots hold is as it was: parts do not depend on it. */
aegis_status aegis_cuda_fetch_visit(
    const cuda_model *model, uint32_t segment, cuda_part_launch visit, void *self, aegis_error *err)
{
    aegis_residency_slots slots = {{AEGIS_RESIDENCY_NOTHING, AEGIS_RESIDENCY_NOTHING}};
    segment_run run = {.model = model, .call = visit, .self = self, .segment = segment};
    return model->base.stream
               ? aegis_residency_run(&model->residency, segment, &slots, &VISIT_OPS, &run, err)
               : run_whole(&run, err);
}
