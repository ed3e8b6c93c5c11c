/* SPDX-License-Identifier: Apache-2.0 */
/* The public calls on a model that runs: inputs and outputs, segments, what goes ahead and what is
 * waited for. */
#include "backend/backend_internal.h"

#include <time.h>

#define COMPONENT "backend"
/* Between two looks of one who measures. */
#define AWAIT_STEP_NS 50000

/* ---- models: running ---- */

aegis_status aegis_model_reset(aegis_model *model, aegis_error *err)
{
    if (model == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "no model to reset");
    }
    return model->ops->reset(model->self, err);
}

aegis_status aegis_model_input(aegis_model *model,
                               uint32_t slot,
                               const char *name,
                               void **ret_data,
                               uint64_t *ret_size,
                               aegis_error *err)
{
    if (model == NULL || name == NULL || ret_data == NULL || ret_size == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "an input needs a model, a name and results");
    }
    return model->ops->input(model->self, slot, name, ret_data, ret_size, err);
}

aegis_status aegis_model_output(aegis_model *model,
                                uint32_t slot,
                                const char *name,
                                void **ret_data,
                                uint64_t *ret_size,
                                aegis_error *err)
{
    if (model == NULL || name == NULL || ret_data == NULL || ret_size == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "an output needs a model, a name and results");
    }
    return model->ops->output(model->self, slot, name, ret_data, ret_size, err);
}

aegis_status aegis_model_execute(
    aegis_model *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    if (model == NULL) {
        return invalid(err, AEGIS_HERE(COMPONENT), "no model to execute");
    }
    return model->ops->execute(model->self, segment, slot, stream, err);
}

bool aegis_model_copies_early(const aegis_model *model)
{
    return model->early_copies;
}

aegis_status aegis_model_enqueue_inputs(aegis_model *model,
                                        uint32_t slot,
                                        aegis_stream *stream,
                                        aegis_error *err)
{
    if (!model->early_copies) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "model '%s' copies its inputs itself; open it with early_copies",
                               model->name);
    }
    return model->ops->enqueue_inputs(model->self, slot, stream, err);
}

bool aegis_model_can_go_ahead(const aegis_model *model)
{
    return model->ops->enqueue_ahead != NULL && model->ops->take_ahead != NULL;
}

bool aegis_model_ahead_has_halves(const aegis_model *model)
{
    return model->ops->ahead_has_halves == NULL || model->ops->ahead_has_halves(model->self);
}

static aegis_status not_ahead(const aegis_model *model, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                           "model '%s': nothing of the backend '%s' is put ahead; execute it",
                           model->name, model->ops->name);
}

aegis_status aegis_model_enqueue_ahead(
    aegis_model *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    if (!aegis_model_can_go_ahead(model)) {
        return not_ahead(model, err);
    }
    return model->ops->enqueue_ahead(model->self, segment, slot, stream, err);
}

aegis_status
aegis_model_take_ahead(aegis_model *model, uint32_t segment, uint32_t slot, aegis_error *err)
{
    if (!aegis_model_can_go_ahead(model)) {
        return not_ahead(model, err);
    }
    return model->ops->take_ahead(model->self, segment, slot, err);
}

uint64_t aegis_model_awaited_segments(const aegis_model *model)
{
    return model->ops->awaited_segments != NULL ? model->ops->awaited_segments(model->self) : 0;
}

bool aegis_model_is_ready(aegis_model *model, uint32_t segment)
{
    return model->ops->is_ready == NULL || model->ops->is_ready(model->self, segment);
}

void aegis_model_await(aegis_model *model, uint32_t segment)
{
    while (!aegis_model_is_ready(model, segment)) {
        nanosleep(&(struct timespec){.tv_nsec = AWAIT_STEP_NS}, NULL);
    }
}

void aegis_model_watch(aegis_model *model, aegis_model_wake wake, void *self)
{
    if (model->ops->watch != NULL) {
        model->ops->watch(model->self, wake, self);
    }
}

void aegis_model_terminate(aegis_model *model)
{
    if (model->ops->terminate != NULL) {
        model->ops->terminate(model->self);
    }
}

bool aegis_model_can_terminate(const aegis_model *model)
{
    return model->ops->terminate != NULL;
}

void aegis_model_commit(aegis_model *model)
{
    model->ops->commit(model->self);
}

void aegis_model_last_spill(const aegis_model *model, aegis_model_spill *ret_spill)
{
    model->ops->last_spill(model->self, ret_spill);
}

uint64_t aegis_model_last_paged_bytes(const aegis_model *model)
{
    return model->ops->last_paged_bytes != NULL ? model->ops->last_paged_bytes(model->self) : 0;
}

bool aegis_model_visit_touched(const aegis_model *model, aegis_model_visit visit, void *self)
{
    if (model->ops->visit_touched == NULL) {
        return false;
    }
    model->ops->visit_touched(model->self, visit, self);
    return true;
}
