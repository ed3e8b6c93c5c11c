/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs whose inputs come to the device before they can be chosen. */
#include "core_recorded.h"

static fixture f;
static aegis_trace_record records[FIXTURE_RECORDS];

/* As plain, its inputs may arrive 10 late beside the wake bound. */
static aegis_core_model early(uint32_t number, uint64_t period_ns, uint64_t bound_ns)
{
    aegis_core_model model = plain(number, period_ns, bound_ns);
    model.copies_early = true;
    model.jitter_ns = 10;
    return model;
}

static void arrive_with(uint64_t now, uint32_t model, uint64_t job, aegis_status status)
{
    step(&f, now,
         &(aegis_core_event){.kind = AEGIS_CORE_INPUTS_READY,
                             .model = model,
                             .job = job,
                             .start_ns = now - 1,
                             .end_ns = now,
                             .status = status});
}

static void arrive(uint64_t now, uint32_t model, uint64_t job)
{
    arrive_with(now, model, job, AEGIS_OK);
}

static void a_job_is_ready_when_its_inputs_have_come(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10), b = plain(1, 200, 10);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 0, 1, 0); /* more urgent than b, and not there yet */
    submit(&f, 0, 1, 2, 0);
    expect(&f, "[   0] a#1 copied in (released 0)\n"
               "[   0] lane0 dispatches b#2 (key 200: only-ready)\n");
    arrive(7, 0, 1); /* while b runs */
    expect(&f, "");
    done(&f, 10);
    done(&f, 20);
    expect(&f, "[  10] b#2 completes at 10 (released 0, due 200, response 10: in-time)\n"
               "[  10] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  20] a#1 completes at 20 (released 0, due 100, response 20: in-time)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void a_release_to_come_is_copied_when_it_is_due(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 50);
    expect(&f, "");
    timer(&f, 50);
    expect(&f, "[  50] a#1 copied in (released 50)\n");
    arrive(62, 0, 1); /* wake bound and jitter, to the tick */
    done(&f, 70);
    expect(&f, "[  62] lane0 dispatches a#1 (key 150: only-ready)\n"
               "[  70] a#1 completes at 70 (released 50, due 150, response 20: in-time)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void inputs_that_come_too_late_break_the_proof(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10);
    add(&f, &a);
    submit(&f, 3, 0, 1, 0); /* seen late, which alone breaks nothing: what counts is the arrival */
    arrive(13, 0, 1);
    done(&f, 101);
    expect(&f, "[   3] a#1 copied in (released 0)\n"
               "[  13] a#1 overruns 13 > 12 (excused-wake)\n"
               "[  13] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[ 101] a#1 overruns 88 > 10 (overrun)\n"
               "[ 101] a#1 misses at 101 (released 0, due 100, response 101: excused-wake)\n"
               "[ 101] lane0 is whole since 101 (excused-wake)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void nobody_writes_over_what_a_job_reads(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 20, 10);
    a.overrun = AEGIS_OVERRUN_REPORT;
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    arrive(5, 0, 1);
    submit(&f, 20, 0, 2, 20); /* the first one still runs */
    submit(&f, 40, 0, 3, 40);
    expect(&f, "[   0] a#1 copied in (released 0)\n"
               "[   5] lane0 dispatches a#1 (key 20: only-ready)\n"
               "[  20] a#1 overruns 15 > 10 (overrun)\n"
               "[  20] a#1 overruns 15 > 10 (excused-overrun)\n");
    done(&f, 41);
    arrive(43, 0, 2);
    done(&f, 44);
    expect(&f, "[  41] a#1 misses at 41 (released 0, due 20, response 41: excused-overrun)\n"
               "[  41] a#2 copied in (released 20)\n"
               "[  41] lane0 is whole since 41 (excused-overrun)\n"
               "[  43] a#2 overruns 23 > 12 (excused-wake)\n"
               "[  43] lane0 dispatches a#2 (key 40: only-ready)\n"
               "[  44] a#2 misses at 44 (released 20, due 40, response 24: excused-wake)\n"
               "[  44] a#3 copied in (released 40)\n"
               "[  44] lane0 is whole since 44 (excused-wake)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void a_failed_copy_ends_the_job_and_a_lasting_one_the_model(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 10, 1);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    submit(&f, 10, 0, 2, 10);
    arrive_with(11, 0, 1, AEGIS_ERROR_QUEUE_FULL); /* passes */
    expect(&f, "[   0] a#1 copied in (released 0)\n"
               "[  11] a#1 aborted (run-failed, queue_full)\n"
               "[  11] a#2 copied in (released 10)\n");
    submit(&f, 20, 0, 3, 20);
    arrive_with(21, 0, 2, AEGIS_ERROR_DEVICE_LOST);
    expect(&f, "[  21] a#2 aborted (run-failed, device_lost)\n"
               "[  21] a#3 aborted (model-faulted, device_lost)\n");
    submit(&f, 30, 0, 4, 30);
    expect(&f, "[  30] a#4 rejected (model-faulted: 30)\n");
    step(&f, 31, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT});
    submit(&f, 40, 0, 5, 40);
    expect(&f, "[  40] a#5 copied in (released 40)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void who_leaves_while_copying_is_gone(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    step(&f, 1, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE});
    expect(&f, "[   0] a#1 copied in (released 0)\n"
               "[   1] a#1 aborted (removed, ok)\n");
    add(&f, &a); /* nothing of the copy is left */
    submit(&f, 2, 0, 2, 2);
    expect(&f, "[   2] a#2 copied in (released 2)\n");
    step(&f, 3, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    arrive(4, 0, 2);
    expect(&f, "");
    expect_same_replayed(&f);
    end(&f);
}

static void another_jitter_counts_from_then_on(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10);
    add(&f, &a);
    submit(&f, 0, 0, 1, 0);
    step(&f, 1, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_JITTER, .jitter_ns = 20});
    arrive(22, 0, 1);
    done(&f, 30);
    step(&f, 31, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_JITTER, .jitter_ns = 5});
    submit(&f, 100, 0, 2, 100);
    arrive(108, 0, 2);
    expect(&f, "[   0] a#1 copied in (released 0)\n"
               "[  22] lane0 dispatches a#1 (key 100: only-ready)\n"
               "[  30] a#1 completes at 30 (released 0, due 100, response 30: in-time)\n"
               "[ 100] a#2 copied in (released 100)\n"
               "[ 108] a#2 overruns 8 > 7 (excused-wake)\n"
               "[ 108] lane0 dispatches a#2 (key 200: only-ready)\n");
    expect_same_replayed(&f);
    end(&f);
}

static void refuse(const aegis_core_event *event, const char *word)
{
    aegis_error err;
    size_t count;
    assert_int_equal(aegis_core_step(f.core, f.now_ns, event, f.actions, &count, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, word));
}

static void malformed_events_are_refused(void **state)
{
    (void)state;
    begin_recorded(&f, records, 2);
    aegis_core_model a = early(0, 100, 10), b = background(1, 1, 10), c = plain(2, 100, 10);
    b.copies_early = true;
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &b}, "copies_early");
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_MODEL_JITTER}, "not admitted");
    add(&f, &a);
    add(&f, &c);
    submit(&f, 5, 0, 1, 5);
    submit(&f, 5, 2, 2, 5);
    aegis_core_event event = {.kind = AEGIS_CORE_INPUTS_READY, .job = 2, .model = 2};
    refuse(&event, "waits for no inputs");
    event.model = 0;
    refuse(&event, "waits for no inputs");
    event.job = 0;
    refuse(&event, "waits for no inputs");
    event.job = 1;
    event.start_ns = 6;
    refuse(&event, "does not hold");
    event.model = 3;
    refuse(&event, "not admitted");
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_MODEL_JITTER, .jitter_ns = UINT64_MAX},
           "jitter_ns");
    arrive(6, 0, 1);
    event = (aegis_core_event){.kind = AEGIS_CORE_INPUTS_READY, .job = 1};
    refuse(&event, "waits for no inputs"); /* they are there */
    expect_same_replayed(&f);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_is_ready_when_its_inputs_have_come),
        cmocka_unit_test(a_release_to_come_is_copied_when_it_is_due),
        cmocka_unit_test(inputs_that_come_too_late_break_the_proof),
        cmocka_unit_test(nobody_writes_over_what_a_job_reads),
        cmocka_unit_test(a_failed_copy_ends_the_job_and_a_lasting_one_the_model),
        cmocka_unit_test(who_leaves_while_copying_is_gone),
        cmocka_unit_test(another_jitter_counts_from_then_on),
        cmocka_unit_test(malformed_events_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
