/* SPDX-License-Identifier: Apache-2.0 */
/* Which job runs next, and why: golden traces of each policy and each tie. */
#include "core_fixture.h"

#include <aegisrt/ext/policy_ops.h>

#include <stdlib.h>

static fixture f;

/* Three models whose order differs under each policy: a (T 300, D 200, prio 2), b (T 200, D 250,
 * prio 3), c (T 400, D 150, prio 1). They are released at 10, 5 and 20 while d runs. */
static void contend(const char *policy)
{
    begin(&f, policy);
    aegis_core_model a = plain(0, 300, 10), b = plain(1, 200, 10), c = plain(2, 400, 10);
    aegis_core_model d = plain(3, 1000, 30);
    a.deadline_ns = 200;
    a.priority = 2;
    b.deadline_ns = 250;
    b.priority = 3;
    c.deadline_ns = 150;
    c.priority = 1;
    d.priority = 9;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    add(&f, &d);
    submit(&f, 0, 3, 1, 0);
    submit(&f, 5, 1, 2, 5);
    submit(&f, 10, 0, 3, 10);
    submit(&f, 20, 2, 4, 20);
    done(&f, 30);
    done(&f, 40);
    done(&f, 50);
    done(&f, 60);
}

static void fifo_orders_by_release(void **state)
{
    (void)state;
    contend("fifo");
    expect(&f, "[   0] lane0 dispatches d#1 (key 0: only-ready)\n"
               "[  30] d#1 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches b#2 (key 5 < 10 of a: smaller-key)\n"
               "[  40] b#2 completes at 40 (released 5, due 255, response 35: in-time)\n"
               "[  40] lane0 dispatches a#3 (key 10 < 20 of c: smaller-key)\n"
               "[  50] a#3 completes at 50 (released 10, due 210, response 40: in-time)\n"
               "[  50] lane0 dispatches c#4 (key 20: only-ready)\n"
               "[  60] c#4 completes at 60 (released 20, due 170, response 40: in-time)\n");
    end(&f);
}

static void np_rm_orders_by_period(void **state)
{
    (void)state;
    contend("np-rm");
    expect(&f, "[   0] lane0 dispatches d#1 (key 1000: only-ready)\n"
               "[  30] d#1 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches b#2 (key 200 < 300 of a: smaller-key)\n"
               "[  40] b#2 completes at 40 (released 5, due 255, response 35: in-time)\n"
               "[  40] lane0 dispatches a#3 (key 300 < 400 of c: smaller-key)\n"
               "[  50] a#3 completes at 50 (released 10, due 210, response 40: in-time)\n"
               "[  50] lane0 dispatches c#4 (key 400: only-ready)\n"
               "[  60] c#4 completes at 60 (released 20, due 170, response 40: in-time)\n");
    end(&f);
}

static void np_dm_orders_by_relative_deadline(void **state)
{
    (void)state;
    contend("np-dm");
    expect(&f, "[   0] lane0 dispatches d#1 (key 1000: only-ready)\n"
               "[  30] d#1 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches c#4 (key 150 < 200 of a: smaller-key)\n"
               "[  40] c#4 completes at 40 (released 20, due 170, response 20: in-time)\n"
               "[  40] lane0 dispatches a#3 (key 200 < 250 of b: smaller-key)\n"
               "[  50] a#3 completes at 50 (released 10, due 210, response 40: in-time)\n"
               "[  50] lane0 dispatches b#2 (key 250: only-ready)\n"
               "[  60] b#2 completes at 60 (released 5, due 255, response 55: in-time)\n");
    end(&f);
}

static void np_fp_orders_by_priority(void **state)
{
    (void)state;
    contend("np-fp");
    expect(&f, "[   0] lane0 dispatches d#1 (key 9: only-ready)\n"
               "[  30] d#1 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches c#4 (key 1 < 2 of a: smaller-key)\n"
               "[  40] c#4 completes at 40 (released 20, due 170, response 20: in-time)\n"
               "[  40] lane0 dispatches a#3 (key 2 < 3 of b: smaller-key)\n"
               "[  50] a#3 completes at 50 (released 10, due 210, response 40: in-time)\n"
               "[  50] lane0 dispatches b#2 (key 3: only-ready)\n"
               "[  60] b#2 completes at 60 (released 5, due 255, response 55: in-time)\n");
    end(&f);
}

static void np_edf_orders_by_absolute_deadline(void **state)
{
    (void)state;
    contend("np-edf");
    expect(&f, "[   0] lane0 dispatches d#1 (key 1000: only-ready)\n"
               "[  30] d#1 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches c#4 (key 170 < 210 of a: smaller-key)\n"
               "[  40] c#4 completes at 40 (released 20, due 170, response 20: in-time)\n"
               "[  40] lane0 dispatches a#3 (key 210 < 255 of b: smaller-key)\n"
               "[  50] a#3 completes at 50 (released 10, due 210, response 40: in-time)\n"
               "[  50] lane0 dispatches b#2 (key 255: only-ready)\n"
               "[  60] b#2 completes at 60 (released 5, due 255, response 55: in-time)\n");
    end(&f);
}

static void ties_go_to_the_lower_model(void **state)
{
    (void)state;
    begin(&f, "np-edf");
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 100, 10);
    add(&f, &b);
    add(&f, &a);
    submit_more(&f, 0, 1, 1, 0);
    submit(&f, 0, 0, 2, 0);
    expect(&f, "[   0] lane0 dispatches a#2 (key 100 = 100 of b: tie-model)\n");
    end(&f);
}

static void ties_within_a_model_go_by_priority_then_sequence(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 10, 5), b = plain(1, 1000, 30);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 9, 0);
    submit(&f, 0, 0, 8, 0);
    submit(&f, 10, 0, 7, 10);
    step(&f, 20,
         &(aegis_core_event){
             .kind = AEGIS_CORE_SUBMIT, .job = 6, .release_ns = 20, .job_priority = 1});
    done(&f, 30);
    done(&f, 35);
    done(&f, 40);
    expect(&f, "[   0] lane0 dispatches b#9 (key 1000: only-ready)\n"
               "[  30] b#9 completes at 30 (released 0, due 1000, response 30: in-time)\n"
               "[  30] lane0 dispatches a#6 (key 10 = 10 of a: tie-sequence)\n"
               "[  35] a#6 misses at 35 (released 20, due 30, response 15: unexcused)\n"
               "[  35] lane0 dispatches a#8 (key 10 = 10 of a: tie-sequence)\n"
               "[  40] a#8 misses at 40 (released 0, due 10, response 40: unexcused)\n"
               "[  40] lane0 dispatches a#7 (key 10: only-ready)\n");
    end(&f);
}

static void segments_yield_to_smaller_keys_and_go_on(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 5), b = cut(1, 400, 3, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    submit(&f, 3, 0, 2, 3);
    done(&f, 10);
    done(&f, 15);
    done(&f, 25);
    done(&f, 35);
    expect(&f, "[   0] lane0 dispatches b#1 (key 400: only-ready)\n"
               "[  10] lane0 dispatches a#2 (key 100 < 400 of b: smaller-key)\n"
               "[  15] a#2 completes at 15 (released 3, due 103, response 12: in-time)\n"
               "[  15] lane0 dispatches b#1.1 (key 400: only-ready)\n"
               "[  25] lane0 dispatches b#1.2 (key 400: next-segment)\n"
               "[  35] b#1 completes at 35 (released 0, due 400, response 35: in-time)\n");
    end(&f);
}

static void a_started_job_goes_before_others_of_its_model(void **state)
{
    (void)state;
    begin(&f, "np-fp");
    aegis_core_model a = plain(0, 100, 5), b = cut(1, 50, 2, 60);
    b.priority = 1;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    step(
        &f, 50,
        &(aegis_core_event){
            .kind = AEGIS_CORE_SUBMIT, .model = 1, .job = 2, .release_ns = 50, .job_priority = 99});
    submit(&f, 51, 0, 3, 51);
    done(&f, 52); /* a comes between, then b's first job goes on, not the urgent second one */
    done(&f, 57);
    done(&f, 67);
    expect(&f, "[   0] lane0 dispatches b#1 (key 1: only-ready)\n"
               "[  52] lane0 dispatches a#3 (key 0 < 1 of b: smaller-key)\n"
               "[  57] a#3 completes at 57 (released 51, due 151, response 6: in-time)\n"
               "[  57] lane0 dispatches b#1.1 (key 1 = 1 of b: tie-sequence)\n"
               "[  67] b#1 misses at 67 (released 0, due 50, response 67: unexcused)\n"
               "[  67] lane0 dispatches b#2 (key 1: only-ready)\n");
    end(&f);
}

static void policies_see_the_admitted_deadline(void **state)
{
    (void)state;
    begin(&f, "np-edf");
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 150, 10);
    add(&f, &a);
    add(&f, &b);
    step(
        &f, 0,
        &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 1, .deadline_ns = 900, .more = true});
    submit(&f, 0, 1, 2, 0);
    done(&f, 10);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100 < 150 of b: smaller-key)\n"
               "[  10] a#1 completes at 10 (released 0, due 900, response 10: in-time)\n"
               "[  10] lane0 dispatches b#2 (key 150: only-ready)\n");
    end(&f);
}

static void releases_of_one_instant_compete_before_any_runs(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 50, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 20);
    submit(&f, 1, 1, 2, 20);
    timer(&f, 10); /* early: harmless */
    timer(&f, 20);
    done(&f, 30);
    timer(&f, 31); /* stale: harmless */
    done(&f, 40);
    expect(&f, "[   0] timer 20\n"
               "[  20] lane0 dispatches b#2 (key 50 < 100 of a: smaller-key)\n"
               "[  20] timer 31\n"
               "[  30] b#2 completes at 30 (released 20, due 70, response 10: in-time)\n"
               "[  30] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  30] timer 41\n"
               "[  40] a#1 completes at 40 (released 20, due 120, response 20: in-time)\n"
               "[  40] timer never\n");
    end(&f);
}

static void lanes_are_filled_in_order_and_apart(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-rm", &policy, NULL), AEGIS_OK);
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 3, .max_models = 8, .max_jobs = 16});
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 50, 10), c = plain(2, 70, 10);
    a.lane = 2;
    b.lane = 0;
    c.lane = 2;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    submit_more(&f, 0, 0, 1, 0);
    submit_more(&f, 0, 1, 2, 0);
    submit(&f, 0, 2, 3, 0);
    assert_false(aegis_core_lane_idle(f.core, 0));
    assert_true(aegis_core_lane_idle(f.core, 1));
    assert_int_equal(aegis_core_ready_count(f.core, 2), 1);
    done_with(&f, 5, 2, AEGIS_OK);
    expect(&f, "[   0] lane0 dispatches b#2 (key 50: only-ready)\n"
               "[   0] lane2 dispatches c#3 (key 70 < 100 of a: smaller-key)\n"
               "[   5] c#3 completes at 5 (released 0, due 70, response 5: in-time)\n"
               "[   5] lane2 dispatches a#1 (key 100: only-ready)\n");
    end(&f);
}

/* ---- background ---- */

static void background_runs_when_no_deadline_waits(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10), b = background(1, 1, 95);
    add(&f, &a);
    add(&f, &b);
    submit_more(&f, 0, 1, 1, 0);
    submit(&f, 0, 0, 2, 0);
    done(&f, 10);
    submit(&f, 12, 1, 3, 12);
    submit(&f, 100, 0, 4, 100);
    done(&f, 101);
    expect(&f, "[   0] lane0 dispatches a#2 (key 100: only-ready)\n"
               "[  10] a#2 completes at 10 (released 0, due 100, response 10: in-time)\n"
               "[  10] lane0 dispatches b#1 (key 0: background)\n"
               "[ 101] b#1 completes at 101 (released 0, due never, response 101: in-time)\n"
               "[ 101] lane0 dispatches a#4 (key 100: only-ready)\n");
    end(&f);
}

static void background_shares_by_weight(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = background(0, 1, 10), b = background(1, 3, 10);
    uint64_t job = 1, now = 0, runs[2] = {0};
    a.queue_depth = b.queue_depth = 2;
    add(&f, &a);
    add(&f, &b);
    for (uint32_t i = 0; i < 4; i++) {
        submit_more(&f, 0, i % 2, job++, 0);
    }
    timer(&f, 0);
    for (int i = 0; i < 400; i++) {
        uint32_t model = 0, segment = 0;
        uint64_t running = 0;
        assert_true(aegis_core_lane_running(f.core, 0, &model, &running, &segment));
        runs[model]++;
        f.length = 0;
        now += 10;
        done(&f, now);
        submit(&f, now, model, job++, now);
    }
    assert_int_equal(runs[0], 100);
    assert_int_equal(runs[1], 300);
    end(&f);
}

static void background_saves_no_credit_while_it_has_no_work(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = background(0, 1, 10), b = background(1, 1, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    for (uint64_t i = 1; i <= 20; i++) {
        submit(&f, i * 10, 1, 1 + i, i * 10);
        done(&f, i * 10);
    }
    f.length = 0;
    /* b has used 200; a comes anew and must not run 20 times in a row */
    submit_more(&f, 200, 0, 100, 200);
    submit_more(&f, 200, 0, 101, 200);
    submit(&f, 200, 1, 102, 200);
    done(&f, 210);
    done(&f, 220);
    done(&f, 230);
    expect(&f, "[ 210] b#21 completes at 210 (released 200, due never, response 10: in-time)\n"
               "[ 210] lane0 dispatches a#100 (key 200 = 200 of a: background)\n"
               "[ 220] a#100 completes at 220 (released 200, due never, response 20: in-time)\n"
               "[ 220] lane0 dispatches a#101 (key 210 = 210 of b: background)\n"
               "[ 230] a#101 completes at 230 (released 200, due never, response 30: in-time)\n"
               "[ 230] lane0 dispatches b#102 (key 210: background)\n");
    end(&f);
}

/* A fifth of the time: ten of work, forty of rest, whoever else runs meanwhile. */
static void background_with_a_share_rests_after_each_segment(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = background(0, 1, 10), b = plain(1, 100, 70);
    a.share_ppm = AEGIS_SHARE_WHOLE / 5;
    a.queue_depth = 2;
    add(&f, &a);
    add(&f, &b);
    submit_more(&f, 0, 0, 1, 0);
    submit(&f, 0, 0, 2, 0);
    done(&f, 10);
    timer(&f, 59); /* early */
    timer(&f, 60);
    submit(&f, 63, 0, 3, 63);
    submit(&f, 64, 1, 4, 64); /* it ends behind the rest */
    done(&f, 65);
    done(&f, 134);
    expect(&f, "[   0] lane0 dispatches a#1 (key 0 = 0 of a: background)\n"
               "[   0] timer 11\n"
               "[  10] a#1 completes at 10 (released 0, due never, response 10: in-time)\n"
               "[  10] timer 50\n"
               "[  59] lane0 dispatches a#2 (key 10: background)\n"
               "[  59] timer 70\n"
               "[  65] a#2 completes at 65 (released 0, due never, response 65: in-time)\n"
               "[  65] lane0 dispatches b#4 (key 100: only-ready)\n"
               "[  65] timer 136\n"
               "[ 134] b#4 completes at 134 (released 64, due 164, response 70: in-time)\n"
               "[ 134] lane0 dispatches a#3 (key 16: background)\n"
               "[ 134] timer 145\n");
    end(&f);
}

static void one_that_rests_can_leave(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = background(0, 1, 10);
    a.share_ppm = 1;
    a.queue_depth = 2;
    add(&f, &a);
    submit_more(&f, 0, 0, 1, 0);
    submit(&f, 0, 0, 2, 0);
    done(&f, 10);
    step(&f, 20, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 0});
    add(&f, &a);
    submit(&f, 30, 0, 3, 30);
    expect(&f, "[   0] lane0 dispatches a#1 (key 0 = 0 of a: background)\n"
               "[  10] a#1 completes at 10 (released 0, due never, response 10: in-time)\n"
               "[  20] a#2 aborted (removed, ok)\n"
               "[  30] lane0 dispatches a#3 (key 0: background)\n");
    end(&f);
}

/* ---- a policy that waits ---- */

static int64_t wait_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)job;
    return model->priority;
}

/* Leaves the lane idle when a release is near. */
static uint64_t wait_until(void *self, const aegis_policy_view *view)
{
    (void)self;
    assert_true(view->head != NULL && view->ready_count >= 1);
    return view->next_release_ns != UINT64_MAX && view->next_release_ns - view->now_ns <= 20
               ? view->next_release_ns
               : 0;
}

static uint32_t added, removed;
static void note_add(void *self, const aegis_policy_model *model)
{
    (void)self;
    assert_true(model->bound_ns > 0);
    added++;
}
static void note_remove(void *self, uint32_t model)
{
    (void)self;
    (void)model;
    removed++;
}

static const aegis_policy_ops waiting_ops = {.version = AEGIS_POLICY_OPS_VERSION,
                                             .name = "waiting",
                                             .key = wait_key,
                                             .add_model = note_add,
                                             .remove_model = note_remove,
                                             .idle_until = wait_until};

static void a_policy_may_wait_for_a_release(void **state)
{
    (void)state;
    const aegis_policy policy = {.ops = &waiting_ops};
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 1, .max_models = 8, .max_jobs = 16});
    f.timers = true;
    added = removed = 0;
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 50, 10), c = background(2, 1, 5);
    a.priority = 2;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    submit(&f, 0, 1, 1, 15);
    submit(&f, 1, 2, 3, 10); /* a background release is nothing to wait for */
    submit(&f, 2, 0, 2, 2);
    timer(&f, 10);
    timer(&f, 15);
    done(&f, 25);
    expect(&f, "[   0] timer 15\n"
               "[   1] timer 10\n"
               "[   2] lane0 idles until 15 (policy-waits)\n"
               "[  10] timer 15\n"
               "[  15] lane0 dispatches b#1 (key 0 < 2 of a: smaller-key)\n"
               "[  15] timer 26\n"
               "[  25] b#1 completes at 25 (released 15, due 65, response 10: in-time)\n"
               "[  25] lane0 dispatches a#2 (key 2: only-ready)\n"
               "[  25] timer 36\n");
    step(&f, 26, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 1});
    step(&f, 26, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 0});
    assert_int_equal(added, 2);
    assert_int_equal(removed, 1); /* the other still runs */
    done(&f, 27);
    assert_int_equal(removed, 2);
    end(&f);
}

/* ---- scale ---- */

#define MANY 1024

static void a_thousand_ready_jobs_run_in_order(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-edf", &policy, NULL), AEGIS_OK);
    begin_with(&f, &policy,
               &(aegis_core_config){.lanes = 1, .max_models = MANY, .max_jobs = 2 * MANY});
    for (uint32_t i = 0; i < MANY; i++) {
        aegis_core_model model = plain(i, 1000000, 1);
        model.deadline_ns = 5000 + (uint64_t)i * 7919 % 4093;
        add(&f, &model);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        submit_more(&f, 0, i, i + 1, 0);
    }
    timer(&f, 0);
    assert_int_equal(aegis_core_ready_count(f.core, 0), MANY - 1);
    int64_t last = -1;
    for (uint64_t i = 0; i < MANY; i++) {
        const aegis_core_action *action = &f.actions[i == 0 ? 0 : 1];
        assert_int_equal(action->kind, AEGIS_TRACE_DISPATCH);
        assert_true(action->b >= last);
        last = action->b;
        f.length = 0;
        done(&f, i + 1);
    }
    assert_true(aegis_core_lane_idle(f.core, 0));
    end(&f);
}

static void many_jobs_of_one_model_run_in_order(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-fp", &policy, NULL), AEGIS_OK);
    begin_with(&f, &policy,
               &(aegis_core_config){.lanes = 1, .max_models = 1, .max_jobs = 2 * MANY});
    aegis_core_model model = plain(0, 1, 1);
    model.queue_depth = MANY;
    model.deadline_ns = 1000000;
    add(&f, &model);
    for (uint64_t i = 0; i < MANY; i++) {
        step(&f, MANY,
             &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                 .job = i + 1,
                                 .release_ns = i,
                                 .job_priority = (int32_t)(i * 31 % 17),
                                 .more = true});
    }
    submit(&f, MANY, 0, MANY + 1, MANY);
    expect(&f, "[1024] a#1025 rejected (queue-full: 1024)\n"
               "[1024] a#1 overruns 1024 > 0 (excused-wake)\n"
               "[1024] lane0 dispatches a#7 (key 0 = 0 of a: tie-sequence)\n");
    bool seen[MANY] = {false};
    int32_t last = 17;
    for (uint64_t i = 0; i < MANY; i++) {
        uint32_t number = 0, segment = 0;
        uint64_t job = 0;
        assert_true(aegis_core_lane_running(f.core, 0, &number, &job, &segment));
        int32_t priority = (int32_t)((job - 1) * 31 % 17);
        assert_true(priority <= last && !seen[job - 1]);
        last = priority;
        seen[job - 1] = true;
        f.length = 0;
        done(&f, MANY + i + 1);
    }
    assert_true(aegis_core_lane_idle(f.core, 0));
    assert_int_equal(counters(&f, 0).completed, MANY);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fifo_orders_by_release),
        cmocka_unit_test(np_rm_orders_by_period),
        cmocka_unit_test(np_dm_orders_by_relative_deadline),
        cmocka_unit_test(np_fp_orders_by_priority),
        cmocka_unit_test(np_edf_orders_by_absolute_deadline),
        cmocka_unit_test(ties_go_to_the_lower_model),
        cmocka_unit_test(ties_within_a_model_go_by_priority_then_sequence),
        cmocka_unit_test(segments_yield_to_smaller_keys_and_go_on),
        cmocka_unit_test(a_started_job_goes_before_others_of_its_model),
        cmocka_unit_test(policies_see_the_admitted_deadline),
        cmocka_unit_test(releases_of_one_instant_compete_before_any_runs),
        cmocka_unit_test(lanes_are_filled_in_order_and_apart),
        cmocka_unit_test(background_runs_when_no_deadline_waits),
        cmocka_unit_test(background_shares_by_weight),
        cmocka_unit_test(background_saves_no_credit_while_it_has_no_work),
        cmocka_unit_test(background_with_a_share_rests_after_each_segment),
        cmocka_unit_test(one_that_rests_can_leave),
        cmocka_unit_test(a_policy_may_wait_for_a_release),
        cmocka_unit_test(a_thousand_ready_jobs_run_in_order),
        cmocka_unit_test(many_jobs_of_one_model_run_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
