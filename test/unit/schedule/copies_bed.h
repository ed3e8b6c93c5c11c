/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_COPIES_BED_H
#define AEGIS_TEST_COPIES_BED_H

/* A scheduler with two lanes and a copy stream on the host, and models a, b, c whose runs and
 * copies wait when they are told to. What began is written down in its order: "b" a run of b, "+a"
 * a copy of a's inputs. A run that reads other inputs than those of its job breaks a rule. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/aegis.h>

#include "support/bare_backend.h"
#include "support/expect.h"
#include "support/test_allocator.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#define MODELS 3
#define LANES 2
#define MS UINT64_C(1000000)

typedef struct held {
    _Atomic bool wanted;
    sem_t there, go;
} held;

typedef struct moved_model {
    bare_model bare; /* first */
    char name;
    held run, copy;
    _Atomic aegis_status fails; /* of the next copy */
    uint32_t copied;            /* what the runs read */
    uint32_t ran;               /* what the last one read */
} moved_model;

typedef struct bed {
    aegis_allocator allocator;
    test_allocator counting; /* behind it */
    aegis_device *device;
    aegis_stream *lanes[LANES], *copies;
    aegis_backend_ops ops;
    aegis_backend *backend;
    aegis_scheduler *scheduler;
    moved_model moved[MODELS];
    aegis_model *models[MODELS];
    aegis_context *contexts[MODELS];
    pthread_mutex_t writing;
    char log[256];
    sem_t ended;
    aegis_job_result last; /* before `ended` */
} bed;

static bed the;

static inline void check(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        print_error("%s\n", err->message);
    }
    assert_int_equal(status, AEGIS_OK);
}

static inline void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR) {
        /* again */
    }
}

static inline void write_down(const char *what, char name)
{
    pthread_mutex_lock(&the.writing);
    size_t used = strlen(the.log);
    snprintf(the.log + used, sizeof the.log - used, "%s%s%c", used > 0 ? " " : "", what, name);
    pthread_mutex_unlock(&the.writing);
}

static inline void hold_here(held *at)
{
    if (atomic_exchange(&at->wanted, false)) {
        sem_post(&at->there);
        wait_for(&at->go);
    }
}

/* ---- the models ---- */

static aegis_status
moved_open(void *backend, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    (void)backend;
    (void)err;
    *ret_model = &the.moved[config->name[0] - 'a'];
    return AEGIS_OK;
}

static void nothing(void *self)
{
    (void)self;
}

static aegis_status
moved_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    moved_model *model = self;
    (void)segment;
    (void)slot;
    (void)stream;
    (void)err;
    write_down("", model->name);
    hold_here(&model->run);
    model->ran = model->copied;
    return AEGIS_OK;
}

static aegis_status
moved_enqueue_inputs(void *self, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    moved_model *model = self;
    (void)slot;
    write_down("+", model->name);
    hold_here(&model->copy);
    aegis_status status = atomic_exchange(&model->fails, AEGIS_OK);
    if (status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("test"), status, "the link is down");
    }
    return aegis_stream_enqueue_copy(stream, &model->copied, &model->bare.input,
                                     sizeof model->copied, err);
}

/* ---- the bed ---- */

static inline aegis_scheduler_config config_of(const char *policy)
{
    aegis_error err;
    aegis_scheduler_config config = {.lanes = the.lanes,
                                     .lane_count = LANES,
                                     .clock = aegis_clock_monotonic(),
                                     .cpu = -1,
                                     .wake_bound_ns = 10 * MS,
                                     .overhead_bound_ns = MS,
                                     .copy_stream = the.copies};
    check(aegis_policy_find(policy, &config.policy, &err), &err);
    return config;
}

static inline void open_scheduler(const aegis_scheduler_config *config)
{
    aegis_error err;
    check(aegis_scheduler_create(config, &the.allocator, &the.scheduler, &err), &err);
}

static inline void open_bed_without_scheduler(void)
{
    aegis_error err;
    memset(&the, 0, sizeof the);
    the.allocator = test_allocator_make(&the.counting);
    pthread_mutex_init(&the.writing, NULL);
    sem_init(&the.ended, 0, 0);
    const aegis_device_config device = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    check(aegis_device_create(&device, &the.allocator, &the.device, &err), &err);
    aegis_stream_config stream = aegis_stream_config_default("copies");
    check(aegis_stream_create(the.device, &stream, &the.copies, &err), &err);
    for (int i = 0; i < LANES; i++) {
        check(aegis_stream_create(the.device, &stream, &the.lanes[i], &err), &err);
    }
    bare_backend_fill(&the.ops);
    the.ops.name = "moved";
    the.ops.destroy = nothing;
    the.ops.open = moved_open;
    the.ops.close = nothing;
    the.ops.execute = moved_execute;
    the.ops.enqueue_inputs = moved_enqueue_inputs;
    check(aegis_backend_wrap(&the.ops, &the, &the.allocator, &the.backend, &err), &err);
    for (int i = 0; i < MODELS; i++) {
        moved_model *one = &the.moved[i];
        one->name = (char)('a' + i);
        one->bare.segments = 1;
        bare_model_init(&one->bare);
        sem_init(&one->run.there, 0, 0);
        sem_init(&one->run.go, 0, 0);
        sem_init(&one->copy.there, 0, 0);
        sem_init(&one->copy.go, 0, 0);
    }
}

static inline void open_bed(void)
{
    open_bed_without_scheduler();
    const aegis_scheduler_config config = config_of("np-fp");
    open_scheduler(&config);
}

static inline void open_model(int i, bool early)
{
    const char name[2] = {(char)('a' + i), '\0'};
    aegis_error err;
    aegis_model_config config = {.name = name, .path = "-", .early_copies = early};
    aegis_resource_budget budget = {.stream_limit = 1};
    check(aegis_model_open(the.backend, &config, &the.models[i], &err), &err);
    check(aegis_context_create((uint32_t)i, name, &budget, the.models[i], &the.allocator,
                               &the.contexts[i], &err),
          &err);
}

static inline aegis_profile profile_of(uint64_t copy_ns)
{
    return (aegis_profile){
        .margin = 1, .bound_ns = 2 * MS, .stretch_ns = 2 * MS, .copy_bound_ns = copy_ns};
}

/* The model with the larger number is the more urgent one. */
static inline aegis_admission_request
request_of(int i, int lane, bool early, const aegis_profile *profile)
{
    return (aegis_admission_request){.profile = profile,
                                     .period_ns = 200 * MS,
                                     .deadline_ns = 200 * MS,
                                     .priority = -i,
                                     .lane = lane,
                                     .queue_depth = 8,
                                     .external = true,
                                     .overrun = AEGIS_OVERRUN_REPORT,
                                     .early = AEGIS_EARLY_DELAY,
                                     .early_copies = early};
}

static inline void admit(int i, int lane, bool early)
{
    aegis_error err;
    const aegis_profile profile = profile_of(early ? 3 * MS : 0);
    const aegis_admission_request request = request_of(i, lane, early, &profile);
    aegis_admission_answer answer = {0};
    open_model(i, early);
    check(aegis_scheduler_admit(the.scheduler, the.contexts[i], &request, &answer, &err), &err);
}

static inline void start(void)
{
    aegis_error err;
    check(aegis_scheduler_start(the.scheduler, 0, &err), &err);
}

static inline void note_end(void *self, const aegis_job_result *result)
{
    bed *at = self;
    at->last = *result;
    sem_post(&at->ended);
}

static inline void submit(int i, uint32_t input)
{
    const aegis_job_input inputs = {.name = "in", .data = &input, .size_bytes = sizeof input};
    const aegis_submission submission = {
        .inputs = &inputs, .input_count = 1, .callback = note_end, .callback_self = &the};
    aegis_error err;
    aegis_status status;
    /* The slot of a job is given back some time after its answer. */
    while ((status = aegis_scheduler_submit(the.scheduler, (uint32_t)i, &submission, NULL, &err)) ==
           AEGIS_ERROR_QUEUE_FULL) {
        sched_yield();
    }
    check(status, &err);
}

static inline aegis_core_counters counters_of(int i)
{
    aegis_model_metrics metrics;
    aegis_error err;
    check(aegis_scheduler_model_metrics(the.scheduler, (uint32_t)i, &metrics, &err), &err);
    return metrics.counters;
}

static inline aegis_admission_answer answer_of(int i)
{
    aegis_admission_answer answer;
    aegis_error err;
    check(aegis_scheduler_answer(the.scheduler, (uint32_t)i, &answer, &err), &err);
    return answer;
}

static inline void close_bed(void)
{
    aegis_scheduler_destroy(the.scheduler);
    for (int i = 0; i < MODELS; i++) {
        aegis_model_close(the.models[i]);
        aegis_context_destroy(the.contexts[i]);
    }
    aegis_backend_destroy(the.backend);
    for (int i = 0; i < LANES; i++) {
        aegis_stream_destroy(the.lanes[i]);
    }
    aegis_stream_destroy(the.copies);
    aegis_device_destroy(the.device);
    assert_int_equal(the.counting.blocks, 0);
    assert_int_equal(the.counting.wrong_sizes, 0);
}

#endif
