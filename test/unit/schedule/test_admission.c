/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/admission.h>

#include "base/base.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MS INT64_C(1000000)

static aegis_task task(int64_t c, int64_t t, int64_t d, int64_t j)
{
    return (aegis_task){.execution = c, .period = t, .deadline = d, .jitter = j};
}

static aegis_admission_result
test_set(aegis_analysis analysis, const aegis_task *tasks, size_t count, uint64_t steps)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_limits limits = {.steps = steps};
    aegis_admission_result result;
    aegis_error err = {0};
    if (aegis_admission_test(analysis, tasks, count, &limits, &allocator, &result, &err) !=
        AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static void finish(aegis_admission_result *result)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result_finish(result, &allocator);
    assert_null(result->tasks);
}

static aegis_admission_verdict
verdict_of(aegis_analysis analysis, const aegis_task *tasks, size_t count)
{
    aegis_admission_result result = test_set(analysis, tasks, count, 0);
    aegis_admission_verdict verdict = result.verdict;
    finish(&result);
    return verdict;
}

static void expect_responses(aegis_analysis analysis,
                             const aegis_task *tasks,
                             size_t count,
                             const int64_t *expected)
{
    aegis_admission_result result = test_set(analysis, tasks, count, 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(result.tasks[i].response, expected[i]);
    }
    finish(&result);
}

static void np_fp_gives_the_published_responses(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(2, 10, 10, 0), task(3, 15, 15, 0), task(5, 50, 50, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_FP, tasks, 3, 0);
    assert_int_equal(result.tasks[0].response, 6);
    assert_int_equal(result.tasks[1].response, 9);
    assert_int_equal(result.tasks[2].response, 10);
    assert_int_equal(result.tasks[0].blocking, 4);
    assert_int_equal(result.tasks[2].blocking, 0);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(result.utilisation_ppm, 500000);
    assert_true(result.bounds.liu_layland && result.bounds.hyperbolic && !result.bounds.density);
    assert_true(result.first_miss == SIZE_MAX);
    finish(&result);
    /* The CAN example of Davis et al. 2007, table 1 in ticks: the second job of C is the worst. */
    const aegis_task can[] = {task(10, 25, 25, 0), task(10, 35, 35, 0), task(10, 35, 35, 0)};
    expect_responses(AEGIS_ANALYSIS_NP_FP, can, 3, (int64_t[]){19, 29, 35});
}

static void jitter_counts_for_the_task_itself(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(2, 10, 10, 1), task(3, 15, 15, 2), task(5, 50, 50, 3)};
    expect_responses(AEGIS_ANALYSIS_NP_FP, tasks, 3, (int64_t[]){7, 11, 13});
    expect_responses(AEGIS_ANALYSIS_FP, tasks, 3, (int64_t[]){3, 7, 15});
    expect_responses(AEGIS_ANALYSIS_FIFO, tasks, 3, (int64_t[]){11, 12, 13});
}

static void fp_handles_deadlines_beyond_periods(void **unused)
{
    (void)unused;
    /* Lehoczky 1990: 26/70, 62/100; the worst job of the second task is the fifth: 118. */
    const aegis_task tasks[] = {task(26, 70, 70, 0), task(62, 100, 120, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_FP, tasks, 2, 0);
    assert_int_equal(result.tasks[1].response, 118);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    finish(&result);
}

static void fpp_counts_the_last_segment(void **unused)
{
    (void)unused;
    const int64_t a[] = {2}, b[] = {3, 1}, c[] = {2, 4};
    aegis_task tasks[] = {task(2, 10, 10, 0), task(4, 15, 15, 0), task(6, 60, 60, 0)};
    tasks[0].segments = a, tasks[0].segment_count = 1;
    tasks[1].segments = b, tasks[1].segment_count = 2;
    tasks[2].segments = c, tasks[2].segment_count = 2;
    /* 3 blocks from the last task, s(0) = 3 + 3 + 2 of the second. */
    expect_responses(AEGIS_ANALYSIS_FPP, tasks, 3, (int64_t[]){5, 9, 12});
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, 0);
    assert_int_equal(result.tasks[0].blocking, 3);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    finish(&result);
    /* np-fp takes C whole. */
    expect_responses(AEGIS_ANALYSIS_NP_FP, tasks, 1, (int64_t[]){2});
}

static void responses_go_past_deadlines_and_diverge_at_overload(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(4, 15, 4, 0), task(12, 20, 20, 0), task(7, 30, 30, 0)};
    const aegis_analysis fixed[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FP, AEGIS_ANALYSIS_FPP};
    for (size_t k = 0; k < 3; k++) {
        aegis_admission_result result = test_set(fixed[k], tasks, 3, 0);
        assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
        assert_int_equal(result.tasks[2].response, AEGIS_RESPONSE_DIVERGES);
        assert_false(result.tasks[2].meets);
        assert_false(result.has_violation);
        assert_int_equal(result.first_miss, fixed[k] == AEGIS_ANALYSIS_FP ? 2 : 0);
        assert_int_equal(result.tasks[0].response, fixed[k] == AEGIS_ANALYSIS_FP ? 4 : 15);
        finish(&result);
    }
    expect_responses(AEGIS_ANALYSIS_FIFO, tasks, 3, (int64_t[]){-1, -1, -1});
    expect_responses(AEGIS_ANALYSIS_NP_EDF, tasks, 3, (int64_t[]){-1, -1, -1});
}

static void full_utilisation_is_decided_exactly(void **unused)
{
    (void)unused;
    /* a/p + b/q = 1 - 1/(pq), p and q near 2^61: no interval of 128 bits tells it from 1. */
    const int64_t p = INT64_C(2305843009213693951), q = INT64_C(2305843009213693921);
    const int64_t a = INT64_C(2228981575573237486), b = INT64_C(76861433640456464);
    const aegis_task below[] = {task(a, p, p, 0), task(b, q, q, 0)};
    const aegis_task above[] = {task(a, p, p, 0), task(b + 1, q, q, 0)};
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, below, 2), AEGIS_SCHEDULABLE);
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, above, 2), AEGIS_NOT_SCHEDULABLE);
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_EDF, below, 2, 0);
    assert_int_equal(result.utilisation_ppm, 1000000);
    finish(&result);
    const aegis_task full[] = {task(1, 3, 3, 0), task(1, 3, 3, 0), task(1, 3, 3, 0)};
    result = test_set(AEGIS_ANALYSIS_EDF, full, 3, 0);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(result.utilisation_ppm, 1000000); /* not 1,000,001 */
    assert_true(result.bounds.density);
    finish(&result);
    const aegis_task third[] = {task(1, 3, 3, 0)};
    result = test_set(AEGIS_ANALYSIS_NP_FP, third, 1, 0);
    assert_int_equal(result.utilisation_ppm, 333334);
    finish(&result);
    const aegis_task huge[] = {task(INT64_MAX, 1, 1, 0), task(INT64_MAX, 1, 1, 0),
                               task(INT64_MAX, 1, 1, 0)};
    result = test_set(AEGIS_ANALYSIS_NP_FP, huge, 3, 0);
    assert_true(result.utilisation_ppm == UINT64_MAX);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    finish(&result);
    const aegis_task late[] = {task(INT64_MAX, 1, INT64_MAX, 0), task(INT64_MAX, 1, INT64_MAX, 0),
                               task(INT64_MAX, 1, INT64_MAX, 0)};
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, late, 3), AEGIS_NOT_SCHEDULABLE);
}

/* U = 1, J = 0, D = T over periods without a common multiple below 2^63. */
static void full_utilisation_needs_no_common_multiple_when_deadlines_are_periods(void **unused)
{
    (void)unused;
    const int64_t p = INT64_C(1000000007), q = INT64_C(998244353), r = INT64_C(1000000009);
    aegis_task tasks[] = {task(p / 4, p, p, 0), task(p - p / 4, p, p, 0)};
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, tasks, 2), AEGIS_SCHEDULABLE);
    aegis_task late[] = {task(p - 3, 4 * p, 5 * p, 0), task(q, 4 * q, 5 * q, 0),
                         task(r, 2 * r, 3 * r, 0), task(3, 4 * p, 5 * p, 0)};
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, late, 4), AEGIS_SCHEDULABLE);
    /* With jitter it takes the common multiple, which does not fit: not decided, and said so. */
    late[1].jitter = 2 * q;
    late[2].jitter = 2 * r;
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_EDF, late, 4, 0);
    assert_int_equal(result.verdict, AEGIS_ADMISSION_UNDECIDED);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_NONE);
    assert_true(result.first_miss == SIZE_MAX);
    finish(&result);
    /* np-edf with neither verdict nor responses. */
    const aegis_task two[] = {task(5, 20, 19, 0), task(9, 21, 20, 0)};
    result = test_set(AEGIS_ANALYSIS_NP_EDF, two, 2, 1);
    assert_int_equal(result.verdict, AEGIS_ADMISSION_UNDECIDED);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_LIMITS);
    finish(&result);
    /* np-edf: the verdict is settled by the slack in the deadlines, the responses are not. */
    late[1].jitter = late[2].jitter = 0;
    result = test_set(AEGIS_ANALYSIS_NP_EDF, late, 4, 100000);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(result.tasks[0].response, AEGIS_RESPONSE_UNSETTLED);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_LIMITS);
    assert_true(result.tasks[0].meets);
    finish(&result);
}

static void np_edf_at_full_utilisation(void **unused)
{
    (void)unused;
    aegis_task tasks[] = {task(1, 2, 2, 0), task(1, 4, 4, 0), task(1, 4, 4, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, 0);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(result.tasks[0].response, 2);
    assert_int_equal(result.tasks[1].response, 4);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_NONE);
    finish(&result);
    tasks[2].deadline = 5;
    tasks[2].jitter = 1;
    result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, 0);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(result.tasks[2].response, AEGIS_RESPONSE_UNSETTLED);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_ENDLESS);
    assert_true(result.tasks[2].meets);
    finish(&result);
    expect_responses(AEGIS_ANALYSIS_NP_FP, tasks, 3, (int64_t[]){1, 2, -1});
    expect_responses(AEGIS_ANALYSIS_FP, tasks, 3, (int64_t[]){1, 2, -1});
    expect_responses(AEGIS_ANALYSIS_FIFO, tasks, 3, (int64_t[]){-1, -1, -1});
}

static void edf_refusal_shows_the_witness(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(4, 15, 12, 0), task(5, 20, 20, 0), task(12, 60, 60, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, 0);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    assert_true(result.has_violation);
    assert_int_equal(result.violation_at, 12);
    assert_int_equal(result.violation_demand, 15);
    assert_int_equal(result.witness_count, 2);
    assert_int_equal(result.witness_total, 2);
    assert_true(result.witness[0].blocks);
    assert_int_equal(result.witness[0].task, 2);
    assert_int_equal(result.witness[0].release, 0);
    assert_int_equal(result.witness[0].deadline, 60);
    assert_int_equal(result.witness[1].task, 0);
    assert_int_equal(result.witness[1].release, 1);
    assert_int_equal(result.witness[1].deadline, 13);
    assert_int_equal(result.tasks[0].response, 15);
    assert_int_equal(result.tasks[0].blocking, 11);
    assert_int_equal(result.first_miss, 0);
    finish(&result);
    /* Without blocking the interval begins at 0, jobs ready at once with their deadlines earlier.
     */
    const aegis_task late[] = {task(4, 15, 12, 9), task(5, 20, 20, 0)};
    result = test_set(AEGIS_ANALYSIS_EDF, late, 2, 0);
    assert_int_equal(result.violation_at, 3);
    assert_int_equal(result.witness[0].release, 0);
    assert_int_equal(result.witness[0].deadline, 3);
    assert_int_equal(result.tasks[0].response, AEGIS_RESPONSE_OMITTED);
    assert_false(result.tasks[1].meets);
    finish(&result);
}

static void a_long_witness_is_cut(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(1000, 1000, 5000000, 0), task(1, 1000, 6000000, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 2, 0);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    assert_true(result.has_violation);
    assert_int_equal(result.witness_count, 1024);
    assert_true(result.witness_total > 1024);
    assert_true(result.violation_demand > result.violation_at);
    finish(&result);
}

/* U above 1 by so little that the demand passes the time beyond 63 bits only. */
static void an_overload_too_far_to_show_is_refused_all_the_same(void **unused)
{
    (void)unused;
    /* a/p + b/q = 1 + 1/(pq): the floors of the demand first sum to more than t at t = pq. */
    const int64_t p = INT64_C(2305843009213693951), q = INT64_C(2305843009213693921);
    const int64_t a = INT64_C(76861433640456465), b = INT64_C(2228981575573237457);
    const aegis_task tasks[] = {task(a, p, p, 0), task(b, q, q, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_EDF, tasks, 2, 0);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    assert_false(result.has_violation);
    assert_int_equal(result.first_miss, 0);
    finish(&result);
}

static void limits_leave_the_verdict_open(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(2, 10, 6, 0), task(3, 15, 9, 0), task(5, 50, 20, 1)};
    const aegis_analysis all[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_NP_EDF, AEGIS_ANALYSIS_FP,
                                  AEGIS_ANALYSIS_EDF,   AEGIS_ANALYSIS_FPP,    AEGIS_ANALYSIS_FIFO};
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(all); k++) {
        aegis_admission_verdict final = verdict_of(all[k], tasks, 3);
        bool open = false, settled = false;
        for (uint64_t steps = 1; steps < 100; steps++) {
            aegis_admission_result result = test_set(all[k], tasks, 3, steps);
            assert_true(result.verdict == final || result.verdict == AEGIS_ADMISSION_UNDECIDED);
            open = open || result.verdict == AEGIS_ADMISSION_UNDECIDED;
            settled = result.verdict == final;
            finish(&result);
        }
        assert_true(open && settled);
        volatile bool cancelled = true;
        aegis_admission_limits limits = {.cancel = &cancelled};
        aegis_admission_result result;
        assert_int_equal(aegis_admission_test(all[k], tasks, 3, &limits, &allocator, &result, NULL),
                         AEGIS_OK);
        assert_int_equal(result.verdict, AEGIS_ADMISSION_UNDECIDED);
        assert_true(result.first_miss == SIZE_MAX);
        finish(&result);
        aegis_fit fit = {7, 7, 7};
        assert_int_equal(
            aegis_admission_what_fits(all[k], tasks, 3, 0, &limits, &allocator, &fit, NULL),
            AEGIS_ERROR_UNDECIDED);
        assert_int_equal(fit.smallest_period, 7);
    }
}

/* Each number of steps ends it somewhere else, among the releases that are gone through too. */
static void np_edf_responses_may_end_anywhere(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(1, 4, 4, 3), task(60, 150, 150, 0), task(1, 5, 140, 0)};
    const aegis_admission_result whole = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, 0);
    assert_int_equal(whole.unsettled, AEGIS_UNSETTLED_NONE);
    uint64_t steps = 1;
    for (bool settled = false; !settled; steps++) {
        aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 3, steps);
        settled = result.unsettled == AEGIS_UNSETTLED_NONE;
        for (size_t i = 0; i < 3; i++) {
            assert_true(result.tasks[i].response ==
                        (settled ? whole.tasks[i].response : AEGIS_RESPONSE_UNSETTLED));
        }
        finish(&result);
    }
    assert_in_range(steps, 50, 5000);
    aegis_admission_result done = whole;
    finish(&done);
}

static void one_miss_decides_though_limits_leave_others_open(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(5, 20, 4, 0), task(5, 20, 20, 0), task(9, 21, 20, 0)};
    aegis_admission_result result = test_set(AEGIS_ANALYSIS_NP_FP, tasks, 3, 4);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    assert_int_equal(result.first_miss, 0);
    assert_int_equal(result.tasks[2].response, AEGIS_RESPONSE_UNSETTLED);
    assert_int_equal(result.unsettled, AEGIS_UNSETTLED_LIMITS);
    finish(&result);
}

static void results_beyond_63_bits_are_overflow(void **unused)
{
    (void)unused;
    const int64_t big = INT64_MAX;
    const aegis_task jitter[] = {task(big / 2, big, big, big)};
    const aegis_task pair[] = {task(big / 2 + 1, big, big, 0), task(big / 2 - 1, big, big, 5)};
    const aegis_task near_one[] = {task(big / 4, big / 2, big, big / 2),
                                   task(big / 5, big / 2, big, 9)};
    const aegis_analysis all[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FP, AEGIS_ANALYSIS_FPP,
                                  AEGIS_ANALYSIS_FIFO};
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(all); k++) {
        const aegis_task *sets[] = {jitter, pair, near_one};
        const size_t counts[] = {1, 2, 2};
        bool overflowed = false;
        for (size_t n = 0; n < 3; n++) {
            aegis_admission_result result;
            aegis_error err = {0};
            aegis_status status =
                aegis_admission_test(all[k], sets[n], counts[n], NULL, &allocator, &result, &err);
            if (status == AEGIS_OK) {
                finish(&result);
            } else {
                assert_int_equal(status, AEGIS_ERROR_OVERFLOW);
                assert_non_null(strstr(err.message, "larger ticks"));
                overflowed = true;
            }
        }
        assert_true(overflowed);
    }
}

static int64_t extreme(uint64_t *seed, int64_t least)
{
    uint64_t bits = aegis_random_next(seed);
    int64_t value = INT64_MAX >> (bits % 8 == 0 ? (bits >> 3) % 63 : (bits >> 3) % 5);
    value -= (int64_t)((bits >> 10) % 3) * (value / 7) + (int64_t)((bits >> 12) % 5);
    return value < least ? least : value;
}

/* Sets of the largest integers: an answer without contradictions, or OVERFLOW; sanitizers see any
 * wrap of a signed sum. */
static void extremes_neither_wrap_nor_contradict(void **unused)
{
    (void)unused;
    const uint64_t start = 97;
    uint64_t seed = start;
    int overflows = 0, answers = 0;
    aegis_allocator allocator = aegis_allocator_default();
    for (int n = 0; n < 20000; n++) {
        aegis_task tasks[3];
        size_t count = 1 + (size_t)n % 3;
        for (size_t i = 0; i < count; i++) {
            tasks[i] = task(extreme(&seed, 1), extreme(&seed, 1), extreme(&seed, 1),
                            n % 2 == 0 ? extreme(&seed, 0) : 0);
            tasks[i].execution = n % 4 < 2 ? tasks[i].execution : tasks[i].period / 3 + 1;
        }
        aegis_analysis analysis = (aegis_analysis)(n / 4 % 6);
        const aegis_admission_limits limits = {.steps = 200};
        aegis_admission_result result;
        aegis_fit fit;
        aegis_status status =
            aegis_admission_test(analysis, tasks, count, &limits, &allocator, &result, NULL);
        aegis_admission_what_fits(analysis, tasks, count, 0, &limits, &allocator, &fit, NULL);
        if (status == AEGIS_ERROR_OVERFLOW) {
            overflows++;
            continue;
        }
        assert_int_equal(status, AEGIS_OK);
        answers++;
        for (size_t i = 0; i < count; i++) {
            int64_t response = result.tasks[i].response;
            assert_true(response < 0 || response - tasks[i].jitter >= tasks[i].execution);
            assert_true(result.tasks[i].meets || result.verdict != AEGIS_SCHEDULABLE);
        }
        assert_true(!result.has_violation || result.violation_demand > result.violation_at);
        aegis_admission_result_finish(&result, &allocator);
    }
    printf("seed %llu: %d answers, %d overflows\n", (unsigned long long)start, answers, overflows);
    assert_true(answers > 1000 && overflows > 1000);
}

static void arguments_are_checked(void **unused)
{
    (void)unused;
    static const int64_t short_segments[] = {1, 1}, bad_segments[] = {3, 0, -1};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_task cases[] = {task(0, 1, 1, 0),  task(1, 0, 1, 0), task(1, 1, 0, 0),
                          task(1, 1, 1, -1), task(3, 9, 9, 0), task(3, 9, 9, 0)};
    const char *const words[] = {"C is 0",  "T is 0",     "D is 0",
                                 "J is -1", "do not sum", "a segment"};
    cases[4].segments = short_segments, cases[4].segment_count = 2;
    cases[5].segments = bad_segments, cases[5].segment_count = 3;
    cases[5].name = "camera";
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(cases); k++) {
        aegis_admission_result result;
        aegis_error err = {0};
        bool ok;
        assert_int_equal(
            aegis_admission_test(AEGIS_ANALYSIS_FPP, &cases[k], 1, NULL, &allocator, &result, &err),
            AEGIS_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, words[k]));
        assert_non_null(strstr(err.message, k == 5 ? "camera" : "unnamed"));
        assert_int_equal(aegis_admission_test_rm(&cases[k], 1, &ok, NULL),
                         AEGIS_ERROR_INVALID_ARGUMENT);
        assert_int_equal(aegis_admission_test_density(&cases[k], 1, &ok, NULL),
                         AEGIS_ERROR_INVALID_ARGUMENT);
    }
    aegis_admission_result result;
    aegis_fit fit;
    aegis_task good = task(1, 2, 2, 0);
    assert_int_equal(
        aegis_admission_test((aegis_analysis)99, &good, 1, NULL, &allocator, &result, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_FP, &good, 1, 1, NULL, &allocator, &fit, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_FP, &cases[0], 1, 0, NULL, &allocator, &fit, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
}

static void an_empty_set_is_schedulable(void **unused)
{
    (void)unused;
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        aegis_admission_result result = test_set((aegis_analysis)k, NULL, 0, 0);
        assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
        assert_int_equal(result.utilisation_ppm, 0);
        finish(&result);
    }
}

static void names_round_trip(void **unused)
{
    (void)unused;
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        aegis_analysis parsed = AEGIS_ANALYSIS_NP_FP;
        assert_int_equal(
            aegis_analysis_parse(aegis_analysis_name((aegis_analysis)k), &parsed, NULL), AEGIS_OK);
        assert_int_equal(parsed, k);
    }
    aegis_error err;
    aegis_analysis parsed;
    assert_string_equal(aegis_analysis_name((aegis_analysis)99), "unknown");
    assert_int_equal(aegis_analysis_parse("np-edg", &parsed, &err), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "did you mean \"np-edf\"?"));
    assert_int_equal(aegis_analysis_parse("something else", &parsed, &err), AEGIS_ERROR_NOT_FOUND);
    assert_non_null(strstr(err.message, "use np-fp"));
}

static aegis_simple_bounds bounds_of(aegis_analysis analysis, const aegis_task *tasks, size_t count)
{
    aegis_admission_result result = test_set(analysis, tasks, count, 0);
    aegis_simple_bounds bounds = result.bounds;
    finish(&result);
    return bounds;
}

static void bounds_count_blocking(void **unused)
{
    (void)unused;
    /* 4/3 * ((2+3)/8 + 1) > 2 with the blocking of the last task, 4/3 * 5/4 * 11/10 <= 2 without.
     */
    const aegis_task tasks[] = {task(2, 6, 6, 0), task(2, 8, 8, 0), task(4, 40, 40, 0)};
    assert_false(bounds_of(AEGIS_ANALYSIS_NP_FP, tasks, 3).hyperbolic);
    assert_false(bounds_of(AEGIS_ANALYSIS_NP_FP, tasks, 3).liu_layland);
    assert_true(bounds_of(AEGIS_ANALYSIS_FP, tasks, 3).hyperbolic);
    assert_true(bounds_of(AEGIS_ANALYSIS_FP, tasks, 3).liu_layland);
    assert_true(bounds_of(AEGIS_ANALYSIS_EDF, tasks, 3).density);
    assert_true(bounds_of(AEGIS_ANALYSIS_NP_EDF, tasks, 3).density);
    const aegis_task blocked[] = {task(2, 6, 6, 0), task(6, 40, 40, 0)};
    assert_true(bounds_of(AEGIS_ANALYSIS_EDF, blocked, 2).density);
    assert_false(bounds_of(AEGIS_ANALYSIS_NP_EDF, blocked, 2).density);
    /* Assumptions: order, D = T, J = 0, and no bound at all for FIFO. */
    const aegis_task disordered[] = {task(1, 8, 8, 0), task(1, 6, 6, 0)};
    assert_false(bounds_of(AEGIS_ANALYSIS_FP, disordered, 2).liu_layland);
    assert_true(bounds_of(AEGIS_ANALYSIS_EDF, disordered, 2).liu_layland);
    assert_false(bounds_of(AEGIS_ANALYSIS_FIFO, tasks, 3).hyperbolic);
    const aegis_task late[] = {task(1, 8, 9, 9)};
    assert_false(bounds_of(AEGIS_ANALYSIS_EDF, late, 1).density);
}

static void bounds_break_ties_exactly(void **unused)
{
    (void)unused;
    bool ok;
    /* 3/2 * 4/3 = 2 exactly; a hair more is more. */
    const aegis_task tie[] = {task(1, 2, 2, 0), task(1, 3, 3, 0)};
    assert_true(bounds_of(AEGIS_ANALYSIS_FP, tie, 2).hyperbolic);
    assert_false(bounds_of(AEGIS_ANALYSIS_FP, tie, 2).liu_layland);
    const int64_t e = INT64_C(1) << 61;
    const aegis_task more[] = {task(e / 2, e, e, 0), task(e / 3 + 1, e, e, 0)};
    assert_false(bounds_of(AEGIS_ANALYSIS_FP, more, 2).hyperbolic);
    /* U <= 2 (sqrt 2 - 1) = 0.8284271247461901 */
    aegis_task layland[] = {task(4142135623, 10000000000, 10000000000, 0),
                            task(4142135623, 10000000000, 10000000000, 0)};
    assert_int_equal(aegis_admission_test_rm(layland, 2, &ok, NULL), AEGIS_OK);
    assert_true(ok);
    layland[0].execution++;
    layland[1].execution++;
    assert_int_equal(aegis_admission_test_rm(layland, 2, &ok, NULL), AEGIS_OK);
    assert_false(ok);
    layland[1].execution = 10000000000;
    assert_int_equal(aegis_admission_test_rm(layland, 2, &ok, NULL), AEGIS_OK);
    assert_false(ok);
    const aegis_task one = task(7, 7, 7, 0);
    assert_int_equal(aegis_admission_test_rm(&one, 1, &ok, NULL), AEGIS_OK);
    assert_true(ok);
    const aegis_task thirds[] = {task(1, 3, 3, 0), task(1, 3, 3, 0), task(1, 4, 3, 0)};
    assert_int_equal(aegis_admission_test_density(thirds, 3, &ok, NULL), AEGIS_OK);
    assert_true(ok);
    const aegis_task over[] = {task(1, 3, 3, 0), task(1, 3, 3, 0), task(2, 5, 5, 0)};
    assert_int_equal(aegis_admission_test_density(over, 3, &ok, NULL), AEGIS_OK);
    assert_false(ok);
}

static void many_tasks_stay_under_ln_2(void **unused)
{
    (void)unused;
    aegis_task tasks[300];
    bool ok;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(tasks); i++) {
        tasks[i] = task(2311 * MS, 1000000 * MS, 1000000 * MS, 0); /* 0.6933 in all */
    }
    assert_int_equal(aegis_admission_test_rm(tasks, 300, &ok, NULL), AEGIS_OK);
    assert_true(ok); /* 300 (2^(1/300) - 1) = 0.69394 */
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(tasks); i++) {
        tasks[i].execution = 2314 * MS;
    }
    assert_int_equal(aegis_admission_test_rm(tasks, 300, &ok, NULL), AEGIS_OK);
    assert_false(ok);
}

static void helpers_order_and_block(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {task(1, 9, 5, 0), task(1, 3, 8, 0), task(1, 9, 1, 0)};
    size_t order[3];
    aegis_admission_order_rm(tasks, 3, order);
    assert_true(order[0] == 1 && order[1] == 0 && order[2] == 2);
    aegis_admission_order_dm(tasks, 3, order);
    assert_true(order[0] == 2 && order[1] == 0 && order[2] == 1);
    const int64_t executions[] = {4, 9, 2};
    assert_int_equal(aegis_admission_blocking(executions, 3), 8);
    assert_int_equal(aegis_admission_blocking(NULL, 0), 0);
}

static void what_fits_is_tight(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_fit fit;
    aegis_task tasks[] = {task(2, 10, 10, 0), task(3, 15, 15, 0), task(5, 50, 50, 0)};
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_NP_FP, tasks, 3, 2, NULL, &allocator, &fit, NULL),
        AEGIS_OK);
    assert_int_equal(fit.smallest_deadline, 10);
    assert_int_equal(fit.largest_execution, 9); /* 8 + 2 = D of the first */
    assert_int_equal(fit.smallest_period, 10);
    /* Nothing fits behind a task that takes all. */
    aegis_task full[] = {task(5, 5, 5, 0), task(1, 100, 100, 0)};
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_EDF, full, 2, 1, NULL, &allocator, &fit, NULL),
        AEGIS_OK);
    assert_true(fit.smallest_period == 0 && fit.smallest_deadline == 0 &&
                fit.largest_execution == 0);
    /* Segments follow C: two halves, of which one blocks. */
    const int64_t halves[] = {10, 10};
    aegis_task cut[] = {task(2, 10, 10, 0), task(20, 100, 100, 0)};
    cut[1].segments = halves, cut[1].segment_count = 2;
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_NP_EDF, cut, 2, 1, NULL, &allocator, &fit, NULL),
        AEGIS_OK);
    assert_int_equal(fit.largest_execution, 18); /* 9 - 1 + 2 <= 10 */
}

/* U just under 1 with jitter: candidates near the edge are not settled and count as refused. */
static void what_fits_gives_up_on_hairs(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_task tasks[] = {task(333333333, 1000000007, 1000000007, 137211),
                          task(300000001, 998244353, 998244353, 137211),
                          task(100000000, 1000000009, 1000000009, 137211)};
    aegis_fit fit;
    assert_int_equal(
        aegis_admission_what_fits(AEGIS_ANALYSIS_EDF, tasks, 3, 2, NULL, &allocator, &fit, NULL),
        AEGIS_OK);
    tasks[2].execution = fit.largest_execution;
    assert_int_equal(verdict_of(AEGIS_ANALYSIS_EDF, tasks, 3), AEGIS_SCHEDULABLE);
    assert_true(fit.largest_execution > 300000000);
}

/* 26 models with the jitter of one driver, periods from 32 ms to 2 s: a real lane. */
static void a_lane_of_26_models(void **unused)
{
    (void)unused;
    aegis_task tasks[26];
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(tasks); i++) {
        int64_t period = 32 * MS + (int64_t)(i * i) * 3 * MS;
        tasks[i] = task(period / 60 < 5 * MS ? period / 60 : 5 * MS, period, period, 137211);
    }
    aegis_admission_result edf = test_set(AEGIS_ANALYSIS_NP_EDF, tasks, 26, 20000);
    aegis_admission_result fp = test_set(AEGIS_ANALYSIS_NP_FP, tasks, 26, 20000);
    assert_int_equal(edf.verdict, AEGIS_SCHEDULABLE);
    assert_int_equal(fp.verdict, AEGIS_SCHEDULABLE);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(tasks); i++) {
        assert_true(edf.tasks[i].response > tasks[i].execution && edf.tasks[i].meets);
        assert_true(fp.tasks[i].response > tasks[i].execution && fp.tasks[i].meets);
    }
    finish(&edf);
    finish(&fp);
}

/* Every request for memory fails once: a clean NO_MEMORY, nothing left behind. */
static void memory_may_run_out_anywhere(void **unused)
{
    (void)unused;
    const aegis_task refused[] = {task(4, 15, 12, 0), task(5, 20, 20, 0), task(12, 60, 60, 0)};
    const aegis_task full[] = {task(1, 3, 3, 0), task(1, 3, 3, 0), task(1, 3, 3, 0)};
    const aegis_task tie[] = {task(1, 2, 2, 0), task(1, 3, 3, 0)};
    const aegis_task *sets[] = {refused, full, tie};
    const size_t counts[] = {3, 3, 2};
    for (int analysis = AEGIS_ANALYSIS_NP_FP; analysis <= AEGIS_ANALYSIS_FIFO; analysis++) {
        for (size_t n = 0; n < 6; n++) {
            bool passed = false;
            for (uint64_t at = 1; !passed && at < 4000; at++) {
                test_allocator memory = {.fail_at = at};
                aegis_allocator allocator = test_allocator_make(&memory);
                aegis_admission_result result;
                aegis_fit fit;
                aegis_status status =
                    n < 3
                        ? aegis_admission_test((aegis_analysis)analysis, sets[n], counts[n], NULL,
                                               &allocator, &result, NULL)
                        : aegis_admission_what_fits((aegis_analysis)analysis, sets[n - 3],
                                                    counts[n - 3], 0, NULL, &allocator, &fit, NULL);
                if (status == AEGIS_OK && n < 3) {
                    aegis_admission_result_finish(&result, &allocator);
                }
                passed = status == AEGIS_OK;
                assert_true(passed || status == AEGIS_ERROR_NO_MEMORY);
                assert_int_equal(memory.blocks, 0);
                assert_int_equal(memory.wrong_sizes, 0);
            }
            assert_true(passed);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(np_fp_gives_the_published_responses),
        cmocka_unit_test(jitter_counts_for_the_task_itself),
        cmocka_unit_test(fp_handles_deadlines_beyond_periods),
        cmocka_unit_test(fpp_counts_the_last_segment),
        cmocka_unit_test(responses_go_past_deadlines_and_diverge_at_overload),
        cmocka_unit_test(full_utilisation_is_decided_exactly),
        cmocka_unit_test(full_utilisation_needs_no_common_multiple_when_deadlines_are_periods),
        cmocka_unit_test(np_edf_at_full_utilisation),
        cmocka_unit_test(edf_refusal_shows_the_witness),
        cmocka_unit_test(a_long_witness_is_cut),
        cmocka_unit_test(an_overload_too_far_to_show_is_refused_all_the_same),
        cmocka_unit_test(limits_leave_the_verdict_open),
        cmocka_unit_test(np_edf_responses_may_end_anywhere),
        cmocka_unit_test(one_miss_decides_though_limits_leave_others_open),
        cmocka_unit_test(results_beyond_63_bits_are_overflow),
        cmocka_unit_test(extremes_neither_wrap_nor_contradict),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(an_empty_set_is_schedulable),
        cmocka_unit_test(names_round_trip),
        cmocka_unit_test(bounds_count_blocking),
        cmocka_unit_test(bounds_break_ties_exactly),
        cmocka_unit_test(many_tasks_stay_under_ln_2),
        cmocka_unit_test(helpers_order_and_block),
        cmocka_unit_test(what_fits_is_tight),
        cmocka_unit_test(what_fits_gives_up_on_hairs),
        cmocka_unit_test(a_lane_of_26_models),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
