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

static aegis_status judge(aegis_ort_model *model,
                          aegis_ort_context *context,
                          OrtStatus *native,
                          bool terminated,
                          aegis_error *err)
{
    const aegis_ort *ort = model->backend->ort;
    aegis_status status = AEGIS_OK;
    if (context->unserved > 0) {
        const aegis_ort_cuda *cuda = model->cuda;
        status =
            aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_BUDGET_EXCEEDED,
                            "model '%s': %" PRIu64 " requests on the CPU found no memory: %s",
                            model->surface.model_name, context->unserved,
                            cuda->pinned.failure.message[0] != '\0' ? cuda->pinned.failure.message
                                                                    : cuda->host.failure.message);
        context->unserved = 0;
    }
    if (context->mode == AEGIS_ORT_PLAYING) {
        aegis_status played =
            aegis_player_end(&context->player, native == NULL, status == AEGIS_OK ? err : NULL);
        status = status == AEGIS_OK ? played : status;
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

static bool is_ending(void *argument)
{
    return aegis_ort_gate_ending(&((const aegis_ort_model *)argument)->gate);
}

/* The weights of a paged model, within the run: it can be ended meanwhile. */
static aegis_status page_in(aegis_ort_model *model, aegis_error *err)
{
    aegis_status status = aegis_ort_paging_in(&model->paging, is_ending, model, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "model '%s': reading its weights in", model->surface.model_name);
    }
    return status;
}

aegis_status
aegis_ort_segment_run(aegis_ort_model *model, uint32_t index, uint32_t slot, aegis_error *err)
{
    const OrtApi *api = model->backend->ort->api;
    aegis_ort_segment *segment = &model->segments[index];
    aegis_ort_context *context = segment->context;
    aegis_ort_session *session = &segment->session;
    OrtValue **values = aegis_ort_session_values(session, slot, model->surface.parity);
    size_t inputs = session->input_count;
    OrtRunOptions *options = aegis_ort_gate_start(&model->gate, err);
    if (options == NULL) {
        return AEGIS_ERROR_INTERNAL;
    }
    if (model->paging.region != NULL) {
        aegis_status status = page_in(model, err);
        if (status != AEGIS_OK) {
            aegis_ort_gate_stop(&model->gate);
            return status;
        }
    }
    if (context->mode == AEGIS_ORT_PLAYING) {
        context->player.on_departure = abandon;
        context->player.argument = model;
        aegis_player_start(&context->player);
    }
    aegis_ort_enter(context);
    OrtStatus *native =
        api->Run(session->session, options, segment->names, (const OrtValue *const *)values, inputs,
                 segment->names + inputs, session->output_count, values + inputs);
    aegis_ort_leave();
    bool terminated = aegis_ort_gate_stop(&model->gate);
    return judge(model, context, native, terminated, err);
}

/* STATE when the segment is not due. */
static aegis_status
begin_segment(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    const aegis_surface *surface = &model->surface;
    bool next = segment == 0 || (slot == model->reached_slot &&
                                 (segment == model->reached || segment + 1 == model->reached));
    if (!next) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_STATE,
                               "model '%s': segment %" PRIu32 " of slot %" PRIu32
                               " cannot run: the job in slot %" PRIu32 " has completed %" PRIu32
                               " segments; the segments of a job run in order, one job at a time",
                               surface->model_name, segment, slot, model->reached_slot,
                               model->reached);
    }
    model->reached = segment;
    model->reached_slot = slot;
    model->last_segment = segment;
    return AEGIS_OK;
}

static void end_segment(aegis_ort_model *model, uint32_t segment)
{
    model->reached = segment + 1;
    if (model->reached == model->segment_count) {
        model->surface.written = model->surface.parity ^ 1u;
    }
}

aegis_status
aegis_ort_model_run(aegis_ort_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    aegis_status status = begin_segment(model, segment, slot, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (model->paging.wanted && model->recorded && model->paging.region == NULL) {
        status = aegis_ort_model_page_trial(model, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    status = model->cuda != NULL ? aegis_ort_cuda_run(model, segment, slot, err)
                                 : aegis_ort_segment_run(model, segment, slot, err);
    if (status == AEGIS_OK) {
        end_segment(model, segment);
    }
    return status;
}

aegis_status aegis_ort_model_take_ahead(aegis_ort_model *model,
                                        uint32_t segment,
                                        uint32_t slot,
                                        aegis_error *err)
{
    aegis_status status = begin_segment(model, segment, slot, err);
    if (status == AEGIS_OK) {
        end_segment(model, segment);
    }
    return status;
}

/* ---- recording ---- */

static aegis_status
record_segment(aegis_ort_model *model, uint32_t index, aegis_tape *tape, aegis_error *err)
{
    aegis_ort_context *context = model->segments[index].context;
    uint64_t permanent = aegis_ort_model_permanent_bytes(model);
    aegis_tape_clear(tape);
    context->tape = tape;
    context->crossed = context->capped = false;
    context->cap_bytes =
        model->memory_limit == 0 ? 0 : context->live_bytes + (model->memory_limit - permanent) + 1;
    context->on_cap = abandon;
    context->argument = model;
    atomic_store(&context->strays, 0);
    aegis_status status = aegis_ort_model_run(model, index, 0, err);
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

/* Those of one size in the order of loading; `tensor` is the allocation, until all are in order. */
static int larger_first(const void *a, const void *b)
{
    const aegis_tensor_lifetime *x = a, *y = b;
    if (x->size_bytes != y->size_bytes) {
        return (x->size_bytes < y->size_bytes) - (x->size_bytes > y->size_bytes);
    }
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

/* Blocks of one segment that stay from loading, largest first. Returns how many. */
static size_t list_kept(aegis_ort_segment *segment, uint32_t index, aegis_tensor_lifetime *ret_list)
{
    size_t count = 0;
    for (size_t i = 0; i < segment->loading.allocation_count; i++) {
        const aegis_tape_allocation *one = &segment->loading.allocations[i];
        if (one->died < 0 && one->size_bytes > 0) {
            ret_list[count++] = (aegis_tensor_lifetime){.tensor = (uint32_t)i,
                                                        .memory_class = AEGIS_MEMORY_PREPACKED,
                                                        .segment = index,
                                                        .end = 1,
                                                        .size_bytes = one->size_bytes,
                                                        .alignment = 64};
        }
    }
    qsort(ret_list, count, sizeof *ret_list, larger_first);
    for (size_t i = 0; i < count; i++) {
        ret_list[i].tensor = (uint32_t)i;
    }
    segment->kept_count = count;
    return count;
}

const aegis_tape_allocation *aegis_ort_model_packed_block(const aegis_ort_model *model,
                                                          size_t lifetime)
{
    const aegis_tensor_lifetime *one = &model->lifetimes[lifetime];
    size_t nth = 0;
    while (nth < one->tensor && one[-1 - (ptrdiff_t)nth].size_bytes == one->size_bytes) {
        nth++;
    }
    return aegis_ort_packed_block(&model->segments[one->segment].loading, one->size_bytes, nth);
}

aegis_status aegis_ort_model_tell_packed(aegis_ort_model *model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    /* What is optimised at load need not have its nodes in the same order each time. */
    if (model->packed_told || model->placed || model->compiled.at_load || model->cuda != NULL) {
        return AEGIS_OK;
    }
    for (size_t i = 0; status == AEGIS_OK && i < model->lifetime_count; i++) {
        aegis_tensor_lifetime *one = &model->lifetimes[i];
        const aegis_tape *loading = &model->segments[one->segment].loading;
        if (one->memory_class == AEGIS_MEMORY_PREPACKED &&
            aegis_ort_packed_is_told(loading, one->size_bytes)) {
            status = aegis_ort_packed_identify(aegis_ort_model_packed_block(model, i)->at,
                                               one->size_bytes, one->content, err);
        }
    }
    model->packed_told = status == AEGIS_OK;
    return status;
}

static size_t list_weights(const aegis_ort_model *model, aegis_tensor_lifetime *ret_list)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    for (size_t i = 0; i < compiled->chunk_count; i++) {
        const aegis_ort_chunk *chunk = &compiled->chunks[i];
        ret_list[i] = (aegis_tensor_lifetime){.tensor = (uint32_t)i,
                                              .memory_class = AEGIS_MEMORY_WEIGHTS,
                                              .end = 1,
                                              .size_bytes = model->unread[i] ? 0 : chunk->length,
                                              .alignment = 64};
        memcpy(ret_list[i].content, chunk->content, sizeof ret_list[i].content);
    }
    return compiled->chunk_count;
}

static size_t list_boundaries(const aegis_ort_compiled *compiled, aegis_tensor_lifetime *ret_list)
{
    for (size_t i = 0; i < compiled->boundary_count; i++) {
        const aegis_ort_boundary *one = &compiled->boundaries[i];
        ret_list[i] = (aegis_tensor_lifetime){.tensor = (uint32_t)i,
                                              .memory_class = AEGIS_MEMORY_BOUNDARY,
                                              .segment = one->first,
                                              .start = one->first,
                                              .end = one->end,
                                              .size_bytes = one->info.size_bytes,
                                              .alignment = 64};
    }
    return compiled->boundary_count;
}

/* Aligned as CUDA's own allocations, which kernels may rely on; and what stays from loading are the
 * weights, as the runtime has copied them, numbered behind those of the file. */
static void fit_device(aegis_tensor_lifetime *lifetimes, size_t count, uint32_t chunks)
{
    for (size_t i = 0; i < count; i++) {
        lifetimes[i].alignment = 256;
        if (lifetimes[i].memory_class == AEGIS_MEMORY_PREPACKED) {
            lifetimes[i].memory_class = AEGIS_MEMORY_WEIGHTS;
            lifetimes[i].tensor += chunks;
        }
    }
}

static aegis_status list_lifetimes(aegis_ort_model *model, aegis_error *err)
{
    const aegis_ort_compiled *compiled = &model->compiled;
    size_t most = compiled->chunk_count + 1 + model->surface.buffer_count, count = 0;
    most += compiled->boundary_count;
    for (size_t i = 0; i < model->segment_count; i++) {
        most +=
            model->segments[i].loading.allocation_count + model->segments[i].run.allocation_count;
    }
    aegis_deallocate(&model->allocator, model->lifetimes, model->lifetime_capacity,
                     sizeof *model->lifetimes);
    model->lifetime_capacity = model->lifetime_count = 0;
    model->packed_told = false;
    model->lifetimes = aegis_allocate_zeroed(&model->allocator, most, sizeof *model->lifetimes);
    if (model->lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for lifetimes");
    }
    model->lifetime_capacity = most;
    aegis_tensor_lifetime *all = model->lifetimes;
    size_t first = count;
    if (model->paging.wanted) {
        all[count++] = (aegis_tensor_lifetime){.memory_class = AEGIS_MEMORY_PAGED,
                                               .end = 1,
                                               .size_bytes = model->paging.size_bytes,
                                               .alignment = AEGIS_PAGE_BYTES};
    } else {
        count += list_weights(model, all);
        first = count;
        for (uint32_t i = 0; i < model->segment_count; i++) {
            count += list_kept(&model->segments[i], i, all + count);
        }
    }
    aegis_surface_lifetimes(&model->surface, (uint32_t)(count - first), all + count);
    aegis_ort_model_set_births(model, all + count);
    count += model->surface.buffer_count;
    count += list_boundaries(compiled, all + count);
    for (uint32_t i = 0; i < model->segment_count; i++) {
        count +=
            aegis_tape_lifetimes(&model->segments[i].run, AEGIS_MEMORY_ACTIVATION, i, all + count);
    }
    model->lifetime_count = count;
    if (model->cuda != NULL) {
        fit_device(all, count, (uint32_t)compiled->chunk_count);
    }
    return AEGIS_OK;
}

/* Each segment twice in a row: it may run again on what it read. */
static aegis_status record_twice(aegis_ort_model *model, uint32_t index, aegis_error *err)
{
    aegis_tape second, *first = &model->segments[index].run;
    aegis_tape_init(&second, &model->allocator);
    aegis_status status = record_segment(model, index, first, err);
    if (status == AEGIS_OK) {
        status = record_segment(model, index, &second, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_tape_compare(first, &second, err);
    }
    aegis_tape_finish(&second);
    if (status == AEGIS_OK) {
        status = aegis_ort_model_check_limit(model, first->peak_bytes, err);
    }
    return status;
}

/* Its own counts: weights, which are mapped and touched, and the most that it asked for. */
static void keep_held(const aegis_ort_model *model)
{
    uint64_t activations = 0;
    for (size_t i = 0; i < model->segment_count; i++) {
        const uint64_t peak = model->segments[i].run.peak_bytes;
        activations = peak > activations ? peak : activations;
    }
    aegis_ort_keep_held(&model->compiled, &model->loading, &model->held_before,
                        model->compiled.weights_bytes + model->loading_peak_bytes + activations);
}

aegis_status aegis_ort_model_record(aegis_ort_model *model, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    model->recorded = false;
    if (model->cuda != NULL) { /* a graph that is launched asks for nothing */
        aegis_ort_cuda_drop_graphs(model);
    }
    aegis_ort_weights_forget(&model->compiled, model->mapped_weights);
    for (uint32_t i = 0; status == AEGIS_OK && i < model->segment_count; i++) {
        status = record_twice(model, i, err);
        if (status != AEGIS_OK && model->segment_count > 1) {
            aegis_error_prefix(err, "segment %" PRIu32, i);
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_ort_model_find_births(model, err);
    }
    model->surface.written = model->surface.parity;
    if (model->cuda != NULL) { /* the runtime has copied all of them to the device */
        for (size_t i = 0; i < model->compiled.chunk_count; i++) {
            model->unread[i] = true;
        }
    } else if (status == AEGIS_OK && !model->compiled.control_flow &&
               model->paging.region == NULL) {
        /* Of control flow a run sees one branch only; of a paged trial none reads the file. */
        aegis_ort_weights_find_unread(&model->compiled, model->mapped_weights, model->unread);
    }
    if (status == AEGIS_OK && model->paging.wanted && model->paging.region == NULL) {
        status = aegis_ort_paging_lay_out(&model->paging, &model->compiled, model->unread,
                                          &model->segments[0].loading, &model->allocator, err);
    }
    if (status == AEGIS_OK) {
        status = list_lifetimes(model, err);
    }
    model->recorded = status == AEGIS_OK;
    for (uint32_t i = 0; status == AEGIS_OK && i < model->segment_count; i++) {
        status = aegis_ort_model_check_limit(model, model->segments[i].run.peak_bytes, err);
    }
    if (status == AEGIS_OK && model->cuda != NULL) {
        status = aegis_ort_cuda_capture(model, 1, err);
    }
    model->recorded = status == AEGIS_OK;
    if (model->recorded && model->cuda == NULL) {
        keep_held(model);
    }
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
    aegis_ort_segment *whole = &model->segments[0];
    aegis_ort_enter(whole->context);
    OrtStatus *native = ort->api->Run(
        whole->session.session, NULL, names,
        (const OrtValue *const *)aegis_ort_session_values(&whole->session, 0, 0),
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
        const aegis_ort_binding binding = {
            .part = &compiled->parts[0], .surface = &inputs, .inputs_only = true};
        status = aegis_ort_session_bind(&model->segments[0].session, &binding, err);
    }
    if (status == AEGIS_OK) {
        status = run_unbound(model, names, outputs, err);
    }
    aegis_deallocate(&model->allocator, (void *)names, most, sizeof *names);
    aegis_deallocate(&model->allocator, outputs, most, sizeof(OrtValue *));
    aegis_surface_finish(&inputs);
    return status;
}
