/* SPDX-License-Identifier: Apache-2.0 */
/* The driver with early copies (copies_bed.h): order, faults, removal, stop, and a copy that does
 * not end. */
#include "copies_bed.h"
#include "support/child_process.h"

static void hold(held *at)
{
    atomic_store(&at->wanted, true);
}

static void let_go(held *at)
{
    sem_post(&at->go);
}

static void inputs_come_while_the_lane_runs_another(void **state)
{
    (void)state;
    open_bed();
    admit(0, 0, true);
    admit(1, 0, false);
    hold(&the.moved[1].run);
    start();
    submit(1, 0);
    wait_for(&the.moved[1].run.there); /* b runs, and goes on to */
    hold(&the.moved[0].copy);
    submit(0, 77);
    wait_for(&the.moved[0].copy.there);
    let_go(&the.moved[0].copy);
    aegis_model_metrics metrics = {0};
    while (metrics.arrival_ns.count == 0) { /* they are there, and the job is not chosen yet */
        check(aegis_scheduler_model_metrics(the.scheduler, 0, &metrics, NULL), NULL);
        sched_yield();
    }
    assert_string_equal(the.log, "b +a");
    let_go(&the.moved[1].run);
    wait_for(&the.ended);
    wait_for(&the.ended);
    assert_string_equal(the.log, "b +a a");
    assert_int_equal(the.moved[0].ran, 77);
    close_bed();
}

/* c is the more urgent one, and as long as its inputs are on their way it holds nobody up. */
static void others_run_while_inputs_come(void **state)
{
    (void)state;
    open_bed();
    admit(0, 0, false);
    admit(2, 0, true);
    hold(&the.moved[2].copy);
    start();
    submit(2, 78);
    wait_for(&the.moved[2].copy.there);
    submit(0, 0);
    wait_for(&the.ended);
    assert_string_equal(the.log, "+c a");
    let_go(&the.moved[2].copy);
    wait_for(&the.ended);
    assert_string_equal(the.log, "+c a c");
    assert_int_equal(the.moved[2].ran, 78);
    close_bed();
}

static void copies_are_served_first_come_first_served(void **state)
{
    (void)state;
    open_bed();
    admit(0, 0, true);
    admit(1, 1, true);
    admit(2, 1, true);
    hold(&the.moved[0].copy);
    start();
    submit(0, 1);
    wait_for(&the.moved[0].copy.there);
    submit(1, 2);
    while (counters_of(1).jobs == 0) { /* the core knows it */
        sched_yield();
    }
    submit(2, 3); /* more urgent, later */
    while (counters_of(2).jobs == 0) {
        sched_yield();
    }
    hold(&the.moved[1].run); /* so that the log tells of copies alone */
    hold(&the.moved[2].run);
    hold(&the.moved[0].run);
    let_go(&the.moved[0].copy);
    for (int i = 0; i < MODELS; i++) {
        aegis_model_metrics metrics = {0};
        while (metrics.arrival_ns.count == 0) {
            check(aegis_scheduler_model_metrics(the.scheduler, (uint32_t)i, &metrics, NULL), NULL);
            sched_yield();
        }
    }
    char copies[16] = "";
    size_t used = 0;
    pthread_mutex_lock(&the.writing); /* runs begin meanwhile */
    for (const char *at = strchr(the.log, '+'); at != NULL; at = strchr(at + 1, '+')) {
        copies[used++] = at[1];
    }
    pthread_mutex_unlock(&the.writing);
    assert_string_equal(copies, "abc");
    for (int i = 0; i < MODELS; i++) {
        let_go(&the.moved[i].run);
    }
    for (int i = 0; i < MODELS; i++) {
        wait_for(&the.ended);
    }
    for (int i = 0; i < MODELS; i++) {
        assert_int_equal(the.moved[i].ran, i + 1);
    }
    close_bed();
}

static void a_failed_copy_is_the_models_fault(void **state)
{
    (void)state;
    aegis_error fault = {0}, err;
    open_bed();
    admit(0, 0, true);
    admit(1, 0, true);
    atomic_store(&the.moved[0].fails, AEGIS_ERROR_DEVICE);
    start();
    submit(0, 1);
    wait_for(&the.ended);
    assert_int_equal(the.last.end, AEGIS_JOB_ABORTED);
    assert_int_equal(the.last.status, AEGIS_ERROR_DEVICE);
    assert_int_equal(the.last.rationale, AEGIS_WHY_RUN_FAILED);
    assert_true(aegis_context_last_error(the.contexts[0], &fault));
    assert_int_equal(fault.status, AEGIS_ERROR_DEVICE);
    assert_non_null(strstr(fault.message, "the link is down"));
    submit(0, 2);
    wait_for(&the.ended);
    assert_int_equal(the.last.rationale, AEGIS_WHY_MODEL_FAULTED);
    submit(1, 3); /* the others are untouched */
    wait_for(&the.ended);
    assert_int_equal(the.last.end, AEGIS_JOB_COMPLETED);
    check(aegis_scheduler_clear_fault(the.scheduler, 0, &err), &err);
    submit(0, 4);
    wait_for(&the.ended);
    assert_int_equal(the.last.status, AEGIS_OK);
    assert_int_equal(the.moved[0].ran, 4);
    assert_string_equal(the.log, "+a +b b +a a");
    close_bed();
}

static void a_lost_device_ends_the_run(void **state)
{
    (void)state;
    aegis_error err = {0};
    open_bed();
    admit(0, 0, true);
    atomic_store(&the.moved[0].fails, AEGIS_ERROR_DEVICE_LOST);
    start();
    submit(0, 1);
    wait_for(&the.ended);
    while (aegis_scheduler_check(the.scheduler, &err) == AEGIS_OK) {
        sched_yield();
    }
    expect(aegis_scheduler_check(the.scheduler, &err), AEGIS_ERROR_DEVICE_LOST, &err,
           "copy stream: model 'a'");
    expect(aegis_scheduler_stop(the.scheduler, &err), AEGIS_ERROR_DEVICE_LOST, &err,
           "copy stream: model 'a'");
    close_bed();
}

/* ---- who goes while inputs are on their way ---- */

static _Atomic bool gone;

static void *evict(void *unused)
{
    (void)unused;
    aegis_error err;
    check(aegis_scheduler_evict(the.scheduler, 0, &err), &err);
    atomic_store(&gone, true);
    return NULL;
}

static void a_model_goes_when_its_copy_has_ended(void **state)
{
    (void)state;
    pthread_t thread;
    open_bed();
    admit(0, 0, true);
    admit(1, 0, false);
    hold(&the.moved[0].copy);
    start();
    submit(0, 1);
    wait_for(&the.moved[0].copy.there);
    atomic_store(&gone, false);
    assert_int_equal(pthread_create(&thread, NULL, evict, NULL), 0);
    wait_for(&the.ended); /* its job is over at once */
    assert_int_equal(the.last.rationale, AEGIS_WHY_REMOVED);
    submit(1, 2);
    wait_for(&the.ended);
    assert_false(atomic_load(&gone)); /* and its memory not */
    let_go(&the.moved[0].copy);
    assert_int_equal(pthread_join(thread, NULL), 0);
    submit(1, 3);
    wait_for(&the.ended);
    assert_string_equal(the.log, "+a b b");
    close_bed();
}

static void *stop(void *unused)
{
    (void)unused;
    aegis_error err;
    check(aegis_scheduler_stop(the.scheduler, &err), &err);
    atomic_store(&gone, true);
    return NULL;
}

static void stop_waits_for_inputs_on_their_way(void **state)
{
    (void)state;
    pthread_t thread;
    aegis_error err;
    open_bed();
    admit(0, 0, true);
    hold(&the.moved[0].copy);
    start();
    submit(0, 1);
    wait_for(&the.moved[0].copy.there);
    atomic_store(&gone, false);
    assert_int_equal(pthread_create(&thread, NULL, stop, NULL), 0);
    while (aegis_scheduler_submit(the.scheduler, 0, NULL, NULL, &err) != AEGIS_ERROR_STATE) {
        sched_yield();
    }
    assert_false(atomic_load(&gone));
    let_go(&the.moved[0].copy);
    assert_int_equal(pthread_join(thread, NULL), 0);
    wait_for(&the.ended);
    if (the.last.end ==
        AEGIS_JOB_COMPLETED) { /* the inputs came before the core heard of the stop */
        assert_string_equal(the.log, "+a a");
    } else {
        assert_int_equal(the.last.end, AEGIS_JOB_REJECTED);
        assert_int_equal(the.last.rationale, AEGIS_WHY_STOPPING);
        assert_string_equal(the.log, "+a");
    }
    close_bed();
}

/* ---- a copy that does not end ---- */

static int hang(void)
{
    aegis_error err = {0};
    open_bed_without_scheduler();
    aegis_scheduler_config config = config_of("np-fp");
    config.hang_ns = 20 * MS;
    open_scheduler(&config);
    admit(0, 0, true);
    admit(1, 1, true);
    hold(&the.moved[0].copy);
    start();
    submit(0, 1);
    submit(1, 2); /* waits behind it */
    while (aegis_scheduler_check(the.scheduler, &err) == AEGIS_OK) {
        sched_yield();
    }
    bool found = err.status == AEGIS_ERROR_DEVICE_LOST &&
                 strstr(err.message, "copy stream: model 'a': the copy of its inputs") != NULL;
    found = found && aegis_scheduler_evict(the.scheduler, 0, &err) == AEGIS_ERROR_DEVICE_LOST;
    found = found && aegis_scheduler_pause_ahead(the.scheduler, &err) == AEGIS_ERROR_DEVICE_LOST;
    found = found && aegis_scheduler_stop(the.scheduler, &err) == AEGIS_ERROR_DEVICE_LOST;
    found = found && aegis_scheduler_hangs(the.scheduler);
    aegis_scheduler_destroy(the.scheduler); /* waits for nothing */
    return found ? 0 : 1;
}

static void a_hung_copy_is_found_and_not_waited_for(void **state)
{
    (void)state;
    assert_int_equal(in_child(hang), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_come_while_the_lane_runs_another),
        cmocka_unit_test(others_run_while_inputs_come),
        cmocka_unit_test(copies_are_served_first_come_first_served),
        cmocka_unit_test(a_failed_copy_is_the_models_fault),
        cmocka_unit_test(a_lost_device_ends_the_run),
        cmocka_unit_test(a_model_goes_when_its_copy_has_ended),
        cmocka_unit_test(stop_waits_for_inputs_on_their_way),
        cmocka_unit_test(a_hung_copy_is_found_and_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
