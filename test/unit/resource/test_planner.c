/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/ext/planner_ops.h>
#include <aegisrt/memory_plan.h>

#include "base/base.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const aegis_plan_limits minimise = {.capacity_bytes = UINT64_MAX};

/* Five buffers for which every greedy order that fills the lowest hole ends above the optimum. */
static const aegis_plan_buffer tricky[] = {{0, 0, 4, 4, 0, false, 0},
                                           {1, 0, 8, 4, 0, false, 0},
                                           {2, 4, 12, 4, 0, false, 0},
                                           {3, 8, 16, 4, 0, false, 0},
                                           {4, 12, 16, 4, 0, false, 0}};

static aegis_plan_result solve(const aegis_planner *planner,
                               const aegis_plan_buffer *buffers,
                               size_t count,
                               aegis_plan_limits limits,
                               uint64_t *ret_offsets)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_result result;
    aegis_error err;
    aegis_status status = aegis_planner_solve(planner, buffers, count, &limits, &allocator,
                                              ret_offsets, &result, &err);
    if (status != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    return result;
}

static aegis_status refused(const aegis_planner *planner,
                            const aegis_plan_buffer *buffers,
                            size_t count,
                            aegis_error *err)
{
    aegis_allocator allocator = aegis_allocator_default();
    uint64_t offsets[8] = {77, 77, 77, 77, 77, 77, 77, 77};
    aegis_plan_result result = {.height_bytes = 77};
    aegis_status status =
        aegis_planner_solve(planner, buffers, count, &minimise, &allocator, offsets, &result, err);
    assert_int_not_equal(status, AEGIS_OK);
    assert_int_equal(offsets[0], 77);
    assert_int_equal(result.height_bytes, 77);
    return status;
}

static void planner_reuses_freed_bytes(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    uint64_t offsets[5];
    aegis_plan_result r = solve(&planner, tricky, 5, minimise, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_FEASIBLE);
    assert_int_equal(r.height_bytes, 8);
    assert_int_equal(r.lower_bound_bytes, 8);
    assert_true(r.optimal);
    assert_int_equal(r.peak_at, 0);
}

static void stacked_shares_nothing(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_stacked();
    uint64_t offsets[5];
    aegis_plan_result r = solve(&planner, tricky, 5, minimise, offsets);
    assert_int_equal(r.height_bytes, 20);
    assert_false(r.optimal);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(offsets[i], 4 * i);
    }
    aegis_plan_limits tight = {.capacity_bytes = 19};
    assert_int_equal(solve(&planner, tricky, 5, tight, offsets).verdict, AEGIS_PLAN_UNDECIDED);
    tight.capacity_bytes = 7;
    assert_int_equal(solve(&planner, tricky, 5, tight, offsets).verdict, AEGIS_PLAN_INFEASIBLE);
    tight.capacity_bytes = 20;
    assert_int_equal(solve(&planner, tricky, 5, tight, offsets).verdict, AEGIS_PLAN_FEASIBLE);
}

static void empty_instance_has_height_zero(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    aegis_plan_result r = solve(&planner, NULL, 0, minimise, NULL);
    assert_int_equal(r.height_bytes, 0);
    assert_true(r.optimal);
}

static void infeasible_below_the_bound(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    uint64_t offsets[5];
    aegis_plan_result r =
        solve(&planner, tricky, 5, (aegis_plan_limits){.capacity_bytes = 7}, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_INFEASIBLE);
    assert_int_equal(r.lower_bound_bytes, 8);
    assert_true(r.height_bytes >= 8);
    r = solve(&planner, tricky, 5, (aegis_plan_limits){.capacity_bytes = 8}, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_FEASIBLE);
}

/* The smallest kind of instance that no plan of the height of its bound, 6, exists for. */
static const aegis_plan_buffer gap[] = {{0, 6, 7, 1, 0, false, 0},  {1, 0, 1, 3, 0, false, 0},
                                        {2, 1, 6, 2, 0, false, 0},  {3, 3, 5, 2, 0, false, 0},
                                        {4, 7, 11, 3, 0, false, 0}, {5, 1, 4, 1, 0, false, 0},
                                        {6, 4, 9, 2, 0, false, 0},  {7, 0, 3, 3, 0, false, 0}};

static void search_proves_what_the_bound_cannot(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    uint64_t offsets[8];
    aegis_plan_result least = solve(&planner, gap, 8, minimise, offsets);
    assert_int_equal(least.height_bytes, 7);
    assert_int_equal(least.lower_bound_bytes, 7);
    assert_true(least.optimal);
    aegis_plan_result r =
        solve(&planner, gap, 8, (aegis_plan_limits){.capacity_bytes = 6}, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_INFEASIBLE);
    assert_int_equal(r.lower_bound_bytes, 7);
    assert_true(r.nodes > 0);
    r = solve(&planner, gap, 8, (aegis_plan_limits){.capacity_bytes = 6, .nodes = 2}, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_UNDECIDED);
    assert_int_equal(r.lower_bound_bytes, 6);
}

static void alignment_is_respected_and_counted(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_buffer b[] = {
        {7, 0, 2, 10, 64, false, 0}, {9, 0, 2, 65, 64, false, 0}, {11, 1, 2, 1, 64, false, 0}};
    uint64_t offsets[3];
    aegis_plan_result r = solve(&planner, b, 3, minimise, offsets);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(offsets[i] % 64, 0);
    }
    assert_int_equal(r.height_bytes, 193); /* the buffer that wastes most on top: 128 + 64 + 1 */
    assert_true(r.optimal);
}

static void extreme_times_do_not_wrap(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_buffer b[] = {{1, INT64_MIN, INT64_MAX, UINT64_C(1) << 59, 0, false, 0},
                                   {2, INT64_MIN, 0, UINT64_C(1) << 58, 0, false, 0},
                                   {3, 0, INT64_MAX, UINT64_C(1) << 58, 0, false, 0}};
    uint64_t offsets[3];
    aegis_plan_result r = solve(&planner, b, 3, minimise, offsets);
    assert_int_equal(r.height_bytes, (UINT64_C(1) << 59) + (UINT64_C(1) << 58));
}

static void malformed_instances_name_the_buffer(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    aegis_error err;
    const aegis_plan_buffer backwards = {31, 5, 5, 1, 0, false, 0},
                            empty = {32, 0, 1, 0, 0, false, 0}, odd = {33, 0, 1, 1, 3, false, 0};
    assert_int_equal(refused(&planner, &backwards, 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "31"));
    assert_int_equal(refused(&planner, &empty, 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "32"));
    assert_int_equal(refused(&planner, &odd, 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "33"));
    const aegis_plan_buffer twins[] = {
        {40, 0, 1, 1, 0, false, 0}, {41, 0, 1, 1, 0, false, 0}, {40, 5, 6, 1, 0, false, 0}};
    assert_int_equal(refused(&planner, twins, 3, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "40"));
    const aegis_plan_buffer huge[] = {{50, 0, 1, UINT64_MAX, 0, false, 0}};
    assert_int_equal(refused(&planner, huge, 1, &err), AEGIS_ERROR_OVERFLOW);
    const aegis_plan_buffer sum[] = {{60, 0, 1, UINT64_C(1) << 60, 0, false, 0},
                                     {61, 0, 1, UINT64_MAX / 2, 0, false, 0}};
    assert_int_equal(refused(&planner, sum, 2, &err), AEGIS_ERROR_OVERFLOW);
    assert_int_equal(refused(&planner, NULL, 2, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(refused(NULL, tricky, 5, &err), AEGIS_ERROR_INVALID_ARGUMENT);
}

/* ---- a planner that is wrong is found out ---- */

typedef struct liar {
    uint64_t offsets[5];
    aegis_plan_result result;
    aegis_status status;
} liar;

static aegis_status lie(void *self,
                        const aegis_plan_buffer *buffers,
                        size_t count,
                        const aegis_plan_limits *limits,
                        const aegis_allocator *allocator,
                        uint64_t *ret_offsets,
                        aegis_plan_result *ret_result,
                        aegis_error *err)
{
    (void)buffers;
    (void)allocator;
    (void)err;
    const liar *l = self;
    assert_int_equal(limits->threads, 1); /* 0 is resolved before */
    memcpy(ret_offsets, l->offsets, count * sizeof *ret_offsets);
    *ret_result = l->result;
    return l->status;
}

static const aegis_planner_ops lying = {
    .version = AEGIS_PLANNER_OPS_VERSION, .name = "lying", .solve = lie};

static void wrong_plans_are_refused(void **state)
{
    (void)state;
    aegis_error err;
    const aegis_plan_result honest = {.height_bytes = 12, .lower_bound_bytes = 8};
    liar l = {.offsets = {0, 4, 0, 4, 8}, .result = honest};
    aegis_planner planner = {&lying, &l};
    uint64_t offsets[5];
    assert_int_equal(solve(&planner, tricky, 5, minimise, offsets).height_bytes, 12);

    l.offsets[1] = 3; /* overlaps buffer 0 */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    assert_non_null(strstr(err.message, "lying"));
    l.offsets[1] = 4;
    l.result.height_bytes = 11; /* not the plan's height */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    l.result = honest;
    l.result.lower_bound_bytes = 7; /* below the sum of live sizes */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    l.result = honest;
    l.result.lower_bound_bytes = 13; /* above a plan that exists */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    l.result = honest;
    l.result.optimal = true; /* with a gap to the bound */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    l.result = honest;
    l.result.verdict = AEGIS_PLAN_UNDECIDED; /* although it fits */
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INTERNAL);
    l.result = honest;
    l.status = AEGIS_ERROR_UNSUPPORTED;
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_UNSUPPORTED);
}

static void ops_of_another_version_are_refused(void **state)
{
    (void)state;
    aegis_error err;
    aegis_planner_ops ops = lying;
    aegis_planner planner = {&ops, NULL};
    ops.version++;
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    ops = lying;
    ops.solve = NULL;
    assert_int_equal(refused(&planner, tricky, 5, &err), AEGIS_ERROR_INVALID_ARGUMENT);
}

/* ---- the bound ---- */

static void bound_is_half_open(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_plan_buffer b[] = {
        {0, -5, 0, 10, 0, false, 0}, {1, 0, 3, 10, 0, false, 0}, {2, 2, 3, 1, 0, false, 0}};
    uint64_t bytes;
    int64_t at;
    assert_int_equal(aegis_plan_lower_bound(b, 3, &allocator, &bytes, &at, NULL), AEGIS_OK);
    assert_int_equal(bytes, 11);
    assert_int_equal(at, 2);
    assert_int_equal(aegis_plan_lower_bound(NULL, 0, &allocator, &bytes, &at, NULL), AEGIS_OK);
    assert_int_equal(bytes, 0);
    const aegis_plan_buffer huge[] = {{0, 0, 1, UINT64_MAX, 0, false, 0},
                                      {1, 0, 1, 1, 0, false, 0}};
    assert_int_equal(aegis_plan_lower_bound(huge, 2, &allocator, &bytes, &at, NULL),
                     AEGIS_ERROR_OVERFLOW);
    test_allocator none = {.fail_at = 1};
    const aegis_allocator failing = test_allocator_make(&none);
    assert_int_equal(aegis_plan_lower_bound(b, 3, &failing, &bytes, &at, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    const aegis_plan_buffer bad = {0, 1, 0, 1, 0, false, 0};
    assert_int_equal(aegis_plan_lower_bound(&bad, 1, &allocator, &bytes, &at, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_plan_lower_bound(b, 3, &allocator, NULL, &at, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
}

/* ---- host memory, size, limits ---- */

static void
fill_random(aegis_plan_buffer *b, size_t count, uint64_t seed, int64_t horizon, int64_t life)
{
    for (size_t i = 0; i < count; i++) {
        int64_t lower = (int64_t)(aegis_random_next(&seed) % (uint64_t)horizon);
        b[i] = (aegis_plan_buffer){
            .id = (uint32_t)i,
            .lower = lower,
            .upper = lower + 1 + (int64_t)(aegis_random_next(&seed) % (uint64_t)life),
            .size_bytes = 1 + aegis_random_next(&seed) % 1000,
        };
    }
}

/* The first random instance, from `seed` on, whose greedy plans miss the bound. */
static void fill_hard(aegis_plan_buffer *b, size_t count, uint64_t seed, uint64_t *offsets)
{
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_limits none = {.capacity_bytes = UINT64_MAX, .nodes = 1};
    for (uint64_t more = 0; more < 1000; more++) {
        fill_random(b, count, seed + more, (int64_t)count / 2, (int64_t)count / 4);
        if (!solve(&planner, b, count, none, offsets).optimal) {
            return;
        }
    }
    fail_msg("no hard instance of %zu buffers from seed %llu on", count, (unsigned long long)seed);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    enum {
        COUNT = 24
    };
    aegis_plan_buffer b[COUNT];
    uint64_t wanted[COUNT];
    fill_hard(b, COUNT, 11, wanted);
    aegis_planner planner = aegis_planner_default();
    aegis_plan_result expected = solve(&planner, b, COUNT, minimise, wanted);
    assert_true(expected.nodes > 0); /* the search took part */
    unsigned failures = 0;
    for (uint64_t nth = 1; nth < 1000; nth++) {
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        uint64_t offsets[COUNT] = {77};
        aegis_plan_result result = {.height_bytes = 77};
        aegis_status status =
            aegis_planner_solve(&planner, b, COUNT, &minimise, &allocator, offsets, &result, NULL);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
        if (counting.calls < nth) {
            assert_int_equal(status, AEGIS_OK);
            assert_memory_equal(offsets, wanted, sizeof offsets);
            break;
        }
        assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(offsets[0], 77);
        assert_int_equal(result.height_bytes, 77);
        failures++;
    }
    assert_in_range(failures, 10, 900);
}

static void ten_thousand_buffers_are_planned(void **state)
{
    (void)state;
    enum {
        COUNT = 10000
    };
    static aegis_plan_buffer b[COUNT];
    static uint64_t offsets[COUNT], again[COUNT];
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_limits few = {.capacity_bytes = UINT64_MAX, .nodes = 3000};
    fill_random(b, COUNT, 5, 40000, 300);
    aegis_plan_result r = solve(&planner, b, COUNT, few, offsets);
    assert_true(r.height_bytes <= 2 * r.lower_bound_bytes);
    assert_true(r.nodes <= few.nodes);
    aegis_plan_result s = solve(&planner, b, COUNT, few, again);
    assert_int_equal(r.height_bytes, s.height_bytes);
    assert_int_equal(r.nodes, s.nodes);
    assert_memory_equal(offsets, again, sizeof offsets);
}

/* Everything overlaps everything: more pairs than the search holds, and no need for it. */
static void one_instant_is_stacked_exactly(void **state)
{
    (void)state;
    enum {
        COUNT = 10000
    };
    static aegis_plan_buffer b[COUNT];
    static uint64_t offsets[COUNT];
    aegis_planner planner = aegis_planner_default();
    for (uint32_t i = 0; i < COUNT; i++) {
        b[i] =
            (aegis_plan_buffer){.id = i, .lower = -(int64_t)i, .upper = 1 + i, .size_bytes = 1 + i};
    }
    aegis_plan_result r = solve(&planner, b, COUNT, minimise, offsets);
    assert_true(r.optimal);
    assert_int_equal(r.height_bytes, (uint64_t)COUNT * (COUNT + 1) / 2);
}

/* Too many pairs and no buffer that overlaps all others: greedy plans alone, and no claim. */
static void beyond_the_search_the_answer_stays_honest(void **state)
{
    (void)state;
    enum {
        COUNT = 6000
    };
    static aegis_plan_buffer b[COUNT];
    static uint64_t offsets[COUNT];
    aegis_planner planner = aegis_planner_default();
    fill_random(b, COUNT, 17, 1000, 700);
    aegis_plan_result r = solve(&planner, b, COUNT, minimise, offsets);
    assert_int_equal(r.nodes, 0);
    assert_int_equal(r.optimal, r.height_bytes == r.lower_bound_bytes);
    aegis_plan_limits limits = {.capacity_bytes = r.lower_bound_bytes};
    if (!r.optimal) {
        r = solve(&planner, b, COUNT, limits, offsets);
        assert_int_equal(r.verdict, AEGIS_PLAN_UNDECIDED);
    }
}

static void limits_end_the_search_undecided(void **state)
{
    (void)state;
    aegis_planner planner = aegis_planner_default();
    enum {
        COUNT = 200
    };
    aegis_plan_buffer b[COUNT];
    uint64_t offsets[COUNT];
    fill_hard(b, COUNT, 23, offsets);
    aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX, .nodes = 1};
    aegis_plan_result r = solve(&planner, b, COUNT, limits, offsets);
    assert_false(r.optimal);
    limits.capacity_bytes = r.lower_bound_bytes;
    r = solve(&planner, b, COUNT, limits, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_UNDECIDED);
    assert_int_equal(r.nodes, 1);
    limits = (aegis_plan_limits){.capacity_bytes = r.lower_bound_bytes, .timeout_ns = 1};
    r = solve(&planner, b, COUNT, limits, offsets);
    assert_int_equal(r.verdict, AEGIS_PLAN_UNDECIDED);
    assert_true(r.height_bytes > r.lower_bound_bytes);
}

/* A wall of fixed buffers with one hole that only the free one fits. */
static void plans_around_fixed_buffers(void **state)
{
    (void)state;
    const aegis_plan_buffer b[] = {
        {.id = 1, .lower = 0, .upper = 9, .size_bytes = 4, .fixed = true, .fixed_offset = 0},
        {.id = 2, .lower = 0, .upper = 9, .size_bytes = 4, .fixed = true, .fixed_offset = 10},
        {.id = 3, .lower = 2, .upper = 5, .size_bytes = 6},
        {.id = 4, .lower = 4, .upper = 7, .size_bytes = 3},
        {.id = 5, .lower = 9, .upper = 12, .size_bytes = 14},
    };
    const uint64_t expected[] = {0, 10, 4, 14, 0};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planners[] = {aegis_planner_default(), aegis_planner_stacked()};
    for (size_t p = 0; p < 2; p++) {
        uint64_t offsets[5];
        aegis_plan_result r;
        const aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX};
        assert_int_equal(
            aegis_planner_solve(&planners[p], b, 5, &limits, &allocator, offsets, &r, NULL),
            AEGIS_OK);
        if (p == 0) {
            assert_memory_equal(offsets, expected, sizeof expected);
            assert_int_equal(r.height_bytes, 17);
            assert_true(r.optimal);
        }
    }
}

static void contradictions_of_fixed_buffers_are_refused(void **state)
{
    (void)state;
    aegis_plan_buffer b[] = {
        {.id = 21, .lower = 0, .upper = 9, .size_bytes = 8, .fixed = true, .fixed_offset = 0},
        {.id = 22, .lower = 8, .upper = 9, .size_bytes = 8, .fixed = true, .fixed_offset = 7},
    };
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    const aegis_plan_limits limits = {.capacity_bytes = UINT64_MAX};
    uint64_t offsets[2];
    aegis_plan_result r;
    aegis_error err;
    assert_int_equal(aegis_planner_solve(&planner, b, 2, &limits, &allocator, offsets, &r, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "21"));
    assert_non_null(strstr(err.message, "22"));
    b[1].fixed_offset = 12;
    b[1].alignment = 8;
    assert_int_equal(aegis_planner_solve(&planner, b, 2, &limits, &allocator, offsets, &r, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    b[1].alignment = 0;
    b[1].fixed_offset = UINT64_MAX - 3;
    assert_int_equal(aegis_planner_solve(&planner, b, 2, &limits, &allocator, offsets, &r, &err),
                     AEGIS_ERROR_OVERFLOW);
    b[1].fixed_offset = 100; /* above what the capacity allows: proved */
    const aegis_plan_limits tight = {.capacity_bytes = 50};
    assert_int_equal(aegis_planner_solve(&planner, b, 2, &tight, &allocator, offsets, &r, &err),
                     AEGIS_OK);
    assert_int_equal(r.verdict, AEGIS_PLAN_INFEASIBLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_around_fixed_buffers),
        cmocka_unit_test(contradictions_of_fixed_buffers_are_refused),
        cmocka_unit_test(planner_reuses_freed_bytes),
        cmocka_unit_test(stacked_shares_nothing),
        cmocka_unit_test(empty_instance_has_height_zero),
        cmocka_unit_test(infeasible_below_the_bound),
        cmocka_unit_test(search_proves_what_the_bound_cannot),
        cmocka_unit_test(alignment_is_respected_and_counted),
        cmocka_unit_test(extreme_times_do_not_wrap),
        cmocka_unit_test(malformed_instances_name_the_buffer),
        cmocka_unit_test(wrong_plans_are_refused),
        cmocka_unit_test(ops_of_another_version_are_refused),
        cmocka_unit_test(bound_is_half_open),
        cmocka_unit_test(every_failed_allocation_is_reported),
        cmocka_unit_test(ten_thousand_buffers_are_planned),
        cmocka_unit_test(one_instant_is_stacked_exactly),
        cmocka_unit_test(beyond_the_search_the_answer_stays_honest),
        cmocka_unit_test(limits_end_the_search_undecided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
