/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when a bound does not hold: overruns, budgets, void lanes, failures. */
#include "core_recorded.h"

static fixture f;

/* A model whose lane may be occupied four longer than the bound. */
static aegis_core_model
guarded(uint32_t number, uint64_t period, uint64_t bound, aegis_overrun_rule rule)
{
    aegis_core_model model = plain(number, period, bound);
    model.segment_enforceable_ns[0] = bound + 4;
    model.overrun = rule;
    return model;
}

/* ---- overrun rules ---- */

static void abort_terminates_past_the_bound(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_ABORT);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    timer(&f, 10); /* a bound is kept at the very instant */
    timer(&f, 11);
    done_with(&f, 14, 0, AEGIS_ERROR_TERMINATED);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   0] timer 11\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  11] a#1 terminated past 10 (overrun)\n"
               "[  11] timer 15\n"
               "[  14] a#1 aborted (overrun, terminated)\n"
               "[  14] timer never\n");
    assert_true(aegis_core_lane_whole(f.core, 0));
    aegis_core_counters c = counters(&f, 0);
    assert_int_equal(c.overruns, 1);
    assert_int_equal(c.aborted, 1);
    submit(&f, 100, 0, 2, 100); /* termination is no fault */
    expect(&f, "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n[ 100] timer 111\n");
    end(&f);
}

static void a_job_that_ends_before_its_termination_counts(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_ABORT);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    timer(&f, 11);
    done(&f, 12);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  11] a#1 terminated past 10 (overrun)\n"
               "[  12] a#1 completes at 12 (released 0, due 100, response 12: in-time)\n");
    end(&f);
}

static void a_terminated_job_runs_no_further_segment(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = cut(0, 100, 2, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    timer(&f, 11);
    done(&f, 12);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  11] a#1 terminated past 10 (overrun)\n"
               "[  11] a#1 overruns 11 > 10 (excused-overrun)\n"
               "[  12] a#1 aborted (overrun, terminated)\n"
               "[  12] lane0 is whole since 12 (excused-overrun)\n");
    end(&f);
}

static void skip_drops_the_next_release(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_SKIP);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 1, 0, 2, 100);
    timer(&f, 11);
    done(&f, 13);
    timer(&f, 100);
    submit(&f, 200, 0, 3, 200);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  13] a#1 completes at 13 (released 0, due 100, response 13: in-time)\n"
               "[ 100] a#2 skipped at 100 (after-overrun)\n"
               "[ 200] lane0 dispatches a#3 (key 100: only-ready)\n");
    assert_int_equal(counters(&f, 0).skipped, 1);
    end(&f);
}

static void report_only_records(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_REPORT);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    timer(&f, 11);
    done(&f, 14);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  14] a#1 completes at 14 (released 0, due 100, response 14: in-time)\n");
    end(&f);
}

static void an_overrun_that_no_timer_saw_is_found_at_the_end(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_SKIP);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    done(&f, 12);
    submit(&f, 100, 0, 2, 100);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  12] a#1 overruns 12 > 10 (overrun)\n"
               "[  12] a#1 completes at 12 (released 0, due 100, response 12: in-time)\n"
               "[ 100] a#2 skipped at 100 (after-overrun)\n");
    end(&f);
}

static void the_launch_allowance_comes_before_the_bound(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-rm", &policy, NULL), AEGIS_OK);
    begin_with(
        &f, &policy,
        &(aegis_core_config){.lanes = 1, .max_models = 8, .max_jobs = 16, .launch_bound_ns = 3});
    f.timers = true;
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_ABORT);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n[   0] timer 14\n");
    end(&f);
}

/* ---- compute budget ---- */

static void the_compute_budget_terminates(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    f.timers = true;
    aegis_core_model a = cut(0, 100, 2, 10);
    a.overrun = AEGIS_OVERRUN_REPORT;
    a.compute_budget_ns = 15;
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    done(&f, 9);
    timer(&f, 16);
    done_with(&f, 17, 0, AEGIS_ERROR_TERMINATED);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[   0] timer 11\n"
               "[   9] lane0 dispatches a#1.1 (key 100: next-segment)\n"
               "[   9] timer 16\n"
               "[  16] a#1 terminated past 15 (compute-budget)\n"
               "[  16] timer 20\n"
               "[  17] a#1 aborted (compute-budget, terminated)\n"
               "[  17] timer never\n");
    end(&f);
}

static void a_spent_budget_takes_the_rest_of_the_job(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = cut(0, 100, 3, 10);
    a.compute_budget_ns = 20;
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    done(&f, 10);
    done(&f, 20);
    submit(&f, 100, 0, 2, 100); /* each job has its own */
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  10] lane0 dispatches a#1.1 (key 100: next-segment)\n"
               "[  20] a#1 aborted (compute-budget, terminated)\n"
               "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n");
    end(&f);
}

/* ---- broken proofs and excuses ---- */

static void a_miss_without_a_broken_bound_is_unexcused(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 90), b = plain(1, 120, 90);
    add(&f, &a);
    add(&f, &b);
    submit_more(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 0);
    done(&f, 90);
    done(&f, 180);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100 < 120 of b: smaller-key)\n"
               "[  90] a#1 completes at 90 (released 0, due 100, response 90: in-time)\n"
               "[  90] lane0 dispatches b#2 (key 120: only-ready)\n"
               "[ 180] b#2 misses at 180 (released 0, due 120, response 180: unexcused)\n");
    aegis_core_counters c = counters(&f, 1);
    assert_int_equal(c.missed, 1);
    assert_int_equal(c.unexcused, 1);
    end(&f);
}

static void a_broken_bound_excuses_until_the_lane_is_idle(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_REPORT), b = plain(1, 20, 5);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 1, 1, 2, 1);
    timer(&f, 11);
    assert_true(aegis_core_lane_whole(f.core, 0));
    timer(&f, 15);
    assert_false(aegis_core_lane_whole(f.core, 0));
    done(&f, 30);
    submit(&f, 31, 1, 3, 31);
    done(&f, 35);
    done(&f, 40);
    assert_true(aegis_core_lane_whole(f.core, 0));
    submit(&f, 51, 1, 4, 51);
    done(&f, 56);
    submit(&f, 71, 1, 5, 71);
    aegis_core_event late = done_event(&f, 92, 0);
    late.start_ns = 88; /* within every bound but the deadline */
    step(&f, 92, &late);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  11] a#1 overruns 11 > 10 (overrun)\n"
               "[  15] a#1 overruns 15 > 14 (excused-overrun)\n"
               "[  30] a#1 completes at 30 (released 0, due 100, response 30: in-time)\n"
               "[  30] lane0 dispatches b#2 (key 20: only-ready)\n"
               "[  35] b#2 misses at 35 (released 1, due 21, response 34: excused-overrun)\n"
               "[  35] lane0 dispatches b#3 (key 20: only-ready)\n"
               "[  40] b#3 completes at 40 (released 31, due 51, response 9: in-time)\n"
               "[  40] lane0 is whole since 40 (excused-overrun)\n"
               "[  51] lane0 dispatches b#4 (key 20: only-ready)\n"
               "[  56] b#4 completes at 56 (released 51, due 71, response 5: in-time)\n"
               "[  71] lane0 dispatches b#5 (key 20: only-ready)\n"
               "[  92] b#5 overruns 21 > 5 (excused-overrun)\n"
               "[  92] b#5 misses at 92 (released 71, due 91, response 21: excused-overrun)\n"
               "[  92] lane0 is whole since 92 (excused-overrun)\n");
    aegis_core_counters c = counters(&f, 1);
    assert_int_equal(c.excused, 2);
    assert_int_equal(c.unexcused, 0);
    end(&f);
}

static void occupancy_counts_until_the_end_is_processed(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = guarded(0, 100, 10, AEGIS_OVERRUN_REPORT);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    aegis_core_event event = done_event(&f, 9, 0);
    step(&f, 15, &event); /* ran 9, but the lane was taken for 15 > 14 */
    expect(&f, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  15] a#1 overruns 15 > 14 (excused-overrun)\n"
               "[  15] a#1 completes at 9 (released 0, due 100, response 9: in-time)\n"
               "[  15] lane0 is whole since 15 (excused-overrun)\n");
    assert_int_equal(counters(&f, 0).overruns, 0);
    end(&f);
}

static void a_late_wake_excuses(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-rm", &policy, NULL), AEGIS_OK);
    begin_with(
        &f, &policy,
        &(aegis_core_config){.lanes = 1, .max_models = 8, .max_jobs = 16, .wake_bound_ns = 5});
    aegis_core_model a = plain(0, 20, 10), b = plain(1, 100, 10), c = background(2, 1, 10);
    b.jitter_ns = 30;
    add(&f, &a);
    add(&f, &b);
    add(&f, &c);
    submit(&f, 5, 0, 1, 0); /* as late as the proof allows */
    done(&f, 15);
    submit(&f, 35, 1, 2, 0); /* its own jitter is in the proof too */
    done(&f, 45);
    submit(&f, 46, 2, 3, 0); /* background is in no proof */
    done(&f, 56);
    submit(&f, 66, 0, 4, 60);
    done(&f, 76);
    submit(&f, 80, 0, 5, 80);
    expect(&f, "[   5] lane0 dispatches a#1 (key 20: only-ready)\n"
               "[  15] a#1 completes at 15 (released 0, due 20, response 15: in-time)\n"
               "[  35] lane0 dispatches b#2 (key 100: only-ready)\n"
               "[  45] b#2 completes at 45 (released 0, due 100, response 45: in-time)\n"
               "[  46] lane0 dispatches c#3 (key 0: background)\n"
               "[  56] c#3 completes at 56 (released 0, due never, response 56: in-time)\n"
               "[  66] a#4 overruns 6 > 5 (excused-wake)\n"
               "[  66] lane0 dispatches a#4 (key 20: only-ready)\n"
               "[  76] a#4 completes at 76 (released 60, due 80, response 16: in-time)\n"
               "[  76] lane0 is whole since 76 (excused-wake)\n"
               "[  80] lane0 dispatches a#5 (key 20: only-ready)\n");
    end(&f);
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 1, .max_models = 8, .max_jobs = 16});
    add(&f, &a);
    submit(&f, 15, 0, 1, 0);
    done(&f, 25);
    expect(&f, "[  15] a#1 overruns 15 > 0 (excused-wake)\n"
               "[  15] lane0 dispatches a#1 (key 20: only-ready)\n"
               "[  25] a#1 misses at 25 (released 0, due 20, response 25: excused-wake)\n"
               "[  25] lane0 is whole since 25 (excused-wake)\n");
    end(&f);
}

static void submit_seen(uint64_t now, uint32_t model, uint64_t job, uint64_t release, uint64_t seen)
{
    step(&f, now,
         &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                             .model = model,
                             .job = job,
                             .release_ns = release,
                             .seen_ns = seen});
}

/* What the driver does after it saw a release makes it no later, and is counted to the segment that
 * waited for it. */
static void a_release_is_late_by_when_it_was_seen(void **state)
{
    (void)state;
    static aegis_trace_record records[FIXTURE_RECORDS];
    begin_recorded(&f, records, 5);
    aegis_core_model a = plain(0, 50, 10), b = plain(1, 200, 10);
    a.segment_enforceable_ns[0] = b.segment_enforceable_ns[0] = 14;
    add(&f, &a);
    add(&f, &b);
    submit_seen(8, 0, 1, 0, 4); /* in time, handled 4 later: held from 4 */
    done(&f, 18);
    submit_seen(58, 0, 2, 50, 52);
    done(&f, 67); /* 15 since it was seen */
    submit_seen(107, 0, 3, 100, 106);
    done(&f, 117);
    submit(&f, 200, 1, 4, 210);
    step(&f, 219, &(aegis_core_event){.kind = AEGIS_CORE_TIMER, .seen_ns = 215});
    done(&f, 229);
    f.timers = true;
    submit_seen(350, 0, 6, 330, 331); /* the driver alone took longer than the segment may */
    timer(&f, 351);
    done(&f, 352);
    f.timers = false;
    submit_seen(420, 1, 5, 415, 412); /* submitted while others that were seen were handed over */
    done(&f, 429);
    expect(&f, "[   8] lane0 dispatches a#1 (key 50: only-ready)\n"
               "[  18] a#1 completes at 18 (released 0, due 50, response 18: in-time)\n"
               "[  58] lane0 dispatches a#2 (key 100: only-ready)\n"
               "[  67] a#2 overruns 15 > 14 (excused-overrun)\n"
               "[  67] a#2 completes at 67 (released 50, due 100, response 17: in-time)\n"
               "[  67] lane0 is whole since 67 (excused-overrun)\n"
               "[ 107] a#3 overruns 6 > 5 (excused-wake)\n"
               "[ 107] lane0 dispatches a#3 (key 150: only-ready)\n"
               "[ 117] a#3 completes at 117 (released 100, due 150, response 17: in-time)\n"
               "[ 117] lane0 is whole since 117 (excused-wake)\n"
               "[ 219] lane0 dispatches b#4 (key 410: only-ready)\n"
               "[ 229] b#4 completes at 229 (released 210, due 410, response 19: in-time)\n"
               "[ 350] lane0 dispatches a#6 (key 380: only-ready)\n"
               "[ 350] timer 351\n"
               "[ 351] a#6 overruns 20 > 14 (excused-overrun)\n"
               "[ 351] timer 361\n"
               "[ 352] a#6 completes at 352 (released 330, due 380, response 22: in-time)\n"
               "[ 352] lane0 is whole since 352 (excused-overrun)\n"
               "[ 352] timer never\n"
               "[ 420] lane0 dispatches b#5 (key 615: only-ready)\n"
               "[ 429] b#5 overruns 17 > 14 (excused-overrun)\n"
               "[ 429] b#5 completes at 429 (released 415, due 615, response 14: in-time)\n"
               "[ 429] lane0 is whole since 429 (excused-overrun)\n");
    expect_same_replayed(&f);
    end(&f);
}

/* Records from elsewhere may say anything. */
static void times_of_seeing_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct {
        aegis_trace_kind kind;
        int64_t a, d;
        bool good, more;
        uint64_t seen_ns;
    } cases[] = {
        {AEGIS_TRACE_EVENT_SUBMIT, 0, 0, true, false, 10}, /* before there was such a time */
        {AEGIS_TRACE_EVENT_SUBMIT, 0, 1, true, true, 10},
        {AEGIS_TRACE_EVENT_SUBMIT, 0, 2 * 3 + 1, true, true, 7},
        {AEGIS_TRACE_EVENT_SUBMIT, 0, 2 * 10, true, false, 0},
        {AEGIS_TRACE_EVENT_SUBMIT, 0, 2 * 11, false, false, 0},
        {AEGIS_TRACE_EVENT_SUBMIT, 0, -1, false, false, 0},
        {AEGIS_TRACE_EVENT_SUBMIT, 0, INT64_MIN, false, false, 0},
        {AEGIS_TRACE_EVENT_TIMER, 4, 0, true, false, 6},
        {AEGIS_TRACE_EVENT_TIMER, 11, 0, false, false, 0},
        {AEGIS_TRACE_EVENT_TIMER, -1, 0, false, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const aegis_trace_record record = {.kind = (uint16_t)cases[i].kind,
                                           .time_ns = 10,
                                           .job = 1,
                                           .a = cases[i].a,
                                           .d = cases[i].d};
        aegis_core_model add;
        aegis_core_event event;
        bool whole;
        const char *wrong = aegis_core_event_from_record(&record, &add, &event, &whole);
        assert_int_equal(wrong == NULL, cases[i].good);
        if (wrong == NULL) {
            assert_int_equal(event.seen_ns, cases[i].seen_ns);
            assert_int_equal(event.more, cases[i].more);
        }
    }
}

static void the_first_cause_stands_and_lanes_are_apart(void **state)
{
    (void)state;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-rm", &policy, NULL), AEGIS_OK);
    begin_with(&f, &policy, &(aegis_core_config){.lanes = 2, .max_models = 8, .max_jobs = 16});
    aegis_core_model a = plain(0, 20, 10), b = plain(1, 30, 10);
    a.overrun = b.overrun = AEGIS_OVERRUN_REPORT;
    b.lane = 1;
    add(&f, &a);
    add(&f, &b);
    submit(&f, 1, 0, 1, 0);
    submit(&f, 1, 1, 2, 1);
    f.length = 0;
    done_with(&f, 30, 0, AEGIS_OK);
    done_with(&f, 32, 1, AEGIS_OK);
    expect(&f, "[  30] a#1 overruns 29 > 10 (overrun)\n"
               "[  30] a#1 misses at 30 (released 0, due 20, response 30: excused-wake)\n"
               "[  30] b#2 overruns 29 > 10 (overrun)\n"
               "[  30] b#2 overruns 29 > 10 (excused-overrun)\n"
               "[  30] lane0 is whole since 30 (excused-wake)\n"
               "[  32] b#2 misses at 32 (released 1, due 31, response 31: excused-overrun)\n"
               "[  32] lane1 is whole since 32 (excused-overrun)\n");
    end(&f);
}

static void background_within_its_bound_does_not_keep_a_lane_void(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 50, 10), b = background(1, 1, 20);
    a.overrun = AEGIS_OVERRUN_REPORT;
    add(&f, &a);
    add(&f, &b);
    submit_more(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 0);
    done(&f, 20);
    expect(&f, "[   0] lane0 dispatches a#1 (key 50: only-ready)\n"
               "[  20] a#1 overruns 20 > 10 (overrun)\n"
               "[  20] a#1 overruns 20 > 10 (excused-overrun)\n"
               "[  20] a#1 completes at 20 (released 0, due 50, response 20: in-time)\n"
               "[  20] lane0 is whole since 20 (excused-overrun)\n"
               "[  20] lane0 dispatches b#2 (key 0: background)\n");
    assert_true(aegis_core_lane_whole(f.core, 0));
    timer(&f, 41); /* background past its bound breaks the proof of the others */
    assert_false(aegis_core_lane_whole(f.core, 0));
    end(&f);
}

/* ---- failures ---- */

static void fail_with(aegis_status status, const char *text)
{
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 1, 0, 2, 100);
    done_with(&f, 5, 0, status);
    submit(&f, 100, 0, 3, 200);
    expect(&f, text);
    end(&f);
}

static void lasting_failures_make_the_model_faulted(void **state)
{
    (void)state;
    fail_with(AEGIS_ERROR_DEPARTURE, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                     "[   5] a#1 aborted (departure, departure)\n"
                                     "[   5] a#2 aborted (model-faulted, departure)\n"
                                     "[ 100] a#3 rejected (model-faulted: 25)\n");
    fail_with(AEGIS_ERROR_BUDGET_EXCEEDED, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                           "[   5] a#1 aborted (memory-budget, budget_exceeded)\n"
                                           "[   5] a#2 aborted (model-faulted, budget_exceeded)\n"
                                           "[ 100] a#3 rejected (model-faulted: 10)\n");
    fail_with(AEGIS_ERROR_INFERENCE, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                     "[   5] a#1 aborted (run-failed, inference)\n"
                                     "[   5] a#2 aborted (model-faulted, inference)\n"
                                     "[ 100] a#3 rejected (model-faulted: 24)\n");
    fail_with(AEGIS_ERROR_DEVICE_LOST, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                       "[   5] a#1 aborted (run-failed, device_lost)\n"
                                       "[   5] a#2 aborted (model-faulted, device_lost)\n"
                                       "[ 100] a#3 rejected (model-faulted: 30)\n");
}

static void passing_failures_end_one_job(void **state)
{
    (void)state;
    fail_with(AEGIS_ERROR_BUSY, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                "[   5] a#1 aborted (run-failed, busy)\n"
                                "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n");
    /* ended by someone else: no overrun of ours */
    fail_with(AEGIS_ERROR_TERMINATED, "[   0] lane0 dispatches a#1 (key 100: only-ready)\n"
                                      "[   5] a#1 aborted (run-failed, terminated)\n"
                                      "[ 100] lane0 dispatches a#2 (key 100: only-ready)\n");
}

static void a_fault_is_cleared_and_leaves_others_alone(void **state)
{
    (void)state;
    begin(&f, "np-rm");
    aegis_core_model a = plain(0, 100, 10), b = plain(1, 200, 10);
    add(&f, &a);
    add(&f, &b);
    submit_more(&f, 0, 0, 1, 0);
    submit(&f, 0, 1, 2, 0);
    done_with(&f, 5, 0, AEGIS_ERROR_INFERENCE);
    step(&f, 6, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT, .job = 3, .release_ns = 100});
    step(&f, 7, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT});
    done(&f, 15);
    submit(&f, 100, 0, 4, 100);
    expect(&f, "[   0] lane0 dispatches a#1 (key 100 < 200 of b: smaller-key)\n"
               "[   5] a#1 aborted (run-failed, inference)\n"
               "[   5] lane0 dispatches b#2 (key 200: only-ready)\n"
               "[   6] a#3 rejected (model-faulted: 24)\n"
               "[  15] b#2 completes at 15 (released 0, due 200, response 15: in-time)\n"
               "[ 100] lane0 dispatches a#4 (key 100: only-ready)\n");
    assert_int_equal(counters(&f, 0).refused, 1);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(abort_terminates_past_the_bound),
        cmocka_unit_test(a_job_that_ends_before_its_termination_counts),
        cmocka_unit_test(a_terminated_job_runs_no_further_segment),
        cmocka_unit_test(skip_drops_the_next_release),
        cmocka_unit_test(report_only_records),
        cmocka_unit_test(an_overrun_that_no_timer_saw_is_found_at_the_end),
        cmocka_unit_test(the_launch_allowance_comes_before_the_bound),
        cmocka_unit_test(the_compute_budget_terminates),
        cmocka_unit_test(a_spent_budget_takes_the_rest_of_the_job),
        cmocka_unit_test(a_miss_without_a_broken_bound_is_unexcused),
        cmocka_unit_test(a_broken_bound_excuses_until_the_lane_is_idle),
        cmocka_unit_test(occupancy_counts_until_the_end_is_processed),
        cmocka_unit_test(a_late_wake_excuses),
        cmocka_unit_test(a_release_is_late_by_when_it_was_seen),
        cmocka_unit_test(times_of_seeing_that_cannot_be_are_refused),
        cmocka_unit_test(the_first_cause_stands_and_lanes_are_apart),
        cmocka_unit_test(background_within_its_bound_does_not_keep_a_lane_void),
        cmocka_unit_test(lasting_failures_make_the_model_faulted),
        cmocka_unit_test(passing_failures_end_one_job),
        cmocka_unit_test(a_fault_is_cleared_and_leaves_others_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
