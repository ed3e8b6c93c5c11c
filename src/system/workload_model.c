/* SPDX-License-Identifier: Apache-2.0 */
/* One [[model]] table: names, times, limits, rules. */
#include "system/workload_reader.h"

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE_BYTES 4096
#define MAX_NAME_BYTES 63
#define MAX_WEIGHT 1000000
#define LEAST_SHARE 0.0001
#define MAX_SLOTS 1024
#define MAX_PROMPT_BLOCK 1024
#define MIN_SAMPLES 100
#define MAX_SAMPLES 20000

static const char *const known_keys[] = {
    "name",         "path",       "backend",      "inputs", "state",     "source",     "period",
    "deadline",     "offset",     "jitter",       "memory", "compute",   "overrun",    "early",
    "priority",     "lane",       "class",        "weight", "expect",    "confidence", "assurance",
    "margin",       "samples",    "threads",      "slots",  "prepack",   "seed",       "cuts",
    "bound_method", "exceedance", "context",      "at_end", "residency", "prompt",     "cpu_nodes",
    "share",        "start",      "prompt_block", "copies"};

static const aegis_workload_later_key later_keys[] = {
    {"variants", "write one [[model]] for each shape, each with its own name and inputs"},
    {NULL, NULL}};

static bool is_name_character(unsigned char c, bool first)
{
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return letter || c == '_' || c >= 0x80 || (!first && (c == '-' || c == '.'));
}

/* Names stand in traces, tables and file names. */
static bool is_name(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (!is_name_character((unsigned char)text[i], i == 0)) {
            return false;
        }
    }
    return length > 0 && length <= MAX_NAME_BYTES;
}

static void read_name(aegis_workload_section *section, size_t index, aegis_workload_model *model)
{
    snprintf(section->label, sizeof section->label, "[[model]] number %zu", index + 1);
    const aegis_toml_node *node =
        aegis_workload_text(section, "name", "a name such as \"text-detector\"", &model->name);
    if (node == NULL) {
        aegis_workload_fail(section, NULL, "name", AEGIS_ERROR_CONFIG,
                            "is missing; give the model a name of its own");
        return;
    }
    if (!is_name(model->name)) {
        aegis_workload_fail(section, node, "name", AEGIS_ERROR_CONFIG,
                            "\"%.80s\" is no name; write letters, digits, '.', '_' and '-', "
                            "beginning with a letter or digit, at most %d bytes",
                            model->name, MAX_NAME_BYTES);
        return;
    }
    snprintf(section->label, sizeof section->label, "[[model]] \"%s\"", model->name);
}

static void refuse_same_name(const aegis_workload_section *section,
                             const aegis_workload *workload,
                             size_t index,
                             const char *name)
{
    const aegis_toml_node *node = aegis_toml_find(section->table, "name");
    for (size_t i = 0; i < index; i++) {
        const aegis_workload_model *other = &workload->models[i];
        if (strcmp(other->name, name) == 0) {
            aegis_workload_fail(section, node, "name", AEGIS_ERROR_CONFIG,
                                "the model at line %d has this name too; give each model a name of "
                                "its own",
                                other->place.line);
            return;
        }
    }
}

/* Some are in the design and not in any build. */
static bool is_planned(const char *runtime)
{
    static const char *const names[] = {"tensorrt", "tvm", "pytorch"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        if (strcmp(runtime, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void refuse_backend(const aegis_workload_section *section,
                           const aegis_toml_node *node,
                           const char *runtime,
                           const char *const *names,
                           size_t count)
{
    const char *nearest = aegis_nearest_word(runtime, names, count);
    const bool later = is_planned(runtime);
    char offer[128] = "onnxruntime";
    for (size_t i = 0, used = 0; i < count && used < sizeof offer; i++) {
        used += (size_t)snprintf(offer + used, sizeof offer - used, "%s%s",
                                 i == 0 ? "" : "\" or \"", names[i]);
    }
    aegis_workload_fail(section, node, "backend", AEGIS_ERROR_CONFIG, "%s\"%.64s\"%s; write \"%s\"",
                        later ? "the runtime " : "there is no runtime ", runtime,
                        later ? " is designed for and not there yet" : "",
                        nearest != NULL ? nearest : offer);
}

static void read_backend(const aegis_workload_section *section, aegis_workload_model *model)
{
    const char *names[16];
    size_t count = 0, offered = 0;
    const aegis_runtime_info *runtimes = aegis_runtime_list(&count);
    model->backend = "onnxruntime";
    const aegis_toml_node *node = aegis_workload_text(
        section, "backend", "the name of a runtime such as \"onnxruntime\"", &model->backend);
    for (size_t i = 0; node != NULL && i < count; i++) {
        if (strcmp(runtimes[i].name, model->backend) == 0) {
            return;
        }
        if (runtimes[i].production && offered < AEGIS_ARRAY_LENGTH(names)) {
            names[offered++] = runtimes[i].name;
        }
    }
    if (node != NULL) {
        refuse_backend(section, node, model->backend, names, offered);
    }
}

static void read_path(const aegis_workload_section *section, aegis_workload_model *model)
{
    const char *path = NULL;
    const aegis_toml_node *node =
        aegis_workload_text(section, "path", "the path of a model file", &path);
    if (node == NULL) {
        aegis_workload_fail(section, NULL, "path", AEGIS_ERROR_CONFIG,
                            "is missing; write the path of the model file");
        return;
    }
    model->path = aegis_workload_resolve(section, node, "path", path);
    model->path_place = (aegis_workload_place){.line = node->line, .column = node->column};
}

/* Parts per million: no decision uses floating point. */
static void read_share(const aegis_workload_section *section, aegis_workload_model *model)
{
    double share = 0;
    const aegis_toml_node *node =
        aegis_workload_number(section, "share", LEAST_SHARE, 1, false, &share);
    if (node != NULL && !model->background) {
        aegis_workload_fail(section, node, "share", AEGIS_ERROR_CONFIG,
                            "is for background models; what a model with a deadline may use is "
                            "its \"compute\" every \"period\". Add class = \"background\" or "
                            "remove it");
    }
    model->share_ppm = node != NULL ? (uint32_t)(share * AEGIS_SHARE_WHOLE + 0.5) : 0;
}

static void read_class(const aegis_workload_section *section, aegis_workload_model *model)
{
    static const char *const classes[] = {"background"};
    static const char *const deadline_keys[] = {"deadline", "priority", "jitter"};
    int choice;
    int64_t weight = 1;
    model->background = aegis_workload_choice(section, "class", classes, 1, &choice) != NULL;
    const aegis_toml_node *node = aegis_workload_integer(section, "weight", 1, MAX_WEIGHT, &weight);
    if (node != NULL && !model->background) {
        aegis_workload_fail(section, node, "weight", AEGIS_ERROR_CONFIG,
                            "is for background models; add class = \"background\" or remove it");
    }
    model->weight = (uint32_t)weight;
    read_share(section, model);
    for (size_t i = 0; model->background && i < AEGIS_ARRAY_LENGTH(deadline_keys); i++) {
        node = aegis_toml_find(section->table, deadline_keys[i]);
        if (node != NULL) {
            aegis_workload_fail(section, node, deadline_keys[i], AEGIS_ERROR_CONFIG,
                                "a background model has no deadline, and nothing is proved of it; "
                                "remove this key or class = \"background\"");
        }
    }
}

static void read_times(const aegis_workload_section *section, aegis_workload_model *model)
{
    const aegis_toml_node *period =
        aegis_workload_duration(section, "period", false, &model->period_ns);
    if (period == NULL && !model->background) { /* background: the next job when one ends */
        aegis_workload_fail(section, NULL, "period", AEGIS_ERROR_CONFIG,
                            "is missing; write the least distance of two jobs, such as \"200ms\"");
    }
    model->deadline_ns = model->background ? 0 : model->period_ns;
    if (!model->background) {
        aegis_workload_duration(section, "deadline", false, &model->deadline_ns);
        aegis_workload_duration(section, "jitter", true, &model->jitter_ns);
    }
    const aegis_toml_node *offset =
        aegis_workload_duration(section, "offset", true, &model->offset_ns);
    if (offset != NULL && model->external) {
        aegis_workload_fail(section, offset, "offset", AEGIS_ERROR_CONFIG,
                            "a model with source = \"external\" is released by submissions; "
                            "remove it");
    }
}

/* Early copies are a stage of their own in the proof, which takes that no earlier job of the model
 * is there when one is released. Needs class and times. */
static void read_copies(const aegis_workload_section *section, aegis_workload_model *model)
{
    static const char *const words[] = {"inline", "early", "auto"};
    int choice = 0;
    const aegis_toml_node *node =
        aegis_workload_choice(section, "copies", words, AEGIS_ARRAY_LENGTH(words), &choice);
    if (node == NULL || choice == 0) {
        return;
    }
    model->config.early_copies = choice == 1;
    model->copies_auto = choice == 2;
    model->copies_place = (aegis_workload_place){.line = node->line, .column = node->column};
    if (model->background) {
        aegis_workload_fail(
            section, node, "copies", AEGIS_ERROR_CONFIG,
            "is for models with a deadline: nothing is proved of a "
            "background model, and its copies would delay theirs; write \"inline\"");
    } else if (model->deadline_ns > model->period_ns) {
        aegis_workload_fail(section, node, "copies", AEGIS_ERROR_CONFIG,
                            "early ones need a deadline of at most the period, so that the last "
                            "job has read its inputs when the next one's come; lower deadline or "
                            "write \"inline\"");
    }
}

static void read_rules(const aegis_workload_section *section,
                       aegis_early_rule early,
                       aegis_workload_model *model)
{
    static const char *const overruns[] = {"abort", "skip", "report"};
    static const char *const earlies[] = {"refuse", "delay"};
    static const char *const expectations[] = {"refuse"};
    int choice = AEGIS_OVERRUN_ABORT;
    aegis_workload_choice(section, "overrun", overruns, AEGIS_ARRAY_LENGTH(overruns), &choice);
    model->overrun = (aegis_overrun_rule)choice;
    choice = (int)early;
    aegis_workload_choice(section, "early", earlies, AEGIS_ARRAY_LENGTH(earlies), &choice);
    model->early = (aegis_early_rule)choice;
    model->expect_refuse =
        aegis_workload_choice(section, "expect", expectations, 1, &choice) != NULL;
    bool starts = true;
    const aegis_toml_node *node = aegis_workload_boolean(section, "start", &starts);
    model->absent = !starts;
    if (model->absent && model->expect_refuse) {
        aegis_workload_fail(section, node, "start", AEGIS_ERROR_CONFIG,
                            "a model that is not there at the start is not refused then; write "
                            "expect = \"refuse\" in the [[event]] that adds it");
    }
}

static void read_place(const aegis_workload_section *section,
                       const aegis_workload *workload,
                       size_t index,
                       aegis_workload_model *model)
{
    int64_t priority = (int64_t)index, lane = -1, threads = 1;
    if (!model->background) {
        aegis_workload_integer(section, "priority", INT32_MIN, INT32_MAX, &priority);
    }
    const aegis_toml_node *node = aegis_workload_integer(section, "lane", 0, UINT16_MAX, &lane);
    if (node != NULL && lane >= workload->lanes) {
        aegis_workload_fail(section, node, "lane", AEGIS_ERROR_CONFIG,
                            "lane %" PRId64 " does not exist: [device] lanes = %u counts from 0; "
                            "write a smaller number or more lanes",
                            lane, workload->lanes);
    }
    if (node == NULL && !workload->lanes_alike) {
        aegis_workload_fail(section, NULL, "lane", AEGIS_ERROR_CONFIG,
                            "is missing; the lanes have different numbers of [device] "
                            "multiprocessors, and a model is measured on its own: add lane = N");
    }
    node = aegis_workload_integer(section, "threads", 1, 256, &threads);
    if (node != NULL && threads > (int64_t)workload->lane_width) {
        aegis_workload_fail(section, node, "threads", AEGIS_ERROR_CONFIG,
                            "%" PRId64 " threads do not fit a lane of %u: raise [device] "
                            "lane_width or write fewer threads",
                            threads, workload->lane_width);
    }
    model->priority = (int32_t)priority;
    model->lane = (int)lane;
    model->config.threads = (unsigned)threads;
}

static void read_limits(const aegis_workload_section *section,
                        const aegis_workload *workload,
                        aegis_workload_model *model)
{
    const aegis_toml_node *node =
        aegis_workload_size(section, "memory", PAGE_BYTES, &model->memory_bytes);
    if (node != NULL) {
        model->memory_place = (aegis_workload_place){.line = node->line, .column = node->column};
    }
    if (node != NULL && model->memory_bytes > workload->memory_bytes) {
        aegis_workload_fail(section, node, "memory", AEGIS_ERROR_CONFIG,
                            "%" PRIu64 " bytes is more than [device] memory (%" PRIu64
                            "); lower this limit or raise that one",
                            model->memory_bytes, workload->memory_bytes);
    }
    node = aegis_workload_duration(section, "compute", false, &model->compute_ns);
    if (node != NULL && model->period_ns == 0) {
        aegis_workload_fail(section, node, "compute", AEGIS_ERROR_CONFIG,
                            "is a limit per period; give the model a period");
    } else if (node != NULL && model->compute_ns > model->period_ns) {
        char limit[32], period[32];
        aegis_workload_fail(
            section, node, "compute", AEGIS_ERROR_CONFIG,
            "%s is more than the period of %s that it is a part of; lower it or "
            "leave it out",
            aegis_format_duration((int64_t)model->compute_ns, limit, sizeof limit),
            aegis_format_duration((int64_t)model->period_ns, period, sizeof period));
    }
}

/* true, false, or how to find out. Packed copies are what the runtime makes by itself: without them
 * last bits differ. */
static void read_prepack(const aegis_workload_section *section, aegis_workload_model *model)
{
    static const char *const words[] = {"auto", "on", "off"};
    const aegis_toml_node *node = aegis_toml_find(section->table, "prepack");
    int choice = 1;
    if (node != NULL && node->kind == AEGIS_TOML_STRING) {
        aegis_workload_choice(section, "prepack", words, AEGIS_ARRAY_LENGTH(words), &choice);
        model->config.prepack = choice != 2;
        model->prepack_auto = choice == 0;
        return;
    }
    model->config.prepack = true;
    aegis_workload_boolean(section, "prepack", &model->config.prepack);
}

static void read_profile(const aegis_workload_section *section, aegis_workload_model *model)
{
    static const char *const methods[] = {"order-statistic", "evt"};
    int64_t samples = 0, slots = 0, seed = 0;
    int method = 0;
    aegis_workload_choice(section, "bound_method", methods, AEGIS_ARRAY_LENGTH(methods), &method);
    model->extreme_value = method == 1;
    const aegis_toml_node *node =
        aegis_workload_number(section, "exceedance", 0, 1, true, &model->exceedance);
    if (node != NULL && !model->extreme_value) {
        aegis_workload_fail(section, node, "exceedance", AEGIS_ERROR_CONFIG,
                            "says how rarely an extreme-value bound is passed; add bound_method = "
                            "\"evt\" or remove it");
    }
    aegis_workload_number(section, "confidence", 0, 1, true, &model->confidence);
    aegis_workload_number(section, "assurance", 0, 1, true, &model->assurance);
    aegis_workload_number(section, "margin", 1, 100, false, &model->margin);
    aegis_workload_integer(section, "samples", MIN_SAMPLES, MAX_SAMPLES, &samples);
    aegis_workload_integer(section, "slots", 1, MAX_SLOTS, &slots);
    aegis_workload_integer(section, "seed", 0, INT64_MAX, &seed);
    read_prepack(section, model);
    static const char *const cpu_nodes[] = {"refuse", "allow"};
    int allow = 0;
    aegis_workload_choice(section, "cpu_nodes", cpu_nodes, AEGIS_ARRAY_LENGTH(cpu_nodes), &allow);
    model->config.allow_cpu_nodes = allow == 1;
    model->samples = (uint32_t)samples;
    model->config.slots = (uint32_t)slots;
    model->config.seed = (uint64_t)seed;
}

/* On the host alone weights come from a disk. */
static void check_streamed(const aegis_workload_section *section,
                           const aegis_workload *workload,
                           const aegis_toml_node *node,
                           aegis_workload_model *model)
{
    if (!model->background && workload->device_kind != AEGIS_DEVICE_CUDA) {
        aegis_workload_fail(section, node, "residency", AEGIS_ERROR_CONFIG,
                            "nothing bounds the wait for a disk, so a model with a deadline keeps "
                            "its weights in memory; add class = \"background\", write "
                            "\"resident\", or run it on a GPU ([device] kind = \"cuda\"), where "
                            "they come from pinned memory");
    } else if (model->memory_bytes == 0) {
        aegis_workload_fail(section, node, "residency", AEGIS_ERROR_CONFIG,
                            "\"streamed\" divides the model's memory; add memory");
    } else if (aegis_toml_find(section->table, "cuts") != NULL) {
        aegis_workload_fail(section, node, "residency", AEGIS_ERROR_CONFIG,
                            "the segments of a streamed model are the weights that come "
                            "together; remove cuts");
    }
    model->cuts.mode = AEGIS_CUTS_NONE;
}

/* Two lanes that read at once share what the storage gives, and the profile of each was measured
 * while nobody else read: so all paged models are on one lane. Needs `lane` and `cuts`. */
static void read_residency(const aegis_workload_section *section,
                           const aegis_workload *workload,
                           size_t index,
                           aegis_workload_model *model)
{
    static const char *const residencies[] = {"resident", "paged", "streamed"};
    int choice = AEGIS_RESIDENT;
    const aegis_toml_node *node = aegis_workload_choice(section, "residency", residencies,
                                                        AEGIS_ARRAY_LENGTH(residencies), &choice);
    model->config.residency = (aegis_residency)choice;
    if (choice == AEGIS_STREAMED) {
        check_streamed(section, workload, node, model);
    }
    if (choice != AEGIS_PAGED) {
        return;
    }
    if (model->lane < 0) {
        aegis_workload_fail(section, node, "residency", AEGIS_ERROR_CONFIG,
                            "a paged model stays on one lane, whose paged region it shares; add "
                            "lane = N");
    }
    const aegis_toml_node *cuts = aegis_toml_find(section->table, "cuts");
    if (cuts != NULL && model->cuts.mode != AEGIS_CUTS_NONE) {
        aegis_workload_fail(section, cuts, "cuts", AEGIS_ERROR_CONFIG,
                            "a paged model cannot be cut: between two segments another could "
                            "overwrite its weights; remove this key or residency = \"paged\"");
    }
    model->cuts.mode = AEGIS_CUTS_NONE;
    for (size_t i = 0; i < index; i++) {
        const aegis_workload_model *other = &workload->models[i];
        if (other->config.residency == AEGIS_PAGED && other->lane != model->lane) {
            aegis_workload_fail(section, node, "residency", AEGIS_ERROR_CONFIG,
                                "\"%s\" is paged on lane %d: two lanes that read at once would "
                                "slow each other down beyond what was measured; put all paged "
                                "models on one lane",
                                other->name, other->lane);
            return;
        }
    }
}

/* Keys of language models alone. */
static void read_language(const aegis_workload_section *section,
                          const aegis_workload *workload,
                          aegis_workload_model *model)
{
    static const char *const ends[] = {"restart", "stop"};
    static const char *const keys[] = {"context", "at_end", "prompt", "prompt_block"};
    const bool is_language = strcmp(model->backend, "transformer") == 0;
    int64_t context = 0, block = 0;
    int end = 0;
    aegis_workload_integer(section, "context", 2, UINT32_MAX, &context);
    aegis_workload_integer(section, "prompt_block", 1, MAX_PROMPT_BLOCK, &block);
    aegis_workload_choice(section, "at_end", ends, AEGIS_ARRAY_LENGTH(ends), &end);
    model->config.context_tokens = (uint32_t)context;
    model->config.prompt_block = (uint32_t)block;
    model->config.stop_at_end = end == 1;
    const char *prompt = NULL;
    const aegis_toml_node *text = aegis_workload_text(section, "prompt", "a text", &prompt);
    model->config.prompt = text != NULL ? aegis_workload_copy(section, prompt) : NULL;
    if (text != NULL && aegis_toml_find(section->table, "source") != NULL) {
        aegis_workload_fail(section, text, "prompt", AEGIS_ERROR_CONFIG,
                            "fills the input, and so does source; remove one of them");
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
        const aegis_toml_node *node = aegis_toml_find(section->table, keys[i]);
        if (node != NULL && !is_language) {
            aegis_workload_fail(section, node, keys[i], AEGIS_ERROR_CONFIG,
                                "is for language models; add backend = \"transformer\" or remove "
                                "it");
        }
    }
    if (is_language && workload->lane_multiprocessors[0] > 0) {
        aegis_workload_fail(section, aegis_toml_find(section->table, "backend"), "backend",
                            AEGIS_ERROR_UNSUPPORTED,
                            "a kernel of a language model runs on all multiprocessors of the GPU "
                            "at once, and [device] multiprocessors gives each lane a part; remove "
                            "the key, or this model");
    }
}

void aegis_workload_read_model(aegis_workload_reader *reader,
                               const aegis_toml_node *table,
                               const aegis_workload *workload,
                               size_t index,
                               aegis_early_rule early,
                               aegis_workload_model *ret_model)
{
    const aegis_toml_node *inputs = aegis_toml_find(table, "inputs");
    const aegis_toml_node *inputs_at = inputs != NULL ? inputs : table;
    aegis_workload_model model = {
        .place = {.line = table->line, .column = table->column},
        .inputs_place = {.line = inputs_at->line, .column = inputs_at->column}};
    aegis_workload_section section = {.reader = reader, .table = table};
    read_name(&section, index, &model);
    if (reader->status != AEGIS_OK) {
        return;
    }
    aegis_workload_check_keys(&section, known_keys, AEGIS_ARRAY_LENGTH(known_keys), later_keys);
    refuse_same_name(&section, workload, index, model.name);
    read_path(&section, &model);
    read_backend(&section, &model);
    aegis_workload_read_tensors(&section, &model);
    read_class(&section, &model);
    read_times(&section, &model);
    read_copies(&section, &model);
    read_rules(&section, early, &model);
    read_place(&section, workload, index, &model);
    read_limits(&section, workload, &model);
    read_profile(&section, &model);
    read_language(&section, workload, &model);
    model.cuts = workload->cuts;
    model.cuts.place = (aegis_workload_place){0, 0}; /* of its own key only */
    aegis_workload_read_cuts(&section, true, &model.cuts);
    read_residency(&section, workload, index, &model);
    model.config.name = model.name;
    model.config.path = model.path;
    model.config.memory_limit_bytes = model.memory_bytes;
    *ret_model = model;
}
