/* SPDX-License-Identifier: Apache-2.0 */
/* Running: once for a job, twice to record. */
#include "backend/onnxruntime/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnxruntime"

static void abandon(void *argument)
{
    aegis_ort_gate_abandon(&((aegis_ort_model *)argument)->gate);
}

static aegis_status
judge(aegis_ort_model *model, OrtStatus *native, bool terminated, aegis_error *err)
{
    const aegis_ort *ort = model->backend->ort;
    aegis_ort_context *context = model->context;
    aegis_status status = AEGIS_OK;
    if (context->mode == AEGIS_ORT_PLAYING) {
        status = aegis_player_end(&context->player, native == NULL, err);
        uint64_t strays = atomic_exchange(&context->strays, 0);
        if (status == AEGIS_OK && strays > 0) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEPARTURE,
                                     "%" PRIu64 " allocations came from the session's own threads, "
                                     "outside of the recording; use threads = 1",
                                     strays);
        }
    }
    if (status == AEGIS_OK && native != NULL && terminated) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TERMINATED,
                                 "model '%s': the run was ended", model->surface.model_name);
    } else if (status == AEGIS_OK && native != NULL) {
        return aegis_ort_error(ort, native, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                               "the run failed", err);
    }
    if (native != NULL) {
        ort->api->ReleaseStatus(native);
    }
    return status;
}

aegis_status aegis_ort_model_run(aegis_ort_model *model, uint32_t slot, aegis_error *err)
{
    const OrtApi *api = model->backend->ort->api;
    aegis_ort_context *context = model->context;
    aegis_surface *surface = &model->surface;
    OrtValue **values = aegis_ort_session_values(&model->session, slot, surface->parity);
    size_t inputs = surface->input_count;
    OrtRunOptions *options = aegis_ort_gate_start(&model->gate, err);
    if (options == NULL) {
        return AEGIS_ERROR_INTERNAL;
    }
    if (context->mode == AEGIS_ORT_PLAYING) {
        context->player.on_departure = abandon;
        context->player.argument = model;
        aegis_player_start(&context->player);
    }
    aegis_ort_enter(context);
    OrtStatus *native =
        api->Run(model->session.session, options, model->names, (const OrtValue *const *)values,
                 inputs, model->names + inputs, surface->output_count, values + inputs);
    aegis_ort_leave();
    bool terminated = aegis_ort_gate_stop(&model->gate);
    aegis_status status = judge(model, native, terminated, err);
    if (status == AEGIS_OK) {
        surface->written = surface->parity ^ 1u;
    }
    return status;
}

/* ---- recording ---- */

static aegis_status record_once(aegis_ort_model *model, aegis_tape *tape, aegis_error *err)
{
    aegis_ort_context *context = model->context;
    uint64_t permanent = aegis_ort_model_permanent_bytes(model);
    aegis_tape_clear(tape);
    context->tape = tape;
    context->crossed = context->capped = false;
    context->cap_bytes =
        model->memory_limit == 0 ? 0 : context->live_bytes + (model->memory_limit - permanent) + 1;
    context->on_cap = abandon;
    context->argument = model;
    atomic_store(&context->strays, 0);
    aegis_status status = aegis_ort_model_run(model, 0, err);
    context->tape = NULL;
    context->cap_bytes = 0;
    if (context->capped) {
        return aegis_ort_model_check_limit(model, tape->peak_bytes, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (atomic_load(&context->strays) > 0) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
            "its %u threads allocate on their own, in no fixed order; use threads = 1",
            model->threads);
    }
    if (context->crossed || aegis_tape_survivors(tape) > 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "its runs %s; such a model cannot be planned",
                               context->crossed ? "release memory of loading"
                                                : "keep memory from run to run");
    }
    return AEGIS_OK;
}

/* The order of loading differs from session to session; sizes do not. */
static int larger_first(const void *a, const void *b)
{
    uint64_t x = ((const aegis_tensor_lifetime *)a)->size_bytes;
    uint64_t y = ((const aegis_tensor_lifetime *)b)->size_bytes;
    return (x < y) - (x > y);
}

static aegis_status list_lifetimes(aegis_ort_model *model, aegis_error *err)
{
    size_t kept = 0, count = 0;
    size_t most = 1 + model->loading.allocation_count + model->surface.buffer_count +
                  model->run.allocation_count;
    aegis_deallocate(&model->allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    model->lifetime_capacity = model->lifetime_count = 0;
    model->lifetimes = aegis_allocate_zeroed(&model->allocator, most, sizeof *model->lifetimes);
    if (model->lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for lifetimes");
    }
    model->lifetime_capacity = most;
    aegis_tensor_lifetime *all = model->lifetimes;
    if (model->compiled.weights_bytes > 0) {
        all[count++] = (aegis_tensor_lifetime){.memory_class = AEGIS_MEMORY_WEIGHTS,
                                               .end = 1,
                                               .size_bytes = model->compiled.weights_bytes,
                                               .alignment = 64};
    }
    size_t first = count;
    for (size_t i = 0; i < model->loading.allocation_count; i++) {
        const aegis_tape_allocation *one = &model->loading.allocations[i];
        if (one->died < 0 && one->size_bytes > 0) {
            all[count++] = (aegis_tensor_lifetime){.memory_class = AEGIS_MEMORY_PREPACKED,
                                                   .end = 1,
                                                   .size_bytes = one->size_bytes,
                                                   .alignment = 64};
        }
    }
    kept = count - first;
    qsort(all + first, kept, sizeof *all, larger_first);
    for (size_t i = 0; i < kept; i++) {
        all[first + i].tensor = (uint32_t)i;
    }
    model->kept_count = kept;
    aegis_surface_lifetimes(&model->surface, (uint32_t)kept, all + count);
    count += model->surface.buffer_count;
    count += aegis_tape_lifetimes(&model->run, AEGIS_MEMORY_ACTIVATION, 0, all + count);
    model->lifetime_count = count;
    return AEGIS_OK;
}

aegis_status aegis_ort_model_record(aegis_ort_model *model, aegis_error *err)
{
    aegis_tape second;
    aegis_tape_init(&second, &model->allocator);
    model->recorded = false;
    aegis_status status = record_once(model, &model->run, err);
    if (status == AEGIS_OK) {
        status = record_once(model, &second, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_tape_compare(&model->run, &second, err);
    }
    aegis_tape_finish(&second);
    model->surface.written = model->surface.parity;
    if (status == AEGIS_OK) {
        status = aegis_ort_model_check_limit(model, model->run.peak_bytes, err);
    }
    if (status == AEGIS_OK) {
        status = list_lifetimes(model, err);
    }
    model->recorded = status == AEGIS_OK;
    return status;
}

/* ---- probing ---- */

static aegis_status
read_shape(const aegis_ort *ort, const OrtValue *value, aegis_tensor_info *info, aegis_error *err)
{
    const OrtApi *api = ort->api;
    OrtTensorTypeAndShapeInfo *shape = NULL;
    size_t rank = 0;
    OrtStatus *native = api->GetTensorTypeAndShape(value, &shape);
    if (native == NULL) {
        native = api->GetDimensionsCount(shape, &rank);
    }
    if (native == NULL && rank <= AEGIS_MAX_RANK) {
        native = api->GetDimensions(shape, info->shape, rank);
        info->rank = (int)rank;
    }
    if (shape != NULL) {
        api->ReleaseTensorTypeAndShapeInfo(shape);
    }
    if (native != NULL || rank > AEGIS_MAX_RANK) {
        if (native != NULL) {
            api->ReleaseStatus(native);
        }
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "output '%s' is no tensor of at most %d dimensions", info->name,
                               AEGIS_MAX_RANK);
    }
    return AEGIS_OK;
}

static aegis_status
run_unbound(aegis_ort_model *model, const char **names, OrtValue **outputs, aegis_error *err)
{
    const aegis_ort *ort = model->backend->ort;
    aegis_ort_compiled *compiled = &model->compiled;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < compiled->input_count; i++) {
        names[i] = compiled->inputs[i].name;
    }
    for (size_t i = 0; i < compiled->output_count; i++) {
        names[compiled->input_count + i] = compiled->outputs[i].name;
    }
    aegis_ort_enter(model->context);
    OrtStatus *native = ort->api->Run(
        model->session.session, NULL, names,
        (const OrtValue *const *)aegis_ort_session_values(&model->session, 0, 0),
        compiled->input_count, names + compiled->input_count, compiled->output_count, outputs);
    if (native != NULL) {
        status = aegis_ort_error(ort, native, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INFERENCE,
                                 "the first run failed", err);
    }
    for (size_t i = 0; i < compiled->output_count; i++) {
        if (status == AEGIS_OK) {
            status = read_shape(ort, outputs[i], &compiled->outputs[i], err);
        }
        if (outputs[i] != NULL) {
            ort->api->ReleaseValue(outputs[i]);
        }
    }
    aegis_ort_leave();
    return status;
}

aegis_status
aegis_ort_model_probe(aegis_ort_model *model, const aegis_model_config *config, aegis_error *err)
{
    aegis_ort_compiled *compiled = &model->compiled;
    size_t most = compiled->input_count + compiled->output_count + 1;
    const char **names = aegis_allocate_zeroed(&model->allocator, most, sizeof *names);
    OrtValue **outputs = aegis_allocate_zeroed(&model->allocator, most, sizeof(OrtValue *));
    aegis_surface inputs = {.trial = NULL};
    aegis_model_config stateless = *config;
    stateless.state_count = 0;
    stateless.slots = 1;
    aegis_status status =
        names == NULL || outputs == NULL
            ? aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                              "no memory to probe")
            : aegis_surface_init(&inputs, &stateless, compiled->inputs, compiled->input_count, NULL,
                                 0, &model->allocator, err);
    if (status == AEGIS_OK) {
        status = aegis_surface_open_trial(&inputs, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_ort_session_bind(&model->session, &inputs, err);
    }
    if (status == AEGIS_OK) {
        status = run_unbound(model, names, outputs, err);
    }
    aegis_deallocate(&model->allocator, (void *)names, most, sizeof *names);
    aegis_deallocate(&model->allocator, outputs, most, sizeof(OrtValue *));
    aegis_surface_finish(&inputs);
    return status;
}
