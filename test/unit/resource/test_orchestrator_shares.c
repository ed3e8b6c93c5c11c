/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and packed copies by content, and compaction, which joins them anew. */
#include "orchestrator_fixture.h"

#include "support/test_allocator.h"

#define ALONE (1024 + 512 + 64 + 128) /* what such a model needs by itself */

static void equal_weights_are_placed_once(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
    assert_int_equal(plan_contents(o, 2, 0, 7, 9, NULL), AEGIS_OK);
    assert_int_equal(plan_contents(o, 3, 0, 7, 7, NULL), AEGIS_OK); /* another size: not the same */
    aegis_memory_totals t = totals(o);
    assert_int_equal(t.sum_of_models, 3 * ALONE);
    assert_int_equal(t.shared_bytes, 1024 + 3 * 512);
    assert_int_equal(t.shared_saved, 2 * 1024);
    assert_int_equal(t.by_class[CLASS(WEIGHTS)], 1000 + 3 * 500 + 3 * 64);
    assert_int_equal(t.planned_bytes, 128 + 3 * 64 + 1024 + 3 * 512);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    const aegis_memory_binding *one = bind(o, 1), *two = bind(o, 2), *three = bind(o, 3);
    assert_int_equal(one->permanent_bytes, 64);
    assert_int_equal(one->shared_bytes, 1024 + 512);
    assert_int_equal(one->total_bytes, ALONE);
    assert_true(one->placements[0].shared && !one->placements[2].shared);
    assert_int_equal(one->placements[0].offset_bytes, two->placements[0].offset_bytes);
    assert_int_equal(one->placements[0].offset_bytes, three->placements[0].offset_bytes);
    assert_true(one->placements[1].offset_bytes != two->placements[1].offset_bytes);
    assert_true(three->placements[0].offset_bytes != three->placements[1].offset_bytes);
    aegis_memory_orchestrator_destroy(o);
}

/* A packed copy and weights of the same content, and state of its own. */
static aegis_status plan_packed(aegis_memory_orchestrator *o, uint32_t model, aegis_error *err)
{
    const aegis_tensor_lifetime l[] = {{0, CLASS(WEIGHTS), 0, 0, 1, 1000, 0, {7}},
                                       {0, CLASS(PREPACKED), 0, 0, 1, 1000, 0, {7}},
                                       {1, CLASS(PREPACKED), 0, 0, 1, 64, 0, {0}}};
    return plan(o, model, 0, l, 3, err);
}

/* Loading writes packed copies: those that run may read may not be written, so whoever comes after
 * the seal gets its own; laid out anew it need not. */
static void packed_copies_are_shared_until_the_seal(void **state)
{
    (void)state;
    aegis_error err;
    aegis_memory_refusal refusal;
    uint64_t all = 2 * 64 + 2 * 1024, third = 64 + 1024;
    aegis_memory_orchestrator *o = make(all + third, 1, 0);
    assert_int_equal(plan_packed(o, 1, NULL), AEGIS_OK);
    assert_int_equal(plan_packed(o, 2, NULL), AEGIS_OK);
    aegis_memory_totals t = totals(o);
    assert_int_equal(t.by_class[CLASS(WEIGHTS)], 1000);
    assert_int_equal(t.by_class[CLASS(PREPACKED)], 1000 + 2 * 64);
    assert_int_equal(t.planned_bytes, all);
    assert_int_equal(t.shared_saved, 2 * 1024);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    const aegis_memory_placement *one = bind(o, 1)->placements, *two = bind(o, 2)->placements;
    assert_true(one[0].shared && one[1].shared && !one[2].shared);
    assert_int_equal(one[1].offset_bytes, two[1].offset_bytes);
    assert_true(one[0].offset_bytes != one[1].offset_bytes); /* packing reads one, writes one */
    assert_int_equal(plan_packed(o, 3, NULL), AEGIS_OK);
    const aegis_memory_placement *three = bind(o, 3)->placements;
    assert_int_equal(three[0].offset_bytes, one[0].offset_bytes);
    assert_true(!three[1].shared && three[1].offset_bytes != one[1].offset_bytes);
    assert_int_equal(totals(o).planned_bytes, all + third);
    aegis_memory_orchestrator_destroy(o);
    o = make(all + 64, 1, 0); /* no room for copies of its own */
    assert_int_equal(plan_packed(o, 1, NULL), AEGIS_OK);
    assert_int_equal(plan_packed(o, 2, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(plan_packed(o, 3, &err), AEGIS_ERROR_NO_MEMORY);
    assert_true(aegis_memory_orchestrator_last_refusal(o, &refusal) && refusal.fits_after_moving);
    assert_int_equal(aegis_memory_orchestrator_unseal(o, NULL), AEGIS_OK);
    assert_int_equal(plan_packed(o, 3, NULL), AEGIS_OK);
    assert_int_equal(totals(o).planned_bytes, all + 64);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    aegis_memory_orchestrator_destroy(o);
}

static void a_limit_counts_shared_weights_in_full(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    aegis_error err;
    assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
    uint64_t before = aegis_memory_orchestrator_current(o);
    assert_int_equal(plan_contents(o, 2, ALONE - 1, 7, 8, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "1 too many"));
    assert_int_equal(aegis_memory_orchestrator_current(o), before);
    assert_int_equal(plan_contents(o, 2, ALONE, 7, 8, NULL), AEGIS_OK); /* raised, it fits */
    assert_int_equal(aegis_memory_orchestrator_current(o), before + 64);
    const aegis_tensor_lifetime state_content = {0, CLASS(STATE), 0, 0, 1, 64, 0, {1}};
    assert_int_equal(plan(o, 3, 0, &state_content, 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "content id"));
    aegis_memory_orchestrator_destroy(o);
}

static void shared_weights_go_with_their_last_holder(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        aegis_memory_orchestrator *o = make(4096, 1, 0);
        uint64_t bytes;
        assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
        assert_int_equal(plan_contents(o, 2, 0, 7, 9, NULL), AEGIS_OK);
        if (sealed) {
            assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
        }
        assert_int_equal(aegis_memory_orchestrator_freeable(o, 1, &bytes, NULL), AEGIS_OK);
        assert_int_equal(bytes, 64 + 512);
        assert_int_equal(aegis_memory_orchestrator_release(o, 1, NULL), AEGIS_OK);
        assert_int_equal(totals(o).shared_bytes, 1024 + 512);
        assert_int_equal(aegis_memory_orchestrator_freeable(o, 2, &bytes, NULL), AEGIS_OK);
        assert_int_equal(bytes, 64 + 1024 + 512 + (sealed ? 0 : 128));
        /* comes back to the bytes that the other one kept */
        assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
        if (sealed) {
            assert_int_equal(bind(o, 1)->placements[0].offset_bytes,
                             bind(o, 2)->placements[0].offset_bytes);
        }
        assert_int_equal(aegis_memory_orchestrator_release(o, 1, NULL), AEGIS_OK);
        assert_int_equal(aegis_memory_orchestrator_release(o, 2, NULL), AEGIS_OK);
        assert_int_equal(totals(o).shared_bytes, 0);
        assert_int_equal(aegis_memory_orchestrator_current(o), sealed ? 128 : 0);
        aegis_memory_orchestrator_destroy(o);
    }
}

static void a_refusal_counts_what_is_there_already(void **state)
{
    (void)state;
    aegis_memory_refusal r;
    aegis_error err;
    for (int sealed = 0; sealed < 2; sealed++) {
        aegis_memory_orchestrator *o = make(2048, 1, 0);
        assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
        if (sealed) {
            assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
        }
        /* 1728 of 2048 are planned; 576 more come */
        assert_int_equal(plan_contents(o, 2, 0, 7, 9, &err), AEGIS_ERROR_NO_MEMORY);
        assert_non_null(strstr(err.message, "256 bytes short: it adds 576"));
        assert_non_null(strstr(err.message, "1024 more of its weights are there already"));
        assert_non_null(strstr(err.message, "without model 'sharer' (1)"));
        assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
        assert_int_equal(r.missing_bytes, 256);
        assert_false(r.fits_after_moving);
        assert_int_equal(plan_contents(o, 2, 0, 7, 8, NULL), AEGIS_OK);
        aegis_memory_orchestrator_destroy(o);
    }
}

static void compaction_closes_holes_when_it_is_asked_for(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(4096, 1, 0);
    aegis_memory_refusal r;
    aegis_error err;
    assert_int_equal(aegis_memory_orchestrator_compact(o, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_memory_orchestrator_unseal(o, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(plan_contents(o, 0, 0, 7, 8, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 1, 0, 512, 64, NULL), AEGIS_OK);
    assert_int_equal(plan_contents(o, 2, 0, 7, 9, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 3, 0, 1024, 256, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_release(o, 1, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_release(o, 0, NULL), AEGIS_OK);
    /* behind the end are 64 bytes; the holes have 576 and 512 */
    assert_int_equal(plan_simple(o, 4, 0, 1088, 64, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "after compaction"));
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_true(r.fits_after_moving);
    uint64_t planned = aegis_memory_orchestrator_current(o);
    assert_int_equal(aegis_memory_orchestrator_compact(o, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_current(o), planned);
    assert_int_equal(bind(o, 2)->placements[2].offset_bytes, 256);
    assert_int_equal(bind(o, 3)->placements[0].offset_bytes, 256 + 64);
    assert_int_equal(bind(o, 2)->placements[0].offset_bytes, 256 + 64 + 1024);
    assert_int_equal(bind(o, 2)->placements[3].offset_bytes, 0);
    assert_int_equal(plan_simple(o, 4, 0, 1088, 64, NULL), AEGIS_OK);
    /* opened again, a lane's region can grow as well */
    assert_int_equal(aegis_memory_orchestrator_release(o, 3, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 5, 0, 64, 512, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(aegis_memory_orchestrator_unseal(o, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 5, 0, 64, 512, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(bind(o, 2)->placements[2].offset_bytes, 512);
    aegis_memory_orchestrator_destroy(o);
}

/* A refusal is about a model; where the host has no memory to plan with there is none. */
static void no_host_memory_is_no_refusal(void **state)
{
    (void)state;
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    const aegis_memory_config config = {.capacity_bytes = 4096, .lanes = 1};
    const aegis_planner planner = aegis_planner_default();
    aegis_memory_orchestrator *o = NULL;
    aegis_memory_refusal refusal;
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_OK);
    assert_int_equal(plan_simple(o, 0, 0, 64, 1 << 20, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_true(aegis_memory_orchestrator_last_refusal(o, &refusal));
    counting.fail_at = counting.calls + 1;
    assert_int_equal(plan_simple(o, 1, 0, 64, 64, NULL), AEGIS_ERROR_NO_MEMORY);
    assert_false(aegis_memory_orchestrator_last_refusal(o, &refusal));
    aegis_memory_orchestrator_destroy(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_weights_are_placed_once),
        cmocka_unit_test(packed_copies_are_shared_until_the_seal),
        cmocka_unit_test(a_limit_counts_shared_weights_in_full),
        cmocka_unit_test(shared_weights_go_with_their_last_holder),
        cmocka_unit_test(a_refusal_counts_what_is_there_already),
        cmocka_unit_test(compaction_closes_holes_when_it_is_asked_for),
        cmocka_unit_test(no_host_memory_is_no_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
