/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on made-up models: equal bits whatever the budget, strategy, threads, instructions and
 * batch; draws, drafts, streams of tokens. */
#include "engine_fixture.h"

#include <math.h>

static void outputs_do_not_depend_on_the_plan(void **state)
{
    (void)state;
    static const char *const names[] = {"sequential", "greedy-grouping", "speculative-prefetch",
                                        "resident-stream", "auto"};
    static const aegis_partition_strategy shreds = {1, "shreds", plan_shreds, NULL};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        for (size_t d = 0; d < AEGIS_ARRAY_LENGTH(dtypes); d++) {
            aegis_transformer_config config = config_of(kinds[k], dtypes[d]);
            aegis_transformer_info info;
            const outcome whole = run_one(&config, &info);
            assert_int_equal(info.groups, 1);
            assert_int_equal(info.streamed_bytes, 0);
            uint32_t streamed = 0;
            for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(names); n++) {
                for (uint64_t share = 0; share <= 8; share += 4) {
                    narrow how = {names[n], share};
                    const aegis_partition_strategy strategy = {1, names[n], plan_narrow, &how};
                    config.own_strategy = &strategy;
                    config.threads = 1 + (uint32_t)(n + share) % 3;
                    const outcome part = run_one(&config, &info);
                    expect_same(&part, &whole, names[n]);
                    streamed += info.streamed_bytes > 0;
                }
            }
            config.own_strategy = &shreds;
            const outcome part = run_one(&config, &info);
            expect_same(&part, &whole, "shreds");
            assert_true(info.streamed_bytes > 0 && info.memory.pinned > 0 && info.groups > 10);
            assert_true(streamed >= 3); /* at least `sequential` */
        }
    }
}

static void outputs_do_not_depend_on_instructions(void **state)
{
    (void)state;
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        aegis_transformer_config config = config_of(kinds[k], "f16");
        const outcome best = run_one(&config, NULL);
        const aegis_kernels *set;
        for (size_t i = 0; (set = aegis_kernels_at(i)) != NULL; i++) {
            config.instructions = set->name;
            const outcome other = run_one(&config, NULL);
            expect_same(&other, &best, set->name);
        }
    }
}

/* A BLAS is asked for; its outputs are near the own ones, and the budget counts what it takes. */
static void products_by_a_blas_are_near(void **state)
{
    (void)state;
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        aegis_transformer_config config = config_of(kinds[k], "f16");
        const aegis_allocator allocator = aegis_allocator_default();
        aegis_transformer_info own, other;
        aegis_transformer_idle *idle = NULL;
        aegis_error error = {0};
        const outcome best = run_one(&config, &own);
        config.products = "blas";
        const aegis_status status = aegis_transformer_create(&config, &allocator, &idle, &error);
        aegis_transformer_idle_destroy(idle);
        if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
            print_message("skipped: %s\n", error.message);
            skip();
        }
        must(status, &error);
        const outcome near = run_one(&config, &other);
        assert_string_equal(own.products, "own");
        assert_string_equal(other.products, "blas");
        assert_true(other.memory.work > own.memory.work);
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(best.logits); i++) {
            assert_true(fabsf(best.logits[i] - near.logits[i]) < 1e-3f);
        }
    }
}

static void a_batch_is_its_members(void **state)
{
    (void)state;
    static const uint32_t others[3][5] = {
        {9, 8, 7, 6, 5}, {300, 0, 300, 0, 1}, {42, 42, 42, 42, 42}};
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        aegis_transformer_config config = config_of(kinds[k], "f32");
        aegis_error error = {0};
        uint32_t alone[3][TOKENS];
        config.sequences = 3;
        config.prefill_rows = 4; /* prompts that cross passes */
        aegis_transformer_ready *ready = start(&config);
        aegis_generation_request requests[3];
        aegis_generation made[3] = {{0}};
        for (size_t s = 0; s < 3; s++) {
            requests[s] = request_of(others[s], 3 + s);
            requests[s].max_tokens = TOKENS - (uint32_t)s;
            must(aegis_transformer_generate(ready, &requests[s], 1, NULL, NULL, made, NULL, &error),
                 &error);
            memcpy(alone[s], made[0].tokens, requests[s].max_tokens * sizeof(uint32_t));
            aegis_generation_finish(ready, &made[0]);
        }
        must(aegis_transformer_generate(ready, requests, 3, NULL, NULL, made, NULL, &error),
             &error);
        for (size_t s = 0; s < 3; s++) {
            assert_int_equal(made[s].token_count, requests[s].max_tokens);
            assert_memory_equal(made[s].tokens, alone[s], made[s].token_count * sizeof(uint32_t));
            aegis_generation_finish(ready, &made[s]);
        }
        aegis_transformer_ready_destroy(ready);
    }
}

static void lookup_changes_nothing_but_the_passes(void **state)
{
    (void)state;
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        aegis_transformer_config config = config_of(kinds[k], "f32");
        aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
        aegis_generation plain = {0}, guessed = {0};
        aegis_generation_figures figures = {0};
        aegis_error error = {0};
        request.max_tokens = 50;
        config.draft_tokens = 5;
        aegis_transformer_ready *ready = start(&config);
        must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &plain, NULL, &error),
             &error);
        request.lookup = true;
        must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &guessed, &figures, &error),
             &error);
        assert_int_equal(guessed.token_count, 50);
        assert_memory_equal(plain.tokens, guessed.tokens, 50 * sizeof(uint32_t));
        assert_true(figures.drafted > 0);
        assert_int_equal(figures.passes + figures.accepted, figures.decoded_tokens);
        aegis_generation_finish(ready, &plain);
        aegis_generation_finish(ready, &guessed);
        aegis_transformer_ready_destroy(ready);
    }
}

static void drafts_are_what_followed_before(void **state)
{
    (void)state;
    static const uint32_t text[] = {1, 2, 3, 4, 5, 9, 2, 3, 7, 1, 2, 3};
    uint32_t draft[4];
    assert_int_equal(aegis_lookup_draft(text, 12, 4, draft), 4); /* 1 2 3 stands at 0 */
    assert_int_equal(draft[0], 4);
    assert_int_equal(draft[3], 2);
    assert_int_equal(aegis_lookup_draft(text, 8, 2, draft), 2); /* 2 3 stands at 1 */
    assert_int_equal(draft[0], 4);
    assert_int_equal(aegis_lookup_draft(text, 5, 4, draft), 0);
    assert_int_equal(aegis_lookup_draft(text, 1, 4, draft), 0);
}

/* --- sampling
 * ------------------------------------------------------------------------------------- */

static void draws_have_their_shares(void **state)
{
    (void)state;
    const float logits[] = {0.0f, 2.0f, 1.0f, -1.0f, 2.0f};
    aegis_candidate room[5];
    assert_int_equal(aegis_sample_greedy(logits, 5), 1); /* the first of two equal ones */
    static const struct {
        uint32_t top_k;
        double top_p;
        double share[5];
    } cases[] = {
        {0, 0, {0.0497, 0.3669, 0.1350, 0.0183, 0.3669}},
        {3, 0, {0, 0.4223, 0.1554, 0, 0.4223}},
        {0, 0.7, {0, 0.5, 0, 0, 0.5}},
        {0, 0.2, {0, 1, 0, 0, 0}},
        {3, 0.9, {0, 0.4223, 0.1554, 0, 0.4223}},
        {3, 0.5, {0, 0.5, 0, 0, 0.5}},
        {1, 0, {0, 1, 0, 0, 0}},
    };
    for (size_t c = 0; c < AEGIS_ARRAY_LENGTH(cases); c++) {
        uint32_t drawn[5] = {0};
        aegis_sampling sampling = {1.0, cases[c].top_k, cases[c].top_p, 17};
        for (int i = 0; i < 20000; i++) {
            drawn[aegis_sample(logits, 5, &sampling, room)]++;
        }
        double whole = 0;
        for (int t = 0; t < 5; t++) {
            whole += cases[c].share[t];
        }
        for (int t = 0; t < 5; t++) {
            const double off = drawn[t] / 20000.0 - cases[c].share[t] / whole;
            assert_true(off < 0.02 && off > -0.02);
            assert_true(cases[c].share[t] > 0 || drawn[t] == 0);
        }
    }
}

static void seeds_decide_draws(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("llama-tiny", "f32");
    aegis_transformer_ready *ready = start(&config);
    aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation made[3] = {{0}};
    aegis_error error = {0};
    request.temperature = 1.5;
    request.top_k = 50;
    request.top_p = 0.95;
    for (size_t i = 0; i < 3; i++) {
        request.seed = i == 2 ? 8 : 7;
        must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made[i], NULL, &error),
             &error);
    }
    assert_memory_equal(made[0].tokens, made[1].tokens, TOKENS * sizeof(uint32_t));
    assert_memory_not_equal(made[0].tokens, made[2].tokens, TOKENS * sizeof(uint32_t));
    for (size_t i = 0; i < 3; i++) {
        aegis_generation_finish(ready, &made[i]);
    }
    aegis_transformer_ready_destroy(ready);
}

/* --- streams, limits, ends
 * ------------------------------------------------------------------------ */

typedef struct listener {
    uint32_t tokens[64], count, stop_after;
} listener;

static bool listen(void *self, uint32_t sequence, uint32_t token, const char *text, size_t size)
{
    listener *all = self;
    (void)text;
    assert_int_equal(sequence, 0);
    assert_int_equal(size, 0); /* no tokenizer */
    all->tokens[all->count++] = token;
    return all->count != all->stop_after;
}

static void callers_hear_every_token_and_can_stop(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("gpt2-tiny", "f32");
    aegis_transformer_ready *ready = start(&config);
    aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation made = {0};
    aegis_error error = {0};
    listener all = {.stop_after = 5};
    must(aegis_transformer_generate(ready, &request, 1, listen, &all, &made, NULL, &error), &error);
    assert_int_equal(made.end, AEGIS_GENERATION_STOPPED);
    assert_int_equal(made.token_count, 5);
    assert_memory_equal(made.tokens, all.tokens, 5 * sizeof(uint32_t));
    assert_int_equal(made.prompt_count, AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation_finish(ready, &made);
    request.max_tokens = 1000; /* the context ends first */
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, NULL, &error), &error);
    assert_int_equal(made.end, AEGIS_GENERATION_CONTEXT);
    assert_int_equal(made.token_count, 64 - AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
    assert_string_equal(aegis_generation_end_name(AEGIS_GENERATION_EOS), "eos");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_do_not_depend_on_the_plan),
        cmocka_unit_test(outputs_do_not_depend_on_instructions),
        cmocka_unit_test(products_by_a_blas_are_near),
        cmocka_unit_test(a_batch_is_its_members),
        cmocka_unit_test(lookup_changes_nothing_but_the_passes),
        cmocka_unit_test(drafts_are_what_followed_before),
        cmocka_unit_test(draws_have_their_shares),
        cmocka_unit_test(seeds_decide_draws),
        cmocka_unit_test(callers_hear_every_token_and_can_stop),
    };
    return cmocka_run_group_tests_name("transformer engine", tests, set_up, tear_down);
}
