/* SPDX-License-Identifier: Apache-2.0 */
/* What another policy would have done: simulations recorded, then simulated again. */
#include "sim_fixture.h"

#include <support/expect.h>
#include <support/test_allocator.h>

#include <aegisrt/replay.h>

#include <stdio.h>
#include <unistd.h>

typedef struct recording {
    char path[40];
    aegis_trace_file *file;
    aegis_simulator_result results[3];
} recording;

static uint64_t random_execution(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    (void)self;
    return 1 + sim_dice(11, model, index, segment) % 10;
}

static uint64_t late(void *self, uint32_t model, uint64_t index)
{
    (void)self;
    return sim_dice(3, model, index, 9) % 4;
}

static void simulate(const char *name,
                     const aegis_simulator_model *models,
                     size_t count,
                     aegis_trace_ring *ring,
                     aegis_simulator_result *results)
{
    const aegis_core_config config = {
        .lanes = 1, .max_models = 8, .max_jobs = 64, .wake_bound_ns = 4};
    const aegis_simulator_source source = {.execution_ns = random_execution, .delay_ns = late};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_policy policy;
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_simulate(&config, &policy, models, count, 5000, 0, &source, ring,
                                    &allocator, results, NULL),
                     AEGIS_OK);
}

/* Offset, as real traces are. */
static recording record(const char *name, const aegis_simulator_model *models, size_t count)
{
    recording r = {.path = "/tmp/aegisrt-what-if-XXXXXX"};
    int fd = mkstemp(r.path);
    assert_true(fd >= 0);
    close(fd);
    aegis_allocator allocator = aegis_allocator_default();
    aegis_clock clock = aegis_simulator_clock();
    char header[64];
    snprintf(header, sizeof header, "{\"policy\":\"%s\"}", name);
    const aegis_trace_config config = {.path = r.path, .header_json = header};
    aegis_trace_collector *collector = NULL;
    aegis_trace_ring *ring = NULL;
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    assert_int_equal(aegis_trace_ring_create(collector, "simulator", &ring, NULL), AEGIS_OK);
    simulate(name, models, count, ring, r.results);
    aegis_trace_collector_destroy(collector);
    assert_int_equal(aegis_trace_file_open(r.path, &allocator, &r.file, NULL), AEGIS_OK);
    return r;
}

static void finish(recording *r)
{
    aegis_trace_file_close(r->file);
    unlink(r->path);
}

static aegis_replay_model *what_if(const recording *r, const char *name, size_t *ret_count)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_replay_model *models = NULL;
    aegis_policy policy;
    assert_int_equal(aegis_policy_find(name, &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_replay_what_if(r->file, &policy, &allocator, &models, ret_count, NULL),
                     AEGIS_OK);
    return models;
}

static void mix(aegis_simulator_model models[3])
{
    models[0] = sim_model(0, 50, 1, 10);
    models[1] = sim_model(1, 35, 2, 10);
    models[2] = sim_model(2, 400, 3, 10);
    models[2].offset_ns = 9;
}

static void the_own_policy_gives_the_recording(void **state)
{
    (void)state;
    aegis_simulator_model models[3];
    mix(models);
    recording r = record("np-rm", models, 3);
    aegis_allocator allocator = aegis_allocator_default();
    size_t count = 0;
    aegis_replay_model *answer = what_if(&r, "np-rm", &count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(answer[i].model, i);
        assert_true(answer[i].recorded.completed > 10);
        assert_memory_equal(&answer[i].recorded, &answer[i].simulated, sizeof answer[i].recorded);
        assert_int_equal(answer[i].recorded.max_response_ns, r.results[i].max_response_ns);
        assert_true(answer[i].recorded.p99_response_ns <= answer[i].recorded.max_response_ns);
    }
    aegis_replay_models_free(answer, count, &allocator);
    finish(&r);
}

/* The same releases and executions as in the recording, so the same as simulating it at once. */
static void another_policy_gives_its_own_simulation(void **state)
{
    (void)state;
    static const char *const names[] = {"fifo", "np-edf", "np-fp", "cw-edf"};
    aegis_simulator_model models[3];
    mix(models);
    recording r = record("np-rm", models, 3);
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t k = 0; k < 4; k++) {
        aegis_simulator_result results[3];
        size_t count = 0, differ = 0;
        aegis_replay_model *answer = what_if(&r, names[k], &count);
        simulate(names[k], models, 3, NULL, results);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(answer[i].simulated.completed, results[i].counters.completed);
            assert_int_equal(answer[i].simulated.missed, results[i].counters.missed);
            assert_int_equal(answer[i].simulated.max_response_ns, results[i].max_response_ns);
            assert_int_equal(answer[i].recorded.max_response_ns, r.results[i].max_response_ns);
            differ += results[i].max_response_ns != r.results[i].max_response_ns;
        }
        if (k == 0) {
            assert_true(differ > 0); /* else the mixture shows nothing */
        }
        aegis_replay_models_free(answer, count, &allocator);
    }
    finish(&r);
}

static void continuous_models_release_by_themselves(void **state)
{
    (void)state;
    aegis_simulator_model models[2] = {sim_model(0, 50, 1, 10), sim_model(1, 0, 1, 10)};
    models[1].core.background = models[1].continuous = true;
    models[1].core.deadline_ns = 0;
    recording r = record("fifo", models, 2);
    aegis_allocator allocator = aegis_allocator_default();
    size_t count = 0;
    aegis_replay_model *answer = what_if(&r, "np-edf", &count);
    assert_true(answer[1].background);
    assert_true(answer[1].recorded.completed > 300);
    assert_int_equal(answer[1].simulated.completed, answer[1].recorded.completed);
    assert_int_equal(answer[0].simulated.missed, 0);
    aegis_replay_models_free(answer, count, &allocator);
    finish(&r);
}

static void each_failing_allocation_is_survived(void **state)
{
    (void)state;
    aegis_simulator_model models[3];
    mix(models);
    recording r = record("np-rm", models, 3);
    aegis_policy policy;
    assert_int_equal(aegis_policy_find("fifo", &policy, NULL), AEGIS_OK);
    aegis_status status = AEGIS_ERROR_NO_MEMORY;
    for (uint64_t nth = 1; status != AEGIS_OK; nth++) {
        aegis_replay_model *answer = NULL;
        size_t count = 0;
        test_allocator counting = {0};
        aegis_allocator allocator = test_allocator_make(&counting);
        counting.fail_at = nth;
        status = aegis_replay_what_if(r.file, &policy, &allocator, &answer, &count, NULL);
        if (status != AEGIS_OK) {
            assert_int_equal(status, AEGIS_ERROR_NO_MEMORY);
            assert_null(answer);
        }
        aegis_replay_models_free(answer, count, &allocator);
        assert_int_equal(counting.blocks, 0);
        assert_int_equal(counting.wrong_sizes, 0);
        assert_true(nth < 100);
    }
    finish(&r);
}

/* A trace that no scheduler wrote. */
static void a_trace_without_a_core_is_refused(void **state)
{
    (void)state;
    char path[] = "/tmp/aegisrt-what-if-XXXXXX";
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_clock clock = aegis_simulator_clock();
    const aegis_trace_config config = {.path = path};
    aegis_trace_collector *collector = NULL;
    aegis_trace_file *file = NULL;
    aegis_replay_model *models = NULL;
    aegis_policy policy;
    aegis_error err = {0};
    size_t count = 77;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(aegis_policy_find("fifo", &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_trace_collector_create(&config, &clock, &allocator, &collector, NULL),
                     AEGIS_OK);
    aegis_trace_collector_destroy(collector);
    assert_int_equal(aegis_trace_file_open(path, &allocator, &file, NULL), AEGIS_OK);
    unlink(path);
    expect(aegis_replay_what_if(file, &policy, &allocator, &models, &count, &err),
           AEGIS_ERROR_PARSE, &err, "has a core record");
    assert_true(models == NULL && count == 77);
    aegis_trace_file_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_policy_gives_the_recording),
        cmocka_unit_test(another_policy_gives_its_own_simulation),
        cmocka_unit_test(continuous_models_release_by_themselves),
        cmocka_unit_test(each_failing_allocation_is_survived),
        cmocka_unit_test(a_trace_without_a_core_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
