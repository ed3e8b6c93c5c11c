/* SPDX-License-Identifier: Apache-2.0 */
/* The engine refuses what it cannot do, each with its status and reason; failures on the way leave
 * nothing half done and nothing leaked. */
#include "engine_fixture.h"
#include "support/test_allocator.h"

static void bad_requests_are_refused(void **state)
{
    (void)state;
    static const uint32_t foreign[] = {301};
    uint32_t longer[64] = {0};
    float logits[301];
    aegis_transformer_config config = config_of("llama-tiny", "f16");
    aegis_transformer_ready *ready = start(&config);
    aegis_generation made = {.token_count = 77};
    const aegis_generation_request good = request_of(prompt, 3);
    aegis_generation_request requests[2] = {good, good};
    aegis_error error = {0};
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 2, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 0, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    requests[0] = request_of(prompt, 0);
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 1, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    requests[0] = request_of(foreign, 1);
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 1, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    requests[0] = request_of(longer, 64);
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 1, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_INVALID_ARGUMENT);
    requests[0] = good;
    requests[0].prompt = "text";
    requests[0].prompt_size = 4;
    assert_int_equal(
        aegis_transformer_generate(ready, requests, 1, NULL, NULL, &made, NULL, &error),
        AEGIS_ERROR_UNSUPPORTED);
    assert_int_equal(aegis_transformer_evaluate(ready, longer, 0, logits, &error),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_transformer_evaluate(ready, longer, 65, logits, &error),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_transformer_evaluate(ready, foreign, 1, logits, &error),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(made.token_count, 77); /* untouched */
    requests[0] = good;
    must(aegis_transformer_generate(ready, requests, 1, NULL, NULL, &made, NULL, &error), &error);
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config good = config_of("gpt2-tiny", "f32");
    aegis_transformer_config bad[9];
    static const aegis_status expected[9] = {
        AEGIS_ERROR_INVALID_ARGUMENT, AEGIS_ERROR_CONFIG,           AEGIS_ERROR_CONFIG,
        AEGIS_ERROR_CONFIG,           AEGIS_ERROR_CONFIG,           AEGIS_ERROR_CONFIG,
        AEGIS_ERROR_UNSUPPORTED,      AEGIS_ERROR_INVALID_ARGUMENT, AEGIS_ERROR_CONFIG};
    for (size_t i = 0; i < 9; i++) {
        bad[i] = good;
    }
    bad[0].model = NULL;
    bad[1].strategy = "resident-steam";
    bad[2].threads = 65;
    bad[3].sequences = 65;
    bad[4].draft_tokens = 32;
    bad[5].prefill_rows = 1025;
    bad[6].instructions = "mmx";
    bad[7].model = "";
    bad[8].products = "mkl";
    for (size_t i = 0; i < 9; i++) {
        aegis_transformer_idle *idle = NULL;
        aegis_error error = {0};
        assert_int_equal(aegis_transformer_create(&bad[i], &allocator, &idle, &error), expected[i]);
        assert_null(idle);
        assert_true(i != 1 || strstr(error.message, "did you mean \"resident-stream\"") != NULL);
    }
    aegis_transformer_idle_destroy(NULL);
    aegis_transformer_planned_destroy(NULL);
    aegis_transformer_ready_destroy(NULL);
}

static void expect_load(aegis_transformer_config config, aegis_status expected, const char *words)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_error error = {0};
    must(aegis_transformer_create(&config, &allocator, &idle, &error), &error);
    assert_int_equal(aegis_transformer_load(&idle, &planned, &error), expected);
    assert_non_null(idle); /* still the caller's */
    assert_null(planned);
    assert_non_null(strstr(error.message, words));
    aegis_transformer_idle_destroy(idle);
}

static void what_cannot_be_loaded_says_why(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("gpt2-tiny", "f32");
    config.context_tokens = 97;
    expect_load(config, AEGIS_ERROR_CONFIG, "made for 96");
    config.context_tokens = 64;
    config.budget_bytes = 1 << 20;
    expect_load(config, AEGIS_ERROR_BUDGET_EXCEEDED, "needs a budget of at least");
    config.budget_bytes = WIDE_BUDGET;
    config.no_tokenizer = false;
    expect_load(config, AEGIS_ERROR_NOT_FOUND, "tokenizer.json");
    config.no_tokenizer = true;
    config.model = "/nonexistent/model";
    expect_load(config, AEGIS_ERROR_NOT_FOUND, "/nonexistent/model");
    config.model = model_path("gpt2-tiny", "f32");
    config.clip_context = true;
    config.context_tokens = 1000;
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_info info;
    aegis_transformer_planned_info(planned, &info);
    assert_int_equal(info.context_tokens, 96);
    aegis_transformer_planned_destroy(planned);
}

/* The file shrinks after it was opened and grows back: reading fails in the middle of a pass, then
 * the engine goes on as if nothing had been. */
static void a_failed_read_leaves_nothing_half_done(void **state)
{
    (void)state;
    static const aegis_partition_strategy shreds = {1, "shreds", plan_shreds, NULL};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        aegis_transformer_config config = config_of(kinds[k], "f32");
        char path[512], copy[512];
        snprintf(path, sizeof path, "%s/model.safetensors", config.model);
        snprintf(copy, sizeof copy, "%s/copy", config.model);
        config.own_strategy = &shreds;
        const outcome right = run_one(&config, NULL);
        aegis_transformer_ready *ready = start(&config);
        aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
        aegis_generation made = {.token_count = 77};
        aegis_error error = {0};
        aegis_allocator allocator = aegis_allocator_default();
        char *bytes = NULL;
        size_t size = 0;
        must(aegis_file_read(path, UINT64_C(1) << 30, &allocator, &bytes, &size, &error), &error);
        assert_int_equal(truncate(path, (off_t)(size / 2)), 0);
        aegis_status status =
            aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, NULL, &error);
        assert_int_equal(status, AEGIS_ERROR_IO);
        assert_non_null(strstr(error.message, "it must not change"));
        assert_int_equal(made.token_count, 77);
        FILE *file = fopen(path, "r+be"); /* the same inode */
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, size, file), size);
        assert_int_equal(fclose(file), 0);
        aegis_file_free(&allocator, bytes, size);
        must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, NULL, &error),
             &error);
        assert_memory_equal(made.tokens, right.tokens, sizeof right.tokens);
        aegis_generation_finish(ready, &made);
        aegis_transformer_ready_destroy(ready);
        aegis_transformer_planned *planned = plan(&config); /* and before the first pass */
        aegis_transformer_ready *never = NULL;
        assert_int_equal(truncate(path, 4096), 0);
        assert_int_equal(aegis_transformer_prepare(&planned, &never, &error), AEGIS_ERROR_IO);
        assert_non_null(planned);
        assert_null(never);
        aegis_transformer_planned_destroy(planned);
        must(aegis_transformer_synthesize(config.model, kinds[k], "f32", 5, &error), &error);
    }
}

static void memory_that_fails_leaks_nothing(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("llama-tiny-untied", "i8");
    const aegis_generation_request request = request_of(prompt, 4);
    bool passed = false;
    for (uint64_t fail_at = 1; !passed; fail_at++) {
        test_allocator counter = {.fail_at = fail_at};
        const aegis_allocator allocator = test_allocator_make(&counter);
        aegis_transformer_idle *idle = NULL;
        aegis_transformer_planned *planned = NULL;
        aegis_transformer_ready *ready = NULL;
        aegis_generation made = {0};
        aegis_error error = {0};
        aegis_status status = aegis_transformer_create(&config, &allocator, &idle, &error);
        status = status == AEGIS_OK ? aegis_transformer_load(&idle, &planned, &error) : status;
        status = status == AEGIS_OK ? aegis_transformer_prepare(&planned, &ready, &error) : status;
        status = status == AEGIS_OK ? aegis_transformer_generate(ready, &request, 1, NULL, NULL,
                                                                 &made, NULL, &error)
                                    : status;
        /* Done when no request was left to fail: some failures are made good. */
        passed = counter.calls < fail_at;
        assert_true(status == AEGIS_OK || (!passed && status == AEGIS_ERROR_NO_MEMORY));
        if (status == AEGIS_OK) {
            aegis_generation_finish(ready, &made);
        }
        aegis_transformer_ready_destroy(ready);
        aegis_transformer_planned_destroy(planned);
        aegis_transformer_idle_destroy(idle);
        assert_int_equal(counter.blocks, 0);
        assert_int_equal(counter.wrong_sizes, 0);
        assert_true(fail_at < 3000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(what_cannot_be_loaded_says_why),
        cmocka_unit_test(a_failed_read_leaves_nothing_half_done),
        cmocka_unit_test(memory_that_fails_leaks_nothing),
    };
    return cmocka_run_group_tests_name("transformer failures", tests, set_up, tear_down);
}
