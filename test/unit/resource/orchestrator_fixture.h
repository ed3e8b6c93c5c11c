/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ORCHESTRATOR_FIXTURE_H
#define AEGIS_TEST_ORCHESTRATOR_FIXTURE_H

/* Orchestrators and the models that are planned in them, for the tests beside this file. */
#include <aegisrt/memory_plan.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define CLASS(name) AEGIS_MEMORY_##name

static inline aegis_memory_orchestrator *make(uint64_t capacity, uint16_t lanes, uint64_t spill)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    const aegis_memory_config config = {
        .capacity_bytes = capacity, .lanes = lanes, .spill_bytes_per_lane = spill};
    aegis_memory_orchestrator *o;
    assert_int_equal(aegis_memory_orchestrator_create(&config, &planner, &allocator, &o, NULL),
                     AEGIS_OK);
    return o;
}

static inline aegis_status plan(aegis_memory_orchestrator *o,
                                uint32_t model,
                                uint16_t lane,
                                const aegis_tensor_lifetime *lifetimes,
                                size_t count,
                                aegis_error *err)
{
    static const char *const names[] = {"zero", "one", "two", "three", "four", "five"};
    const aegis_memory_demand demand = {.model = model,
                                        .name = names[model % 6],
                                        .lane = lane,
                                        .lifetimes = lifetimes,
                                        .lifetime_count = count};
    return aegis_memory_orchestrator_plan(o, &demand, err);
}

/* A model with so many bytes of weights and of activations. */
static inline aegis_status plan_simple(aegis_memory_orchestrator *o,
                                       uint32_t model,
                                       uint16_t lane,
                                       uint64_t weights,
                                       uint64_t activations,
                                       aegis_error *err)
{
    const aegis_tensor_lifetime lifetimes[] = {
        {0, CLASS(WEIGHTS), 0, 0, 0, weights, 0, {0}},
        {0, CLASS(ACTIVATION), 0, 0, 1, activations, 0, {0}},
    };
    return plan(o, model, lane, lifetimes, 2, err);
}

static inline const aegis_memory_binding *bind(aegis_memory_orchestrator *o, uint32_t model)
{
    const aegis_memory_binding *binding;
    assert_int_equal(aegis_memory_orchestrator_bind(o, model, &binding, NULL), AEGIS_OK);
    return binding;
}

static inline aegis_memory_totals totals(const aegis_memory_orchestrator *o)
{
    aegis_memory_totals t;
    aegis_memory_orchestrator_totals(o, &t);
    uint64_t sum = t.padding_bytes;
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        sum += t.by_class[c];
    }
    assert_int_equal(sum, t.planned_bytes);
    assert_int_equal(t.planned_bytes, aegis_memory_orchestrator_current(o));
    return t;
}

/* Two segments; tensors 0 and 2 of the first share bytes, as do the segments. */
static const aegis_tensor_lifetime cut_model[] = {
    {0, CLASS(WEIGHTS), 0, 0, 0, 1000, 0, {0}},   {1, CLASS(STATE), 0, 0, 0, 10, 256, {0}},
    {2, CLASS(STATE), 0, 0, 0, 10, 256, {0}},     {3, CLASS(INPUT), 0, 0, 0, 64, 0, {0}},
    {4, CLASS(OUTPUT), 0, 0, 0, 1, 0, {0}},       {0, CLASS(ACTIVATION), 1, 0, 3, 640, 0, {0}},
    {1, CLASS(ACTIVATION), 0, 0, 4, 128, 0, {0}}, {2, CLASS(ACTIVATION), 1, 3, 5, 640, 0, {0}},
    {3, CLASS(ACTIVATION), 1, 2, 4, 64, 0, {0}},  {5, CLASS(PREPACKED), 0, 0, 0, 0, 0, {0}},
    {6, CLASS(ACTIVATION), 1, 0, 1, 0, 0, {0}},
};

/* Two weights by content and one of its own. */
static inline aegis_status plan_contents(aegis_memory_orchestrator *o,
                                         uint32_t model,
                                         uint64_t limit_bytes,
                                         uint8_t first,
                                         uint8_t second,
                                         aegis_error *err)
{
    const aegis_tensor_lifetime l[] = {{0, CLASS(WEIGHTS), 0, 0, 1, 1000, 0, {first}},
                                       {1, CLASS(WEIGHTS), 0, 0, 1, 500, 0, {second}},
                                       {2, CLASS(WEIGHTS), 0, 0, 1, 64, 0, {0}},
                                       {0, CLASS(ACTIVATION), 0, 0, 1, 128, 0, {0}}};
    const aegis_memory_demand demand = {.model = model,
                                        .name = "sharer",
                                        .lane = 0,
                                        .limit_bytes = limit_bytes,
                                        .lifetimes = l,
                                        .lifetime_count = 4};
    return aegis_memory_orchestrator_plan(o, &demand, err);
}

#endif
