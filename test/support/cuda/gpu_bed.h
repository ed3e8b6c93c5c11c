/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CUDA_GPU_BED_H
#define AEGIS_TEST_CUDA_GPU_BED_H

/* A running scheduler over the CUDA device with models of bare kernels, admitted by their known
 * lengths. Any failure ends the program with the record's words; no GPU ends it with 77. */

#include <aegisrt/aegis.h>
#include <aegisrt/ext/cuda.h>

#include "support/cuda/kernel_backend.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPU_BED_MODELS 4u
#define GPU_BED_SLACK_NS UINT64_C(30000) /* of a segment's bound over its kernel's length */
#define GPU_BED_HOUR_NS (UINT64_C(3600) * 1000000000)

typedef struct gpu_bed_config {
    aegis_completion completion;
    aegis_wait_mode wait;
    bool ahead;
    const char *policy;
    uint64_t wake_bound_ns, overhead_bound_ns; /* 0: measured */
    uint64_t hang_ns;                          /* aegis_scheduler_config */
    uint32_t slots;                            /* of each model; 0: 4 */
    uint64_t least_ns; /* what profiles say that each segment takes at least; 0: its length */
} gpu_bed_config;

typedef struct gpu_bed {
    aegis_allocator allocator;
    aegis_clock clock;
    aegis_device *device;
    aegis_stream *lane;
    aegis_backend *backend;
    aegis_scheduler *scheduler;
    aegis_model *models[GPU_BED_MODELS];
    aegis_context *contexts[GPU_BED_MODELS];
    uint64_t periods_ns[GPU_BED_MODELS];
    uint32_t count, slots;
    uint64_t least_ns;
} gpu_bed;

static inline void gpu_check(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s: %s\n", error->component, error->message);
        exit(error->status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE ? 77 : 4);
    }
}

static inline uint64_t gpu_now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

/* A device alone, or exit 77 with the reason on stdout. */
static inline aegis_device *gpu_device(uint64_t arena_bytes, uint64_t pinned_bytes)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = arena_bytes, .pinned_bytes = pinned_bytes};
    aegis_device *device = NULL;
    aegis_error error;
    aegis_status status = aegis_device_create(&config, &allocator, &device, &error);
    if (status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE) {
        printf("skipped: %s\n", error.message);
        exit(77);
    }
    gpu_check(status, &error);
    return device;
}

static inline void gpu_bed_open(gpu_bed *bed, const gpu_bed_config *config)
{
    aegis_error error;
    aegis_stream_config lane = aegis_stream_config_default("lane");
    aegis_scheduler_config scheduler = {.lanes = &bed->lane,
                                        .lane_count = 1,
                                        .wait = config->wait,
                                        .cpu = -1,
                                        .wake_bound_ns = config->wake_bound_ns,
                                        .overhead_bound_ns = config->overhead_bound_ns,
                                        .hang_ns = config->hang_ns};
    *bed = (gpu_bed){.allocator = aegis_allocator_default(),
                     .clock = aegis_clock_monotonic(),
                     .slots = config->slots > 0 ? config->slots : 4,
                     .least_ns = config->least_ns};
    bed->device = gpu_device(UINT64_C(64) << 20, UINT64_C(16) << 20);
    lane.completion = config->completion;
    lane.ahead = config->ahead;
    gpu_check(aegis_stream_create(bed->device, &lane, &bed->lane, &error), &error);
    gpu_check(kernel_backend_create(bed->device, &bed->allocator, &bed->backend, &error), &error);
    scheduler.clock = bed->clock;
    gpu_check(aegis_policy_find(config->policy != NULL ? config->policy : "np-edf",
                                &scheduler.policy, &error),
              &error);
    gpu_check(aegis_scheduler_create(&scheduler, &bed->allocator, &bed->scheduler, &error), &error);
}

static inline aegis_profile
gpu_bed_profile(uint32_t segments, uint64_t segment_ns, uint64_t least_ns)
{
    aegis_profile profile = {.margin = 1, .segment_count = segments, .loaded.best_ns = least_ns};
    for (uint32_t i = 0; i < segments; i++) {
        profile.segments[i].series.best_ns = least_ns;
        profile.segments[i].bound_ns = segment_ns + GPU_BED_SLACK_NS;
        profile.segments[i].stretch_ns = profile.segments[i].bound_ns;
        profile.bound_ns += profile.segments[i].bound_ns;
    }
    profile.stretch_ns = profile.bound_ns;
    return profile;
}

/* Admits a model of kernels whose jobs are submitted; returns its number. `share` is the least
 * number of its own bounds between two of its releases. */
static inline uint32_t
gpu_bed_add(gpu_bed *bed, const char *path, uint64_t deadline_ns, int32_t priority, uint64_t share)
{
    static const char *const names[GPU_BED_MODELS] = {"a", "b", "c", "d"};
    uint32_t number = bed->count++, segments = 0;
    uint64_t segment_ns = 0;
    aegis_error error;
    aegis_model_config config = {.name = names[number], .path = path, .slots = bed->slots};
    aegis_resource_budget budget = {.stream_limit = 1};
    aegis_admission_answer answer = {0};
    if (sscanf(path, "%ux%lu", &segments, &segment_ns) != 2) {
        exit(2);
    }
    aegis_profile profile =
        gpu_bed_profile(segments, segment_ns, bed->least_ns > 0 ? bed->least_ns : segment_ns);
    uint64_t overhead = aegis_scheduler_overhead_bound_ns(bed->scheduler) +
                        aegis_scheduler_wake_bound_ns(bed->scheduler);
    bed->periods_ns[number] = share * (profile.bound_ns + segments * overhead) + 1000;
    aegis_admission_request request = {.profile = &profile,
                                       .period_ns = bed->periods_ns[number],
                                       .deadline_ns = deadline_ns,
                                       .priority = priority,
                                       .lane = 0,
                                       .queue_depth = 2 * bed->slots,
                                       .slots = bed->slots,
                                       .external = true,
                                       .overrun = AEGIS_OVERRUN_REPORT,
                                       .early = AEGIS_EARLY_DELAY};
    gpu_check(aegis_model_open(bed->backend, &config, &bed->models[number], &error), &error);
    gpu_check(aegis_context_create(number, config.name, &budget, bed->models[number],
                                   &bed->allocator, &bed->contexts[number], &error),
              &error);
    aegis_status status =
        aegis_scheduler_admit(bed->scheduler, bed->contexts[number], &request, &answer, &error);
    if (status == AEGIS_ERROR_NOT_ADMITTED) {
        fprintf(stderr, "%s\n", answer.reason);
    }
    gpu_check(status, &error);
    return number;
}

static inline void gpu_bed_start(gpu_bed *bed)
{
    aegis_error error;
    gpu_check(aegis_scheduler_start(bed->scheduler, 0, &error), &error);
}

static inline void
gpu_bed_submit(gpu_bed *bed, uint32_t model, aegis_job_callback callback, void *self)
{
    aegis_submission submission = {.callback = callback, .callback_self = self};
    aegis_error error;
    uint64_t job;
    gpu_check(aegis_scheduler_submit(bed->scheduler, model, &submission, &job, &error), &error);
}

static inline void gpu_bed_close(gpu_bed *bed)
{
    bool hangs = aegis_scheduler_hangs(bed->scheduler);
    aegis_scheduler_destroy(bed->scheduler);
    if (hangs) {
        return; /* the rest stays until the process ends */
    }
    for (uint32_t i = 0; i < bed->count; i++) {
        aegis_model_close(bed->models[i]);
        aegis_context_destroy(bed->contexts[i]);
    }
    aegis_backend_destroy(bed->backend);
    aegis_stream_destroy(bed->lane);
    aegis_device_destroy(bed->device);
}

static inline void gpu_sem_wait(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR) {
        /* again */
    }
}

#endif
