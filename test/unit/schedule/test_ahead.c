/* SPDX-License-Identifier: Apache-2.0 */
/* Launching ahead: what the driver puts behind gates, opens and lets run in vain (ahead_bed.h). */
#include "ahead_bed.h"

static void a_job_goes_on_through_the_gate(void **state)
{
    (void)state;
    open_bed(true, 1);
    admit(0, 0);
    start();
    run_job(0);
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2+ a0 a1+ a2+");
    assert_int_equal(opened(), 4);
    close_bed();
}

/* While a runs its first segment the urgent b comes: before anything was put behind the gate, or
 * when it passes what stands there and, the gate being taken, is launched itself. */
static void urgent_comes_between(bool with_gates, bool late, const char *expected)
{
    open_bed(with_gates, 1);
    admit(0, 0);
    admit(1, 0);
    if (late) {
        the.pieces[0].lasts = 0;
    } else {
        the.pieces[0].hold = 0;
    }
    start();
    submit(0);
    wait_for(&the.pieces[0].held);
    submit(1);
    see_jobs(1, 1);
    the.gates[0].lasts = false;
    sem_post(&the.pieces[0].go);
    wait_for(&the.ended);
    wait_for(&the.ended);
    assert_string_equal(the.gates[0].log, expected);
    close_bed();
}

static void another_decision_goes_past_the_gate(void **state)
{
    (void)state;
    urgent_comes_between(true, true, "a0 b0 b1 b2 a1+ a2+");
    urgent_comes_between(true, false, "a0 b0+ b1+ b2+ a1+ a2+");
    urgent_comes_between(false, false, "a0 b0 b1 b2 a1 a2");
}

/* The second segment fails when the third stands behind the gate already. */
static void fail_in_between(void)
{
    aegis_error err;
    open_bed(true, 1);
    admit(0, 0);
    admit(1, 0);
    the.pieces[0].fail = 1;
    start();
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1+");
    check(aegis_scheduler_clear_fault(the.scheduler, 0, &err), &err);
}

static void what_a_faulted_job_left_serves_the_next(void **state)
{
    (void)state;
    fail_in_between();
    run_job(1);
    run_job(0);
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1+ b0 b1 b2 a0 a1 a2+ a0 a1+ a2+");
    close_bed();
}

/* It is there for slot 0 and the even half of the state. The next job has slot 1; which ones those
 * after it have is not known, but that what they take is theirs is a rule of `pieces_take_ahead`.
 */
static void what_stands_there_is_taken_by_its_like_alone(void **state)
{
    aegis_error err;
    (void)state;
    open_bed(true, 1);
    the.slots = 2;
    admit(0, 0);
    the.pieces[0].fail = 1;
    the.hold_answer = true;
    start();
    run_job(0); /* its slot is not given back yet */
    check(aegis_scheduler_clear_fault(the.scheduler, 0, &err), &err);
    submit(0); /* its answer waits behind the one that is held */
    while (counters_of(0).completed + counters_of(0).missed == 0) {
        sched_yield();
    }
    assert_int_equal(opened(), 1);
    sem_post(&the.answered);
    wait_for(&the.ended);
    for (int i = 0; i < 4; i++) {
        run_job(0);
    }
    assert_memory_equal(the.gates[0].log, "a0 a1+ a0 a1 a2 a0 a1 a2", 24);
    close_bed();
}

static void a_model_that_goes_leaves_nothing_behind(void **state)
{
    aegis_error err;
    (void)state;
    fail_in_between();
    check(aegis_scheduler_evict(the.scheduler, 0, &err), &err);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2!");
    run_job(1);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2! b0 b1+ b2+");
    close_bed();
}

/* Closing b may wait for the whole device, and a job of a might never come. */
static void a_model_that_goes_waits_for_nothing_of_others(void **state)
{
    aegis_error err;
    (void)state;
    fail_in_between();
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2!");
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2! a0 a1+ a2+");
    close_bed();
}

static void *evict_it(void *argument)
{
    aegis_error err;
    (void)argument;
    check(aegis_scheduler_evict(the.scheduler, 0, &err), &err);
    return NULL;
}

/* b runs on the lane when a goes: what a left runs after that segment, not beside it. */
static void a_model_goes_while_another_runs(void **state)
{
    pthread_t thread;
    (void)state;
    fail_in_between();
    the.pieces[1].hold = 0;
    submit(1);
    wait_for(&the.pieces[1].held);
    pthread_create(&thread, NULL, evict_it, NULL);
    sem_post(&the.pieces[1].go);
    wait_for(&the.ended);
    pthread_join(thread, NULL);
    assert_non_null(strstr(the.gates[0].log, "a2!"));
    close_bed();
}

static void stop_leaves_nothing_behind(void **state)
{
    aegis_error err;
    (void)state;
    fail_in_between();
    check(aegis_scheduler_stop(the.scheduler, &err), &err);
    assert_string_equal(the.gates[0].log, "a0 a1+ a2!");
    close_bed();
}

/* Whenever the stop comes: the job goes on through the gate or ends, and what stands there goes. */
static void stop_in_the_middle_of_a_job(void **state)
{
    pthread_t thread;
    (void)state;
    open_bed(true, 1);
    admit(0, 0);
    the.pieces[0].hold = 0;
    start();
    submit(0);
    wait_for(&the.pieces[0].held);
    pthread_create(&thread, NULL, stop_it, NULL);
    sem_post(&the.pieces[0].go);
    pthread_join(thread, NULL);
    assert_false(the.gates[0].stands);
    close_bed();
}

static void what_cannot_be_put_ahead_is_asked_once(void **state)
{
    (void)state;
    open_bed(true, 1);
    admit(0, 0);
    the.pieces[0].cannot = 1;
    start();
    run_job(0);
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1 a2 a0 a1 a2");
    assert_int_equal(the.gates[0].begun, 1);
    assert_int_equal(opened(), 0);
    close_bed();
}

/* Enqueueing what follows would take as long as they do. */
static void short_segments_are_left_alone(void **state)
{
    (void)state;
    open_bed(true, 1);
    the.pieces[0].best_ns = 10000;
    admit(0, 0);
    start();
    run_job(0);
    assert_string_equal(the.gates[0].log, "a0 a1 a2");
    assert_int_equal(the.gates[0].begun, 0);
    close_bed();
}

static void lanes_have_gates_of_their_own(void **state)
{
    (void)state;
    open_bed(true, 2);
    admit(0, 0);
    admit(1, 1);
    start();
    for (int i = 0; i < 3; i++) {
        submit(0);
        submit(1);
    }
    for (int i = 0; i < 6; i++) {
        wait_for(&the.ended);
    }
    assert_string_equal(the.gates[0].log, "a0 a1+ a2+ a0 a1+ a2+ a0 a1+ a2+");
    assert_string_equal(the.gates[1].log, "b0 b1+ b2+ b0 b1+ b2+ b0 b1+ b2+");
    assert_int_equal(opened(), 12);
    close_bed();
}

static void put_two(void *argument)
{
    aegis_stream *stream = argument;
    aegis_error err;
    check(aegis_stream_ahead_begin(stream, &err), &err);
    check(aegis_stream_ahead_end(stream, &err), &err);
    assert_int_equal(aegis_stream_ahead_begin(stream, &err), AEGIS_ERROR_BUSY);
    aegis_stream_ahead_open(stream);
}

/* What every device with gates refuses, here of the bed's. */
static void one_piece_of_work_from_the_lanes_own_thread(void **state)
{
    aegis_error err;
    (void)state;
    open_bed(true, 1);
    assert_int_equal(aegis_stream_ahead_begin(the.lanes[0], &err), AEGIS_ERROR_STATE);
    check(aegis_stream_call(the.lanes[0], put_two, the.lanes[0], &err), &err);
    check(aegis_stream_synchronize(the.lanes[0], &err), &err);
    assert_int_equal(the.gates[0].begun, 2);
    assert_int_equal(the.broken, 1); /* the second */
    the.broken = 0;
    close_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_goes_on_through_the_gate),
        cmocka_unit_test(another_decision_goes_past_the_gate),
        cmocka_unit_test(what_a_faulted_job_left_serves_the_next),
        cmocka_unit_test(what_stands_there_is_taken_by_its_like_alone),
        cmocka_unit_test(a_model_that_goes_leaves_nothing_behind),
        cmocka_unit_test(a_model_that_goes_waits_for_nothing_of_others),
        cmocka_unit_test(a_model_goes_while_another_runs),
        cmocka_unit_test(stop_leaves_nothing_behind),
        cmocka_unit_test(stop_in_the_middle_of_a_job),
        cmocka_unit_test(what_cannot_be_put_ahead_is_asked_once),
        cmocka_unit_test(short_segments_are_left_alone),
        cmocka_unit_test(lanes_have_gates_of_their_own),
        cmocka_unit_test(one_piece_of_work_from_the_lanes_own_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
