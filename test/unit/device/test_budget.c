/* SPDX-License-Identifier: Apache-2.0 */
/* One pool on integrated devices, two on others, with capabilities made up for the purpose. */
#include "device/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

static aegis_status
check(bool integrated, uint64_t arena, uint64_t pinned, uint64_t available, aegis_error *err)
{
    aegis_device_capabilities device = {.kind = AEGIS_DEVICE_CUDA,
                                        .name = "made up",
                                        .integrated = integrated,
                                        .total_memory_bytes = 8 * GIB};
    aegis_budget budget = {
        .arena_bytes = arena, .pinned_bytes = pinned, .available_bytes = available};
    return aegis_budget_check(&budget, &device, err);
}

static void integrated_arena_and_pinned_are_one_sum(void **state)
{
    (void)state;
    aegis_error err;
    assert_int_equal(check(true, 3 * GIB, 1 * GIB, 4 * GIB, NULL), AEGIS_OK);
    assert_int_equal(check(true, 3 * GIB, 1 * GIB + 1, 4 * GIB, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "4294967297 bytes"));
    assert_non_null(strstr(err.message, "[device] pinned"));
    assert_int_equal(check(true, 5 * GIB, 0, 4 * GIB, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(check(true, UINT64_MAX, UINT64_MAX, 4 * GIB, NULL), AEGIS_ERROR_NO_MEMORY);
}

static void discrete_pools_are_held_apart(void **state)
{
    (void)state;
    aegis_error err;
    /* The same figures that one pool refuses. */
    assert_int_equal(check(false, 3 * GIB, 1 * GIB + 1, 4 * GIB, NULL), AEGIS_OK);
    assert_int_equal(check(false, 8 * GIB, 4 * GIB, 4 * GIB, NULL), AEGIS_OK);
    assert_int_equal(check(false, GIB, 4 * GIB + 1, 4 * GIB, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(check(false, 8 * GIB + 1, 0, 4 * GIB, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "'made up'"));
}

static void beyond_the_device_is_refused_in_one_pool_too(void **state)
{
    (void)state;
    assert_int_equal(check(true, 8 * GIB + 1, 0, 16 * GIB, NULL), AEGIS_ERROR_NO_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integrated_arena_and_pinned_are_one_sum),
        cmocka_unit_test(discrete_pools_are_held_apart),
        cmocka_unit_test(beyond_the_device_is_refused_in_one_pool_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
