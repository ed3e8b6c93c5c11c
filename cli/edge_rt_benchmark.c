/* SPDX-License-Identifier: Apache-2.0 */
/* `benchmark`: every strategy at every budget, each run in a process of its own, because the peak
 * of resident memory is a process's. */
#include "edge_rt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_REPEAT 3
#define MOST_ARGUMENTS 48
#define MOST_OUTPUT ((size_t)4 << 20)

static const cli_option list[] = {
    {"model", "FOLDER", "config.json, model.safetensors, tokenizer.json (models/smollm2-135m)"},
    {"config", "FILE", "-c: preset with defaults for all of this"},
    {"sweep-memory", "SIZES", "budgets with commas between (default: 128M,256M,512M,1G)"},
    {"strategies", "NAMES", "with commas between (default: all but auto)"},
    {"prompt", "TEXT", "text to continue"},
    {"max-tokens", "N", "tokens a run (32)"},
    {"repeat", "N", "runs of each row, interleaved; medians are shown (3)"},
    {"threads", "N", "that compute (default: usable cores)"},
    {"kv-cache", "TYPE", "f32 (default) or f16"},
    {"synthetic", "SHAPE[:DTYPE]",
     "random weights, as gpt2-small:f16; --model says where they stay"},
};

static const cli_command command = {
    .name = "benchmark",
    .operands = "",
    .about =
        "Runs each strategy at each budget in a process of its own and shows medians. Latency is\n"
        "prompt and tokens together, compute the part of it that did not wait for weights.\n"
        "Budgets that a strategy cannot do with are listed as refused.",
    .examples =
        "  edge-rt benchmark --sweep-memory 128M,256M,512M\n"
        "  edge-rt benchmark --synthetic gpt2-small:f16 --strategies resident-stream --csv\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    return edge_take(self, list[option].name, argument);
}

typedef struct run_result {
    double latency_ms, compute_ms, tokens_per_second, disk_bytes_per_token, overlap;
    uint64_t peak_bytes, groups;
} run_result;

typedef struct row {
    const char *strategy;
    uint64_t budget;
    run_result runs[1000];
    uint32_t count;
    run_result median;
    int code; /* of the run that failed; 0 */
    char message[512];
} row;

typedef struct arguments {
    const char *at[MOST_ARGUMENTS];
    size_t count;
    char numbers[4][32];
} arguments;

static void add(arguments *all, const char *name, const char *value)
{
    all->at[all->count++] = name;
    if (value != NULL) {
        all->at[all->count++] = value;
    }
}

static void add_number(arguments *all, const char *name, int index, uint64_t value)
{
    snprintf(all->numbers[index], sizeof all->numbers[index], "%" PRIu64, value);
    add(all, name, all->numbers[index]);
}

static void run_arguments(const edge_options *options, const row *one, arguments *all)
{
    *all = (arguments){0};
    add(all, "edge-rt", NULL);
    add(all, "run", NULL);
    add(all, "--json", NULL);
    add(all, "--quiet", NULL);
    add(all, "--ignore-eos", NULL);
    add(all, "--model", options->config.model);
    if (options->synthetic != NULL) {
        add(all, "--synthetic", options->synthetic); /* the files are there: it reads them */
    }
    add(all, "--strategy", one->strategy);
    add_number(all, "--memory-budget", 0, one->budget);
    add_number(all, "--max-tokens", 1, options->request.max_tokens);
    add(all, "--prompt", options->prompts[0]);
    if (options->config.threads != 0) {
        add_number(all, "--threads", 2, options->config.threads);
    }
    add(all, "--kv-cache", options->config.half_cache ? "f16" : "f32");
    all->at[all->count] = NULL;
}

/* Reads both ends of a child to their end; at most MOST_OUTPUT bytes are kept of each. */
static char *read_all(int fd)
{
    size_t size = 0, capacity = 65536;
    char *text = malloc(capacity);
    ssize_t got = 1;
    while (text != NULL && got > 0 && size + 1 < MOST_OUTPUT) {
        if (size + 1 == capacity) {
            char *larger = realloc(text, capacity * 2);
            if (larger == NULL) {
                break;
            }
            text = larger;
            capacity *= 2;
        }
        got = read(fd, text + size, capacity - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    if (text != NULL) {
        text[size] = '\0';
    }
    return text;
}

/* Messages are short enough for a pipe: stdout is read first. Returns the exit code, -1 when the
 * program could not be started. */
static int run_child(const arguments *all, char **ret_out, char **ret_err)
{
    int out[2], err[2], status = 0;
    if (pipe(out) != 0) {
        return -1;
    }
    if (pipe(err) != 0) {
        close(out[0]);
        close(out[1]);
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        close(out[0]);
        close(err[0]);
        execv("/proc/self/exe", (char *const *)(uintptr_t)all->at);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    *ret_out = child > 0 ? read_all(out[0]) : NULL;
    *ret_err = child > 0 ? read_all(err[0]) : NULL;
    close(out[0]);
    close(err[0]);
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static bool parse_run(const char *text, run_result *ret)
{
    json_t *object = json_loads(text, 0, NULL);
    const double prefill = number_of(object, "prefill_seconds");
    const double decode = number_of(object, "decode_seconds");
    *ret = (run_result){.latency_ms = (prefill + decode) * 1e3,
                        .compute_ms = (prefill + decode - number_of(object, "stall_seconds")) * 1e3,
                        .tokens_per_second = number_of(object, "tokens_per_second"),
                        .disk_bytes_per_token = number_of(object, "disk_bytes_per_token"),
                        .overlap = number_of(object, "overlap"),
                        .peak_bytes = (uint64_t)number_of(object, "peak_bytes"),
                        .groups = (uint64_t)number_of(object, "groups")};
    const bool good = object != NULL;
    json_decref(object);
    return good;
}

/* The first line that a failed run wrote, without what every error of the program begins with. */
static void take_message(const char *err, row *one)
{
    static const char front[] = "edge-rt: error: ";
    const char *text = err != NULL ? err : "";
    text += strncmp(text, front, sizeof front - 1) == 0 ? sizeof front - 1 : 0;
    snprintf(one->message, sizeof one->message, "%.*s", (int)strcspn(text, "\n"), text);
}

static void run_once(const edge_options *options, row *one)
{
    arguments all;
    char *out = NULL, *err = NULL;
    run_arguments(options, one, &all);
    one->code = run_child(&all, &out, &err);
    if (one->code == 0 && out != NULL && parse_run(out, &one->runs[one->count])) {
        one->count++;
    } else {
        one->code = one->code == 0 ? CLI_EXIT_INTERNAL : one->code;
        take_message(err, one);
    }
    free(out);
    free(err);
}

#define MEDIAN_OF(member)                                         \
    static int compare_##member(const void *a, const void *b)     \
    {                                                             \
        const run_result *x = a, *y = b;                          \
        return (x->member > y->member) - (x->member < y->member); \
    }
MEDIAN_OF(latency_ms)
MEDIAN_OF(compute_ms)
MEDIAN_OF(tokens_per_second)

static void take_medians(row *one)
{
    const uint32_t middle = one->count / 2;
    one->median = one->runs[0];
    uint64_t peak = 0;
    for (uint32_t i = 0; i < one->count; i++) {
        peak = one->runs[i].peak_bytes > peak ? one->runs[i].peak_bytes : peak;
    }
    one->median.peak_bytes = peak; /* the largest */
    qsort(one->runs, one->count, sizeof one->runs[0], compare_latency_ms);
    one->median.latency_ms = one->runs[middle].latency_ms;
    qsort(one->runs, one->count, sizeof one->runs[0], compare_compute_ms);
    one->median.compute_ms = one->runs[middle].compute_ms;
    qsort(one->runs, one->count, sizeof one->runs[0], compare_tokens_per_second);
    one->median.tokens_per_second = one->runs[middle].tokens_per_second;
    one->median.overlap = one->runs[middle].overlap;
    one->median.disk_bytes_per_token = one->runs[middle].disk_bytes_per_token;
}

static void place(const row *one, char *text, size_t size)
{
    char budget[CLI_TEXT_BYTES];
    snprintf(text, size, "%s @ %s", one->strategy, cli_size(one->budget, budget));
}

/* Fastest: least latency. Most efficient: least peak, the faster one among equals. */
static void choose(const row *rows, uint32_t count, const row **ret_fastest, const row **ret_least)
{
    *ret_fastest = *ret_least = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const run_result *one = &rows[i].median;
        if (rows[i].count == 0) {
            continue;
        }
        if (*ret_fastest == NULL || one->latency_ms < (*ret_fastest)->median.latency_ms) {
            *ret_fastest = &rows[i];
        }
        if (*ret_least == NULL || one->peak_bytes < (*ret_least)->median.peak_bytes) {
            *ret_least = &rows[i];
        }
    }
}

static json_t *rows_json(const row *rows, uint32_t count)
{
    json_t *root = cli_json_object(), *all = json_array(), *refused = json_array();
    char text[96];
    for (uint32_t i = 0; i < count; i++) {
        json_t *object = json_object();
        cli_json_text(object, "strategy", rows[i].strategy);
        cli_json_unsigned(object, "budget_bytes", rows[i].budget);
        if (rows[i].count == 0) {
            cli_json_text(object, "message", rows[i].message);
            cli_json_signed(object, "exit_code", rows[i].code);
            json_array_append_new(refused, object);
            continue;
        }
        const run_result *one = &rows[i].median;
        cli_json_unsigned(object, "groups", one->groups);
        cli_json_unsigned(object, "peak_bytes", one->peak_bytes);
        cli_json_real(object, "latency_ms", one->latency_ms);
        cli_json_real(object, "compute_ms", one->compute_ms);
        cli_json_real(object, "tokens_per_second", one->tokens_per_second);
        cli_json_unsigned(object, "disk_bytes_per_token", (uint64_t)one->disk_bytes_per_token);
        cli_json_real(object, "overlap", one->overlap);
        cli_json_unsigned(object, "runs", rows[i].count);
        json_array_append_new(all, object);
    }
    const row *fastest, *least;
    choose(rows, count, &fastest, &least);
    cli_json_set(root, "rows", all);
    cli_json_set(root, "refused", refused);
    if (fastest != NULL) {
        place(fastest, text, sizeof text);
        cli_json_text(root, "fastest", text);
        place(least, text, sizeof text);
        cli_json_text(root, "most_efficient", text);
    } else {
        cli_json_text(root, "fastest", NULL);
        cli_json_text(root, "most_efficient", NULL);
    }
    return root;
}

static void print_row(cli_table *table, const row *one)
{
    char budget[CLI_TEXT_BYTES], peak[CLI_TEXT_BYTES], disk[CLI_TEXT_BYTES];
    const run_result *median = &one->median;
    cli_table_cell(table, CLI_PLAIN, "%s", one->strategy);
    cli_table_cell(table, CLI_PLAIN, "%s", cli_size(one->budget, budget));
    cli_table_cell(table, CLI_PLAIN, "%" PRIu64, median->groups);
    cli_table_cell(table, median->peak_bytes > one->budget ? CLI_RED : CLI_PLAIN, "%s",
                   cli_size(median->peak_bytes, peak));
    cli_table_cell(table, CLI_PLAIN, "%.1f ms", median->latency_ms);
    cli_table_cell(table, CLI_PLAIN, "%.1f ms", median->compute_ms);
    cli_table_cell(table, CLI_PLAIN, "%.2f", median->tokens_per_second);
    cli_table_cell(table, CLI_PLAIN, "%s", cli_size((uint64_t)median->disk_bytes_per_token, disk));
}

static int print_rows(const row *rows, uint32_t count)
{
    char text[96];
    cli_table *table =
        cli_table_create("strategy|>budget|>groups|>peak|>latency|>compute|>tok/s|>disk a token");
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].count > 0) {
            print_row(table, &rows[i]);
        }
    }
    int code = cli_table_finish(table);
    const row *fastest, *least;
    choose(rows, count, &fastest, &least);
    if (fastest != NULL) {
        char peak[CLI_TEXT_BYTES];
        place(fastest, text, sizeof text);
        printf("\nSummary:\n  fastest         %s (%.1f ms)\n", text, fastest->median.latency_ms);
        place(least, text, sizeof text);
        printf("  most efficient  %s (%s peak)\n", text, cli_size(least->median.peak_bytes, peak));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].count == 0) {
            place(&rows[i], text, sizeof text);
            printf("  refused         %s: %s\n", text, rows[i].message);
        }
    }
    return code;
}

static void set_defaults(edge_options *options)
{
    static const uint64_t budgets[] = {UINT64_C(128) << 20, UINT64_C(256) << 20,
                                       UINT64_C(512) << 20, UINT64_C(1) << 30};
    static const char *const names[] = {"sequential", "greedy-grouping", "speculative-prefetch",
                                        "resident-stream"};
    for (uint32_t i = 0; options->sweep_count == 0 && i < 4; i++) {
        options->sweep[i] = budgets[i];
    }
    options->sweep_count = options->sweep_count == 0 ? 4 : options->sweep_count;
    for (uint32_t i = 0; options->strategy_count == 0 && i < 4; i++) {
        options->strategies[i] = names[i];
    }
    options->strategy_count = options->strategy_count == 0 ? 4 : options->strategy_count;
    options->prompts[0] = options->prompt_count == 0 ? EDGE_DEFAULT_PROMPT : options->prompts[0];
    options->repeat = options->repeat == 0 ? DEFAULT_REPEAT : options->repeat;
    options->request.max_tokens =
        options->request.max_tokens == 0 ? 32 : options->request.max_tokens;
}

static int benchmark(edge_options *options, const cli_common *common)
{
    const uint32_t count = options->sweep_count * options->strategy_count;
    cli_progress progress;
    row *rows = calloc(count, sizeof *rows);
    if (rows == NULL) {
        return cli_usage("benchmark: no memory for %u rows", count);
    }
    cli_progress_init(&progress, common);
    for (uint32_t i = 0; i < count; i++) {
        rows[i].strategy = options->strategies[i % options->strategy_count];
        rows[i].budget = options->sweep[i / options->strategy_count];
    }
    for (uint64_t run = 0; run < options->repeat; run++) {
        for (uint32_t i = 0; i < count; i++) {
            if (rows[i].code == 0) {
                cli_progress_text(&progress, "%s, run %" PRIu64 " of %" PRIu64, rows[i].strategy,
                                  run + 1, options->repeat);
                run_once(options, &rows[i]);
            }
        }
    }
    cli_progress_clear(&progress);
    uint32_t done = 0;
    int failed = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (rows[i].count > 0) {
            take_medians(&rows[i]);
            done++;
        } else {
            failed = rows[i].code;
        }
    }
    int code = common->format == CLI_TABLE
                   ? print_rows(rows, count)
                   : cli_json_print(rows_json(rows, count), "rows", common->format);
    if (done == 0 && code == CLI_EXIT_OK) {
        cli_remark(common, "no run ended well: %s", rows[0].message);
        code = failed > 0 && failed < 7 ? failed : CLI_EXIT_INTERNAL;
    }
    free(rows);
    return code;
}

int edge_rt_command_benchmark(int argc, char **argv)
{
    edge_options options = {0};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &options, &common, &first);
    if (code == CLI_CONTINUE) {
        code = edge_settle(&options, &common);
    }
    if (code == CLI_CONTINUE) {
        set_defaults(&options);
        code = benchmark(&options, &common);
    }
    edge_options_finish(&options);
    return code;
}
