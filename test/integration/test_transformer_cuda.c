/* SPDX-License-Identifier: Apache-2.0 */
/* Language models on a CUDA device against the engine on the host: tokens, logits within 1e-3,
 * equal bits however a step is cut and wherever it lies; the conformance suite; every status. With
 * SmolLM2 there, the tokens of the reference. Skipped where there is no CUDA device. */
#include "language_cuda.h"

#include <jansson.h>

#define TOLERANCE 1e-3

static aegis_model *open_model(const char *path,
                               const made *m,
                               const uint32_t *cuts,
                               size_t count,
                               const aegis_input_shape *shape)
{
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    const aegis_model_config config = {.name = "m",
                                       .path = path,
                                       .inputs = shape,
                                       .input_count = 1,
                                       .sources = &source,
                                       .source_count = 1,
                                       .stream = conformance_stream,
                                       .cuts = cuts,
                                       .cut_count = count,
                                       .context_tokens = m->context};
    aegis_error err;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    return model;
}

/* What the host's engine has behind the prompt. */
static float *engine_logits(const char *path, const made *m)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config config = {.model = path,
                                             .budget_bytes = UINT64_C(8) << 30,
                                             .context_tokens = m->context,
                                             .threads = 2,
                                             .no_tokenizer = true};
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    aegis_error err;
    uint32_t *text = calloc(m->prompt, sizeof *text);
    float *logits = calloc(m->vocabulary, sizeof *logits);
    assert_true(text != NULL && logits != NULL);
    for (uint32_t i = 0; i < m->prompt; i++) {
        text[i] = (uint32_t)text_token(m, i);
    }
    must(aegis_transformer_create(&config, &allocator, &idle, &err), &err);
    must(aegis_transformer_load(&idle, &planned, &err), &err);
    must(aegis_transformer_prepare(&planned, &ready, &err), &err);
    must(aegis_transformer_evaluate(ready, text, m->prompt, logits, &err), &err);
    aegis_transformer_ready_destroy(ready);
    free(text);
    return logits;
}

static uint32_t largest(const float *logits, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

static void check_logits(const char *what, const float *got, const float *wanted, const made *m)
{
    const double most = distance(got, wanted, m->vocabulary);
    print_message("%s: logits differ by at most %.2e of up to %.2f\n", what, most,
                  (double)wanted[largest(wanted, m->vocabulary)]);
    assert_true(most < TOLERANCE);
}

static void check_shape(const made *of, const char *dtype)
{
    const made length = of_length(of, 10), *m = &length;
    const aegis_input_shape shape = prompt_shape(m);
    char path[256], what[300];
    aegis_error err;
    placed_memory memory;
    path_of(path, m->shape, dtype);
    snprintf(what, sizeof what, "%s %s, %u tokens", m->shape, dtype, m->prompt);
    float *wanted = engine_logits(path, m);
    aegis_model *model = open_model(path, m, NULL, 0, &shape);
    assert_false(aegis_model_can_terminate(model));
    const int64_t chosen = run_prompt(model, m); /* before it is placed */
    check_logits(what, output(model, "logits"), wanted, m);
    assert_int_equal(chosen, largest(output(model, "logits"), m->vocabulary));
    float *first = logits_of(model, m);
    must(aegis_model_record(model, NULL, &err), &err);
    job(model); /* a measured one, at the last position */
    placed_make_on(model, 4096, device, &memory);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(run_prompt(model, m), chosen);
        assert_memory_equal(output(model, "logits"), first, m->vocabulary * sizeof *first);
        must(aegis_model_reset(model, &err), &err);
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
    free(first);
    free(wanted);
}

static void small_models_agree_with_the_engine(void **state)
{
    for (size_t k = 0; k < LENGTH(tiny); k++) {
        check_shape(&tiny[k], *state);
    }
}

/* More positions than are attended to in one pass of a cluster. */
static void shallow_gpt2_agrees_with_the_engine(void **state)
{
    check_shape(&shallow[0], *state);
}

static void shallow_llama_agrees_with_the_engine(void **state)
{
    check_shape(&shallow[1], *state);
}

/* One step in two launches, for tools under which more would take minutes. */
static void clusters_are_used_where_there_are_any(void **state)
{
    static const uint32_t cut = 1;
    const made m = {"gpt2-shallow", 1003, 320, 1};
    const aegis_input_shape shape = prompt_shape(&m);
    char path[256];
    path_of(path, m.shape, *state);
    aegis_model *model = open_model(path, &m, &cut, 1, &shape);
    print_message("%s\n", aegis_model_label(model));
    assert_int_equal(strstr(aegis_model_label(model), "in clusters") != NULL,
                     aegis_device_get_capabilities(device)->compute_capability_major == 9);
    const int64_t chosen = run_prompt(model, &m);
    assert_int_equal(chosen, largest(output(model, "logits"), m.vocabulary));
    aegis_model_close(model);
}

/* Heads that several blocks share, and more positions than a block has room for at once. */
static void large_models_agree_with_the_engine(void **state)
{
    (void)state;
    static const made large[] = {{"llama-135m", 49152, 320, 300}, {"gpt2-small", 50257, 720, 700}};
    skip_what_is_only_large();
    check_shape(&large[0], "f16");
    check_shape(&large[1], "f16");
    check_shape(&large[1], "f32");
}

/* The prompt's jobs with the first `used` cuts, each segment twice. */
static void
check_cut(const char *path, const made *m, const uint32_t *cuts, size_t used, const float *wanted)
{
    const aegis_input_shape shape = prompt_shape(m);
    placed_memory memory;
    aegis_error err;
    aegis_model *model = open_model(path, m, cuts, used, &shape);
    assert_int_equal(aegis_model_segment_count(model), used + 1);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make_on(model, 4096, device, &memory);
    give_prompt(model, m);
    for (uint32_t i = 0; i < m->prompt; i++) {
        for (uint32_t s = 0; s <= used; s++) { /* a segment may run again */
            must(conformance_execute(model, s, 0, &err), &err);
            must(conformance_execute(model, s, 0, &err), &err);
        }
        aegis_model_commit(model);
    }
    assert_memory_equal(output(model, "logits"), wanted, m->vocabulary * sizeof *wanted);
    if (used > 1) {
        assert_int_equal(conformance_execute(model, 1, 0, &err), AEGIS_ERROR_STATE);
    }
    placed_check_red_zones(&memory);
    aegis_model_close(model);
    placed_free(&memory);
}

/* `each`: every number of cuts; else the least and the most. */
static void check_cuts(made m, const char *dtype, bool each)
{
    uint32_t cuts[12];
    char path[256];
    aegis_error err;
    m.prompt = repeats(20, 4);
    const aegis_input_shape shape = prompt_shape(&m);
    path_of(path, m.shape, dtype);
    aegis_model *whole = open_model(path, &m, NULL, 0, &shape);
    run_prompt(whole, &m);
    float *wanted = logits_of(whole, &m);
    must(aegis_model_record(whole, NULL, &err), &err);
    const size_t count = cuts_of(whole, cuts, LENGTH(cuts));
    aegis_model_close(whole);
    for (size_t used = 1; used <= count; used++) {
        if (used == count || (!under_sanitizer() && (each || used == 1))) {
            check_cut(path, &m, cuts, used, wanted);
        }
    }
    free(wanted);
}

static void a_cut_changes_no_bit(void **state)
{
    for (size_t k = 0; k < LENGTH(tiny); k++) {
        check_cuts(tiny[k], *state, true);
    }
}

/* In clusters, where there are any. */
static void a_cut_changes_no_bit_of_gpt2_small(void **state)
{
    const made gpt2_small = {"gpt2-small", 50257, 64, 0};
    check_cuts(under_sanitizer() ? shallow[0] : gpt2_small, *state, false);
}

static void conforms_however_it_is_cut(void **state)
{
    (void)state;
    check_conformance_of_small(0);
}

/* A recorded model that is not placed computes at its last position, and starts no sequence. */
static void measured_jobs_are_the_longest(void **state)
{
    (void)state;
    char path[256];
    const made m = {"llama-tiny", 301, 96, 7};
    const aegis_input_shape shape = prompt_shape(&m);
    aegis_error err;
    placed_memory memory;
    path_of(path, m.shape, "f32");
    aegis_model *model = open_model(path, &m, NULL, 0, &shape);
    const int64_t chosen = run_prompt(model, &m);
    must(aegis_model_record(model, NULL, &err), &err);
    job(model);
    float first[301];
    memcpy(first, output(model, "logits"), sizeof first);
    job(model); /* the same position again */
    assert_memory_equal(output(model, "logits"), first, sizeof first);
    placed_make_on(model, 4096, device, &memory);
    assert_int_equal(run_prompt(model, &m), chosen);
    aegis_model_close(model);
    placed_free(&memory);
}

static void sequences_end_as_configured(void **state)
{
    (void)state;
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {7}};
    char path[256];
    path_of(path, "gpt2-tiny", "f32");
    for (int stops = 0; stops < 2; stops++) {
        const aegis_model_config config = {.name = "m",
                                           .path = path,
                                           .inputs = &shape,
                                           .input_count = 1,
                                           .stream = conformance_stream,
                                           .stop_at_end = stops == 1,
                                           .context_tokens = 24};
        aegis_error err;
        aegis_model *model = NULL;
        int64_t chosen[24];
        must(aegis_model_open(backend, &config, &model, &err), &err);
        for (int i = 0; i < 24; i++) {
            chosen[i] = job(model);
        }
        for (int i = 0; i < 24; i++) {
            assert_int_equal(job(model), stops ? -1 : chosen[i]);
        }
        if (stops) {
            must(aegis_model_reset(model, &err), &err);
            assert_int_equal(job(model), chosen[0]);
        }
        aegis_model_close(model);
    }
}

/* The device finds out; the job after it says so, and the one after that runs. */
static void wrong_values_fail_the_next_job(void **state)
{
    (void)state;
    char path[256];
    const made m = {"llama-tiny", 301, 96, 1};
    const aegis_input_shape shape = prompt_shape(&m);
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    path_of(path, m.shape, "f32");
    aegis_model *model = open_model(path, &m, NULL, 0, &shape);
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    *(int64_t *)data = 301;
    must(conformance_execute(model, 0, 0, &err), &err);
    assert_int_equal(token(model), -1);
    expect_fault(model, "0 to 300");
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    *(int64_t *)data = 1;
    must(conformance_execute(model, 0, 0, &err), &err);
    assert_in_range(token(model), 0, 300);
    expect_wrong_cursor(model);
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "stream"));
    aegis_model_close(model);
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    static const uint32_t falling[] = {2, 1}, beyond[] = {4};
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {7}};
    char path[256], bytes[256];
    aegis_error err;
    path_of(path, "llama-tiny", "f32");
    path_of(bytes, "llama-tiny", "i8");
    const aegis_model_config good = {
        .name = "m", .path = path, .inputs = &shape, .input_count = 1, .context_tokens = 24};
    struct {
        aegis_model_config config;
        aegis_status status;
        const char *words;
    } cases[10] = {{good, AEGIS_ERROR_NOT_FOUND, "model folder"},
                   {good, AEGIS_ERROR_UNSUPPORTED, "threads = 1"},
                   {good, AEGIS_ERROR_CONFIG, "made for 96"},
                   {good, AEGIS_ERROR_CONFIG, "no room"},
                   {good, AEGIS_ERROR_CONFIG, "rising"},
                   {good, AEGIS_ERROR_CONFIG, "the head, position 3"},
                   {good, AEGIS_ERROR_BUDGET_EXCEEDED, "raise memory"},
                   {good, AEGIS_ERROR_UNSUPPORTED, "kind = \"host\""},
                   {good, AEGIS_ERROR_UNSUPPORTED, "paged"},
                   {good, AEGIS_ERROR_NOT_FOUND, "tokenizer.json"}};
    cases[0].config.path = "/tmp/no such folder";
    cases[1].config.threads = 2;
    cases[2].config.context_tokens = 97;
    cases[3].config.context_tokens = 7;
    cases[4].config.cuts = falling;
    cases[4].config.cut_count = 2;
    cases[5].config.cuts = beyond;
    cases[5].config.cut_count = 1;
    cases[6].config.memory_limit_bytes = 10000;
    cases[7].config.path = bytes;
    cases[8].config.residency = AEGIS_PAGED;
    cases[9].config.prompt = "text";
    for (size_t c = 0; c < LENGTH(cases); c++) {
        aegis_model *model = NULL;
        assert_int_equal(aegis_model_open(backend, &cases[c].config, &model, &err),
                         cases[c].status);
        assert_null(model);
        if (strstr(err.message, cases[c].words) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.message, cases[c].words);
        }
    }
}

/* ---- a text as prompt ---- */

static void write_tokenizer(const char *model)
{
    char path[300];
    snprintf(path, sizeof path, "%s/tokenizer.json", model);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
          "\"trim_offsets\":true,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\"},"
          "\"model\":{\"type\":\"BPE\",\"vocab\":{\"h\":0,\"e\":1,\"l\":2,\"o\":3,\"he\":4,"
          "\"ll\":5},\"merges\":[\"h e\",\"l l\"]}}",
          file);
    assert_int_equal(fclose(file), 0);
}

/* The same tokens as a source would give them, in every slot and after every reset. */
static void a_text_is_a_prompt(void **state)
{
    (void)state;
    static const int64_t wanted[] = {4, 5, 3, 4};
    const made m = {"llama-tiny", 301, 96, LENGTH(wanted)};
    const aegis_input_shape shape = prompt_shape(&m);
    char path[256];
    aegis_error err;
    placed_memory memory;
    aegis_model *model = NULL;
    path_of(path, m.shape, "bf16");
    write_tokenizer(path);
    aegis_model *given = open_model(path, &m, NULL, 0, &shape);
    memcpy(prompt_input(given, m.prompt), wanted, sizeof wanted);
    const aegis_model_config config = {.name = "m",
                                       .path = path,
                                       .prompt = "hellohe",
                                       .slots = 2,
                                       .stream = conformance_stream,
                                       .context_tokens = m.context};
    must(aegis_model_open(backend, &config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    placed_make_on(model, 4096, device, &memory);
    for (int again = 0; again < 2; again++) {
        for (uint32_t i = 0; i < 12; i++) {
            if (again == 0) {
                job(given);
            }
            conformance_run(model, i % 2);
            aegis_model_commit(model);
        }
        assert_memory_equal(output(model, "next_cursor"), output(given, "next_cursor"), 16);
        must(aegis_model_reset(model, &err), &err);
    }
    conformance_run(model, 0);
    assert_int_equal(token(model), wanted[1]);
    assert_memory_equal(prompt_input(model, m.prompt), wanted, sizeof wanted);
    aegis_model_close(model);
    aegis_model_close(given);
    placed_free(&memory);
}

/* ---- SmolLM2, where it has been fetched ---- */

static size_t read_tokens(const json_t *root, const char *key, int64_t tokens[256])
{
    const json_t *list = json_object_get(root, key);
    const size_t count = json_array_size(list);
    assert_in_range(count, 1, 256);
    for (size_t i = 0; i < count; i++) {
        tokens[i] = json_integer_value(json_array_get(list, i));
    }
    return count;
}

static void smollm2_says_what_the_reference_says(void **state)
{
    (void)state;
    const char *root = getenv("AEGISRT_SOURCE_DIR"), *of = getenv("AEGISRT_SMOLLM2");
    char path[512], fixture[512];
    int64_t prompt[256], tokens[256];
    root = root != NULL ? root : ".";
    snprintf(path, sizeof path, "%s/models/smollm2-135m", root);
    if (of != NULL) {
        snprintf(path, sizeof path, "%s", of);
    }
    snprintf(fixture, sizeof fixture, "%s/test/fixtures/smollm2_greedy.json", root);
    if (access(path, F_OK) != 0) {
        print_message("%s is not there: run `make models`\n", path);
        skip();
    }
    json_t *reference = json_load_file(fixture, 0, NULL);
    assert_non_null(reference);
    const size_t given = read_tokens(reference, "prompt_tokens", prompt);
    const size_t count = read_tokens(reference, "tokens", tokens);
    const made m = {"smollm2", 49152, 256, (uint32_t)given};
    const aegis_input_shape shape = prompt_shape(&m);
    aegis_model *model = open_model(path, &m, NULL, 0, &shape);
    memcpy(prompt_input(model, m.prompt), prompt, given * sizeof *prompt);
    for (size_t i = 1; i < given; i++) {
        assert_int_equal(job(model), prompt[i]);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(job(model), tokens[i]);
    }
    print_message("SmolLM2: %zu tokens as the reference\n", count);
    aegis_model_close(model);
    json_decref(reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES_OF_TYPES(small_models_agree_with_the_engine),
        CASES_OF_TYPES(shallow_gpt2_agrees_with_the_engine),
        CASES_OF_TYPES(shallow_llama_agrees_with_the_engine),
        CASES_OF_TYPES(clusters_are_used_where_there_are_any),
        CASE_OF(a_cut_changes_no_bit, "f16"),
        CASE_OF(a_cut_changes_no_bit_of_gpt2_small, "f16"),
        CASE_OF(a_cut_changes_no_bit_of_gpt2_small, "f32"),
        cmocka_unit_test(conforms_however_it_is_cut),
        cmocka_unit_test(measured_jobs_are_the_longest),
        cmocka_unit_test(sequences_end_as_configured),
        cmocka_unit_test(wrong_values_fail_the_next_job),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(a_text_is_a_prompt),
        cmocka_unit_test(large_models_agree_with_the_engine),
        cmocka_unit_test(smollm2_says_what_the_reference_says),
    };
    return run_on_cuda(tests);
}
