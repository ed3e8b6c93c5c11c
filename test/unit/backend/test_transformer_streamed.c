/* SPDX-License-Identifier: Apache-2.0 */
/* Language models whose weights come from their files while they run. */
#include "language_fixture.h"

/* The smallest model that streaming can do with: by what refusals say is missing. */
static aegis_model_config streamed_config(const char *path)
{
    aegis_model_config config = config_of(path);
    aegis_error err = {0};
    aegis_model *model = NULL;
    config.residency = AEGIS_STREAMED;
    for (config.memory_limit_bytes = 200000; model == NULL; config.memory_limit_bytes += 4096) {
        assert_true(config.memory_limit_bytes < 4000000);
        const aegis_status status = aegis_model_open(backend, &config, &model, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_BUDGET_EXCEEDED);
    }
    config.memory_limit_bytes -= 4096;
    aegis_model_close(model);
    return config;
}

static uint64_t planned_bytes(const aegis_model *model)
{
    uint64_t classes[AEGIS_MEMORY_CLASS_COUNT], sum = 0;
    aegis_error err;
    must(aegis_model_estimate_memory(model, classes, &err), &err);
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        sum += classes[c];
    }
    return sum;
}

static void a_streamed_model_makes_the_same_tokens(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        const char *path = model_path(kinds[k], "f32");
        const wanted all = engine_makes(path);
        const aegis_model_config least = streamed_config(path);
        aegis_model_config config = least;
        for (uint32_t more = 0; more < 3; more++) {
            aegis_error err;
            placed_memory memory;
            config.memory_limit_bytes = least.memory_limit_bytes + more * 16384;
            aegis_model *model = open_model(&config);
            const uint64_t awaited = aegis_model_awaited_segments(model);
            assert_true(awaited != 0 && aegis_model_segment_count(model) > 2);
            assert_non_null(strstr(aegis_model_label(model), "KiB from files"));
            expect_sequence(model, &all);
            must(aegis_model_record(model, NULL, &err), &err);
            assert_true(planned_bytes(model) <= config.memory_limit_bytes);
            placed_make(model, 0, &memory);
            expect_sequence(model, &all);
            must(aegis_model_reset(model, &err), &err);
            expect_sequence(model, &all);
            placed_check_red_zones(&memory);
            aegis_model_close(model);
            placed_free(&memory);
        }
    }
    /* One that fits is as any other. */
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    config.residency = AEGIS_STREAMED;
    config.memory_limit_bytes = UINT64_C(16) << 20;
    aegis_model *model = open_model(&config);
    assert_int_equal(aegis_model_awaited_segments(model), 0);
    assert_true(aegis_model_is_ready(model, 0));
    assert_int_equal(aegis_model_segment_count(model), 1);
    aegis_model_close(model);
}

static void a_streamed_model_conforms(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        aegis_model_config config = streamed_config(model_path(kinds[k], "f32"));
        config.memory_limit_bytes += 16384; /* for a second slot, as the suite asks for */
        config.slots = 2;
        aegis_error err;
        const aegis_tensor_lifetime *lifetimes = NULL;
        size_t count = 0;
        aegis_model *model = open_model(&config);
        must(aegis_model_record(model, NULL, &err), &err);
        must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
        const uint64_t kept = lifetimes[1].size_bytes + lifetimes[count - 1].size_bytes;
        assert_int_equal(lifetimes[count - 1].alignment, 4096);
        aegis_model_close(model);
        conformance_check_keeping(backend, &config, kept);
    }
}

/* Wherever a job ends, the next one finds its begin; what is ready does not wait. */
static void streamed_jobs_that_end_early_leave_the_sequence(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    const aegis_model_config config = streamed_config(path);
    aegis_error err;
    aegis_model *model = open_model(&config);
    const uint32_t segments = aegis_model_segment_count(model);
    give_prompt(model);
    for (uint32_t i = 0; i < PROMPT + TOKENS - 1; i++) {
        for (uint32_t s = 0; s <= i % segments; s++) { /* a job that is aborted */
            aegis_model_await(model, s);
            assert_true(aegis_model_is_ready(model, s));
            must(aegis_model_execute(model, s, 0, NULL, &err), &err);
        }
        const int64_t made = job(model);
        assert_int_equal(made, i + 1 < PROMPT ? prompt[i + 1] : all.tokens[i + 1 - PROMPT]);
    }
    interrupter other = {.model = model};
    pthread_t thread;
    int ended = 0;
    must(aegis_model_reset(model, &err), &err);
    give_prompt(model);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &other), 0);
    for (int i = 0; i < 10000 && ended < 9; i++) {
        aegis_status status = AEGIS_OK;
        for (uint32_t s = 0; s < segments && status == AEGIS_OK; s++) {
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_TERMINATED);
        ended += status == AEGIS_ERROR_TERMINATED;
    }
    atomic_store(&other.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(ended, 9);
    expect_sequence(model, &all);
    aegis_model_close(model);
}

static void note(void *self)
{
    atomic_fetch_add((_Atomic int *)self, 1);
}

/* A file that loses its end while it is read from fails the job with IO, and the model goes on when
 * the bytes are there again. */
static void a_failed_read_fails_the_job_alone(void **state)
{
    (void)state;
    char path[256], file[300], command[700];
    aegis_error err;
    snprintf(path, sizeof path, "%s/cut-off", folder);
    must(aegis_transformer_synthesize(path, "llama-tiny", "f32", 5, &err), &err);
    const wanted all = engine_makes(path);
    const aegis_model_config config = streamed_config(path);
    aegis_model *model = open_model(&config);
    _Atomic int bells = 0;
    aegis_model_watch(model, note, &bells);
    expect_sequence(model, &all);
    assert_true(atomic_load(&bells) > 0);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    snprintf(command, sizeof command, "cp '%s' '%s.kept'", file, file);
    assert_int_equal(system(command), 0);
    assert_int_equal(truncate(file, 4096), 0);
    aegis_status status = AEGIS_OK;
    for (int i = 0; i < 20 && status == AEGIS_OK; i++) { /* some were read ahead */
        for (uint32_t s = 0; s < aegis_model_segment_count(model) && status == AEGIS_OK; s++) {
            aegis_model_await(model, s);
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
    }
    assert_int_equal(status, AEGIS_ERROR_IO);
    assert_non_null(strstr(err.message, "must not change while it is used"));
    snprintf(command, sizeof command, "cat '%s.kept' > '%s'", file, file); /* the same file */
    assert_int_equal(system(command), 0);
    must(aegis_model_reset(model, &err), &err);
    for (int i = 0; i < 20; i++) { /* what failed goes by */
        status = AEGIS_OK;
        for (uint32_t s = 0; s < aegis_model_segment_count(model) && status == AEGIS_OK; s++) {
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
    }
    must(status, &err);
    expect_sequence(model, &all);
    aegis_model_watch(model, NULL, NULL);
    aegis_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_streamed_model_makes_the_same_tokens),
        cmocka_unit_test(a_streamed_model_conforms),
        cmocka_unit_test(streamed_jobs_that_end_early_leave_the_sequence),
        cmocka_unit_test(a_failed_read_fails_the_job_alone),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
