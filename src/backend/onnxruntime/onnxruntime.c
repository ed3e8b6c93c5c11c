/* SPDX-License-Identifier: Apache-2.0 */
/* The ops table and the backend object. */
#include "backend/onnxruntime/inject.h"
#include "backend/onnxruntime/model.h"
#include "backend/onnxruntime/ops.h"

#include "backend/code.h"
#include "backend/runtimes.h"

#include <aegisrt/ext/backend_ops.h>

#include <inttypes.h>

#define COMPONENT "backend.onnxruntime"
/* Address space, touched only when a model departs and its lane's spill ends too. */
#define RESERVE_BYTES (UINT64_C(64) << 20)

static aegis_status
ort_open(void *self, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    aegis_ort_model *model = NULL;
    aegis_status status = aegis_ort_model_open(self, config, &model, err);
    if (status == AEGIS_OK) {
        *ret_model = model;
    }
    return status;
}

static void ort_close(void *model)
{
    aegis_ort_model_close(model);
}

static const char *ort_hash(void *self)
{
    return ((aegis_ort_model *)self)->compiled.hash;
}

static const char *ort_label(void *self)
{
    return ((aegis_ort_model *)self)->label;
}

static bool ort_is_valid(void *self)
{
    return !((aegis_ort_model *)self)->lost;
}

static const aegis_tensor_info *ort_inputs(void *self, size_t *ret_count)
{
    aegis_ort_model *model = self;
    *ret_count = model->surface.input_count;
    return model->surface.inputs;
}

static const aegis_tensor_info *ort_outputs(void *self, size_t *ret_count)
{
    aegis_ort_model *model = self;
    *ret_count = model->surface.output_count;
    return model->surface.outputs;
}

static uint32_t ort_segment_count(void *self)
{
    return (uint32_t)((aegis_ort_model *)self)->segment_count;
}

static aegis_status ort_record(void *self, aegis_stream *stream, aegis_error *err)
{
    (void)stream;
    return aegis_ort_model_record(self, err);
}

static aegis_status ort_lifetimes(void *self,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    aegis_ort_model *model = self;
    if (!model->recorded) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s' was not recorded yet", model->surface.model_name);
    }
    aegis_status status = aegis_ort_model_tell_packed(model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_lifetimes = model->lifetimes;
    *ret_count = model->lifetime_count;
    return AEGIS_OK;
}

static uint64_t ort_overhead_bytes(void *self)
{
    return ((aegis_ort_model *)self)->overhead_bytes;
}

static uint64_t ort_loading_peak_bytes(void *self)
{
    return ((aegis_ort_model *)self)->loading_peak_bytes;
}

static aegis_status ort_place(void *self, const aegis_model_placement *placement, aegis_error *err)
{
    return aegis_ort_model_place(self, placement, err);
}

static bool ort_is_placed(void *self)
{
    return ((aegis_ort_model *)self)->placed;
}

static aegis_status ort_reset(void *self, aegis_error *err)
{
    return aegis_surface_reset(&((aegis_ort_model *)self)->surface, err);
}

static aegis_status ort_input(void *self,
                              uint32_t slot,
                              const char *name,
                              void **ret_data,
                              uint64_t *ret_size,
                              aegis_error *err)
{
    return aegis_surface_find_input(&((aegis_ort_model *)self)->surface, slot, name, ret_data,
                                    ret_size, err);
}

static aegis_status ort_output(void *self,
                               uint32_t slot,
                               const char *name,
                               void **ret_data,
                               uint64_t *ret_size,
                               aegis_error *err)
{
    return aegis_surface_find_output(&((aegis_ort_model *)self)->surface, slot, name, ret_data,
                                     ret_size, err);
}

static aegis_status
ort_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    aegis_ort_model *model = self;
    (void)stream;
    if (segment >= model->segment_count || slot >= model->surface.slots) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s' has %zu segments and %" PRIu32 " slots; segment %" PRIu32
                               ", slot %" PRIu32 " do not exist",
                               model->surface.model_name, model->segment_count,
                               model->surface.slots, segment, slot);
    }
    if (model->lost) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s' was lost; open it anew", model->surface.model_name);
    }
    return aegis_ort_model_run(model, segment, slot, err);
}

static void ort_terminate(void *self)
{
    aegis_ort_gate_terminate(&((aegis_ort_model *)self)->gate);
}

static void ort_commit(void *self)
{
    aegis_surface *surface = &((aegis_ort_model *)self)->surface;
    surface->parity = surface->written;
}

static void ort_last_spill(void *self, aegis_model_spill *ret_spill)
{
    const aegis_ort_model *model = self;
    *ret_spill = model->segments[model->last_segment].context->player.spill;
}

static aegis_status ort_cut_candidates(void *self,
                                       aegis_stream *stream,
                                       const aegis_cut_candidate **ret_candidates,
                                       size_t *ret_count,
                                       aegis_error *err)
{
    aegis_ort_model *model = self;
    (void)stream;
    aegis_status status = aegis_ort_model_candidates(model, err);
    if (status == AEGIS_OK) {
        *ret_candidates = model->candidates;
        *ret_count = model->candidate_count;
    }
    return status;
}

static uint64_t ort_last_paged_bytes(void *self)
{
    return ((aegis_ort_model *)self)->paging.last_bytes;
}

/* What stays from loading, unless it lies in planned bytes, of which the addresses are not kept. */
static void visit_kept(const aegis_ort_model *model, aegis_model_visit visit, void *self)
{
    for (size_t i = 0; i < model->segment_count && !model->placed; i++) {
        const aegis_tape *loading = &model->segments[i].loading;
        for (size_t k = 0; k < loading->allocation_count; k++) {
            const aegis_tape_allocation *one = &loading->allocations[k];
            if (one->died < 0 && one->at != NULL) {
                visit(self, one->at, one->size_bytes);
            }
        }
    }
}

static void visit_weights(const aegis_ort_model *model, aegis_model_visit visit, void *self)
{
    void *const *at = model->places != NULL ? model->places : model->chunks;
    for (size_t i = 0; i < model->compiled.chunk_count; i++) {
        if (at[i] != NULL && !model->unread[i]) {
            visit(self, at[i], model->compiled.chunks[i].length);
        }
    }
}

static void ort_visit_touched(void *model, aegis_model_visit visit, void *self)
{
    const aegis_ort_model *one = model;
    if (one->paging.region != NULL) {
        visit(self, one->paging.region, one->paging.size_bytes);
    } else {
        visit_weights(one, visit, self);
        visit_kept(one, visit, self);
    }
    for (size_t i = 0; i < one->surface.buffer_count; i++) {
        visit(self, one->surface.buffers[i].pointer, one->surface.buffers[i].size_bytes);
    }
    for (size_t i = 0; i < one->compiled.boundary_count; i++) {
        visit(self, one->boundaries[i], one->compiled.boundaries[i].info.size_bytes);
    }
    aegis_code_visit((uintptr_t)one->backend->ort->api, visit, self);
}

static const char *ort_version(void *self)
{
    return ((aegis_ort_backend *)self)->ort->version;
}

static void ort_destroy(void *self)
{
    aegis_ort_backend *backend = self;
    aegis_allocator allocator = backend->allocator;
    if (backend->device != NULL) {
        aegis_ort_leave_cuda();
    }
    if (backend->ort != NULL) {
        aegis_ort_release();
    }
    aegis_reserve_finish(&backend->reserve);
    aegis_free_text(&allocator, backend->cache_dir);
    aegis_ort_residents_finish(&backend->residents);
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

const aegis_backend_ops aegis_ort_host_ops = {
    .version = AEGIS_BACKEND_OPS_VERSION,
    .name = "onnxruntime",
    .destroy = ort_destroy,
    .runtime_version = ort_version,
    .open = ort_open,
    .close = ort_close,
    .hash = ort_hash,
    .label = ort_label,
    .is_valid = ort_is_valid,
    .inputs = ort_inputs,
    .outputs = ort_outputs,
    .segment_count = ort_segment_count,
    .record = ort_record,
    .lifetimes = ort_lifetimes,
    .overhead_bytes = ort_overhead_bytes,
    .loading_peak_bytes = ort_loading_peak_bytes,
    .place = ort_place,
    .is_placed = ort_is_placed,
    .reset = ort_reset,
    .input = ort_input,
    .output = ort_output,
    .execute = ort_execute,
    .terminate = ort_terminate,
    .commit = ort_commit,
    .last_spill = ort_last_spill,
    .cut_candidates = ort_cut_candidates,
    .last_paged_bytes = ort_last_paged_bytes,
    .visit_touched = ort_visit_touched,
};

aegis_status aegis_onnxruntime_backend_create(const aegis_backend_config *config,
                                              aegis_device *device,
                                              const aegis_allocator *allocator,
                                              aegis_backend **ret_backend,
                                              aegis_error *err)
{
    bool cuda = device != NULL && aegis_device_get_capabilities(device)->kind == AEGIS_DEVICE_CUDA;
    if (config->cache_dir == NULL || config->cache_dir[0] == '\0') {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
            "the runtime \"onnxruntime\" keeps compiled models in a folder: give cache_dir");
    }
    aegis_ort_backend *backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a backend");
    }
    backend->allocator = *allocator;
    backend->residents.allocator = *allocator;
    backend->cache_dir = aegis_copy_text(allocator, config->cache_dir);
    aegis_status status = backend->cache_dir == NULL
                              ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                                "no memory for a backend")
                              : aegis_reserve_init(&backend->reserve, RESERVE_BYTES, err);
    if (status == AEGIS_OK) {
        status = aegis_ort_acquire(config->library, config->consumer, &backend->ort, err);
    }
    if (status == AEGIS_OK && cuda) {
        status = aegis_ort_use_cuda(config->consumer, err);
        backend->device = status == AEGIS_OK ? device : NULL;
    }
    if (status != AEGIS_OK) {
        ort_destroy(backend);
        return status;
    }
    backend->ops = cuda ? aegis_ort_cuda_ops() : aegis_ort_host_ops;
    return aegis_backend_wrap(&backend->ops, backend, allocator, ret_backend, err);
}

/* ---- for tests ---- */

void aegis_onnxruntime_inject(aegis_model *model, int64_t allocation, uint64_t more)
{
    aegis_onnxruntime_inject_segment(model, 0, allocation, more);
}

void aegis_onnxruntime_inject_segment(aegis_model *model,
                                      uint32_t segment,
                                      int64_t allocation,
                                      uint64_t more)
{
    aegis_ort_model *self = aegis_model_self(model);
    aegis_ort_segment *one = &self->segments[segment];
    /* Of the session that is placed, or will be. */
    bool first = (one->context == &one->contexts[0]) == self->placed;
    aegis_player *player = &one->contexts[first ? 0 : 1].player;
    player->inject_index = allocation;
    player->inject_bytes = more;
}

void aegis_onnxruntime_counts_segment(aegis_model *model,
                                      uint32_t segment,
                                      uint64_t *ret_requests,
                                      uint64_t *ret_events,
                                      uint64_t *ret_kept)
{
    const aegis_ort_model *self = aegis_model_self(model);
    *ret_requests = self->segments[segment].run.allocation_count;
    *ret_events = self->segments[segment].run.event_count;
    *ret_kept = aegis_tape_survivors(&self->segments[segment].loading);
}

void aegis_onnxruntime_counts(aegis_model *model,
                              uint64_t *ret_requests,
                              uint64_t *ret_events,
                              uint64_t *ret_kept)
{
    *ret_requests = *ret_events = *ret_kept = 0;
    for (uint32_t i = 0; i < aegis_model_segment_count(model); i++) {
        uint64_t requests, events, kept;
        aegis_onnxruntime_counts_segment(model, i, &requests, &events, &kept);
        *ret_requests += requests;
        *ret_events += events;
        *ret_kept += kept;
    }
}

uint64_t aegis_onnxruntime_strays(void)
{
    return aegis_ort_strays();
}

bool aegis_onnxruntime_optimises_at_load(aegis_model *model)
{
    return ((aegis_ort_model *)aegis_model_self(model))->compiled.at_load;
}
