/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/workload.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the parser promises of every workload that it lets through. */
static void check(const aegis_workload *workload)
{
    if (workload->model_count == 0 || workload->lanes == 0 || workload->lanes > 64 ||
        workload->spill_bytes > workload->memory_bytes / workload->lanes) {
        abort();
    }
    for (size_t i = 0; i < workload->event_count; i++) {
        const aegis_workload_event *event = &workload->events[i];
        bool nobody = event->model == AEGIS_CHANGE_OF_NOBODY;
        if ((!nobody && event->model >= workload->model_count) ||
            (nobody && event->change != AEGIS_CHANGE_COMPACT &&
             event->change != AEGIS_CHANGE_PRESSURE) ||
            (event->change == AEGIS_CHANGE_PRESSURE) != (event->needed_bytes > 0) ||
            (i > 0 && event->at_ns < event[-1].at_ns)) {
            abort();
        }
    }
    for (size_t i = 0; i < workload->model_count; i++) {
        const aegis_workload_model *model = &workload->models[i];
        if (model->name == NULL || model->path == NULL || model->backend == NULL ||
            model->lane >= workload->lanes || model->config.source_count == 0 ||
            (!model->background && (model->period_ns == 0 || model->deadline_ns == 0))) {
            abort();
        }
        for (size_t k = 0; k < model->config.input_count; k++) {
            const aegis_input_shape *input = &model->config.inputs[k];
            for (int d = 0; d < input->rank; d++) {
                if (input->shape[d] < 1) {
                    abort();
                }
            }
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_error error = {0};
    aegis_status status =
        aegis_workload_parse((const char *)data, size, "fuzz.toml", &allocator, &workload, &error);
    if (status == AEGIS_OK) {
        check(workload);
        aegis_workload_free(workload);
    } else if (workload != NULL || error.status != status ||
               strncmp(error.message, "fuzz.toml:", 10) != 0) {
        abort();
    }
    return 0;
}
