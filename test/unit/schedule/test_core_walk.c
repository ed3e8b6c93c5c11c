/* SPDX-License-Identifier: Apache-2.0 */
/* Long random runs: the same input gives the same actions, and no step allocates. */
#include "core_fixture.h"

#include "base/base.h"

#include <support/test_allocator.h>

typedef struct walk {
    aegis_core *core;
    aegis_core_action actions[2048];
    uint64_t digest, now, job, ends;
    uint64_t dispatched[4];
} walk;

/* FNV-1a over the records: the bytes that a trace would hold. */
static void digest_actions(walk *w, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        aegis_trace_record record = aegis_core_action_to_record(&w->actions[i], w->now);
        const unsigned char *bytes = (const unsigned char *)&record;
        for (size_t k = 0; k < sizeof record; k++) {
            w->digest = (w->digest ^ bytes[k]) * UINT64_C(0x100000001b3);
        }
        if (record.kind == AEGIS_TRACE_DISPATCH) {
            w->dispatched[record.lane] = w->now;
        }
        w->ends += record.kind >= AEGIS_TRACE_COMPLETE && record.kind <= AEGIS_TRACE_ABORT;
    }
}

static void walk_step(walk *w, const aegis_core_event *event)
{
    size_t count = 0;
    aegis_error err = {0};
    if (aegis_core_step(w->core, w->now, event, w->actions, &count, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    assert_true(count <= aegis_core_max_actions(w->core));
    digest_actions(w, count);
}

static aegis_core_event random_event(walk *w, uint64_t *seed)
{
    static const aegis_status statuses[] = {
        AEGIS_OK, AEGIS_OK, AEGIS_OK, AEGIS_OK, AEGIS_OK, AEGIS_ERROR_TERMINATED, AEGIS_ERROR_BUSY,
    };
    uint64_t dice = aegis_random_next(seed);
    uint16_t lane = (uint16_t)(dice >> 8) % 4;
    aegis_core_event event = {.kind = AEGIS_CORE_TIMER};
    w->now += (dice >> 16) % 7;
    if (dice % 3 == 0 &&
        aegis_core_lane_running(w->core, lane, &event.model, &event.job, &event.segment)) {
        event.kind = AEGIS_CORE_SEGMENT_DONE;
        event.lane = lane;
        event.start_ns = w->dispatched[lane];
        event.end_ns = w->now;
        event.status = statuses[(dice >> 24) % AEGIS_ARRAY_LENGTH(statuses)];
    } else if (dice % 3 == 1) {
        event.kind = AEGIS_CORE_SUBMIT;
        event.model = (uint32_t)(dice >> 24) % 16;
        event.job = ++w->job;
        event.release_ns = w->now + (dice >> 32) % 20;
        event.job_priority = (int32_t)((dice >> 40) % 3);
        event.more = (dice >> 48) % 4 == 0;
    }
    return event;
}

static uint64_t random_walk(const char *policy_name, test_allocator *counting, uint64_t *ret_ends)
{
    static walk w;
    aegis_policy policy;
    aegis_allocator allocator = test_allocator_make(counting);
    const aegis_core_config config = {
        .lanes = 4, .max_models = 16, .max_jobs = 64, .wake_bound_ns = 2, .launch_bound_ns = 1};
    uint64_t seed = 1;
    w = (walk){.digest = UINT64_C(0xcbf29ce484222325)};
    assert_int_equal(aegis_policy_find(policy_name, &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_core_create(&config, &policy, &allocator, &w.core, NULL), AEGIS_OK);
    uint64_t calls = counting->calls;
    for (uint32_t i = 0; i < 16; i++) {
        aegis_core_model model = cut(i, 20 + i * 3, 1 + i % 3, 4);
        model.lane = (uint16_t)(i % 4);
        model.overrun = (aegis_overrun_rule)(i % 3);
        model.early = (aegis_early_rule)(i % 2);
        model.background = i % 5 == 4;
        model.share_ppm = i % 10 == 9 ? 300000 : 0;
        model.compute_budget_ns = i % 7 == 0 ? 9 : 0;
        model.priority = (int32_t)(i * 7 % 11);
        walk_step(&w, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model});
    }
    for (int i = 0; i < 20000; i++) {
        aegis_core_event event = random_event(&w, &seed);
        walk_step(&w, &event);
    }
    walk_step(&w, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = 3});
    assert_int_equal(counting->calls, calls);
    aegis_core_destroy(w.core);
    assert_int_equal(counting->blocks, 0);
    *ret_ends = w.ends;
    return w.digest;
}

static void steps_are_deterministic_and_allocate_nothing(void **state)
{
    (void)state;
    size_t count = 0;
    const char *const *names = aegis_policy_names(&count);
    uint64_t first = 0;
    for (size_t i = 0; i < count; i++) {
        test_allocator a = {0}, b = {0};
        uint64_t ends_a = 0, ends_b = 0;
        uint64_t digest = random_walk(names[i], &a, &ends_a);
        assert_true(random_walk(names[i], &b, &ends_b) == digest);
        assert_int_equal(ends_a, ends_b);
        assert_true(ends_a > 3000);
        assert_true(i == 0 || digest != first); /* the digest sees the order */
        first = i == 0 ? digest : first;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_deterministic_and_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
