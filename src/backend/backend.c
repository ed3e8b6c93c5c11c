/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls up to a model's place in memory: they validate and hand over to the
 * implementation's ops. */
#include "backend/backend_internal.h"

#include <inttypes.h>
#include <string.h>

#define COMPONENT "backend"

size_t aegis_element_bytes(aegis_element element)
{
    switch (element) {
    case AEGIS_ELEMENT_I8:
    case AEGIS_ELEMENT_U8:
    case AEGIS_ELEMENT_BOOL:
        return 1;
    case AEGIS_ELEMENT_F16:
    case AEGIS_ELEMENT_BF16:
    case AEGIS_ELEMENT_I16:
    case AEGIS_ELEMENT_U16:
        return 2;
    case AEGIS_ELEMENT_F32:
    case AEGIS_ELEMENT_I32:
    case AEGIS_ELEMENT_U32:
        return 4;
    case AEGIS_ELEMENT_F64:
    case AEGIS_ELEMENT_I64:
    case AEGIS_ELEMENT_U64:
        return 8;
    }
    return 0;
}

const char *aegis_element_name(aegis_element element)
{
    switch (element) {
    case AEGIS_ELEMENT_F32:
        return "f32";
    case AEGIS_ELEMENT_F16:
        return "f16";
    case AEGIS_ELEMENT_BF16:
        return "bf16";
    case AEGIS_ELEMENT_F64:
        return "f64";
    case AEGIS_ELEMENT_I8:
        return "i8";
    case AEGIS_ELEMENT_U8:
        return "u8";
    case AEGIS_ELEMENT_I16:
        return "i16";
    case AEGIS_ELEMENT_U16:
        return "u16";
    case AEGIS_ELEMENT_I32:
        return "i32";
    case AEGIS_ELEMENT_U32:
        return "u32";
    case AEGIS_ELEMENT_I64:
        return "i64";
    case AEGIS_ELEMENT_U64:
        return "u64";
    case AEGIS_ELEMENT_BOOL:
        return "bool";
    }
    return "unknown";
}

/* ---- backends ---- */

static const char *missing_op(const aegis_backend_ops *ops)
{
    const struct {
        bool there;
        const char *name;
    } required[] = {
        {ops->name != NULL, "name"},
        {ops->destroy != NULL, "destroy"},
        {ops->runtime_version != NULL, "runtime_version"},
        {ops->open != NULL, "open"},
        {ops->close != NULL, "close"},
        {ops->hash != NULL, "hash"},
        {ops->label != NULL, "label"},
        {ops->is_valid != NULL, "is_valid"},
        {ops->inputs != NULL, "inputs"},
        {ops->outputs != NULL, "outputs"},
        {ops->segment_count != NULL, "segment_count"},
        {ops->record != NULL, "record"},
        {ops->lifetimes != NULL, "lifetimes"},
        {ops->overhead_bytes != NULL, "overhead_bytes"},
        {ops->loading_peak_bytes != NULL, "loading_peak_bytes"},
        {ops->place != NULL, "place"},
        {ops->is_placed != NULL, "is_placed"},
        {ops->reset != NULL, "reset"},
        {ops->input != NULL, "input"},
        {ops->output != NULL, "output"},
        {ops->execute != NULL, "execute"},
        {ops->commit != NULL, "commit"},
        {ops->last_spill != NULL, "last_spill"},
        {ops->is_ready != NULL || ops->awaited_segments == NULL, "is_ready"},
        {ops->watch != NULL || ops->awaited_segments == NULL, "watch"},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(required); i++) {
        if (!required[i].there) {
            return required[i].name;
        }
    }
    return NULL;
}

aegis_status aegis_backend_wrap(const aegis_backend_ops *ops,
                                void *self,
                                const aegis_allocator *allocator,
                                aegis_backend **ret_backend,
                                aegis_error *err)
{
    if (ops == NULL || allocator == NULL || ret_backend == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT),
                       "wrapping a backend needs ops, allocator and result");
    }
    aegis_status status = AEGIS_OK;
    const char *missing = NULL;
    aegis_backend *backend = NULL;
    if (ops->version != AEGIS_BACKEND_OPS_VERSION) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                 "backend ops have version %" PRIu32 ", this library has %u",
                                 ops->version, AEGIS_BACKEND_OPS_VERSION);
        return status; /* nothing of an unknown table is called, not even destroy */
    }
    missing = missing_op(ops);
    if (missing != NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                                 "backend '%s' lacks the required entry '%s'",
                                 ops->name != NULL ? ops->name : "?", missing);
        goto fail;
    }
    backend = aegis_allocate_zeroed(allocator, 1, sizeof *backend);
    if (backend == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for backend '%s'", ops->name);
        goto fail;
    }
    *backend = (aegis_backend){.ops = ops, .self = self, .allocator = *allocator};
    *ret_backend = backend;
    return AEGIS_OK;
fail:
    if (ops->destroy != NULL) {
        ops->destroy(self);
    }
    return status;
}

void aegis_backend_destroy(aegis_backend *backend)
{
    if (backend == NULL) {
        return;
    }
    backend->ops->destroy(backend->self);
    aegis_allocator allocator = backend->allocator;
    aegis_deallocate(&allocator, backend, 1, sizeof *backend);
}

const char *aegis_backend_name(const aegis_backend *backend)
{
    return backend->ops->name;
}

const char *aegis_backend_version(const aegis_backend *backend)
{
    return backend->ops->runtime_version(backend->self);
}

/* ---- models: opening ---- */

static aegis_status check_inputs(const aegis_model_config *config, aegis_error *err)
{
    for (size_t i = 0; i < config->input_count; i++) {
        const aegis_input_shape *one = &config->inputs[i];
        if (one->name == NULL || one->rank < 0 || one->rank > AEGIS_MAX_RANK) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "model '%s': input '%s' has %d dimensions; 0 to %d are possible",
                                   config->name, one->name != NULL ? one->name : "?", one->rank,
                                   AEGIS_MAX_RANK);
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(config->inputs[k].name, one->name) == 0) {
                return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                       "model '%s': input '%s' is given twice", config->name,
                                       one->name);
            }
        }
    }
    return AEGIS_OK;
}

static aegis_status check_config(const aegis_model_config *config, aegis_error *err)
{
    if (config == NULL || config->name == NULL || config->path == NULL || config->name[0] == '\0' ||
        config->path[0] == '\0') {
        return invalid(err, AEGIS_HERE(COMPONENT), "a model needs a name and a path");
    }
    if ((config->inputs == NULL && config->input_count > 0) ||
        (config->state == NULL && config->state_count > 0) ||
        (config->sources == NULL && config->source_count > 0)) {
        return invalid(err, AEGIS_HERE(COMPONENT),
                       "a model's config has a count without its array");
    }
    for (size_t i = 0; i < config->state_count; i++) {
        if (config->state[i].input == NULL || config->state[i].output == NULL) {
            return invalid(err, AEGIS_HERE(COMPONENT), "a state pair needs an input and an output");
        }
    }
    if (config->slots > 4096) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "model '%s': %" PRIu32 " slots; at most 4096", config->name,
                               config->slots);
    }
    if (config->threads > 256) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "model '%s': %u threads; at most 256", config->name,
                               config->threads);
    }
    return check_inputs(config, err);
}

static aegis_status
check_residency(const aegis_backend *backend, const aegis_model_config *config, aegis_error *err)
{
    if (config->residency == AEGIS_RESIDENT) {
        return AEGIS_OK;
    }
    if (config->residency == AEGIS_STREAMED && backend->ops->awaited_segments == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s': models of backend '%s' cannot be streamed; make it "
                               "resident",
                               config->name, backend->ops->name);
    }
    if (config->residency == AEGIS_STREAMED) {
        return AEGIS_OK;
    }
    if (backend->ops->last_paged_bytes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s': models of backend '%s' cannot be paged; make it "
                               "resident",
                               config->name, backend->ops->name);
    }
    if (config->cuts != NULL && config->cut_count > 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s' is paged and cannot be cut: between two of its segments "
                               "another paged model could overwrite its weights; make it resident, "
                               "or leave it whole",
                               config->name);
    }
    return AEGIS_OK;
}

aegis_status aegis_model_open(aegis_backend *backend,
                              const aegis_model_config *config,
                              aegis_model **ret_model,
                              aegis_error *err)
{
    if (backend == NULL || ret_model == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "opening a model needs a backend and a result");
    }
    aegis_status status = check_config(config, err);
    if (status == AEGIS_OK) {
        status = check_residency(backend, config, err);
    }
    if (status == AEGIS_OK && config->early_copies && backend->ops->enqueue_inputs == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "model '%s': backend '%s' does not copy the inputs of its models "
                                 "to a device, or not apart from their execution; leave its copies "
                                 "inline",
                                 config->name, backend->ops->name);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_model *model = aegis_allocate_zeroed(&backend->allocator, 1, sizeof *model);
    char *name = aegis_copy_text(&backend->allocator, config->name);
    void *self = NULL;
    if (model == NULL || name == NULL) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory for model '%s'", config->name);
        goto fail;
    }
    status = backend->ops->open(backend->self, config, &self, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "model '%s'", config->name);
        goto fail;
    }
    *model = (aegis_model){.ops = backend->ops,
                           .self = self,
                           .allocator = backend->allocator,
                           .name = name,
                           .early_copies = config->early_copies};
    *ret_model = model;
    return AEGIS_OK;
fail:
    aegis_free_text(&backend->allocator, name);
    aegis_deallocate(&backend->allocator, model, 1, sizeof *model);
    return status;
}

void aegis_model_close(aegis_model *model)
{
    if (model == NULL) {
        return;
    }
    aegis_allocator allocator = model->allocator;
    model->ops->close(model->self);
    aegis_free_text(&allocator, model->name);
    aegis_deallocate(&allocator, model, 1, sizeof *model);
}

void *aegis_model_self(aegis_model *model)
{
    return model->self;
}

/* ---- models: what they are ---- */

const char *aegis_model_name(const aegis_model *model)
{
    return model->name;
}

const char *aegis_model_hash(const aegis_model *model)
{
    return model->ops->hash(model->self);
}

const char *aegis_model_label(const aegis_model *model)
{
    return model->ops->label(model->self);
}

const char *aegis_model_note(const aegis_model *model)
{
    return model->ops->note == NULL ? "" : model->ops->note(model->self);
}

bool aegis_model_is_valid(const aegis_model *model)
{
    return model->ops->is_valid(model->self);
}

const aegis_tensor_info *aegis_model_inputs(const aegis_model *model, size_t *ret_count)
{
    return model->ops->inputs(model->self, ret_count);
}

const aegis_tensor_info *aegis_model_outputs(const aegis_model *model, size_t *ret_count)
{
    return model->ops->outputs(model->self, ret_count);
}

uint32_t aegis_model_segment_count(const aegis_model *model)
{
    return model->ops->segment_count(model->self);
}

aegis_status aegis_model_cut_candidates(aegis_model *model,
                                        aegis_stream *stream,
                                        const aegis_cut_candidate **ret_candidates,
                                        size_t *ret_count,
                                        aegis_error *err)
{
    if (model->ops->cut_candidates == NULL) {
        return aegis_error_set(err, AEGIS_HERE("backend"), AEGIS_ERROR_UNSUPPORTED,
                               "%s: models of the backend %s cannot be cut", model->name,
                               model->ops->name);
    }
    return model->ops->cut_candidates(model->self, stream, ret_candidates, ret_count, err);
}

uint64_t aegis_model_overhead_bytes(const aegis_model *model)
{
    return model->ops->overhead_bytes(model->self);
}

uint64_t aegis_model_loading_peak_bytes(const aegis_model *model)
{
    return model->ops->loading_peak_bytes(model->self);
}

bool aegis_model_is_placed(const aegis_model *model)
{
    return model->ops->is_placed(model->self);
}

/* ---- models: recording and memory ---- */

aegis_status aegis_model_record(aegis_model *model, aegis_stream *stream, aegis_error *err)
{
    if (model == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "no model to record");
    }
    if (model->ops->is_placed(model->self)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s' is placed; record it before", model->name);
    }
    aegis_status status = model->ops->record(model->self, stream, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "model '%s'", model->name);
    }
    return status;
}

aegis_status aegis_model_estimate_lifetimes(const aegis_model *model,
                                            const aegis_tensor_lifetime **ret_lifetimes,
                                            size_t *ret_count,
                                            aegis_error *err)
{
    if (model == NULL || ret_lifetimes == NULL || ret_count == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "lifetimes need a model and results");
    }
    return model->ops->lifetimes(model->self, ret_lifetimes, ret_count, err);
}

/* The largest sum of one class alive at one event: activations of one segment, boundary tensors on
 * the axis of the segments. Events are few thousands, and a birth is where a maximum can be. */
static uint64_t
peak_of(const aegis_tensor_lifetime *lifetimes, size_t count, aegis_memory_class memory_class)
{
    uint64_t peak = 0;
    for (size_t i = 0; i < count; i++) {
        if (lifetimes[i].memory_class != memory_class) {
            continue;
        }
        uint64_t live = 0;
        for (size_t k = 0; k < count; k++) {
            bool alive = lifetimes[k].memory_class == memory_class &&
                         (memory_class == AEGIS_MEMORY_BOUNDARY ||
                          lifetimes[k].segment == lifetimes[i].segment) &&
                         lifetimes[k].start <= lifetimes[i].start &&
                         lifetimes[k].end > lifetimes[i].start;
            live += alive ? lifetimes[k].size_bytes : 0;
        }
        peak = live > peak ? live : peak;
    }
    return peak;
}

aegis_status aegis_model_estimate_memory(const aegis_model *model,
                                         uint64_t ret_by_class[AEGIS_MEMORY_CLASS_COUNT],
                                         aegis_error *err)
{
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    if (ret_by_class == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "an estimate needs a result");
    }
    aegis_status status = aegis_model_estimate_lifetimes(model, &lifetimes, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t sums[AEGIS_MEMORY_CLASS_COUNT] = {0};
    for (size_t i = 0; i < count; i++) {
        sums[lifetimes[i].memory_class] += lifetimes[i].size_bytes;
    }
    sums[AEGIS_MEMORY_ACTIVATION] = peak_of(lifetimes, count, AEGIS_MEMORY_ACTIVATION);
    sums[AEGIS_MEMORY_BOUNDARY] = peak_of(lifetimes, count, AEGIS_MEMORY_BOUNDARY);
    memcpy(ret_by_class, sums, sizeof sums);
    return AEGIS_OK;
}

static aegis_status
check_placement(const aegis_model *model, const aegis_model_placement *placement, aegis_error *err)
{
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    if (placement->base == NULL || placement->binding == NULL ||
        (placement->spill_base == NULL && placement->spill_bytes > 0)) {
        return invalid(err, AEGIS_HERE(COMPONENT),
                       "a placement needs a base, a binding and its spill");
    }
    aegis_status status = model->ops->lifetimes(model->self, &lifetimes, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (placement->binding->placement_count != count) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "model '%s' has %zu tensors, the binding places %zu", model->name,
                               count, placement->binding->placement_count);
    }
    for (size_t i = 0; i < count; i++) {
        const aegis_memory_placement *one = &placement->binding->placements[i];
        uint64_t alignment = lifetimes[i].alignment == 0 ? 64 : lifetimes[i].alignment;
        bool fits = one->size_bytes >= lifetimes[i].size_bytes &&
                    one->offset_bytes <= placement->size_bytes &&
                    lifetimes[i].size_bytes <= placement->size_bytes - one->offset_bytes;
        if (!fits || ((uintptr_t)placement->base + one->offset_bytes) % alignment != 0) {
            return aegis_error_set(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                "model '%s': tensor %zu (%s, %" PRIu64 " bytes) does not fit at "
                "offset %" PRIu64 " of %" PRIu64 ", or is not aligned to %" PRIu64,
                model->name, i, aegis_memory_class_name(lifetimes[i].memory_class),
                lifetimes[i].size_bytes, one->offset_bytes, placement->size_bytes, alignment);
        }
    }
    return AEGIS_OK;
}

aegis_status
aegis_model_place(aegis_model *model, const aegis_model_placement *placement, aegis_error *err)
{
    if (model == NULL || placement == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "placing needs a model and a placement");
    }
    if (model->ops->is_placed(model->self)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s' is placed already", model->name);
    }
    aegis_status status = check_placement(model, placement, err);
    if (status == AEGIS_OK) {
        status = model->ops->place(model->self, placement, err);
        if (status != AEGIS_OK) {
            aegis_error_prefix(err, "model '%s'", model->name);
        }
    }
    return status;
}
