/* SPDX-License-Identifier: Apache-2.0 */
#include "edge_rt.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODEL "models/smollm2-135m"

static int
take_count(const char *name, const char *text, uint64_t low, uint64_t high, uint32_t *ret)
{
    uint64_t value;
    int code = cli_take_unsigned(name, text, low, high, &value);
    *ret = code == 0 ? (uint32_t)value : *ret;
    return code;
}

static int take_cache(edge_options *options, const char *text)
{
    options->config.half_cache = strcmp(text, "f16") == 0;
    options->has_half_cache = true;
    if (!options->config.half_cache && strcmp(text, "f32") != 0) {
        return cli_usage("--kv-cache %s: write f32 or f16", text);
    }
    return 0;
}

static int take_prompt(edge_options *options, const char *text)
{
    if (options->prompt_count == EDGE_MAX_PROMPTS) {
        return cli_usage("--prompt: at most %d of them", EDGE_MAX_PROMPTS);
    }
    if (text[0] == '\0') {
        return cli_usage("--prompt: the text is empty; write some words to go on from");
    }
    options->prompts[options->prompt_count++] = text;
    return 0;
}

static int take_sweep(edge_options *options, const char *text)
{
    char item[64];
    options->sweep_count = 0;
    for (const char *at = text; *at != '\0';) {
        const size_t length = strcspn(at, ",");
        if (options->sweep_count == EDGE_MAX_SWEEP || length >= sizeof item) {
            return cli_usage("--sweep-memory: at most %d sizes with commas between",
                             EDGE_MAX_SWEEP);
        }
        snprintf(item, sizeof item, "%.*s", (int)length, at);
        int code = cli_take_size("sweep-memory", item, &options->sweep[options->sweep_count++]);
        if (code != 0) {
            return code;
        }
        at += length + (at[length] == ',' ? 1 : 0);
    }
    return options->sweep_count > 0 ? 0 : cli_usage("--sweep-memory: write sizes, as 128M,256M");
}

static int take_strategies(edge_options *options, const char *text)
{
    free(options->strategy_text);
    options->strategy_text = strdup(text);
    options->strategy_count = 0;
    char *rest = NULL;
    for (char *name = options->strategy_text != NULL ? strtok_r(options->strategy_text, ",", &rest)
                                                     : NULL;
         name != NULL; name = strtok_r(NULL, ",", &rest)) {
        if (aegis_partition_strategy_find(name) == NULL ||
            options->strategy_count == EDGE_MAX_SWEEP) {
            return cli_usage("--strategies: \"%s\"; there are sequential, greedy-grouping, "
                             "speculative-prefetch, resident-stream and auto",
                             name);
        }
        options->strategies[options->strategy_count++] = name;
    }
    return options->strategy_count > 0 ? 0 : cli_usage("--strategies: write names with commas");
}

static int take_generation(edge_options *options, const char *name, const char *text)
{
    if (strcmp(name, "prompt") == 0) {
        return take_prompt(options, text);
    }
    if (strcmp(name, "max-tokens") == 0) {
        return take_count(name, text, 1, 1 << 20, &options->request.max_tokens);
    }
    if (strcmp(name, "temperature") == 0) {
        options->has_temperature = true;
        return cli_take_number(name, text, 0, 100, &options->request.temperature);
    }
    if (strcmp(name, "top-k") == 0) {
        return take_count(name, text, 0, 1 << 24, &options->request.top_k);
    }
    if (strcmp(name, "top-p") == 0) {
        return cli_take_number(name, text, 0, 1, &options->request.top_p);
    }
    if (strcmp(name, "seed") == 0) {
        return cli_take_unsigned(name, text, 0, UINT64_MAX, &options->request.seed);
    }
    if (strcmp(name, "lookup") == 0) {
        options->config.draft_tokens =
            options->config.draft_tokens != 0 ? options->config.draft_tokens : 7;
        return 0;
    }
    if (strcmp(name, "draft-tokens") == 0) {
        return take_count(name, text, 1, 31, &options->config.draft_tokens);
    }
    options->ignore_eos = strcmp(name, "ignore-eos") == 0 || options->ignore_eos;
    return 0;
}

static int take_engine(edge_options *options, const char *name, const char *text, bool *ret_taken)
{
    *ret_taken = true;
    if (strcmp(name, "model") == 0) {
        options->config.model = text;
        return 0;
    }
    if (strcmp(name, "config") == 0) {
        options->config_file = text;
        return 0;
    }
    if (strcmp(name, "synthetic") == 0) {
        options->synthetic = text;
        return 0;
    }
    if (strcmp(name, "memory-budget") == 0) {
        int code = cli_take_size(name, text, &options->config.budget_bytes);
        return code == 0 && options->config.budget_bytes == 0
                   ? cli_usage("--memory-budget 0: nothing runs in that; leave it out to take what "
                               "the control group or the machine has left")
                   : code;
    }
    if (strcmp(name, "strategy") == 0) {
        options->config.strategy = text;
        return 0;
    }
    if (strcmp(name, "threads") == 0) {
        return take_count(name, text, 1, 64, &options->config.threads);
    }
    if (strcmp(name, "context") == 0) {
        return take_count(name, text, 2, 1 << 24, &options->config.context_tokens);
    }
    if (strcmp(name, "kv-cache") == 0) {
        return take_cache(options, text);
    }
    if (strcmp(name, "products") == 0) {
        options->config.products = text;
        return 0;
    }
    if (strcmp(name, "instructions") == 0) {
        options->config.instructions = text;
        return 0;
    }
    *ret_taken = false;
    return 0;
}

int edge_take(edge_options *options, const char *name, const char *argument)
{
    bool taken;
    int code = take_engine(options, name, argument, &taken);
    if (taken) {
        return code;
    }
    if (strcmp(name, "sweep-memory") == 0) {
        return take_sweep(options, argument);
    }
    if (strcmp(name, "strategies") == 0) {
        return take_strategies(options, argument);
    }
    if (strcmp(name, "repeat") == 0) {
        return cli_take_unsigned(name, argument, 1, 1000, &options->repeat);
    }
    if (strcmp(name, "logits") == 0) {
        options->logits = argument;
        return 0;
    }
    if (strcmp(name, "svg") == 0) {
        options->svg = argument;
        return 0;
    }
    if (strcmp(name, "root") == 0) {
        options->root = argument;
        return 0;
    }
    return take_generation(options, name, argument);
}

/* --- presets and synthetic models ----------------------------------------------------------------
 */

/* What the command line left out comes from the preset. */
static void merge_preset(edge_options *options)
{
    aegis_transformer_config *to = &options->config;
    const aegis_transformer_config *from = &options->preset.config;
    to->model = to->model != NULL ? to->model : from->model;
    to->strategy = to->strategy != NULL ? to->strategy : from->strategy;
    to->products = to->products != NULL ? to->products : from->products;
    to->instructions = to->instructions != NULL ? to->instructions : from->instructions;
    to->budget_bytes = to->budget_bytes != 0 ? to->budget_bytes : from->budget_bytes;
    to->threads = to->threads != 0 ? to->threads : from->threads;
    to->context_tokens = to->context_tokens != 0 ? to->context_tokens : from->context_tokens;
    to->sequences = to->sequences != 0 ? to->sequences : from->sequences;
    to->draft_tokens = to->draft_tokens != 0 ? to->draft_tokens : from->draft_tokens;
    to->prefill_rows = to->prefill_rows != 0 ? to->prefill_rows : from->prefill_rows;
    to->half_cache = options->has_half_cache ? to->half_cache : from->half_cache;
    aegis_generation_request *request = &options->request;
    const aegis_generation_request *given = &options->preset.request;
    request->max_tokens = request->max_tokens != 0 ? request->max_tokens : given->max_tokens;
    request->temperature = options->has_temperature ? request->temperature : given->temperature;
    request->top_k = request->top_k != 0 ? request->top_k : given->top_k;
    request->top_p = request->top_p > 0 ? request->top_p : given->top_p;
    request->seed = request->seed != 0 ? request->seed : given->seed;
}

static int make_synthetic(edge_options *options, const cli_common *common)
{
    char shape[64], config[PATH_MAX];
    const char *colon = strchr(options->synthetic, ':');
    const size_t length =
        colon != NULL ? (size_t)(colon - options->synthetic) : strlen(options->synthetic);
    snprintf(shape, sizeof shape, "%.*s", (int)length, options->synthetic);
    options->config.no_tokenizer = true;
    if (options->config.model != NULL) {
        snprintf(config, sizeof config, "%s/config.json", options->config.model);
        if (access(config, F_OK) == 0) {
            return CLI_CONTINUE; /* made before */
        }
    } else {
        const char *given = getenv("TMPDIR");
        const char *below = given != NULL && given[0] != '\0' ? given : "/tmp";
        options->config.model = edge_scratch_create(below);
        if (options->config.model == NULL) {
            return cli_usage("--synthetic: no folder can be made in %s", below);
        }
    }
    aegis_error error = {0};
    aegis_status status = aegis_transformer_synthesize(
        options->config.model, shape, colon != NULL ? colon + 1 : "f16", 1, &error);
    if (status != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    cli_remark(common, "random weights of %s in %s: the tokens mean nothing, time and memory do",
               options->synthetic, options->config.model);
    return CLI_CONTINUE;
}

int edge_settle(edge_options *options, const cli_common *common)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    if (options->config_file != NULL) {
        if (aegis_transformer_preset_load(options->config_file, &allocator, &options->preset,
                                          &error) != AEGIS_OK) {
            return cli_fail(common, &error);
        }
        merge_preset(options);
    }
    options->request.past_end = options->ignore_eos;
    options->request.lookup = options->config.draft_tokens > 0;
    if (options->synthetic != NULL) {
        return make_synthetic(options, common);
    }
    if (options->config.model == NULL) {
        options->config.model = DEFAULT_MODEL;
    }
    return CLI_CONTINUE;
}

void edge_options_finish(edge_options *options)
{
    edge_scratch_remove();
    free(options->strategy_text);
    aegis_transformer_preset_finish(&options->preset);
}

int edge_load(edge_options *options,
              const cli_common *common,
              aegis_transformer_planned **ret_engine)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    aegis_transformer_idle *idle = NULL;
    aegis_status status = aegis_transformer_create(&options->config, &allocator, &idle, &error);
    if (status == AEGIS_OK) {
        status = aegis_transformer_load(&idle, ret_engine, &error);
        aegis_transformer_idle_destroy(idle);
    }
    if (status == AEGIS_OK) {
        return CLI_CONTINUE;
    }
    int code = cli_fail(common, &error);
    if (status == AEGIS_ERROR_NOT_FOUND) {
        cli_remark(
            common,
            "a model is a folder with config.json, model.safetensors and tokenizer.json as "
            "Hugging Face lays them out; `make models` fetches SmolLM2-135M into " DEFAULT_MODEL);
        cli_remark(common, "without one, --synthetic gpt2-small runs random weights of that shape");
    }
    return code;
}
