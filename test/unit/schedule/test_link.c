/* SPDX-License-Identifier: Apache-2.0 */
/* The link as the first of two stages: how late inputs come, whom that makes later, and what is
 * refused. */
#include "copies_bed.h"

#include "base/base.h"

#define WAKE 3
#define TASKS 3

/* ---- the arithmetic, against a queue that is simulated tick by tick ---- */

typedef struct copied_task {
    uint64_t copy, period, jitter;
} copied_task;

/* The worst response over a long time when all release at kT - J and are seen at 0 at the earliest;
 * of those that come at one instant the one that is looked at comes last. */
static uint64_t simulated(const copied_task *tasks, size_t which)
{
    uint64_t free_at = 0, worst = 0, next[TASKS] = {0};
    for (int64_t now = 0; now < 20000; now++) {
        for (size_t turn = 1; turn <= TASKS; turn++) {
            const size_t i = (which + turn) % TASKS;
            const copied_task *task = &tasks[i];
            for (;; next[i]++) {
                const int64_t nominal =
                    (int64_t)(next[i] * task->period) - (int64_t)(task->jitter + WAKE);
                const int64_t seen = nominal > 0 ? nominal : 0;
                if (seen != now) {
                    break;
                }
                free_at = (free_at > (uint64_t)now ? free_at : (uint64_t)now) + task->copy;
                const uint64_t response = (uint64_t)((int64_t)free_at - nominal);
                worst = i == which && response > worst ? response : worst;
            }
        }
    }
    return worst;
}

static void open_ticks(const copied_task *tasks)
{
    open_bed_without_scheduler();
    aegis_scheduler_config config = config_of("np-edf");
    config.wake_bound_ns = WAKE;
    config.overhead_bound_ns = 1;
    open_scheduler(&config);
    for (int i = 0; i < TASKS; i++) {
        aegis_error err;
        aegis_profile profile = {.margin = 1, .bound_ns = 1, .copy_bound_ns = tasks[i].copy - 1};
        aegis_admission_request request = request_of(i, 0, true, &profile);
        aegis_admission_answer answer;
        request.period_ns = request.deadline_ns = tasks[i].period;
        request.jitter_ns = tasks[i].jitter;
        open_model(i, true);
        check(aegis_scheduler_admit(the.scheduler, the.contexts[i], &request, &answer, &err), &err);
    }
}

static void responses_are_those_of_the_queue(void **state)
{
    (void)state;
    uint64_t random = 20261129;
    for (int round = 0; round < 200; round++) {
        copied_task tasks[TASKS];
        for (size_t i = 0; i < TASKS; i++) {
            tasks[i].copy = 2 + aegis_random_next(&random) % 12;
            tasks[i].period = 80 + aegis_random_next(&random) % 60;
            tasks[i].jitter = aegis_random_next(&random) % 10;
        }
        open_ticks(tasks);
        for (int i = 0; i < TASKS; i++) {
            const aegis_admission_answer answer = answer_of(i);
            assert_int_equal(answer.copy_bound_ns, tasks[i].copy);
            assert_int_equal(answer.copy_response_ns, simulated(tasks, (size_t)i));
            assert_int_equal(answer.jitter_ns, answer.copy_response_ns + WAKE);
        }
        close_bed();
    }
}

/* ---- who comes later because of whom ---- */

static aegis_status try_early(int i, int lane, uint64_t copy_ns, aegis_admission_answer *ret_answer)
{
    aegis_error err;
    const aegis_profile profile = profile_of(copy_ns);
    const aegis_admission_request request = request_of(i, lane, true, &profile);
    aegis_status status =
        aegis_scheduler_admit(the.scheduler, the.contexts[i], &request, ret_answer, &err);
    assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NOT_ADMITTED);
    return status;
}

/* On lanes of their own: they meet on the link alone. */
static void another_early_model_makes_inputs_later(void **state)
{
    (void)state;
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    assert_int_equal(answer_of(0).copy_response_ns, 14 * MS); /* wake bound, copy, overhead */
    assert_int_equal(answer_of(0).jitter_ns, 24 * MS);
    assert_int_equal(answer_of(0).response_ns, 27 * MS); /* C and overhead are 3 ms */
    open_model(1, true);
    assert_int_equal(try_early(1, 1, 20 * MS, &answer), AEGIS_OK);
    assert_int_equal(answer.copy_response_ns, 35 * MS);
    assert_int_equal(answer_of(0).copy_response_ns, 35 * MS);
    assert_int_equal(answer_of(0).response_ns, 48 * MS);
    aegis_error err;
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    assert_int_equal(try_early(1, 1, MS, &answer), AEGIS_OK);
    assert_int_equal(answer_of(0).copy_response_ns, 16 * MS); /* nothing ran meanwhile */
    open_model(2, false);
    const aegis_profile profile = profile_of(0);
    const aegis_admission_request request = request_of(2, 0, false, &profile);
    check(aegis_scheduler_admit(the.scheduler, the.contexts[2], &request, &answer, &err), &err);
    assert_int_equal(answer.copy_bound_ns, 0);
    assert_int_equal(answer.jitter_ns, 10 * MS);
    close_bed();
}

static void a_lane_that_would_not_hold_with_that_refuses(void **state)
{
    (void)state;
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    open_model(1, true);
    assert_int_equal(try_early(1, 1, 150 * MS, &answer), AEGIS_OK); /* 10 + 155 + 10 + 3 */
    aegis_error err;
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    const aegis_admission_answer before = answer_of(0);
    /* Its own deadline is later than its period would let it be, but for the copies of a. */
    assert_int_equal(try_early(1, 1, 175 * MS, &answer), AEGIS_ERROR_NOT_ADMITTED);
    assert_int_equal(answer_of(0).copy_response_ns, before.copy_response_ns);
    close_bed();
}

/* b has a long deadline itself, and a is the one that would be late, on the other lane. */
static void lanes_of_others_are_proved_again(void **state)
{
    (void)state;
    aegis_error err;
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    open_model(1, true);
    const aegis_profile profile = profile_of(180 * MS);
    aegis_admission_request request = request_of(1, 1, true, &profile);
    request.period_ns = request.deadline_ns = 2000 * MS;
    assert_int_equal(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err),
                     AEGIS_ERROR_NOT_ADMITTED);
    assert_int_equal(answer.rationale, AEGIS_WHY_RESPONSE);
    assert_int_equal(answer.culprit, 0);
    assert_non_null(strstr(answer.reason, "its copies make inputs come later there"));
    assert_int_equal(answer_of(0).response_ns, 27 * MS); /* as it was */
    close_bed();
}

static void while_it_runs_the_core_hears_of_it(void **state)
{
    (void)state;
    aegis_error err;
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    start();
    submit(0, 1);
    wait_for(&the.ended);
    open_model(1, true);
    assert_int_equal(try_early(1, 1, 30 * MS, &answer), AEGIS_OK);
    assert_int_equal(answer_of(0).copy_response_ns, 45 * MS);
    submit(0, 2);
    submit(1, 3);
    wait_for(&the.ended);
    wait_for(&the.ended);
    assert_int_equal(the.moved[0].ran, 2);
    assert_int_equal(the.moved[1].ran, 3);
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    assert_int_equal(try_early(1, 1, MS, &answer), AEGIS_OK);
    assert_int_equal(answer_of(0).copy_response_ns, 45 * MS); /* what was told stays */
    close_bed();
}

/* ---- refusals ---- */

static void a_link_that_is_overloaded_refuses(void **state)
{
    (void)state;
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    open_model(1, true);
    assert_int_equal(try_early(1, 1, 199 * MS, &answer), AEGIS_ERROR_NOT_ADMITTED);
    assert_int_equal(answer.rationale, AEGIS_WHY_LINK);
    assert_non_null(strstr(answer.reason, "use the link for 102.0 % of its time"));
    assert_non_null(strstr(answer.reason, "copies = \"inline\""));
    close_bed();
}

static void refuse(const aegis_admission_request *request, const char *part)
{
    aegis_error err = {0};
    aegis_admission_answer answer;
    expect(aegis_scheduler_analyse(the.scheduler, "x", request, &answer, &err),
           AEGIS_ERROR_INVALID_ARGUMENT, &err, part);
}

static void requests_that_contradict_themselves(void **state)
{
    (void)state;
    open_bed();
    aegis_profile profile = profile_of(MS);
    const aegis_admission_request good = request_of(0, 0, true, &profile);
    aegis_admission_request request = good;
    request.deadline_ns = request.period_ns + 1;
    refuse(&request, "a deadline of at most the period");
    request = good;
    request.background = true;
    request.deadline_ns = 0;
    request.weight = 1;
    refuse(&request, "for models with a deadline");
    profile.copy_bound_ns = 0;
    refuse(&good, "a bound of the copy");
    profile.copy_bound_ns = UINT64_MAX;
    refuse(&good, "a bound of the copy");
    profile.copy_bound_ns = MS;
    aegis_scheduler_destroy(the.scheduler);
    aegis_scheduler_config config = config_of("np-fp");
    config.copy_stream = NULL;
    open_scheduler(&config);
    refuse(&good, "need a stream");
    close_bed();
}

/* An inline model admitted as early would be copied twice, an early one as inline never. */
static void a_model_is_admitted_as_it_was_opened(void **state)
{
    (void)state;
    aegis_error err = {0};
    aegis_admission_answer answer;
    open_bed();
    admit(0, 0, true);
    open_model(1, true);
    const aegis_profile profile = profile_of(MS);
    const aegis_admission_request request = request_of(1, 1, false, &profile);
    check(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err), &err);
    expect(aegis_scheduler_start(the.scheduler, 0, &err), AEGIS_ERROR_CONFIG, &err,
           "b was opened with early copies and admitted without");
    check(aegis_scheduler_evict(the.scheduler, 1, &err), &err);
    start();
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[1], &request, &answer, &err),
           AEGIS_ERROR_CONFIG, &err, "b was opened with early copies and admitted without");
    open_model(2, false);
    const aegis_admission_request other = request_of(2, 1, true, &profile);
    expect(aegis_scheduler_admit(the.scheduler, the.contexts[2], &other, &answer, &err),
           AEGIS_ERROR_CONFIG, &err, "c was opened without early copies and admitted with");
    close_bed();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_those_of_the_queue),
        cmocka_unit_test(another_early_model_makes_inputs_later),
        cmocka_unit_test(a_lane_that_would_not_hold_with_that_refuses),
        cmocka_unit_test(lanes_of_others_are_proved_again),
        cmocka_unit_test(while_it_runs_the_core_hears_of_it),
        cmocka_unit_test(a_link_that_is_overloaded_refuses),
        cmocka_unit_test(requests_that_contradict_themselves),
        cmocka_unit_test(a_model_is_admitted_as_it_was_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
