/* SPDX-License-Identifier: Apache-2.0 */
/* `inspect`: the layers of a model and how every strategy divides them at several budgets. */
#include "edge_rt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const cli_option list[] = {
    {"model", "FOLDER", "config.json, model.safetensors (models/smollm2-135m)"},
    {"config", "FILE", "-c: preset with defaults for all of this"},
    {"sweep-memory", "SIZES",
     "budgets with commas between (default: an eighth of the model to all)"},
    {"context", "N", "tokens of prompt and output (1024)"},
    {"kv-cache", "TYPE", "f32 (default) or f16"},
    {"threads", "N", "that compute (default: usable cores)"},
    {"synthetic", "SHAPE[:DTYPE]",
     "random weights, as gpt2-small:f16; --model says where they stay"},
    {"svg", "FILE", "draw the plans"},
};

static const cli_command command = {
    .name = "inspect",
    .operands = "",
    .about =
        "Reads headers only, then the disk and memory for a fifth of a second, for the expected\n"
        "time of a token. Resident weights stay; streamed ones are read for every token.",
    .examples = "  edge-rt inspect --model models/smollm2-135m\n"
                "  edge-rt inspect --sweep-memory 64M,128M,256M --svg plans.svg\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
    .writes = " svg ",
};

static int take(void *self, size_t option, const char *argument)
{
    return edge_take(self, list[option].name, argument);
}

/* The plan of one strategy at one budget, or why there is none. */
typedef struct planned {
    const char *strategy;
    uint64_t budget;
    aegis_partition *plan;
    char message[256];
} planned;

typedef struct survey {
    aegis_transformer_planned *engine;
    aegis_transformer_info info;
    planned *plans;
    uint32_t count;
} survey;

static bool make_plans(const edge_options *options, survey *all)
{
    uint32_t strategies = 0;
    while (aegis_partition_strategy_at(strategies) != NULL) {
        strategies++;
    }
    all->plans = calloc((size_t)strategies * options->sweep_count + 1, sizeof *all->plans);
    for (uint32_t b = 0; all->plans != NULL && b < options->sweep_count; b++) {
        for (uint32_t s = 0; s < strategies; s++) {
            planned *one = &all->plans[all->count++];
            aegis_error error = {0};
            one->strategy = aegis_partition_strategy_at(s)->name;
            one->budget = options->sweep[b];
            if (aegis_transformer_planned_try(all->engine, one->strategy, one->budget, &one->plan,
                                              &error) != AEGIS_OK) {
                snprintf(one->message, sizeof one->message, "%s", error.message);
            }
        }
    }
    return all->plans != NULL;
}

static uint32_t groups_of(const aegis_partition *plan)
{
    return plan->group_count > 0 ? plan->group_count : 1;
}

static json_t *plan_json(const planned *one)
{
    json_t *object = json_object();
    cli_json_text(object, "strategy", one->strategy);
    cli_json_unsigned(object, "budget_bytes", one->budget);
    if (one->plan == NULL) {
        cli_json_text(object, "refused", one->message);
        return object;
    }
    cli_json_text(object, "chosen", one->plan->strategy);
    cli_json_unsigned(object, "groups", groups_of(one->plan));
    cli_json_unsigned(object, "pieces", one->plan->piece_count);
    cli_json_unsigned(object, "resident_bytes", one->plan->pinned_bytes);
    cli_json_unsigned(object, "buffers", one->plan->buffers);
    cli_json_unsigned(object, "buffer_bytes", one->plan->buffer_bytes);
    cli_json_unsigned(object, "memory_bytes", one->plan->memory_bytes);
    cli_json_unsigned(object, "streamed_bytes", one->plan->streamed_bytes);
    cli_json_unsigned(object, "read_bytes_per_token", one->plan->read_bytes);
    cli_json_real(object, "expected_token_ms", one->plan->estimated_token_s * 1e3);
    return object;
}

static json_t *survey_json(const survey *all)
{
    json_t *root = cli_json_object(), *layers = json_array(), *plans = json_array();
    const aegis_transformer_info *info = &all->info;
    cli_json_text(root, "architecture", info->architecture);
    cli_json_unsigned(root, "parameters", info->parameters);
    cli_json_unsigned(root, "weight_bytes", info->weight_bytes);
    cli_json_unsigned(root, "blocks", info->layers);
    cli_json_unsigned(root, "width", info->width);
    cli_json_unsigned(root, "heads", info->heads);
    cli_json_unsigned(root, "kv_heads", info->kv_heads);
    cli_json_unsigned(root, "feed_forward", info->feed_forward);
    cli_json_unsigned(root, "vocabulary", info->vocabulary);
    cli_json_unsigned(root, "positions", info->positions);
    cli_json_unsigned(root, "context", info->context_tokens);
    cli_json_unsigned(root, "kv_bytes", info->memory.cache);
    cli_json_unsigned(root, "process_bytes", info->memory.process);
    cli_json_unsigned(root, "work_bytes", info->memory.work);
    cli_json_unsigned(root, "least_budget_bytes", info->memory.least);
    cli_json_real(root, "disk_bytes_per_second", info->disk_rate);
    cli_json_real(root, "compute_bytes_per_second", info->memory_rate);
    for (uint32_t l = 0; l < aegis_transformer_planned_layers(all->engine); l++) {
        aegis_transformer_layer layer;
        json_t *object = json_object();
        aegis_transformer_planned_layer(all->engine, l, &layer);
        cli_json_text(object, "kind", layer.kind);
        cli_json_unsigned(object, "block", layer.block);
        cli_json_bool(object, "tied", layer.tied);
        cli_json_text(object, "dtype", layer.dtype);
        cli_json_unsigned(object, "tensors", layer.tensors);
        cli_json_unsigned(object, "bytes", layer.bytes);
        json_array_append_new(layers, object);
    }
    for (uint32_t p = 0; p < all->count; p++) {
        json_array_append_new(plans, plan_json(&all->plans[p]));
    }
    cli_json_set(root, "layers", layers);
    cli_json_set(root, "plans", plans);
    return root;
}

/* Blocks behind `first` that are as it is, itself included; 1 for other layers. */
static uint32_t alike(const survey *all, uint32_t first)
{
    aegis_transformer_layer one, other;
    const uint32_t layers = aegis_transformer_planned_layers(all->engine);
    uint32_t count = 1;
    aegis_transformer_planned_layer(all->engine, first, &one);
    for (; strcmp(one.kind, "block") == 0 && first + count < layers; count++) {
        aegis_transformer_planned_layer(all->engine, first + count, &other);
        if (strcmp(other.kind, one.kind) != 0 || strcmp(other.dtype, one.dtype) != 0 ||
            other.bytes != one.bytes || other.tensors != one.tensors) {
            break;
        }
    }
    return count;
}

static int print_layers(const survey *all)
{
    char bytes[CLI_TEXT_BYTES], whole[CLI_TEXT_BYTES], cache[CLI_TEXT_BYTES], least[CLI_TEXT_BYTES];
    const aegis_transformer_info *info = &all->info;
    printf("%s, %.1f million parameters, %s of weights\n%u blocks, width %u, %u heads (%u for keys "
           "and "
           "values), feed-forward %u, vocabulary %u\nkeys and values of %u tokens: %s; least "
           "budget: %s\n\n",
           info->architecture, (double)info->parameters * 1e-6, cli_size(info->weight_bytes, whole),
           info->layers, info->width, info->heads, info->kv_heads, info->feed_forward,
           info->vocabulary, info->context_tokens, cli_size(info->memory.cache, cache),
           cli_size(info->memory.least, least));
    cli_table *table = cli_table_create("layer|dtype|>tensors|>bytes");
    for (uint32_t l = 0, count; l < aegis_transformer_planned_layers(all->engine); l += count) {
        aegis_transformer_layer layer;
        aegis_transformer_planned_layer(all->engine, l, &layer);
        count = alike(all, l);
        if (count > 1) {
            cli_table_cell(table, CLI_PLAIN, "blocks %u to %u, each", layer.block,
                           layer.block + count - 1);
        } else if (strcmp(layer.kind, "block") == 0) {
            cli_table_cell(table, CLI_PLAIN, "%s %u", layer.kind, layer.block);
        } else {
            cli_table_cell(table, CLI_PLAIN, "%s%s", layer.kind,
                           layer.tied ? " (the embedding)" : "");
        }
        cli_table_cell(table, CLI_PLAIN, "%s", layer.dtype);
        cli_table_cell(table, CLI_PLAIN, "%u", layer.tensors);
        cli_table_cell(table, CLI_PLAIN, "%s", layer.tied ? "-" : cli_size(layer.bytes, bytes));
    }
    return cli_table_finish(table);
}

static int print_plans(const survey *all)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], c[CLI_TEXT_BYTES], d[CLI_TEXT_BYTES];
    printf("\nDisk %.2f GB/s, compute %.2f GB/s of weights (measured)\n\n",
           all->info.disk_rate * 1e-9, all->info.memory_rate * 1e-9);
    cli_table *table = cli_table_create(
        "strategy|>budget|>groups|>resident|>buffers|>read a token|>expected a token");
    for (uint32_t p = 0; p < all->count; p++) {
        const planned *one = &all->plans[p];
        if (one->plan == NULL) {
            continue;
        }
        const aegis_partition *plan = one->plan;
        const bool differs = strcmp(one->strategy, plan->strategy) != 0;
        cli_table_cell(table, CLI_PLAIN, "%s%s%s", one->strategy, differs ? ": " : "",
                       differs ? plan->strategy : "");
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(one->budget, a));
        cli_table_cell(table, CLI_PLAIN, "%u", groups_of(plan));
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(plan->pinned_bytes, b));
        cli_table_cell(table, CLI_PLAIN, "%u x %s", plan->buffers, cli_size(plan->buffer_bytes, c));
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(plan->read_bytes, d));
        cli_table_cell(table, CLI_PLAIN, "%.1f ms", plan->estimated_token_s * 1e3);
    }
    int code = cli_table_finish(table);
    for (uint32_t p = 0; p < all->count; p++) {
        if (all->plans[p].plan == NULL) {
            printf("%s at %s: %s\n", all->plans[p].strategy, cli_size(all->plans[p].budget, a),
                   all->plans[p].message);
        }
    }
    return code;
}

/* --- the picture: a bar for each plan, the pass from left to right -------------------------------
 */

#define BAR_LEFT 210.0
#define BAR_WIDTH 960.0
#define BAR_HEIGHT 16.0
#define BAR_STEP 24.0
#define HEADER 56.0

static void draw_bar(FILE *out, const survey *all, const planned *one, double y)
{
    uint32_t unit_count;
    const aegis_partition_unit *units = aegis_transformer_planned_units(all->engine, &unit_count);
    char budget[CLI_TEXT_BYTES];
    fprintf(out, "<text x=\"8\" y=\"%.1f\">%s, %s</text>\n", y + 12, one->strategy,
            cli_size(one->budget, budget));
    if (one->plan == NULL) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"#a33\">refused</text>\n", BAR_LEFT,
                y + 12);
        return;
    }
    double at = BAR_LEFT;
    for (uint32_t p = 0; p < one->plan->piece_count; p++) {
        const aegis_partition_piece *piece = &one->plan->pieces[p];
        const double width = BAR_WIDTH * (double)(units[piece->unit].row_bytes * piece->count) /
                             (double)one->plan->model_bytes;
        const char *colour = piece->group == AEGIS_PARTITION_PINNED    ? "#2a7f62"
                             : piece->group == AEGIS_PARTITION_ON_DISK ? "#cccccc"
                             : piece->group % 2 == 0                   ? "#e08e45"
                                                                       : "#f2c14e";
        fprintf(out, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.0f\" fill=\"%s\"/>\n",
                at, y, width, BAR_HEIGHT, colour);
        at += width;
    }
}

static int draw(const survey *all, const char *path)
{
    FILE *out = fopen(path, "we");
    if (out == NULL) {
        return cli_usage("--svg %s: the file cannot be written", path);
    }
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
            "<text x=\"8\" y=\"20\">Weights in the order of a pass. Green: resident; orange and "
            "yellow: "
            "groups read for every token; grey: rows looked up on disk.</text>\n",
            BAR_LEFT + BAR_WIDTH + 16, HEADER + BAR_STEP * all->count + 8);
    for (uint32_t p = 0; p < all->count; p++) {
        draw_bar(out, all, &all->plans[p], HEADER - 20 + BAR_STEP * p);
    }
    fputs("</svg>\n", out);
    const bool failed = ferror(out) != 0;
    return fclose(out) != 0 || failed ? cli_usage("--svg %s: the file cannot be written", path)
                                      : CLI_EXIT_OK;
}

/* ---------------------------------------------------------------------------------------------------
 */

/* An eighth of the model up to all of it, each with what the process needs besides. */
static void set_sweep(edge_options *options, const aegis_transformer_info *info)
{
    const uint64_t mebibyte = UINT64_C(1) << 20;
    for (uint32_t i = 0; options->sweep_count == 0 && i < 4; i++) {
        const uint64_t part = (info->weight_bytes >> (3 - i)) + info->memory.least;
        options->sweep[i] = (part + mebibyte - 1) / mebibyte * mebibyte;
    }
    options->sweep_count = options->sweep_count == 0 ? 4 : options->sweep_count;
}

static int inspect(edge_options *options, const cli_common *common)
{
    survey all = {0};
    aegis_error error = {0};
    options->config.no_tokenizer = true;
    options->config.clip_context = true;
    int code = edge_load(options, common, &all.engine);
    if (code == CLI_CONTINUE && aegis_transformer_planned_measure(all.engine, &error) != AEGIS_OK) {
        code = cli_fail(common, &error);
    }
    if (code == CLI_CONTINUE) {
        aegis_transformer_planned_info(all.engine, &all.info);
        set_sweep(options, &all.info);
        code = make_plans(options, &all) ? CLI_EXIT_OK : CLI_EXIT_UNAVAILABLE;
        if (code == CLI_EXIT_OK && common->format == CLI_TABLE) {
            code = print_layers(&all);
            code = code == CLI_EXIT_OK ? print_plans(&all) : code;
        } else if (code == CLI_EXIT_OK) {
            code = cli_json_print(survey_json(&all), "plans", common->format);
        }
        if (code == CLI_EXIT_OK && options->svg != NULL) {
            code = draw(&all, options->svg);
        }
    }
    for (uint32_t p = 0; p < all.count; p++) {
        aegis_partition_free(all.plans[p].plan);
    }
    free(all.plans);
    aegis_transformer_planned_destroy(all.engine);
    return code;
}

int edge_rt_command_inspect(int argc, char **argv)
{
    edge_options options = {0};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &options, &common, &first);
    if (code == CLI_CONTINUE) {
        code = edge_settle(&options, &common);
    }
    if (code == CLI_CONTINUE) {
        code = inspect(&options, &common);
    }
    edge_options_finish(&options);
    return code;
}
