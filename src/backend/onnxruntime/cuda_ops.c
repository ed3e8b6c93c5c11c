/* SPDX-License-Identifier: Apache-2.0 */
/* The ops table of models on a CUDA device: that of the host, each step on the lane's own thread,
 * and without an end part-way. */
#include "backend/onnxruntime/cuda.h"

#include "backend/onnxruntime/model.h"
#include "backend/onnxruntime/ops.h"

#define COMPONENT "backend.onnxruntime.cuda"

static aegis_stream *stream_of(void *model)
{
    return ((aegis_ort_model *)model)->cuda->stream;
}

typedef struct open_step {
    void *backend;
    const aegis_model_config *config;
    void *model;
} open_step;

static aegis_status take_open(void *argument, aegis_error *err)
{
    open_step *self = argument;
    return aegis_ort_host_ops.open(self->backend, self->config, &self->model, err);
}

static aegis_status
cuda_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    open_step step = {.backend = self, .config = config};
    if (config->stream == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "a model on a CUDA device is bound to the stream that runs it when "
                               "it is loaded: give aegis_model_config.stream");
    }
    aegis_status status = aegis_ort_cuda_on_stream(config->stream, take_open, &step, err);
    if (status == AEGIS_OK) {
        *ret_model = step.model;
    } else if (step.model != NULL) { /* it opened, and something on the device failed */
        aegis_ort_host_ops.close(step.model);
    }
    return status;
}

static aegis_status take_close(void *model, aegis_error *err)
{
    (void)err;
    aegis_ort_host_ops.close(model);
    return AEGIS_OK;
}

static void cuda_close(void *model)
{
    aegis_error unused;
    (void)aegis_ort_cuda_on_stream(stream_of(model), take_close, model, &unused);
}

static aegis_status take_record(void *model, aegis_error *err)
{
    return aegis_ort_host_ops.record(model, NULL, err);
}

static aegis_status cuda_record(void *model, aegis_stream *stream, aegis_error *err)
{
    (void)stream; /* the model's own */
    return aegis_ort_cuda_on_stream(stream_of(model), take_record, model, err);
}

typedef struct place_step {
    void *model;
    const aegis_model_placement *placement;
} place_step;

static aegis_status take_place(void *argument, aegis_error *err)
{
    const place_step *self = argument;
    return aegis_ort_host_ops.place(self->model, self->placement, err);
}

static aegis_status
cuda_place(void *model, const aegis_model_placement *placement, aegis_error *err)
{
    place_step step = {.model = model, .placement = placement};
    return aegis_ort_cuda_on_stream(stream_of(model), take_place, &step, err);
}

typedef struct candidates_step {
    void *model;
    const aegis_cut_candidate *candidates;
    size_t count;
} candidates_step;

static aegis_status take_candidates(void *argument, aegis_error *err)
{
    candidates_step *self = argument;
    return aegis_ort_host_ops.cut_candidates(self->model, NULL, &self->candidates, &self->count,
                                             err);
}

static aegis_status cuda_candidates(void *model,
                                    aegis_stream *stream,
                                    const aegis_cut_candidate **ret_candidates,
                                    size_t *ret_count,
                                    aegis_error *err)
{
    candidates_step step = {.model = model};
    (void)stream; /* the model's own */
    aegis_status status = aegis_ort_cuda_on_stream(stream_of(model), take_candidates, &step, err);
    if (status == AEGIS_OK) {
        *ret_candidates = step.candidates;
        *ret_count = step.count;
    }
    return status;
}

static aegis_status cuda_reset(void *model, aegis_error *err)
{
    return aegis_ort_cuda_reset(model, err);
}

static aegis_status
cuda_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    const aegis_ort_model *model = self;
    if (stream != model->cuda->stream) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s' is bound to the stream that it was loaded for",
                               model->surface.model_name);
    }
    return aegis_ort_host_ops.execute(self, segment, slot, stream, err);
}

static aegis_status cuda_enqueue_ahead(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    (void)stream; /* the model's own */
    return aegis_ort_cuda_launch_ahead(self, segment, slot, err);
}

static aegis_status cuda_take_ahead(void *self, uint32_t segment, uint32_t slot, aegis_error *err)
{
    return aegis_ort_model_take_ahead(self, segment, slot, err);
}

static bool cuda_ahead_has_halves(void *model)
{
    return ((const aegis_ort_model *)model)->cuda->has_state;
}

/* On the thread of the stream that copies, while the lane may run other models. */
static aegis_status
cuda_enqueue_inputs(void *self, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    const aegis_ort_model *model = self;
    if (slot >= model->surface.slots) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s' has no slot %u", model->surface.model_name, slot);
    }
    return aegis_ort_cuda_copy_in(model, slot, stream, err);
}

static const char *cuda_note(void *model)
{
    return ((const aegis_ort_model *)model)->cuda->note;
}

aegis_backend_ops aegis_ort_cuda_ops(void)
{
    aegis_backend_ops ops = aegis_ort_host_ops;
    ops.open = cuda_open;
    ops.close = cuda_close;
    ops.record = cuda_record;
    ops.place = cuda_place;
    ops.reset = cuda_reset;
    ops.cut_candidates = cuda_candidates;
    ops.execute = cuda_execute;
    ops.enqueue_ahead = cuda_enqueue_ahead;
    ops.take_ahead = cuda_take_ahead;
    ops.ahead_has_halves = cuda_ahead_has_halves;
    ops.enqueue_inputs = cuda_enqueue_inputs;
    ops.terminate = NULL; /* what is on the device goes on to its end */
    ops.note = cuda_note;
    ops.visit_touched = NULL; /* most of it is not on the host */
    return ops;
}
