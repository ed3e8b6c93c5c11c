/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a core, what it refuses, submissions, removal and stop. */
#include "core_fixture.h"

#include <support/test_allocator.h>

#include <aegisrt/ext/policy_ops.h>

static fixture f;

static aegis_policy np_rm(void)
{
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-rm", &policy, NULL), AEGIS_OK);
    return policy;
}

/* ---- create ---- */

static void refuse_config(aegis_core_config config, const char *word)
{
    aegis_policy policy = np_rm();
    aegis_allocator allocator = aegis_allocator_default();
    aegis_core *core = NULL;
    aegis_error err = {0};
    assert_int_equal(aegis_core_create(&config, &policy, &allocator, &core, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, word));
    assert_null(core);
}

static void create_refuses_bad_limits(void **state)
{
    (void)state;
    refuse_config((aegis_core_config){.lanes = 0, .max_models = 1, .max_jobs = 1}, "lanes is 0");
    refuse_config((aegis_core_config){.lanes = 65, .max_models = 1, .max_jobs = 1}, "lanes is 65");
    refuse_config((aegis_core_config){.lanes = 1, .max_models = 0, .max_jobs = 1}, "max_models");
    refuse_config((aegis_core_config){.lanes = 1, .max_models = 65535, .max_jobs = 1},
                  "max_models is 65535");
    refuse_config((aegis_core_config){.lanes = 1, .max_models = 1, .max_jobs = 0}, "max_jobs");
    refuse_config((aegis_core_config){.lanes = 1, .max_models = 1, .max_jobs = (1 << 24) + 1},
                  "max_jobs");
    refuse_config((aegis_core_config){.lanes = 1,
                                      .max_models = 1,
                                      .max_jobs = 1,
                                      .wake_bound_ns = AEGIS_CORE_MAX_DURATION_NS + 1},
                  "wake_bound_ns");
    refuse_config((aegis_core_config){.lanes = 1,
                                      .max_models = 1,
                                      .max_jobs = 1,
                                      .launch_bound_ns = AEGIS_CORE_MAX_DURATION_NS + 1},
                  "launch_bound_ns");
}

static int64_t no_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)model;
    (void)job;
    return 0;
}

static void refuse_policy(const aegis_policy *policy, const char *word)
{
    const aegis_core_config config = {.lanes = 1, .max_models = 1, .max_jobs = 1};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_core *core = NULL;
    aegis_error err = {0};
    assert_int_equal(aegis_core_create(&config, policy, &allocator, &core, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, word));
}

static void create_refuses_bad_policies(void **state)
{
    (void)state;
    aegis_policy_ops ops = {.version = 3, .name = "odd", .key = no_key};
    refuse_policy(NULL, "no policy");
    refuse_policy(&(aegis_policy){0}, "no policy");
    refuse_policy(&(aegis_policy){.ops = &ops}, "version 3");
    ops.version = 0;
    refuse_policy(&(aegis_policy){.ops = &ops}, "version 0");
    ops.version = AEGIS_POLICY_OPS_VERSION;
    ops.key = NULL;
    refuse_policy(&(aegis_policy){.ops = &ops}, "required op key");
    ops.key = no_key;
    ops.name = NULL;
    refuse_policy(&(aegis_policy){.ops = &ops}, "required op name");
}

static void create_survives_each_failing_allocation(void **state)
{
    (void)state;
    const aegis_core_config config = {.lanes = 2, .max_models = 4, .max_jobs = 8};
    aegis_policy policy = np_rm();
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    uint64_t n = 1;
    for (; status != AEGIS_OK && n < 100; n++) {
        test_allocator counting = {0};
        aegis_allocator allocator = test_allocator_make(&counting);
        counting.fail_at = n;
        aegis_core *core = NULL;
        status = aegis_core_create(&config, &policy, &allocator, &core, NULL);
        assert_true(status == AEGIS_OK || (status == AEGIS_ERROR_NO_MEMORY && core == NULL));
        aegis_core_destroy(core);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    assert_int_equal(status, AEGIS_OK);
    assert_in_range(n, 5, 20);
    aegis_core_destroy(NULL);
}

/* ---- malformed events ---- */

/* Refused with INVALID_ARGUMENT, and a later step answers as if it had never been. */
static void refuse(uint64_t now, const aegis_core_event *event, const char *word)
{
    aegis_error err = {0};
    size_t count = 4711;
    f.actions[0].job = 4711;
    assert_int_equal(aegis_core_step(f.core, now, event, f.actions, &count, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    if (strstr(err.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    }
    assert_int_equal(count, 4711);
    assert_int_equal(f.actions[0].job, 4711);
    check_accounts(&f);
}

static void refuse_add(void (*spoil)(aegis_core_model *), const char *word)
{
    aegis_core_model model = plain(3, 100, 10);
    spoil(&model);
    refuse(f.now_ns, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model}, word);
}

#define SPOIL(name, what)                     \
    static void name(aegis_core_model *model) \
    {                                         \
        what;                                 \
    }
SPOIL(spoil_number, model->model = FIXTURE_MODELS)
SPOIL(spoil_taken, model->model = 0)
SPOIL(spoil_lane, model->lane = 1)
SPOIL(spoil_period, model->period_ns = 0)
SPOIL(spoil_long_period, model->period_ns = UINT64_MAX)
SPOIL(spoil_deadline, model->deadline_ns = 0)
SPOIL(spoil_long_deadline, model->deadline_ns = UINT64_MAX)
SPOIL(spoil_weight, (model->background = true, model->weight = 0))
SPOIL(spoil_share, (model->background = true, model->share_ppm = 1000001))
SPOIL(spoil_share_of_a_deadline, model->share_ppm = 5)
SPOIL(spoil_jitter, model->jitter_ns = UINT64_MAX)
SPOIL(spoil_no_queue, model->queue_depth = 0)
SPOIL(spoil_long_queue, model->queue_depth = 1025)
SPOIL(spoil_overrun, model->overrun = (aegis_overrun_rule)3)
SPOIL(spoil_early, model->early = (aegis_early_rule)2)
SPOIL(spoil_budget, model->compute_budget_ns = UINT64_MAX)
SPOIL(spoil_no_segments, model->segment_count = 0)
SPOIL(spoil_many_segments, model->segment_count = 65)
SPOIL(spoil_bound, model->segment_bound_ns[0] = 0)
SPOIL(spoil_long_bound, model->segment_bound_ns[0] = UINT64_MAX)
SPOIL(spoil_enforceable, model->segment_enforceable_ns[0] = 9)
SPOIL(spoil_second_segment, model->segment_count = 2)

static void malformed_models_are_refused(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10);
    add(&f, &a);
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD}, "without its limits");
    refuse_add(spoil_number, "not below max_models");
    refuse_add(spoil_taken, "already there");
    refuse_add(spoil_lane, "lane 1");
    refuse_add(spoil_period, "period_ns 0");
    refuse_add(spoil_long_period, "period_ns");
    refuse_add(spoil_deadline, "deadline_ns 0");
    refuse_add(spoil_long_deadline, "deadline_ns");
    refuse_add(spoil_weight, "weight 0");
    refuse_add(spoil_share, "share_ppm 1000001");
    refuse_add(spoil_share_of_a_deadline, "share_ppm 5");
    refuse_add(spoil_jitter, "jitter_ns");
    refuse_add(spoil_no_queue, "queue_depth 0");
    refuse_add(spoil_long_queue, "queue_depth 1025");
    refuse_add(spoil_overrun, "overrun 3");
    refuse_add(spoil_early, "early 2");
    refuse_add(spoil_budget, "compute_budget_ns");
    refuse_add(spoil_no_segments, "segment_count 0");
    refuse_add(spoil_many_segments, "segment_count 65");
    refuse_add(spoil_bound, "segment_bound_ns 0");
    refuse_add(spoil_long_bound, "segment_bound_ns");
    refuse_add(spoil_enforceable, "segment_enforceable_ns 9");
    refuse_add(spoil_second_segment, "segment_bound_ns 0");
    submit(&f, 0, 0, 1, 0);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n");
    end(&f);
}

static void malformed_events_change_nothing(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = plain(0, 100, 10), b = cut(1, 200, 2, 5);
    add(&f, &a);
    add(&f, &b);
    refuse(0, &(aegis_core_event){.kind = (aegis_core_event_kind)99}, "kind 99");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 2}, "not admitted");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT, .model = 2}, "not admitted");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 4711}, "4711");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .model = 8, .job = 1}, "max_models");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 0}, "reserved");
    refuse(
        0,
        &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 1, .release_ns = UINT64_C(1) << 63},
        "above INT64_MAX");
    refuse(
        0,
        &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 1, .deadline_ns = UINT64_C(1) << 63},
        "above INT64_MAX");
    refuse(UINT64_C(1) << 63, &(aegis_core_event){.kind = AEGIS_CORE_TIMER}, "below 2^63");
    refuse(3, &(aegis_core_event){.kind = AEGIS_CORE_TIMER, .seen_ns = 4}, "was seen at 4");
    refuse(AEGIS_CORE_MAX_DURATION_NS + 2,
           &(aegis_core_event){.kind = AEGIS_CORE_TIMER, .seen_ns = 1}, "was seen at 1");
    refuse(0, &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_DONE, .job = 1}, "does not run");

    submit(&f, 10, 1, 7, 10);
    refuse(9, &(aegis_core_event){.kind = AEGIS_CORE_TIMER}, "never goes back");
    refuse(10, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 7}, "in use");
    aegis_core_event event = done_event(&f, 12, 0);
    event.lane = 1;
    refuse(12, &event, "lane 1 is not below lanes 1");
    event = done_event(&f, 12, 0);
    event.job = 8;
    refuse(12, &event, "job 8");
    event = done_event(&f, 12, 0);
    event.model = 0;
    refuse(12, &event, "model 0");
    event = done_event(&f, 12, 0);
    event.segment = 1;
    refuse(12, &event, "segment 1");
    event = done_event(&f, 13, 0);
    refuse(12, &event, "end 13 <= now 12");
    event.start_ns = 14;
    refuse(20, &event, "start 14 <= end 13");
    done(&f, 15);
    expect(&f, "[  10] lane0 dispatches b#7 (key 200: only-ready)\n"
               "[  10] timer 16\n"
               "[  15] lane0 dispatches b#7.1 (key 200: next-segment)\n"
               "[  15] timer 21\n");
    aegis_core_counters c;
    assert_int_equal(aegis_core_model_counters(f.core, 8, &c, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_true(aegis_core_lane_idle(f.core, 9));
    assert_true(aegis_core_lane_whole(f.core, 9));
    assert_int_equal(aegis_core_ready_count(f.core, 9), 0);
    end(&f);
}

/* ---- submissions ---- */

static void early_submissions_are_rejected(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    done(&f, 10);
    submit(&f, 50, 0, 2, 99);
    submit(&f, 100, 0, 2, 100); /* the number of a refused job is free again */
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  10] a#1 completes at 10 (released 0, due 100, response 10: in-time)\n"
               "[  50] a#2 rejected (too-early: 100)\n"
               "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n");
    assert_int_equal(counters(&f, 0).refused, 1);
    assert_int_equal(counters(&f, 0).jobs, 2);
    end(&f);
}

static void early_submissions_are_delayed_with_their_deadline(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10);
    a.early = AEGIS_EARLY_DELAY;
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    done(&f, 10);
    step(&f, 20,
         &(aegis_core_event){
             .kind = AEGIS_CORE_SUBMIT, .job = 2, .release_ns = 20, .deadline_ns = 130});
    submit(&f, 20, 0, 3, 20);
    assert_int_equal(aegis_core_next_timer(f.core), 100);
    timer(&f, 100);
    done(&f, 110);
    timer(&f, 200);
    done(&f, 210);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  10] a#1 completes at 10 (released 0, due 100, response 10: in-time)\n"
               "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n"
               "[ 110] a#2 completes at 110 (released 100, due 210, response 10: in-time)\n"
               "[ 200] lane0 dispatches a#3 (key 100: only-ready)\n"
               "[ 210] a#3 completes at 210 (released 200, due 300, response 10: in-time)\n");
    end(&f);
}

static void deadlines_may_be_later_never_earlier(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10), b = background(1, 1, 10);
    add(&f, &a);
    add(&f, &b);
    step(&f, 0,
         &(aegis_core_event){
             .kind = AEGIS_CORE_SUBMIT, .job = 1, .release_ns = 5, .deadline_ns = 104});
    step(&f, 0, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 2, .deadline_ns = 100});
    done(&f, 10);
    step(&f, 100,
         &(aegis_core_event){
             .kind = AEGIS_CORE_SUBMIT, .job = 3, .release_ns = 100, .deadline_ns = 300});
    done(&f, 110);
    step(&f, 120, /* background has none */
         &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .model = 1, .job = 4, .deadline_ns = 1});
    done(&f, 130);
    expect(&f, "[   0] a#1 rejected (deadline-earlier: 105)\n"
               "[   0] lane0 dispatches a#2 (key 100: only-ready)\n"
               "[  10] a#2 completes at 10 (released 0, due 100, response 10: in-time)\n"
               "[ 100] lane0 dispatches a#3 (key 100: only-ready)\n"
               "[ 110] a#3 completes at 110 (released 100, due 300, response 10: in-time)\n"
               "[ 120] lane0 dispatches b#4 (key 0: background)\n"
               "[ 130] b#4 completes at 130 (released 0, due never, response 130: in-time)\n");
    assert_int_equal(counters(&f, 0).refused, 1);
    assert_int_equal(counters(&f, 0).jobs, 2);
    end(&f);
}

static void full_queues_drop(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 1, 10);
    a.deadline_ns = 1000;
    a.queue_depth = 2;
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 1, 0, 2, 1);
    submit(&f, 2, 0, 3, 2);
    done(&f, 10);
    submit(&f, 11, 0, 4, 11);
    expect(&f, "[   0] lane0 dispatches a#1 (key 1: only-ready)\n"
               "[   2] a#3 rejected (queue-full: 2)\n"
               "[  10] a#1 completes at 10 (released 0, due 1000, response 10: in-time)\n"
               "[  10] lane0 dispatches a#2 (key 1: only-ready)\n");
    aegis_core_counters c = counters(&f, 0);
    assert_int_equal(c.jobs, 4);
    assert_int_equal(c.dropped, 1);
    assert_int_equal(c.pending, 2);
    end(&f);
}

static void a_full_pool_drops_too(void **state)
{
    (void)state;
    aegis_policy policy = np_rm();
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 1, .max_models = 2, .max_jobs = 1});
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 100, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 0);
    done(&f, 10);
    submit(&f, 20, 1, 2, 20);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   0] b#2 rejected (queue-full: 4)\n"
               "[  10] a#1 completes at 10 (released 0, due 100, response 10: in-time)\n"
               "[  20] lane0 dispatches b#2 (key 100: only-ready)\n");
    end(&f);
}

static void slots_are_the_lowest_free_ones(void **state)
{
    (void)state;
    aegis_policy policy = np_rm();
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 1, .max_models = 2, .max_jobs = 200});
    aegis_core_model a = plain(0, 1, 1);
    a.deadline_ns = 100000;
    a.queue_depth = 70;
    add(&f, &a);
    for (uint64_t job = 1; job <= 70; job++) {
        submit_more(&f, 100, 0, job, job);
    }
    timer(&f, 100);
    for (uint32_t i = 0; i < 70; i++) {
        const aegis_core_action *action = NULL;
        for (size_t k = 0; k < f.count; k++) {
            action = f.actions[k].kind == AEGIS_TRACE_DISPATCH ? &f.actions[k] : action;
        }
        assert_non_null(action);
        assert_int_equal(action->slot, action->job - 1);
        done(&f, 101 + i);
        assert_int_equal(f.actions[0].slot, i); /* the end says which slot is free */
    }
    f.length = 0;
    submit(&f, 300, 0, 99, 300);
    assert_int_equal(f.actions[0].slot, 0);
    submit(&f, 301, 0, 98, 301);
    done(&f, 301);
    submit(&f, 302, 0, 97, 302);
    done(&f, 302);
    assert_int_equal(f.actions[1].kind, AEGIS_TRACE_DISPATCH);
    assert_int_equal(f.actions[1].job, 97);
    assert_int_equal(f.actions[1].slot, 0);
    end(&f);
}

/* ---- removal and stop ---- */

static void removal_ends_all_jobs(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 10, 5), b = plain(1, 100, 20);
    a.deadline_ns = 100;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    submit(&f, 1, 0, 2, 1);
    submit(&f, 2, 0, 3, 11);
    submit(&f, 11, 0, 4, 40);
    step(&f, 12, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE});
    submit(&f, 13, 0, 5, 50);
    add(&f, &a); /* the number can be used at once, with counters anew */
    submit(&f, 14, 0, 6, 14);
    done(&f, 20);
    expect(&f, "[   0] lane0 dispatches b#1 (key 100: only-ready)\n"
               "[  12] a#2 aborted (removed, ok)\n"
               "[  12] a#3 aborted (removed, ok)\n"
               "[  12] a#4 aborted (removed, ok)\n"
               "[  13] a#5 rejected (not-admitted: 0)\n"
               "[  20] b#1 completes at 20 (released 0, due 100, response 20: in-time)\n"
               "[  20] lane0 dispatches a#6 (key 10: only-ready)\n");
    assert_int_equal(counters(&f, 0).jobs, 1);
    end(&f);
}

static void removal_waits_for_what_runs(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = cut(0, 100, 2, 10), b = plain(1, 200, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 0, 0, 2, 100);
    submit(&f, 1, 1, 3, 1);
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE});
    refuse(3, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE}, "not admitted");
    refuse(3, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &a}, "already there");
    submit(&f, 4, 0, 4, 200);
    done(&f, 10);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   4] a#4 rejected (not-admitted: 0)\n"
               "[  10] a#1 aborted (removed, ok)\n"
               "[  10] a#2 aborted (removed, ok)\n"
               "[  10] lane0 dispatches b#3 (key 200: only-ready)\n");
    aegis_core_counters c = counters(&f, 0); /* they stay */
    assert_int_equal(c.aborted, 2);
    assert_int_equal(c.refused, 1);
    end(&f);

    begin(&f, "np-rm");
    aegis_core_model last = plain(0, 100, 10);
    add(&f, &last);
    submit(&f, 0, 0, 1, 0);
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE});
    done(&f, 8);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   8] a#1 completes at 8 (released 0, due 100, response 8: in-time)\n");
    end(&f);
}

static void stop_ends_dispatching(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = cut(0, 100, 2, 10), b = plain(1, 200, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 1, 1, 2, 1);
    submit(&f, 1, 0, 3, 100);
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    submit(&f, 3, 1, 4, 300);
    done(&f, 9);
    timer(&f, 100);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   0] timer 11\n"
               "[   3] b#4 rejected (stopping: 0)\n"
               "[   9] timer never\n");
    assert_int_equal(counters(&f, 0).pending, 2);
    assert_int_equal(counters(&f, 1).pending, 1);
    end(&f);
}

static void overruns_are_enforced_after_stop(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    step(&f, 2, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    timer(&f, 11);
    done_with(&f, 11, 0, AEGIS_ERROR_TERMINATED);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  11] a#1 terminated past 10 (overrun)\n"
               "[  11] a#1 overruns 11 > 10 (excused-overrun)\n"
               "[  11] a#1 aborted (overrun, terminated)\n"
               "[  11] lane0 is whole since 11 (excused-overrun)\n");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_refuses_bad_limits),
        cmocka_unit_test(create_refuses_bad_policies),
        cmocka_unit_test(create_survives_each_failing_allocation),
        cmocka_unit_test(malformed_models_are_refused),
        cmocka_unit_test(malformed_events_change_nothing),
        cmocka_unit_test(early_submissions_are_rejected),
        cmocka_unit_test(early_submissions_are_delayed_with_their_deadline),
        cmocka_unit_test(deadlines_may_be_later_never_earlier),
        cmocka_unit_test(full_queues_drop),
        cmocka_unit_test(a_full_pool_drops_too),
        cmocka_unit_test(slots_are_the_lowest_free_ones),
        cmocka_unit_test(removal_ends_all_jobs),
        cmocka_unit_test(removal_waits_for_what_runs),
        cmocka_unit_test(stop_ends_dispatching),
        cmocka_unit_test(overruns_are_enforced_after_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
