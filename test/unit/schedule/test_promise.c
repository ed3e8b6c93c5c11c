/* SPDX-License-Identifier: Apache-2.0 */
/* Responses beyond what was proved: each premise that can break, and none. The core is stepped with
 * scripted events, and what it decides goes through the driver's own judge. */
#include "core_fixture.h"

#include "schedule/driver/promise.h"

static fixture f;
static aegis_promise_lane lane;
static aegis_promise promises[2];

/* What the driver does with the actions of a step. */
static void see(void)
{
    for (size_t i = 0; i < f.count; i++) {
        const aegis_core_action *action = &f.actions[i];
        aegis_promise_see(&lane, action, f.now_ns);
        if (action->kind == AEGIS_TRACE_COMPLETE || action->kind == AEGIS_TRACE_MISS) {
            aegis_promise_judge(&promises[action->model], &lane, action);
        }
    }
}

static void release(uint64_t now, uint32_t model, uint64_t job, uint64_t nominal)
{
    submit(&f, now, model, job, nominal);
    see();
}

static void finish(uint64_t now)
{
    done(&f, now);
    see();
}

/* Two models, of which no more than 40 and 60 is proved; bounds of 10, enforceable at 14. */
static void set_up(void)
{
    static const aegis_promise_lane nothing = {.premise = AEGIS_PREMISE_NONE};
    begin(&f, "np-rm");
    memcpy(&lane, &nothing, sizeof lane);
    for (uint32_t i = 0; i < 2; i++) {
        aegis_core_model model = plain(i, 100 + 100 * i, 10);
        model.segment_enforceable_ns[0] = 14;
        model.overrun = AEGIS_OVERRUN_REPORT;
        add(&f, &model);
        memset(&promises[i], 0, sizeof promises[i]);
        aegis_promise_raise(&promises[i], 40 + 20 * (int64_t)i);
    }
}

static aegis_past_proof past(uint32_t model)
{
    aegis_past_proof result;
    aegis_promise_read(&promises[model], &result);
    return result;
}

static void kept_promises_are_not_counted(void **state)
{
    (void)state;
    set_up();
    release(0, 0, 1, 0);
    finish(40); /* at the very bound, though the lane is void */
    assert_int_equal(lane.premise, AEGIS_PREMISE_NONE); /* whole again, as it is idle */
    assert_int_equal(past(0).jobs, 0);
    end(&f);
}

/* a holds the lane for 41, and b, which waits, is late for it. */
static void a_long_execution_explains_whoever_waits(void **state)
{
    (void)state;
    set_up();
    release(0, 0, 1, 0);
    release(5, 1, 2, 5);
    finish(61);
    finish(71);
    aegis_past_proof a = past(0), b = past(1);
    assert_int_equal(a.jobs, 1);
    assert_int_equal(a.unexplained, 0);
    assert_int_equal(a.premise, AEGIS_PREMISE_EXECUTION);
    assert_int_equal(b.jobs, 1);
    assert_int_equal(b.job, 2);
    assert_int_equal(b.response_ns, 66);
    assert_int_equal(b.proved_ns, 60);
    assert_int_equal(b.premise, AEGIS_PREMISE_EXECUTION);
    assert_int_equal(b.lane, 0);
    assert_int_equal(b.cause_model, 0);
    assert_int_equal(b.cause_job, 1);
    assert_int_equal(b.allowed_ns, 14);
    assert_int_equal(b.measured_ns, 61);
    assert_int_equal(b.since_ns, 61);
    end(&f);
}

/* Broken by each premise once and held again; read while it is void, too. */
static void how_often_and_how_long_proofs_were_void_is_counted(void **state)
{
    (void)state;
    aegis_lane_proofs proofs;
    set_up();
    release(0, 0, 1, 0);
    finish(61); /* found at the end: void for no time */
    release(100, 0, 2, 100);
    timer(&f, 115);
    see();
    aegis_promise_read_lane(&lane, 120, &proofs);
    assert_int_equal(proofs.voided[AEGIS_PREMISE_EXECUTION], 2);
    assert_int_equal(proofs.void_ns, 5);
    finish(130);
    release(260, 0, 3, 250); /* late */
    finish(270);
    release(350, 0, 4, 350);
    finish(360);
    aegis_promise_read_lane(&lane, 1000, &proofs);
    assert_int_equal(proofs.voided[AEGIS_PREMISE_NONE], 0);
    assert_int_equal(proofs.voided[AEGIS_PREMISE_EXECUTION], 2);
    assert_int_equal(proofs.voided[AEGIS_PREMISE_OVERHEAD], 0);
    assert_int_equal(proofs.voided[AEGIS_PREMISE_WAKE], 1);
    assert_int_equal(proofs.void_ns, 15 + 10);
    end(&f);
}

/* It executed for 10, but its end was seen after 50. */
static void an_overhead_is_told_from_an_execution(void **state)
{
    (void)state;
    set_up();
    release(0, 0, 1, 0);
    aegis_core_event event = done_event(&f, 50, 0);
    event.start_ns = 40;
    step(&f, 50, &event);
    see();
    aegis_past_proof a = past(0);
    assert_int_equal(a.premise, AEGIS_PREMISE_OVERHEAD);
    assert_int_equal(a.measured_ns, 50);
    end(&f);
}

static void a_late_wake_is_told(void **state)
{
    (void)state;
    set_up();
    release(60, 0, 1, 20);
    finish(70);
    aegis_past_proof a = past(0);
    assert_int_equal(a.premise, AEGIS_PREMISE_WAKE);
    assert_int_equal(a.cause_job, 1);
    assert_int_equal(a.allowed_ns, 0);
    assert_int_equal(a.measured_ns, 40);
    end(&f);
}

static void the_proofs_hold_again_when_the_lane_was_idle(void **state)
{
    (void)state;
    set_up();
    release(0, 0, 1, 0);
    finish(61); /* void, and idle then */
    release(100, 0, 2, 100);
    finish(110);
    promises[0].proved_ns = 5; /* as if the proof were wrong */
    release(200, 0, 3, 200);
    finish(210);
    aegis_past_proof a = past(0);
    assert_int_equal(a.jobs, 2);
    assert_int_equal(a.unexplained, 1);
    end(&f);
}

/* The first that nothing explains is kept: it is the one to look at. */
static void what_nothing_explains_is_a_defect(void **state)
{
    (void)state;
    set_up();
    promises[0].proved_ns = 5;
    for (uint64_t job = 1; job <= 3; job++) {
        release(100 * job, 0, job, 100 * job);
        finish(100 * job + 10);
    }
    release(400, 0, 4, 400);
    finish(461);
    aegis_past_proof a = past(0);
    assert_int_equal(a.jobs, 4);
    assert_int_equal(a.unexplained, 3);
    assert_int_equal(a.premise, AEGIS_PREMISE_NONE);
    assert_int_equal(a.job, 1);
    assert_int_equal(a.cause_model, 0);
    end(&f);
}

static void priorities_at_submission_are_in_no_proof(void **state)
{
    (void)state;
    set_up();
    promises[0].proved_ns = 5;
    promises[0].reordered = true;
    release(0, 0, 1, 0);
    finish(10);
    assert_int_equal(past(0).unexplained, 0);
    assert_int_equal(past(0).premise, AEGIS_PREMISE_ORDER);
    end(&f);
}

static void what_is_proved_only_grows(void **state)
{
    (void)state;
    set_up();
    aegis_promise_raise(&promises[0], 30);
    assert_int_equal(promises[0].proved_ns, 40);
    aegis_promise_raise(&promises[0], 50);
    assert_int_equal(promises[0].proved_ns, 50);
    aegis_promise_raise(&promises[0], -2); /* no test gives one: nothing is promised from then on */
    release(0, 0, 1, 0);
    finish(61);
    assert_int_equal(past(0).jobs, 0);
    end(&f);
}

static void premises_have_names(void **state)
{
    (void)state;
    assert_string_equal(aegis_premise_name(AEGIS_PREMISE_NONE), "none");
    assert_string_equal(aegis_premise_name(AEGIS_PREMISE_EXECUTION), "execution");
    assert_string_equal(aegis_premise_name(AEGIS_PREMISE_OVERHEAD), "overhead");
    assert_string_equal(aegis_premise_name(AEGIS_PREMISE_WAKE), "wake");
    assert_string_equal(aegis_premise_name(AEGIS_PREMISE_ORDER), "order");
    assert_string_equal(aegis_premise_name((aegis_premise)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_promises_are_not_counted),
        cmocka_unit_test(a_long_execution_explains_whoever_waits),
        cmocka_unit_test(how_often_and_how_long_proofs_were_void_is_counted),
        cmocka_unit_test(an_overhead_is_told_from_an_execution),
        cmocka_unit_test(a_late_wake_is_told),
        cmocka_unit_test(the_proofs_hold_again_when_the_lane_was_idle),
        cmocka_unit_test(what_nothing_explains_is_a_defect),
        cmocka_unit_test(priorities_at_submission_are_in_no_proof),
        cmocka_unit_test(what_is_proved_only_grows),
        cmocka_unit_test(premises_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
