/* SPDX-License-Identifier: Apache-2.0 */
/* Launching ahead from job to job, of one and of several models: what the core foresees is put
 * behind the gate at the dispatch or when an event brings it, and stands there until it is chosen,
 * whatever comes between (ahead_bed.h). */
#include "ahead_bed.h"

static void open_whole_models(void)
{
    open_bed(true, 1);
    the.segments = 1;
    the.slots = 2;
}

static void submit_and_see(int i, uint64_t jobs)
{
    submit(i);
    see_jobs(i, jobs);
}

static void start_whole_models(int count)
{
    open_whole_models();
    for (int i = 0; i < count; i++) {
        admit(i, 0);
    }
    start();
}

static void go_on(void)
{
    the.gates[0].lasts = false;
}

/* A job of model i runs and goes on. */
static void begin_lasting(int i)
{
    the.pieces[i].lasts = 0;
    submit(i);
    wait_for(&the.pieces[i].held);
}

static void wait_for_ends(int count)
{
    for (int i = 0; i < count; i++) {
        wait_for(&the.ended);
    }
}

static void pass_time(uint64_t ns)
{
    const uint64_t until = now_ns() + ns;
    while (now_ns() < until) {
        sched_yield();
    }
}

/* a runs when b and c come: c is put there at once, b when c is dispatched. */
static void jobs_of_other_models_follow_through_the_gate(void **state)
{
    (void)state;
    start_whole_models(3);
    the.gates[0].deaf = true;
    begin_lasting(0);
    submit_and_see(1, 1);
    submit_and_see(2, 1); /* instead of b, which was wanted */
    the.gates[0].deaf = false;
    see_put(1);
    go_on();
    wait_for_ends(3);
    assert_string_equal(the.gates[0].log, "a0 c0+ b0+");
    assert_int_equal(opened(), 2);
    assert_int_equal(the.gates[0].begun, 2);
    close_bed();
}

static void jobs_of_one_model(bool no_halves, const char *expected)
{
    open_whole_models();
    the.no_halves = no_halves;
    the.period_ns = 10 * MS;
    admit(0, 0);
    start();
    begin_lasting(0);
    submit(0); /* held back until its period has passed */
    pass_time(11 * MS);
    see_put(no_halves ? 1 : 0);
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, expected);
    assert_int_equal(the.gates[0].begun, no_halves ? 1 : 0);
    close_bed();
}

/* Of one with state the half that the next job begins from is not known yet. */
static void the_next_job_of_a_model_without_state(void **state)
{
    (void)state;
    jobs_of_one_model(true, "a0 a0+");
    jobs_of_one_model(false, "a0 a0");
}

/* a stands behind the gate when c comes, and b's second job after it; then it is a's turn. */
static void what_is_passed_by_keeps_its_place(void **state)
{
    (void)state;
    open_whole_models();
    the.period_ns = 20 * MS;
    admit(0, 0);
    admit(1, 0);
    admit(2, 0);
    start();
    begin_lasting(1);
    submit_and_see(0, 1);
    see_put(1);
    the.pieces[2].lasts = 0;
    submit_and_see(2, 1);
    go_on();
    wait_for(&the.pieces[2].held);
    submit_and_see(1, 2); /* which finds no room at the gate */
    pass_time(21 * MS);   /* its release is due by then */
    go_on();
    wait_for_ends(4);
    assert_string_equal(the.gates[0].log, "b0 c0 b0 a0+");
    assert_int_equal(the.gates[0].begun, 1);
    close_bed();
}

/* The gate opens for a decision alone: with a's failure its other job ends, and what was put there
 * for that one waits for another. */
static void a_failure_opens_nothing(void **state)
{
    aegis_error err;
    (void)state;
    open_whole_models();
    the.no_halves = true;
    the.period_ns = 10 * MS;
    admit(0, 0);
    admit(1, 0);
    the.pieces[0].fail = 0;
    start();
    begin_lasting(0);
    submit(0);
    see_put(1);
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, "a0");
    assert_true(the.gates[0].stands);
    check(aegis_scheduler_clear_fault(the.scheduler, 0, &err), &err);
    run_job(1);
    assert_string_equal(the.gates[0].log, "a0 b0");
    assert_int_equal(opened(), 0);
    close_bed(); /* it runs in vain */
    assert_string_equal(the.gates[0].log, "a0 b0 a0!");
}

/* Without state one half is like the other: a's job takes what stands there, whichever job of it
 * came between. Launched once more beside it, its graph would wait for it. */
static void halves_of_a_model_without_state_are_one(void **state)
{
    (void)state;
    open_whole_models();
    the.no_halves = true;
    the.slots = 1;
    admit(0, 0);
    admit(1, 0);
    start();
    run_job(0); /* an odd number of commits */
    begin_lasting(1);
    submit_and_see(0, 2);
    see_put(1);
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, "a0 b0 a0+");
    close_bed();
}

static void *evict_b(void *argument)
{
    aegis_error err;
    (void)argument;
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    return NULL;
}

/* b stands behind the gate, as the one that follows a. */
static void a_model_goes_that_was_put_ahead(void **state)
{
    pthread_t thread;
    (void)state;
    start_whole_models(2);
    begin_lasting(0);
    submit_and_see(1, 1);
    see_put(1);
    pthread_create(&thread, NULL, evict_b, NULL);
    wait_for(&the.ended); /* b's job, with its model */
    assert_string_equal(the.gates[0].log, "a0");
    go_on();
    pthread_join(thread, NULL);
    wait_for(&the.ended);
    assert_string_equal(the.gates[0].log, "a0 b0!");
    close_bed();
}

/* What is only wanted is taken back: nobody waits for the end of a. */
static void a_model_goes_that_was_wanted(void **state)
{
    (void)state;
    start_whole_models(2);
    the.gates[0].deaf = true;
    begin_lasting(0);
    submit_and_see(1, 1);
    evict_b(NULL);
    the.gates[0].deaf = false;
    while (the.gates[0].asked) {
        sched_yield();
    }
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, "a0");
    assert_int_equal(the.gates[0].begun, 0);
    close_bed();
}

typedef struct leaving {
    void *(*leave)(void *);
    bool stood; /* something at the gate when it had returned */
} leaving;

static void *leave_and_look(void *argument)
{
    leaving *self = argument;
    self->leave(NULL);
    self->stood = the.gates[0].stands && !the.gates[0].is_open;
    return NULL;
}

/* c stands behind the gate when that begins which may not return before it is taken. */
static void waits_for_what_stands_there(void *(*leave)(void *))
{
    pthread_t thread;
    leaving self = {.leave = leave, .stood = true};
    start_whole_models(3);
    begin_lasting(0);
    submit_and_see(2, 1);
    see_put(1);
    pthread_create(&thread, NULL, leave_and_look, &self);
    pass_time(20 * MS); /* in which it could return */
    go_on();
    pthread_join(thread, NULL);
    wait_for_ends(2);
    assert_false(self.stood);
    assert_string_equal(the.gates[0].log, "a0 c0+");
    close_bed();
}

/* Closing b may wait for the whole device and so for what waits at gates: its removal waits until
 * it is known whether c is taken. */
static void a_model_goes_while_another_is_put_ahead(void **state)
{
    (void)state;
    waits_for_what_stands_there(evict_b);
}

static void *pause_it(void *argument)
{
    aegis_error err;
    (void)argument;
    check(aegis_scheduler_pause_ahead(the.scheduler, &err), &err);
    return NULL;
}

static void a_pause_waits_for_what_stands_there(void **state)
{
    (void)state;
    waits_for_what_stands_there(pause_it);
}

/* From a pause to as many resumptions all jobs are launched, before and while it runs. */
static void paused_it_launches(void **state)
{
    aegis_error err;
    (void)state;
    open_whole_models();
    admit(0, 0);
    admit(1, 0);
    check(aegis_scheduler_pause_ahead(the.scheduler, &err), &err);
    start();
    check(aegis_scheduler_pause_ahead(the.scheduler, &err), &err);
    for (int pauses = 2; pauses >= 0; pauses--) {
        begin_lasting(0);
        submit_and_see(1, 1);
        if (pauses == 0) {
            see_put(1);
        }
        go_on();
        wait_for_ends(2);
        assert_int_equal(the.gates[0].begun, pauses == 0);
        if (pauses > 0) {
            aegis_scheduler_resume_ahead(the.scheduler);
        }
    }
    assert_string_equal(the.gates[0].log, "a0 b0 a0 b0 a0 b0+");
    close_bed();
}

static void stop_lets_it_run_in_vain(void **state)
{
    pthread_t thread;
    (void)state;
    start_whole_models(2);
    begin_lasting(0);
    submit_and_see(1, 1);
    see_put(1);
    pthread_create(&thread, NULL, stop_it, NULL);
    while (aegis_scheduler_submit(the.scheduler, MODELS, NULL, NULL, NULL) != AEGIS_ERROR_STATE) {
        sched_yield(); /* NOT_ADMITTED, until it takes no submissions any more */
    }
    go_on();
    pthread_join(thread, NULL);
    assert_true(strcmp(the.gates[0].log, "a0 b0!") == 0 ||
                strcmp(the.gates[0].log, "a0 b0+") == 0); /* it ended before the stop was seen */
    close_bed();
}

/* What cannot be put ahead is asked once, whose job it is that runs. */
static void what_cannot_be_put_ahead(void **state)
{
    (void)state;
    open_whole_models();
    admit(0, 0);
    admit(1, 0);
    the.pieces[1].cannot = 0;
    start();
    for (int i = 0; i < 2; i++) {
        begin_lasting(0);
        submit_and_see(1, (uint64_t)i + 1);
        see_put(1);
        go_on();
        wait_for_ends(2);
    }
    assert_string_equal(the.gates[0].log, "a0 b0 a0 b0");
    assert_int_equal(the.gates[0].begun, 1);
    close_bed();
}

/* Too little is left of what runs: the thread would not see its end. */
static void it_is_too_late(void **state)
{
    (void)state;
    open_whole_models();
    the.pieces[0].best_ns = 10000;
    admit(0, 0);
    admit(1, 0);
    start();
    begin_lasting(0);
    submit_and_see(1, 1);
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, "a0 b0");
    assert_int_equal(the.gates[0].begun, 0);
    close_bed();
}

/* It is wanted in time, and the thread comes to it when it is too late. */
static void it_is_seen_too_late(void **state)
{
    (void)state;
    open_whole_models();
    the.pieces[0].best_ns = 200 * MS;
    admit(0, 0);
    admit(1, 0);
    start();
    the.gates[0].deaf = true;
    begin_lasting(0);
    submit_and_see(1, 1);
    pass_time(201 * MS);
    the.gates[0].deaf = false;
    while (the.gates[0].asked) {
        sched_yield();
    }
    go_on();
    wait_for_ends(2);
    assert_string_equal(the.gates[0].log, "a0 b0");
    assert_int_equal(the.gates[0].begun, 0);
    close_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_of_other_models_follow_through_the_gate),
        cmocka_unit_test(the_next_job_of_a_model_without_state),
        cmocka_unit_test(what_is_passed_by_keeps_its_place),
        cmocka_unit_test(a_failure_opens_nothing),
        cmocka_unit_test(halves_of_a_model_without_state_are_one),
        cmocka_unit_test(a_model_goes_that_was_put_ahead),
        cmocka_unit_test(a_model_goes_that_was_wanted),
        cmocka_unit_test(a_model_goes_while_another_is_put_ahead),
        cmocka_unit_test(paused_it_launches),
        cmocka_unit_test(a_pause_waits_for_what_stands_there),
        cmocka_unit_test(stop_lets_it_run_in_vain),
        cmocka_unit_test(what_cannot_be_put_ahead),
        cmocka_unit_test(it_is_too_late),
        cmocka_unit_test(it_is_seen_too_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
