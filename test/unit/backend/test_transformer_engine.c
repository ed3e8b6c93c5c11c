/* SPDX-License-Identifier: Apache-2.0 */
/* The engine on made-up models: equal bits whatever the budget, strategy, threads, instructions and
 * batch; every status; failures of files on the way. */
#include "backend/transformer/engine/engine.h"
#include "base/base.h"
#include "support/test_allocator.h"

#include <aegisrt/transformer.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TOKENS 12
#define WIDE_BUDGET (UINT64_C(4) << 30) /* sanitizers hold a lot */

static char folder[] = "/tmp/aegisrt-transformer-XXXXXX";
static const char *const kinds[] = {"gpt2-tiny", "llama-tiny", "llama-tiny-untied"};
static const char *const dtypes[] = {"f32", "f16", "bf16", "i8"};
static const uint32_t prompt[] = {3, 77, 200, 5, 3, 77, 200};

static const char *model_path(const char *shape, const char *dtype)
{
    static char path[2][256];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s-%s", folder, shape, dtype);
    return path[turn];
}

static void must(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fail_msg("%s: %s", aegis_status_name(status), error->message);
    }
}

static aegis_transformer_config config_of(const char *shape, const char *dtype)
{
    return (aegis_transformer_config){.model = model_path(shape, dtype),
                                      .budget_bytes = WIDE_BUDGET,
                                      .context_tokens = 64,
                                      .threads = 2,
                                      .no_tokenizer = true};
}

static aegis_transformer_planned *plan(const aegis_transformer_config *config)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_error error = {0};
    must(aegis_transformer_create(config, &allocator, &idle, &error), &error);
    must(aegis_transformer_load(&idle, &planned, &error), &error);
    assert_null(idle);
    return planned;
}

static aegis_transformer_ready *start(const aegis_transformer_config *config)
{
    aegis_transformer_planned *planned = plan(config);
    aegis_transformer_ready *ready = NULL;
    aegis_error error = {0};
    must(aegis_transformer_prepare(&planned, &ready, &error), &error);
    assert_null(planned);
    return ready;
}

static aegis_generation_request request_of(const uint32_t *tokens, size_t count)
{
    return (aegis_generation_request){
        .tokens = tokens, .token_count = count, .max_tokens = TOKENS, .past_end = true};
}

/* Tokens and logits of the standard prompt. */
typedef struct outcome {
    uint32_t tokens[TOKENS];
    float logits[301];
} outcome;

static outcome run_one(const aegis_transformer_config *config, aegis_transformer_info *ret_info)
{
    aegis_transformer_ready *ready = start(config);
    const aegis_generation_request request = request_of(prompt, AEGIS_ARRAY_LENGTH(prompt));
    aegis_generation made = {0};
    aegis_generation_figures figures = {0};
    aegis_error error = {0};
    outcome out;
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, &figures, &error),
         &error);
    assert_int_equal(made.token_count, TOKENS);
    assert_int_equal(figures.tokens, TOKENS);
    assert_int_equal(made.end, AEGIS_GENERATION_LENGTH);
    memcpy(out.tokens, made.tokens, sizeof out.tokens);
    must(aegis_transformer_evaluate(ready, prompt, AEGIS_ARRAY_LENGTH(prompt), out.logits, &error),
         &error);
    if (ret_info != NULL) {
        aegis_transformer_ready_info(ready, ret_info);
    }
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
    return out;
}

static void expect_same(const outcome *a, const outcome *b, const char *what)
{
    if (memcmp(a, b, sizeof *a) != 0) {
        fail_msg("%s: other bits", what);
    }
}

/* A strategy that leaves the engine `share` sixteenths of the units' bytes, whatever the process
 * holds: budgets of the whole process would be lost in it with models this small. */
typedef struct narrow {
    const char *name;
    uint64_t share;
} narrow;

static aegis_status plan_narrow(void *self,
                                const aegis_partition_request *request,
                                aegis_partition_builder *builder,
                                aegis_error *err)
{
    const narrow *how = self;
    const aegis_partition_strategy *inner = aegis_partition_strategy_find(how->name);
    aegis_partition_request *less = (aegis_partition_request *)(uintptr_t)request;
    const uint64_t available = less->available_bytes;
    uint64_t model = 0;
    for (uint32_t u = 0; u < request->unit_count; u++) {
        model += request->units[u].row_bytes * request->units[u].rows;
    }
    less->available_bytes = aegis_partition_least_bytes(request) * 3 + model * how->share / 16;
    aegis_status status = inner->plan(inner->self, request, builder, err);
    less->available_bytes = available;
    return status;
}

/* One piece a row of the stored matrices, every third pinned: the most awkward division. */
static aegis_status plan_shreds(void *self,
                                const aegis_partition_request *request,
                                aegis_partition_builder *builder,
                                aegis_error *err)
{
    (void)self;
    uint32_t turn = 0;
    aegis_status status = aegis_partition_set_buffers(builder, 2, err);
    for (uint32_t u = 0; status == AEGIS_OK && u < request->unit_count; u++) {
        if (request->units[u].lookup) {
            status = aegis_partition_leave(builder, err);
            continue;
        }
        for (uint32_t at = 0; status == AEGIS_OK && at < request->units[u].rows;) {
            uint32_t rows = 1 + turn % 29;
            rows = rows < request->units[u].rows - at ? rows : request->units[u].rows - at;
            status = turn % 3 == 0 ? aegis_partition_pin(builder, rows, err)
                                   : aegis_partition_stream(builder, rows, err);
            if (turn % 5 == 4) {
                aegis_partition_end_group(builder);
            }
            at += rows;
            turn++;
        }
    }
    return status;
}

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
 * --------------------------------------------------------------------------------------- */

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
 * ---------------------------------------------------------------------------- */

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

/* The least budget is one: it does, and a little less does not. */
static void the_least_budget_is_the_least(void **state)
{
    (void)state;
    aegis_transformer_config config = config_of("llama-tiny", "f16");
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_info info;
    aegis_partition *found = NULL;
    aegis_error error = {0};
    aegis_transformer_planned_info(planned, &info);
    assert_true(info.memory.planned <= info.memory.budget);
    assert_true(info.memory.process > 0 && info.memory.least > info.memory.process);
    must(aegis_transformer_planned_try(planned, "auto", info.memory.least, &found, &error), &error);
    aegis_partition_free(found);
    assert_int_equal(
        aegis_transformer_planned_try(planned, "auto", info.memory.least - 8192, &found, &error),
        AEGIS_ERROR_BUDGET_EXCEEDED);
    assert_int_equal(
        aegis_transformer_planned_try(planned, "none", info.memory.least, &found, &error),
        AEGIS_ERROR_NOT_FOUND);
    must(aegis_transformer_planned_measure(planned, &error), &error);
    aegis_transformer_planned_info(planned, &info);
    assert_true(info.disk_rate > 0 && info.memory_rate > 0);
    assert_int_equal(aegis_transformer_planned_layers(planned), 6);
    aegis_transformer_layer layer;
    aegis_transformer_planned_layer(planned, 5, &layer);
    assert_string_equal(layer.kind, "head");
    assert_true(layer.tied);
    aegis_transformer_planned_destroy(planned);
}

/* --- the budget's source
 * -------------------------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
    char whole[512], parent[512];
    snprintf(whole, sizeof whole, "%s/root/%s", folder, path);
    snprintf(parent, sizeof parent, "%s", whole);
    *strrchr(parent, '/') = '\0';
    assert_int_equal(aegis_folder_create(parent, NULL), AEGIS_OK);
    assert_int_equal(aegis_file_write_atomic(whole, text, strlen(text), NULL), AEGIS_OK);
}

static aegis_transformer_memory budget_found(void)
{
    char root[512];
    snprintf(root, sizeof root, "%s/root", folder);
    aegis_transformer_config config = config_of("gpt2-tiny", "f16");
    config.budget_bytes = 0;
    config.system_root = root;
    aegis_transformer_planned *planned = plan(&config);
    aegis_transformer_info info;
    aegis_transformer_planned_info(planned, &info);
    aegis_transformer_planned_destroy(planned);
    return info.memory;
}

static void control_groups_of_both_versions_set_the_budget(void **state)
{
    (void)state;
    write_file("proc/meminfo",
               "MemTotal: 8000000 kB\nMemFree: 7000000 kB\nMemAvailable: 7500000 kB\n");
    write_file("proc/cpuinfo", "processor\t: 0\nmodel name\t: x\n\n");
    write_file("proc/self/status", "VmHWM:\t  9000 kB\nVmRSS:\t  8192 kB\nCpus_allowed_list:\t0\n");
    aegis_transformer_memory memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_MACHINE);
    assert_int_equal(memory.process, 8192 * 1024);
    write_file("proc/self/cgroup", "0::/box\n");
    write_file("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    write_file("sys/fs/cgroup/box/memory.max", "268435456\n");
    write_file("sys/fs/cgroup/box/memory.current", "8388608\n");
    memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_CONTROL_GROUP);
    assert_int_equal(memory.budget,
                     268435456); /* what is left and what the process holds already */
    write_file("sys/fs/cgroup/box/memory.current", "1048576\n"); /* less than is resident */
    memory = budget_found();
    assert_int_equal(memory.budget, 268435456);
    write_file("proc/self/cgroup", "4:memory:/box\n");
    write_file("proc/self/mountinfo",
               "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    write_file("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "134217728\n");
    write_file("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "8388608\n");
    memory = budget_found();
    assert_int_equal(memory.source, AEGIS_BUDGET_CONTROL_GROUP);
    assert_int_equal(memory.budget, 134217728);
    assert_string_equal(aegis_budget_source_name(memory.source), "control group");
}

/* --- failures of the file
 * ---------------------------------------------------------------------------------- */

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
        passed = status == AEGIS_OK;
        assert_true(passed || status == AEGIS_ERROR_NO_MEMORY);
        if (passed) {
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

/* --- presets
 * --------------------------------------------------------------------------------------------------
 */

static aegis_status load_preset(const char *text, aegis_transformer_preset *ret, aegis_error *error)
{
    char path[256];
    const aegis_allocator allocator = aegis_allocator_default();
    snprintf(path, sizeof path, "%s/preset.toml", folder);
    assert_int_equal(aegis_file_write_atomic(path, text, strlen(text), NULL), AEGIS_OK);
    return aegis_transformer_preset_load(path, &allocator, ret, error);
}

static void presets_are_read_and_checked(void **state)
{
    (void)state;
    aegis_transformer_preset preset = {0};
    aegis_error error = {0};
    must(load_preset("[model]\npath = \"m\"\n[memory]\nbudget = \"128MiB\"\nkv_cache = \"f16\"\n"
                     "[plan]\nstrategy = \"sequential\"\n[generate]\ntemperature = 1\nseed = 5\n",
                     &preset, &error),
         &error);
    assert_string_equal(preset.config.model, "m");
    assert_int_equal(preset.config.budget_bytes, 128 << 20);
    assert_true(preset.config.half_cache);
    assert_string_equal(preset.config.strategy, "sequential");
    assert_true(preset.request.temperature > 0.999);
    assert_int_equal(preset.request.seed, 5);
    aegis_transformer_preset_finish(&preset);
    static const struct {
        const char *text, *words;
        aegis_status status;
    } bad[] = {
        {"[memory]\nbudgit = \"1M\"\n",
         "preset.toml:2:1: unknown key \"budgit\"; did you mean \"budget\"?", AEGIS_ERROR_CONFIG},
        {"[memori]\nbudget = \"1M\"\n", "unknown table \"memori\"; did you mean \"memory\"?",
         AEGIS_ERROR_CONFIG},
        {"[memory]\nbudget = 5\n", "preset.toml:2:10", AEGIS_ERROR_CONFIG},
        {"[memory]\nbudget = \"much\"\n", "preset.toml:2:10", AEGIS_ERROR_CONFIG},
        {"[memory]\nkv_cache = \"f64\"\n", "\"f32\" or \"f16\"", AEGIS_ERROR_CONFIG},
        {"[generate]\ntop_k = -1\n", "not negative", AEGIS_ERROR_CONFIG},
        {"[generate]\ntemperature = \"hot\"\n", "write a number", AEGIS_ERROR_CONFIG},
        {"[model]\npath = 5\n", "write a text", AEGIS_ERROR_CONFIG},
        {"model = 5\n", "is a table", AEGIS_ERROR_CONFIG},
        {"[model\n", "preset.toml:1", AEGIS_ERROR_PARSE},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(bad); i++) {
        assert_int_equal(load_preset(bad[i].text, &preset, &error), bad[i].status);
        if (strstr(error.message, bad[i].words) == NULL) {
            fail_msg("\"%s\" has no \"%s\"", error.message, bad[i].words);
        }
    }
    const aegis_allocator allocator = aegis_allocator_default();
    assert_int_equal(
        aegis_transformer_preset_load("/nonexistent.toml", &allocator, &preset, &error),
        AEGIS_ERROR_NOT_FOUND);
    aegis_transformer_preset_finish(&preset);
}

static void the_presets_of_the_project_are_good(void **state)
{
    (void)state;
    static const char *const names[] = {"rpi4_default", "constrained_2gb", "performance"};
    const aegis_allocator allocator = aegis_allocator_default();
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        char path[1024];
        aegis_transformer_preset preset = {0};
        aegis_transformer_idle *idle = NULL;
        aegis_error error = {0};
        snprintf(path, sizeof path, "%s/configs/%s.toml", source != NULL ? source : ".", names[i]);
        must(aegis_transformer_preset_load(path, &allocator, &preset, &error), &error);
        must(aegis_transformer_create(&preset.config, &allocator, &idle, &error), &error);
        aegis_transformer_idle_destroy(idle);
        aegis_transformer_preset_finish(&preset);
    }
}

static void made_up_models_are_refused_by_name(void **state)
{
    (void)state;
    aegis_error error = {0};
    assert_int_equal(aegis_transformer_synthesize(folder, "gpt5", "f32", 1, &error),
                     AEGIS_ERROR_NOT_FOUND);
    assert_int_equal(aegis_transformer_synthesize(folder, "gpt2-tiny", "f8", 1, &error),
                     AEGIS_ERROR_CONFIG);
    char blocked[256], inside[512];
    snprintf(blocked, sizeof blocked, "%s/blocked", folder);
    snprintf(inside, sizeof inside, "%s/model.safetensors",
             blocked); /* a folder in the file's place */
    assert_int_equal(aegis_folder_create(inside, NULL), AEGIS_OK);
    assert_int_equal(aegis_transformer_synthesize(blocked, "gpt2-tiny", "f32", 1, &error),
                     AEGIS_ERROR_IO);
    assert_string_equal(aegis_transformer_shape_at(0), "gpt2-small");
    assert_null(aegis_transformer_shape_at(100));
}

static int set_up(void **state)
{
    (void)state;
    aegis_error error = {0};
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(kinds); k++) {
        for (size_t d = 0; d < AEGIS_ARRAY_LENGTH(dtypes); d++) {
            must(aegis_transformer_synthesize(model_path(kinds[k], dtypes[d]), kinds[k], dtypes[d],
                                              5, &error),
                 &error);
        }
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
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
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(what_cannot_be_loaded_says_why),
        cmocka_unit_test(the_least_budget_is_the_least),
        cmocka_unit_test(control_groups_of_both_versions_set_the_budget),
        cmocka_unit_test(a_failed_read_leaves_nothing_half_done),
        cmocka_unit_test(memory_that_fails_leaks_nothing),
        cmocka_unit_test(presets_are_read_and_checked),
        cmocka_unit_test(the_presets_of_the_project_are_good),
        cmocka_unit_test(made_up_models_are_refused_by_name),
    };
    return cmocka_run_group_tests_name("transformer engine", tests, set_up, tear_down);
}
