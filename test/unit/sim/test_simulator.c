/* SPDX-License-Identifier: Apache-2.0 */
/* The core in virtual time, and its traces replayed. */
#include "sim_fixture.h"

#include <support/test_allocator.h>

#include <aegisrt/replay.h>

#include <stdio.h>
#include <unistd.h>

static aegis_policy policy_of(const char *name)
{
    aegis_policy policy;
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    return policy;
}

static const aegis_core_config one_lane = {.lanes = 1, .max_models = 8, .max_jobs = 64};

static aegis_status simulate(const char *policy_name,
                             const aegis_simulator_model *models,
                             size_t count,
                             uint64_t duration_ns,
                             uint64_t stretch_ns,
                             const aegis_simulator_source *source,
                             aegis_simulator_result *results)
{
    aegis_policy policy = policy_of(policy_name);
    aegis_allocator allocator = aegis_allocator_default();
    return aegis_simulate(&one_lane, &policy, models, count, duration_ns, stretch_ns, source, NULL,
                          &allocator, results, NULL);
}

/* The worked example of Davis et al.: (C, T) = (2, 10), (3, 15), (5, 50) have worst responses of 6,
 * 9 and 10. */
static void responses_reach_the_known_bounds(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 10, 1, 2), sim_model(1, 15, 1, 3),
                                            sim_model(2, 50, 1, 5)};
    aegis_simulator_result results[3];
    assert_int_equal(simulate("np-fp", models, 3, 15000, 0, NULL, results), AEGIS_OK);
    assert_int_equal(results[0].counters.completed, 1500);
    assert_int_equal(results[1].counters.completed, 1000);
    assert_int_equal(results[2].counters.completed, 300);
    assert_true(results[0].max_response_ns <= 6);
    assert_true(results[1].max_response_ns <= 9);
    assert_int_equal(results[2].max_response_ns, 10);

    aegis_simulator_model shifted[3];
    memcpy(shifted, models, sizeof shifted);
    shifted[0].offset_ns = shifted[1].offset_ns = 1; /* just after the longest one started */
    assert_int_equal(simulate("np-fp", shifted, 3, 40, 0, NULL, results), AEGIS_OK);
    assert_int_equal(results[0].max_response_ns, 6);
    assert_int_equal(results[1].max_response_ns, 9);
}

/* ---- the order of one instant ---- */

static void releases_compete_with_the_end_of_a_segment(void **state)
{
    (void)state;
    /* b runs 0..10; at 10 a is released and c has waited since 1: a goes first */
    aegis_simulator_model models[] = {sim_model(0, 100, 1, 5), sim_model(1, 100, 1, 10),
                                      sim_model(2, 100, 1, 5)};
    models[0].offset_ns = 10;
    models[2].offset_ns = 1;
    aegis_simulator_result results[3];
    assert_int_equal(simulate("np-fp", models, 3, 50, 0, NULL, results), AEGIS_OK);
    assert_int_equal(results[0].max_response_ns, 5);
    assert_int_equal(results[2].max_response_ns, 19);
}

static uint64_t late_by_three(void *self, uint32_t model, uint64_t index)
{
    (void)self;
    return model == 0 && index % 2 == 1 ? 3 : 0;
}

static void delays_count_in_the_response(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 10, 1, 2)};
    const aegis_simulator_source source = {.delay_ns = late_by_three};
    aegis_policy policy = policy_of("np-rm");
    aegis_allocator allocator = aegis_allocator_default();
    aegis_core_config config = one_lane;
    aegis_simulator_result result;
    config.wake_bound_ns = 3;
    assert_int_equal(aegis_simulate(&config, &policy, models, 1, 100, 0, &source, NULL, &allocator,
                                    &result, NULL),
                     AEGIS_OK);
    assert_int_equal(result.max_response_ns, 5);
    assert_int_equal(result.counters.completed, 10);
}

static uint64_t sporadic(void *self, uint32_t model, uint64_t index)
{
    (void)self;
    (void)model;
    return index * 17 + (index % 3);
}

static void releases_come_from_the_source(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 15, 1, 2)};
    const aegis_simulator_source source = {.release_ns = sporadic};
    aegis_simulator_result result;
    assert_int_equal(simulate("np-rm", models, 1, 170, 0, &source, &result), AEGIS_OK);
    assert_int_equal(result.counters.jobs, 10);
    assert_int_equal(result.counters.refused, 0);
}

static uint64_t decreasing(void *self, uint32_t model, uint64_t index)
{
    (void)self;
    (void)model;
    return 100 - index;
}

/* Jobs are numbered so that model and index can be told from the number. */
static void jobs_have_the_numbers_that_are_promised(void **state)
{
    (void)state;
    sim_tape tape = sim_tape_make(0);
    tape.execution_ns = 1;
    const aegis_simulator_model models[] = {sim_model(0, 10, 1, 2), sim_model(1, 30, 1, 2)};
    const aegis_simulator_source source = {
        .self = &tape, .execution_ns = sim_execution, .record = sim_keep};
    aegis_simulator_result results[2];
    uint64_t next[2] = {0, 0};
    assert_int_equal(simulate("np-rm", models, 2, 100, 0, &source, results), AEGIS_OK);
    for (size_t i = 0; i < tape.count; i++) {
        const aegis_trace_record *record = &tape.records[i];
        if (record->kind == AEGIS_TRACE_EVENT_SUBMIT) {
            assert_int_equal(record->job,
                             aegis_simulator_job(2, record->model, next[record->model]++));
        }
    }
    assert_int_equal(next[0], 10);
    assert_int_equal(next[1], 4);
    free(tape.records);
}

/* ---- overruns ---- */

static void run_long(aegis_overrun_rule rule, uint64_t stretch, aegis_simulator_result *result)
{
    sim_tape tape = sim_tape_make(0);
    tape.execution_ns = 15;
    aegis_simulator_model models[] = {sim_model(0, 100, 1, 10)};
    models[0].core.overrun = rule;
    const aegis_simulator_source source = {
        .self = &tape, .execution_ns = sim_execution, .record = sim_keep};
    assert_int_equal(simulate("np-rm", models, 1, 400, stretch, &source, result), AEGIS_OK);
    free(tape.records);
}

static void overrun_rules_apply(void **state)
{
    (void)state;
    aegis_simulator_result result;
    run_long(AEGIS_OVERRUN_ABORT, 2, &result); /* ends at 13 */
    assert_int_equal(result.counters.aborted, 4);
    assert_int_equal(result.max_response_ns, 0);
    run_long(AEGIS_OVERRUN_ABORT, 4, &result); /* would end at 15, and does so by itself */
    assert_int_equal(result.counters.aborted, 0);
    assert_int_equal(result.counters.completed, 4);
    assert_int_equal(result.counters.overruns, 4);
    run_long(AEGIS_OVERRUN_SKIP, 0, &result);
    assert_int_equal(result.counters.completed, 2);
    assert_int_equal(result.counters.skipped, 2);
    run_long(AEGIS_OVERRUN_REPORT, 0, &result);
    assert_int_equal(result.counters.completed, 4);
    assert_int_equal(result.max_response_ns, 15);
}

static void what_is_left_at_the_end_is_pending(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 100, 1, 30), sim_model(1, 100, 1, 30)};
    aegis_simulator_result results[2];
    assert_int_equal(simulate("np-rm", models, 2, 20, 0, NULL, results), AEGIS_OK);
    assert_int_equal(results[0].counters.completed, 1);
    assert_int_equal(results[1].counters.pending, 1);
}

/* ---- statuses ---- */

static void bad_input_is_refused(void **state)
{
    (void)state;
    aegis_simulator_model models[] = {sim_model(0, 100, 1, 10)};
    aegis_simulator_result result = {.max_response_ns = 4711};
    const aegis_simulator_source source = {.release_ns = decreasing};
    assert_int_equal(simulate("np-rm", models, 1, 1000, 0, &source, &result),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(simulate("np-rm", models, 1, UINT64_MAX, 0, NULL, &result),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    models[0].core.copies_early = true; /* no link is simulated */
    assert_int_equal(simulate("np-rm", models, 1, 1000, 0, NULL, &result),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    models[0].core.copies_early = false;
    models[0].core.background = true;
    models[0].core.weight = 1;
    models[0].core.awaited_segments = 1; /* no disk is simulated */
    assert_int_equal(simulate("np-rm", models, 1, 1000, 0, NULL, &result),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    models[0] = sim_model(0, 100, 1, 10);
    models[0].core.segment_count = 0;
    assert_int_equal(simulate("np-rm", models, 1, 1000, 0, NULL, &result),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    aegis_policy policy = policy_of("np-rm");
    aegis_allocator allocator = aegis_allocator_default();
    const aegis_core_config none = {0};
    assert_int_equal(
        aegis_simulate(&none, &policy, models, 1, 10, 0, NULL, NULL, &allocator, &result, NULL),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(result.max_response_ns, 4711);
}

static void each_failing_allocation_is_survived(void **state)
{
    (void)state;
    const aegis_simulator_model models[] = {sim_model(0, 10, 1, 2)};
    aegis_policy policy = policy_of("np-rm");
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t n = 1; status != AEGIS_OK && n < 100; n++) {
        test_allocator counting = {0};
        aegis_allocator allocator = test_allocator_make(&counting);
        aegis_simulator_result result;
        counting.fail_at = n;
        status = aegis_simulate(&one_lane, &policy, models, 1, 100, 0, NULL, NULL, &allocator,
                                &result, NULL);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_NO_MEMORY);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
    }
    assert_int_equal(status, AEGIS_OK);
}

/* ---- determinism and replay ---- */

static void equal_input_gives_equal_bytes(void **state)
{
    (void)state;
    sim_tape a = sim_tape_make(7), b = sim_tape_make(7), c = sim_tape_make(8);
    sim_mixture("np-edf", &a, NULL);
    sim_mixture("np-edf", &b, NULL);
    sim_mixture("np-edf", &c, NULL);
    assert_true(a.count > 2000);
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.records, b.records, a.count * sizeof *a.records);
    assert_true(a.count != c.count ||
                memcmp(a.records, c.records, a.count * sizeof *a.records) != 0);
    free(a.records);
    free(b.records);
    free(c.records);
}

static void replays_of_every_policy_are_identical(void **state)
{
    (void)state;
    size_t count = 0;
    const char *const *names = aegis_policy_names(&count);
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t i = 0; i < count; i++) {
        sim_tape tape = sim_tape_make(i);
        sim_mixture(names[i], &tape, NULL);
        for (size_t k = 0; k < count; k++) {
            aegis_policy policy = policy_of(names[k]);
            aegis_replay_result result;
            assert_int_equal(aegis_replay_verify_records(tape.records, tape.count, true, &policy,
                                                         &allocator, &result, NULL),
                             AEGIS_OK);
            assert_true(result.decisions > 1000);
            /* cw-edf is np-edf where nothing is worth a wait. */
            bool both_edf = strstr(names[i], "-edf") != NULL && strstr(names[k], "-edf") != NULL;
            if (i == k || !both_edf) {
                assert_int_equal(result.first_difference.found, i != k);
                assert_true((result.identical == result.decisions) == (i == k));
            }
        }
        free(tape.records);
    }
}

static void traces_of_simulations_replay_from_files(void **state)
{
    (void)state;
    char path[] = "/tmp/aegisrt-sim-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = aegis_simulator_clock();
    const aegis_trace_config config = {.path = path, .header_json = "{\"policy\":\"np-dm\"}"};
    aegis_trace_collector *collector = NULL;
    aegis_trace_ring *other = NULL, *ring = NULL;
    aegis_error err = {0};
    if (aegis_trace_collector_create(&config, &clock, &allocator, &collector, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    assert_int_equal(aegis_trace_ring_create(collector, "lane0", &other, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_ring_create(collector, "simulator", &ring, NULL), AEGIS_OK);
    sim_tape tape = sim_tape_make(3);
    sim_mixture("np-dm", &tape, ring);
    assert_int_equal(aegis_trace_collector_finish(collector, NULL), AEGIS_OK);

    aegis_trace_file *file = NULL;
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    aegis_replay_result result;
    assert_int_equal(aegis_replay_verify(file, NULL, &allocator, &result, NULL), AEGIS_OK);
    assert_true(result.decisions > 1000);
    assert_int_equal(result.identical, result.decisions);
    assert_false(result.first_difference.found);
    aegis_policy fifo = policy_of("fifo");
    assert_int_equal(aegis_replay_verify(file, &fifo, &allocator, &result, NULL), AEGIS_OK);
    assert_true(result.first_difference.found);
    aegis_trace_file_close(file);
    aegis_trace_collector_destroy(collector);
    free(tape.records);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_reach_the_known_bounds),
        cmocka_unit_test(releases_compete_with_the_end_of_a_segment),
        cmocka_unit_test(delays_count_in_the_response),
        cmocka_unit_test(releases_come_from_the_source),
        cmocka_unit_test(jobs_have_the_numbers_that_are_promised),
        cmocka_unit_test(overrun_rules_apply),
        cmocka_unit_test(what_is_left_at_the_end_is_pending),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(each_failing_allocation_is_survived),
        cmocka_unit_test(equal_input_gives_equal_bytes),
        cmocka_unit_test(replays_of_every_policy_are_identical),
        cmocka_unit_test(traces_of_simulations_replay_from_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
