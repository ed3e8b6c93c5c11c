/* SPDX-License-Identifier: Apache-2.0 */
/* The statuses that scheduler.h documents, each provoked, and what they leave behind. */
#include "ahead_bed.h"
#include "support/child_process.h"
#include "support/expect.h"

#define NO_MODEL 7
#define NO_CPU (1 << 14)
#define FAR (UINT64_C(1) << 61)

/* ---- making one ---- */

static void refuse_config(aegis_scheduler_config config, aegis_status wanted, const char *part)
{
    aegis_scheduler *scheduler = NULL;
    aegis_error err = {0};
    const int64_t before = the.counting.blocks;
    expect(aegis_scheduler_create(&config, &the.allocator, &scheduler, &err), wanted, &err, part);
    assert_null(scheduler);
    assert_int_equal(the.counting.blocks, before);
}

static void configurations_that_cannot_be(void **state)
{
    (void)state;
    open_bed(false, 1);
    aegis_scheduler_config config = config_of(0);
    refuse_config(config, AEGIS_ERROR_INVALID_ARGUMENT, "1 to 64 lanes");
    config = config_of(1);
    config.max_models = AEGIS_TRACE_NONE;
    refuse_config(config, AEGIS_ERROR_INVALID_ARGUMENT, "max_models is 65535");
    config = config_of(1);
    config.cpu = NO_CPU;
    refuse_config(config, AEGIS_ERROR_PERMISSION, "16384");
    close_bed();
}

/* Its thread spins beside lanes that fill the machine. */
static void polling_wants_a_core(void **state)
{
    (void)state;
    aegis_error err;
    open_bed(false, 1);
    aegis_stream_config wide = aegis_stream_config_default("wide");
    aegis_stream *lane = NULL;
    wide.width = aegis_device_get_capabilities(the.device)->multiprocessor_count;
    check(aegis_stream_create(the.device, &wide, &lane, &err), &err);
    aegis_scheduler_config config = config_of(1);
    config.lanes = &lane;
    config.wait = AEGIS_WAIT_POLL;
    refuse_config(config, AEGIS_ERROR_CONFIG, "use wait = \"sleep\"");
    aegis_stream_destroy(lane);
    close_bed();
}

static void a_collector_has_one_scheduler(void **state)
{
    (void)state;
    aegis_error err;
    aegis_trace_collector *collector = NULL;
    aegis_scheduler *first = NULL;
    const aegis_trace_config records = {.ring_records = 64};
    open_bed(false, 1);
    aegis_scheduler_config config = config_of(1);
    check(aegis_trace_collector_create(&records, &config.clock, &the.allocator, &collector, &err),
          &err);
    config.collector = collector;
    check(aegis_scheduler_create(&config, &the.allocator, &first, &err), &err);
    refuse_config(config, AEGIS_ERROR_EXISTS, "orchestrator");
    aegis_scheduler_destroy(first);
    check(aegis_trace_collector_finish(collector, &err), &err);
    refuse_config(config, AEGIS_ERROR_STATE, "finished");
    aegis_trace_collector_destroy(collector);
    close_bed();
}

static void a_scheduler_needs_memory(void **state)
{
    (void)state;
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    open_bed(false, 1);
    const aegis_scheduler_config config = config_of(1);
    const int64_t before = the.counting.blocks;
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        aegis_scheduler *scheduler = NULL;
        aegis_error err = {0};
        the.counting.calls = 0;
        the.counting.fail_at = nth;
        status = aegis_scheduler_create(&config, &the.allocator, &scheduler, &err);
        if (status != AEGIS_OK) {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, "memory");
            assert_null(scheduler);
        }
        assert_true((status == AEGIS_OK) == (the.counting.calls < nth));
        assert_true(nth > 10 || status != AEGIS_OK);
        the.counting.fail_at = 0;
        aegis_scheduler_destroy(scheduler);
        assert_int_equal(the.counting.blocks, before);
    }
    close_bed();
}

/* ---- admission ---- */

/* What analyse, advice and admit say of one request alike; nothing has changed then. */
static void refuse_request(aegis_admission_request request, aegis_status wanted, const char *part)
{
    aegis_admission_answer answer = {.bound_ns = 77};
    aegis_cut_advice advice[65];
    size_t count = 77;
    aegis_error err = {0};
    expect(aegis_scheduler_analyse(the.scheduler, "x", &request, &answer, &err), wanted, &err,
           part);
    expect(aegis_scheduler_cut_advice(the.scheduler, "x", 1, &request, 0, advice, &count, &err),
           wanted, &err, part);
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err), wanted,
           &err, part);
    assert_int_equal(answer.bound_ns, 77);
    assert_int_equal(count, 77);
    expect(aegis_scheduler_answer(the.scheduler, 1, &answer, &err), AEGIS_ERROR_NOT_FOUND, &err,
           "model 1 is not admitted");
}

static void requests_that_contradict_themselves(void **state)
{
    (void)state;
    open_bed(false, 1);
    open_model(1);
    aegis_profile profile = profile_of(1);
    const aegis_admission_request good = request_of(1, 0, &profile);
    aegis_admission_request request = good;
    request.period_ns = 0;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "a period");
    request = good;
    request.jitter_ns = FAR;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "below 2^61 ns");
    request = good;
    request.lane = 1;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "lanes are 0 to 0");
    request = good;
    request.weight = 0;
    request.background = true;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "weight of at least 1");
    request = good;
    request.share_ppm = 1;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "a share is for background");
    profile.segments[2].bound_ns++;
    refuse_request(good, AEGIS_ERROR_INVALID_ARGUMENT, "must have bounds that sum");
    close_bed();
}

/* Added up they would come out as short as can be. */
static void bounds_past_the_integers_are_no_short_ones(void **state)
{
    (void)state;
    open_bed(false, 1);
    open_model(1);
    aegis_profile profile = {.margin = 1, .bound_ns = UINT64_MAX, .stretch_ns = 1};
    aegis_admission_request request = request_of(1, 0, &profile);
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "below 2^61 ns");
    profile.bound_ns = INT64_MAX;
    profile.stretch_ns = INT64_MAX;
    request.overrun = AEGIS_OVERRUN_ABORT;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "below 2^61 ns");
    profile = profile_of(1);
    profile.segments[0].stretch_ns = UINT64_MAX - 2 * MS;
    refuse_request(request, AEGIS_ERROR_INVALID_ARGUMENT, "below 2^61 ns");
    close_bed();
}

/* It leaves a tick a period, and its jobs can pile up for as long as two periods. */
static void responses_past_the_integers_are_none(void **state)
{
    (void)state;
    open_bed(false, 1);
    open_model(0);
    open_model(1);
    const aegis_profile profile = {.margin = 1, .bound_ns = FAR / 2 - MS};
    const aegis_profile small = profile_of(0);
    aegis_admission_request request = request_of(0, 0, &small);
    aegis_admission_answer answer;
    aegis_error err;
    request.priority = 9;
    request.deadline_ns = request.period_ns = FAR - 1;
    check(aegis_scheduler_admit(the.scheduler, the.contexts[0], &request, &answer, &err), &err);
    request = request_of(1, 0, &profile);
    request.period_ns = FAR / 2 + 1;
    request.deadline_ns = request.jitter_ns = FAR - 1;
    refuse_request(request, AEGIS_ERROR_OVERFLOW, "larger ticks");
    close_bed();
}

static void admission_needs_memory(void **state)
{
    (void)state;
    open_bed(false, 1);
    admit(0, 0);
    open_model(1);
    const aegis_profile profile = profile_of(1);
    const aegis_admission_request request = request_of(1, 0, &profile);
    aegis_cut_advice advice[65];
    for (int call = 0; call < 3; call++) {
        aegis_status status = AEGIS_ERROR_NO_MEMORY;
        for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
            aegis_admission_answer answer;
            size_t count;
            aegis_error err = {0};
            const int64_t before = the.counting.blocks;
            the.counting.calls = 0;
            the.counting.fail_at = nth;
            status = call == 0
                         ? aegis_scheduler_analyse(the.scheduler, "x", &request, &answer, &err)
                     : call == 1 ? aegis_scheduler_cut_advice(the.scheduler, "x", 1, &request, 0,
                                                              advice, &count, &err)
                                 : aegis_scheduler_admit(the.scheduler, the.contexts[1], &request,
                                                         &answer, &err);
            the.counting.fail_at = 0;
            if (status != AEGIS_OK) {
                expect(status, AEGIS_ERROR_NO_MEMORY, &err, "memory");
            }
            assert_true((status == AEGIS_OK) == (the.counting.calls < nth));
            assert_true(nth > 5 || status != AEGIS_OK);
            assert_true(call > 0 || the.counting.blocks >= before);
        }
    }
    start();
    run_job(1);
    close_bed();
}

static void what_is_not_admitted(void **state)
{
    (void)state;
    aegis_admission_answer answer;
    aegis_error err = {0};
    open_bed(false, 1);
    admit(0, 0);
    open_model(1);
    const aegis_profile profile = profile_of(1);
    aegis_admission_request request = request_of(1, 0, &profile);
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[0], &request, &answer, &err),
           AEGIS_ERROR_EXISTS, &err, "model number 0 is taken by a");
    request.period_ns = request.deadline_ns = 2 * MS;
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err),
           AEGIS_ERROR_NOT_ADMITTED, &err, "b is not admitted: ");
    assert_false(answer.admitted);
    assert_int_equal(answer.bound_ns, 6 * MS);
    close_bed();
}

/* The instants before the deadline of another model: more than an advice looks at. */
static void an_advice_has_its_limits(void **state)
{
    (void)state;
    aegis_error err = {0};
    aegis_admission_answer answer;
    aegis_cut_advice advice[65];
    size_t count = 77;
    open_bed(false, 1);
    open_model(0);
    aegis_scheduler_config config = config_of(1);
    aegis_scheduler_destroy(the.scheduler);
    the.scheduler = NULL;
    config.overhead_bound_ns = 1;
    check(aegis_policy_find("np-edf", &config.policy, &err), &err);
    check(aegis_scheduler_create(&config, &the.allocator, &the.scheduler, &err), &err);
    const aegis_profile one = {.margin = 1, .bound_ns = 1};
    aegis_admission_request request = request_of(0, 0, &one);
    request.period_ns = request.deadline_ns = FAR - 1;
    check(aegis_scheduler_admit(the.scheduler, the.contexts[0], &request, &answer, &err), &err);
    request.period_ns = 8;
    request.deadline_ns = 2 * MS;
    expect(aegis_scheduler_cut_advice(the.scheduler, "x", 1, &request, 0, advice, &count, &err),
           AEGIS_ERROR_UNDECIDED, &err, "used up its steps");
    assert_int_equal(count, 77);
    close_bed();
}

/* ---- while it runs ---- */

static bool bare_no(void *self)
{
    (void)self;
    return false;
}

static uint64_t first_awaited(void *self)
{
    (void)self;
    return 1;
}

static bool always_ready(void *self, uint32_t segment)
{
    (void)segment;
    return self != NULL;
}

static void nobody_watches(void *self, aegis_model_wake wake, void *wake_self)
{
    (void)self;
    (void)wake;
    (void)wake_self;
}

static void wait_for_weights(bool wait)
{
    the.backend_ops.awaited_segments = wait ? first_awaited : NULL;
    the.backend_ops.is_ready = wait ? always_ready : NULL;
    the.backend_ops.watch = wait ? nobody_watches : NULL;
}

static void what_cannot_start(void **state)
{
    (void)state;
    aegis_error err = {0};
    open_bed(false, 1);
    admit(0, 0);
    the.backend_ops.is_placed = bare_no;
    expect(aegis_scheduler_start(the.scheduler, 0, &err), AEGIS_ERROR_STATE, &err,
           "a is not placed");
    the.backend_ops.is_placed = bare_yes;
    wait_for_weights(true);
    expect(aegis_scheduler_start(the.scheduler, 0, &err), AEGIS_ERROR_CONFIG, &err,
           "make it a background model");
    wait_for_weights(false);
    expect(aegis_scheduler_stop(the.scheduler, &err), AEGIS_ERROR_STATE, &err, "not running");
    expect(aegis_scheduler_submit(the.scheduler, 0, NULL, NULL, &err), AEGIS_ERROR_STATE, &err,
           "not running");
    start();
    run_job(0);
    expect(aegis_scheduler_start(the.scheduler, 0, &err), AEGIS_ERROR_STATE, &err,
           "started already");
    check(aegis_scheduler_stop(the.scheduler, &err), &err);
    expect(aegis_scheduler_start(the.scheduler, 0, &err), AEGIS_ERROR_STATE, &err,
           "started already");
    close_bed();
}

static void what_cannot_join(void **state)
{
    (void)state;
    aegis_error err = {0};
    aegis_admission_answer answer;
    open_bed(false, 1);
    admit(0, 0);
    open_model(1);
    start();
    const aegis_profile profile = profile_of(1);
    const aegis_admission_change change = {.model = 0, .profile = &profile};
    aegis_admission_request request = request_of(1, 0, &profile);
    request.changes = &change;
    request.change_count = 1;
    answer = (aegis_admission_answer){.bound_ns = 77};
    refuse_request(request, AEGIS_ERROR_STATE, "cannot be cut while the scheduler runs");
    request.change_count = 0;
    the.backend_ops.is_placed = bare_no;
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err),
           AEGIS_ERROR_STATE, &err, "b must be placed");
    the.backend_ops.is_placed = bare_yes;
    wait_for_weights(true);
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err),
           AEGIS_ERROR_CONFIG, &err, "make it a background model");
    wait_for_weights(false);
    check(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err), &err);
    run_job(1);
    run_job(0);
    close_bed();
}

/* While the orchestration thread still takes in those of the start. */
static void one_may_join_as_soon_as_it_runs(void **state)
{
    (void)state;
    for (int round = 0; round < 50; round++) {
        aegis_error err = {0};
        aegis_admission_answer answer;
        open_bed(false, 1);
        admit(0, 0);
        open_model(1);
        the.pieces[1].at = &the.gates[0];
        const aegis_profile profile = profile_of(1);
        const aegis_admission_request request = request_of(1, 0, &profile);
        start();
        check(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err), &err);
        run_job(1);
        close_bed();
    }
}

static void nobody_knows_model_seven(void **state)
{
    (void)state;
    aegis_error err = {0};
    aegis_admission_answer answer;
    aegis_model_metrics metrics;
    open_bed(false, 1);
    admit(0, 0);
    start();
    expect(aegis_scheduler_answer(the.scheduler, NO_MODEL, &answer, &err), AEGIS_ERROR_NOT_FOUND,
           &err, "model 7");
    expect(aegis_scheduler_evict(the.scheduler, NO_MODEL, &err), AEGIS_ERROR_NOT_FOUND, &err,
           "model 7");
    expect(aegis_scheduler_clear_fault(the.scheduler, NO_MODEL, &err), AEGIS_ERROR_NOT_FOUND, &err,
           "model 7");
    expect(aegis_scheduler_model_metrics(the.scheduler, NO_MODEL, &metrics, &err),
           AEGIS_ERROR_NOT_FOUND, &err, "model 7");
    expect(aegis_scheduler_submit(the.scheduler, NO_MODEL, NULL, NULL, &err),
           AEGIS_ERROR_NOT_ADMITTED, &err, "model 7");
    check(aegis_scheduler_answer(the.scheduler, 0, &answer, &err), &err);
    assert_true(answer.admitted);
    assert_int_equal(opened(), 0);
    close_bed();
}

static aegis_status no_such_input(void *self,
                                  uint32_t slot,
                                  const char *name,
                                  void **ret_data,
                                  uint64_t *ret_size,
                                  aegis_error *err)
{
    (void)self;
    (void)slot;
    (void)ret_data;
    (void)ret_size;
    return aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_NOT_FOUND, "no input %s", name);
}

static void refuse_inputs(uint32_t model, size_t size, aegis_status wanted, const char *part)
{
    const char data[8] = {0};
    const aegis_job_input input = {.name = "in", .data = data, .size_bytes = size};
    const aegis_submission submission = {.inputs = &input, .input_count = 1};
    aegis_error err = {0};
    expect(aegis_scheduler_submit(the.scheduler, model, &submission, NULL, &err), wanted, &err,
           part);
}

static void submissions_that_do_not_fit_their_model(void **state)
{
    (void)state;
    aegis_error err = {0};
    aegis_admission_answer answer;
    open_bed(false, 1);
    admit(0, 0);
    open_model(1);
    the.pieces[1].at = &the.gates[0];
    const aegis_profile profile = profile_of(1);
    aegis_admission_request request = request_of(1, 0, &profile);
    request.external = false;
    check(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err), &err);
    start();
    refuse_inputs(0, 8, AEGIS_ERROR_INVALID_ARGUMENT, "input in of a has 4 bytes, 8 were given");
    refuse_inputs(1, 4, AEGIS_ERROR_INVALID_ARGUMENT, "source = \"external\"");
    the.backend_ops.input = no_such_input;
    refuse_inputs(0, 4, AEGIS_ERROR_NOT_FOUND, "no input in");
    the.backend_ops.input = bare_input;
    run_job(0); /* their records were given back */
    run_job(1);
    close_bed();
}

static void as_many_jobs_as_it_may(void **state)
{
    (void)state;
    aegis_error err = {0};
    open_bed(false, 1);
    admit(0, 0);
    the.pieces[0].hold = 0;
    start();
    submit(0);
    wait_for(&the.pieces[0].held);
    aegis_status status = AEGIS_OK;
    int more = 0;
    for (; status == AEGIS_OK && more < 100; more++) {
        const aegis_submission submission = {.callback = note_end, .callback_self = &the};
        status = aegis_scheduler_submit(the.scheduler, 0, &submission, NULL, &err);
    }
    expect(status, AEGIS_ERROR_QUEUE_FULL, &err, "a");
    assert_int_equal(err.category, AEGIS_CATEGORY_TRANSIENT);
    sem_post(&the.pieces[0].go);
    wait_for(&the.ended);
    assert_int_equal(counters_of(0).aborted, 0);
    close_bed();
}

/* ---- failures that end all ---- */

static void a_lost_device_is_kept_and_returned(void **state)
{
    (void)state;
    aegis_error err = {0};
    open_bed(false, 1);
    admit(0, 0);
    the.late_status = AEGIS_ERROR_DEVICE_LOST;
    the.pieces[0].fail = 1;
    start();
    check(aegis_scheduler_check(the.scheduler, &err), &err);
    run_job(0);
    expect(aegis_scheduler_check(the.scheduler, &err), AEGIS_ERROR_DEVICE_LOST, &err, "model 'a'");
    expect(aegis_scheduler_stop(the.scheduler, &err), AEGIS_ERROR_DEVICE_LOST, &err, "model 'a'");
    assert_int_equal(err.category, AEGIS_CATEGORY_FATAL);
    close_bed();
}

/* In a process of its own: the lane never ends, and what it may touch stays. */
static int hang(void)
{
    aegis_error err = {0};
    open_bed(false, 1);
    aegis_scheduler_config config = config_of(1);
    aegis_scheduler_destroy(the.scheduler);
    config.hang_ns = MS;
    check(aegis_scheduler_create(&config, &the.allocator, &the.scheduler, &err), &err);
    admit(0, 0);
    the.pieces[0].hold = 0;
    start();
    submit(0);
    while (!aegis_scheduler_hangs(the.scheduler)) {
        sched_yield();
    }
    if (aegis_scheduler_evict(the.scheduler, 0, &err) != AEGIS_ERROR_DEVICE_LOST ||
        strstr(err.message, "end the process") == NULL) {
        return 1;
    }
    return aegis_scheduler_stop(the.scheduler, &err) == AEGIS_ERROR_DEVICE_LOST ? 0 : 2;
}

static void a_model_on_a_lane_that_hangs_stays(void **state)
{
    (void)state;
    assert_int_equal(in_child(hang), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_on_a_lane_that_hangs_stays),
        cmocka_unit_test(configurations_that_cannot_be),
        cmocka_unit_test(polling_wants_a_core),
        cmocka_unit_test(a_collector_has_one_scheduler),
        cmocka_unit_test(a_scheduler_needs_memory),
        cmocka_unit_test(requests_that_contradict_themselves),
        cmocka_unit_test(bounds_past_the_integers_are_no_short_ones),
        cmocka_unit_test(responses_past_the_integers_are_none),
        cmocka_unit_test(admission_needs_memory),
        cmocka_unit_test(what_is_not_admitted),
        cmocka_unit_test(an_advice_has_its_limits),
        cmocka_unit_test(what_cannot_start),
        cmocka_unit_test(what_cannot_join),
        cmocka_unit_test(one_may_join_as_soon_as_it_runs),
        cmocka_unit_test(nobody_knows_model_seven),
        cmocka_unit_test(submissions_that_do_not_fit_their_model),
        cmocka_unit_test(as_many_jobs_as_it_may),
        cmocka_unit_test(a_lost_device_is_kept_and_returned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
