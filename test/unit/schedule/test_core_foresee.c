/* SPDX-License-Identifier: Apache-2.0 */
/* What the core says that a lane would run next, and when it says that it is not known. */
#include "core_fixture.h"

#include <aegisrt/ext/policy_ops.h>

/* "b#2.1" in slot 3 is "b#2.1/3"; "-": nothing; "?": not known. */
static void
expect_next_at(const fixture *f, uint64_t end_ns, uint64_t execution_ns, const char *want)
{
    aegis_core_next next = {.model = 77};
    char text[64] = "?";
    if (aegis_core_foresee(f->core, 0, end_ns, execution_ns, &next)) {
        snprintf(text, sizeof text, "-");
        if (next.model != AEGIS_TRACE_NONE) {
            snprintf(text, sizeof text, "%c#%" PRIu64 ".%" PRIu32 "/%" PRIu32, letter(next.model),
                     next.job, next.segment, next.slot);
        }
    } else {
        assert_int_equal(next.model, 77);
    }
    assert_string_equal(text, want);
}

/* It ends now; it began when it was dispatched. */
static void expect_next(const fixture *f, const char *want)
{
    expect_next_at(f, f->now_ns, f->now_ns - f->dispatched_ns[0], want);
}

static aegis_core_model with_priority(aegis_core_model model, int32_t priority)
{
    model.priority = priority;
    return model;
}

static void an_idle_lane_has_nothing_before_it(void **state)
{
    (void)state;
    fixture f;
    aegis_core_next next;
    begin(&f, "np-fp");
    expect_next(&f, "?");
    assert_false(aegis_core_foresee(f.core, 1, 0, 0, &next)); /* no such lane */
    aegis_core_model a = plain(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    expect_next(&f, "-");
    step(&f, 5, &(aegis_core_event){.kind = AEGIS_CORE_TIMER});
    expect_next_at(&f, 4, 1, "?"); /* that has passed */
    end(&f);
}

static void the_next_segment_competes_with_what_is_ready(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-fp");
    aegis_core_model a = with_priority(cut(0, 1000, 3, 10), 5);
    aegis_core_model b = with_priority(plain(1, 1000, 10), 7);
    aegis_core_model c = with_priority(plain(2, 1000, 10), 5), d = with_priority(c, 1);
    d.model = 3;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    add(&f, &d);
    submit(&f, 0, 0, 1, 0);
    expect_next(&f, "a#1.1/0");
    submit(&f, 1, 1, 2, 1); /* less urgent */
    expect_next(&f, "a#1.1/0");
    submit(&f, 2, 2, 3, 2); /* as urgent, of a higher number */
    expect_next(&f, "a#1.1/0");
    submit(&f, 3, 3, 4, 3);
    expect_next(&f, "d#4.0/0");
    done(&f, 10); /* d runs */
    expect_next(&f, "a#1.1/0");
    done(&f, 20);
    done(&f, 30);
    expect_next(&f, "c#3.0/0"); /* a's last one runs */
    done(&f, 40);
    expect_next(&f, "b#2.0/0");
    end(&f);
}

static void the_next_job_of_the_model_itself(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "fifo");
    aegis_core_model a = plain(0, 1, 10), b = plain(1, 1, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 4, 0, 2, 2);
    submit(&f, 4, 1, 3, 3);
    expect_next(&f, "a#2.0/1");
    done(&f, 10);
    expect_next(&f, "b#3.0/0");
    end(&f);
}

static void jobs_that_end_leave_the_lane_to_others(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-fp");
    aegis_core_model a = with_priority(cut(0, 1000, 2, 10), 1);
    aegis_core_model b = with_priority(plain(1, 1000, 10), 2);
    a.compute_budget_ns = 15;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 0);
    expect_next_at(&f, 14, 14, "a#1.1/0");
    expect_next_at(&f, 15, 15, "b#2.0/0"); /* its budget is spent */
    timer(&f, 11);                         /* past its bound: it is told to end */
    expect_next_at(&f, 14, 14, "b#2.0/0");
    end(&f);

    begin(&f, "np-fp");
    a.compute_budget_ns = 0;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 0, 0, 3, 0);
    submit(&f, 0, 1, 2, 0);
    step(&f, 1, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 0});
    expect_next(&f, "b#2.0/0");
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    expect_next(&f, "-");
    end(&f);
}

static void a_release_that_is_due_by_then(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-edf");
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 100, 10), c = background(2, 1, 10);
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 8);
    submit(&f, 0, 2, 3, 6);
    expect_next_at(&f, 5, 5, "-");
    expect_next_at(&f, 6, 6, "?"); /* c would be ready */
    expect_next_at(&f, 8, 8, "?");
    timer(&f, 6);
    expect_next_at(&f, 7, 7, "c#3.0/0");
    timer(&f, 8);
    expect_next(&f, "b#2.0/0"); /* whatever of the background is due */
    submit(&f, 8, 2, 4, 9);
    expect_next_at(&f, 9, 9, "b#2.0/0");
    end(&f);
}

static void background_by_what_it_will_have_executed(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-edf");
    aegis_core_model a = background(0, 2, 10), b = background(1, 1, 10);
    a.segment_count = 2;
    a.segment_bound_ns[1] = a.segment_enforceable_ns[1] = 10;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    submit(&f, 0, 0, 2, 0);
    expect_next(&f, "a#2.0/0");
    done(&f, 8); /* b: 8 of virtual time; a runs, at 0 */
    expect_next_at(&f, 8 + 15, 15, "a#2.1/0");
    expect_next_at(&f, 8 + 16, 16, "a#2.1/0"); /* nothing else is ready */
    submit(&f, 9, 1, 3, 9);
    expect_next_at(&f, 8 + 15, 15, "a#2.1/0");
    expect_next_at(&f, 8 + 16, 16, "a#2.1/0"); /* equal: the lower number */
    expect_next_at(&f, 8 + 18, 18, "b#3.0/0");
    end(&f);
}

static void a_share_makes_it_rest(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-edf");
    aegis_core_model a = background(0, 1, 10), b = background(1, 1, 10);
    a.share_ppm = AEGIS_SHARE_WHOLE / 2;
    a.segment_count = 2;
    a.segment_bound_ns[1] = a.segment_enforceable_ns[1] = 10;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    expect_next_at(&f, 8, 8, "-"); /* it would rest */
    submit(&f, 0, 1, 2, 0);
    expect_next_at(&f, 8, 8, "b#2.0/0");
    done(&f, 8); /* a rests until 16 */
    expect_next_at(&f, 15, 7, "-");
    expect_next_at(&f, 16, 8, "?");
    end(&f);
}

static void a_segment_that_waits_for_bytes(void **state)
{
    (void)state;
    fixture f;
    begin(&f, "np-edf");
    aegis_core_model a = background(0, 1, 10), b = background(1, 1, 10);
    a.segment_count = 2;
    a.segment_bound_ns[1] = a.segment_enforceable_ns[1] = 10;
    a.awaited_segments = 2;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    expect_next(&f, "-");
    submit(&f, 1, 1, 2, 1);
    expect_next_at(&f, 1, 0, "b#2.0/0");
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY, .model = 0, .segment = 1});
    expect_next_at(&f, 2, 0, "a#1.1/0");
    end(&f);
}

/* ---- policies of others ---- */

static int64_t by_segment(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    return model->priority - (int64_t)job->segment;
}

static uint64_t never_waits(void *self, const aegis_policy_view *view)
{
    (void)self;
    (void)view;
    return 0;
}

static void begin_with_policy(fixture *f, const aegis_policy_ops *ops)
{
    const aegis_policy policy = {.ops = ops};
    begin_with(f, &policy,
               &(aegis_core_config){.lanes = 1, .max_models = FIXTURE_MODELS, .max_jobs = 64});
    aegis_core_model a = with_priority(cut(0, 1000, 2, 10), 5);
    aegis_core_model b = with_priority(plain(1, 1000, 10), 5);
    add(f, &a);
    add(f, &b);
    submit(f, 0, 0, 1, 0);
}

static void a_policy_is_not_asked(void **state)
{
    (void)state;
    fixture f;
    aegis_policy_ops ops = {.version = 1, .name = "by-segment", .key = by_segment};
    for (ops.version = 1; ops.version <= 2; ops.version++) {
        begin_with_policy(&f, &ops);
        expect_next(&f, "a#1.1/0"); /* there is no other */
        submit(&f, 0, 1, 2, 0);
        expect_next(&f, "?");
        done(&f, 5);
        expect_next(&f, "b#2.0/0"); /* the keys of both are known */
        end(&f);
    }
    ops.version = 1; /* which has no such member */
    ops.key_keeps = true;
    begin_with_policy(&f, &ops);
    submit(&f, 0, 1, 2, 0);
    expect_next(&f, "?");
    end(&f);
    ops.version = 2;
    ops.idle_until = never_waits;
    begin_with_policy(&f, &ops);
    expect_next(&f, "?");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_lane_has_nothing_before_it),
        cmocka_unit_test(the_next_segment_competes_with_what_is_ready),
        cmocka_unit_test(the_next_job_of_the_model_itself),
        cmocka_unit_test(jobs_that_end_leave_the_lane_to_others),
        cmocka_unit_test(a_release_that_is_due_by_then),
        cmocka_unit_test(background_by_what_it_will_have_executed),
        cmocka_unit_test(a_share_makes_it_rest),
        cmocka_unit_test(a_segment_that_waits_for_bytes),
        cmocka_unit_test(a_policy_is_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
