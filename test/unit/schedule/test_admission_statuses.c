/* SPDX-License-Identifier: Apache-2.0 */
/* Statuses that admission.h documents and that are not provoked on the way of other tests: times
 * past 63 bits, files that are no task sets, memory that is not there. */
#include <aegisrt/admission.h>

#include "support/expect.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG (INT64_C(1) << 62)

/* The demand at the end of their common multiple does not fit 63 bits. */
static const aegis_task heavy[] = {
    {.execution = BIG / 2, .period = BIG, .deadline = BIG / 2 + 1, .jitter = 1},
    {.execution = BIG / 2, .period = BIG, .deadline = BIG - 1, .jitter = 1}};
static const aegis_task light = {.execution = 1, .period = 4, .deadline = 4};

static void a_set_past_the_integers_says_so_and_stays(void **unused)
{
    (void)unused;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_set *set = NULL;
    aegis_admission_result result = {.task_count = 77};
    aegis_error err = {0};
    assert_int_equal(
        aegis_admission_set_derive(AEGIS_ANALYSIS_EDF, NULL, heavy, 2, &allocator, &set, &err),
        AEGIS_OK);
    expect(aegis_admission_set_test(set, NULL, &result, &err), AEGIS_ERROR_OVERFLOW, &err,
           "use larger ticks");
    assert_int_equal(result.task_count, 77);
    assert_int_equal(aegis_admission_set_remove(set, 1, &err), AEGIS_OK);
    assert_int_equal(aegis_admission_set_test(set, NULL, &result, &err), AEGIS_OK);
    assert_int_equal(result.verdict, AEGIS_SCHEDULABLE);
    aegis_admission_result_finish(&result, &allocator);
    aegis_admission_set_destroy(set);
}

/* Of one task with such a jitter the second job already ends past the integers. */
static void a_derivation_past_the_integers_says_so(void **unused)
{
    (void)unused;
    const aegis_task late = {
        .execution = BIG - 1, .period = BIG, .deadline = INT64_MAX, .jitter = INT64_MAX};
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    aegis_derivation derivation = {.task_count = 77};
    aegis_error err = {0};
    expect(
        aegis_admission_derive(AEGIS_ANALYSIS_FP, &late, 1, 0, NULL, &allocator, &derivation, &err),
        AEGIS_ERROR_OVERFLOW, &err, "use larger ticks");
    assert_int_equal(derivation.task_count, 77);
    assert_int_equal(counting.blocks, 0);
}

/* The separate tests take their memory from the C library: more tasks than could be held. */
static void more_tasks_than_memory(void **unused)
{
    (void)unused;
    aegis_error err = {0};
    bool ok = true;
    expect(aegis_admission_test_rm(&light, SIZE_MAX, &ok, &err), AEGIS_ERROR_NO_MEMORY, &err,
           "memory");
    expect(aegis_admission_test_density(&light, SIZE_MAX, &ok, &err), AEGIS_ERROR_NO_MEMORY, &err,
           "memory");
    assert_true(ok);
}

static void limits_leave_a_verdict_open(void **unused)
{
    (void)unused;
    const aegis_task tasks[] = {light, {.execution = 3, .period = 9, .deadline = 9}};
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_admission_limits one = {.steps = 1};
    aegis_admission_verdict verdict = AEGIS_NOT_SCHEDULABLE;
    aegis_error err = {0};
    assert_int_equal(
        aegis_admission_decide(AEGIS_ANALYSIS_NP_FP, tasks, 2, &one, &allocator, &verdict, &err),
        AEGIS_OK);
    assert_int_equal(verdict, AEGIS_ADMISSION_UNDECIDED);
    assert_int_equal(err.status, AEGIS_OK);
}

static char path[] = "/tmp/aegisrt-taskset-XXXXXX";

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void a_file_that_is_no_task_set(void **unused)
{
    (void)unused;
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_taskset *set = NULL;
    aegis_error err = {0};
    write_file("{\"policy\": \"fp\", \"tasks\": [{\"C\": 1}]}");
    expect(aegis_taskset_load(path, &allocator, &set, &err), AEGIS_ERROR_CONFIG, &err, "\"T\"");
    assert_non_null(strstr(err.message, path));
    assert_null(set);
}

static void a_task_set_without_memory(void **unused)
{
    (void)unused;
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    write_file("{\"policy\": \"np-edf\", \"tasks\": [{\"C\": 4, \"T\": 9, \"segments\": [2, 2]}]}");
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        test_allocator counting = {.fail_at = nth};
        const aegis_allocator allocator = test_allocator_make(&counting);
        aegis_taskset *set = NULL;
        aegis_error err = {0};
        status = aegis_taskset_load(path, &allocator, &set, &err);
        if (status != AEGIS_OK) {
            expect(status, AEGIS_ERROR_NO_MEMORY, &err, "no memory");
        }
        assert_true((status == AEGIS_OK) == (counting.calls < nth));
        assert_true(nth > 4 || status != AEGIS_OK);
        aegis_taskset_destroy(set);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
}

static int make_file(void **unused)
{
    (void)unused;
    const int file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

static int remove_file(void **unused)
{
    (void)unused;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_past_the_integers_says_so_and_stays),
        cmocka_unit_test(a_derivation_past_the_integers_says_so),
        cmocka_unit_test(more_tasks_than_memory),
        cmocka_unit_test(limits_leave_a_verdict_open),
        cmocka_unit_test(a_file_that_is_no_task_set),
        cmocka_unit_test(a_task_set_without_memory),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
