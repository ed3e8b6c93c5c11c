/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/memory_plan.h>

#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const aegis_plan_buffer buffers[] = {{10, 0, 5, 8, 8, false, 0},
                                            {11, 5, 9, 8, 0, false, 0},
                                            {12, 3, 7, 8, 4, false, 0},
                                            {13, -4, 0, 16, 0, false, 0}};

static aegis_status
verify(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t capacity, aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    const uint64_t offsets[] = {a, b, c, d};
    return aegis_plan_verify(buffers, offsets, 4, capacity, &allocator, err);
}

static void valid_plans_pass(void **state)
{
    (void)state;
    assert_int_equal(verify(0, 0, 8, 0, 16, NULL), AEGIS_OK);
    assert_int_equal(verify(8, 8, 0, 0, 16, NULL), AEGIS_OK);
    assert_int_equal(verify(16, 0, 8, 3, 24, NULL), AEGIS_OK);
    aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(aegis_plan_verify(NULL, NULL, 0, 0, &allocator, NULL), AEGIS_OK);
}

static void overlaps_are_named(void **state)
{
    (void)state;
    aegis_error err;
    assert_int_equal(verify(0, 0, 4, 0, 64, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "10"));
    assert_non_null(strstr(err.message, "12"));
    assert_int_equal(verify(0, 9, 8, 0, 64, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "11"));
    assert_non_null(strstr(err.message, "12"));
    assert_int_equal(verify(8, 0, 8, 0, 64, &err), AEGIS_ERROR_INTERNAL); /* the same bytes */
}

static void alignment_and_capacity_are_checked(void **state)
{
    (void)state;
    aegis_error err;
    assert_int_equal(verify(4, 0, 12, 0, 64, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "aligned"));
    assert_int_equal(verify(0, 0, 8, 0, 15, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "capacity"));
    assert_int_equal(verify(0, UINT64_MAX - 3, 8, 0, UINT64_MAX, &err), AEGIS_ERROR_INTERNAL);
}

static void malformed_input_is_refused(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    const uint64_t offset = 0;
    const aegis_plan_buffer bad[] = {
        {1, 1, 1, 1, 0, false, 0}, {2, 0, 1, 0, 0, false, 0}, {3, 0, 1, 1, 6, false, 0}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(aegis_plan_verify(&bad[i], &offset, 1, 64, &allocator, NULL),
                         AEGIS_ERROR_INVALID_ARGUMENT);
    }
    assert_int_equal(aegis_plan_verify(buffers, NULL, 4, 64, &allocator, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_plan_verify(buffers, &offset, 1, 64, NULL, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    const uint64_t offsets[] = {0, 0, 8, 0};
    for (uint64_t nth = 1; nth <= 4; nth++) {
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_status status = aegis_plan_verify(buffers, offsets, 4, 64, &allocator, NULL);
        assert_int_equal(status, nth <= 3 ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
}

static void fixed_buffers_must_be_where_they_are_fixed(void **state)
{
    (void)state;
    const aegis_plan_buffer b = {
        .id = 5, .lower = 0, .upper = 1, .size_bytes = 8, .fixed = true, .fixed_offset = 64};
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t offset = 64;
    aegis_error err;
    assert_int_equal(aegis_plan_verify(&b, &offset, 1, 100, &allocator, NULL), AEGIS_OK);
    offset = 56;
    assert_int_equal(aegis_plan_verify(&b, &offset, 1, 100, &allocator, &err),
                     AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "buffer 5 at 56"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_plans_pass),
        cmocka_unit_test(overlaps_are_named),
        cmocka_unit_test(alignment_and_capacity_are_checked),
        cmocka_unit_test(malformed_input_is_refused),
        cmocka_unit_test(fixed_buffers_must_be_where_they_are_fixed),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
