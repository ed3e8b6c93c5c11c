/* SPDX-License-Identifier: Apache-2.0 */
/* Models that come and go while others run, and the change of mode that moves them. */
#include "system/internal.h"

#include <inttypes.h>
#include <string.h>

static aegis_status
out_of_range(const aegis_system *system, uint32_t model, aegis_status status, aegis_error *err)
{
    bool known = model < system->workload->model_count;
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), status, "model %u (%s) is %s", model,
                           known ? system->models[model].name : "?",
                           !known                         ? "not in the workload"
                           : status == AEGIS_ERROR_EXISTS ? "in already"
                                                          : "not in");
}

/* ---- leaving ---- */

/* The runtime's part and the context; its place in the plan stays. */
static void close_model(aegis_system *system, uint32_t index)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_model_close(entry->model);
    entry->model = NULL;
    aegis_context_destroy(entry->context);
    entry->context = NULL;
}

static aegis_status free_memory(aegis_system *system, uint32_t index, aegis_error *err)
{
    system->entries[index].in_memory = false;
    return aegis_memory_orchestrator_release(system->memory, index, err);
}

static aegis_status remove_paused(aegis_system *system, uint32_t model, aegis_error *err)
{
    aegis_status status = aegis_scheduler_evict(system->scheduler, model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    close_model(system, model);
    status = free_memory(system, model, err);
    aegis_system_refuse(system, model, AEGIS_WHY_NONE, "removed");
    aegis_system_trace_plan(system);
    return status;
}

aegis_status aegis_system_remove(aegis_system *system, uint32_t model, aegis_error *err)
{
    if (model >= system->workload->model_count || !system->models[model].admitted) {
        return out_of_range(system, model, AEGIS_ERROR_NOT_FOUND, err);
    }
    aegis_status status = aegis_scheduler_pause_ahead(system->scheduler, err);
    if (status == AEGIS_OK) {
        status = remove_paused(system, model, err);
        aegis_scheduler_resume_ahead(system->scheduler);
    }
    return status;
}

/* ---- coming ---- */

/* Loading a paged model fills the region in which the others of its lane run. */
static aegis_status check_paging(const aegis_system *system, uint32_t model, aegis_error *err)
{
    const aegis_workload_model *wanted = system->workload->models;
    for (size_t i = 0;
         wanted[model].config.residency == AEGIS_PAGED && i < system->workload->model_count; i++) {
        if (system->models[i].admitted && wanted[i].config.residency == AEGIS_PAGED) {
            return aegis_error_set(
                err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_STATE,
                "%s cannot be loaded beside %s: both are paged, and one runs in "
                "the region that the other would be loaded into; compact with it, "
                "or remove the other first",
                wanted[model].name, wanted[i].name);
        }
    }
    return AEGIS_OK;
}

static aegis_status check_known(const aegis_system *system, uint32_t model, aegis_error *err)
{
    if (model >= system->workload->model_count) {
        return out_of_range(system, model, AEGIS_ERROR_NOT_FOUND, err);
    }
    if (system->models[model].admitted) {
        return out_of_range(system, model, AEGIS_ERROR_EXISTS, err);
    }
    if (system->entries[model].lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_STATE,
                               "%s was never measured: %s", system->models[model].name,
                               system->models[model].reason);
    }
    return AEGIS_OK;
}

/* Enters the pool on the lane that was found for it; from here on it has jobs. */
static aegis_status
enter_pool(aegis_system *system, uint32_t index, uint16_t lane, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    aegis_admission_request request = aegis_system_request(system, index);
    request.lane = lane;
    uint64_t since = aegis_clock_now_ns(&system->clock);
    aegis_status status = aegis_scheduler_admit(system->scheduler, system->entries[index].context,
                                                &request, &model->answer, err);
    aegis_system_trace_step(system, index, 5, since, status);
    if (status == AEGIS_OK) {
        model->admitted = true;
        model->rationale = AEGIS_WHY_ADMITTED;
        model->reason[0] = '\0';
    } else if (status == AEGIS_ERROR_NOT_ADMITTED) {
        aegis_system_refuse(system, index, model->answer.rationale, "%s", model->answer.reason);
    }
    return status;
}

static aegis_status refused(const aegis_system *system, uint32_t model, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NOT_ADMITTED, "%s: %s",
                           system->models[model].name, system->models[model].reason);
}

/* Context, and bytes at planned addresses. */
static aegis_status load(aegis_system *system, uint32_t index, aegis_error *err)
{
    aegis_context_destroy(system->entries[index].context); /* of when it was refused */
    system->entries[index].context = NULL;
    aegis_status status = aegis_system_create_context(system, index, err);
    if (status == AEGIS_OK) {
        status = aegis_system_place_model(system, index, err);
    }
    if (status != AEGIS_OK) {
        close_model(system, index);
    }
    return status;
}

/* Of a model that is loaded. */
static aegis_status
start_jobs(aegis_system *system, uint32_t index, uint16_t lane, aegis_error *err)
{
    aegis_status status = enter_pool(system, index, lane, err);
    if (status != AEGIS_OK) {
        close_model(system, index);
    }
    return status;
}

static aegis_status come_in(aegis_system *system, uint32_t index, uint16_t lane, aegis_error *err)
{
    aegis_status status = load(system, index, err);
    return status == AEGIS_OK ? start_jobs(system, index, lane, err) : status;
}

/* The lane on which the others and it would be in time. */
static aegis_status
find_lane(aegis_system *system, uint32_t index, uint16_t *ret_lane, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    aegis_admission_request request = aegis_system_request(system, index);
    aegis_status status =
        aegis_scheduler_analyse(system->scheduler, model->name, &request, &model->answer, err);
    if (status == AEGIS_OK && !model->answer.admitted) {
        status = AEGIS_ERROR_NOT_ADMITTED;
    }
    if (status == AEGIS_ERROR_NOT_ADMITTED) {
        aegis_system_refuse(system, index, model->answer.rationale, "%s", model->answer.reason);
        return refused(system, index, err);
    }
    *ret_lane = model->answer.lane;
    return status;
}

static aegis_status
come_in_paused(aegis_system *system, uint32_t index, uint16_t lane, aegis_error *err)
{
    aegis_status status = aegis_scheduler_pause_ahead(system->scheduler, err);
    if (status == AEGIS_OK) {
        status = come_in(system, index, lane, err);
        aegis_scheduler_resume_ahead(system->scheduler);
    }
    return status;
}

aegis_status aegis_system_add(aegis_system *system, uint32_t model, aegis_error *err)
{
    uint16_t lane = 0;
    bool fits = false;
    aegis_status status = check_known(system, model, err);
    if (status == AEGIS_OK) {
        status = check_paging(system, model, err);
    }
    if (status == AEGIS_OK) {
        status = find_lane(system, model, &lane, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_system_plan_memory(system, model, lane, &fits, err);
    }
    if (status == AEGIS_OK && !fits) {
        return refused(system, model, err);
    }
    if (status == AEGIS_OK) {
        status = come_in_paused(system, model, lane, err);
        if (status != AEGIS_OK) {
            free_memory(system, model, NULL);
        } else {
            aegis_system_trace_plan(system);
        }
    }
    return status;
}

/* ---- moving ---- */

/* It is out for good; the first failure is reported, the others come back nevertheless. */
static aegis_status lose(aegis_system *system,
                         uint32_t index,
                         aegis_status own,
                         const aegis_error *why,
                         aegis_status status,
                         aegis_error *err)
{
    free_memory(system, index, NULL);
    aegis_system_refuse(system, index, system->models[index].rationale, "%s", why->message);
    if (status != AEGIS_OK) {
        return status;
    }
    *err = *why;
    aegis_error_prefix(err, "%s did not come back", system->models[index].name);
    return own;
}

/* The turn in which all are loaded, then the one in which they get jobs. */
static aegis_status
back_in_turn(aegis_system *system, bool loads, bool *were_in, aegis_status status, aegis_error *err)
{
    uint32_t count = (uint32_t)system->workload->model_count;
    for (uint32_t i = 0; i < count; i++) {
        aegis_error why;
        if (!were_in[i]) {
            continue;
        }
        if (loads) {
            aegis_system_report(system, "placing", system->models[i].name, i, count);
        }
        aegis_status own = loads ? load(system, i, &why)
                                 : start_jobs(system, i, system->models[i].answer.lane, &why);
        if (own != AEGIS_OK) {
            were_in[i] = false;
            status = lose(system, i, own, &why, status, err);
        }
    }
    return status;
}

/* All of them back in. None has a job before all are loaded: loading writes packed copies that
 * others read too. */
static aegis_status
bring_back(aegis_system *system, bool *were_in, aegis_status status, aegis_error *err)
{
    status = back_in_turn(system, true, were_in, status, err);
    return back_in_turn(system, false, were_in, status, err);
}

/* Everybody out, but for their places in the plan. */
static aegis_status send_out(aegis_system *system, bool *were_in, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < system->workload->model_count && status == AEGIS_OK; i++) {
        if (system->models[i].admitted) {
            status = aegis_scheduler_answer(system->scheduler, i, &system->models[i].answer, err);
            if (status == AEGIS_OK) {
                status = aegis_scheduler_evict(system->scheduler, i, err);
            }
            were_in[i] = status == AEGIS_OK;
            system->models[i].admitted = !were_in[i];
        }
    }
    for (uint32_t i = 0; i < system->workload->model_count; i++) {
        if (were_in[i]) {
            close_model(system, i);
        }
    }
    memset(system->paged_resident, 0, sizeof system->paged_resident);
    return status;
}

/* A new layout, with the newcomer when there is one and it fits. */
static aegis_status
lay_out(aegis_system *system, uint32_t newcomer, uint16_t lane, bool *were_in, aegis_error *err)
{
    bool fits = false;
    if (newcomer == AEGIS_SYSTEM_NOBODY) {
        return aegis_memory_orchestrator_compact(system->memory, err);
    }
    aegis_status status = aegis_memory_orchestrator_unseal(system->memory, err);
    if (status == AEGIS_OK) {
        status = aegis_system_plan_memory(system, newcomer, lane, &fits, err);
    }
    if (status == AEGIS_OK && !fits) {
        status = refused(system, newcomer, err);
    }
    were_in[newcomer] = status == AEGIS_OK;
    /* Without it the layout is one that fitted before. */
    aegis_status sealed =
        aegis_memory_orchestrator_seal(system->memory, status == AEGIS_OK ? err : NULL);
    return status == AEGIS_OK ? sealed : status;
}

static aegis_status
move(aegis_system *system, uint32_t newcomer, uint16_t lane, bool *were_in, aegis_error *err)
{
    aegis_status status = send_out(system, were_in, err);
    if (status == AEGIS_OK) {
        status = lay_out(system, newcomer, lane, were_in, err);
    }
    status = bring_back(system, were_in, status, err);
    aegis_system_trace_plan(system);
    return status;
}

/* As for add; that others are paged is no obstacle, as they leave first. */
static aegis_status
check_newcomer(aegis_system *system, uint32_t newcomer, uint16_t *ret_lane, aegis_error *err)
{
    if (newcomer == AEGIS_SYSTEM_NOBODY) {
        return AEGIS_OK;
    }
    aegis_status status = check_known(system, newcomer, err);
    return status == AEGIS_OK ? find_lane(system, newcomer, ret_lane, err) : status;
}

aegis_status aegis_system_compact(aegis_system *system, uint32_t newcomer, aegis_error *err)
{
    size_t count = system->workload->model_count;
    aegis_error unseen;
    uint16_t lane = 0;
    err = err != NULL ? err : &unseen;
    bool *were_in = aegis_allocate_zeroed(&system->allocator, count, sizeof *were_in);
    if (were_in == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to compact");
    }
    aegis_status status = check_newcomer(system, newcomer, &lane, err);
    if (status == AEGIS_OK) {
        status = aegis_scheduler_pause_ahead(system->scheduler, err);
    }
    if (status == AEGIS_OK) {
        status = move(system, newcomer, lane, were_in, err);
        aegis_scheduler_resume_ahead(system->scheduler);
    }
    aegis_deallocate(&system->allocator, were_in, count, sizeof *were_in);
    return status;
}

/* ---- pressure ---- */

static aegis_status
cannot_free(uint64_t needed_bytes, uint64_t most_bytes, const char *by, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                           "%" PRIu64 " bytes are needed, and %s would free %" PRIu64
                           ": nobody was removed",
                           needed_bytes, by, most_bytes);
}

/* Whether the policy can free as much, before anybody leaves. */
static aegis_status check_pressure(const aegis_system *system,
                                   aegis_pressure_policy policy,
                                   uint64_t needed_bytes,
                                   uint64_t *ret_most_bytes,
                                   aegis_error *err)
{
    aegis_pressure_answer all, largest, enough;
    aegis_status status = aegis_memory_orchestrator_handle_pressure(
        system->memory, AEGIS_PRESSURE_REPORT, 0, &all, err);
    if (status == AEGIS_OK) {
        status = aegis_memory_orchestrator_handle_pressure(system->memory, AEGIS_PRESSURE_LARGEST,
                                                           0, &largest, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_memory_orchestrator_handle_pressure(system->memory, policy, needed_bytes,
                                                           &enough, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_most_bytes = all.freed_bytes;
    if (policy == AEGIS_PRESSURE_SMALLEST_ENOUGH && !enough.found) {
        return cannot_free(needed_bytes, largest.freed_bytes, "no model alone", err);
    }
    return all.freed_bytes >= needed_bytes
               ? AEGIS_OK
               : cannot_free(needed_bytes, all.freed_bytes, "all together", err);
}

static void trace_pressure(aegis_system *system,
                           aegis_pressure_policy policy,
                           uint64_t most_bytes,
                           uint64_t needed_bytes)
{
    aegis_trace_record record = {.kind = AEGIS_TRACE_PRESSURE,
                                 .model = AEGIS_TRACE_NONE,
                                 .lane = AEGIS_TRACE_NONE,
                                 .a = (int64_t)policy,
                                 .b = (int64_t)most_bytes,
                                 .c = (int64_t)needed_bytes};
    aegis_trace_collector_record(system->collector, &record);
}

aegis_status aegis_system_handle_pressure(aegis_system *system,
                                          aegis_pressure_policy policy,
                                          uint64_t needed_bytes,
                                          uint64_t *ret_freed_bytes,
                                          aegis_error *err)
{
    uint64_t most = 0, freed = 0;
    aegis_status status = check_pressure(system, policy, needed_bytes, &most, err);
    trace_pressure(system, policy, most, needed_bytes);
    while (status == AEGIS_OK && policy != AEGIS_PRESSURE_REPORT && freed < needed_bytes) {
        aegis_pressure_answer named;
        status = aegis_memory_orchestrator_handle_pressure(system->memory, policy,
                                                           needed_bytes - freed, &named, err);
        if (status == AEGIS_OK) {
            status = aegis_system_remove(system, named.model, err);
        }
        freed += status == AEGIS_OK ? named.freed_bytes : 0;
    }
    if (ret_freed_bytes != NULL) {
        *ret_freed_bytes = policy == AEGIS_PRESSURE_REPORT ? most : freed;
    }
    return status;
}

aegis_status
aegis_system_apply(aegis_system *system, const aegis_workload_event *event, aegis_error *err)
{
    switch (event->change) {
    case AEGIS_CHANGE_ADD:
        return aegis_system_add(system, event->model, err);
    case AEGIS_CHANGE_REMOVE:
        return aegis_system_remove(system, event->model, err);
    case AEGIS_CHANGE_COMPACT:
        return aegis_system_compact(system, event->model, err);
    case AEGIS_CHANGE_PRESSURE:
        return aegis_system_handle_pressure(system, event->policy, event->needed_bytes, NULL, err);
    }
    return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_INVALID_ARGUMENT,
                           "%u is no change of a workload", (unsigned)event->change);
}
