/* SPDX-License-Identifier: Apache-2.0 */
/* From a workload's model to a proved place in the pool: load, wrap, profile, request, analyse. */
#include "system/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    if (status == AEGIS_ERROR_CONFIG && model->inputs_place.line > 0) {
        place = model->inputs_place;
        key = ": inputs";
    } else if (status == AEGIS_ERROR_NOT_FOUND || status == AEGIS_ERROR_PARSE ||
               status == AEGIS_ERROR_ENGINE_BUILD || status == AEGIS_ERROR_ENGINE_DESERIALIZE) {
        place = model->path_place;
        key = ": path";
    } else if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        key = ": backend";
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
    status = aegis_model_open(backend, &wanted->config, &entry->model, err);
    aegis_system_trace_step(system, index, 1, since, status);
    if (status == AEGIS_OK) {
        status = aegis_model_record(entry->model, system->lanes[0], err);
    }
    if (status != AEGIS_OK) {
        aegis_model_close(entry->model);
        entry->model = NULL;
    }
    return status;
}

static aegis_status copy_lifetimes(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    const aegis_tensor_lifetime *lifetimes;
    size_t count;
    aegis_status status = aegis_model_estimate_lifetimes(entry->model, &lifetimes, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    entry->lifetimes = aegis_allocate_zeroed(&system->allocator, count, sizeof *lifetimes);
    if (entry->lifetimes == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu lifetimes", count);
    }
    memcpy(entry->lifetimes, lifetimes, count * sizeof *lifetimes);
    entry->lifetime_count = count;
    system->models[index].segments = aegis_model_segment_count(entry->model);
    return AEGIS_OK;
}

static void pass_progress(void *self, const char *phase, uint32_t done, uint32_t total)
{
    aegis_system *system = self;
    aegis_system_report(system, phase, system->progress_model, done, total);
}

static aegis_status create_profiler(aegis_system *system, aegis_error *err)
{
    aegis_profiler_config config = {.stream = system->lanes[0],
                                    .others = system->lanes + 1,
                                    .other_count = (size_t)(system->workload->lanes - 1),
                                    .clock = system->clock,
                                    .progress = pass_progress,
                                    .progress_self = system};
    return aegis_profiler_create(&config, &system->allocator, &system->profiler, err);
}

/* Step 3. A kept profile is used only when everything that moves the figures is equal. */
static aegis_status profile_model(aegis_system *system, size_t index, aegis_error *err)
{
    const aegis_workload_model *wanted = &system->workload->models[index];
    aegis_system_model *model = &system->models[index];
    aegis_profile_options options = {.min_samples = wanted->samples,
                                     .quantile = wanted->confidence,
                                     .assurance = wanted->assurance,
                                     .margin = wanted->margin};
    char key[65], path[4096];
    aegis_status status =
        aegis_profile_make_key(system->entries[index].model, &system->capabilities,
                               system->workload->lanes, wanted->config.threads, &options, key, err);
    if (status != AEGIS_OK) {
        return status;
    }
    snprintf(path, sizeof path, "%s/profile-%.32s.json", system->workload->cache_dir, key);
    if (!system->options.fresh_profiles &&
        aegis_profile_load(path, key, &model->profile, NULL) == AEGIS_OK) {
        model->profile_from_cache = true;
        return AEGIS_OK;
    }
    system->progress_model = wanted->name;
    status = aegis_profiler_profile_under_load(system->profiler, system->entries[index].model,
                                               &options, &model->profile, err);
    if (status != AEGIS_OK) {
        return status;
    }
    memcpy(model->profile.key, key, sizeof key);
    return aegis_profile_save(path, &model->profile, err);
}

static aegis_status create_context(aegis_system *system, size_t index, aegis_error *err)
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
static aegis_admission_request request_of(const aegis_system *system, size_t index)
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
                                     .weight = wanted->weight};
}

/* Steps 5 and 6. The model's own limit counts before its time does. */
static aegis_status analyse_model(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_model *model = &system->models[index];
    aegis_error why;
    uint64_t since = aegis_clock_now_ns(&system->clock);
    aegis_status status = create_context(system, index, err);
    aegis_system_trace_step(system, index, 6, since, status);
    if (status != AEGIS_OK) {
        return status;
    }
    since = aegis_clock_now_ns(&system->clock);
    aegis_admission_request request = request_of(system, index);
    aegis_system_trace_step(system, index, 4, since, AEGIS_OK);
    since = aegis_clock_now_ns(&system->clock);
    status = aegis_scheduler_admit(system->scheduler, system->entries[index].context, &request,
                                   &model->answer, &why);
    aegis_system_trace_step(system, index, 5, since, status);
    if (status == AEGIS_OK) {
        model->admitted = true;
        model->rationale = AEGIS_WHY_ADMITTED;
        return AEGIS_OK;
    }
    if (status == AEGIS_ERROR_NOT_ADMITTED) {
        aegis_system_refuse(system, index, model->answer.rationale, "%s", model->answer.reason);
        return AEGIS_OK;
    }
    if (err != NULL) {
        *err = why;
    }
    return status;
}

static aegis_status trial(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_status status = aegis_system_open_model(system, index, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (aegis_model_segment_count(entry->model) != 1) {
        status = aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_UNSUPPORTED,
                                 "the model is cut into %u segments; this version schedules whole "
                                 "models only",
                                 aegis_model_segment_count(entry->model));
        goto done;
    }
    status = copy_lifetimes(system, index, err);
    if (status == AEGIS_OK) {
        uint64_t since = aegis_clock_now_ns(&system->clock);
        status = profile_model(system, index, err);
        aegis_system_trace_step(system, index, 3, since, status);
    }
done:
    /* One trial at a time is in memory; the model is opened again when its place is known. */
    aegis_model_close(entry->model);
    entry->model = NULL;
    aegis_heap_trim();
    return status;
}

aegis_status aegis_system_admit_models(aegis_system *system, aegis_error *err)
{
    uint32_t count = (uint32_t)system->workload->model_count;
    aegis_status status = create_profiler(system, err);
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        aegis_error why;
        aegis_system_report(system, "loading", system->workload->models[i].name, i, count);
        status = trial(system, i, &why);
        if (status == AEGIS_ERROR_BUDGET_EXCEEDED) {
            aegis_system_refuse_budget(system, i, why.message);
            status = AEGIS_OK;
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
