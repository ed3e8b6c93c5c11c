/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_LANGUAGE_FIXTURE_H
#define AEGIS_TEST_LANGUAGE_FIXTURE_H

/* Made-up transformers as models with jobs, and what the engine makes of the same prompt. */

#include "support/language_jobs.h"
#include "support/test_allocator.h"

#include <aegisrt/ext/backend_ops.h>
#include <aegisrt/transformer.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define PROMPT 7
#define TOKENS 12
#define VOCABULARY 301
#define CONTEXT 24
#define MOST_CUTS 64

static char folder[] = "/tmp/aegisrt-language-XXXXXX";
static const char *const kinds[] = {"gpt2-tiny", "llama-tiny", "llama-tiny-untied"};
static const char *const dtypes[] = {"f32", "f16", "bf16", "i8"};
static const uint32_t prompt[PROMPT] = {3, 77, 200, 5, 3, 77, 200};
static const aegis_state_pair pair = {"cursor", "next_cursor"};
static aegis_backend *backend;

static inline const char *model_path(const char *shape, const char *dtype)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s-%s", folder, shape, dtype);
    return path;
}

static inline aegis_model_config config_of(const char *path)
{
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {PROMPT}};
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    return (aegis_model_config){.name = "m",
                                .path = path,
                                .inputs = &shape,
                                .input_count = 1,
                                .state = &pair,
                                .state_count = 1,
                                .sources = &source,
                                .source_count = 1,
                                .context_tokens = CONTEXT};
}

static inline aegis_model *open_model(const aegis_model_config *config)
{
    aegis_error err;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, config, &model, &err), &err);
    return model;
}

static inline void give_prompt(aegis_model *model)
{
    int64_t *tokens = prompt_input(model, PROMPT);
    for (int i = 0; i < PROMPT; i++) {
        tokens[i] = prompt[i];
    }
}

/* What the engine makes of the prompt, and the logits behind the prompt and the tokens but the
 * last. */
typedef struct wanted {
    uint32_t tokens[TOKENS];
    float logits[VOCABULARY];
} wanted;

static inline wanted engine_makes(const char *path)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config config = {.model = path,
                                             .budget_bytes = UINT64_C(4) << 30,
                                             .context_tokens = 64,
                                             .threads = 2,
                                             .no_tokenizer = true};
    const aegis_generation_request request = {
        .tokens = prompt, .token_count = PROMPT, .max_tokens = TOKENS, .past_end = true};
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    aegis_generation made = {0};
    aegis_generation_figures figures;
    aegis_error err;
    wanted all;
    uint32_t text[PROMPT + TOKENS];
    must(aegis_transformer_create(&config, &allocator, &idle, &err), &err);
    must(aegis_transformer_load(&idle, &planned, &err), &err);
    must(aegis_transformer_prepare(&planned, &ready, &err), &err);
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, &figures, &err), &err);
    assert_int_equal(made.token_count, TOKENS);
    memcpy(all.tokens, made.tokens, sizeof all.tokens);
    memcpy(text, prompt, sizeof prompt);
    memcpy(text + PROMPT, made.tokens, sizeof all.tokens);
    must(aegis_transformer_evaluate(ready, text, PROMPT + TOKENS - 1, all.logits, &err), &err);
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
    return all;
}

/* A sequence from its begin; the model's jobs give the prompt, then the engine's tokens. */
static inline void expect_sequence(aegis_model *model, const wanted *all)
{
    give_prompt(model);
    for (int i = 1; i < PROMPT; i++) {
        assert_int_equal(job(model), prompt[i]);
    }
    for (int i = 0; i < TOKENS; i++) {
        assert_int_equal(job(model), all->tokens[i]);
    }
    assert_memory_equal(output(model, "logits"), all->logits, sizeof all->logits);
}

typedef struct interrupter {
    aegis_model *model;
    _Atomic bool over;
} interrupter;

static inline void *interrupt(void *argument)
{
    interrupter *self = argument;
    while (!atomic_load(&self->over)) {
        aegis_model_terminate(self->model);
    }
    return NULL;
}

static inline int set_up(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config config = {.runtime = "transformer", .consumer = "test"};
    aegis_error err;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        for (size_t d = 0; d < LENGTH(dtypes); d++) {
            must(aegis_transformer_synthesize(model_path(kinds[k], dtypes[d]), kinds[k], dtypes[d],
                                              5, &err),
                 &err);
        }
    }
    must(aegis_backend_create(&config, NULL, &allocator, &backend, &err), &err);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    char command[128];
    aegis_backend_destroy(backend);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#endif
