/* SPDX-License-Identifier: Apache-2.0 */
#include "orchestrator_fixture.h"

#include "support/test_allocator.h"

static void binding_holds_every_tensor(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    assert_int_equal(plan(o, 4, 0, cut_model, 11, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    const aegis_memory_binding *b = bind(o, 4);
    assert_int_equal(b->model, 4);
    assert_int_equal(b->placement_count, 11);
    assert_int_equal(b->activation_height, 704);
    assert_int_equal(b->activation_lower_bound, 704);
    assert_true(b->activation_optimal);
    /* 1000, to 1024; 10, to 1280; 10; 64 at 1344; 1 at 1408; rounded up to 64 */
    assert_int_equal(b->permanent_bytes, 1472);
    assert_int_equal(b->total_bytes, 1472 + 704);
    for (size_t i = 0; i < 11; i++) {
        const aegis_memory_placement *p = &b->placements[i];
        uint64_t alignment = cut_model[i].alignment == 0 ? 64 : cut_model[i].alignment;
        assert_int_equal(p->tensor, cut_model[i].tensor);
        assert_int_equal(p->memory_class, cut_model[i].memory_class);
        assert_int_equal(p->segment, cut_model[i].segment);
        assert_int_equal(p->size_bytes, cut_model[i].size_bytes);
        if (p->size_bytes > 0) {
            assert_int_equal(p->offset_bytes % alignment, 0);
            assert_true(p->memory_class == CLASS(ACTIVATION)
                            ? p->offset_bytes + p->size_bytes <= 704
                            : p->offset_bytes >= 704);
        }
    }
    assert_int_equal(b->placements[5].offset_bytes, b->placements[7].offset_bytes);
    aegis_memory_totals t = totals(o);
    assert_int_equal(t.by_class[CLASS(WEIGHTS)], 1000);
    assert_int_equal(t.by_class[CLASS(STATE)], 20);
    assert_int_equal(t.activations_planned, 704);
    assert_int_equal(t.activations_sum, 704);
    assert_int_equal(t.sum_of_models, 1472 + 704);
    aegis_memory_orchestrator_destroy(o);
}

static void one_lane_shares_its_activations(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 2, 100);
    assert_int_equal(plan_simple(o, 1, 0, 64, 1000, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 0, 64, 3000, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 3, 1, 64, 500, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    aegis_memory_totals t = totals(o);
    assert_int_equal(t.activations_planned, 3008 + 512);
    assert_int_equal(t.activations_sum, 1024 + 3008 + 512);
    assert_int_equal(t.by_class[CLASS(SPILL)], 2 * 128);
    assert_int_equal(t.planned_bytes, 3008 + 512 + 2 * 128 + 3 * 64);
    assert_int_equal(bind(o, 1)->placements[1].offset_bytes, 0);
    assert_int_equal(bind(o, 2)->placements[1].offset_bytes, 0);
    assert_int_equal(bind(o, 3)->placements[1].offset_bytes, 3008);
    uint64_t offset, size;
    assert_int_equal(aegis_memory_orchestrator_spill_region(o, 1, &offset, &size, NULL), AEGIS_OK);
    assert_int_equal(offset, 3008 + 512 + 128);
    assert_int_equal(size, 128);
    assert_int_equal(aegis_memory_orchestrator_spill_region(o, 2, &offset, &size, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_memory_orchestrator_destroy(o);
}

/* A chain of cuts: what crosses the first is dead when the third is crossed. */
static void boundary_tensors_share_bytes_over_segments(void **state)
{
    (void)state;
    static const aegis_tensor_lifetime chain[] = {
        {0, CLASS(WEIGHTS), 0, 0, 1, 64, 0, {0}},    {0, CLASS(BOUNDARY), 0, 0, 2, 1000, 0, {0}},
        {1, CLASS(BOUNDARY), 1, 1, 3, 1000, 0, {0}}, {2, CLASS(BOUNDARY), 2, 2, 4, 900, 256, {0}},
        {3, CLASS(BOUNDARY), 2, 2, 3, 0, 0, {0}},    {0, CLASS(ACTIVATION), 1, 0, 1, 128, 0, {0}},
    };
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    assert_int_equal(plan(o, 1, 0, chain, 6, NULL), AEGIS_OK);
    assert_int_equal(plan(o, 2, 0, chain, 6, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    const aegis_memory_binding *one = bind(o, 1), *two = bind(o, 2);
    const aegis_memory_placement *p = one->placements;
    assert_int_equal(p[1].offset_bytes, p[3].offset_bytes);
    assert_int_equal(p[3].offset_bytes % 256, 0);
    assert_true(p[2].offset_bytes >= p[1].offset_bytes + 1000 ||
                p[1].offset_bytes >= p[2].offset_bytes + 1000);
    /* 64, to 256, and two of 1000 there */
    assert_int_equal(one->permanent_bytes, 256 + 2048);
    assert_int_equal(one->total_bytes, one->permanent_bytes + 128);
    for (size_t i = 1; i < 4; i++) { /* another model is between its segments at any time */
        assert_true(two->placements[i].offset_bytes >= p[0].offset_bytes + one->permanent_bytes ||
                    p[0].offset_bytes >= two->placements[0].offset_bytes + two->permanent_bytes);
    }
    aegis_memory_totals t = totals(o);
    assert_true(t.by_class[CLASS(BOUNDARY)] >= 2 * 2000 && t.by_class[CLASS(BOUNDARY)] <= 2 * 2048);
    aegis_memory_orchestrator_destroy(o);
}

static aegis_status plan_paged(
    aegis_memory_orchestrator *o, uint32_t model, uint16_t lane, uint64_t bytes, aegis_error *err)
{
    const aegis_tensor_lifetime lifetimes[] = {
        {0, CLASS(PAGED), 0, 0, 1, bytes, 4096, {0}},
        {0, CLASS(ACTIVATION), 0, 0, 1, 64, 0, {0}},
    };
    return plan(o, model, lane, lifetimes, 2, err);
}

/* One region a lane, as large as the largest; what is resident lies elsewhere. */
static void paged_models_of_a_lane_take_turns(void **state)
{
    (void)state;
    aegis_error err;
    aegis_memory_refusal r;
    aegis_memory_orchestrator *o = make(1 << 20, 2, 0);
    assert_int_equal(plan_paged(o, 1, 0, 8192, NULL), AEGIS_OK);
    assert_int_equal(plan_paged(o, 2, 0, 40960, NULL), AEGIS_OK);
    assert_int_equal(plan_paged(o, 3, 1, 4096, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 4, 0, 1000, 64, NULL), AEGIS_OK);
    assert_int_equal(totals(o).by_class[CLASS(PAGED)], 40960 + 4096);
    assert_int_equal(totals(o).paged_sum, 8192 + 40960 + 4096);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(totals(o).by_class[CLASS(PAGED)], 40960 + 4096);
    uint64_t first = bind(o, 1)->placements[0].offset_bytes;
    assert_int_equal(first, bind(o, 2)->placements[0].offset_bytes);
    assert_int_equal(first % 4096, 0);
    assert_true(bind(o, 3)->placements[0].offset_bytes >= first + 40960);
    assert_true(bind(o, 4)->placements[0].offset_bytes >= first + 40960 + 4096);
    assert_int_equal(bind(o, 2)->paged_bytes, 40960);
    assert_int_equal(bind(o, 2)->total_bytes, 40960 + 64);
    /* The region is fixed: what is not larger comes, what is larger is told so. */
    assert_int_equal(plan_paged(o, 5, 1, 4096, NULL), AEGIS_OK);
    assert_int_equal(plan_paged(o, 6, 1, 8192, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "pages 8192 bytes"));
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_true(r.lane_region);
    assert_int_equal(r.missing_bytes, 4096);
    assert_int_equal(r.by_class[CLASS(PAGED)], 8192);
    /* Laid out anew, the region is what the models that are left need. */
    assert_int_equal(aegis_memory_orchestrator_release(o, 2, NULL), AEGIS_OK);
    assert_int_equal(totals(o).by_class[CLASS(PAGED)], 40960 + 4096);
    assert_int_equal(aegis_memory_orchestrator_compact(o, NULL), AEGIS_OK);
    assert_int_equal(totals(o).by_class[CLASS(PAGED)], 8192 + 4096);
    assert_int_equal(bind(o, 1)->placements[0].offset_bytes % 4096, 0);
    aegis_memory_orchestrator_destroy(o);
}

static void sharing_lists_the_largest_first(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 2, 0);
    const aegis_tensor_lifetime twice[] = {{0, CLASS(ACTIVATION), 0, 0, 1, 1024, 0, {0}},
                                           {1, CLASS(ACTIVATION), 1, 0, 1, 640, 0, {0}}};
    assert_int_equal(plan(o, 1, 0, twice, 2, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 0, 0, 3072, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 3, 1, 0, 512, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 4, 0, 0, 704, NULL), AEGIS_OK);
    aegis_sharing_opportunity list[8];
    size_t count;
    assert_int_equal(aegis_memory_orchestrator_sharing(o, list, 8, &count, NULL), AEGIS_OK);
    static const aegis_sharing_opportunity expected[] = {
        {1, 2, 1024}, {1, 4, 704}, {2, 4, 704}, {1, 1, 640}};
    assert_int_equal(count, 4);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].model_a, expected[i].model_a);
        assert_int_equal(list[i].model_b, expected[i].model_b);
        assert_int_equal(list[i].shared_bytes, expected[i].shared_bytes);
    }
    aegis_sharing_opportunity first[2];
    assert_int_equal(aegis_memory_orchestrator_sharing(o, first, 2, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 4);
    assert_int_equal(first[1].shared_bytes, 704);
    assert_int_equal(first[1].model_a, 1);
    assert_int_equal(aegis_memory_orchestrator_sharing(o, NULL, 0, &count, NULL), AEGIS_OK);
    assert_int_equal(count, 4);
    assert_int_equal(aegis_memory_orchestrator_sharing(o, NULL, 1, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_memory_orchestrator_destroy(o);
}

static void states_are_kept(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(4096, 1, 0);
    const aegis_memory_binding *binding;
    uint64_t offset, size;
    assert_int_equal(plan_simple(o, 1, 0, 64, 64, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 1, 0, 64, 64, NULL), AEGIS_ERROR_EXISTS);
    assert_int_equal(aegis_memory_orchestrator_bind(o, 1, &binding, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_memory_orchestrator_bind(o, 2, &binding, NULL), AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_memory_orchestrator_spill_region(o, 0, &offset, &size, NULL),
                     AEGIS_ERROR_STATE);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_memory_orchestrator_release(o, 2, NULL), AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_memory_orchestrator_release(o, 1, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_bind(o, 1, &binding, NULL), AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_memory_orchestrator_current(o), 64); /* the lane's region */
    assert_int_equal(aegis_memory_orchestrator_peak(o), 128);
    aegis_memory_orchestrator_destroy(o);
    aegis_memory_orchestrator_destroy(NULL);
}

static void create_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    aegis_memory_orchestrator *o = NULL;
    aegis_memory_config config = {.capacity_bytes = 0, .lanes = 1};
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    config = (aegis_memory_config){.capacity_bytes = 100, .lanes = 0};
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    config = (aegis_memory_config){.capacity_bytes = 100, .lanes = 2, .spill_bytes_per_lane = 51};
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    /* 60 a lane would fit, rounded up to 64 they do not */
    config = (aegis_memory_config){.capacity_bytes = 120, .lanes = 2, .spill_bytes_per_lane = 60};
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    assert_int_equal(aegis_memory_orchestrator_create(&config, NULL, &allocator, &o, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_null(o);
}

static void malformed_demands_are_refused(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    aegis_error err;
    static const aegis_tensor_lifetime bad[] = {
        {5, CLASS(SPILL), 0, 0, 1, 10, 0, {0}},
        {5, CLASS(ACTIVATION), 0, 3, 3, 10, 0, {0}},
        {5, CLASS(WEIGHTS), 0, 0, 0, 10, 48, {0}},
        {5, (aegis_memory_class)99, 0, 0, 1, 10, 0, {0}},
    };
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(plan(o, 1, 0, &bad[i], 1, &err), AEGIS_ERROR_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "tensor 5"));
    }
    assert_int_equal(plan(o, 1, 0, NULL, 1, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(plan(o, 1, 1, cut_model, 11, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "lane 1"));
    const aegis_tensor_lifetime huge = {0, CLASS(WEIGHTS), 0, 0, 0, UINT64_MAX, 0, {0}};
    assert_int_equal(plan(o, 1, 0, &huge, 1, NULL), AEGIS_ERROR_OVERFLOW);
    assert_int_equal(aegis_memory_orchestrator_plan(o, NULL, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_memory_orchestrator_current(o), 0);
    aegis_memory_refusal refusal;
    assert_false(aegis_memory_orchestrator_last_refusal(o, &refusal));
    assert_int_equal(plan(o, 1, 0, NULL, 0, NULL), AEGIS_OK); /* a model without tensors is fine */
    aegis_memory_orchestrator_destroy(o);
}

/* ---- refusals ---- */

static void budget_is_refused_by_class(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 0);
    aegis_error err;
    aegis_memory_demand demand = {.model = 9,
                                  .name = "greedy",
                                  .limit_bytes = 2000,
                                  .lifetimes = cut_model,
                                  .lifetime_count = 11};
    assert_int_equal(aegis_memory_orchestrator_plan(o, &demand, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(
        strstr(err.message, "'greedy' needs 2176 bytes, its limit is 2000: 176 too many"));
    assert_non_null(strstr(err.message, "weights 1000"));
    assert_non_null(strstr(err.message, "activation 704"));
    assert_non_null(strstr(err.message, "most of it is weights"));
    aegis_memory_refusal r;
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_int_equal(r.status, AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(r.model, 9);
    assert_int_equal(r.need_bytes, 2176);
    assert_int_equal(r.missing_bytes, 176);
    assert_int_equal(r.by_class[CLASS(WEIGHTS)], 1000);
    assert_int_equal(aegis_memory_orchestrator_current(o), 0);
    demand.limit_bytes = 2176;
    assert_int_equal(aegis_memory_orchestrator_plan(o, &demand, NULL), AEGIS_OK);
    aegis_memory_orchestrator_destroy(o);
}

static void arena_refusal_says_what_is_missing(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(4096, 1, 0);
    aegis_error err;
    assert_int_equal(plan_simple(o, 1, 0, 1024, 64, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 0, 1536, 512, NULL), AEGIS_OK);
    /* 3072 of 4096 are planned; 512 more of activations and 1024 of weights come */
    assert_int_equal(plan_simple(o, 3, 0, 1024, 1024, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "'three' is 512 bytes short: it adds 1536"));
    assert_non_null(strstr(err.message, "free are 1024 of 4096"));
    assert_non_null(strstr(err.message, "without model 'one' (1)"));
    assert_non_null(strstr(err.message, "tensor 0: 1024"));
    aegis_memory_refusal r;
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_int_equal(r.need_bytes, 1536);
    assert_int_equal(r.free_bytes, 1024);
    assert_int_equal(r.missing_bytes, 512);
    assert_int_equal(r.capacity_bytes, 4096);
    assert_true(r.has_model_to_remove);
    assert_int_equal(r.model_to_remove, 1);
    assert_int_equal(r.peak_count, 1);
    assert_int_equal(r.peak_bytes, 1024);
    assert_false(r.lane_region);
    /* what it says is true */
    assert_int_equal(aegis_memory_orchestrator_current(o), 3072);
    assert_int_equal(aegis_memory_orchestrator_release(o, 1, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 3, 0, 1024, 1024, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 4, 0, 9000, 0, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "any one model"));
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_false(r.has_model_to_remove);
    aegis_memory_orchestrator_destroy(o);
}

static void peak_names_the_largest_tensors(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1024, 1, 0);
    aegis_error err;
    const aegis_tensor_lifetime l[] = {{0, CLASS(ACTIVATION), 0, 0, 1, 512, 0, {0}},
                                       {10, CLASS(ACTIVATION), 3, 0, 9, 64, 0, {0}},
                                       {11, CLASS(ACTIVATION), 3, 4, 6, 256, 0, {0}},
                                       {12, CLASS(ACTIVATION), 3, 5, 6, 640, 0, {0}},
                                       {13, CLASS(ACTIVATION), 3, 5, 7, 128, 0, {0}},
                                       {14, CLASS(ACTIVATION), 3, 5, 8, 320, 0, {0}},
                                       {15, CLASS(ACTIVATION), 3, 6, 9, 1024, 0, {0}}};
    assert_int_equal(plan(o, 1, 0, l, 7, &err), AEGIS_ERROR_NO_MEMORY);
    aegis_memory_refusal r;
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_int_equal(r.peak_segment, 3);
    assert_int_equal(r.peak_at, 6);
    assert_int_equal(r.peak_bytes, 64 + 128 + 320 + 1024);
    assert_int_equal(r.peak_count, 4);
    static const uint32_t tensors[] = {15, 14, 13, 10};
    static const uint64_t bytes[] = {1024, 320, 128, 64};
    assert_memory_equal(r.peak_tensors, tensors, sizeof tensors);
    assert_memory_equal(r.peak_tensor_bytes, bytes, sizeof bytes);
    aegis_memory_orchestrator_destroy(o);
}

static void after_the_seal_regions_are_fixed(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(4096, 1, 0);
    aegis_error err;
    aegis_memory_refusal r;
    assert_int_equal(plan_simple(o, 1, 0, 1024, 1000, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    uint64_t before = bind(o, 1)->placements[0].offset_bytes;
    assert_int_equal(plan_simple(o, 2, 0, 64, 1025, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "lane 0"));
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_true(r.lane_region);
    assert_int_equal(r.missing_bytes, 64);
    assert_int_equal(plan_simple(o, 2, 0, 64, 1024, NULL), AEGIS_OK);
    assert_int_equal(bind(o, 2)->placements[1].offset_bytes, 0);
    assert_int_equal(bind(o, 1)->placements[0].offset_bytes, before);
    aegis_memory_orchestrator_destroy(o);
}

static void after_the_seal_holes_are_filled(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(4096, 1, 0);
    aegis_error err;
    aegis_memory_refusal r;
    for (uint32_t m = 0; m < 4; m++) {
        assert_int_equal(plan_simple(o, m, 0, 1024, 0, NULL), AEGIS_OK);
    }
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_release(o, 0, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_release(o, 2, NULL), AEGIS_OK);
    /* 2048 bytes are free, but not in one piece */
    assert_int_equal(plan_simple(o, 4, 0, 1088, 0, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "largest hole has 1024"));
    assert_true(aegis_memory_orchestrator_last_refusal(o, &r));
    assert_int_equal(r.missing_bytes, 64);
    assert_true(r.has_model_to_remove);
    assert_int_equal(r.model_to_remove, 1);
    assert_int_equal(plan_simple(o, 4, 0, 512, 0, NULL), AEGIS_OK);
    assert_int_equal(bind(o, 4)->placements[0].offset_bytes, 0);
    assert_int_equal(plan_simple(o, 5, 0, 1000, 0, NULL), AEGIS_OK);
    assert_int_equal(bind(o, 5)->placements[0].offset_bytes, 2048);
    assert_int_equal(aegis_memory_orchestrator_current(o), 1024 + 512 + 1024 + 1024);
    aegis_memory_orchestrator_destroy(o);
}

static void alignment_of_a_sealed_lane_is_kept(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 16, 2, 0);
    aegis_error err;
    assert_int_equal(plan_simple(o, 1, 0, 0, 64, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 1, 0, 8192, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    const aegis_tensor_lifetime page = {0, CLASS(ACTIVATION), 0, 0, 1, 4096, 4096, {0}};
    assert_int_equal(plan(o, 3, 1, &page, 1, &err), AEGIS_ERROR_NO_MEMORY);
    assert_non_null(strstr(err.message, "4096"));
    const aegis_tensor_lifetime weights = {0, CLASS(WEIGHTS), 0, 0, 0, 100, 4096, {0}};
    assert_int_equal(plan(o, 3, 1, &weights, 1, NULL), AEGIS_OK);
    assert_int_equal(bind(o, 3)->placements[0].offset_bytes % 4096, 0);
    aegis_memory_orchestrator_destroy(o);
}

/* ---- pressure ---- */

static aegis_pressure_answer
ask(const aegis_memory_orchestrator *o, aegis_pressure_policy policy, uint64_t needed)
{
    aegis_pressure_answer answer;
    assert_int_equal(aegis_memory_orchestrator_handle_pressure(o, policy, needed, &answer, NULL),
                     AEGIS_OK);
    return answer;
}

static void pressure_names_but_frees_nothing(void **state)
{
    (void)state;
    aegis_memory_orchestrator *o = make(1 << 20, 1, 64);
    assert_false(ask(o, AEGIS_PRESSURE_NEWEST, 1).found);
    assert_int_equal(plan_simple(o, 1, 0, 640, 128, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 0, 64, 1024, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 3, 0, 320, 64, NULL), AEGIS_OK);
    /* before the seal the lane's region would shrink without model 2: 64 + 1024 - 128 */
    aegis_pressure_answer a = ask(o, AEGIS_PRESSURE_LARGEST, 0);
    assert_true(a.found && a.model == 2 && a.freed_bytes == 960);
    a = ask(o, AEGIS_PRESSURE_REPORT, 0);
    assert_true(!a.found && a.freed_bytes == 640 + 64 + 320 + 1024);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    a = ask(o, AEGIS_PRESSURE_LARGEST, 0);
    assert_true(a.found && a.model == 1 && a.freed_bytes == 640);
    a = ask(o, AEGIS_PRESSURE_NEWEST, 0);
    assert_true(a.found && a.model == 3 && a.freed_bytes == 320);
    a = ask(o, AEGIS_PRESSURE_SMALLEST_ENOUGH, 65);
    assert_true(a.found && a.model == 3);
    a = ask(o, AEGIS_PRESSURE_SMALLEST_ENOUGH, 64);
    assert_true(a.found && a.model == 2);
    assert_false(ask(o, AEGIS_PRESSURE_SMALLEST_ENOUGH, 641).found);
    assert_int_equal(ask(o, AEGIS_PRESSURE_REPORT, 0).freed_bytes, 640 + 64 + 320);
    uint64_t bytes;
    assert_int_equal(aegis_memory_orchestrator_freeable(o, 3, &bytes, NULL), AEGIS_OK);
    assert_int_equal(bytes, 320);
    assert_int_equal(aegis_memory_orchestrator_freeable(o, 4, &bytes, NULL), AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(totals(o).planned_bytes, 64 + 1024 + 640 + 64 + 320);
    aegis_pressure_answer unused;
    assert_int_equal(
        aegis_memory_orchestrator_handle_pressure(o, (aegis_pressure_policy)9, 0, &unused, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_memory_orchestrator_destroy(o);
}
/* ---- host memory ---- */

static aegis_status scenario(const aegis_allocator *allocator, uint64_t *ret_left)
{
    aegis_planner planner = aegis_planner_default();
    const aegis_memory_config config = {.capacity_bytes = 1 << 20, .lanes = 1};
    aegis_memory_orchestrator *o;
    aegis_status status = aegis_memory_orchestrator_create(&config, &planner, allocator, &o, NULL);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t before = 0;
    for (uint32_t m = 0; m < 18 && status == AEGIS_OK; m++) { /* past the first array of models */
        before = aegis_memory_orchestrator_current(o);
        status = plan(o, m, 0, cut_model, m == 0 ? 11 : 3, NULL);
    }
    for (uint32_t m = 50; m < 52 && status == AEGIS_OK; m++) {
        before = aegis_memory_orchestrator_current(o);
        status = plan_contents(o, m, 0, 7, (uint8_t)m, NULL);
    }
    if (status == AEGIS_OK) {
        before = aegis_memory_orchestrator_current(o);
        status = aegis_memory_orchestrator_seal(o, NULL);
    }
    if (status == AEGIS_OK) {
        before = aegis_memory_orchestrator_current(o);
        status = plan(o, 100, 0, cut_model, 11, NULL);
    }
    if (status == AEGIS_OK) {
        before = aegis_memory_orchestrator_current(o);
        status = plan_contents(o, 101, 0, 7, 99, NULL);
    }
    *ret_left = status == AEGIS_OK ? 0 : aegis_memory_orchestrator_current(o) - before;
    aegis_memory_orchestrator_destroy(o);
    return status;
}

static void every_failed_allocation_changes_nothing(void **state)
{
    (void)state;
    unsigned failures = 0;
    for (uint64_t nth = 1; nth < 5000; nth++) {
        test_allocator counting = {.fail_at = nth};
        aegis_allocator allocator = test_allocator_make(&counting);
        uint64_t left = 0;
        aegis_status status = scenario(&allocator, &left);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
        assert_int_equal(left, 0);
        if (counting.calls < nth) {
            assert_int_equal(status, AEGIS_OK);
            break;
        }
        assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
        failures++;
    }
    assert_in_range(failures, 50, 4000);
}

/* Compacting fails at every allocation in turn: each time all lies where it lay. */
static void a_failed_compaction_moves_nothing(void **state)
{
    (void)state;
    test_allocator counting = {0};
    aegis_allocator allocator = test_allocator_make(&counting);
    aegis_planner planner = aegis_planner_default();
    const aegis_memory_config config = {
        .capacity_bytes = 1 << 20, .lanes = 2, .spill_bytes_per_lane = 64};
    aegis_memory_orchestrator *o;
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_OK);
    assert_int_equal(plan_simple(o, 0, 0, 1000, 640, NULL), AEGIS_OK);
    assert_int_equal(plan_contents(o, 1, 0, 7, 8, NULL), AEGIS_OK);
    assert_int_equal(plan_simple(o, 2, 1, 3000, 64, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_seal(o, NULL), AEGIS_OK);
    assert_int_equal(aegis_memory_orchestrator_release(o, 0, NULL), AEGIS_OK);
    const uint64_t own = bind(o, 2)->placements[0].offset_bytes;
    const uint64_t shared = bind(o, 1)->placements[0].offset_bytes;
    const uint64_t activation = bind(o, 2)->placements[1].offset_bytes;
    bool passed = false;
    for (uint64_t nth = 1; !passed; nth++) {
        counting.fail_at = counting.calls + nth;
        const aegis_status status = aegis_memory_orchestrator_compact(o, NULL);
        passed = counting.calls < counting.fail_at;
        assert_int_equal(status, passed ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY);
        assert_true((bind(o, 2)->placements[0].offset_bytes == own) == !passed);
        assert_true((bind(o, 1)->placements[0].offset_bytes == shared) == !passed);
        assert_true((bind(o, 2)->placements[1].offset_bytes == activation) == !passed);
        totals(o);
    }
    aegis_memory_orchestrator_destroy(o);
    assert_int_equal(counting.blocks, 0);
}

static void classes_have_names(void **state)
{
    (void)state;
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        assert_string_not_equal(aegis_memory_class_name((aegis_memory_class)c), "unknown");
    }
    assert_string_equal(aegis_memory_class_name((aegis_memory_class)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binding_holds_every_tensor),
        cmocka_unit_test(one_lane_shares_its_activations),
        cmocka_unit_test(boundary_tensors_share_bytes_over_segments),
        cmocka_unit_test(paged_models_of_a_lane_take_turns),
        cmocka_unit_test(sharing_lists_the_largest_first),
        cmocka_unit_test(states_are_kept),
        cmocka_unit_test(create_refuses_what_makes_no_sense),
        cmocka_unit_test(malformed_demands_are_refused),
        cmocka_unit_test(budget_is_refused_by_class),
        cmocka_unit_test(arena_refusal_says_what_is_missing),
        cmocka_unit_test(peak_names_the_largest_tensors),
        cmocka_unit_test(after_the_seal_regions_are_fixed),
        cmocka_unit_test(after_the_seal_holes_are_filled),
        cmocka_unit_test(alignment_of_a_sealed_lane_is_kept),
        cmocka_unit_test(pressure_names_but_frees_nothing),
        cmocka_unit_test(every_failed_allocation_changes_nothing),
        cmocka_unit_test(a_failed_compaction_moves_nothing),
        cmocka_unit_test(classes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
