/* SPDX-License-Identifier: Apache-2.0 */
/* Language models on a CUDA device whose layers come from pinned memory: bit for bit what a
 * resident one gives, whatever stays, however often a segment runs, before and after placing; the
 * conformance suite; what is refused. Skipped where there is no CUDA device. */
#include "language_cuda.h"

#define MIB ((uint64_t)1 << 20)
#define JOBS 6u /* fewer under tools that make them slow */

static const made small = {"gpt2-small", 50257, 64, 4}, llama = {"llama-135m", 49152, 64, 4};

static aegis_model_config config_of(const char *path, const made *m, uint64_t memory)
{
    static aegis_input_shape shape;
    shape = prompt_shape(m);
    aegis_model_config config = language_config(path, &shape, m->context);
    config.residency = memory > 0 ? AEGIS_STREAMED : AEGIS_RESIDENT;
    config.memory_limit_bytes = memory;
    return config;
}

static aegis_model *open_streamed(const char *path, const made *m, uint64_t memory)
{
    const aegis_model_config config = config_of(path, m, memory);
    aegis_error err;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    return model;
}

/* From the refusal of a budget that holds nothing. */
static uint64_t least_bytes(const char *path, const made *m)
{
    const aegis_model_config config = config_of(path, m, 1);
    aegis_error err;
    aegis_model *model = NULL;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    const char *needs = strstr(err.message, "needs ");
    assert_non_null(needs);
    return strtoull(needs + strlen("needs "), NULL, 10);
}

static uint64_t all_bytes(const char *path, const made *m)
{
    aegis_model_config config = config_of(path, m, 1);
    aegis_error err;
    aegis_model *model = NULL;
    config.residency = AEGIS_RESIDENT;
    assert_int_equal(aegis_model_open(backend, &config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_non_null(strstr(err.message, "residency = \"streamed\""));
    return strtoull(strstr(err.message, "needs ") + strlen("needs "), NULL, 10);
}

/* Logits of the jobs of one sequence, one behind the other; each segment `times` times. */
static void run_jobs(aegis_model *model, const made *m, int times, float *logits)
{
    aegis_error err;
    must(aegis_model_reset(model, &err), &err);
    give_prompt(model, m);
    const uint32_t jobs = repeats(JOBS, 2);
    for (uint32_t i = 0; i < jobs; i++) {
        for (uint32_t s = 0; s < aegis_model_segment_count(model); s++) {
            for (int t = 0; t < times; t++) {
                must(conformance_execute(model, s, 0, &err), &err);
            }
        }
        aegis_model_commit(model);
        memcpy(logits + (size_t)i * m->vocabulary, output(model, "logits"),
               m->vocabulary * sizeof *logits);
    }
}

static void expect_jobs(aegis_model *model, const made *m, int times, const float *wanted)
{
    const size_t bytes = repeats(JOBS, 2) * m->vocabulary * sizeof(float);
    float *logits = malloc(bytes);
    assert_non_null(logits);
    run_jobs(model, m, times, logits);
    assert_memory_equal(logits, wanted, bytes);
    free(logits);
}

static void give_up_a_job(aegis_model *model)
{
    aegis_error err;
    must(conformance_execute(model, 0, 0, &err), &err);
    if (aegis_model_segment_count(model) > 2) {
        must(conformance_execute(model, 1, 0, &err), &err);
        assert_int_equal(conformance_execute(model, 0, 0, &err), AEGIS_OK);
        assert_int_equal(conformance_execute(model, 2, 0, &err), AEGIS_ERROR_STATE);
    }
}

static void check_streamed(const char *path, const made *m, uint64_t memory, const float *wanted)
{
    aegis_error err;
    placed_memory placed;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    aegis_model *model = open_streamed(path, m, memory);
    print_message("%s: %u segments\n", aegis_model_label(model), aegis_model_segment_count(model));
    assert_non_null(strstr(aegis_model_label(model), "layers from pinned memory"));
    assert_int_equal(aegis_model_awaited_segments(model), 0);
    assert_true(aegis_model_is_ready(model, 0));
    assert_false(aegis_model_can_terminate(model));
    expect_jobs(model, m, 1, wanted);
    must(aegis_model_record(model, NULL, &err), &err);
    assert_int_equal(
        aegis_model_cut_candidates(model, conformance_stream, &candidates, &count, &err),
        AEGIS_ERROR_UNSUPPORTED);
    job(model); /* a measured one */
    placed_make_on(model, 4096, device, &placed);
    assert_true(placed.permanent_bytes <= memory + 4096);
    expect_jobs(model, m, 1, wanted);
    expect_jobs(model, m, 2, wanted);
    give_up_a_job(model);
    expect_jobs(model, m, 1, wanted);
    placed_check_red_zones(&placed);
    aegis_model_close(model);
    placed_free(&placed);
}

static void check_shape(const made *m, const char *dtype)
{
    char path[256];
    path_of(path, m->shape, dtype);
    float *wanted = malloc(JOBS * m->vocabulary * sizeof *wanted);
    assert_non_null(wanted);
    aegis_model *resident = open_streamed(path, m, 0);
    run_jobs(resident, m, 1, wanted);
    aegis_model_close(resident);
    const uint64_t least = least_bytes(path, m), all = all_bytes(path, m);
    assert_true(least < all);
    check_streamed(path, m, least, wanted);
    check_streamed(path, m, (least + all) / 2, wanted);
    check_streamed(path, m, all - 1, wanted);
    aegis_model *model = open_streamed(path, m, all); /* it fits, and is a resident one */
    assert_null(strstr(aegis_model_label(model), "pinned"));
    assert_int_equal(aegis_model_segment_count(model), 1);
    aegis_model_close(model);
    free(wanted);
}

static void tiny_models_give_the_same_bits(void **state)
{
    for (size_t k = 0; k < 2; k++) { /* of three blocks */
        const made m = {tiny[k].shape, tiny[k].vocabulary, 96, 4};
        check_shape(&m, *state);
    }
}

static void shallow_models_give_the_same_bits(void **state)
{
    for (size_t k = 0; k < LENGTH(shallow); k++) {
        const made m = {shallow[k].shape, shallow[k].vocabulary, 64, 4};
        check_shape(&m, *state);
    }
}

/* Of several segments, that compute one, two and three layers. */
static void larger_models_give_the_same_bits(void **state)
{
    (void)state;
    skip_what_is_only_large();
    check_shape(&llama, "f16");
    check_shape(&small, "f16");
    check_shape(&small, "f32");
}

/* The ring is nobody's between jobs: others may write there. */
static void conforms(void **state)
{
    (void)state;
    static const made shapes[] = {{"llama-tiny", 301, 24, 7}, {"gpt2-small", 50257, 24, 7}};
    for (size_t k = 0; k < repeats(LENGTH(shapes), 1); k++) {
        char path[256];
        aegis_error err;
        const aegis_tensor_lifetime *lifetimes = NULL;
        size_t count = 0;
        uint64_t state_bytes = 0;
        path_of(path, shapes[k].shape, "f16");
        aegis_model_config config = config_of(path, &shapes[k], 0);
        config.memory_limit_bytes = least_bytes(path, &shapes[k]) + MIB / 2;
        config.residency = AEGIS_STREAMED;
        aegis_model *model = open_streamed(path, &shapes[k], config.memory_limit_bytes);
        must(aegis_model_record(model, NULL, &err), &err);
        must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
        for (size_t i = 0; i < count; i++) {
            state_bytes +=
                lifetimes[i].memory_class == AEGIS_MEMORY_STATE ? lifetimes[i].size_bytes : 0;
        }
        aegis_model_close(model);
        conformance_check_keeping(backend, &config, state_bytes - 2 * 16);
    }
}

static void what_cannot_be_streamed_is_refused(void **state)
{
    (void)state;
    static const uint32_t cut = 1;
    char path[256], two[256];
    aegis_error err;
    aegis_buffer taken;
    path_of(path, "gpt2-small", "f16");
    path_of(two, "llama-tiny-untied", "f16"); /* two blocks: no fewer than two slots */
    struct {
        aegis_model_config config;
        aegis_status status;
        const char *words;
    } cases[5] = {{config_of(path, &small, 0), AEGIS_ERROR_CONFIG, "write memory"},
                  {config_of(path, &small, 300 * MIB), AEGIS_ERROR_CONFIG, "remove cuts"},
                  {config_of(path, &small, least_bytes(path, &small) - 1),
                   AEGIS_ERROR_BUDGET_EXCEEDED, "even when all layers come from pinned memory"},
                  {config_of(two, &tiny[2], 60000), AEGIS_ERROR_BUDGET_EXCEEDED, "raise memory"},
                  {config_of(path, &small, 150 * MIB), AEGIS_ERROR_NO_MEMORY, "[device] pinned"}};
    cases[0].config.residency = AEGIS_STREAMED;
    cases[1].config.cuts = &cut;
    cases[1].config.cut_count = 1;
    for (size_t c = 0; c < LENGTH(cases); c++) {
        aegis_model *model = NULL;
        const bool scarce = cases[c].status == AEGIS_ERROR_NO_MEMORY;
        if (scarce) {
            must(aegis_device_pinned_alloc(device, PINNED_BYTES - 20 * MIB, 0, &taken, &err), &err);
        }
        assert_int_equal(aegis_model_open(backend, &cases[c].config, &model, &err),
                         cases[c].status);
        if (scarce) {
            must(aegis_device_pinned_free(device, &taken, &err), &err);
        }
        assert_null(model);
        if (strstr(err.message, cases[c].words) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.message, cases[c].words);
        }
    }
    uint64_t used = 0, peak = 0;
    aegis_device_pinned_usage(device, &used, &peak);
    assert_int_equal(used, 0); /* every closed and refused model gave back what it had */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES_OF_TYPES(tiny_models_give_the_same_bits),
        CASES_OF_TYPES(shallow_models_give_the_same_bits),
        cmocka_unit_test(conforms),
        cmocka_unit_test(larger_models_give_the_same_bits),
        cmocka_unit_test(what_cannot_be_streamed_is_refused),
    };
    return run_on_cuda(tests);
}
