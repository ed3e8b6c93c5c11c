/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ENGINE_FIXTURE_H
#define AEGIS_TEST_ENGINE_FIXTURE_H

/* Made-up models of each kind and type in a folder, and engines on them. */

#include "backend/transformer/engine/engine.h"
#include "base/base.h"

#include <aegisrt/transformer.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static inline void must(aegis_status status, const aegis_error *error)
{
    if (status != AEGIS_OK) {
        fail_msg("%s: %s", aegis_status_name(status), error->message);
    }
}

static inline aegis_transformer_config config_of(const char *shape, const char *dtype)
{
    return (aegis_transformer_config){.model = model_path(shape, dtype),
                                      .budget_bytes = WIDE_BUDGET,
                                      .context_tokens = 64,
                                      .threads = 2,
                                      .no_tokenizer = true};
}

static inline aegis_transformer_planned *plan(const aegis_transformer_config *config)
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

static inline aegis_transformer_ready *start(const aegis_transformer_config *config)
{
    aegis_transformer_planned *planned = plan(config);
    aegis_transformer_ready *ready = NULL;
    aegis_error error = {0};
    must(aegis_transformer_prepare(&planned, &ready, &error), &error);
    assert_null(planned);
    return ready;
}

static inline aegis_generation_request request_of(const uint32_t *tokens, size_t count)
{
    return (aegis_generation_request){
        .tokens = tokens, .token_count = count, .max_tokens = TOKENS, .past_end = true};
}

/* Tokens and logits of the standard prompt. */
typedef struct outcome {
    uint32_t tokens[TOKENS];
    float logits[301];
} outcome;

static inline outcome run_one(const aegis_transformer_config *config,
                              aegis_transformer_info *ret_info)
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

static inline void expect_same(const outcome *a, const outcome *b, const char *what)
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

static inline aegis_status plan_narrow(void *self,
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
static inline aegis_status plan_shreds(void *self,
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

#endif
