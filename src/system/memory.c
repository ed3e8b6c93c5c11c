/* SPDX-License-Identifier: Apache-2.0 */
/* One memory plan over all admitted models, and every model into its planned bytes. */
#include "system/internal.h"

#include <stdio.h>
#include <string.h>

void aegis_system_trace_refusal(aegis_system *system, size_t index)
{
    const aegis_system_model *model = &system->models[index];
    const aegis_memory_refusal *refusal = &model->memory_refusal;
    aegis_trace_record record = {.kind = AEGIS_TRACE_REFUSED,
                                 .rationale = (uint16_t)model->rationale,
                                 .model = (uint16_t)index,
                                 .lane = model->answer.lane,
                                 .a = (int64_t)refusal->need_bytes,
                                 .b = (int64_t)refusal->free_bytes,
                                 .c = (int64_t)refusal->capacity_bytes};
    if (model->rationale == AEGIS_WHY_MODEL_BUDGET) {
        record.b = (int64_t)refusal->capacity_bytes;
        record.c = 0;
    }
    aegis_trace_collector_record(system->collector, &record);
}

aegis_status aegis_system_plan_memory(
    aegis_system *system, size_t index, uint16_t lane, bool *ret_fits, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_model *model = &system->models[index];
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_error why;
    uint64_t since = aegis_clock_now_ns(&system->clock);
    aegis_memory_demand demand = {.model = (uint32_t)index,
                                  .name = wanted->name,
                                  .lane = lane,
                                  .limit_bytes = wanted->memory_bytes,
                                  .lifetimes = entry->lifetimes,
                                  .lifetime_count = entry->lifetime_count};
    aegis_status status = aegis_memory_orchestrator_plan(system->memory, &demand, &why);
    aegis_system_trace_step(system, index, 7, since, status);
    *ret_fits = status == AEGIS_OK;
    model->memory_refusal = (aegis_memory_refusal){0};
    if (status == AEGIS_OK) {
        entry->in_memory = true;
        return AEGIS_OK;
    }
    /* Where the host has no memory to plan with, nothing is said about the model. */
    if (!aegis_memory_orchestrator_last_refusal(system->memory, &model->memory_refusal)) {
        if (err != NULL) {
            *err = why;
        }
        return status;
    }
    model->memory_bytes = model->memory_refusal.need_bytes;
    if (status == AEGIS_ERROR_BUDGET_EXCEEDED) {
        aegis_system_refuse_budget(system, index, why.message);
    } else {
        aegis_system_refuse(system, index, AEGIS_WHY_MEMORY, "%s", why.message);
    }
    aegis_system_trace_refusal(system, index);
    return AEGIS_OK;
}

/* Back into the pool with other bounds, on the lane where it was. */
static aegis_status admit_again(aegis_system *system, size_t index, uint16_t lane, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    aegis_admission_request request = aegis_system_request(system, index);
    request.lane = lane;
    aegis_status status = aegis_scheduler_admit(system->scheduler, system->entries[index].context,
                                                &request, &model->answer, err);
    if (status == AEGIS_OK) {
        model->admitted = true;
        model->rationale = AEGIS_WHY_ADMITTED;
        model->reason[0] = '\0';
    } else if (status == AEGIS_ERROR_NOT_ADMITTED) {
        aegis_system_refuse(system, index, model->answer.rationale,
                            "without packed copies of its weights, for which memory is short: %s",
                            model->answer.reason);
    }
    return status == AEGIS_ERROR_NOT_ADMITTED ? AEGIS_OK : status;
}

/* Step 7 for one model. A refusal takes it out of the pool again: nothing ran yet. One that may
 * give up its packed copies then comes back without them, if it is in time so. */
static aegis_status plan_model(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    bool fits = false, unpacked = false;
    aegis_status status =
        aegis_scheduler_answer(system->scheduler, (uint32_t)index, &model->answer, err);
    uint16_t lane = model->answer.lane;
    if (status == AEGIS_OK) {
        status = aegis_system_plan_memory(system, index, lane, &fits, err);
    }
    if (status != AEGIS_OK || fits) {
        return status;
    }
    status = aegis_scheduler_evict(system->scheduler, (uint32_t)index, err);
    if (status == AEGIS_OK) {
        status = aegis_system_unpack(system, index, &unpacked, err);
    }
    if (status == AEGIS_OK && unpacked) {
        status = admit_again(system, index, lane, err);
    }
    return status == AEGIS_OK && unpacked && model->admitted ? plan_model(system, index, err)
                                                             : status;
}

static void trace_bindings(aegis_system *system, size_t index, const aegis_memory_binding *binding)
{
    aegis_trace_record record = {
        .kind = AEGIS_TRACE_BIND, .model = (uint16_t)index, .lane = binding->lane};
    for (size_t i = 0; i < binding->placement_count; i++) {
        if (binding->placements[i].memory_class == AEGIS_MEMORY_ACTIVATION) {
            continue; /* hundreds a model; the header has their sums */
        }
        record.time_ns = 0;
        record.a = (int64_t)binding->placements[i].offset_bytes;
        record.b = (int64_t)binding->placements[i].size_bytes;
        record.c = binding->placements[i].memory_class;
        aegis_trace_collector_record(system->collector, &record);
    }
}

/* Step 8: the model is loaded again, now at its planned addresses. */
aegis_status aegis_system_place_model(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_model *model = &system->models[index];
    const aegis_memory_binding *binding;
    uint64_t spill_offset = 0, spill_size = 0, since = aegis_clock_now_ns(&system->clock);
    aegis_status status =
        aegis_memory_orchestrator_bind(system->memory, (uint32_t)index, &binding, err);
    if (status == AEGIS_OK) {
        status = aegis_memory_orchestrator_spill_region(system->memory, binding->lane,
                                                        &spill_offset, &spill_size, err);
    }
    if (status == AEGIS_OK) {
        system->placing = true;
        status = aegis_system_open_model(system, index, err);
        system->placing = false;
    }
    if (status != AEGIS_OK) {
        return status;
    }
    char *base = system->arena.pointer;
    aegis_model_placement placement = {.base = base,
                                       .size_bytes = system->arena.size_bytes,
                                       .binding = binding,
                                       .spill_base = base + spill_offset,
                                       .spill_bytes = spill_size,
                                       .paged_resident = &system->paged_resident[binding->lane]};
    status = aegis_model_place(entry->model, &placement, err);
    if (status == AEGIS_OK) {
        status = aegis_context_charge_memory(entry->context, binding->total_bytes, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_context_set_model(entry->context, entry->model);
    model->memory_bytes = binding->total_bytes;
    model->permanent_bytes = binding->permanent_bytes;
    model->activation_bytes = binding->activation_height;
    model->paged_bytes = binding->paged_bytes;
    model->overhead_bytes = aegis_model_overhead_bytes(entry->model);
    trace_bindings(system, index, binding);
    aegis_system_trace_step(system, index, 8, since, AEGIS_OK);
    aegis_system_trace_step(system, index, 9, aegis_clock_now_ns(&system->clock), AEGIS_OK);
    return AEGIS_OK;
}

/* No plan can be lower than what is permanent and the largest proved bound of each lane. */
static uint64_t
lower_bound(const aegis_system *system, const aegis_memory_totals *totals, size_t *ret_buffers)
{
    uint64_t lanes[AEGIS_SYSTEM_LANES] = {0}, sum = 0;
    *ret_buffers = 0;
    for (size_t i = 0; i < system->workload->model_count; i++) {
        const aegis_memory_binding *binding;
        if (system->entries[i].in_memory &&
            aegis_memory_orchestrator_bind(system->memory, (uint32_t)i, &binding, NULL) ==
                AEGIS_OK) {
            *ret_buffers += binding->placement_count;
            if (binding->activation_lower_bound > lanes[binding->lane]) {
                lanes[binding->lane] = binding->activation_lower_bound;
            }
        }
    }
    for (size_t i = 0; i < AEGIS_SYSTEM_LANES; i++) {
        sum += lanes[i];
    }
    return totals->planned_bytes - totals->activations_planned + sum;
}

void aegis_system_trace_plan(aegis_system *system)
{
    aegis_memory_totals totals;
    size_t buffers;
    aegis_memory_orchestrator_totals(system->memory, &totals);
    uint64_t lower = lower_bound(system, &totals, &buffers);
    aegis_trace_record record = {.kind = AEGIS_TRACE_PLAN,
                                 .model = AEGIS_TRACE_NONE,
                                 .lane = AEGIS_TRACE_NONE,
                                 .a = (int64_t)totals.planned_bytes,
                                 .b = (int64_t)lower,
                                 .c = (int64_t)totals.capacity_bytes,
                                 .d = (int64_t)buffers};
    aegis_trace_collector_record(system->collector, &record);
    record.kind = AEGIS_TRACE_COUNTER;
    record.time_ns = 0;
    record.a = AEGIS_COUNTER_MEMORY_BYTES;
    record.b = (int64_t)totals.planned_bytes;
    aegis_trace_collector_record(system->collector, &record);
}

aegis_status aegis_system_place_models(aegis_system *system, aegis_error *err)
{
    uint32_t count = (uint32_t)system->workload->model_count;
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        if (system->models[i].admitted) {
            aegis_system_report(system, "planning memory", system->models[i].name, i, count);
            status = plan_model(system, i, err);
        }
    }
    if (status == AEGIS_OK) {
        status = aegis_memory_orchestrator_seal(system->memory, err);
    }
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        if (system->models[i].admitted) {
            aegis_system_report(system, "placing", system->models[i].name, i, count);
            /* Others may have left since: lane and response as they stand now. */
            status = aegis_scheduler_answer(system->scheduler, i, &system->models[i].answer, err);
            if (status == AEGIS_OK) {
                status = aegis_system_place_model(system, i, err);
                aegis_heap_trim();
            }
            if (status != AEGIS_OK) {
                aegis_error_prefix(err, "placing %s", system->models[i].name);
            }
        }
    }
    if (status == AEGIS_OK) {
        aegis_system_trace_plan(system);
    }
    return status;
}
