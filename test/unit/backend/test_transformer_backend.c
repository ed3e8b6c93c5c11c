/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up transformers as models with jobs: the engine's tokens and bits however they are cut; jobs
 * that end early leave the sequence; every status. */
#include "language_fixture.h"

static size_t find_cuts(const aegis_model_config *config, uint32_t positions[MOST_CUTS])
{
    aegis_error err;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    uint64_t before = 0;
    aegis_model *model = open_model(config);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err), &err);
    assert_in_range(count, 2, MOST_CUTS);
    for (size_t i = 0; i < count; i++) {
        positions[i] = candidates[i].position;
        assert_true(i == 0 || positions[i] > positions[i - 1]);
        assert_true(candidates[i].live_bytes > 0 && candidates[i].live_tensors > 0);
        assert_true(candidates[i].elapsed_ns >= before);
        before = candidates[i].elapsed_ns;
    }
    aegis_model_close(model);
    return count;
}

static void jobs_make_the_engines_tokens(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        for (size_t d = 0; d < LENGTH(dtypes); d++) {
            const char *path = model_path(kinds[k], dtypes[d]);
            const wanted all = engine_makes(path);
            aegis_model_config config = config_of(path);
            aegis_error err;
            uint32_t cuts[MOST_CUTS];
            const size_t count = find_cuts(&config, cuts);
            for (size_t used = 0; used <= count; used += count) { /* none, and all */
                placed_memory memory;
                config.cuts = used > 0 ? cuts : NULL;
                config.cut_count = used;
                aegis_model *model = open_model(&config);
                assert_int_equal(aegis_model_segment_count(model), used + 1);
                expect_sequence(model, &all); /* in trial memory */
                must(aegis_model_record(model, NULL, &err), &err);
                placed_make(model, 0, &memory);
                expect_sequence(model, &all);
                must(aegis_model_reset(model, &err), &err);
                expect_sequence(model, &all);
                placed_check_red_zones(&memory);
                aegis_model_close(model);
                placed_free(&memory);
            }
        }
    }
}

static uint64_t cache_bytes(const aegis_model_config *config)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    aegis_model *model = open_model(config);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    assert_int_equal(lifetimes[0].memory_class, AEGIS_MEMORY_WEIGHTS);
    assert_int_equal(lifetimes[1].memory_class, AEGIS_MEMORY_STATE);
    const uint64_t bytes = lifetimes[1].size_bytes;
    aegis_model_close(model);
    return bytes;
}

static void conforms_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        aegis_model_config config = config_of(model_path(kinds[k], "f16"));
        uint32_t cuts[MOST_CUTS];
        const size_t count = find_cuts(&config, cuts);
        const uint64_t kept = cache_bytes(&config);
        conformance_check_keeping(backend, &config, kept);
        config.cuts = cuts;
        for (size_t used = 1; used <= count; used++) {
            config.cut_count = used;
            conformance_check_keeping(backend, &config, kept);
        }
    }
    /* llama-tiny: 3 blocks, keys and values of 2 heads of 12, as f32 */
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    assert_int_equal(cache_bytes(&config), 3 * 2 * 2 * 12 * CONTEXT * sizeof(float));
}

/* Other models' activations lie in the same bytes between two segments, and the last segment may
 * run again. */
static void segments_leave_nothing_in_working_memory(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        const char *path = model_path(kinds[k], "f32");
        const wanted all = engine_makes(path);
        aegis_model_config config = config_of(path);
        uint32_t cuts[MOST_CUTS];
        placed_memory memory;
        aegis_error err;
        config.cuts = cuts;
        config.cut_count = find_cuts(&config, cuts);
        aegis_model *model = open_model(&config);
        must(aegis_model_record(model, NULL, &err), &err);
        placed_make(model, 0, &memory);
        unsigned char *working = memory.base + memory.boundary_end + PLACED_RED_ZONE;
        assert_true(memory.activation_height > 0 && memory.boundary_height > 0);
        give_prompt(model);
        for (int i = 0; i < PROMPT + 2; i++) {
            for (uint32_t s = 0; s <= config.cut_count; s++) {
                for (int again = 0; again < 3; again++) {
                    memset(working, 0xff, memory.activation_height); /* NaN */
                    must(aegis_model_execute(model, s, 0, NULL, &err), &err);
                }
            }
            aegis_model_commit(model);
        }
        assert_int_equal(token(model), all.tokens[2]);
        assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
        assert_non_null(strstr(err.message, "is due"));
        aegis_model_close(model);
        placed_free(&memory);
    }
}

static void jobs_without_commit_leave_the_sequence(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "bf16");
    const wanted all = engine_makes(path);
    aegis_model_config config = config_of(path);
    uint32_t cuts[MOST_CUTS];
    aegis_error err;
    config.cuts = cuts;
    config.cut_count = find_cuts(&config, cuts);
    aegis_model *model = open_model(&config);
    give_prompt(model);
    for (int i = 0; i < PROMPT + TOKENS - 1; i++) {
        for (uint32_t s = 0; s <= (uint32_t)i % config.cut_count; s++) { /* a job that is aborted */
            must(aegis_model_execute(model, s, 0, NULL, &err), &err);
        }
        conformance_run(model, 0); /* one whose result is thrown away */
        const int64_t made = job(model);
        assert_int_equal(made, i + 1 < PROMPT ? prompt[i + 1] : all.tokens[i + 1 - PROMPT]);
    }
    assert_memory_equal(output(model, "logits"), all.logits, sizeof all.logits);
    aegis_model_close(model);
}

static void sequences_end_as_configured(void **state)
{
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        aegis_model_config config = config_of(model_path("gpt2-tiny", "f32"));
        int64_t made[CONTEXT];
        config.stop_at_end = stops == 1;
        config.state_count = 0; /* its own */
        aegis_model *model = open_model(&config);
        for (int i = 0; i < CONTEXT; i++) {
            made[i] = job(model);
            assert_in_range(made[i], 0, VOCABULARY - 1);
        }
        for (int i = 0; i < CONTEXT; i++) {
            assert_int_equal(job(model), stops ? -1 : made[i]);
        }
        if (stops) {
            aegis_error err;
            must(aegis_model_reset(model, &err), &err);
            assert_int_equal(job(model), made[0]);
        }
        aegis_model_close(model);
    }
}

/* A model whose first chosen token ends its texts. */
static void an_end_of_text_ends_the_sequence(void **state)
{
    (void)state;
    char path[256], file[300], text[2048];
    aegis_error err;
    snprintf(path, sizeof path, "%s/ends", folder);
    must(aegis_transformer_synthesize(path, "gpt2-tiny", "f32", 5, &err), &err);
    const wanted all = engine_makes(path);
    snprintf(file, sizeof file, "%s/config.json", path);
    FILE *in = fopen(file, "r");
    assert_non_null(in);
    const size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = '\0';
    char *brace = strchr(text, '{');
    assert_non_null(brace);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fprintf(out, "{\"eos_token_id\": %u, %s", all.tokens[0], brace + 1);
    assert_int_equal(fclose(out), 0);
    aegis_model_config config = config_of(path);
    aegis_model *model = open_model(&config);
    for (int round = 0; round < 3; round++) {
        give_prompt(model);
        for (int i = 1; i < PROMPT; i++) {
            assert_int_equal(job(model), prompt[i]);
        }
        assert_int_equal(job(model), all.tokens[0]);
    }
    aegis_model_close(model);
    config.stop_at_end = true;
    model = open_model(&config);
    give_prompt(model);
    for (int i = 0; i < PROMPT; i++) {
        job(model);
    }
    assert_int_equal(token(model), all.tokens[0]);
    assert_int_equal(job(model), -1);
    aegis_model_close(model);
}

/* ---- ending a segment part-way ---- */

static void terminated_jobs_can_be_repeated(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    aegis_model_config config = config_of(path);
    aegis_error err;
    aegis_model *model = open_model(&config);
    interrupter other = {.model = model};
    pthread_t thread;
    int ended = 0;
    assert_true(aegis_model_can_terminate(model));
    give_prompt(model);
    job(model);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &other), 0);
    for (int i = 0; i < 1000000 && ended < 5; i++) {
        const aegis_status status = aegis_model_execute(model, 0, 0, NULL, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_TERMINATED);
        ended += status == AEGIS_ERROR_TERMINATED;
    }
    atomic_store(&other.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(ended, 5);
    for (int i = 2; i < PROMPT; i++) {
        assert_int_equal(job(model), prompt[i]);
    }
    assert_int_equal(job(model), all.tokens[0]);
    aegis_model_close(model);
}

/* ---- memory of the process ---- */

typedef struct budget {
    uint64_t have, asked;
    int times;
} budget;

static aegis_status grant(void *self, uint64_t bytes, aegis_error *err)
{
    budget *one = self;
    one->asked = bytes;
    one->times++;
    return bytes <= one->have
               ? AEGIS_OK
               : aegis_error_set(err, AEGIS_HERE("test"), AEGIS_ERROR_BUDGET_EXCEEDED, "too much");
}

static void loading_is_asked_for_once(void **state)
{
    (void)state;
    aegis_error err;
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    aegis_model *model = open_model(&config);
    const uint64_t least =
        aegis_model_loading_peak_bytes(model) - aegis_model_overhead_bytes(model);
    aegis_model_close(model);
    budget all = {.have = UINT64_MAX};
    config.reserve = grant;
    config.reserve_self = &all;
    model = open_model(&config);
    assert_int_equal(all.times, 1);
    assert_in_range(all.asked, least, least + aegis_model_overhead_bytes(model));
    aegis_model_close(model);
    model = NULL;
    all.have = all.asked - 1;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_null(model);
    assert_int_equal(all.times, 2);
}

/* ---- statuses ---- */

static void
expect_refusal(const aegis_model_config *config, aegis_status wanted_status, const char *words)
{
    aegis_error err;
    aegis_model *model = NULL;
    assert_int_equal(aegis_model_open(backend, config, &model, &err), wanted_status);
    assert_null(model);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    }
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    static const uint32_t inside = 1, falling[] = {7, 7};
    static const aegis_state_pair other = {"tokens", "token"};
    static const aegis_input_shape one = {.name = "tokens", .rank = 1, .shape = {1}};
    const aegis_model_config good = config_of(model_path("llama-tiny", "f32"));
    aegis_model_config config = good;
    config.path = "/tmp/no such folder";
    expect_refusal(&config, AEGIS_ERROR_NOT_FOUND, "cannot open the model folder");
    config = good;
    config.threads = 2;
    expect_refusal(&config, AEGIS_ERROR_UNSUPPORTED, "threads = 1");
    config = good;
    config.prompt_block = 2;
    expect_refusal(&config, AEGIS_ERROR_UNSUPPORTED, "prompt_block");
    config = good;
    config.context_tokens = 97;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "made for 96");
    config = good;
    config.context_tokens = PROMPT;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "no room");
    config = good;
    config.input_count = 0;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "tokens");
    config = good;
    config.inputs = &one;
    config.state = &other;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "cursor = \"next_cursor\"");
    config = good;
    config.cuts = &inside;
    config.cut_count = 1;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "inside block 0");
    config.cuts = falling;
    config.cut_count = 2;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "rising");
    config.cut_count = 1000;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "pieces");
    config = good;
    config.prompt = "a text";
    expect_refusal(&config, AEGIS_ERROR_NOT_FOUND, "tokenizer.json");
    config = good;
    config.memory_limit_bytes = 10000;
    expect_refusal(&config, AEGIS_ERROR_BUDGET_EXCEEDED, "residency = \"streamed\"");
    config.residency = AEGIS_STREAMED;
    expect_refusal(&config, AEGIS_ERROR_BUDGET_EXCEEDED, "streaming needs");
    config.memory_limit_bytes = 0;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "write memory");
    config.memory_limit_bytes = 600000;
    config.cuts = &inside;
    config.cut_count = 1;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "remove cuts");
}

static void calls_out_of_turn_are_refused(void **state)
{
    (void)state;
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    const aegis_cut_candidate *candidates = NULL;
    uint32_t cuts[MOST_CUTS];
    size_t count = 0;
    aegis_error err;
    config.cut_count = find_cuts(&config, cuts);
    config.cuts = cuts;
    aegis_model *model = open_model(&config);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    must(aegis_model_record(model, NULL, &err), &err);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE); /* cut already */
    assert_null(candidates);
    aegis_model_close(model);
}

static void wrong_values_fail_the_job_alone(void **state)
{
    (void)state;
    const aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    aegis_error err;
    aegis_model *model = open_model(&config);
    void *data = NULL;
    uint64_t size = 0;
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    *(int64_t *)data = VOCABULARY;
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, "0 to 300"));
    *(int64_t *)data = 1;
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    must(aegis_model_input(model, 0, "cursor", &data, &size, &err), &err);
    *(int64_t *)data = -1;
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, "reset"));
    assert_true(aegis_model_is_valid(model));
    aegis_model_close(model);
}

/* Until it is placed a recorded model computes at the last position, and starts no sequence. */
static void measured_jobs_are_the_longest(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    const aegis_model_config config = config_of(path);
    aegis_error err;
    placed_memory memory;
    aegis_model *model = open_model(&config);
    must(aegis_model_record(model, NULL, &err), &err);
    job(model);
    float first[VOCABULARY];
    memcpy(first, output(model, "logits"), sizeof first);
    job(model); /* the same position again */
    assert_memory_equal(output(model, "logits"), first, sizeof first);
    assert_int_equal(((const int64_t *)output(model, "next_cursor"))[0], 0);
    placed_make(model, 0, &memory);
    expect_sequence(model, &all);
    aegis_model_close(model);
    placed_free(&memory);
}

static void memory_that_runs_out_is_reported(void **state)
{
    (void)state;
    test_allocator counted = {0};
    const aegis_allocator allocator = test_allocator_make(&counted);
    const aegis_backend_config runtime = {.runtime = "transformer"};
    const aegis_model_config config = config_of(model_path("gpt2-tiny", "i8"));
    aegis_error err;
    bool ended = false;
    for (uint64_t fail = 1; fail < 5000 && !ended; fail++) {
        aegis_backend *own = NULL;
        aegis_model *model = NULL;
        counted.calls = 0;
        counted.fail_at = fail;
        aegis_status status = aegis_backend_create(&runtime, NULL, &allocator, &own, &err);
        if (status == AEGIS_OK) {
            status = aegis_model_open(own, &config, &model, &err);
        }
        if (status == AEGIS_OK) {
            status = aegis_model_record(model, NULL, &err);
        }
        ended = status == AEGIS_OK && counted.calls < fail;
        assert_true(status == AEGIS_ERROR_NO_MEMORY || ended);
        aegis_model_close(model);
        aegis_backend_destroy(own);
        assert_int_equal(counted.blocks, 0);
        assert_int_equal(counted.wrong_sizes, 0);
    }
    assert_true(ended);
}

/* What a model says that it keeps beside its planned memory is what it took, but for the handle
 * around it. */
static void overhead_is_what_is_held(void **state)
{
    (void)state;
    aegis_error err;
    const aegis_backend_config runtime = {.runtime = "transformer"};
    test_allocator counting = {0};
    const aegis_allocator allocator = test_allocator_make(&counting);
    aegis_backend *own = NULL;
    int64_t handle = 0;
    must(aegis_backend_create(&runtime, NULL, &allocator, &own, &err), &err);
    const int64_t before = counting.bytes;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        const aegis_model_config config = config_of(model_path(kinds[k], "f16"));
        placed_memory memory;
        aegis_model *model = NULL;
        must(aegis_model_open(own, &config, &model, &err), &err);
        must(aegis_model_record(model, NULL, &err), &err);
        placed_make(model, 0, &memory);
        const int64_t beside = counting.bytes - before - (int64_t)aegis_model_overhead_bytes(model);
        assert_in_range(beside, 1, 4096);
        assert_true(handle == 0 || beside == handle);
        handle = beside;
        aegis_model_close(model);
        placed_free(&memory);
        assert_int_equal(counting.bytes, before);
    }
    aegis_backend_destroy(own);
    assert_int_equal(counting.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_make_the_engines_tokens),
        cmocka_unit_test(conforms_however_it_is_cut),
        cmocka_unit_test(segments_leave_nothing_in_working_memory),
        cmocka_unit_test(jobs_without_commit_leave_the_sequence),
        cmocka_unit_test(sequences_end_as_configured),
        cmocka_unit_test(an_end_of_text_ends_the_sequence),
        cmocka_unit_test(terminated_jobs_can_be_repeated),
        cmocka_unit_test(loading_is_asked_for_once),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(calls_out_of_turn_are_refused),
        cmocka_unit_test(wrong_values_fail_the_job_alone),
        cmocka_unit_test(measured_jobs_are_the_longest),
        cmocka_unit_test(memory_that_runs_out_is_reported),
        cmocka_unit_test(overhead_is_what_is_held),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
