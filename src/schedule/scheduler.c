/* SPDX-License-Identifier: Apache-2.0 */
/* Life cycle, submission and metrics. Admission is in admit.c, the thread in driver/loop.c. */
#include "schedule/driver/internal.h"

#include <string.h>

#define COMPONENT "schedule.scheduler"
#define DEFAULT_MODELS 64u
#define DEFAULT_JOBS 4096u
#define START_DELAY_NS (10 * AEGIS_NS_PER_MS)

static size_t words(uint32_t models)
{
    return (models + 63u) / 64u;
}

static aegis_status check_config(const aegis_scheduler_config *config, aegis_error *err)
{
    if (config->lanes == NULL || config->lane_count == 0 || config->lane_count > AEGIS_MAX_LANES ||
        config->policy.ops == NULL || config->clock.ops == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "a scheduler needs 1 to %u lanes, a policy and a clock",
                               AEGIS_MAX_LANES);
    }
    if (config->max_models > AEGIS_TRACE_NONE - 1u) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "max_models is %u; at most %u have numbers", config->max_models,
                               AEGIS_TRACE_NONE - 1u);
    }
    if (config->wait == AEGIS_WAIT_POLL) {
        const aegis_device_capabilities *device =
            aegis_device_get_capabilities(aegis_stream_device(config->lanes[0]));
        int used = 0;
        for (uint16_t i = 0; i < config->lane_count; i++) {
            used += aegis_stream_width(config->lanes[i]);
        }
        if (device->kind == AEGIS_DEVICE_HOST && used >= device->multiprocessor_count) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "a polling driver would take a core from a lane: lanes use %d of "
                                   "%d cores; use wait = \"sleep\" or fewer lanes",
                                   used, device->multiprocessor_count);
        }
    }
    return AEGIS_OK;
}

static aegis_status create_tables(aegis_scheduler *scheduler, aegis_error *err)
{
    const aegis_allocator *allocator = &scheduler->allocator;
    uint32_t models = scheduler->config.max_models;
    aegis_core_config core = {.lanes = scheduler->config.lane_count,
                              .max_models = models,
                              .max_jobs = scheduler->config.max_jobs,
                              .wake_bound_ns = scheduler->config.wake_bound_ns,
                              .launch_bound_ns = scheduler->config.overhead_bound_ns};
    aegis_status status =
        aegis_core_create(&core, &scheduler->config.policy, allocator, &scheduler->core, err);
    if (status != AEGIS_OK) {
        return status;
    }
    scheduler->max_actions = aegis_core_max_actions(scheduler->core);
    scheduler->actions =
        aegis_allocate_zeroed(allocator, scheduler->max_actions, sizeof *scheduler->actions);
    scheduler->entries = aegis_allocate_zeroed(allocator, models, sizeof *scheduler->entries);
    scheduler->heap = aegis_allocate_zeroed(allocator, models, sizeof *scheduler->heap);
    scheduler->submitted =
        aegis_allocate_zeroed(allocator, words(models), sizeof *scheduler->submitted);
    scheduler->final_counters =
        aegis_allocate_zeroed(allocator, models, sizeof *scheduler->final_counters);
    if (scheduler->actions == NULL || scheduler->entries == NULL || scheduler->heap == NULL ||
        scheduler->submitted == NULL || scheduler->final_counters == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %u models", models);
    }
    return aegis_job_table_init(&scheduler->jobs, scheduler->config.max_jobs, allocator, err);
}

static aegis_status create_threads(aegis_scheduler *scheduler, aegis_error *err)
{
    static const aegis_stream_config callback_thread = {
        .name = "aegis-callback", .cpu = -1, .width = 1};
    static void (*const run)(void *, const aegis_command *) = NULL;
    (void)run;
    aegis_stream_config orchestrator = {.name = "aegis-sched",
                                        .cpu = scheduler->config.cpu,
                                        .fifo_priority = scheduler->config.fifo_priority,
                                        .width = 1,
                                        .depth = 4};
    aegis_stream_config callbacks = callback_thread;
    callbacks.depth = scheduler->config.max_jobs;
    extern const aegis_worker_ops aegis_driver_worker_ops;
    aegis_status status =
        aegis_worker_create(&orchestrator, &aegis_driver_worker_ops, scheduler,
                            &scheduler->allocator, &scheduler->orchestrator, err);
    if (status == AEGIS_OK) {
        status = aegis_worker_create(&callbacks, &aegis_driver_worker_ops, scheduler,
                                     &scheduler->allocator, &scheduler->callbacks, err);
    }
    return status;
}
