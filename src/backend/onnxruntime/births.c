/* SPDX-License-Identifier: Apache-2.0 */
/* From which event on the outputs are written. Outputs are bound, so that they leave the sequence
 * of allocations; here the runtime makes them itself once more, and the two sequences tell where
 * they stand. Whoever plans a run alone can let what died before share their bytes. */
#include "backend/onnxruntime/model.h"

#include "backend/block.h"

#include <string.h>

#define COMPONENT "backend.onnxruntime"
#define NO_ALLOCATION SIZE_MAX

/* The runs of one segment with and without bound outputs. */
typedef struct finding {
    aegis_ort_model *model;
    uint32_t segment;
    const aegis_ort_part *part;
    OrtValue **values;   /* as bound, but for outputs that the runtime makes */
    size_t *allocations; /* per output operand: which one of `tape` it is */
    int64_t *born;       /* per output operand */
    size_t *bound_of;    /* per allocation of `tape`: the same one of the bound run */
    aegis_tape tape;
} finding;

static bool is_made_here(const finding *f, size_t output)
{
    const aegis_ort_operand *operand = &f->part->operands[f->part->input_count + output];
    return operand->role == AEGIS_ORT_ROLE_OUTPUT &&
           f->model->surface.output_partner[operand->index] < 0;
}

static OrtStatus *run_unbound(finding *f)
{
    const OrtApi *api = f->model->backend->ort->api;
    aegis_ort_segment *segment = &f->model->segments[f->segment];
    size_t inputs = f->part->input_count, outputs = f->part->output_count;
    memcpy(f->values, aegis_ort_session_values(&segment->session, 0, f->model->surface.parity),
           (inputs + outputs) * sizeof *f->values);
    for (size_t i = 0; i < outputs; i++) {
        f->values[inputs + i] = is_made_here(f, i) ? NULL : f->values[inputs + i];
    }
    segment->context->tape = &f->tape;
    aegis_ort_enter(segment->context);
    OrtStatus *native =
        api->Run(segment->session.session, NULL, segment->names, (const OrtValue *const *)f->values,
                 inputs, segment->names + inputs, outputs, f->values + inputs);
    segment->context->tape = NULL;
    for (size_t i = 0; i < outputs; i++) {
        OrtValue *value = f->values[inputs + i];
        void *data = NULL;
        uint64_t size, tag;
        const void *owner = NULL;
        f->allocations[i] = NO_ALLOCATION;
        if (!is_made_here(f, i) || value == NULL) {
            continue;
        }
        if (native == NULL) {
            native = api->GetTensorMutableData(value, &data);
        }
        if (native == NULL && data != NULL && aegis_block_describe(data, &size, &tag, &owner) &&
            owner == &f->tape) {
            f->allocations[i] = tag;
        }
        api->ReleaseValue(value);
    }
    aegis_ort_leave();
    return native;
}

static size_t output_of(const finding *f, size_t allocation)
{
    for (size_t i = 0; i < f->part->output_count; i++) {
        if (f->allocations[i] == allocation) {
            return i;
        }
    }
    return NO_ALLOCATION;
}

/* Walks both sequences side by side. False when they differ in more than the outputs: then one of
 * them took over the bytes of something else, and nothing is known. */
static bool compare(finding *f)
{
    const aegis_tape *bound = &f->model->segments[f->segment].run, *own = &f->tape;
    size_t at = 0, next = 0;
    for (size_t i = 0; i < own->event_count; i++) {
        int64_t event = own->events[i];
        size_t allocation = (size_t)(event >= 0 ? event : -1 - event);
        size_t output = output_of(f, allocation);
        if (output != NO_ALLOCATION) {
            if (event < 0) {
                return false;
            }
            /* Between two events of the bound run: what ends with the next one still lives. */
            f->born[output] = at > 0 ? (int64_t)at - 1 : 0;
            continue;
        }
        if (at == bound->event_count) {
            return false;
        }
        if (event >= 0) {
            f->bound_of[allocation] = next++;
        }
        int64_t expected =
            event >= 0 ? (int64_t)f->bound_of[allocation] : -1 - (int64_t)f->bound_of[allocation];
        if (bound->events[at++] != expected ||
            bound->allocations[f->bound_of[allocation]].size_bytes !=
                own->allocations[allocation].size_bytes) {
            return false;
        }
    }
    return at == bound->event_count;
}

static void note(const finding *f, bool known)
{
    aegis_ort_model *model = f->model;
    const aegis_tape *bound = &model->segments[f->segment].run;
    for (size_t i = 0; i < f->part->output_count; i++) {
        const aegis_ort_operand *operand = &f->part->operands[f->part->input_count + i];
        if (operand->role == AEGIS_ORT_ROLE_OUTPUT) {
            bool found = known && f->allocations[i] != NO_ALLOCATION;
            model->births[operand->index] =
                (aegis_ort_birth){.segment = f->segment,
                                  .at = found ? f->born[i] : 0,
                                  .end = (int64_t)bound->event_count + 1};
        }
    }
}

static aegis_status find_in_segment(aegis_ort_model *model, uint32_t segment, aegis_error *err)
{
    const aegis_allocator *allocator = &model->allocator;
    finding f = {.model = model, .segment = segment, .part = &model->compiled.parts[segment]};
    size_t operands = f.part->input_count + f.part->output_count, room = 0;
    aegis_status status = AEGIS_OK;
    OrtStatus *native = NULL;
    aegis_tape_init(&f.tape, allocator);
    f.values = aegis_allocate_zeroed(allocator, operands + 1, sizeof(OrtValue *));
    f.allocations = aegis_allocate_zeroed(allocator, operands + 1, sizeof *f.allocations);
    f.born = aegis_allocate_zeroed(allocator, operands + 1, sizeof *f.born);
    bool whole = f.values != NULL && f.allocations != NULL && f.born != NULL;
    if (whole) {
        native = run_unbound(&f);
        room = f.tape.allocation_count + 1;
        f.bound_of = aegis_allocate_zeroed(allocator, room, sizeof *f.bound_of);
        whole = f.bound_of != NULL && !f.tape.out_of_memory;
    }
    if (native != NULL) {
        status = aegis_ort_error(model->backend->ort, native, AEGIS_HERE(COMPONENT),
                                 AEGIS_ERROR_INFERENCE, "a run to see its outputs failed", err);
    } else if (!whole) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                 "no memory to see when outputs are written");
    } else {
        note(&f, compare(&f));
    }
    aegis_deallocate(allocator, f.values, operands + 1, sizeof(OrtValue *));
    aegis_deallocate(allocator, f.allocations, operands + 1, sizeof *f.allocations);
    aegis_deallocate(allocator, f.born, operands + 1, sizeof *f.born);
    aegis_deallocate(allocator, f.bound_of, room, sizeof *f.bound_of);
    aegis_tape_finish(&f.tape);
    return status;
}

aegis_status aegis_ort_model_find_births(aegis_ort_model *model, aegis_error *err)
{
    size_t outputs = model->surface.output_count;
    if (model->births == NULL) {
        model->births =
            aegis_allocate_zeroed(&model->allocator, outputs + 1, sizeof *model->births);
    }
    if (model->births == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to see when outputs are written");
    }
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; status == AEGIS_OK && i < model->segment_count; i++) {
        status = find_in_segment(model, i, err);
    }
    return status;
}

void aegis_ort_model_set_births(const aegis_ort_model *model, aegis_tensor_lifetime *surface)
{
    const aegis_surface *s = &model->surface;
    for (size_t i = 0; i < s->buffer_count; i++) {
        for (size_t k = 0; s->buffers[i].memory_class == AEGIS_MEMORY_OUTPUT && k < s->output_count;
             k++) {
            for (uint32_t slot = 0; slot < s->slots; slot++) {
                if (s->output_partner[k] < 0 &&
                    aegis_surface_output_pointer(s, k, slot, 0) == s->buffers[i].pointer) {
                    surface[i].segment = model->births[k].segment;
                    surface[i].start = model->births[k].at;
                    surface[i].end = model->births[k].end;
                }
            }
        }
    }
}
