/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: what each kind proves, 128-bit edges, limits and short memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/certificate.h>

#include "support/expect.h"
#include "support/own_folder.h"
#include "support/test_allocator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGE INT64_MAX

static aegis_certificate_report verify(const char *text, aegis_status wanted)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_certificate_report report = {.holds = false};
    aegis_error err = {0};
    aegis_status status =
        aegis_certificate_verify(text, strlen(text), "file", 1000000, &allocator, &report, &err);
    if (status != wanted) {
        fail_msg("%s: %s", aegis_status_name(status), err.message);
    }
    return report;
}

/* The kind of proof that the writer finds; the report of the checker must agree. */
static void
expect_kind(aegis_analysis policy, const aegis_task *tasks, size_t count, const char *kind)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result result;
    aegis_error err = {0};
    char *text;
    size_t size;
    assert_int_equal(aegis_admission_test(policy, tasks, count, NULL, &allocator, &result, &err),
                     AEGIS_OK);
    if (aegis_certificate_build(policy, tasks, count, &result, NULL, &allocator, &text, &size,
                                &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    aegis_certificate_report report = verify(text, AEGIS_OK);
    assert_true(report.holds);
    assert_string_equal(report.kind, kind);
    assert_int_equal(report.schedulable, result.verdict == AEGIS_SCHEDULABLE);
    assert_int_equal(report.task_count, count);
    aegis_certificate_free(text, size, &allocator);
    aegis_admission_result_finish(&result, &allocator);
}

static void each_kind_of_proof_is_found(void **state)
{
    (void)state;
    const aegis_task easy[] = {{"a", 2, 10, 10, 0, NULL, 0}, {"b", 3, 15, 15, 0, NULL, 0}};
    const aegis_task tight[] = {{"a", 2, 10, 3, 0, NULL, 0}, {"b", 3, 15, 3, 0, NULL, 0}};
    const aegis_task over[] = {{"a", 2, 3, 900000000, 0, NULL, 0},
                               {"b", 2, 5, 900000000, 0, NULL, 0}};
    const aegis_task full[] = {{"a", 2, 2, 90, 1, NULL, 0}};
    const aegis_task late[] = {{"a", 4, 8, 11, 3, NULL, 0}, {"b", 4, 12, 19, 6, NULL, 0}};
    expect_kind(AEGIS_ANALYSIS_NP_FP, easy, 2, "responses");
    expect_kind(AEGIS_ANALYSIS_NP_EDF, easy, 2, "demand");
    expect_kind(AEGIS_ANALYSIS_EDF, full, 1, "demand"); /* by the hyperperiod */
    expect_kind(AEGIS_ANALYSIS_FIFO, easy, 2, "queue");
    expect_kind(AEGIS_ANALYSIS_NP_FP, tight, 2, "miss");
    expect_kind(AEGIS_ANALYSIS_EDF, tight, 2, "miss");
    expect_kind(AEGIS_ANALYSIS_FP, over, 2, "overload");
    expect_kind(AEGIS_ANALYSIS_FP, full, 1, "no-end");
    expect_kind(AEGIS_ANALYSIS_FIFO, late, 2, "bound");
}

static void names_may_be_missing(void **state)
{
    (void)state;
    const aegis_task tasks[] = {{NULL, 2, 10, 10, 0, NULL, 0}, {NULL, 3, 15, 15, 0, NULL, 0}};
    expect_kind(AEGIS_ANALYSIS_FPP, tasks, 2, "responses");
}

static void what_has_no_proof_has_no_certificate(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {{"a", 2, 10, 10, 0, NULL, 0}};
    aegis_task_result task = {.response = AEGIS_RESPONSE_UNSETTLED};
    aegis_admission_result result = {
        .verdict = AEGIS_ADMISSION_UNDECIDED, .tasks = &task, .task_count = 1};
    const aegis_admission_limits few = {.steps = 1};
    aegis_error err = {0};
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(aegis_certificate_build(AEGIS_ANALYSIS_NP_FP, tasks, 1, &result, NULL,
                                             &allocator, &text, &size, &err),
                     AEGIS_ERROR_UNDECIDED);
    result.verdict = AEGIS_SCHEDULABLE;
    task.response = 2;
    assert_int_equal(aegis_certificate_build(AEGIS_ANALYSIS_NP_FP, tasks, 1, &result, &few,
                                             &allocator, &text, &size, &err),
                     AEGIS_ERROR_UNDECIDED);
    /* A wrong analysis is noticed before anyone sees its certificate. */
    task.response = 1;
    assert_int_equal(aegis_certificate_build(AEGIS_ANALYSIS_NP_FP, tasks, 1, &result, NULL,
                                             &allocator, &text, &size, &err),
                     AEGIS_ERROR_INTERNAL);
    result.task_count = 2;
    assert_int_equal(aegis_certificate_build(AEGIS_ANALYSIS_NP_FP, tasks, 1, &result, NULL,
                                             &allocator, &text, &size, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(text);
    aegis_certificate_free(NULL, 0, &allocator);
}

#define HEAD "{\"schema_version\":4,\"what\":\"aegisrt-certificate\","
#define TWO "\"names\":[\"a\",\"b\"],\"C\":[[2],[3]],\"T\":[10,15],\"D\":[10,15],\"J\":[0,0],"
#define ONE(c, t, d, j) \
    "\"names\":[\"a\"],\"C\":[[" c "]],\"T\":[" t "],\"D\":[" d "],\"J\":[" j "],"
#define SET(policy, tasks) HEAD "\"policy\":\"" policy "\"," tasks
#define YES "\"verdict\":\"schedulable\",\"proof\":"
#define DEMAND "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[]}"
#define NO "\"verdict\":\"not-schedulable\",\"proof\":"
#define REFUSED "\"verdict\":\"refused\",\"proof\":"

/* Every claim that is too good, one at a time. */
static void false_claims_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* R below the response; w below the fixed point; no end of the busy period; too many */
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[2,5],\"response\":[1,5]}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[2,4],\"response\":[2,5]}",
        SET("np-fp", TWO) YES
        "\"responses\",\"busy\":[3,5],\"fixed_points\":2,\"points\":[2,2],\"response\":[4,5]}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,0],\"fixed_points\":1,\"points\":[2],\"response\":[2,5]}",
        SET("np-fp", TWO) YES
        "\"responses\",\"busy\":[4,5],\"fixed_points\":3,\"points\":[2,2,9],\"response\":[4,5]}",
        SET("np-fp", TWO) YES
        "\"responses\",\"busy\":[4,5],\"fixed_points\":1,\"points\":[2],\"response\":[4,5]}",
        /* a response past D, one that is not said */
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[],\"response\":[11,5]}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":1,\"points\":[],\"response\":[2,0]}",
        /* horizon, hyperperiod, number of instants, demand */
        SET("edf", TWO) YES "\"demand\",\"horizon\":4,\"instants\":2,\"demand\":[]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":30,\"instants\":5,\"demand\":[]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":3,\"demand\":[]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[10,2,15,6]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[9,2,15,5]}",
        SET("edf", ONE("3", "2", "2", "0")) YES
        "\"demand\",\"horizon\":2,\"instants\":1,\"demand\":[]}",
        /* waits and arrivals of a queue; a multiple of the periods is no horizon of it */
        SET("fifo", TWO) YES "\"queue\",\"horizon\":4,\"instants\":1}",
        SET("fifo", TWO) YES "\"queue\",\"horizon\":5,\"instants\":2}",
        SET("fifo", ONE("3", "9", "2", "0")) YES "\"queue\",\"horizon\":3,\"instants\":1}",
        SET("fifo", ONE("2", "2", "9", "1")) YES "\"queue\",\"horizon\":2,\"instants\":2}",
        /* jobs too near to each other, later than their jitter, ready before their release, out of
         * order, of one task in two places; none */
        SET("edf", TWO) NO "\"miss\",\"miss\":[0,0,0,0,1,1,0,2,2,0,3,3,0,4,4,0,5,5]}",
        SET("edf", TWO) NO "\"miss\",\"miss\":[0,0,9]}",
        SET("edf", TWO) NO "\"miss\",\"miss\":[0,9,0]}",
        SET("edf", ONE("2", "2", "1", "5")) NO "\"miss\",\"miss\":[0,0,5,0,3,4]}",
        SET("np-fp", TWO) NO "\"miss\",\"miss\":[0,0,0,1,0,0,0,10,10]}",
        SET("np-fp", TWO) NO "\"miss\",\"miss\":[]}",
        SET("np-fp",
            "\"names\":[\"a\",\"b\"],\"C\":[[2],[1]],\"T\":[10,50],\"D\":[3,50],\"J\":[0,0],") NO
        "\"miss\",\"miss\":[0,0,0,1,0,0,0,20,20]}",
        /* no job that misses; no such bound, and of no task; U below 1 */
        SET("np-fp", TWO) NO "\"miss\",\"miss\":[0,1,1]}",
        SET("fifo", TWO) REFUSED "\"bound\",\"task\":0,\"at\":0,\"bound\":5}",
        SET("fifo", ONE("3", "9", "2", "0")) REFUSED "\"bound\",\"task\":0,\"at\":0,\"bound\":4}",
        SET("fifo", ONE("3", "9", "2", "0")) REFUSED "\"bound\",\"task\":1,\"at\":0,\"bound\":3}",
        SET("fp", TWO) NO "\"overload\",\"multiple\":30}",
        SET("fp", TWO) NO "\"overload\",\"multiple\":0}",
        /* U = 1, but no jitter; jitter, but M is none of the periods, or there are fewer tasks */
        SET("fp", ONE("3", "3", "3", "0")) REFUSED "\"no-end\",\"tasks\":1,\"multiple\":3}",
        SET("fp", ONE("3", "3", "3", "1")) REFUSED "\"no-end\",\"tasks\":1,\"multiple\":4}",
        SET("fp", ONE("2", "3", "3", "1")) REFUSED "\"no-end\",\"tasks\":1,\"multiple\":3}",
        SET("fp", ONE("3", "3", "3", "1")) REFUSED "\"no-end\",\"tasks\":2,\"multiple\":3}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        aegis_certificate_report report = verify(texts[i], AEGIS_OK);
        if (report.holds || report.statement[0] == '\0') {
            fail_msg("number %zu holds: %s", i, texts[i]);
        }
    }
}

#define NP_EDF_ACCEPTS \
    SET("np-edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[],"

/* Under np-edf a responds after at most 4 (behind 2 of b), b after 5. */
static void responses_are_proved_beside_a_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *responses;
        bool holds;
        size_t said, reached;
    } cases[] = {
        {"\"end\":5,\"response\":[4,5],\"reached\":[[1,0,0,0,1,1],[]]}", true, 2, 1},
        {"\"end\":5,\"response\":[4,5]}", true, 2, 0},
        {"\"end\":5,\"response\":[0,5]}", true, 1, 0},
        {"\"end\":5,\"response\":[9,7]}", true, 2, 0},
        /* each too small by one; one that is not reached; no end of a busy period */
        {"\"end\":5,\"response\":[3,5]}", false, 0, 0},
        {"\"end\":5,\"response\":[4,4]}", false, 0, 0},
        {"\"end\":5,\"response\":[5,5],\"reached\":[[1,0,0,0,1,1],[]]}", false, 0, 0},
        {"\"end\":4,\"response\":[4,5]}", false, 0, 0},
        {"\"end\":0,\"response\":[4,5]}", false, 0, 0},
        /* jobs of another task, and for a response that is not said */
        {"\"end\":5,\"response\":[4,5],\"reached\":[[],[1,0,0,0,1,1]]}", false, 0, 0},
        {"\"end\":5,\"response\":[5,5],\"reached\":[[0,0,0,1,0,0],[]]}", false, 0, 0},
        {"\"end\":5,\"response\":[0,5],\"reached\":[[1,0,0,0,1,1],[]]}", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[2048];
        snprintf(text, sizeof text, "%s%s", NP_EDF_ACCEPTS, cases[i].responses);
        aegis_certificate_report report = verify(text, AEGIS_OK);
        if (report.holds != cases[i].holds ||
            (report.holds &&
             (report.responses != cases[i].said || report.reached != cases[i].reached))) {
            fail_msg("number %zu: %s", i, report.statement);
        }
    }
}

/* The analysis of preemptive EDF gives none, and what bounds those of np-edf would not bound them:
 * a job of b, released while a runs, delays a from 11 to 13. */
static void preemptive_edf_has_no_responses(void **state)
{
    (void)state;
    verify(SET("edf", "\"names\":[\"a\",\"b\"],\"C\":[[9],[2]],\"T\":[100,10],\"D\":[100,10],"
                      "\"J\":[0,0],") YES "\"demand\",\"horizon\":13,\"instants\":10,\"demand\":[],"
                                          "\"end\":13,\"response\":[11,2]}",
           AEGIS_ERROR_CONFIG);
}

/* Whichever step is the last one allowed, the answer is that they are used up, and with enough of
 * them what it is. */
static void every_check_ends_with_its_steps(void **state)
{
    (void)state;
    static const char *const texts[] = {
        SET("np-fp", TWO) YES "\"responses\",\"busy\":[4,5],\"fixed_points\":2,\"points\":[],"
                              "\"response\":[4,5],\"reached\":[[1,0,0,0,1,1],[]]}",
        NP_EDF_ACCEPTS "\"end\":5,\"response\":[4,5],\"reached\":[[1,0,0,0,1,1],[]]}",
        SET("fifo", TWO) YES "\"queue\",\"horizon\":5,\"instants\":1,\"end\":5,\"response\":[5,5]}",
        SET("np-fp", ONE("3", "9", "2", "0")) NO "\"miss\",\"miss\":[0,0,0]}",
        SET("np-edf", "\"names\":[\"a\",\"b\"],\"C\":[[9],[2]],\"T\":[100,10],\"D\":[100,10],"
                      "\"J\":[0,0],") YES "\"demand\",\"horizon\":13,\"instants\":10,"
                                          "\"demand\":[],\"end\":13,\"response\":[11,10]}",
    };
    const aegis_allocator allocator = aegis_allocator_default();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        aegis_certificate_report report;
        aegis_status status = AEGIS_ERROR_UNDECIDED;
        uint64_t steps = 1;
        for (; status == AEGIS_ERROR_UNDECIDED && steps < 1000; steps++) {
            status = aegis_certificate_verify(texts[i], strlen(texts[i]), "file", steps, &allocator,
                                              &report, NULL);
        }
        assert_int_equal(status, AEGIS_OK);
        assert_true(report.holds && report.steps == steps - 2);
    }
}

static void what_is_no_certificate_is_malformed(void **state)
{
    (void)state;
    verify("{", AEGIS_ERROR_PARSE);
    static const char *const texts[] = {
        "3",
        "[]",
        HEAD "\"more\":1,\"policy\":\"edf\"}",
        "{}",
        HEAD "\"policy\":\"edf\"}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":\"5\",\"instants\":2,\"demand\":[]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5.0,\"instants\":2,\"demand\":[]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[],\"more\":1}",
        SET("edf", TWO) YES
        "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[],\"multiple\":30}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[10,2]}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":5}",
        SET("edf", TWO) YES "\"demand\",\"horizon\":5,\"instants\":2,\"demand\":[10,2,15,\"5\"]}",
        SET("edf", TWO) YES "\"queue\",\"horizon\":5,\"instants\":2}",
        SET("edf", TWO) NO DEMAND,
        SET("lifo", TWO) YES DEMAND,
        SET("edf", TWO) YES "\"hope\"}",
        SET("edf", "\"names\":[],\"C\":[],\"T\":[],\"D\":[],\"J\":[],") YES DEMAND,
        SET("edf", "\"names\":[\"a\"],\"C\":[[2]],\"T\":[10,15],\"D\":[9],\"J\":[0],") YES DEMAND,
        SET("edf", "\"names\":[3],\"C\":[[2]],\"T\":[10],\"D\":[9],\"J\":[0],") YES DEMAND,
        SET("edf", ONE("0", "9", "9", "0")) YES DEMAND,
        SET("edf", ONE("1", "0", "9", "0")) YES DEMAND,
        SET("edf", ONE("1", "9", "0", "0")) YES DEMAND,
        SET("edf", ONE("1", "9", "9", "-1")) YES DEMAND,
        SET("edf", ONE("1,1", "9", "9", "0")) YES DEMAND,
        SET("np-edf", ONE("1,0", "9", "9", "0")) YES DEMAND,
        SET("np-edf", ONE("", "9", "9", "0")) YES DEMAND,
        SET("np-edf", ONE("9223372036854775807,1", "9", "9", "0")) YES DEMAND,
        SET("fp", TWO) YES "\"responses\"}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[2],\"response\":[2,5]}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[-1,5],\"response\":[2,5]}",
        SET("fp", TWO) YES
        "\"responses\",\"busy\":[2,5],\"fixed_points\":2,\"points\":[2,5],\"response\":[2,-1]}",
        SET("fp", TWO) NO "\"miss\",\"miss\":[0,0]}",
        SET("fp", TWO) NO "\"miss\",\"miss\":[2,0,0]}",
        SET("fp", TWO) NO "\"miss\",\"miss\":[-1,0,0]}",
        SET("fp", TWO) NO "\"miss\",\"miss\":[0,-1,0]}",
        SET("fp", TWO) NO "\"miss\",\"miss\":[0,0,0],\"reached\":[[],[]]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        verify(texts[i], AEGIS_ERROR_CONFIG);
    }
}

/* Overestimates prove as well as the least numbers do. */
static void upper_bounds_are_proofs(void **state)
{
    (void)state;
    const char *text = SET("np-fp", TWO) YES "\"responses\",\"busy\":[6,8],\"fixed_points\":2,"
                                             "\"points\":[4,6],\"response\":[9,15]}";
    assert_true(verify(text, AEGIS_OK).holds);
}

/* A multiple of all periods is a horizon when U is 1 at most: then one more is looked at. */
static void hyperperiods_are_horizons(void **state)
{
    (void)state;
    assert_true(verify(SET("edf", TWO) YES
                       "\"demand\",\"horizon\":30,\"instants\":6,\"demand\":[]}",
                       AEGIS_OK)
                    .holds);
}

/* Jobs that have a response are a certificate of that alone. */
static void reached_responses_claim_no_verdict(void **state)
{
    (void)state;
    aegis_certificate_report report =
        verify(SET("np-edf", TWO) "\"verdict\":\"none\",\"proof\":\"reached\",\"response\":[4,0],"
                                  "\"reached\":[[1,0,0,0,1,1],[]]}",
               AEGIS_OK);
    assert_true(report.holds && !report.schedulable && report.reached == 1);
}

static void sums_past_63_bits_refuse(void **state)
{
    (void)state;
    char text[1024];
    const long long most = LARGE;
    snprintf(text, sizeof text,
             SET("fp", "\"names\":[\"a\",\"b\"],\"C\":[[%lld],[%lld]],\"T\":[%lld,%lld],"
                       "\"D\":[%lld,%lld],\"J\":[0,0],") YES
             "\"responses\",\"busy\":[%lld,%lld],\"fixed_points\":2,\"points\":[],"
             "\"response\":[%lld,%lld]}",
             most, most, most, most, most, most, most, most, most, most);
    assert_false(verify(text, AEGIS_OK).holds);
    snprintf(text, sizeof text,
             SET("fp", "\"names\":[\"a\",\"b\"],\"C\":[[1],[1]],\"T\":[%lld,%lld],\"D\":[9,9],"
                       "\"J\":[0,0],") NO "\"overload\",\"multiple\":%lld}",
             most - 2, most - 1, most);
    assert_false(verify(text, AEGIS_OK).holds);
    /* work of the first of two tasks is too much already */
    snprintf(text, sizeof text,
             SET("fp", "\"names\":[\"a\",\"b\"],\"C\":[[%lld],[1]],\"T\":[1,1],\"D\":[9,9],"
                       "\"J\":[0,0],") YES "\"responses\",\"busy\":[%lld,%lld],\"fixed_points\":2,"
                                           "\"points\":[],\"response\":[0,9]}",
             most, most, most);
    assert_false(verify(text, AEGIS_OK).holds);
    snprintf(text, sizeof text,
             SET("edf", "\"names\":[\"a\",\"b\"],\"C\":[[%lld],[1]],\"T\":[1,1],\"D\":[9,9],"
                        "\"J\":[0,0],") YES
             "\"demand\",\"horizon\":%lld,\"instants\":2,\"demand\":[]}",
             most, most);
    assert_false(verify(text, AEGIS_OK).holds);
    /* under np-edf all jobs due */
    snprintf(text, sizeof text,
             SET("np-edf", "\"names\":[\"a\",\"b\"],\"C\":[[%lld],[%lld]],\"T\":[%lld,%lld],"
                           "\"D\":[9,9],\"J\":[0,0],") NO
             "\"miss\",\"miss\":[0,0,0,1,0,0],\"end\":%lld,\"response\":[9,9]}",
             most, most, most, most, most);
    assert_false(verify(text, AEGIS_OK).holds);
}

static void short_memory_is_reported(void **state)
{
    (void)state;
    const aegis_task tasks[] = {{"a", 2, 10, 10, 0, NULL, 0}, {"b", 3, 15, 4, 0, NULL, 0}};
    const aegis_allocator plain = aegis_allocator_default();
    for (int policy = AEGIS_ANALYSIS_NP_FP; policy <= AEGIS_ANALYSIS_FIFO; policy++) {
        aegis_admission_result result;
        assert_int_equal(
            aegis_admission_test((aegis_analysis)policy, tasks, 2, NULL, &plain, &result, NULL),
            AEGIS_OK);
        aegis_status status = AEGIS_ERROR_NO_MEMORY;
        for (uint64_t fail_at = 1; status != AEGIS_OK && fail_at < 100; fail_at++) {
            test_allocator counting = {.fail_at = fail_at};
            aegis_allocator allocator = test_allocator_make(&counting);
            char *text;
            size_t size;
            status = aegis_certificate_build((aegis_analysis)policy, tasks, 2, &result, NULL,
                                             &allocator, &text, &size, NULL);
            /* A refusal looks for another proof when a check of one could not be made. */
            assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY ||
                        status == AEGIS_ERROR_UNDECIDED);
            if (status == AEGIS_OK) {
                aegis_certificate_free(text, size, &allocator);
            }
            assert_true(counting.blocks == 0 && counting.wrong_sizes == 0);
        }
        assert_int_equal(status, AEGIS_OK);
        aegis_admission_result_finish(&result, &plain);
    }
}

static void a_check_needs_memory(void **state)
{
    (void)state;
    const aegis_task task = {"a", 2, 10, 10, 0, NULL, 0};
    const aegis_allocator plain = aegis_allocator_default();
    test_allocator counting = {.fail_at = 1};
    const aegis_allocator allocator = test_allocator_make(&counting);
    aegis_admission_result result;
    aegis_certificate_report report = {.task_count = 77};
    aegis_error err = {0};
    char *text;
    size_t size;
    assert_int_equal(
        aegis_admission_test(AEGIS_ANALYSIS_NP_FP, &task, 1, NULL, &plain, &result, NULL),
        AEGIS_OK);
    assert_int_equal(aegis_certificate_build(AEGIS_ANALYSIS_NP_FP, &task, 1, &result, NULL, &plain,
                                             &text, &size, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_certificate_verify(text, size, "file", 0, &allocator, &report, &err),
                     AEGIS_ERROR_NO_MEMORY);
    assert_string_equal(err.message, "file: no memory for its 1 tasks");
    assert_int_equal(report.task_count, 77);
    assert_int_equal(aegis_certificate_verify(text, size, "file", 0, &allocator, &report, &err),
                     AEGIS_OK);
    assert_true(report.holds);
    assert_int_equal(counting.blocks, 0);
    aegis_certificate_free(text, size, &plain);
    aegis_admission_result_finish(&result, &plain);
}

/* ---- files ---- */

static const aegis_task whole = {"a", 2, 10, 10, 0, NULL, 0};

static aegis_status save(const char *name,
                         const aegis_admission_result *result,
                         const aegis_allocator *allocator,
                         aegis_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", own_folder, name);
    return aegis_certificate_save(path, AEGIS_ANALYSIS_NP_FP, &whole, 1, result, NULL, allocator,
                                  err);
}

static void certificates_that_cannot_be_saved(void **state)
{
    (void)state;
    const aegis_allocator plain = aegis_allocator_default();
    test_allocator counting = {.fail_at = 1};
    const aegis_allocator allocator = test_allocator_make(&counting);
    aegis_task_result task = {.response = 2, .meets = true};
    aegis_admission_result result = {
        .verdict = AEGIS_SCHEDULABLE, .tasks = &task, .task_count = 1, .first_miss = SIZE_MAX};
    aegis_error err = {0};
    assert_int_equal(save("good", &result, &plain, &err), AEGIS_OK);
    expect(save("none/good", &result, &plain, &err), AEGIS_ERROR_NOT_FOUND, &err, own_folder);
    expect(save(".", &result, &plain, &err), AEGIS_ERROR_IO, &err, own_folder);
    expect(save("short", &result, &allocator, &err), AEGIS_ERROR_NO_MEMORY, &err, "memory");
    assert_int_equal(counting.blocks, 0);
    assert_int_equal(chmod(own_folder, 0555), 0);
    if (become_nobody()) {
        expect(save("mine", &result, &plain, &err), AEGIS_ERROR_PERMISSION, &err, own_folder);
    }
    become_oneself();
    assert_int_equal(chmod(own_folder, 0755), 0);
    task.response = 1;
    expect(save("wrong", &result, &plain, &err), AEGIS_ERROR_INTERNAL, &err, "");
    result.task_count = 2;
    expect(save("other", &result, &plain, &err), AEGIS_ERROR_INVALID_ARGUMENT, &err, "");
    result.verdict = AEGIS_ADMISSION_UNDECIDED;
    result.task_count = 1;
    expect(save("open", &result, &plain, &err), AEGIS_ERROR_UNDECIDED, &err, "");
}

static void verify_file(const char *name, uint64_t steps, aegis_status wanted, const char *part)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_certificate_report report = {.task_count = 77};
    aegis_error err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", own_folder, name);
    expect(aegis_certificate_verify_file(path, steps, &allocator, &report, &err), wanted, &err,
           part);
    assert_int_equal(report.task_count, 77);
}

static void write_text(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", own_folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* After certificates_that_cannot_be_saved, which saves a good one. */
static void certificates_that_cannot_be_checked(void **state)
{
    (void)state;
    test_allocator counting = {.fail_at = 1};
    const aegis_allocator allocator = test_allocator_make(&counting);
    const aegis_allocator plain = aegis_allocator_default();
    aegis_certificate_report report;
    aegis_error err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/good", own_folder);
    assert_int_equal(aegis_certificate_verify_file(path, 0, &plain, &report, &err), AEGIS_OK);
    assert_true(report.holds);
    expect(aegis_certificate_verify_file(path, 0, &allocator, &report, &err), AEGIS_ERROR_NO_MEMORY,
           &err, path);
    verify_file("good", 1, AEGIS_ERROR_UNDECIDED, path);
    verify_file("none", 0, AEGIS_ERROR_NOT_FOUND, "none");
    verify_file(".", 0, AEGIS_ERROR_IO, own_folder);
    write_text("text", "text");
    write_text("other", "{}");
    verify_file("text", 0, AEGIS_ERROR_PARSE, "not JSON");
    verify_file("other", 0, AEGIS_ERROR_CONFIG, "let admit write it anew");
    assert_int_equal(chmod(path, 0), 0);
    if (become_nobody()) {
        verify_file("good", 0, AEGIS_ERROR_PERMISSION, path);
    }
    become_oneself();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_proof_is_found),
        cmocka_unit_test(names_may_be_missing),
        cmocka_unit_test(what_has_no_proof_has_no_certificate),
        cmocka_unit_test(false_claims_are_refused),
        cmocka_unit_test(responses_are_proved_beside_a_verdict),
        cmocka_unit_test(every_check_ends_with_its_steps),
        cmocka_unit_test(what_is_no_certificate_is_malformed),
        cmocka_unit_test(reached_responses_claim_no_verdict),
        cmocka_unit_test(preemptive_edf_has_no_responses),
        cmocka_unit_test(upper_bounds_are_proofs),
        cmocka_unit_test(hyperperiods_are_horizons),
        cmocka_unit_test(sums_past_63_bits_refuse),
        cmocka_unit_test(short_memory_is_reported),
        cmocka_unit_test(a_check_needs_memory),
        cmocka_unit_test(certificates_that_cannot_be_saved),
        cmocka_unit_test(certificates_that_cannot_be_checked),
    };
    return cmocka_run_group_tests(tests, make_own_folder, remove_own_folder);
}
