/* SPDX-License-Identifier: Apache-2.0 */
/* From a workload's model to a proved place in the pool: load, wrap, profile, request, analyse. */
#include "system/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void aegis_system_report(
    aegis_system *system, const char *phase, const char *model, uint32_t done, uint32_t total)
{
    if (system->options.progress != NULL) {
        system->options.progress(system->options.progress_self, phase, model, done, total);
    }
}

void aegis_system_trace_step(
    aegis_system *system, size_t index, int step, uint64_t since_ns, aegis_status status)
{
    uint64_t now = aegis_clock_now_ns(&system->clock);
    aegis_trace_record record = {.time_ns = now,
                                 .kind = AEGIS_TRACE_ADMISSION_STEP,
                                 .model = (uint16_t)index,
                                 .lane = AEGIS_TRACE_NONE,
                                 .a = step,
                                 .b = status,
                                 .c = (int64_t)(now - since_ns)};
    aegis_trace_collector_record(system->collector, &record);
}

void aegis_system_refuse(
    aegis_system *system, size_t index, aegis_rationale rationale, const char *format, ...)
{
    aegis_system_model *model = &system->models[index];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(model->reason, sizeof model->reason, format, arguments);
    va_end(arguments);
    model->admitted = false;
    model->rationale = rationale;
    model->answer.admitted = false;
    if (rationale != AEGIS_WHY_MEMORY && rationale != AEGIS_WHY_MODEL_BUDGET) {
        model->memory_refusal = (aegis_memory_refusal){0};
    }
}

void aegis_system_refuse_budget(aegis_system *system, size_t index, const char *reason)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_system_refuse(system, index, AEGIS_WHY_MODEL_BUDGET,
                        "%s:%d:%d: [[model]] \"%s\": memory: %s; raise this limit, or give the "
                        "model smaller inputs, fewer slots or prepack = false",
                        system->workload->path, wanted->memory_place.line,
                        wanted->memory_place.column, wanted->name, reason);
}

/* Says where in the workload the trouble is, and under which key. */
static aegis_status
blame(const aegis_system *system, size_t index, aegis_status status, aegis_error *err)
{
    const aegis_workload_model *model = &system->workload->models[index];
    aegis_workload_place place = model->place;
    const char *key = "";
    if (status == AEGIS_ERROR_CONFIG && system->entries[index].cuts_failed &&
        model->cuts.place.line > 0) { /* it was opened without them before */
        place = model->cuts.place;
        key = ": cuts";
    } else if (status == AEGIS_ERROR_CONFIG && model->inputs_place.line > 0) {
        place = model->inputs_place;
        key = ": inputs";
    } else if (status == AEGIS_ERROR_NOT_FOUND || status == AEGIS_ERROR_PARSE ||
               status == AEGIS_ERROR_IO || status == AEGIS_ERROR_PERMISSION ||
               status == AEGIS_ERROR_ENGINE_BUILD || status == AEGIS_ERROR_ENGINE_DESERIALIZE) {
        place = model->path_place;
        key = ": path";
    } else if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        key = ": backend";
    } else if (system->entries[index].cuts_failed && status == AEGIS_ERROR_UNSUPPORTED) {
        place = model->cuts.place.line > 0 ? model->cuts.place : place;
        key = ": cuts";
    }
    if (status == AEGIS_ERROR_UNSUPPORTED && key[0] == '\0' && model->config.early_copies) {
        place = model->copies_place;
        key = ": copies";
    }
    if (status == AEGIS_ERROR_UNSUPPORTED && key[0] == '\0' &&
        model->config.residency != AEGIS_RESIDENT) {
        key = ": residency";
    }
    aegis_error_prefix(err, "%s:%d:%d: [[model]] \"%s\"%s", system->workload->path, place.line,
                       place.column, model->name, key);
    return status;
}

/* One instance of each runtime, shared by all its consumers. */
static aegis_status
find_backend(aegis_system *system, size_t index, aegis_backend **ret_backend, aegis_error *err)
{
    const aegis_workload_model *model = &system->workload->models[index];
    for (size_t i = 0; i < system->backend_count; i++) {
        if (strcmp(aegis_backend_name(system->backends[i]), model->backend) == 0) {
            *ret_backend = system->backends[i];
            return AEGIS_OK;
        }
    }
    if (system->backend_count == AEGIS_SYSTEM_BACKENDS) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_CONFIG,
                               "more than %u different runtimes", AEGIS_SYSTEM_BACKENDS);
    }
    aegis_backend_config config = {.runtime = model->backend,
                                   .cache_dir = system->workload->cache_dir,
                                   .consumer = model->name};
    aegis_status status =
        aegis_backend_create(&config, system->device, &system->allocator, ret_backend, err);
    if (status == AEGIS_OK) {
        system->backends[system->backend_count++] = *ret_backend;
    }
    return status;
}

size_t aegis_system_lane_of(const aegis_system *system, size_t index)
{
    if (system->entries[index].in_memory) {
        return system->models[index].answer.lane;
    }
    return system->workload->lanes_alike ? 0 : (size_t)system->workload->models[index].lane;
}

/* A slip in a shape asks for more than any machine has, and a trial would take it. An element has
 * one byte at least. */
static aegis_status
check_inputs(aegis_system *system, const aegis_workload_model *wanted, aegis_error *err)
{
    const uint64_t most = system->workload->memory_bytes;
    uint64_t least = 0;
    char needs[64], has[64];
    for (size_t i = 0; i < wanted->config.input_count; i++) {
        const aegis_input_shape *input = &wanted->config.inputs[i];
        uint64_t bytes = wanted->config.slots > 0 ? wanted->config.slots : 1;
        for (int d = 0; d < input->rank; d++) {
            if (__builtin_mul_overflow(bytes, (uint64_t)input->shape[d], &bytes)) {
                bytes = INT64_MAX;
            }
        }
        least = bytes < INT64_MAX - least ? least + bytes : INT64_MAX;
    }
    if (least <= most) {
        return AEGIS_OK;
    }
    system->process_missing = least - most;
    system->process_need = least;
    return aegis_error_set(
        err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_BUDGET_EXCEEDED,
        "its inputs alone take %s or more in these shapes, and [device] memory is "
        "%s; give it smaller ones, or fewer slots",
        aegis_format_size(least, needs, sizeof needs), aegis_format_size(most, has, sizeof has));
}

aegis_status aegis_system_open_model(aegis_system *system, size_t index, aegis_error *err)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_system_entry *entry = &system->entries[index];
    aegis_backend *backend = NULL;
    uint64_t since = aegis_clock_now_ns(&system->clock);
    aegis_status status = find_backend(system, index, &backend, err);
    aegis_system_trace_step(system, index, 2, since, status);
    if (status != AEGIS_OK) {
        return status;
    }
    since = aegis_clock_now_ns(&system->clock);
    aegis_model_config config = wanted->config;
    config.cuts = entry->cut_count > 0 ? entry->cuts : NULL;
    config.cut_count = entry->cut_count;
    config.stream = system->lanes[aegis_system_lane_of(system, index)];
    config.prepack = entry->prepack;
    config.early_copies = entry->early_copies;
    config.copies_in_pieces = system->copy_stream != NULL;
    config.reserve = aegis_system_reserve;
    config.reserve_self = system;
    system->process_missing = 0;
    status = check_inputs(system, wanted, err);
    if (status == AEGIS_OK) {
        status = aegis_model_open(backend, &config, &entry->model, err);
    }
    aegis_system_trace_step(system, index, 1, since, status);
    if (status == AEGIS_OK) {
        status = aegis_model_record(entry->model, config.stream, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_system_check_held(system, "with it", err);
    }
    if (status == AEGIS_OK) {
        snprintf(system->models[index].note, sizeof system->models[index].note, "%s",
                 aegis_model_note(entry->model));
    }
    if (status != AEGIS_OK) {
        aegis_model_close(entry->model);
        entry->model = NULL;
    }
    return status;
}

static void pass_progress(void *self, const char *phase, uint32_t done, uint32_t total)
{
    aegis_system *system = self;
    aegis_system_report(system, phase, system->progress_model, done, total);
}

static aegis_status create_profiler(aegis_system *system, aegis_error *err)
{
    aegis_profiler_config config = {.lanes = system->lanes,
                                    .lane_count = system->workload->lanes,
                                    .copy_stream = system->copy_stream,
                                    .scratch = system->scratch,
                                    .pinned = system->pinned_scratch,
                                    .clock = system->clock,
                                    .progress = pass_progress,
                                    .progress_self = system};
    return aegis_profiler_create(&config, &system->allocator, &system->profiler, err);
}

void aegis_system_profile_path(const aegis_system *system, const char *key, char *path, size_t size)
{
    snprintf(path, size, "%s/profile-%.32s.json", system->workload->cache_dir, key);
}

void aegis_system_stale_path(const aegis_system *system, const char *key, char *path, size_t size)
{
    snprintf(path, size, "%s/stale-%.32s.json", system->workload->cache_dir, key);
}

/* It stays beside the others under another name, so that the next start can say why it measures. */
aegis_status
aegis_system_forget_profile(const aegis_system *system, uint32_t model, aegis_error *err)
{
    char path[4096], stale[4096];
    if (model >= system->workload->model_count) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NOT_FOUND,
                               "the workload has no model %u", model);
    }
    aegis_system_profile_path(system, system->models[model].profile.key, path, sizeof path);
    aegis_system_stale_path(system, system->models[model].profile.key, stale, sizeof stale);
    if (rename(path, stale) != 0 && errno != ENOENT) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_IO,
                               "cannot put %s aside: %s", path, strerror(errno));
    }
    return AEGIS_OK;
}

aegis_status aegis_system_create_context(aegis_system *system, size_t index, aegis_error *err)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_resource_budget budget = {.memory_limit_bytes = wanted->memory_bytes,
                                    .stream_limit = 1,
                                    .compute_budget_ns = wanted->compute_ns,
                                    .period_ns = wanted->period_ns};
    return aegis_context_create((uint32_t)index, wanted->name, &budget, NULL, &system->allocator,
                                &system->entries[index].context, err);
}

/* Step 4. */
aegis_admission_request aegis_system_request(const aegis_system *system, size_t index)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    return (aegis_admission_request){.profile = &system->models[index].profile,
                                     .period_ns = wanted->period_ns,
                                     .deadline_ns = wanted->deadline_ns,
                                     .offset_ns = wanted->offset_ns,
                                     .jitter_ns = wanted->jitter_ns,
                                     .priority = wanted->priority,
                                     .lane = wanted->lane,
                                     .periodic = !wanted->external,
                                     .queue_depth = system->workload->queue_depth,
                                     .slots = wanted->config.slots,
                                     .external = wanted->external,
                                     .overrun = wanted->overrun,
                                     .early = wanted->early,
                                     .background = wanted->background,
                                     .weight = wanted->weight,
                                     .share_ppm = wanted->share_ppm,
                                     .early_copies = system->entries[index].early_copies};
}

/* Step 5, with cuts where the deadlines need them. */
static aegis_status admit(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    aegis_system_cutting cutting = {0};
    aegis_admission_request request = aegis_system_request(system, index);
    aegis_status status = aegis_system_cutting_find(system, index, &request, &cutting, err);
    if (status == AEGIS_OK) {
        status = aegis_scheduler_admit(system->scheduler, system->entries[index].context, &request,
                                       &model->answer, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_system_cutting_adopt(system, &cutting, err);
        model->admitted = true;
        model->rationale = AEGIS_WHY_ADMITTED;
    } else if (status == AEGIS_ERROR_NOT_ADMITTED) {
        aegis_system_refuse(system, index, model->answer.rationale, "%s%s", model->answer.reason,
                            cutting.note);
    }
    aegis_system_cutting_finish(system, &cutting);
    return status == AEGIS_ERROR_NOT_ADMITTED ? AEGIS_OK : status;
}

/* Steps 4 to 6. The model's own limit counts before its time does. */
static aegis_status analyse_model(aegis_system *system, size_t index, aegis_error *err)
{
    uint64_t since = aegis_clock_now_ns(&system->clock);
    aegis_status status = aegis_system_create_context(system, index, err);
    aegis_system_trace_step(system, index, 6, since, status);
    if (status != AEGIS_OK) {
        return status;
    }
    since = aegis_clock_now_ns(&system->clock);
    aegis_system_trace_step(system, index, 4, since, AEGIS_OK);
    since = aegis_clock_now_ns(&system->clock);
    status = admit(system, index, err);
    aegis_system_trace_step(
        system, index, 5, since,
        status == AEGIS_OK && !system->models[index].admitted ? AEGIS_ERROR_NOT_ADMITTED : status);
    return status;
}

/* Steps 1 to 3. One trial at a time is in memory; the model is opened again when its place is
 * known. */
static aegis_status trial(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_trial *whole = NULL;
    aegis_status status = aegis_system_trial_run(system, index, NULL, 0, &whole, err);
    if (status != AEGIS_OK) {
        return status;
    }
    system->entries[index].whole = whole->profile;
    aegis_system_trial_adopt(system, index, whole);
    status = aegis_system_cut_as_told(system, index, err);
    if (status == AEGIS_OK) {
        status = aegis_system_choose_copies(system, index, err);
    }
    system->models[index].early_copies = system->entries[index].early_copies;
    return status;
}

/* Past its own limit it was never measured with them, so there is no price to tell. */
static void give_up_packing(aegis_system *system, size_t index)
{
    system->entries[index].prepack = false;
    system->models[index].prepacked = false;
    system->models[index].unpacked_for_memory = true;
}

/* What the process, or its inputs the arena, had no room for. */
static void refuse_process(aegis_system *system, size_t index, const char *reason)
{
    const uint64_t free_bytes = system->process_need - system->process_missing;
    aegis_system_refuse(system, index, AEGIS_WHY_MEMORY, "%s", reason);
    system->models[index].memory_refusal =
        (aegis_memory_refusal){.status = AEGIS_ERROR_BUDGET_EXCEEDED,
                               .model = (uint32_t)index,
                               .need_bytes = system->process_need,
                               .capacity_bytes = free_bytes,
                               .free_bytes = free_bytes,
                               .missing_bytes = system->process_missing};
    aegis_system_trace_refusal(system, index);
}

/* Past its own limit before all that it takes was known. The record says more than the limit, by
 * the least; a report that one would plan with says nothing that is not known. */
static void refuse_trial(aegis_system *system, size_t index, const char *reason)
{
    const uint64_t limit = system->workload->models[index].memory_bytes;
    aegis_memory_refusal *refusal = &system->models[index].memory_refusal;
    aegis_system_refuse_budget(system, index, reason);
    *refusal = (aegis_memory_refusal){.need_bytes = limit + 1, .capacity_bytes = limit};
    aegis_system_trace_refusal(system, index);
    *refusal = (aegis_memory_refusal){0};
}

aegis_status aegis_system_admit_models(aegis_system *system, aegis_error *err)
{
    uint32_t count = (uint32_t)system->workload->model_count;
    aegis_status status = create_profiler(system, err);
    /* Foreground first: what blocks may not cost a model with a deadline its place. */
    for (uint32_t turn = 0; count > 0 && turn < 2 * count && status == AEGIS_OK; turn++) {
        uint32_t i = turn % count;
        if (system->workload->models[i].background != (turn >= count)) {
            continue;
        }
        aegis_error why;
        aegis_system_report(system, "loading", system->workload->models[i].name, i, count);
        status = trial(system, i, &why);
        if (status == AEGIS_ERROR_BUDGET_EXCEEDED && system->workload->models[i].prepack_auto) {
            give_up_packing(system, i);
            status = trial(system, i, &why);
        }
        if (status == AEGIS_ERROR_BUDGET_EXCEEDED && system->process_missing > 0) {
            refuse_process(system, i, why.message);
            status = AEGIS_OK;
            continue;
        }
        if (status == AEGIS_ERROR_BUDGET_EXCEEDED) {
            refuse_trial(system, i, why.message);
            status = AEGIS_OK;
            continue;
        }
        if (status == AEGIS_OK && system->workload->models[i].absent) {
            aegis_system_refuse(system, i, AEGIS_WHY_NONE, "not there at the start");
            continue;
        }
        if (status == AEGIS_OK) {
            status = analyse_model(system, i, &why);
        }
        if (status != AEGIS_OK) {
            if (err != NULL) {
                *err = why;
            }
            return blame(system, i, status, err);
        }
        aegis_system_report(system, "admission", system->workload->models[i].name, i + 1, count);
    }
    return status;
}
