/* SPDX-License-Identifier: Apache-2.0 */
/* Prompts in blocks of models whose layers come from pinned memory: bit for bit what a resident
 * model's blocks give and near to its steps, whatever stays, with graphs and without, however often
 * a segment runs, behind jobs that were given up, before and after placing; the conformance suite;
 * the bytes that it takes. Skipped where there is no CUDA device or no cuBLAS. */
#include "language_cuda_prompt.h"

/* Blocks, or steps where `block` is 0; streamed where there is a limit. */
static aegis_model_config
config_of(const char *path, const made *m, uint32_t block, uint64_t memory)
{
    static aegis_input_shape shape;
    shape = prompt_shape(m);
    aegis_model_config config = language_config(path, &shape, m->context);
    config.prompt_block = block;
    config.residency = memory > 0 ? AEGIS_STREAMED : AEGIS_RESIDENT;
    config.memory_limit_bytes = memory;
    return config;
}

static aegis_model *open_as(const aegis_model_config *config)
{
    aegis_error err;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, config, &model, &err), &err);
    return model;
}

/* What a refusal says that is needed. */
static uint64_t needed_bytes(const aegis_model_config *config, const char *words)
{
    aegis_error err;
    aegis_model *model = NULL;
    assert_int_equal(aegis_model_open(backend, config, &model, &err), AEGIS_ERROR_BUDGET_EXCEEDED);
    const char *needs = strstr(err.message, "needs ");
    if (needs == NULL || strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" lacks \"needs\" or \"%s\"", err.message, words);
    }
    return strtoull(needs + strlen("needs "), NULL, 10);
}

/* With two layers at a time, and with all of them. */
static uint64_t least_bytes(const char *path, const made *m, uint32_t block)
{
    const aegis_model_config config = config_of(path, m, block, 1);
    return needed_bytes(&config, block > 0 ? "prompt_block" : "context");
}

static uint64_t all_bytes(const char *path, const made *m, uint32_t block)
{
    aegis_model_config config = config_of(path, m, block, 1);
    config.residency = AEGIS_RESIDENT;
    return needed_bytes(&config, "residency = \"streamed\"");
}

/* Each segment `times` times. */
static int64_t run_job(aegis_model *model, int times)
{
    aegis_error err;
    for (uint32_t s = 0; s < aegis_model_segment_count(model); s++) {
        for (int t = 0; t < times; t++) {
            must(conformance_execute(model, s, 0, &err), &err);
        }
    }
    aegis_model_commit(model);
    return token(model);
}

/* A sequence from its begin: the prompt in blocks, then steps. */
static answer run_sequence(aegis_model *model, const made *m, uint32_t block, int times)
{
    answer got = {.behind_prompt = NULL};
    aegis_error err;
    must(aegis_model_reset(model, &err), &err);
    give_prompt(model, m);
    for (uint32_t at = 0; at < m->prompt; at += block) {
        got.tokens[0] = run_job(model, times);
    }
    got.behind_prompt = logits_of(model, m);
    for (uint32_t i = 1; i <= repeats(FOLLOWING, 1); i++) {
        got.tokens[i] = run_job(model, times);
    }
    got.behind_all = logits_of(model, m);
    return got;
}

static void
expect_same(aegis_model *model, const made *m, uint32_t block, int times, const answer *wanted)
{
    answer got = run_sequence(model, m, block, times);
    check_same(&got, wanted, m);
    forget(&got);
}

static answer resident_answer(const char *path, const made *m, uint32_t block)
{
    const aegis_model_config config = config_of(path, m, block, 0);
    aegis_model *model = open_as(&config);
    const answer got = run_sequence(model, m, block, 1);
    aegis_model_close(model);
    return got;
}

/* All but the last segment: a block whose copies have come and whose layers are half computed. */
static void give_up_a_job(aegis_model *model)
{
    aegis_error err;
    const uint32_t segments = aegis_model_segment_count(model);
    for (uint32_t s = 0; s == 0 || s + 1 < segments; s++) {
        must(conformance_execute(model, s, 0, &err), &err);
    }
}

/* A block, then a step in its place, which is given up too. */
static void give_up_a_block_and_a_step(aegis_model *model, const made *m)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    must(aegis_model_reset(model, &err), &err);
    give_prompt(model, m);
    give_up_a_job(model);
    give_up_a_job(model);
    must(aegis_model_input(model, 0, "cursor", &data, &size, &err), &err);
    ((int64_t *)data)[0] = m->prompt;
    ((int64_t *)data)[1] = 0;
    job(model);
    give_up_a_job(model);
}

/* All tensors, those included that pass. */
static uint64_t planned_bytes(aegis_model *model)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    uint64_t sum = 0;
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        sum += lifetimes[i].size_bytes;
    }
    return sum;
}

/* `exact`: the limit is the least. */
static void
check_streamed(const aegis_model_config *config, const made *m, const answer *wanted, bool exact)
{
    aegis_error err;
    placed_memory placed;
    aegis_model *model = open_as(config);
    const uint32_t block = config->prompt_block;
    print_message("%s: %u segments\n", aegis_model_label(model), aegis_model_segment_count(model));
    assert_non_null(strstr(aegis_model_label(model), "layers from pinned memory, prompts by "));
    assert_int_equal(aegis_model_awaited_segments(model), 0);
    expect_same(model, m, block, 1, wanted);
    must(aegis_model_record(model, NULL, &err), &err);
    assert_true(planned_bytes(model) <= config->memory_limit_bytes);
    assert_true(!exact || planned_bytes(model) == config->memory_limit_bytes);
    job(model); /* a measured one */
    placed_make_on(model, 4096, device, &placed);
    expect_same(model, m, block, 1, wanted);
    expect_same(model, m, block, 2, wanted);
    give_up_a_block_and_a_step(model, m);
    expect_same(model, m, block, 1, wanted);
    placed_check_red_zones(&placed);
    aegis_model_close(model);
    placed_free(&placed);
}

/* Blocks of each size, streamed as far as can be, and as little. */
static void check_shape(const made *of, const char *dtype, const uint32_t *blocks, size_t count)
{
    const made length = of_length(of, 36), *m = &length;
    const aegis_input_shape shape = prompt_shape(m);
    char path[256], what[300];
    path_of(path, m->shape, dtype);
    answer steps = steps_of(path, m, &shape);
    for (size_t b = 0; b < count; b++) {
        answer wanted = resident_answer(path, m, blocks[b]);
        const uint64_t least = least_bytes(path, m, blocks[b]);
        const uint64_t all = all_bytes(path, m, blocks[b]);
        assert_true(least < all);
        snprintf(what, sizeof what, "%s %s, %u tokens by %u", m->shape, dtype, m->prompt,
                 blocks[b]);
        check_near(what, &wanted, &steps, m);
        aegis_model_config config = config_of(path, m, blocks[b], b % 2 == 0 ? least : all - 1);
        check_streamed(&config, m, &wanted, b % 2 == 0);
        forget(&wanted);
    }
    forget(&steps);
}

/* All layers in one segment. */
static void tiny_models_give_the_same_bits(void **state)
{
    static const uint32_t blocks[] = {17, 32, 2, 7, 80};
    for (size_t k = 0; k < repeats(2, 1); k++) { /* of three blocks */
        check_shape(&tiny[k], *state, blocks, repeats(LENGTH(blocks), 1));
    }
}

/* In two segments, and in three of f32, the first of which has no layers. */
static void shallow_gpt2_gives_the_same_bits(void **state)
{
    static const uint32_t blocks[] = {32, 2, 128, 256};
    check_shape(&shallow[0], *state, blocks, repeats(LENGTH(blocks), 1));
}

static void shallow_llama_gives_the_same_bits(void **state)
{
    static const uint32_t blocks[] = {32, 2, 128, 256};
    check_shape(&shallow[1], *state, blocks, repeats(LENGTH(blocks), 1));
}

/* However many layers come, every `step`-th number of them: so cut in all ways that there are. */
static void check_divisions(const made *m, const char *dtype, uint32_t layers, uint32_t step)
{
    enum {
        BLOCK = 64
    };
    char path[256];
    skip_what_is_only_large();
    path_of(path, m->shape, dtype);
    answer wanted = resident_answer(path, m, BLOCK);
    const uint64_t least = least_bytes(path, m, BLOCK), all = all_bytes(path, m, BLOCK);
    const uint64_t layer_bytes = (all - least) / (layers - 2);
    assert_int_equal(all - least, layer_bytes * (layers - 2));
    for (uint32_t stay = 0; stay + 3 <= layers; stay += step) {
        const aegis_model_config config = config_of(path, m, BLOCK, least + stay * layer_bytes);
        check_streamed(&config, m, &wanted, true);
    }
    aegis_model_config config = config_of(path, m, BLOCK, all); /* it fits, and is a resident one */
    aegis_model *model = open_as(&config);
    assert_null(strstr(aegis_model_label(model), "pinned"));
    assert_int_equal(aegis_model_segment_count(model), 1);
    expect_same(model, m, BLOCK, 1, &wanted);
    aegis_model_close(model);
    forget(&wanted);
}

static const made small = {"gpt2-small", 50257, 192, 150}, llama = {"llama-135m", 49152, 192, 150};

static void every_division_of_gpt2_small_gives_the_same_bits(void **state)
{
    check_divisions(&small, *state, 12, strcmp(*state, "f16") == 0 ? 1 : 3);
}

static void divisions_of_llama_give_the_same_bits(void **state)
{
    check_divisions(&llama, *state, 30, 9);
}

/* The same launches one by one; the second time a graph runs it does what it did at first. */
static void graphs_change_no_bit(void **state)
{
    static const made shallow_one = {"gpt2-shallow", 1003, 96, 80};
    const made of = under_sanitizer() ? tiny[1] : shallow_one, m = of_length(&of, 36);
    char path[256];
    path_of(path, m.shape, *state);
    aegis_model_config config = config_of(path, &m, 16, least_bytes(path, &m, 16));
    aegis_model *with_graphs = open_as(&config);
    config.eager = true;
    aegis_model *eager = open_as(&config);
    answer wanted = run_sequence(eager, &m, 16, 1);
    for (uint32_t run = 0; run < repeats(5, 2); run++) {
        expect_same(with_graphs, &m, 16, 1, &wanted);
    }
    expect_same(eager, &m, 16, 2, &wanted);
    aegis_model_close(with_graphs);
    aegis_model_close(eager);
    forget(&wanted);
}

/* Ring and scratches are nobody's between jobs: others may write there. */
static void conforms(void **state)
{
    (void)state;
    static const made shapes[] = {{"llama-tiny", 301, 24, 7}, {"gpt2-shallow", 1003, 24, 7}};
    for (size_t k = 0; k < repeats(LENGTH(shapes), 1); k++) {
        char path[256];
        path_of(path, shapes[k].shape, "f16");
        const uint64_t least = least_bytes(path, &shapes[k], 3);
        aegis_model_config config = config_of(path, &shapes[k], 3, least + 8192);
        conformance_check_keeping(backend, &config, kept_bytes(&config));
    }
}

/* What blocks take, with all their scratches, layers do not get; a byte less is refused. */
static void blocks_are_part_of_the_memory(void **state)
{
    (void)state;
    static const made m = {"gpt2-shallow", 1003, 96, 80};
    char path[256];
    path_of(path, m.shape, "f16");
    const uint64_t least = least_bytes(path, &m, 32), with_fewer = least_bytes(path, &m, 16);
    aegis_model_config config = config_of(path, &m, 32, least);
    aegis_model *model = open_as(&config);
    aegis_model_close(model);
    config.memory_limit_bytes = least - 1;
    assert_int_equal(needed_bytes(&config, "blocks of the prompt"), least);
    /* of 16 tokens: two streams, inputs and outputs of two parts, queries */
    assert_int_equal(least - with_fewer, 16 * 4 * (2 * 768 + 2 * 3072 + 2 * 3072 + 768));
    assert_true(least - least_bytes(path, &m, 0) > UINT64_C(36) << 20); /* scratches, workspace */
    uint64_t used = 0, peak = 0;
    aegis_device_pinned_usage(device, &used, &peak);
    assert_int_equal(used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES_OF_TYPES(tiny_models_give_the_same_bits),
        CASES_OF_TYPES(shallow_gpt2_gives_the_same_bits),
        CASES_OF_TYPES(shallow_llama_gives_the_same_bits),
        CASE_OF(graphs_change_no_bit, "f16"),
        CASE_OF(graphs_change_no_bit, "f32"),
        cmocka_unit_test(conforms),
        cmocka_unit_test(blocks_are_part_of_the_memory),
        CASE_OF(every_division_of_gpt2_small_gives_the_same_bits, "f16"),
        CASE_OF(every_division_of_gpt2_small_gives_the_same_bits, "f32"),
        CASE_OF(divisions_of_llama_give_the_same_bits, "f16"),
        CASE_OF(divisions_of_llama_give_the_same_bits, "bf16"),
    };
    return run_on_cuda_after(tests, set_up_with_cublas);
}
