/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_AHEAD_BED_H
#define AEGIS_TEST_AHEAD_BED_H

/* A scheduler on a device that has gates and nothing else of a GPU: it keeps the rules of
 * aegis_stream_ahead_*, and says so when the driver does not. What ran is written down lane by lane
 * as "a0 a1+ b0 a2!": model and segment; + began by opening its gate, ! in vain. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/aegis.h>

#include "device/device.h"
#include "support/bare_backend.h"
#include "support/test_allocator.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#define LANES 2
#define MODELS 3
#define MS UINT64_C(1000000)
#define LONG_NS (UINT64_C(1000000) * MS) /* it is never too late to put something behind a gate */

typedef struct pieces {
    bare_model bare; /* first */
    char name;
    sem_t held, go;
    int hold, fail, cannot; /* segments at which it waits, fails late, cannot be put ahead; -1 */
    int lasts;              /* the segment that runs on when its call has returned; -1 */
    uint64_t best_ns;
    struct gate *at; /* of its lane */
    bool odd;        /* its number of commits */
} pieces;

typedef struct gate {
    void *stream;
    bool failed;
    _Atomic bool going, stands, is_open;
    _Atomic bool runs, lasts, asked, deaf;   /* lasts: goes on; deaf: what is asked is not seen */
    aegis_stream_function finish, meanwhile; /* of the notification that waits; while it does */
    void *finish_argument, *meanwhile_argument;
    sem_t *waits; /* posted when it does */
    const pieces *model;
    uint32_t segment, slot;
    bool odd;
    char log[256];
    _Atomic int begun;
} gate;

typedef struct bed {
    aegis_allocator allocator;
    test_allocator counting; /* behind it */
    aegis_device *host, *device;
    aegis_device_ops device_ops;
    aegis_backend_ops backend_ops;
    aegis_backend *backend;
    aegis_stream *lanes[LANES];
    aegis_scheduler *scheduler;
    pieces pieces[MODELS];
    aegis_model *models[MODELS];
    aegis_context *contexts[MODELS];
    gate gates[LANES];
    _Atomic int broken; /* rules that the driver broke */
    sem_t ended, answered;
    bool hold_answer;
    uint32_t slots, segments;
    uint64_t period_ns;
    bool no_halves;
    aegis_status late_status; /* of a segment that fails late */
} bed;

static bed the; /* the ops of a device have no way to the test's own */

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR) {
        /* again */
    }
}

static void rule(bool kept)
{
    the.broken += !kept;
}

static gate *gate_of(void *stream)
{
    int i = 0;
    while (i + 1 < LANES && the.gates[i].stream != stream) {
        i++;
    }
    rule(the.gates[i].stream == stream);
    return &the.gates[i];
}

static void write_down(gate *at, char name, uint32_t segment, const char *how)
{
    size_t used = strlen(at->log);
    snprintf(at->log + used, sizeof at->log - used, "%s%c%u%s", used > 0 ? " " : "", name, segment,
             how);
}

/* ---- the device ---- */

static aegis_status ahead_begin(void *stream, aegis_error *err)
{
    gate *at = gate_of(stream);
    at->begun++;
    if (at->stands) {
        rule(false);
        return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_BUSY, "taken");
    }
    at->going = true;
    at->model = NULL;
    return AEGIS_OK;
}

static aegis_status ahead_end(void *stream, aegis_error *err)
{
    (void)err;
    gate *at = gate_of(stream);
    at->going = false;
    at->is_open = false;
    at->stands = true;
    return AEGIS_OK;
}

static void ahead_open(void *stream)
{
    gate *at = gate_of(stream);
    rule(at->stands && (at->model == NULL || !at->runs));
    at->is_open = true;
    at->stands = at->model != NULL;
}

static void ahead_take(void *stream)
{
    gate *at = gate_of(stream);
    rule(at->stands && at->model != NULL);
    at->is_open = true;
    at->stands = false;
}

static void ahead_discard(void *stream)
{
    gate *at = gate_of(stream);
    rule(!at->runs);
    if (at->stands) {
        write_down(at, at->model->name, at->segment, "!");
        at->stands = false;
    }
}

static aegis_status take_failure(void *stream, aegis_error *err)
{
    gate *at = gate_of(stream);
    at->runs = false;
    if (!at->failed) {
        return AEGIS_OK;
    }
    at->failed = false;
    return aegis_error_set(err, AEGIS_HERE("test"), the.late_status, "failed late");
}

/* The end is always near, unless the thread is deaf. */
static void look_around(gate *at, bool *is_near)
{
    if (!at->deaf && (atomic_exchange(&at->asked, false) || *is_near) && at->meanwhile != NULL) {
        *is_near = false;
        at->meanwhile(at->meanwhile_argument);
    }
}

/* A notification waits as long as what runs on the device goes on. */
static void wait_and_finish(void *argument)
{
    gate *at = argument;
    bool is_near = true;
    look_around(at, &is_near);
    if (at->waits != NULL) {
        sem_post(at->waits);
        at->waits = NULL;
    }
    while (at->lasts) {
        look_around(at, &is_near);
        sched_yield();
    }
    at->finish(at->finish_argument);
}

static aegis_status
notify(void *stream, aegis_stream_function function, void *argument, aegis_error *err)
{
    gate *at = gate_of(stream);
    at->finish = function;
    at->finish_argument = argument;
    return aegis_device_get_ops(the.host)->stream_call(stream, wait_and_finish, at, err);
}

static void set_meanwhile(void *stream, aegis_stream_function function, void *argument)
{
    gate *at = gate_of(stream);
    rule(!at->runs);
    at->meanwhile = function;
    at->meanwhile_argument = argument;
}

static void ask_meanwhile(void *stream)
{
    gate_of(stream)->asked = true;
}

static void keep_host(void *self)
{
    (void)self; /* the host device's, which goes on its own */
}

/* ---- the models ---- */

static void run_piece(pieces *self, uint32_t segment, gate *at, const char *how)
{
    rule(!at->runs && !at->going);
    at->runs = true;
    write_down(at, self->name, segment, how);
    if ((int)segment == self->hold) {
        self->hold = -1;
        sem_post(&self->held);
        wait_for(&self->go);
    }
    if ((int)segment == self->lasts) {
        self->lasts = -1;
        at->lasts = true;
        at->waits = &self->held;
    }
    at->failed = (int)segment == self->fail;
    self->fail = at->failed ? -1 : self->fail;
}

static aegis_status
pieces_open(void *backend, const aegis_model_config *config, void **ret_model, aegis_error *err)
{
    (void)backend;
    (void)err;
    *ret_model = &the.pieces[config->name[0] - 'a'];
    return AEGIS_OK;
}

static void pieces_commit(void *self)
{
    pieces *model = self;
    model->odd = !model->odd;
}

static void nothing(void *self)
{
    (void)self;
}

static aegis_status
pieces_execute(void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    (void)slot;
    (void)err;
    run_piece(self, segment, gate_of(aegis_stream_self(stream)), "");
    return AEGIS_OK;
}

static aegis_status pieces_enqueue_ahead(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err)
{
    const pieces *model = self;
    gate *at = gate_of(aegis_stream_self(stream));
    rule(at->going);
    if ((int)segment == model->cannot) {
        return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_UNSUPPORTED, "not this one");
    }
    at->model = model;
    at->segment = segment;
    at->slot = slot;
    at->odd = model->odd;
    return AEGIS_OK;
}

static bool pieces_have_halves(void *self)
{
    (void)self;
    return !the.no_halves;
}

static aegis_status pieces_take_ahead(void *self, uint32_t segment, uint32_t slot, aegis_error *err)
{
    (void)err;
    pieces *model = self;
    gate *at = model->at;
    rule(at->model == model && at->is_open && at->segment == segment && at->slot == slot);
    rule(the.no_halves || at->odd == model->odd);
    run_piece(model, segment, at, "+");
    return AEGIS_OK;
}

/* ---- the bed ---- */

static inline void check(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        print_error("%s\n", err->message);
    }
    assert_int_equal(status, AEGIS_OK);
}

static inline void open_device(bool with_gates)
{
    aegis_error err;
    aegis_device_config config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    check(aegis_device_create(&config, &the.allocator, &the.host, &err), &err);
    the.device_ops = *aegis_device_get_ops(the.host);
    the.device_ops.destroy = keep_host;
    the.device_ops.stream_take_failure = take_failure;
    if (with_gates) {
        the.device_ops.stream_notify = notify;
        the.device_ops.set_meanwhile = set_meanwhile;
        the.device_ops.ask_meanwhile = ask_meanwhile;
        the.device_ops.ahead_begin = ahead_begin;
        the.device_ops.ahead_end = ahead_end;
        the.device_ops.ahead_open = ahead_open;
        the.device_ops.ahead_take = ahead_take;
        the.device_ops.ahead_discard = ahead_discard;
    }
    check(aegis_device_wrap(&the.device_ops, the.host->self, &the.allocator, &the.device, &err),
          &err);
    for (int i = 0; i < LANES; i++) {
        aegis_stream_config lane = aegis_stream_config_default("lane");
        check(aegis_stream_create(the.device, &lane, &the.lanes[i], &err), &err);
        the.gates[i].stream = aegis_stream_self(the.lanes[i]);
    }
}

static inline aegis_scheduler_config config_of(uint16_t lanes)
{
    aegis_error err;
    aegis_scheduler_config config = {.lanes = the.lanes,
                                     .lane_count = lanes,
                                     .clock = aegis_clock_monotonic(),
                                     .cpu = -1,
                                     .wake_bound_ns = MS,
                                     .overhead_bound_ns = MS};
    check(aegis_policy_find("np-fp", &config.policy, &err), &err);
    return config;
}

static inline void open_bed(bool with_gates, uint16_t lanes)
{
    aegis_error err;
    memset(&the, 0, sizeof the);
    the.allocator = test_allocator_make(&the.counting);
    the.slots = 1;
    the.segments = 3;
    the.period_ns = 100 * MS;
    the.late_status = AEGIS_ERROR_INFERENCE;
    sem_init(&the.ended, 0, 0);
    sem_init(&the.answered, 0, 0);
    open_device(with_gates);
    bare_backend_fill(&the.backend_ops);
    the.backend_ops.name = "pieces";
    the.backend_ops.destroy = nothing;
    the.backend_ops.open = pieces_open;
    the.backend_ops.close = nothing;
    the.backend_ops.commit = pieces_commit;
    the.backend_ops.execute = pieces_execute;
    the.backend_ops.enqueue_ahead = pieces_enqueue_ahead;
    the.backend_ops.take_ahead = pieces_take_ahead;
    the.backend_ops.ahead_has_halves = pieces_have_halves;
    check(aegis_backend_wrap(&the.backend_ops, &the, &the.allocator, &the.backend, &err), &err);
    const aegis_scheduler_config config = config_of(lanes);
    check(aegis_scheduler_create(&config, &the.allocator, &the.scheduler, &err), &err);
    for (int i = 0; i < MODELS; i++) {
        pieces *one = &the.pieces[i];
        *one = (pieces){.name = (char)('a' + i), .hold = -1, .fail = -1, .cannot = -1, .lasts = -1};
        one->best_ns = LONG_NS;
        sem_init(&one->held, 0, 0);
        sem_init(&one->go, 0, 0);
    }
}

static inline void open_model(int i)
{
    const char name[2] = {(char)('a' + i), '\0'};
    aegis_error err;
    aegis_model_config config = {.name = name, .path = "-", .slots = the.slots};
    the.pieces[i].bare.segments = the.segments;
    bare_model_init(&the.pieces[i].bare);
    aegis_resource_budget budget = {.stream_limit = 1};
    check(aegis_model_open(the.backend, &config, &the.models[i], &err), &err);
    check(aegis_context_create((uint32_t)i, name, &budget, the.models[i], &the.allocator,
                               &the.contexts[i], &err),
          &err);
}

static inline aegis_profile profile_of(int i)
{
    aegis_profile profile = {
        .margin = 1, .segment_count = the.segments, .loaded.best_ns = the.pieces[i].best_ns};
    for (uint32_t s = 0; s < profile.segment_count; s++) {
        profile.segments[s].series.best_ns = the.pieces[i].best_ns;
        profile.segments[s].bound_ns = profile.segments[s].stretch_ns = 2 * MS;
        profile.bound_ns += 2 * MS;
    }
    profile.stretch_ns = profile.bound_ns;
    return profile;
}

/* The higher the number, the more urgent. */
static inline aegis_admission_request request_of(int i, int lane, const aegis_profile *profile)
{
    return (aegis_admission_request){.profile = profile,
                                     .period_ns = the.period_ns,
                                     .deadline_ns = 100 * MS,
                                     .priority = -i,
                                     .lane = lane,
                                     .queue_depth = 8,
                                     .slots = the.slots,
                                     .external = true,
                                     .overrun = AEGIS_OVERRUN_REPORT,
                                     .early = AEGIS_EARLY_DELAY};
}

static inline void admit(int i, int lane)
{
    aegis_error err;
    const aegis_profile profile = profile_of(i);
    const aegis_admission_request request = request_of(i, lane, &profile);
    aegis_admission_answer answer = {0};
    the.pieces[i].at = &the.gates[lane];
    open_model(i);
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
    bool hold = at->hold_answer && result->end == AEGIS_JOB_ABORTED;
    sem_post(&at->ended);
    if (hold) {
        wait_for(&at->answered);
    }
}

static inline void submit(int i)
{
    aegis_submission submission = {.callback = note_end, .callback_self = &the};
    aegis_error err;
    uint64_t job;
    aegis_status status;
    /* The slot of a job is given back some time after its answer. */
    while ((status = aegis_scheduler_submit(the.scheduler, (uint32_t)i, &submission, &job, &err)) ==
           AEGIS_ERROR_QUEUE_FULL) {
        sched_yield();
    }
    check(status, &err);
}

static inline void run_job(int i)
{
    submit(i);
    wait_for(&the.ended);
}

static inline aegis_core_counters counters_of(int i)
{
    aegis_model_metrics metrics;
    aegis_error err;
    check(aegis_scheduler_model_metrics(the.scheduler, (uint32_t)i, &metrics, &err), &err);
    return metrics.counters;
}

static inline uint64_t opened(void)
{
    aegis_scheduler_metrics metrics;
    aegis_error err;
    check(aegis_scheduler_get_metrics(the.scheduler, &metrics, &err), &err);
    return metrics.opened;
}

/* The driver has seen so many jobs of the model, and done what it does about them. */
static inline void see_jobs(int i, uint64_t jobs)
{
    aegis_error err;
    while (counters_of(i).jobs < jobs) {
        sched_yield();
    }
    check(aegis_scheduler_clear_fault(the.scheduler, (uint32_t)i, &err), &err);
}

/* So much was put behind the gate of the first lane. */
static inline void see_put(int begun)
{
    while (the.gates[0].begun < begun || the.gates[0].going) {
        sched_yield();
    }
}

static inline uint64_t now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

static inline void *stop_it(void *argument)
{
    (void)argument;
    aegis_scheduler_stop(the.scheduler, NULL);
    return NULL;
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
        assert_false(the.gates[i].stands); /* its memory is gone */
        aegis_stream_destroy(the.lanes[i]);
    }
    aegis_device_destroy(the.device);
    aegis_device_destroy(the.host);
    assert_int_equal(the.broken, 0);
    assert_int_equal(the.counting.blocks, 0);
    assert_int_equal(the.counting.wrong_sizes, 0);
}

#endif
