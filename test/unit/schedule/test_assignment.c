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
    aegis_lane_memory memory = {.first_fit = false};
    assert_int_equal(
        aegis_assignment_find(&policy, c, count, lanes, &memory, &allocator, &fits, refusal, &err),
        AEGIS_OK);
    aegis_lane_memory_finish(&memory);
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
        aegis_lane_memory memory = {.first_fit = false};
        assert_int_equal(aegis_policy_find(names[i], &policy, &err), AEGIS_OK);
        fill(c, 2, ms, lanes);
        c[0].policy.deadline_ns = 30 * MS;
        c[1].policy.priority = 1;
        assert_int_equal(
            aegis_assignment_find(&policy, c, 2, 1, &memory, &allocator, &fits, &refusal, &err),
            AEGIS_OK);
        assert_false(fits);
        assert_int_equal(refusal.blocker, 1);
        assert_int_equal(refusal.blocking_ns, 60 * MS - 1);
        c[1].segments = segments;
        c[1].segment_count = c[1].policy.segment_count = 3;
        assert_int_equal(
            aegis_assignment_find(&policy, c, 2, 1, &memory, &allocator, &fits, &refusal, &err),
            AEGIS_OK);
        assert_true(fits);
        assert_int_equal(c[0].blocking_ns, 25 * MS - 1);
        c[0].policy.deadline_ns = 29 * MS;
        assert_int_equal(
            aegis_assignment_find(&policy, c, 2, 1, &memory, &allocator, &fits, &refusal, &err),
            AEGIS_OK);
        assert_false(fits);
        assert_int_equal(refusal.blocker, 1);
        aegis_lane_memory_finish(&memory);
    }
}

/* ---- what is known from the last admission changes nothing but the work ---- */

enum {
    POOL = 12,
    SEGMENTS = 3
};

typedef struct pool {
    aegis_candidate c[POOL];
    int64_t lengths[POOL][SEGMENTS];
    size_t count;
    uint32_t next_id;
    uint16_t lanes;
    aegis_policy policy;
} pool;

static uint64_t draw(uint64_t *seed, uint64_t low, uint64_t high)
{
    return low + aegis_random_next(seed) % (high - low + 1);
}

static void draw_candidate(pool *p, uint64_t *seed, aegis_candidate *c, int64_t *lengths)
{
    uint64_t period = draw(seed, 50, 400) * MS, c_ns = draw(seed, 1, period / 3);
    *c = (aegis_candidate){.id = p->next_id++,
                           .name = "m",
                           .policy = {.period_ns = period,
                                      .deadline_ns = draw(seed, period / 2, period),
                                      .priority = (int32_t)draw(seed, 0, 5),
                                      .segment_count = 1},
                           .enforceable_ns = c_ns,
                           .jitter_ns = draw(seed, 0, 3) == 0 ? MS : 0,
                           .pinned = -1,
                           .background = draw(seed, 0, 7) == 0};
    c->policy.model = c->id;
    c->policy.bound_ns = c_ns;
    if (draw(seed, 0, 5) == 0) {
        c->pinned = (int)draw(seed, 0, p->lanes - 1u);
    }
    if (c_ns > SEGMENTS && draw(seed, 0, 3) == 0) {
        lengths[0] = (int64_t)(c_ns / 2);
        lengths[1] = (int64_t)(c_ns / 4);
        lengths[2] = (int64_t)c_ns - lengths[0] - lengths[1];
        c->segments = lengths;
        c->segment_count = c->policy.segment_count = SEGMENTS;
    }
}

static void point_at_own_segments(pool *p)
{
    for (size_t i = 0; i < p->count; i++) {
        p->c[i].segments = p->c[i].segments != NULL ? p->lengths[i] : NULL;
    }
}

static void take_out(pool *p, size_t at)
{
    p->count--;
    memmove(&p->c[at], &p->c[at + 1], (p->count - at) * sizeof *p->c);
    memmove(p->lengths[at], p->lengths[at + 1], (p->count - at) * sizeof *p->lengths);
    point_at_own_segments(p);
}

static bool find_with(pool *p, aegis_lane_memory *memory, const aegis_allocator *allocator)
{
    aegis_error err = {0};
    aegis_refusal refusal = {0};
    bool fits = false;
    assert_int_equal(aegis_assignment_find(&p->policy, p->c, p->count, p->lanes, memory, allocator,
                                           &fits, &refusal, &err),
                     AEGIS_OK);
    return fits;
}

static void expect_same(const pool *a, const pool *b)
{
    for (size_t i = 0; i < a->count; i++) {
        const aegis_candidate *x = &a->c[i], *y = &b->c[i];
        assert_int_equal(x->policy.lane, y->policy.lane);
        assert_int_equal(x->response_ns, y->response_ns);
        assert_int_equal(x->blocking_ns, y->blocking_ns);
        assert_memory_equal(&x->lane_utilisation, &y->lane_utilisation, sizeof(double));
    }
}

/* Adds one model with and without what is known; true when it is admitted. */
static bool admit_both(pool *p, aegis_lane_memory *memory)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_lane_memory none = {.first_fit = false};
    pool fresh = *p;
    point_at_own_segments(&fresh);
    bool fits = find_with(p, memory, &allocator), fresh_fits = find_with(&fresh, &none, &allocator);
    assert_int_equal(fits, fresh_fits);
    expect_same(p, &fresh);
    aegis_lane_memory_finish(&none);
    return fits;
}

static void what_is_known_changes_no_answer(void **state)
{
    (void)state;
    static const char *const policies[] = {"np-edf", "np-fp", "np-dm", "fifo"};
    uint64_t seed = 77;
    size_t admitted = 0, refused = 0, from_first_fit = 0;
    for (size_t n = 0; n < 400; n++) {
        pool p = {.lanes = (uint16_t)(1 + n % 3)};
        aegis_lane_memory memory = {.first_fit = false};
        aegis_error err = {0};
        assert_int_equal(aegis_policy_find(policies[n % 4], &p.policy, &err), AEGIS_OK);
        for (size_t step = 0; step < 14; step++) {
            bool running = step > 10; /* then nobody moves any more */
            if (p.count > 0 && draw(&seed, 0, 5) == 0) {
                take_out(&p, (size_t)draw(&seed, 0, p.count - 1));
            }
            for (size_t i = 0; i < p.count; i++) {
                p.c[i].fixed = running;
            }
            if (p.count == POOL) {
                break;
            }
            draw_candidate(&p, &seed, &p.c[p.count], p.lengths[p.count]);
            p.count++;
            from_first_fit += memory.first_fit;
            if (admit_both(&p, &memory)) {
                aegis_lane_memory_take_over(&memory);
                admitted++;
            } else {
                take_out(&p, p.count - 1);
                refused++;
            }
        }
        aegis_lane_memory_finish(&memory);
    }
    assert_true(admitted > 1000 && refused > 300 && from_first_fit > 1000);
}

typedef struct counter {
    aegis_allocator inner;
    size_t count;
} counter;

static void *count_alloc(void *self, size_t size)
{
    counter *c = self;
    c->count++;
    return c->inner.alloc(c->inner.self, size);
}

static void pass_free(void *self, void *pointer, size_t size)
{
    const counter *c = self;
    c->inner.free(c->inner.self, pointer, size);
}

/* The work is counted in allocations, which each test of a lane makes: one test, whatever the pool
 * holds, where first fit anew makes at least one for each model. */
static void one_more_model_costs_one_test(void **state)
{
    (void)state;
    counter count = {.inner = aegis_allocator_default()};
    const aegis_allocator allocator = {.self = &count, .alloc = count_alloc, .free = pass_free};
    pool p = {.lanes = 2, .policy = edf()};
    aegis_lane_memory memory = {.first_fit = false}, none = {.first_fit = false};
    size_t first = 0, last = 0;
    while (p.count < POOL) {
        p.c[p.count] = (aegis_candidate){.id = (uint32_t)p.count,
                                         .name = "m",
                                         .policy = {.model = (uint32_t)p.count,
                                                    .period_ns = 100 * MS,
                                                    .deadline_ns = 100 * MS,
                                                    .segment_count = 1},
                                         .enforceable_ns = 2 * MS,
                                         .pinned = -1};
        p.count++;
        count.count = 0;
        assert_true(find_with(&p, &memory, &allocator));
        aegis_lane_memory_take_over(&memory);
        first = p.count == 3 ? count.count : first;
        last = count.count;
    }
    assert_int_equal(first, last);
    count.count = 0;
    assert_true(find_with(&p, &none, &allocator));
    assert_true(count.count > 2 * last);
    aegis_lane_memory_finish(&memory);
    aegis_lane_memory_finish(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_search_finds_what_first_fit_does_not),
        cmocka_unit_test(refusal_says_that_all_assignments_fail),
        cmocka_unit_test(pinned_and_running_models_stay),
        cmocka_unit_test(search_is_bounded),
        cmocka_unit_test(cut_models_block_with_their_segments),
        cmocka_unit_test(what_is_known_changes_no_answer),
        cmocka_unit_test(one_more_model_costs_one_test),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
