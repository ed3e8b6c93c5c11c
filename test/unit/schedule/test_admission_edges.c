/* SPDX-License-Identifier: Apache-2.0 */
/* The corners of the analysis that random sets do not reach: ties in the exact sums, ends of the
 * integers, limits and memory that run out, malformed arguments. */
#include <aegisrt/admission.h>

#include "base/base.h"
#include "schedule/admission/internal.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static aegis_task task(int64_t c, int64_t t, int64_t d, int64_t j)
{
    return (aegis_task){.execution = c, .period = t, .deadline = d, .jitter = j};
}

static aegis_status test_with(aegis_analysis analysis,
                              const aegis_task *tasks,
                              size_t count,
                              const aegis_admission_limits *limits,
                              aegis_admission_result *ret_result)
{
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_admission_test(analysis, tasks, count, limits, &allocator, ret_result, NULL);
}

static void finish(aegis_admission_result *result)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_result_finish(result, &allocator);
}

/* ---- exact sums ---- */

/* a/b against n/d where a d and b n are 2^64 - 1 and 2^64: one has a word more than the other. */
static void fractions_are_compared_across_a_word_boundary(void **unused)
{
    (void)unused;
    const uint64_t two_32 = UINT64_C(1) << 32;
    const aegis_fraction below = {two_32 - 1, two_32}, above = {two_32, two_32 + 1};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_analysis_run run = {.allocator = &allocator, .budget = {.steps = 10}};
    aegis_fixed sum = {0, 0};
    int sign = 0;
    aegis_fixed_add(&sum, below.numerator, below.denominator);
    assert_int_equal(aegis_sum_compare(&run, &sum, &below, 1, above, &sign), AEGIS_OUTCOME_DONE);
    assert_int_equal(sign, -1);
    sum = (aegis_fixed){0, 0};
    aegis_fixed_add(&sum, above.numerator, above.denominator);
    assert_int_equal(aegis_sum_compare(&run, &sum, &above, 1, below, &sign), AEGIS_OUTCOME_DONE);
    assert_int_equal(sign, 1);
    /* Without steps there is no exact comparison. */
    run.budget.steps = 0;
    assert_int_equal(aegis_sum_compare(&run, &sum, &above, 1, below, &sign), AEGIS_OUTCOME_LIMIT);
}

/* U near 2^64 / 10^6: its parts per million end within one of the largest integer. */
static void utilisation_saturates_in_parts_per_million(void **unused)
{
    (void)unused;
    aegis_task tasks[] = {task(INT64_MAX, 500000, 1, 0), task(3, 2000000, 1, 0)};
    aegis_admission_result result;
    assert_int_equal(test_with(AEGIS_ANALYSIS_EDF, tasks, 1, NULL, &result), AEGIS_OK);
    assert_true(result.utilisation_ppm == UINT64_MAX - 1);
    finish(&result);
    assert_int_equal(test_with(AEGIS_ANALYSIS_EDF, tasks, 2, NULL, &result), AEGIS_OK);
    assert_true(result.utilisation_ppm == UINT64_MAX);
    finish(&result);
}

/* What the limits keep from being compared exactly is no proof, and one part per million more. */
static void limits_end_exact_comparisons_safely(void **unused)
{
    (void)unused;
    volatile bool cancel = true;
    const aegis_admission_limits limits = {.cancel = &cancel};
    const aegis_task full[] = {task(7, 7, 7, 0)};
    const aegis_task thirds[] = {task(1, 3, 3, 0), task(1, 3, 3, 0), task(1, 3, 3, 0)};
    const aegis_task tie[] = {task(1, 2, 2, 0), task(1, 3, 3, 0)};
    aegis_admission_result result;
    for (int k = 0; k < 2; k++) {
        cancel = k == 1;
        assert_int_equal(test_with(AEGIS_ANALYSIS_FP, full, 1, &limits, &result), AEGIS_OK);
        assert_int_equal(result.bounds.liu_layland, !cancel);
        assert_int_equal(result.bounds.hyperbolic, !cancel);
        finish(&result);
        assert_int_equal(test_with(AEGIS_ANALYSIS_FP, tie, 2, &limits, &result), AEGIS_OK);
        assert_int_equal(result.bounds.hyperbolic, !cancel);
        finish(&result);
        assert_int_equal(test_with(AEGIS_ANALYSIS_EDF, thirds, 3, &limits, &result), AEGIS_OK);
        assert_int_equal(result.bounds.density, !cancel);
        assert_int_equal(result.utilisation_ppm, 1000000 + cancel);
        assert_int_equal(result.verdict, cancel ? AEGIS_ADMISSION_UNDECIDED : AEGIS_SCHEDULABLE);
        finish(&result);
        assert_int_equal(test_with(AEGIS_ANALYSIS_FP, thirds, 3, &limits, &result), AEGIS_OK);
        assert_int_equal(result.verdict, cancel ? AEGIS_ADMISSION_UNDECIDED : AEGIS_SCHEDULABLE);
        finish(&result);
    }
}

static void outcomes_without_a_failure_are_ok(void **unused)
{
    (void)unused;
    assert_int_equal(aegis_outcome_status(AEGIS_OUTCOME_DIVERGES, NULL), AEGIS_OK);
    assert_int_equal(aegis_outcome_status(AEGIS_OUTCOME_DONE, NULL), AEGIS_OK);
}

/* ---- ends of the integers ---- */

#define BIG (INT64_C(1) << 62)

/* U = 1 with jitter: the instants reach to the last first deadline plus the common multiple. */
static void common_multiples_beyond_the_integers(void **unused)
{
    (void)unused;
    aegis_admission_result result;
    /* The sum of both overflows; the first instant refutes the set all the same. */
    const aegis_task far[] = {task(BIG / 2, BIG, INT64_MAX - 9, 0),
                              task(BIG / 2, BIG, BIG / 2, BIG)};
    assert_int_equal(test_with(AEGIS_ANALYSIS_EDF, far, 2, NULL, &result), AEGIS_OK);
    assert_int_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
    finish(&result);
    /* The sum fits and the demand there does not. */
    const aegis_task heavy[] = {task(BIG / 2, BIG, BIG / 2 + 1, 1), task(BIG / 2, BIG, BIG - 1, 1)};
    assert_int_equal(test_with(AEGIS_ANALYSIS_EDF, heavy, 2, NULL, &result), AEGIS_ERROR_OVERFLOW);
}

static void many_preemptive_jobs_overflow(void **unused)
{
    (void)unused;
    /* w(0) is past the period and (q + 1) C past the integers before the busy period ends. */
    const aegis_task tasks[] = {task(BIG, 2 * (BIG - 1), BIG, 0),
                                task(BIG / 2 - 8, BIG - 15, INT64_MAX, INT64_MAX)};
    aegis_admission_result result;
    assert_int_equal(test_with(AEGIS_ANALYSIS_FP, tasks, 2, NULL, &result), AEGIS_ERROR_OVERFLOW);
    const aegis_task alone[] = {task(BIG - 1, BIG, INT64_MAX, INT64_MAX)};
    assert_int_equal(test_with(AEGIS_ANALYSIS_FP, alone, 1, NULL, &result), AEGIS_ERROR_OVERFLOW);
}

/* ---- limits and memory ---- */

static void a_limit_that_never_ends_anything_changes_nothing(void **unused)
{
    (void)unused;
    volatile bool cancel = false;
    const aegis_admission_limits limits = {.cancel = &cancel};
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {task(2, 10, 10, 0), task(3, 15, 15, 0)};
    aegis_fit with, without;
    assert_int_equal(aegis_admission_what_fits(AEGIS_ANALYSIS_NP_FP, tasks, 2, 1, &limits,
                                               &allocator, &with, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_admission_what_fits(AEGIS_ANALYSIS_NP_FP, tasks, 2, 1, NULL, &allocator,
                                               &without, NULL),
                     AEGIS_OK);
    assert_memory_equal(&with, &without, sizeof with);
    /* A probe that its own steps do not settle counts as refused, cancelling or not. */
    aegis_task hairs[] = {task(333333333, 1000000007, 1000000007, 137211),
                          task(300000001, 998244353, 998244353, 137211),
                          task(100000000, 1000000009, 1000000009, 137211)};
    assert_int_equal(aegis_admission_what_fits(AEGIS_ANALYSIS_EDF, hairs, 3, 2, &limits, &allocator,
                                               &with, NULL),
                     AEGIS_OK);
    assert_true(with.largest_execution > 300000000);
}

static void assignments_say_how_far_they_came(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    /* Neither can stand a job of the other: the lower level has no taker. */
    const aegis_task tasks[] = {task(4, 20, 20, 0), task(5, 20, 7, 0), task(5, 20, 7, 0)};
    aegis_priority_assignment assignment;
    size_t order[3] = {9, 9, 9};
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_NP_FP, tasks, 3, NULL,
                                                       &allocator, order, &assignment, NULL),
                     AEGIS_OK);
    assert_int_equal(assignment.verdict, AEGIS_NOT_SCHEDULABLE);
    assert_int_equal(assignment.level, 1);
    assert_int_equal(order[2], 0);
    const aegis_admission_limits limits = {.steps = 1};
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FP, tasks, 3, &limits,
                                                       &allocator, order, &assignment, NULL),
                     AEGIS_OK);
    assert_int_equal(assignment.verdict, AEGIS_ADMISSION_UNDECIDED);
    assert_int_equal(assignment.level, 2);
    const aegis_task big[] = {task(BIG, INT64_MAX, INT64_MAX, INT64_MAX)};
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FPP, big, 1, NULL, &allocator,
                                                       order, &assignment, NULL),
                     AEGIS_ERROR_OVERFLOW);
    const aegis_task overload[] = {task(3, 2, 9, 0)};
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FPP, overload, 1, NULL,
                                                       &allocator, order, &assignment, NULL),
                     AEGIS_OK);
    assert_int_equal(assignment.verdict, AEGIS_NOT_SCHEDULABLE);
    /* U = 1: the exact comparison takes a step too, which is not there. */
    const aegis_admission_limits one = {.steps = 1};
    const aegis_task full[] = {task(1, 2, 9, 0), task(1, 2, 9, 0)};
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FP, full, 2, &one, &allocator,
                                                       order, &assignment, NULL),
                     AEGIS_OK);
    assert_int_equal(assignment.verdict, AEGIS_ADMISSION_UNDECIDED);
    aegis_error err;
    const aegis_analysis others[] = {AEGIS_ANALYSIS_NP_EDF, AEGIS_ANALYSIS_EDF,
                                     AEGIS_ANALYSIS_FIFO};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(others); k++) {
        assert_int_equal(aegis_admission_assign_priorities(others[k], tasks, 3, NULL, &allocator,
                                                           order, &assignment, &err),
                         AEGIS_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "np-fp, fpp or fp"));
    }
    const aegis_task wrong = task(0, 1, 1, 0);
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FP, &wrong, 1, NULL,
                                                       &allocator, order, &assignment, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_admission_assign_priorities(AEGIS_ANALYSIS_FP, NULL, 0, NULL, &allocator,
                                                       order, &assignment, NULL),
                     AEGIS_OK);
    assert_int_equal(assignment.verdict, AEGIS_SCHEDULABLE);
}

static void segments_that_do_not_sum_name_their_task(void **unused)
{
    (void)unused;
    static const int64_t segments[] = {1, 1};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_task cut = task(3, 9, 9, 0);
    aegis_admission_result result;
    aegis_error err;
    cut.name = "camera";
    cut.segments = segments;
    cut.segment_count = 2;
    assert_int_equal(
        aegis_admission_test(AEGIS_ANALYSIS_FPP, &cut, 1, NULL, &allocator, &result, &err),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "camera"));
}

static void derivations_check_their_arguments_and_limits(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_task tasks[] = {task(2, 10, 6, 0), task(3, 15, 9, 0), task(5, 50, 20, 1)};
    const aegis_task wrong = task(0, 1, 1, 0);
    aegis_derivation d;
    assert_int_equal(
        aegis_admission_derive(AEGIS_ANALYSIS_FP, tasks, 3, 3, NULL, &allocator, &d, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        aegis_admission_derive(AEGIS_ANALYSIS_FP, &wrong, 1, 0, NULL, &allocator, &d, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        bool open = false, settled = false;
        for (uint64_t steps = 1; steps < 100; steps++) {
            const aegis_admission_limits limits = {.steps = steps};
            aegis_status status = aegis_admission_derive((aegis_analysis)k, tasks, 3, 2, &limits,
                                                         &allocator, &d, NULL);
            assert_true(status == AEGIS_OK || status == AEGIS_ERROR_UNDECIDED);
            open = open || status == AEGIS_ERROR_UNDECIDED;
            settled = status == AEGIS_OK;
            if (status == AEGIS_OK) {
                assert_true(d.found);
                aegis_derivation_finish(&d, &allocator);
            }
        }
        assert_true(open && settled);
    }
    /* U = 1 to a tie: the exact comparison needs more steps than there are. */
    const aegis_admission_limits one = {.steps = 1};
    const aegis_task full[] = {task(1, 2, 2, 0), task(1, 2, 2, 0)};
    const aegis_analysis edf[] = {AEGIS_ANALYSIS_EDF, AEGIS_ANALYSIS_NP_EDF};
    for (size_t k = 0; k < 2; k++) {
        assert_int_equal(aegis_admission_derive(edf[k], full, 2, 0, &one, &allocator, &d, NULL),
                         AEGIS_ERROR_UNDECIDED);
    }
}

/* ---- sets that change ---- */

static void sets_check_their_arguments(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_set *set = NULL;
    aegis_error err;
    const aegis_task good = task(1, 4, 4, 0), wrong = task(0, 1, 1, 0);
    assert_int_equal(aegis_admission_set_create((aegis_analysis)77, &allocator, &set, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(set);
    assert_int_equal(aegis_admission_set_create(AEGIS_ANALYSIS_NP_EDF, &allocator, &set, &err),
                     AEGIS_OK);
    assert_int_equal(aegis_admission_set_add(set, &good, 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "place 1"));
    assert_int_equal(aegis_admission_set_add(set, &wrong, 0, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_admission_set *derived = NULL;
    assert_int_equal(
        aegis_admission_set_derive((aegis_analysis)77, NULL, &good, 1, &allocator, &derived, &err),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_admission_set_derive(AEGIS_ANALYSIS_NP_EDF, set, &wrong, 1, &allocator,
                                                &derived, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    const aegis_task bad_first[] = {wrong, good};
    assert_int_equal(aegis_admission_set_derive(AEGIS_ANALYSIS_NP_EDF, NULL, bad_first, 2,
                                                &allocator, &derived, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "task 0"));
    assert_null(derived);
    assert_int_equal(aegis_admission_set_remove(set, 0, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "no task 0"));
    assert_int_equal(aegis_admission_set_count(set), 0);
    aegis_admission_result result;
    assert_int_equal(aegis_admission_set_test(set, NULL, &result, NULL), AEGIS_OK);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    finish(&result);
    aegis_admission_set_destroy(set);
    aegis_admission_set_destroy(NULL);
}

static void sets_know_what_they_lack(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_set *set = NULL, *more = NULL;
    const aegis_task tasks[] = {task(1, 40, 40, 0), task(2, 40, 40, 0), task(3, 40, 40, 0)};
    const aegis_task other[] = {task(2, 40, 40, 0), task(1, 40, 40, 0), task(0, 1, 1, 0)};
    const aegis_analysis np_fp = AEGIS_ANALYSIS_NP_FP;
    assert_int_equal(aegis_admission_set_derive(np_fp, NULL, tasks, 2, &allocator, &set, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_admission_set_count(set), 2);
    assert_int_equal(aegis_admission_set_lacks(set, np_fp, tasks, 2), 0);
    assert_int_equal(aegis_admission_set_lacks(set, np_fp, tasks, 3), 1);
    assert_int_equal(aegis_admission_set_lacks(set, np_fp, tasks, 1), SIZE_MAX);
    assert_int_equal(aegis_admission_set_lacks(set, np_fp, other, 3), SIZE_MAX);
    assert_int_equal(aegis_admission_set_lacks(set, np_fp, NULL, 0), SIZE_MAX);
    assert_int_equal(aegis_admission_set_lacks(set, AEGIS_ANALYSIS_FPP, tasks, 2), SIZE_MAX);
    /* One of another test, or of other tasks, is no help and no harm; it may grow. */
    assert_int_equal(
        aegis_admission_set_derive(AEGIS_ANALYSIS_FPP, set, tasks, 3, &allocator, &more, NULL),
        AEGIS_OK);
    assert_int_equal(aegis_admission_set_add(more, &tasks[0], 3, NULL), AEGIS_OK);
    assert_int_equal(aegis_admission_set_count(more), 4);
    aegis_admission_set_destroy(more);
    assert_int_equal(aegis_admission_set_derive(np_fp, set, other, 2, &allocator, &more, NULL),
                     AEGIS_OK);
    aegis_admission_set_destroy(more);
    assert_int_equal(aegis_admission_set_derive(np_fp, set, NULL, 0, &allocator, &more, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_admission_set_lacks(more, np_fp, NULL, 0), 0);
    assert_int_equal(aegis_admission_set_add(more, &tasks[0], 0, NULL), AEGIS_OK);
    aegis_admission_set_destroy(more);
    aegis_admission_set_destroy(set);
}

static void a_verdict_alone_is_that_of_the_test(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_verdict verdict = AEGIS_ADMISSION_UNDECIDED;
    const aegis_admission_limits none = {.steps = 1};
    const aegis_task good[] = {task(2, 10, 10, 0), task(3, 15, 15, 0)};
    const aegis_task late[] = {task(2, 10, 3, 0), task(3, 15, 4, 0)};
    const aegis_task huge[] = {task(INT64_MAX - 1, INT64_MAX, INT64_MAX, 0),
                               task(INT64_MAX - 1, INT64_MAX, INT64_MAX, 0)};
    const aegis_task wrong = task(0, 1, 1, 0);
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        const aegis_analysis analysis = (aegis_analysis)k;
        assert_int_equal(
            aegis_admission_decide(analysis, good, 2, NULL, &allocator, &verdict, NULL), AEGIS_OK);
        assert_int_equal(verdict, AEGIS_SCHEDULABLE);
        assert_int_equal(
            aegis_admission_decide(analysis, late, 2, NULL, &allocator, &verdict, NULL), AEGIS_OK);
        assert_int_equal(verdict, AEGIS_NOT_SCHEDULABLE);
        assert_int_equal(
            aegis_admission_decide(analysis, NULL, 0, NULL, &allocator, &verdict, NULL), AEGIS_OK);
        assert_int_equal(verdict, AEGIS_SCHEDULABLE);
        assert_int_equal(
            aegis_admission_decide(analysis, &wrong, 1, NULL, &allocator, &verdict, NULL),
            AEGIS_ERROR_INVALID_ARGUMENT);
        test_allocator memory = {.fail_at = 3};
        aegis_allocator failing = test_allocator_make(&memory);
        aegis_status status =
            aegis_admission_decide(analysis, huge, 2, NULL, &failing, &verdict, NULL);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY ||
                    status == AEGIS_ERROR_OVERFLOW);
        assert_int_equal(memory.blocks, 0);
    }
    assert_int_equal(
        aegis_admission_decide(AEGIS_ANALYSIS_NP_FP, good, 2, &none, &allocator, &verdict, NULL),
        AEGIS_OK);
    assert_int_equal(verdict, AEGIS_ADMISSION_UNDECIDED);
}

/* At U = 1 the busy period behind a blocker has no end and leaves nothing to begin with. */
static void a_full_set_is_tested_twice(void **unused)
{
    (void)unused;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_set *set = NULL;
    const aegis_task tasks[] = {task(1, 2, 2, 0), task(1, 4, 4, 0), task(1, 4, 4, 0)};
    assert_int_equal(aegis_admission_set_create(AEGIS_ANALYSIS_NP_EDF, &allocator, &set, NULL),
                     AEGIS_OK);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(aegis_admission_set_add(set, &tasks[i], i, NULL), AEGIS_OK);
    }
    for (int k = 0; k < 2; k++) {
        aegis_admission_result result;
        assert_int_equal(aegis_admission_set_test(set, NULL, &result, NULL), AEGIS_OK);
        assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
        assert_int_equal(result.tasks[0].response, 2);
        assert_int_equal(result.tasks[1].response, 4);
        finish(&result);
    }
    aegis_admission_set_destroy(set);
}

/* A set as a scheduler uses it; every request for memory fails once. */
static aegis_status use_a_set(aegis_analysis analysis, const aegis_allocator *allocator)
{
    aegis_admission_set *set = NULL;
    aegis_admission_result result;
    aegis_status status = aegis_admission_set_create(analysis, allocator, &set, NULL);
    for (int64_t i = 0; i < 10 && status == AEGIS_OK; i++) {
        const aegis_task added = task(1 + i % 3, 60 + i, 60 + i, i % 2);
        size_t before = aegis_admission_set_count(set);
        status = aegis_admission_set_add(set, &added, 0, NULL);
        assert_int_equal(aegis_admission_set_count(set), before + (status == AEGIS_OK));
        if (status == AEGIS_OK) {
            status = aegis_admission_set_test(set, NULL, &result, NULL);
        }
        aegis_admission_set *derived = NULL;
        const aegis_task alone[] = {added};
        if (status == AEGIS_OK) {
            status = aegis_admission_set_derive(analysis, set, alone, 1, allocator, &derived, NULL);
            aegis_admission_set_destroy(derived);
            if (status != AEGIS_OK) {
                aegis_admission_result_finish(&result, allocator);
            }
        }
        if (status == AEGIS_OK) {
            aegis_admission_result_finish(&result, allocator);
        }
    }
    aegis_admission_set_destroy(set);
    return status;
}

static aegis_status use_the_rest(aegis_analysis analysis, const aegis_allocator *allocator)
{
    const aegis_task tasks[] = {task(2, 10, 10, 0), task(3, 15, 15, 0), task(5, 50, 50, 0)};
    aegis_derivation derivation;
    aegis_status status =
        aegis_admission_derive(analysis, tasks, 3, 1, NULL, allocator, &derivation, NULL);
    if (status == AEGIS_OK) {
        aegis_derivation_finish(&derivation, allocator);
    }
    aegis_priority_assignment assignment;
    size_t order[3];
    if (status == AEGIS_OK && (analysis == AEGIS_ANALYSIS_NP_FP || analysis == AEGIS_ANALYSIS_FPP ||
                               analysis == AEGIS_ANALYSIS_FP)) {
        status = aegis_admission_assign_priorities(analysis, tasks, 3, NULL, allocator, order,
                                                   &assignment, NULL);
    }
    return status;
}

static void memory_may_run_out_anywhere(void **unused)
{
    (void)unused;
    aegis_status (*const uses[])(aegis_analysis, const aegis_allocator *) = {use_a_set,
                                                                             use_the_rest};
    for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(uses); n++) {
        for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
            bool passed = false;
            for (uint64_t at = 1; !passed && at < 1000; at++) {
                test_allocator memory = {.fail_at = at};
                aegis_allocator allocator = test_allocator_make(&memory);
                aegis_status status = uses[n]((aegis_analysis)k, &allocator);
                passed = status == AEGIS_OK;
                assert_true(passed || status == AEGIS_ERROR_NO_MEMORY);
                assert_int_equal(memory.blocks, 0);
                assert_int_equal(memory.wrong_sizes, 0);
            }
            assert_true(passed);
        }
    }
}

/* Ten thousand tasks: an answer, or none when the time is up, but no overflow and no hanging. */
static void ten_thousand_tasks_are_within_the_limits(void **unused)
{
    (void)unused;
    enum {
        MANY = 10000
    };
    static aegis_task tasks[MANY];
    const int64_t ms = 1000000;
    for (int64_t i = 0; i < MANY; i++) {
        int64_t period = 10000 * ms + i * ms;
        tasks[i] = task(period / (2 * MANY), period, period, i % 7);
    }
    for (int k = AEGIS_ANALYSIS_NP_FP; k <= AEGIS_ANALYSIS_FIFO; k++) {
        const aegis_admission_limits limits = {.steps = 200};
        aegis_admission_result result;
        assert_int_equal(test_with((aegis_analysis)k, tasks, MANY, &limits, &result), AEGIS_OK);
        assert_int_not_equal(result.verdict, AEGIS_NOT_SCHEDULABLE);
        assert_true(k != AEGIS_ANALYSIS_NP_FP || result.verdict == AEGIS_ADMISSION_UNDECIDED);
        assert_true(result.utilisation_ppm > 499900 && result.utilisation_ppm <= 500000);
        finish(&result);
    }
    aegis_admission_result result;
    const aegis_admission_limits limits = {.steps = 20000};
    assert_int_equal(test_with(AEGIS_ANALYSIS_NP_EDF, tasks, MANY, &limits, &result), AEGIS_OK);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    finish(&result);
}

/* Steps are counted: the search at a level begins where the level above ended, so that each takes
 * a few and the sum stays near a multiple of the tasks. */
static void a_level_begins_where_the_one_above_ended(void **unused)
{
    (void)unused;
    enum {
        MANY = 1000
    };
    static aegis_task tasks[MANY];
    for (int64_t i = 0; i < MANY; i++) {
        int64_t period = 10000000 + i * i * 1009;
        tasks[i] = task(period * 6 / (10 * (int64_t)MANY), period, period, 0);
    }
    static const aegis_analysis policies[] = {AEGIS_ANALYSIS_NP_FP, AEGIS_ANALYSIS_FPP,
                                              AEGIS_ANALYSIS_FP};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(policies); k++) {
        const aegis_admission_limits limits = {.steps = (uint64_t)7 * MANY};
        aegis_admission_result result;
        assert_int_equal(test_with(policies[k], tasks, MANY, &limits, &result), AEGIS_OK);
        assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
        finish(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fractions_are_compared_across_a_word_boundary),
        cmocka_unit_test(utilisation_saturates_in_parts_per_million),
        cmocka_unit_test(limits_end_exact_comparisons_safely),
        cmocka_unit_test(outcomes_without_a_failure_are_ok),
        cmocka_unit_test(common_multiples_beyond_the_integers),
        cmocka_unit_test(many_preemptive_jobs_overflow),
        cmocka_unit_test(a_limit_that_never_ends_anything_changes_nothing),
        cmocka_unit_test(assignments_say_how_far_they_came),
        cmocka_unit_test(segments_that_do_not_sum_name_their_task),
        cmocka_unit_test(derivations_check_their_arguments_and_limits),
        cmocka_unit_test(sets_check_their_arguments),
        cmocka_unit_test(sets_know_what_they_lack),
        cmocka_unit_test(a_verdict_alone_is_that_of_the_test),
        cmocka_unit_test(a_full_set_is_tested_twice),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(ten_thousand_tasks_are_within_the_limits),
        cmocka_unit_test(a_level_begins_where_the_one_above_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
