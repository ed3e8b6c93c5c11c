/* SPDX-License-Identifier: Apache-2.0 */
/* `run`: continues texts. */
#include "edge_rt.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TOKENS 64

static const cli_option list[] = {
    {"model", "FOLDER", "config.json, model.safetensors, tokenizer.json (models/smollm2-135m)"},
    {"config", "FILE", "-c: preset with defaults for all of this (configs/*.toml)"},
    {"prompt", "TEXT", "text to continue; several are continued together"},
    {"memory-budget", "SIZE", "of the whole process (default: what the control group leaves)"},
    {"strategy", "NAME",
     "sequential, greedy-grouping, speculative-prefetch, resident-stream or auto (default)"},
    {"max-tokens", "N", "tokens to make (64)"},
    {"temperature", "X", "0 (default): always the most likely token"},
    {"top-k", "N", "draw from the N most likely tokens"},
    {"top-p", "X", "draw from the fewest tokens with this share"},
    {"seed", "N", "of the draws"},
    {"lookup", NULL, "guess from the text so far; greedy output stays the same"},
    {"draft-tokens", "N", "guesses a pass (7 with --lookup)"},
    {"context", "N", "tokens of prompt and output (default: what this run needs)"},
    {"kv-cache", "TYPE", "f32 (default) or f16"},
    {"threads", "N", "that compute (default: usable cores)"},
    {"instructions", "SET", "avx512, avx2, neon or scalar (default: the best)"},
    {"products", "WHO", "own (default) or blas: for prompts and batches"},
    {"ignore-eos", NULL, "go on behind the end of the text"},
    {"logits", "FILE", "write the logits behind the first prompt, f32, to compare with others"},
    {"synthetic", "SHAPE[:DTYPE]",
     "random weights, as gpt2-small:f16; --model says where they stay"},
};

static const cli_command command = {
    .name = "run",
    .operands = "",
    .about =
        "Prints the text as it is made, then one line of figures on stderr. The budget covers\n"
        "everything that the process holds; with less than the model needs, weights are read\n"
        "from disk for every token, past the page cache. The text does not depend on budget,\n"
        "strategy or threads. SIGINT and SIGTERM end the text at the next token, a second one the\n"
        "program. Exit 3: the budget is below the least that the model needs; exit 1: the process\n"
        "held more than its budget.",
    .examples = "  edge-rt run --prompt \"The ship entered the port of\" --memory-budget 128M\n"
                "  edge-rt run -c configs/rpi4_default.toml --prompt \"Hello\"\n"
                "  edge-rt run --synthetic gpt2-small:f16 --memory-budget 128M --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
    .writes = " logits ",
};

static int take(void *self, size_t option, const char *argument)
{
    return edge_take(self, list[option].name, argument);
}

/* Set by SIGINT and SIGTERM: texts end early and are reported. */
static volatile sig_atomic_t interrupted;

/* The second one ends the program: a token from a slow disk may take long. */
static void on_signal(int number)
{
    if (interrupted) {
        edge_scratch_end(number);
    }
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

typedef struct printer {
    bool text, ids; /* write pieces as they come; without a tokenizer numbers */
} printer;

static bool
print_piece(void *self, uint32_t sequence, uint32_t token, const char *text, size_t size)
{
    const printer *out = self;
    if (out->ids && sequence == 0) {
        printf(" %u", token);
    } else if (out->text && sequence == 0) {
        fwrite(text, 1, size, stdout);
    }
    return fflush(stdout) == 0 && !interrupted;
}

static json_t *numbers(const uint32_t *values, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, json_integer(values[i]));
    }
    return array;
}

static double rate(double count, double seconds)
{
    return seconds > 0 ? count / seconds : 0;
}

static void add_generation(json_t *object, const aegis_generation *one)
{
    cli_json_set(object, "prompt_tokens", numbers(one->prompt_tokens, one->prompt_count));
    cli_json_set(object, "tokens", numbers(one->tokens, one->token_count));
    cli_json_text(object, "text", one->text);
    cli_json_text(object, "end", aegis_generation_end_name(one->end));
}

static double bytes_per_token(const aegis_generation_figures *figures)
{
    return rate((double)figures->decode_disk_bytes, (double)figures->decoded_tokens);
}

static json_t *result_json(const aegis_transformer_info *info,
                           bool direct,
                           const aegis_generation *made,
                           uint32_t count,
                           const aegis_generation_figures *figures,
                           uint64_t peak)
{
    json_t *root = cli_json_object();
    cli_json_text(root, "strategy", info->strategy);
    cli_json_unsigned(root, "budget_bytes", info->memory.budget);
    cli_json_text(root, "budget_source", aegis_budget_source_name(info->memory.source));
    cli_json_unsigned(root, "peak_bytes", peak);
    cli_json_unsigned(root, "planned_bytes", info->memory.planned);
    cli_json_unsigned(root, "process_bytes", info->memory.process);
    cli_json_unsigned(root, "loaded_bytes", info->memory.loaded);
    cli_json_unsigned(root, "resident_weight_bytes", info->memory.pinned + info->memory.vectors);
    cli_json_unsigned(root, "weight_bytes", info->weight_bytes);
    cli_json_unsigned(root, "buffer_bytes", info->memory.buffers);
    cli_json_unsigned(root, "kv_bytes", info->memory.cache);
    cli_json_unsigned(root, "groups", info->groups);
    cli_json_unsigned(root, "threads", info->threads);
    cli_json_text(root, "instructions", info->instructions);
    cli_json_text(root, "products", info->products);
    cli_json_bool(root, "direct_io", direct);
    add_generation(root, &made[0]);
    cli_json_real(root, "prefill_tokens_per_second",
                  rate(figures->prompt_tokens, figures->prefill_s));
    cli_json_real(root, "tokens_per_second", rate(figures->decoded_tokens, figures->decode_s));
    cli_json_unsigned(root, "disk_bytes_per_token", (uint64_t)bytes_per_token(figures));
    cli_json_unsigned(root, "disk_bytes_per_pass",
                      figures->passes > 0 ? figures->decode_disk_bytes / figures->passes : 0);
    cli_json_real(root, "overlap", figures->overlap);
    cli_json_real(root, "prefill_seconds", figures->prefill_s);
    cli_json_real(root, "decode_seconds", figures->decode_s);
    cli_json_real(root, "load_seconds", figures->load_s);
    cli_json_real(root, "stall_seconds", figures->stall_s);
    cli_json_unsigned(root, "passes", figures->passes);
    cli_json_unsigned(root, "drafted", figures->drafted);
    cli_json_unsigned(root, "accepted", figures->accepted);
    json_t *all = json_array();
    for (uint32_t s = 0; s < count; s++) {
        json_t *one = json_object();
        add_generation(one, &made[s]);
        json_array_append_new(all, one);
    }
    cli_json_set(root, "sequences", all);
    return root;
}

static void print_figures(const cli_common *common,
                          const aegis_transformer_info *info,
                          bool direct,
                          const aegis_generation_figures *figures,
                          uint64_t peak)
{
    char held[CLI_TEXT_BYTES], budget[CLI_TEXT_BYTES], disk[CLI_TEXT_BYTES], speed[32] = "";
    if (figures->decoded_tokens > 0) { /* the first token of a text is made with its prompt */
        snprintf(speed, sizeof speed, ", %.1f/s", rate(figures->decoded_tokens, figures->decode_s));
    }
    cli_remark(common,
               "%u token%s%s (prompt %.1f/s); %s of %s (%s), peak %s; %s a token from disk%s, "
               "overlap %.2f",
               figures->tokens, figures->tokens == 1 ? "" : "s", speed,
               rate(figures->prompt_tokens, figures->prefill_s), info->strategy,
               cli_size(info->memory.budget, budget), aegis_budget_source_name(info->memory.source),
               cli_size(peak, held), cli_size((uint64_t)bytes_per_token(figures), disk),
               direct ? "" : " (no direct reads here: page cache given back after each)",
               figures->overlap);
    if (figures->drafted > 0) {
        cli_remark(common, "prompt lookup: %u of %u guessed tokens were right, %u passes",
                   figures->accepted, figures->drafted, figures->passes);
    }
    if (info->disk_rate > 0) {
        cli_remark(
            common,
            "cost model: disk %.2f GB/s, compute %.2f GB/s of weights; expected %.1f ms a token",
            info->disk_rate * 1e-9, info->memory_rate * 1e-9, info->estimated_token_s * 1e3);
    }
}

static void print_texts(const aegis_generation *made, uint32_t count)
{
    for (uint32_t s = 0; s < count; s++) {
        printf("[%u]", s);
        if (made[s].text != NULL) {
            fwrite(made[s].text, 1, made[s].text_size, stdout);
        }
        for (size_t i = 0; made[s].text == NULL && i < made[s].token_count; i++) {
            printf(" %u", made[s].tokens[i]);
        }
        putchar('\n');
    }
}

/* Without a tokenizer bytes are tokens. */
static uint32_t *byte_tokens(const char *text)
{
    uint32_t *tokens = calloc(strlen(text) + 1, sizeof *tokens);
    for (size_t i = 0; tokens != NULL && text[i] != '\0'; i++) {
        tokens[i] = (unsigned char)text[i];
    }
    return tokens;
}

static int fill_requests(const edge_options *options, aegis_generation_request *requests)
{
    for (uint32_t s = 0; s < options->prompt_count; s++) {
        requests[s] = options->request;
        requests[s].seed = options->request.seed + s;
        requests[s].prompt_size = strlen(options->prompts[s]);
        requests[s].prompt = options->prompts[s];
        if (options->config.no_tokenizer) {
            requests[s].prompt = NULL;
            requests[s].token_count = requests[s].prompt_size;
            requests[s].tokens = byte_tokens(options->prompts[s]);
            if (requests[s].tokens == NULL) {
                return CLI_EXIT_UNAVAILABLE;
            }
        }
    }
    return CLI_CONTINUE;
}

static int write_logits(const char *path,
                        const cli_common *common,
                        aegis_transformer_ready *engine,
                        const aegis_generation *made)
{
    aegis_transformer_info info;
    aegis_error error = {0};
    aegis_transformer_ready_info(engine, &info);
    float *logits = calloc(info.vocabulary, sizeof *logits);
    FILE *file = NULL;
    int code = CLI_EXIT_OK;
    if (logits == NULL) {
        return CLI_EXIT_UNAVAILABLE;
    }
    if (aegis_transformer_evaluate(engine, made->prompt_tokens, made->prompt_count, logits,
                                   &error) != AEGIS_OK) {
        code = cli_fail(common, &error);
    } else if ((file = fopen(path, "wbe")) == NULL ||
               fwrite(logits, sizeof *logits, info.vocabulary, file) != info.vocabulary) {
        code = cli_usage("--logits %s: the file cannot be written", path);
    }
    if (file != NULL && fclose(file) != 0) {
        code = cli_usage("--logits %s: the file cannot be written", path);
    }
    free(logits);
    return code;
}

static int generate(const edge_options *options,
                    const cli_common *common,
                    aegis_transformer_ready *engine,
                    const aegis_generation_request *requests)
{
    aegis_error error = {0};
    aegis_generation made[EDGE_MAX_PROMPTS] = {{0}};
    aegis_generation_figures figures = {0};
    const uint32_t count = options->prompt_count;
    const bool table = common->format == CLI_TABLE;
    printer out = {.text = table && count == 1,
                   .ids = table && count == 1 && options->config.no_tokenizer};
    if (out.text) {
        fputs(out.ids ? "" : options->prompts[0], stdout);
    }
    catch_signals();
    if (aegis_transformer_generate(engine, requests, count, print_piece, &out, made, &figures,
                                   &error) != AEGIS_OK) {
        if (out.text) {
            putchar('\n');
        }
        return cli_fail(common, &error);
    }
    aegis_transformer_info info;
    aegis_transformer_ready_info(engine, &info);
    const bool direct = aegis_transformer_ready_direct(engine);
    const uint64_t peak = aegis_process_peak_bytes(NULL);
    int code = CLI_EXIT_OK;
    if (table) {
        if (count == 1) {
            putchar('\n');
        } else {
            print_texts(made, count);
        }
        fflush(stdout); /* the figures come behind the text, also in one file */
        print_figures(common, &info, direct, &figures, peak);
        for (uint32_t s = 0; s < count; s++) {
            if (made[s].end == AEGIS_GENERATION_CONTEXT) {
                cli_remark(common, "text %u ends where the context of %u tokens is full", s,
                           info.context_tokens);
            }
        }
    } else {
        code = cli_json_print(result_json(&info, direct, made, count, &figures, peak), "sequences",
                              common->format);
    }
    if (code == CLI_EXIT_OK && options->logits != NULL) {
        code = write_logits(options->logits, common, engine, &made[0]);
    }
    if (code == CLI_EXIT_OK && peak > info.memory.budget) {
        cli_remark(common, "the process held %llu bytes, its budget is %llu",
                   (unsigned long long)peak, (unsigned long long)info.memory.budget);
        code = CLI_EXIT_BROKEN;
    }
    for (uint32_t s = 0; s < count; s++) {
        aegis_generation_finish(engine, &made[s]);
    }
    return code;
}

/* Every byte of a prompt is a token at most. */
static void size_context(edge_options *options)
{
    size_t longest = 0;
    for (uint32_t s = 0; s < options->prompt_count; s++) {
        const size_t length = strlen(options->prompts[s]);
        longest = length > longest ? length : longest;
    }
    if (options->config.context_tokens == 0 && longest < ((size_t)1 << 20)) {
        const uint32_t tokens =
            options->request.max_tokens != 0 ? options->request.max_tokens : DEFAULT_TOKENS;
        options->config.context_tokens = (uint32_t)longest + tokens + 1;
        options->config.clip_context = true;
    }
    if (options->config.sequences < options->prompt_count) {
        options->config.sequences = options->prompt_count;
    }
}

/* What is given and changes nothing. */
static void tell_unused(const edge_options *options, const cli_common *common)
{
    const aegis_generation_request *request = &options->request;
    const bool draws = request->temperature > 0;
    if (!draws && (request->top_k > 0 || request->top_p > 0 || request->seed > 0)) {
        cli_remark(common, "top-k, top-p and seed change nothing at temperature 0: the most likely "
                           "token is always taken; --temperature 0.8 draws");
    }
    if (draws && (request->lookup || options->config.draft_tokens > 0)) {
        cli_remark(common, "prompt lookup is for temperature 0; this text is drawn without it");
    }
}

static int run(edge_options *options, const cli_common *common)
{
    aegis_generation_request requests[EDGE_MAX_PROMPTS] = {{0}};
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    aegis_error error = {0};
    const uint32_t count = options->prompt_count;
    int code = edge_settle(options, common);
    if (code != CLI_CONTINUE) {
        return code;
    }
    tell_unused(options, common);
    size_context(options);
    code = fill_requests(options, requests);
    if (code == CLI_CONTINUE) {
        code = edge_load(options, common, &planned);
    }
    if (code == CLI_CONTINUE && aegis_transformer_prepare(&planned, &ready, &error) != AEGIS_OK) {
        code = cli_fail(common, &error);
    }
    if (code == CLI_CONTINUE) {
        code = generate(options, common, ready, requests);
    }
    aegis_transformer_ready_destroy(ready);
    aegis_transformer_planned_destroy(planned);
    for (uint32_t s = 0; s < count; s++) { /* NULL with a tokenizer */
        free((void *)(uintptr_t)requests[s].tokens);
    }
    return code;
}

int edge_rt_command_run(int argc, char **argv)
{
    edge_options options = {0};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &options, &common, &first);
    if (code == CLI_CONTINUE && options.prompt_count == 0) {
        if (options.synthetic == NULL) {
            code = cli_usage("run: no prompt; write --prompt \"" EDGE_DEFAULT_PROMPT "\"");
        } else {
            options.prompts[options.prompt_count++] = EDGE_DEFAULT_PROMPT;
        }
    }
    if (code == CLI_CONTINUE) {
        code = run(&options, &common);
    }
    edge_options_finish(&options);
    return code;
}
