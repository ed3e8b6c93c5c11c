/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts in blocks through cuBLAS against the same prompts token by token: tokens, logits within
 * 1e-3 behind the prompt and behind what follows it, equal bits however a job is cut and wherever
 * it lies; the conformance suite; every status. Skipped where there is no CUDA device or no cuBLAS.
 */
#include "language_cuda_prompt.h"

static void check_shape(const made *of, const char *dtype, const uint32_t *blocks, size_t count)
{
    const made length = of_length(of, 36), *m = &length;
    const aegis_input_shape shape = prompt_shape(m);
    char path[256], what[300];
    aegis_error err;
    path_of(path, m->shape, dtype);
    answer wanted = steps_of(path, m, &shape);
    for (size_t b = 0; b < count; b++) {
        placed_memory memory;
        answer first, again;
        aegis_model *model = open_with(path, m, blocks[b], NULL, 0, &shape);
        snprintf(what, sizeof what, "%s %s, %u tokens by %u", m->shape, dtype, m->prompt,
                 blocks[b]);
        follow(model, m, run_blocks(model, m, blocks[b]), &first);
        check_near(what, &first, &wanted, m);
        must(aegis_model_record(model, NULL, &err), &err);
        job(model); /* a measured one, of the last positions */
        placed_make_on(model, 4096, device, &memory);
        for (int run = 0; run < 2; run++) {
            follow(model, m, run_blocks(model, m, blocks[b]), &again);
            check_same(&again, &first, m);
            forget(&again);
            must(aegis_model_reset(model, &err), &err);
        }
        placed_check_red_zones(&memory);
        aegis_model_close(model);
        placed_free(&memory);
        forget(&first);
    }
    forget(&wanted);
}

static void small_models_agree_with_their_steps(void **state)
{
    static const uint32_t blocks[] = {17, 32, 2, 7, 80};
    for (size_t k = 0; k < (under_racecheck() ? 1 : LENGTH(tiny)); k++) {
        check_shape(&tiny[k], *state, blocks, repeats(LENGTH(blocks), 1));
    }
}

static const uint32_t shallow_blocks[] = {32, 128};

/* More positions than a tile of keys. */
static void shallow_gpt2_agrees_with_its_steps(void **state)
{
    check_shape(&shallow[0], *state, shallow_blocks, repeats(LENGTH(shallow_blocks), 1));
}

static void shallow_llama_agrees_with_its_steps(void **state)
{
    check_shape(&shallow[1], *state, shallow_blocks, repeats(LENGTH(shallow_blocks), 1));
}

/* More positions than a tile of keys; a layer larger than what is unpacked at once. */
static void large_models_agree_with_their_steps(void **state)
{
    (void)state;
    static const made large[] = {{"llama-135m", 49152, 320, 300},
                                 {"gpt2-small", 50257, 720, 700},
                                 {"gpt2-medium", 50257, 96, 80}};
    static const uint32_t blocks[] = {128}, blocks_of_more[] = {64, 256};
    skip_what_is_only_large();
    check_shape(&large[0], "bf16", blocks, LENGTH(blocks));
    check_shape(&large[1], "f16", blocks_of_more, LENGTH(blocks_of_more));
    check_shape(&large[1], "f32", blocks, LENGTH(blocks));
    check_shape(&large[2], "f16", blocks, LENGTH(blocks));
}

/* By how much a prompt of 20 by 8 goes on, in jobs of `segments` segments that all run twice. */
static void run_twice(aegis_model *model, const made *m, uint32_t segments)
{
    aegis_error err;
    give_prompt(model, m);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t s = 0; s < segments; s++) {
            must(conformance_execute(model, s, 0, &err), &err);
            must(conformance_execute(model, s, 0, &err), &err);
        }
        aegis_model_commit(model);
    }
}

static void a_cut_changes_no_bit(void **state)
{
    (void)state;
    for (size_t k = 0; k < (under_racecheck() ? 1 : LENGTH(tiny)); k++) {
        made m = tiny[k];
        char path[256];
        aegis_error err;
        m.prompt = 20;
        const aegis_input_shape shape = prompt_shape(&m);
        path_of(path, m.shape, "f16");
        aegis_model *whole = open_with(path, &m, 8, NULL, 0, &shape);
        uint32_t cuts[8];
        run_twice(whole, &m, 1);
        float *wanted = logits_of(whole, &m);
        must(aegis_model_record(whole, NULL, &err), &err);
        const size_t count = cuts_of(whole, cuts, LENGTH(cuts));
        aegis_model_close(whole);
        for (size_t used = under_sanitizer() ? count : 1; used <= count; used++) {
            placed_memory memory;
            aegis_model *model = open_with(path, &m, 8, cuts, used, &shape);
            must(aegis_model_record(model, NULL, &err), &err);
            placed_make_on(model, 4096, device, &memory);
            run_twice(model, &m, (uint32_t)used + 1);
            assert_memory_equal(output(model, "logits"), wanted, m.vocabulary * sizeof *wanted);
            placed_check_red_zones(&memory);
            aegis_model_close(model);
            placed_free(&memory);
        }
        free(wanted);
    }
}

static void conforms_however_it_is_cut(void **state)
{
    (void)state;
    check_conformance_of_small(3);
}

static void graphs_change_no_bit(void **state)
{
    (void)state;
    const made of = {"llama-tiny", 301, 96, 80}, m = of_length(&of, 36);
    const aegis_input_shape shape = prompt_shape(&m);
    char path[256];
    aegis_error err;
    path_of(path, m.shape, "f32");
    aegis_model_config config = language_config(path, &shape, m.context);
    config.prompt_block = 32;
    answer answers[2];
    for (int eager = 0; eager < 2; eager++) {
        aegis_model *model = NULL;
        config.eager = eager == 1;
        must(aegis_model_open(backend, &config, &model, &err), &err);
        follow(model, &m, run_blocks(model, &m, 32), &answers[eager]);
        aegis_model_close(model);
    }
    check_same(&answers[1], &answers[0], &m);
    forget(&answers[0]);
    forget(&answers[1]);
}

/* A recorded model that is not placed computes the longest job, and starts no sequence. */
static void measured_jobs_belong_to_no_sequence(void **state)
{
    (void)state;
    char path[256];
    const made m = {"llama-tiny", 301, 96, 40};
    const aegis_input_shape shape = prompt_shape(&m);
    aegis_error err;
    placed_memory memory;
    path_of(path, m.shape, "f32");
    aegis_model *model = open_with(path, &m, 16, NULL, 0, &shape);
    const int64_t chosen = run_blocks(model, &m, 16);
    must(aegis_model_record(model, NULL, &err), &err);
    job(model);
    float *first = logits_of(model, &m);
    job(model);
    assert_memory_equal(output(model, "logits"), first, m.vocabulary * sizeof *first);
    placed_make_on(model, 4096, device, &memory);
    assert_int_equal(run_blocks(model, &m, 16), chosen);
    aegis_model_close(model);
    placed_free(&memory);
    free(first);
}

/* A sequence that begins anew takes its prompt in blocks again: as many jobs as the first time. */
static void sequences_end_as_configured(void **state)
{
    (void)state;
    enum {
        JOBS = 2 + 24 - 7
    }; /* blocks of 4 and 3, then the rest of the context */
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {7}};
    char path[256];
    path_of(path, "gpt2-tiny", "f32");
    for (int stops = 0; stops < 2; stops++) {
        aegis_model_config config = language_config(path, &shape, 24);
        aegis_error err;
        aegis_model *model = NULL;
        int64_t chosen[JOBS];
        config.prompt_block = 4;
        config.stop_at_end = stops == 1;
        must(aegis_model_open(backend, &config, &model, &err), &err);
        for (int i = 0; i < JOBS; i++) {
            chosen[i] = job(model);
        }
        assert_int_equal(*(const int64_t *)output(model, "next_cursor"), stops ? 24 : 0);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(job(model), stops ? -1 : chosen[i]);
        }
        must(aegis_model_reset(model, &err), &err);
        assert_int_equal(job(model), chosen[0]);
        assert_int_equal(*(const int64_t *)output(model, "next_cursor"), 4);
        aegis_model_close(model);
    }
}

/* Where the caller sets the cursor a block begins. */
static void a_block_begins_at_the_cursor(void **state)
{
    (void)state;
    const made m = {"gpt2-tiny", 301, 96, 40};
    const aegis_input_shape shape = prompt_shape(&m);
    char path[256];
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    path_of(path, m.shape, "bf16");
    aegis_model *model = open_with(path, &m, 16, NULL, 0, &shape);
    run_blocks(model, &m, 16);
    float *wanted = logits_of(model, &m);
    must(aegis_model_input(model, 0, "cursor", &data, &size, &err), &err);
    ((int64_t *)data)[0] = 16; /* keys and values of what is before are there */
    ((int64_t *)data)[1] = 0;
    assert_int_equal(job(model), text_token(&m, 32));
    job(model);
    assert_memory_equal(output(model, "logits"), wanted, m.vocabulary * sizeof *wanted);
    aegis_model_close(model);
    free(wanted);
}

/* Any of a block's tokens; the job after it says so, and the one after that runs. */
static void wrong_values_fail_the_next_job(void **state)
{
    (void)state;
    char path[256];
    const made m = {"llama-tiny", 301, 96, 40};
    const aegis_input_shape shape = prompt_shape(&m);
    aegis_error err;
    path_of(path, m.shape, "f32");
    aegis_model *model = open_with(path, &m, 16, NULL, 0, &shape);
    give_prompt(model, &m);
    prompt_input(model, m.prompt)[11] = 301;
    must(conformance_execute(model, 0, 0, &err), &err);
    assert_int_equal(token(model), -1);
    expect_fault(model, "token 301 at position 11");
    give_prompt(model, &m);
    must(conformance_execute(model, 0, 0, &err), &err);
    assert_int_equal(token(model), text_token(&m, 16));
    expect_wrong_cursor(model);
    aegis_model_close(model);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {100}};
    char path[256];
    aegis_error err;
    aegis_model *model = NULL;
    path_of(path, "gpt2-small", "f16");
    aegis_model_config config = language_config(path, &shape, 1024);
    config.prompt_block = 64;
    config.stream = NULL;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "stream"));
    config.stream = conformance_stream;
    config.memory_limit_bytes = UINT64_C(200) << 20;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "prompt_block"));
    assert_null(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES_OF_TYPES(small_models_agree_with_their_steps),
        CASES_OF_TYPES(shallow_gpt2_agrees_with_its_steps),
        CASES_OF_TYPES(shallow_llama_agrees_with_its_steps),
        cmocka_unit_test(a_cut_changes_no_bit),
        cmocka_unit_test(conforms_however_it_is_cut),
        cmocka_unit_test(graphs_change_no_bit),
        cmocka_unit_test(measured_jobs_belong_to_no_sequence),
        cmocka_unit_test(sequences_end_as_configured),
        cmocka_unit_test(a_block_begins_at_the_cursor),
        cmocka_unit_test(wrong_values_fail_the_next_job),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(large_models_agree_with_their_steps),
    };
    return run_on_cuda_after(tests, set_up_with_cublas);
}
