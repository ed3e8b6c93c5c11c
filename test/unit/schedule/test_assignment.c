/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes for a set of models: first fit, then the exact search. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schedule/driver/internal.h"

#include <string.h>

#define MODELS 6
#define MS UINT64_C(1000000)

static aegis_policy edf(void)
{
    aegis_policy policy;
    aegis_error err = {0};
    assert_int_equal(aegis_policy_find("np-edf", &policy, &err), AEGIS_OK);
    return policy;
}

/* All have the same period and deadline, so that a lane takes what sums to 100 ms. `lanes` is where
 * they are now. */
static void fill(aegis_candidate *c, size_t count, const uint64_t *ms, const uint16_t *lanes)
{
    for (size_t i = 0; i < count; i++) {
        c[i] = (aegis_candidate){.id = (uint32_t)i,
                                 .name = "m",
                                 .policy = {.model = (uint32_t)i,
                                            .lane = lanes[i],
                                            .period_ns = 100 * MS,
                                            .deadline_ns = 100 * MS,
                                            .bound_ns = ms[i] * MS,
                                            .segment_count = 1},
                                 .enforceable_ns = ms[i] * MS,
                                 .pinned = -1};
    }
}

static bool find(aegis_candidate *c, size_t count, uint16_t lanes, aegis_refusal *refusal)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_policy policy = edf();
    aegis_error err = {0};
    bool fits = false;
    assert_int_equal(
        aegis_assignment_find(&policy, c, count, lanes, &allocator, &fits, refusal, &err),
        AEGIS_OK);
    return fits;
}

static void expect_full_lanes(const aegis_candidate *c, size_t count, uint16_t lanes)
{
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < count; i++) {
        assert_true(c[i].policy.lane < lanes);
        sums[c[i].policy.lane] += c[i].enforceable_ns;
    }
    for (size_t i = 0; i < count; i++) {
        assert_true(sums[c[i].policy.lane] <= 100 * MS);
        assert_true(c[i].response_ns <= (int64_t)(100 * MS));
        double used = (double)sums[c[i].policy.lane] / (double)(100 * MS);
        assert_true(c[i].lane_utilisation > used - 1e-9 && c[i].lane_utilisation < used + 1e-9);
    }
}

/* First fit by decreasing utilisation puts 39 + 39 on one lane and has no place for the last 29. */
static void exact_search_finds_what_first_fit_does_not(void **state)
{
    (void)state;
    static const uint64_t ms[MODELS] = {39, 39, 29, 29, 29, 29};
    static const uint16_t lanes[MODELS] = {0, 0, 1, 1, 1, 0};
    aegis_candidate first[MODELS], again[MODELS];
    aegis_refusal refusal = {0};
    fill(first, MODELS, ms, lanes);
    assert_true(find(first, MODELS, 2, &refusal));
    expect_full_lanes(first, MODELS, 2);
    assert_int_not_equal(first[0].policy.lane, first[1].policy.lane);
    fill(again, MODELS, ms, lanes);
    assert_true(find(again, MODELS, 2, &refusal));
    for (size_t i = 0; i < MODELS; i++) {
        assert_int_equal(first[i].policy.lane, again[i].policy.lane);
    }
}

static void refusal_says_that_all_assignments_fail(void **state)
{
    (void)state;
    static const uint64_t ms[MODELS] = {39, 39, 29, 29, 29, 45};
    static const uint16_t lanes[MODELS] = {0, 0, 1, 1, 1, 0};
    aegis_candidate c[MODELS];
    aegis_refusal refusal = {0};
    fill(c, MODELS, ms, lanes);
    assert_false(find(c, MODELS, 2, &refusal));
    assert_int_equal(refusal.search, AEGIS_LANE_SEARCH_ALL);
    for (size_t i = 0; i < MODELS; i++) { /* nobody was moved */
        assert_int_equal(c[i].policy.lane, lanes[i]);
    }
}

static void pinned_and_running_models_stay(void **state)
{
    (void)state;
    static const uint64_t ms[MODELS] = {39, 39, 29, 29, 29, 29};
    static const uint16_t lanes[MODELS] = {0, 0, 1, 1, 1, 0};
    aegis_candidate c[MODELS];
    aegis_refusal refusal = {0};
    fill(c, MODELS, ms, lanes);
    c[0].pinned = c[1].pinned = 0;
    assert_false(find(c, MODELS, 2, &refusal));
    assert_int_equal(refusal.search, AEGIS_LANE_SEARCH_ALL);
    fill(c, MODELS, ms, lanes);
    for (size_t i = 0; i + 1 < MODELS; i++) {
        c[i].fixed = true;
    }
    assert_false(find(c, MODELS, 2, &refusal));
    assert_int_equal(refusal.search, AEGIS_LANE_SEARCH_NONE);
}

/* A search that cannot see all of it says so, and ends. */
static void search_is_bounded(void **state)
{
    (void)state;
    enum {
        MANY = 26
    };
    uint64_t ms[MANY];
    uint16_t lanes[MANY];
    aegis_candidate c[MANY];
    aegis_refusal refusal = {0};
    for (size_t i = 0; i < MANY; i++) {
        ms[i] = 34; /* two a lane: 12 lanes take 24 */
        lanes[i] = (uint16_t)(i / 2 < 12 ? i / 2 : 11);
    }
    for (size_t i = 0; i < MANY; i++) {
        ms[i] += i % 7;
    }
    fill(c, MANY, ms, lanes);
    assert_false(find(c, MANY, 12, &refusal));
    assert_int_equal(refusal.search, AEGIS_LANE_SEARCH_LIMIT);
}

/* What blocks is a segment, and the refusal names whose. */
static void cut_models_block_with_their_segments(void **state)
{
    (void)state;
    static const uint64_t ms[2] = {5, 60};
    static const uint16_t lanes[2] = {0, 0};
    static const int64_t segments[] = {15 * 1000000, 25 * 1000000, 20 * 1000000};
    const char *const names[] = {"np-edf", "np-fp"};
    for (size_t i = 0; i < 2; i++) {
        const aegis_allocator allocator = aegis_allocator_default();
        aegis_policy policy;
        aegis_candidate c[2];
        aegis_refusal refusal = {0};
        aegis_error err = {0};
        bool fits = true;
        assert_int_equal(aegis_policy_find(names[i], &policy, &err), AEGIS_OK);
        fill(c, 2, ms, lanes);
        c[0].policy.deadline_ns = 30 * MS;
        c[1].policy.priority = 1;
        assert_int_equal(aegis_assignment_find(&policy, c, 2, 1, &allocator, &fits, &refusal, &err),
                         AEGIS_OK);
        assert_false(fits);
        assert_int_equal(refusal.blocker, 1);
        assert_int_equal(refusal.blocking_ns, 60 * MS - 1);
        c[1].segments = segments;
        c[1].segment_count = c[1].policy.segment_count = 3;
        assert_int_equal(aegis_assignment_find(&policy, c, 2, 1, &allocator, &fits, &refusal, &err),
                         AEGIS_OK);
        assert_true(fits);
        assert_int_equal(c[0].blocking_ns, 25 * MS - 1);
        c[0].policy.deadline_ns = 29 * MS;
        assert_int_equal(aegis_assignment_find(&policy, c, 2, 1, &allocator, &fits, &refusal, &err),
                         AEGIS_OK);
        assert_false(fits);
        assert_int_equal(refusal.blocker, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_search_finds_what_first_fit_does_not),
        cmocka_unit_test(refusal_says_that_all_assignments_fail),
        cmocka_unit_test(pinned_and_running_models_stay),
        cmocka_unit_test(search_is_bounded),
        cmocka_unit_test(cut_models_block_with_their_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
