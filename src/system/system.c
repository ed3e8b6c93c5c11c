/* SPDX-License-Identifier: Apache-2.0 */
/* The composition root: the only place that knows every concrete type. */
#include "system/internal.h"

#include <aegisrt/ext/cuda_graph.h>
#include <aegisrt/monitor.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* About twice what waking a thread takes on a virtual machine. */
#define LANE_SPIN_NS UINT64_C(50000)

static aegis_status create_collector(aegis_system *system, aegis_error *err)
{
    aegis_trace_config config = {.ring_records = system->options.trace_ring_records,
                                 .memory_records = 1 << 16,
                                 .path = system->options.trace_path};
    return aegis_trace_collector_create(&config, &system->clock, &system->allocator,
                                        &system->collector, err);
}

/* Pinned memory that nobody asked for is for GPUs alone. */
static aegis_status
pinned_bytes(const aegis_workload *workload, uint64_t *ret_bytes, aegis_error *err)
{
    aegis_device_capabilities is;
    *ret_bytes = workload->pinned_bytes;
    if (workload->pinned_given) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_device_query(workload->device_kind, 0, false, &is, err);
    if (status == AEGIS_OK && is.kind == AEGIS_DEVICE_HOST) {
        *ret_bytes = 0;
    }
    return status;
}

/* Profiling takes some of a GPU's memory too, beside that of the models. */
static aegis_status create_device(aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    const uint64_t streams = workload->lanes + (workload->copies_early ? 1u : 0u);
    const uint64_t scratch = streams * aegis_profiler_scratch_bytes(workload->device_kind);
    const uint64_t pinned = scratch > 0 && streams > 1 ? streams * AEGIS_PROFILER_PINNED_BYTES : 0;
    aegis_device_config config = {.kind = workload->device_kind,
                                  .arena_bytes = workload->memory_bytes + scratch,
                                  .lock_memory = workload->lock_memory,
                                  .huge_pages = workload->huge_pages};
    aegis_status status = pinned_bytes(workload, &config.pinned_bytes, err);
    if (status == AEGIS_OK) {
        config.pinned_bytes += pinned;
        status = aegis_device_create(&config, &system->allocator, &system->device, err);
    }
    if (status != AEGIS_OK) {
        if (scratch > 0) {
            aegis_error_prefix(err, "with %" PRIu64 " bytes for profiling", scratch);
        }
        aegis_error_prefix(err, "%s: [device]", workload->path);
        return status;
    }
    void *base;
    uint64_t size;
    system->capabilities = *aegis_device_get_capabilities(system->device);
    aegis_device_get_arena(system->device, &base, &size);
    status = aegis_system_check_held(system, "before any model is loaded", err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_device_alloc(system->device, size - scratch, 4096, &system->arena, err);
    if (status == AEGIS_OK && scratch > 0) {
        status = aegis_device_alloc(system->device, scratch, 64, &system->scratch, err);
    }
    return status == AEGIS_OK && pinned > 0
               ? aegis_device_pinned_alloc(system->device, pinned, 64, &system->pinned_scratch, err)
               : status;
}

/* The lanes of a host poll on cores that are theirs; those of a GPU take the host's. */
static aegis_status check_polling(const aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    aegis_device_capabilities host;
    if (workload->completion != AEGIS_COMPLETION_POLL ||
        system->capabilities.kind == AEGIS_DEVICE_HOST) {
        return AEGIS_OK;
    }
    aegis_status status = aegis_device_query(AEGIS_DEVICE_HOST, 0, false, &host, err);
    int polling =
        workload->lanes + (workload->wait == AEGIS_WAIT_POLL ? 1 : 0) + workload->copies_early;
    if (status == AEGIS_OK && polling >= host.multiprocessor_count) {
        return aegis_error_set(
            err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_CONFIG,
            "%s: [device] completion = \"poll\" takes a core for each lane, with "
            "the driver's and that of early copies %d, and the host has %d; use \"adaptive\", or "
            "fewer lanes",
            workload->path, polling, host.multiprocessor_count);
    }
    return status;
}

/* A kernel of one lane that fills multiprocessors which another lane shares holds that one up for
 * as long as it likes: no load that is measured under bounds it. */
static aegis_status check_lanes(const aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    const bool is_gpu = system->capabilities.kind == AEGIS_DEVICE_CUDA;
    if (is_gpu && workload->lanes > 1 && workload->lane_multiprocessors[0] == 0) {
        return aegis_error_set(
            err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_CONFIG,
            "%s: [device] lanes: %u lanes of one GPU would share its %d multiprocessors, and no "
            "bound holds for what they cost one another then; give each its own, multiprocessors = "
            "[N, ...] (multiples of %d), or write lanes = 1",
            workload->path, workload->lanes, system->capabilities.multiprocessor_count,
            system->capabilities.partition_granularity);
    }
    if (!is_gpu && workload->lane_multiprocessors[0] > 0) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_CONFIG,
                               "%s: [device] multiprocessors are those of a GPU, and this is '%s'; "
                               "remove the key, or write kind = \"cuda\"",
                               workload->path, system->capabilities.name);
    }
    return AEGIS_OK;
}

/* A lane that spins keeps a core from the driver's thread unless one is left. A GPU's lanes know
 * themselves how long to look. */
static uint64_t lane_spin_ns(const aegis_system *system)
{
    const aegis_workload *workload = system->workload;
    int used = (int)workload->lanes * (int)workload->lane_width;
    if (workload->has_lane_spin) {
        return workload->lane_spin_ns;
    }
    return system->capabilities.kind == AEGIS_DEVICE_HOST &&
                   used < system->capabilities.multiprocessor_count
               ? LANE_SPIN_NS
               : 0;
}

static uint32_t most_models(const aegis_workload *workload)
{
    return workload->model_count < 16 ? 16 : (uint32_t)workload->model_count;
}

static aegis_status create_lanes(aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    aegis_status checked = check_lanes(system, err);
    if (checked == AEGIS_OK) {
        checked = check_polling(system, err);
    }
    if (checked != AEGIS_OK) {
        return checked;
    }
    for (uint16_t i = 0; i < workload->lanes; i++) {
        char name[24];
        snprintf(name, sizeof name, "aegis-lane-%u", i);
        aegis_stream_config config = {.name = name,
                                      .cpu = workload->lane_cpu[i],
                                      .fifo_priority = workload->fifo_priority,
                                      .completion = workload->completion,
                                      .width = (int)workload->lane_width,
                                      .multiprocessors = workload->lane_multiprocessors[i],
                                      .spin_ns = lane_spin_ns(system),
                                      .ahead = workload->ahead};
        aegis_status status = aegis_stream_create(system->device, &config, &system->lanes[i], err);
        if (status != AEGIS_OK) {
            aegis_error_prefix(err, "%s: [device]: lane %u", workload->path, i);
            return status;
        }
    }
    return AEGIS_OK;
}

/* Two commands a model, and at least as many models as the scheduler has room for. */
static aegis_status create_copy_stream(aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    if (!workload->copies_early) {
        return AEGIS_OK;
    }
    aegis_stream_config config = aegis_stream_config_default("aegis-copy");
    config.fifo_priority = workload->fifo_priority;
    config.completion = workload->completion;
    config.depth = 2 * (size_t)most_models(workload);
    aegis_status status = aegis_stream_create(system->device, &config, &system->copy_stream, err);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "%s: [device]: the stream of early copies", workload->path);
    }
    return status;
}

static aegis_status create_scheduler(aegis_system *system, aegis_error *err)
{
    const aegis_workload *workload = system->workload;
    aegis_status status = AEGIS_OK;
    if (system->options.policy != NULL) {
        system->policy = *system->options.policy;
    } else {
        status = aegis_policy_find(workload->policy, &system->policy, err);
        if (status == AEGIS_OK && !aegis_policy_has_proof(&system->policy)) {
            status = aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_CONFIG,
                                     "%s: [schedule] policy: there is no proof for \"%s\", so "
                                     "nothing could be admitted under it; write another, and give "
                                     "this one to aegisrt simulate",
                                     workload->path, workload->policy);
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
    aegis_system_report(system, "measuring the driver", NULL, 0, 1);
    uint32_t models = (uint32_t)workload->model_count;
    aegis_scheduler_config config = {
        .lanes = system->lanes,
        .lane_count = workload->lanes,
        .copy_stream = system->copy_stream,
        .policy = system->policy,
        .clock = system->clock,
        .max_models = most_models(workload),
        .max_jobs = models * workload->queue_depth < 65536 ? models * workload->queue_depth : 65536,
        .wait = workload->wait,
        .hang_ns = workload->hang_given || system->capabilities.kind == AEGIS_DEVICE_CUDA
                       ? workload->hang_ns
                       : 0,
        .cpu = -1,
        .wake_bound_ns = system->options.wake_bound_ns,
        .overhead_bound_ns = system->options.overhead_bound_ns,
        .fifo_priority = workload->fifo_priority > 0 ? workload->fifo_priority + 1 : 0,
        .collector = system->collector};
    return aegis_scheduler_create(&config, &system->allocator, &system->scheduler, err);
}

static aegis_status create_memory(aegis_system *system, aegis_error *err)
{
    aegis_memory_config config = {.capacity_bytes = system->arena.size_bytes,
                                  .lanes = system->workload->lanes,
                                  .spill_bytes_per_lane = system->workload->spill_bytes};
    return aegis_memory_orchestrator_create(&config, &system->planner, &system->allocator,
                                            &system->memory, err);
}

static aegis_status create_tables(aegis_system *system, aegis_error *err)
{
    size_t count = system->workload->model_count;
    system->models = aegis_allocate_zeroed(&system->allocator, count, sizeof *system->models);
    system->entries = aegis_allocate_zeroed(&system->allocator, count, sizeof *system->entries);
    if (system->models == NULL || system->entries == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu models", count);
    }
    for (size_t i = 0; i < count; i++) {
        system->models[i].name = system->workload->models[i].name;
        system->models[i].model = (uint32_t)i;
        system->entries[i].prepack = system->workload->models[i].config.prepack;
        system->entries[i].early_copies = system->workload->models[i].config.early_copies;
        system->models[i].prepacked = system->entries[i].prepack;
        system->models[i].expect_refuse = system->workload->models[i].expect_refuse;
    }
    return AEGIS_OK;
}

static aegis_status build(aegis_system *system, aegis_error *err)
{
    aegis_status (*const stages[])(aegis_system *, aegis_error *) = {
        create_tables, create_collector,          create_device,
        create_lanes,  create_copy_stream,        create_scheduler,
        create_memory, aegis_system_admit_models, aegis_system_place_models};
    aegis_status status = aegis_folder_create(system->workload->cache_dir, err);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(stages) && status == AEGIS_OK; i++) {
        status = stages[i](system, err);
    }
    return status;
}

aegis_status aegis_system_create(const aegis_workload *workload,
                                 const aegis_system_options *options,
                                 const aegis_allocator *allocator,
                                 aegis_system **ret_system,
                                 aegis_error *err)
{
    if (workload == NULL || allocator == NULL || ret_system == NULL || workload->lanes == 0 ||
        workload->lanes > AEGIS_SYSTEM_LANES || workload->model_count == 0) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a system needs a workload with models and 1 to %u lanes",
                               AEGIS_SYSTEM_LANES);
    }
    aegis_system *system = aegis_allocate_zeroed(allocator, 1, sizeof *system);
    if (system == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a system");
    }
    system->allocator = *allocator;
    system->workload = workload;
    system->clock = aegis_clock_monotonic();
    system->options = options == NULL ? (aegis_system_options){0} : *options;
    system->planner =
        system->options.planner != NULL ? *system->options.planner : aegis_planner_default();
    aegis_status status = build(system, err);
    if (status != AEGIS_OK) {
        aegis_system_destroy(system);
        return status;
    }
    *ret_system = system;
    return AEGIS_OK;
}

void aegis_system_destroy(aegis_system *system)
{
    if (system == NULL) {
        return;
    }
    const aegis_allocator allocator = system->allocator;
    size_t count = system->workload->model_count;
    if (system->started && !system->stopped) {
        aegis_system_stop(system, NULL);
    }
    if (aegis_scheduler_hangs(system->scheduler)) {
        return; /* all of it may still be in use, by the lane that does not end */
    }
    aegis_scheduler_destroy(system->scheduler);
    aegis_profiler_destroy(system->profiler);
    for (size_t i = 0; system->entries != NULL && i < count; i++) {
        aegis_system_entry *entry = &system->entries[i];
        aegis_model_close(entry->model);
        aegis_context_destroy(entry->context);
        aegis_deallocate(&allocator, entry->lifetimes, entry->lifetime_count,
                         sizeof *entry->lifetimes);
        aegis_deallocate(&allocator, entry->candidates, entry->candidate_count,
                         sizeof *entry->candidates);
    }
    for (size_t i = 0; i < system->backend_count; i++) {
        aegis_backend_destroy(system->backends[i]);
    }
    aegis_memory_orchestrator_destroy(system->memory);
    for (size_t i = 0; i < AEGIS_SYSTEM_LANES; i++) {
        aegis_stream_destroy(system->lanes[i]);
    }
    aegis_stream_destroy(system->copy_stream);
    aegis_device_destroy(system->device);
    aegis_trace_collector_destroy(system->collector);
    aegis_deallocate(&allocator, system->models, count, sizeof *system->models);
    aegis_deallocate(&allocator, system->entries, count, sizeof *system->entries);
    aegis_deallocate(&allocator, system, 1, sizeof *system);
}

const aegis_system_model *aegis_system_models(const aegis_system *system, size_t *ret_count)
{
    *ret_count = system->workload->model_count;
    return system->models;
}

const aegis_device_capabilities *aegis_system_device(const aegis_system *system)
{
    return &system->capabilities;
}

void aegis_system_memory(const aegis_system *system,
                         aegis_memory_totals *ret_totals,
                         uint64_t *ret_peak)
{
    aegis_memory_orchestrator_totals(system->memory, ret_totals);
    *ret_peak = aegis_memory_orchestrator_peak(system->memory);
}

uint64_t aegis_system_beside_arena(const aegis_system *system)
{
    uint64_t used = 0;
    if (system->capabilities.kind != AEGIS_DEVICE_CUDA ||
        aegis_cuda_memory_in_use(system->device, &used, NULL) != AEGIS_OK) {
        return 0;
    }
    return used > system->arena.size_bytes ? used - system->arena.size_bytes : 0;
}

aegis_status aegis_system_binding(const aegis_system *system,
                                  uint32_t model,
                                  const aegis_memory_binding **ret_binding,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    if (model >= system->workload->model_count || !system->entries[model].in_memory) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NOT_FOUND,
                               "model %u has no place in the plan", model);
    }
    const aegis_system_entry *entry = &system->entries[model];
    aegis_status status = aegis_memory_orchestrator_bind(system->memory, model, ret_binding, err);
    if (status == AEGIS_OK) {
        *ret_lifetimes = entry->lifetimes;
        *ret_count = entry->lifetime_count;
    }
    return status;
}

aegis_scheduler *aegis_system_scheduler(aegis_system *system)
{
    return system->scheduler;
}

aegis_trace_collector *aegis_system_collector(aegis_system *system)
{
    return system->collector;
}

aegis_model *aegis_system_backend_model(aegis_system *system, uint32_t model)
{
    return model < system->workload->model_count ? system->entries[model].model : NULL;
}

aegis_context *aegis_system_context(aegis_system *system, uint32_t model)
{
    return model < system->workload->model_count ? system->entries[model].context : NULL;
}

enum {
    MARK_START,
    MARK_STOP
};

static void trace_mark(aegis_system *system, int64_t mark)
{
    aegis_trace_record record = {
        .kind = AEGIS_TRACE_MARK, .model = AEGIS_TRACE_NONE, .lane = AEGIS_TRACE_NONE, .a = mark};
    aegis_trace_collector_record(system->collector, &record);
}

aegis_status
aegis_system_record_temperature(aegis_system *system, const char *root, aegis_error *err)
{
    aegis_monitor_zone zone;
    aegis_status status = aegis_monitor_read_hottest(root, &zone, err);
    if (status == AEGIS_OK) {
        aegis_trace_record record = {.kind = AEGIS_TRACE_COUNTER,
                                     .model = AEGIS_TRACE_NONE,
                                     .lane = AEGIS_TRACE_NONE,
                                     .a = AEGIS_COUNTER_TEMPERATURE_MILLIDEGREES,
                                     .b = zone.millidegrees};
        aegis_trace_collector_record(system->collector, &record);
    }
    return status;
}

aegis_status aegis_system_start(aegis_system *system, aegis_error *err)
{
    if (system->started) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_STATE,
                               "the system was started already");
    }
    char *header = aegis_system_trace_header(system);
    if (header == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for the trace header");
    }
    aegis_status status = aegis_trace_collector_set_header(system->collector, header, err);
    free(header);
    if (status == AEGIS_OK) {
        trace_mark(system, MARK_START);
        status = aegis_scheduler_start(system->scheduler, 0, err);
    }
    system->started = status == AEGIS_OK;
    return status;
}

aegis_status aegis_system_stop(aegis_system *system, aegis_error *err)
{
    if (!system->started || system->stopped) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_SYSTEM), AEGIS_ERROR_STATE,
                               "the system is not running");
    }
    aegis_status status = aegis_scheduler_stop(system->scheduler, err);
    trace_mark(system, MARK_STOP);
    aegis_status finished =
        aegis_trace_collector_finish(system->collector, status == AEGIS_OK ? err : NULL);
    system->stopped = true;
    return status != AEGIS_OK ? status : finished;
}

size_t aegis_system_surprises(const aegis_system *system)
{
    size_t surprises = 0;
    for (size_t i = 0; i < system->workload->model_count; i++) {
        surprises += !system->workload->models[i].absent &&
                     system->models[i].admitted == system->models[i].expect_refuse;
    }
    return surprises;
}
