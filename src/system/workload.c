/* SPDX-License-Identifier: Apache-2.0 */
/* A workload file as a whole: [device], [schedule] and the list of models. */
#include <aegisrt/workload.h>

#include "base/base.h"
#include "system/workload_reader.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "system.workload"
#define MAX_MODELS 4096
#define MAX_LANES 64
#define MAX_QUEUE_DEPTH 1024
#define DEFAULT_QUEUE_DEPTH 64
#define DEFAULT_SPILL_BYTES (UINT64_C(1) << 20)
#define DEFAULT_HANG_NS (10 * AEGIS_NS_PER_S)     /* of a GPU */
#define DEFAULT_PINNED_BYTES (UINT64_C(64) << 20) /* of a GPU */
#define MOST_MULTIPROCESSORS 1024
#define MOST_SPIN_NS (10 * AEGIS_NS_PER_MS)
#define LEAST_DEVICE_BYTES (UINT64_C(1) << 16)

/* The public structure first: free finds the rest behind it. */
typedef struct loaded_workload {
    aegis_workload workload;
    aegis_bump bump;
} loaded_workload;

static void read_lane_cpus(const aegis_workload_section *section, aegis_workload *workload)
{
    for (size_t i = 0; i < MAX_LANES; i++) {
        workload->lane_cpu[i] = -1;
    }
    const aegis_toml_node *node =
        aegis_workload_get(section, "lane_cpu", AEGIS_TOML_ARRAY,
                           "an array with one CPU for each lane, such as [2, 3]");
    if (node == NULL) {
        return;
    }
    if (node->child_count != workload->lanes) {
        aegis_workload_fail(
            section, node, "lane_cpu", AEGIS_ERROR_CONFIG,
            "has %zu entries for %u lanes; write one CPU for each lane, -1 where it "
            "is not pinned",
            node->child_count, workload->lanes);
        return;
    }
    for (size_t i = 0; i < node->child_count; i++) {
        const aegis_toml_node *cpu = &node->children[i];
        if (cpu->kind != AEGIS_TOML_INTEGER || cpu->value.integer < -1 ||
            cpu->value.integer > 4095) {
            aegis_workload_fail(section, cpu, "lane_cpu", AEGIS_ERROR_CONFIG,
                                "expected the number of a CPU or -1 for lane %zu", i);
            return;
        }
        workload->lane_cpu[i] = (int)cpu->value.integer;
    }
}

/* Two lanes that share multiprocessors would hold one another up as their models please. */
static void read_multiprocessors(const aegis_workload_section *section, aegis_workload *workload)
{
    workload->lanes_alike = true;
    const aegis_toml_node *node =
        aegis_workload_get(section, "multiprocessors", AEGIS_TOML_ARRAY,
                           "an array with a number for each lane, such as [64, 64]");
    if (node == NULL) {
        return;
    }
    if (node->child_count != workload->lanes) {
        aegis_workload_fail(section, node, "multiprocessors", AEGIS_ERROR_CONFIG,
                            "has %zu entries for %u lanes; write for each how many multiprocessors "
                            "of the GPU are its own",
                            node->child_count, workload->lanes);
        return;
    }
    for (size_t i = 0; i < node->child_count; i++) {
        const aegis_toml_node *one = &node->children[i];
        if (one->kind != AEGIS_TOML_INTEGER || one->value.integer < 1 ||
            one->value.integer > MOST_MULTIPROCESSORS) {
            aegis_workload_fail(section, one, "multiprocessors", AEGIS_ERROR_CONFIG,
                                "expected a number from 1 to %d for lane %zu", MOST_MULTIPROCESSORS,
                                i);
            return;
        }
        workload->lane_multiprocessors[i] = (int)one->value.integer;
        workload->lanes_alike = workload->lanes_alike && workload->lane_multiprocessors[i] ==
                                                             workload->lane_multiprocessors[0];
    }
}

static void read_device_memory(const aegis_workload_section *section, aegis_workload *workload)
{
    workload->spill_bytes = DEFAULT_SPILL_BYTES;
    const aegis_toml_node *memory =
        aegis_workload_size(section, "memory", LEAST_DEVICE_BYTES, &workload->memory_bytes);
    aegis_workload_size(section, "spill", 0, &workload->spill_bytes);
    aegis_workload_size(section, "process_memory", LEAST_DEVICE_BYTES, &workload->process_bytes);
    workload->pinned_bytes = DEFAULT_PINNED_BYTES;
    workload->pinned_given =
        aegis_workload_size(section, "pinned", 0, &workload->pinned_bytes) != NULL;
    if (memory == NULL) {
        aegis_workload_fail(section, NULL, "memory", AEGIS_ERROR_CONFIG,
                            "is missing; write how much everything that is admitted may use, such "
                            "as \"512MiB\"");
    } else if (workload->spill_bytes > workload->memory_bytes / workload->lanes) {
        aegis_workload_fail(section, memory, "memory", AEGIS_ERROR_CONFIG,
                            "%" PRIu64 " bytes do not hold the spill regions of %u lanes with "
                            "%" PRIu64 " bytes each; raise memory or lower spill",
                            workload->memory_bytes, workload->lanes, workload->spill_bytes);
    }
}

static void read_lane_spin(const aegis_workload_section *section, aegis_workload *workload)
{
    const aegis_toml_node *node =
        aegis_workload_duration(section, "lane_spin", true, &workload->lane_spin_ns);
    workload->has_lane_spin = node != NULL;
    if (node != NULL && workload->lane_spin_ns > MOST_SPIN_NS) {
        aegis_workload_fail(section, node, "lane_spin", AEGIS_ERROR_CONFIG,
                            "a lane that spins for longer than 10ms is a busy core; write at most "
                            "\"10ms\", or \"0us\" to let it sleep at once");
    }
}

static void read_device(const aegis_workload_section *section, aegis_workload *workload)
{
    static const char *const keys[] = {
        "kind",       "memory",          "lanes",          "spill",  "lock_memory", "huge_pages",
        "lane_width", "lane_cpu",        "fifo_priority",  "pinned", "completion",  "graphs",
        "lane_spin",  "multiprocessors", "process_memory", "ahead"};
    static const char *const kinds[] = {"auto", "host", "cuda"};
    static const char *const completions[] = {"adaptive", "poll", "block"};
    int kind = AEGIS_DEVICE_AUTO, completion = AEGIS_COMPLETION_ADAPTIVE;
    int64_t lanes = 1, width = 1, fifo = 0;
    aegis_workload_check_keys(section, keys, AEGIS_ARRAY_LENGTH(keys), NULL);
    aegis_workload_choice(section, "kind", kinds, AEGIS_ARRAY_LENGTH(kinds), &kind);
    aegis_workload_choice(section, "completion", completions, AEGIS_ARRAY_LENGTH(completions),
                          &completion);
    aegis_workload_integer(section, "lanes", 1, MAX_LANES, &lanes);
    aegis_workload_integer(section, "lane_width", 1, 256, &width);
    /* 98: the orchestration thread runs one above the lanes, and 99 is the highest. */
    aegis_workload_integer(section, "fifo_priority", 0, 98, &fifo);
    aegis_workload_boolean(section, "lock_memory", &workload->lock_memory);
    workload->ahead = completion != AEGIS_COMPLETION_BLOCK;
    aegis_workload_boolean(section, "ahead", &workload->ahead);
    workload->graphs = true;
    aegis_workload_boolean(section, "graphs", &workload->graphs);
    workload->huge_pages = true;
    aegis_workload_boolean(section, "huge_pages", &workload->huge_pages);
    read_lane_spin(section, workload);
    workload->device_kind = (aegis_device_kind)kind;
    workload->completion = (aegis_completion)completion;
    workload->lanes = (uint16_t)lanes;
    workload->lane_width = (unsigned)width;
    workload->fifo_priority = (int)fifo;
    read_device_memory(section, workload);
    read_lane_cpus(section, workload);
    read_multiprocessors(section, workload);
}

static void read_schedule(const aegis_workload_section *section,
                          aegis_workload *workload,
                          aegis_early_rule *ret_early)
{
    static const char *const keys[] = {"policy", "queue_depth", "wait", "early", "cuts", "hang"};
    static const char *const waits[] = {"sleep", "poll"};
    static const char *const earlies[] = {"refuse", "delay"};
    int wait = AEGIS_WAIT_SLEEP, early = AEGIS_EARLY_REFUSE;
    int64_t depth = DEFAULT_QUEUE_DEPTH;
    aegis_policy policy;
    aegis_error error;
    aegis_workload_check_keys(section, keys, AEGIS_ARRAY_LENGTH(keys), NULL);
    workload->policy = "np-edf";
    const aegis_toml_node *node = aegis_workload_text(
        section, "policy", "the name of a policy such as \"np-edf\"", &workload->policy);
    if (node != NULL && aegis_policy_find(workload->policy, &policy, &error) != AEGIS_OK) {
        aegis_workload_fail(section, node, "policy", AEGIS_ERROR_CONFIG, "%s", error.message);
    }
    aegis_workload_integer(section, "queue_depth", 1, MAX_QUEUE_DEPTH, &depth);
    aegis_workload_choice(section, "wait", waits, AEGIS_ARRAY_LENGTH(waits), &wait);
    aegis_workload_choice(section, "early", earlies, AEGIS_ARRAY_LENGTH(earlies), &early);
    aegis_workload_read_cuts(section, false, &workload->cuts);
    workload->hang_ns = DEFAULT_HANG_NS;
    workload->hang_given = aegis_workload_duration(section, "hang", 1, &workload->hang_ns) != NULL;
    workload->queue_depth = (uint32_t)depth;
    workload->wait = (aegis_wait_mode)wait;
    *ret_early = (aegis_early_rule)early;
}

/* A table of the root; an empty one, at the root's place, when it is missing. */
static aegis_workload_section
root_section(aegis_workload_reader *reader, const aegis_toml_node *root, const char *name)
{
    static const aegis_toml_node empty = {.kind = AEGIS_TOML_TABLE, .line = 1, .column = 1};
    aegis_workload_section top = {.reader = reader, .table = root};
    const aegis_toml_node *table = aegis_workload_get(&top, name, AEGIS_TOML_TABLE, "a table");
    aegis_workload_section section = {.reader = reader, .table = table != NULL ? table : &empty};
    snprintf(section.label, sizeof section.label, "[%s]", name);
    return section;
}

static void
read_models(const aegis_workload_section *top, aegis_workload *workload, aegis_early_rule early)
{
    const aegis_toml_node *list =
        aegis_workload_get(top, "model", AEGIS_TOML_ARRAY,
                           "an array of tables: write [[model]] with two pairs of brackets");
    if (list == NULL || list->child_count == 0) {
        aegis_workload_fail(top, list, "model", AEGIS_ERROR_CONFIG,
                            "the workload holds no model; add a [[model]] with name, path and "
                            "period");
        return;
    }
    if (list->child_count > MAX_MODELS) {
        aegis_workload_fail(top, list, "model", AEGIS_ERROR_CONFIG,
                            "%zu models; at most %d are possible", list->child_count, MAX_MODELS);
        return;
    }
    aegis_workload_model *models = aegis_workload_take(top, list->child_count, sizeof *models);
    if (models == NULL) {
        return;
    }
    workload->models = models;
    for (size_t i = 0; i < list->child_count && top->reader->status == AEGIS_OK; i++) {
        if (list->children[i].kind != AEGIS_TOML_TABLE) {
            aegis_workload_fail(top, &list->children[i], "model", AEGIS_ERROR_CONFIG,
                                "expected a table, got %s; write [[model]]",
                                aegis_toml_kind_name(list->children[i].kind));
            return;
        }
        aegis_workload_read_model(top->reader, &list->children[i], workload, i, early, &models[i]);
        models[i].config.eager = !workload->graphs;
        workload->copies_early =
            workload->copies_early || models[i].config.early_copies || models[i].copies_auto;
        workload->model_count = i + 1;
    }
}

static void
read_workload(aegis_workload_reader *reader, const aegis_toml_node *root, aegis_workload *workload)
{
    static const char *const keys[] = {"device", "schedule", "model", "event"};
    static const aegis_workload_later_key later[] = {
        {"mode", "remove the table; all models run in one mode"}, {NULL, NULL}};
    aegis_workload_section top = {.reader = reader, .table = root};
    aegis_early_rule early = AEGIS_EARLY_REFUSE;
    aegis_workload_check_keys(&top, keys, AEGIS_ARRAY_LENGTH(keys), later);
    aegis_workload_section device = root_section(reader, root, "device");
    aegis_workload_section schedule = root_section(reader, root, "schedule");
    read_device(&device, workload);
    read_schedule(&schedule, workload, &early);
    read_models(&top, workload, early);
    if (reader->status == AEGIS_OK) {
        aegis_workload_read_events(&top, workload);
    }

    const char *cache = getenv("AEGISRT_CACHE_DIR");
    workload->path = aegis_workload_copy(&top, reader->origin);
    workload->cache_dir =
        aegis_workload_copy(&top, cache != NULL && cache[0] != '\0' ? cache : ".aegisrt-cache");
}

static aegis_status parse(const char *text,
                          size_t size,
                          const char *origin,
                          const char *folder,
                          const aegis_allocator *allocator,
                          aegis_workload **ret_workload,
                          aegis_error *err)
{
    aegis_toml *document = NULL;
    aegis_status status = aegis_toml_parse(text, size, origin, allocator, &document, err);
    if (status != AEGIS_OK) {
        return status;
    }
    loaded_workload *loaded = aegis_allocate_zeroed(allocator, 1, sizeof *loaded);
    if (loaded == NULL) {
        aegis_toml_free(document);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "%s: no memory for the workload", origin);
    }
    aegis_bump_init(&loaded->bump, allocator);
    aegis_workload_reader reader = {
        .origin = origin, .folder = folder, .bump = &loaded->bump, .err = err};
    read_workload(&reader, aegis_toml_root(document), &loaded->workload);
    aegis_toml_free(document);
    if (reader.status != AEGIS_OK) {
        aegis_workload_free(&loaded->workload);
        return reader.status;
    }
    *ret_workload = &loaded->workload;
    return AEGIS_OK;
}

aegis_status aegis_workload_parse(const char *text,
                                  size_t size,
                                  const char *origin,
                                  const aegis_allocator *allocator,
                                  aegis_workload **ret_workload,
                                  aegis_error *err)
{
    if (text == NULL || origin == NULL || allocator == NULL || ret_workload == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "text, origin, allocator and ret_workload must not be NULL");
    }
    return parse(text, size, origin, NULL, allocator, ret_workload, err);
}

aegis_status aegis_workload_load(const char *path,
                                 const aegis_allocator *allocator,
                                 aegis_workload **ret_workload,
                                 aegis_error *err)
{
    char folder[PATH_MAX];
    char *text = NULL;
    size_t size = 0;
    if (path == NULL || allocator == NULL || ret_workload == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "path, allocator and ret_workload must not be NULL");
    }
    aegis_status status = aegis_file_read(path, AEGIS_TOML_MAX_BYTES, allocator, &text, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s",
             slash == NULL   ? 1
             : slash == path ? 1
                             : (int)(slash - path),
             slash == NULL ? "." : path);
    status = parse(text, size, path, folder, allocator, ret_workload, err);
    aegis_file_free(allocator, text, size);
    return status;
}

void aegis_workload_free(aegis_workload *workload)
{
    if (workload != NULL) {
        loaded_workload *loaded = (loaded_workload *)workload;
        aegis_allocator allocator = loaded->bump.allocator;
        aegis_bump_finish(&loaded->bump);
        aegis_deallocate(&allocator, loaded, 1, sizeof *loaded);
    }
}
