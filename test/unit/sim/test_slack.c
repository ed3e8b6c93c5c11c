/* SPDX-License-Identifier: Apache-2.0 */
/* Background models in virtual time: weights, continuity, and that they never go first. */
#include "sim_fixture.h"

#include <aegisrt/replay.h>

#define DURATION 1000000

static aegis_simulator_model background(uint32_t number, uint32_t weight, uint64_t bound_ns)
{
    aegis_simulator_model model = sim_model(number, 0, 1, bound_ns);
    model.core.deadline_ns = 0;
    model.core.background = true;
    model.core.weight = weight;
    model.core.queue_depth = 2;
    model.continuous = true;
    return model;
}

static aegis_status run(const aegis_simulator_model *models,
                        size_t count,
                        const aegis_simulator_source *source,
                        aegis_simulator_result *results)
{
    const aegis_core_config config = {.lanes = 1, .max_models = 8, .max_jobs = 128};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("np-edf", &policy, NULL), AEGIS_OK);
    return aegis_simulate(&config, &policy, models, count, DURATION, 0, source, NULL, &allocator,
                          results, NULL);
}

static uint64_t random_execution(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    (void)self;
    return 1 + sim_dice(7, model, index, segment) % (model == 2 ? 90 : 10);
}

/* Weights 1, 2 and 5, executions that differ by much more than the weights do. */
static void slack_is_shared_by_weight(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 100, 1, 30), background(1, 1, 10),
                                            background(2, 2, 90), background(3, 5, 10)};
    const aegis_simulator_source source = {.execution_ns = random_execution};
    aegis_simulator_result results[4];
    assert_int_equal(run(models, 4, &source, results), AEGIS_OK);
    assert_int_equal(results[0].counters.missed, 0);
    uint64_t sum = results[1].executed_ns + results[2].executed_ns + results[3].executed_ns;
    for (size_t i = 1; i < 4; i++) {
        double share = (double)results[i].executed_ns / (double)sum;
        double wanted = models[i].core.weight / 8.0;
        assert_true(share > 0.99 * wanted && share < 1.01 * wanted);
        assert_int_equal(results[i].counters.missed, 0);
    }
    /* The lane is never idle. */
    assert_true(sum + results[0].executed_ns >= DURATION);
}

/* Of an idle lane it gets its share to within a rest, of one that others use too never more. */
static void a_share_is_kept(void **state)
{
    (void)state;
    aegis_simulator_model models[] = {background(0, 1, 90), sim_model(1, 100, 1, 30)};
    const aegis_simulator_source source = {.execution_ns = random_execution};
    aegis_simulator_result results[2];
    models[0].core.share_ppm = 250000;
    models[0].core.model = 2;
    assert_int_equal(run(models, 1, &source, results), AEGIS_OK);
    assert_true(results[0].executed_ns > DURATION / 4 - 1000);
    assert_true(results[0].executed_ns <= DURATION / 4 + 90);
    assert_int_equal(run(models, 2, &source, results), AEGIS_OK);
    assert_true(results[0].executed_ns > DURATION / 5);
    assert_true(results[0].executed_ns <= DURATION / 4 + 90);
    assert_true(results[1].max_response_ns <= 89 + 10);
    assert_int_equal(results[1].counters.missed, 0);
}

static void one_that_comes_late_gets_no_credit(void **state)
{
    (void)state;
    aegis_simulator_model models[] = {background(0, 1, 10), background(1, 1, 10)};
    aegis_simulator_result results[2];
    models[1].offset_ns = DURATION / 2;
    assert_int_equal(run(models, 2, NULL, results), AEGIS_OK);
    uint64_t late = results[1].executed_ns;
    assert_true(late > DURATION / 4 - 50 && late < DURATION / 4 + 50);
}

/* Foreground waits for one background segment at most. */
static void segments_are_all_that_blocks(void **state)
{
    (void)state;
    aegis_simulator_model models[] = {sim_model(0, 1000, 1, 5), background(1, 1, 40)};
    models[1].core.segment_count = 3;
    models[1].core.segment_bound_ns[0] = models[1].core.segment_enforceable_ns[0] = 20;
    models[1].core.segment_bound_ns[1] = models[1].core.segment_enforceable_ns[1] = 40;
    models[1].core.segment_bound_ns[2] = models[1].core.segment_enforceable_ns[2] = 7;
    models[0].offset_ns = 3;
    aegis_simulator_result results[2];
    assert_int_equal(run(models, 2, NULL, results), AEGIS_OK);
    assert_true(results[0].max_response_ns <= 39 + 5);
    assert_true(results[0].max_response_ns > 5);
}

static void continuous_models_need_room_for_two(void **state)
{
    (void)state;
    aegis_simulator_model models[] = {background(0, 1, 10)};
    aegis_simulator_result result;
    models[0].core.queue_depth = 1;
    assert_int_equal(run(models, 1, NULL, &result), AEGIS_ERROR_INVALID_ARGUMENT);
    models[0] = background(0, 1, 10);
    models[0].continuous = false; /* no period, no source: for ever at one instant */
    assert_int_equal(run(models, 1, NULL, &result), AEGIS_ERROR_INVALID_ARGUMENT);
    models[0] = sim_model(0, 100, 1, 10);
    models[0].continuous = true;
    assert_int_equal(run(models, 1, NULL, &result), AEGIS_ERROR_INVALID_ARGUMENT);
}

static aegis_status fails_once(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    (void)self;
    (void)model;
    (void)segment;
    return index == 3 ? AEGIS_ERROR_INFERENCE : AEGIS_OK;
}

/* A fault ends it: what it would release is rejected, and not for ever. */
static void a_faulted_one_stops(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {background(0, 1, 10)};
    const aegis_simulator_source source = {.status = fails_once};
    aegis_simulator_result result;
    assert_int_equal(run(models, 1, &source, &result), AEGIS_OK);
    assert_int_equal(result.counters.completed, 3);
    assert_int_equal(result.counters.aborted, 2);
    assert_true(result.counters.refused >= 1 && result.counters.refused <= 2);
}

static void replays_are_identical(void **state)
{
    (void)state;
    sim_tape tape = sim_tape_make(5);
    const aegis_simulator_model models[] = {sim_model(0, 300, 1, 30), background(1, 1, 900),
                                            background(2, 3, 700)};
    const aegis_core_config config = {.lanes = 1, .max_models = 8, .max_jobs = 64};
    aegis_simulator_source source = {.self = &tape, .record = sim_keep};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_simulator_result results[3];
    aegis_replay_result replay;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("fifo", &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_simulate(&config, &policy, models, 3, 500000, 0, &source, NULL,
                                    &allocator, results, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_replay_verify_records(tape.records, tape.count, true, &policy,
                                                 &allocator, &replay, NULL),
                     AEGIS_OK);
    assert_true(replay.decisions > 1000);
    assert_int_equal(replay.identical, replay.decisions);
    free(tape.records);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slack_is_shared_by_weight),
        cmocka_unit_test(a_share_is_kept),
        cmocka_unit_test(one_that_comes_late_gets_no_credit),
        cmocka_unit_test(segments_are_all_that_blocks),
        cmocka_unit_test(continuous_models_need_room_for_two),
        cmocka_unit_test(a_faulted_one_stops),
        cmocka_unit_test(replays_are_identical),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
