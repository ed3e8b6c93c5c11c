/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: what each kind proves, 128-bit edges, limits and short memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/certificate.h>

#include "support/test_allocator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    const aegis_task late[] = {
        {"a", 3, 12, 12, 7, NULL, 0}, {"b", 3, 5, 18, 8, NULL, 0}, {"c", 1, 10, 25, 4, NULL, 0}};
    expect_kind(AEGIS_ANALYSIS_NP_FP, easy, 2, "responses");
    expect_kind(AEGIS_ANALYSIS_NP_EDF, easy, 2, "demand");
    expect_kind(AEGIS_ANALYSIS_EDF, full, 1, "demand"); /* by the hyperperiod */
    expect_kind(AEGIS_ANALYSIS_FIFO, easy, 2, "queue");
    expect_kind(AEGIS_ANALYSIS_NP_FP, tight, 2, "miss");
    expect_kind(AEGIS_ANALYSIS_EDF, tight, 2, "miss");
    expect_kind(AEGIS_ANALYSIS_FP, over, 2, "overload");
    expect_kind(AEGIS_ANALYSIS_FP, full, 1, "no-end");
    expect_kind(AEGIS_ANALYSIS_FIFO, late, 3, "bound");
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

#define SET(policy, tasks)                                                                     \
    "{\"schema_version\":1,\"what\":\"aegisrt-certificate\",\"taskset\":{\"policy\":\"" policy \
    "\",\"tasks\":[" tasks "]},"
#define TWO "{\"C\":2,\"T\":10},{\"C\":3,\"T\":15}"

/* Every claim that is too good, one at a time. */
static void false_claims_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* R below the response; w below the fixed point; no end of the busy period; B; too many */
        SET("fp", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                       "{\"blocking\":0,\"busy\":0,\"points\":[2],\"response\":1},"
                       "{\"blocking\":0,\"busy\":0,\"points\":[5],\"response\":5}]}}",
        SET("fp", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                       "{\"blocking\":0,\"busy\":0,\"points\":[2],\"response\":2},"
                       "{\"blocking\":0,\"busy\":0,\"points\":[4],\"response\":5}]}}",
        SET("np-fp",
            TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                 "{\"blocking\":2,\"busy\":3,\"points\":[2],\"response\":4},"
                 "{\"blocking\":0,\"busy\":5,\"points\":[2],\"response\":5}]}}",
        SET("np-fp",
            TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                 "{\"blocking\":1,\"busy\":4,\"points\":[2],\"response\":4},"
                 "{\"blocking\":0,\"busy\":5,\"points\":[2],\"response\":5}]}}",
        SET("np-fp",
            TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                 "{\"blocking\":2,\"busy\":4,\"points\":[2,4],\"response\":4},"
                 "{\"blocking\":0,\"busy\":5,\"points\":[2],\"response\":5}]}}",
        SET("fp", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\",\"tasks\":["
                       "{\"blocking\":0,\"busy\":0,\"points\":[-1],\"response\":2},"
                       "{\"blocking\":0,\"busy\":0,\"points\":[5],\"response\":5}]}}",
        /* horizon, hyperperiod, number of instants */
        SET("edf", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"demand\",\"rule\":"
                        "\"busy-period\",\"horizon\":4,\"instants\":2,\"demand\":[]}}",
        SET("edf", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"demand\",\"rule\":"
                        "\"hyperperiod\",\"horizon\":44,\"instants\":5,\"demand\":[]}}",
        SET("edf", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"demand\",\"rule\":"
                        "\"busy-period\",\"horizon\":5,\"instants\":3,\"demand\":[]}}",
        SET("edf",
            "{\"C\":3,\"T\":2}") "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"demand\","
                                 "\"rule\":\"hyperperiod\",\"horizon\":99,\"instants\":0,"
                                 "\"demand\":[]}}",
        /* waits and arrivals of a queue */
        SET("fifo", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"queue\",\"horizon\":5,"
                         "\"instants\":1,\"longest\":4}}",
        SET("fifo", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"queue\",\"horizon\":5,"
                         "\"instants\":2,\"longest\":5}}",
        SET("fifo", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"queue\",\"horizon\":5,"
                         "\"instants\":1,\"longest\":11}}",
        /* jobs too near to each other, later than their jitter, before the blocker, of the blocker
         */
        SET("edf", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"miss\",\"jobs\":"
                        "[[0,0,0],[0,1,1],[0,2,2],[0,3,3],[0,4,4],[0,5,5]],\"instant\":15,"
                        "\"demand\":12}}",
        SET("edf", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"miss\",\"jobs\":"
                        "[[0,0,9]],\"instant\":1,\"demand\":2}}",
        SET("np-edf", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"miss\",\"jobs\":"
                           "[[0,0,0]],\"blocker\":{\"task\":1,\"segment\":0},\"instant\":3,"
                           "\"demand\":4}}",
        SET("np-fp", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"miss\",\"jobs\":"
                          "[[0,1,1]],\"blocker\":{\"task\":0,\"segment\":0},\"missed\":0,"
                          "\"completion\":99}}",
        /* a job that does not miss */
        SET("np-fp", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"miss\",\"jobs\":"
                          "[[0,1,1]],\"missed\":0,\"completion\":3}}",
        SET("fifo", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"bound\",\"task\":0,"
                         "\"at\":0,\"bound\":5}}",
        SET("fp", TWO) "\"verdict\":\"not-schedulable\",\"proof\":{\"kind\":\"overload\","
                       "\"tasks\":2}}",
        SET("fp",
            "{\"C\":1,\"T\":2},{\"C\":2,\"T\":4}") "\"verdict\":\"not-schedulable\",\"proof\":"
                                                   "{\"kind\":\"no-end\",\"tasks\":2}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        aegis_certificate_report report = verify(texts[i], AEGIS_OK);
        if (report.holds || report.statement[0] == '\0') {
            fail_msg("number %zu holds", i);
        }
    }
}

#define V2(policy, tasks)                                                                      \
    "{\"schema_version\":2,\"what\":\"aegisrt-certificate\",\"taskset\":{\"policy\":\"" policy \
    "\",\"tasks\":[" tasks "]},"
#define NP_EDF_ACCEPTS                                                     \
    V2("np-edf", TWO)                                                      \
    "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"demand\",\"rule\":" \
    "\"busy-period\",\"horizon\":5,\"instants\":3,\"demand\":[]},"
#define REACHED "\"reached\":{\"blocker\":{\"task\":1,\"segment\":0},\"jobs\":[[0,1,1]],\"job\":0}"

/* Under np-edf a responds after at most 4 (behind 2 of b), b after 5. */
static void responses_are_proved_beside_a_verdict(void **state)
{
    (void)state;
    static const struct {
        const char *responses;
        bool holds;
        size_t said, reached;
    } cases[] = {
        {"{\"busy\":5,\"tasks\":[{\"response\":4,%s},{\"response\":5}]}}", true, 2, 1},
        {"{\"busy\":5,\"tasks\":[{\"response\":4},{\"response\":5}]}}", true, 2, 0},
        {"{\"busy\":5,\"tasks\":[null,{\"response\":5}]}}", true, 1, 0},
        {"{\"busy\":5,\"tasks\":[{\"response\":9},{\"response\":7}]}}", true, 2, 0},
        /* each too small by one; one that is not reached; no end of a busy period */
        {"{\"busy\":5,\"tasks\":[{\"response\":3},{\"response\":5}]}}", false, 0, 0},
        {"{\"busy\":5,\"tasks\":[{\"response\":4},{\"response\":4}]}}", false, 0, 0},
        {"{\"busy\":5,\"tasks\":[{\"response\":5,%s},{\"response\":5}]}}", false, 0, 0},
        {"{\"busy\":4,\"tasks\":[{\"response\":4},{\"response\":5}]}}", false, 0, 0},
        /* jobs of another task */
        {"{\"busy\":5,\"tasks\":[{\"response\":4},{\"response\":5,%s}]}}", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char responses[512], text[2048];
        snprintf(responses, sizeof responses, cases[i].responses, REACHED);
        snprintf(text, sizeof text, "%s\"responses\":%s", NP_EDF_ACCEPTS, responses);
        aegis_certificate_report report = verify(text, AEGIS_OK);
        if (report.holds != cases[i].holds ||
            (report.holds &&
             (report.responses != cases[i].said || report.reached != cases[i].reached))) {
            fail_msg("number %zu: %s", i, report.statement);
        }
    }
}

static void responses_that_do_not_belong_are_malformed(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "3",
        "{}",
        "{\"busy\":5}",
        "{\"busy\":0,\"tasks\":[null,null]}",
        "{\"busy\":5,\"tasks\":[null]}",
        "{\"busy\":5,\"tasks\":[null,1]}",
        "{\"busy\":5,\"tasks\":[null,{\"response\":5,\"points\":[]}]}",
        "{\"busy\":5,\"tasks\":[null,{\"response\":5,\"reached\":1}]}",
        "{\"busy\":5,\"tasks\":[null,{\"response\":5,\"reached\":{\"jobs\":[],\"job\":0}}]}",
        "{\"busy\":5,\"tasks\":[null,{\"response\":5,\"reached\":{\"jobs\":[[1,0,0]],\"job\":1}}]}",
    };
    char text[2048];
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(text, sizeof text, "%s\"responses\":%s}", NP_EDF_ACCEPTS, parts[i]);
        verify(text, AEGIS_ERROR_CONFIG);
    }
}

/* Overestimates prove as well as the least numbers do. */
static void upper_bounds_are_proofs(void **state)
{
    (void)state;
    assert_true(
        verify(SET("np-fp", TWO) "\"verdict\":\"schedulable\",\"proof\":{\"kind\":\"responses\","
                                 "\"tasks\":[{\"blocking\":2,\"busy\":6,\"points\":[],\"response\":"
                                 "9},{\"blocking\":0,\"busy\":8,\"points\":[4],\"response\":15}]}}",
               AEGIS_OK)
            .holds);
}

static void sums_past_63_bits_refuse(void **state)
{
    (void)state;
    char text[1024];
    snprintf(
        text, sizeof text,
        SET("fp",
            "{\"C\":%lld,\"T\":%lld},{\"C\":%lld,\"T\":%lld}") "\"verdict\":"
                                                               "\"schedulable\",\"proof\":{"
                                                               "\"kind\":\"responses\",\"tasks\":["
                                                               "{\"blocking\":0,\"busy\":0,"
                                                               "\"points\":[],\"response\":%lld},"
                                                               "{\"blocking\":0,\"busy\":0,"
                                                               "\"points\":[],\"response\":%lld}]}"
                                                               "}",
        (long long)LARGE, (long long)LARGE, (long long)LARGE, (long long)LARGE, (long long)LARGE,
        (long long)LARGE);
    assert_false(verify(text, AEGIS_OK).holds);
    /* The periods have no common multiple in 126 bits. */
    snprintf(
        text, sizeof text,
        SET("fp",
            "{\"C\":1,\"T\":%lld},{\"C\":1,\"T\":%lld},{\"C\":1,\"T\":%lld}") "\"verdict\""
                                                                              ":\"not-"
                                                                              "schedulable\","
                                                                              "\"proof\":{\"kind\":"
                                                                              "\"overload\","
                                                                              "\"tasks\":3}}",
        (long long)(LARGE - 2), (long long)LARGE, (long long)(LARGE - 1));
    verify(text, AEGIS_ERROR_UNDECIDED);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_proof_is_found),
        cmocka_unit_test(names_may_be_missing),
        cmocka_unit_test(what_has_no_proof_has_no_certificate),
        cmocka_unit_test(false_claims_are_refused),
        cmocka_unit_test(responses_are_proved_beside_a_verdict),
        cmocka_unit_test(responses_that_do_not_belong_are_malformed),
        cmocka_unit_test(upper_bounds_are_proofs),
        cmocka_unit_test(sums_past_63_bits_refuse),
        cmocka_unit_test(short_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
