/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that wait for bytes from a disk: they hold up nobody, and a replay needs no disk. */
#include "core_recorded.h"

static fixture f;
static aegis_trace_record records[FIXTURE_RECORDS];

/* Background model of `segments` segments of 10; those in `awaited` wait. */
static aegis_core_model streamed(uint32_t model, uint32_t segments, uint64_t awaited)
{
    aegis_core_model made = background(model, 1, 10);
    made.segment_count = segments;
    for (uint32_t s = 0; s < segments; s++) {
        made.segment_bound_ns[s] = made.segment_enforceable_ns[s] = 10;
    }
    made.awaited_segments = awaited;
    return made;
}

static void ready(uint64_t now_ns, uint32_t model, uint32_t segment)
{
    step(&f, now_ns,
         &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY, .model = model, .segment = segment});
}

static void a_segment_waits_for_its_bytes(void **state)
{
    (void)state;
    begin_recorded(&f, records, 1000);
    aegis_core_model a = plain(0, 100, 10), b = streamed(1, 3, 5); /* segments 0 and 2 */
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    expect(&f, "");
    ready(5, 1, 0);
    done(&f, 15); /* segment 1 waits for nothing */
    done(&f, 25);
    expect(&f, "[   5] lane0 dispatches b#1 (key 0: background)\n"
               "[  15] lane0 dispatches b#1.1 (key 10: next-segment)\n");
    submit(&f, 30, 0, 2, 30); /* the lane is free meanwhile */
    done(&f, 40);
    ready(45, 1, 2);
    done(&f, 55);
    expect(&f, "[  30] lane0 dispatches a#2 (key 130: only-ready)\n"
               "[  40] a#2 completes at 40 (released 30, due 130, response 10: in-time)\n"
               "[  45] lane0 dispatches b#1.2 (key 20: background)\n"
               "[  55] b#1 completes at 55 (released 0, due never, response 55: in-time)\n");
    end(&f);
    expect_same_replayed(&f);
}

static void bytes_that_come_first_wait_for_the_job(void **state)
{
    (void)state;
    begin_recorded(&f, records, 1000);
    aegis_core_model b = streamed(1, 2, 3);
    add(&f, &b);
    ready(3, 1, 0);
    expect(&f, "");
    submit(&f, 7, 1, 1, 7);
    submit(&f, 8, 1, 2, 8); /* its first segment waits until the other's are done */
    done(&f, 17);
    ready(18, 1, 1);
    done(&f, 28);
    expect(&f, "[   7] lane0 dispatches b#1 (key 0: background)\n"
               "[  18] lane0 dispatches b#1.1 (key 10 = 10 of b: next-segment)\n"
               "[  28] b#1 completes at 28 (released 7, due never, response 21: in-time)\n");
    ready(30, 1, 0);
    expect(&f, "[  30] lane0 dispatches b#2 (key 20: background)\n");
    done(&f, 40);
    ready(40, 1, 1);
    done(&f, 50);
    end(&f);
    expect_same_replayed(&f);
}

static void others_share_the_lane_meanwhile_and_no_credit_grows(void **state)
{
    (void)state;
    begin_recorded(&f, records, 1000);
    aegis_core_model a = background(0, 1, 10), b = streamed(1, 1, 1);
    add(&f, &a);
    add(&f, &b);
    submit(&f, 0, 1, 100, 0);
    submit(&f, 0, 0, 1, 0);
    for (uint64_t i = 0; i < 5; i++) { /* a has the lane to itself */
        submit(&f, 1 + 10 * i, 0, 2 + i, 1 + 10 * i);
        done(&f, 10 + 10 * i);
    }
    f.length = 0;
    f.text[0] = '\0';
    ready(55, 1, 0);
    submit(&f, 56, 1, 101, 56);
    submit(&f, 57, 0, 50, 57);
    done(&f, 60);
    /* b did not save up: it comes in at a's virtual time, as one that had no work. */
    expect(&f, "[  60] a#6 completes at 60 (released 41, due never, response 19: in-time)\n"
               "[  60] lane0 dispatches b#100 (key 50 = 50 of b: background)\n");
    done(&f, 70);
    done(&f, 80);
    end(&f);
    expect_same_replayed(&f);
}

static void jobs_that_end_leave_nothing_ready(void **state)
{
    (void)state;
    begin_recorded(&f, records, 1000);
    aegis_core_model b = streamed(1, 2, 3);
    add(&f, &b);
    submit(&f, 0, 1, 1, 0);
    ready(0, 1, 0);
    done(&f, 10);
    ready(12, 1, 1);
    done_with(&f, 22, 0, AEGIS_ERROR_IO); /* permanent: the model is faulted */
    step(&f, 23, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT, .model = 1});
    f.length = 0;
    f.text[0] = '\0';
    submit(&f, 30, 1, 2, 30);
    expect(&f, "");
    ready(31, 1, 0);
    expect(&f, "[  31] lane0 dispatches b#2 (key 20: background)\n");
    done(&f, 41);
    /* removed while it waits */
    step(&f, 45, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 1});
    expect(&f, "[  45] b#2 aborted (removed, ok)\n");
    add(&f, &b); /* ready anew only by an event of its own */
    submit(&f, 50, 1, 3, 50);
    expect(&f, "");
    step(&f, 60, &(aegis_core_event){.kind = AEGIS_CORE_STOP});
    ready(61, 1, 0);
    expect(&f, "");
    end(&f);
    expect_same_replayed(&f);
}

static void refuse(const aegis_core_event *event, const char *word)
{
    aegis_error err = {0};
    size_t count = 0;
    assert_int_equal(aegis_core_step(f.core, f.now_ns, event, f.actions, &count, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    if (strstr(err.message, word) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, word);
    }
}

static void waits_that_cannot_be_are_refused(void **state)
{
    (void)state;
    begin_recorded(&f, records, 1000);
    aegis_core_model a = plain(0, 100, 10), b = streamed(1, 2, 2);
    a.awaited_segments = 1; /* a deadline */
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &a}, "awaited_segments");
    b.awaited_segments = 4; /* it has two */
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &b}, "awaited_segments");
    b.awaited_segments = 2;
    add(&f, &b);
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY, .model = 0}, "not admitted");
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY, .model = 1}, "waits for nothing");
    refuse(&(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY, .model = 1, .segment = 64},
           "waits for nothing");
    aegis_core_model all = streamed(2, AEGIS_MAX_SEGMENTS, UINT64_MAX);
    add(&f, &all);
    ready(1, 2, 63);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_waits_for_its_bytes),
        cmocka_unit_test(bytes_that_come_first_wait_for_the_job),
        cmocka_unit_test(others_share_the_lane_meanwhile_and_no_credit_grows),
        cmocka_unit_test(jobs_that_end_leave_nothing_ready),
        cmocka_unit_test(waits_that_cannot_be_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
