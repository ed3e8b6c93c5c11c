/* SPDX-License-Identifier: Apache-2.0 */
/* What a [[model]] says about its tensors: shapes of inputs, state pairs, sources of data. */
#include "system/workload_reader.h"

#include "base/base.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 256
#define MAX_DIMENSION (INT64_C(1) << 31)
#define MAX_ELEMENTS (INT64_C(1) << 40)

#define SOURCE_FORMS \
    "\"random\", \"random(LOW,HIGH)\", \"zeros\", \"external\" or the name of a .npy file"

/* The table under `key` when it has children, checked for their number. */
static const aegis_toml_node *
get_table(const aegis_workload_section *section, const char *key, const char *wanted)
{
    const aegis_toml_node *table = aegis_workload_get(section, key, AEGIS_TOML_TABLE, wanted);
    if (table != NULL && table->child_count > MAX_TENSORS) {
        aegis_workload_fail(section, table, key, AEGIS_ERROR_CONFIG,
                            "has %zu entries; at most %d are read", table->child_count,
                            MAX_TENSORS);
        return NULL;
    }
    return table;
}

static void read_shape(const aegis_workload_section *section,
                       const aegis_toml_node *node,
                       aegis_input_shape *shape)
{
    int64_t elements = 1;
    if (node->kind != AEGIS_TOML_ARRAY) {
        aegis_workload_fail(section, node, "inputs", AEGIS_ERROR_CONFIG,
                            "%s: expected dimensions such as [1, 3, 480, 640], "
                            "got %s",
                            node->key, aegis_toml_kind_name(node->kind));
        return;
    }
    if (node->child_count > AEGIS_MAX_RANK) {
        aegis_workload_fail(section, node, "inputs", AEGIS_ERROR_CONFIG,
                            "%s: has %zu dimensions; at most %d are possible", node->key,
                            node->child_count, AEGIS_MAX_RANK);
        return;
    }
    for (size_t i = 0; i < node->child_count; i++) {
        const aegis_toml_node *child = &node->children[i];
        if (child->kind != AEGIS_TOML_INTEGER) {
            aegis_workload_fail(section, child, "inputs", AEGIS_ERROR_CONFIG,
                                "%s: expected an integer as a dimension, got %s", node->key,
                                aegis_toml_kind_name(child->kind));
            return;
        }
        int64_t dimension = child->value.integer;
        if (dimension < 1 || dimension > MAX_DIMENSION) {
            aegis_workload_fail(section, child, "inputs", AEGIS_ERROR_CONFIG,
                                "%s: dimension %" PRId64
                                " is out of range; shapes are fixed: write a number above 0",
                                node->key, dimension);
            return;
        }
        if (__builtin_mul_overflow(elements, dimension, &elements) || elements > MAX_ELEMENTS) {
            aegis_workload_fail(section, node, "inputs", AEGIS_ERROR_CONFIG,
                                "%s: the product of the dimensions is too large", node->key);
            return;
        }
        shape->shape[i] = dimension;
    }
    shape->rank = (int)node->child_count;
    shape->name = aegis_workload_copy(section, node->key);
}

static void read_inputs(const aegis_workload_section *section, aegis_workload_model *model)
{
    const aegis_toml_node *table =
        get_table(section, "inputs", "a table of shapes such as { x = [1, 3, 480, 640] }");
    aegis_input_shape *shapes =
        table == NULL ? NULL : aegis_workload_take(section, table->child_count, sizeof *shapes);
    if (shapes == NULL) {
        return;
    }
    for (size_t i = 0; i < table->child_count; i++) {
        read_shape(section, &table->children[i], &shapes[i]);
    }
    model->config.inputs = shapes;
    model->config.input_count = table->child_count;
}

static void read_state(const aegis_workload_section *section, aegis_workload_model *model)
{
    const aegis_toml_node *table =
        get_table(section, "state", "a table such as { input = \"output\" }");
    aegis_state_pair *pairs =
        table == NULL ? NULL : aegis_workload_take(section, table->child_count, sizeof *pairs);
    if (pairs == NULL) {
        return;
    }
    for (size_t i = 0; i < table->child_count; i++) {
        const aegis_toml_node *node = &table->children[i];
        if (node->kind != AEGIS_TOML_STRING || node->value.text[0] == '\0') {
            aegis_workload_fail(section, node, "state", AEGIS_ERROR_CONFIG,
                                "%s: expected the name of the output that is fed back, got %s",
                                node->key,
                                node->kind == AEGIS_TOML_STRING ? "an empty string"
                                                                : aegis_toml_kind_name(node->kind));
            return;
        }
        for (size_t k = 0; k < i; k++) {
            if (strcmp(pairs[k].output, node->value.text) == 0) {
                aegis_workload_fail(section, node, "state", AEGIS_ERROR_CONFIG,
                                    "output \"%s\" feeds both %s and %s; each state input has an "
                                    "output of its own",
                                    node->value.text, pairs[k].input, node->key);
                return;
            }
        }
        pairs[i].input = aegis_workload_copy(section, node->key);
        pairs[i].output = aegis_workload_copy(section, node->value.text);
        if (section->reader->status != AEGIS_OK) {
            return;
        }
    }
    model->config.state = pairs;
    model->config.state_count = table->child_count;
}

/* "random(LOW,HIGH)" */
static bool parse_range(const char *text, int64_t *ret_low, int64_t *ret_high)
{
    static const char start[] = "random(";
    char *end;
    if (strncmp(text, start, sizeof start - 1) != 0) {
        return false;
    }
    errno = 0;
    long long low = strtoll(text + sizeof start - 1, &end, 10);
    if (end == text + sizeof start - 1 || *end != ',') {
        return false;
    }
    const char *second = end + 1;
    long long high = strtoll(second, &end, 10);
    if (end == second || strcmp(end, ")") != 0 || errno != 0 || low > high) {
        return false;
    }
    *ret_low = low;
    *ret_high = high;
    return true;
}

static bool is_npy(const char *text)
{
    size_t length = strlen(text);
    return length > 4 && strcmp(text + length - 4, ".npy") == 0;
}

static void read_source_text(const aegis_workload_section *section,
                             const aegis_toml_node *node,
                             aegis_source *source)
{
    const char *text = node->value.text;
    source->kind = AEGIS_SOURCE_RANDOM;
    source->high = 1;
    if (strcmp(text, "random") == 0 || parse_range(text, &source->low, &source->high)) {
        return;
    }
    if (strcmp(text, "zeros") == 0) {
        source->kind = AEGIS_SOURCE_ZEROS;
    } else if (strcmp(text, "external") == 0) {
        source->kind = AEGIS_SOURCE_EXTERNAL;
    } else if (is_npy(text)) {
        source->kind = AEGIS_SOURCE_FILE;
        const char *copy = aegis_workload_copy(section, text);
        source->path = copy == NULL ? NULL : aegis_workload_resolve(section, node, "source", copy);
    } else {
        aegis_workload_fail(section, node, "source", AEGIS_ERROR_CONFIG,
                            "\"%.64s\" is no source; write " SOURCE_FORMS
                            " (LOW and HIGH are integers, LOW <= HIGH)",
                            text);
    }
}

static void read_source(const aegis_workload_section *section,
                        const aegis_toml_node *node,
                        aegis_source *source)
{
    if (node->kind == AEGIS_TOML_STRING) {
        read_source_text(section, node, source);
    } else if (node->kind == AEGIS_TOML_INTEGER || node->kind == AEGIS_TOML_FLOAT) {
        source->kind = AEGIS_SOURCE_CONSTANT;
        source->constant =
            node->kind == AEGIS_TOML_INTEGER ? (double)node->value.integer : node->value.number;
    } else {
        aegis_workload_fail(section, node, "source", AEGIS_ERROR_CONFIG,
                            "expected a number, " SOURCE_FORMS ", got %s",
                            aegis_toml_kind_name(node->kind));
    }
}

/* One entry per input that is named, and one for all others. */
static void read_sources(const aegis_workload_section *section, aegis_workload_model *model)
{
    const aegis_toml_node *node = aegis_toml_find(section->table, "source");
    bool table = node != NULL && node->kind == AEGIS_TOML_TABLE;
    size_t named = table ? node->child_count : 0;
    if (named > MAX_TENSORS) {
        aegis_workload_fail(section, node, "source", AEGIS_ERROR_CONFIG,
                            "has %zu entries; at most %d are read", named, MAX_TENSORS);
        return;
    }
    aegis_source *sources = aegis_workload_take(section, named + 1, sizeof *sources);
    if (sources == NULL) {
        return;
    }
    for (size_t i = 0; i < named; i++) {
        sources[i].input = aegis_workload_copy(section, node->children[i].key);
        read_source(section, &node->children[i], &sources[i]);
        model->external |= sources[i].kind == AEGIS_SOURCE_EXTERNAL;
    }
    aegis_source *others = &sources[named];
    *others = (aegis_source){.kind = AEGIS_SOURCE_RANDOM, .high = 1};
    if (node != NULL && !table) {
        read_source(section, node, others);
        model->external = others->kind == AEGIS_SOURCE_EXTERNAL;
    }
    model->config.sources = sources;
    model->config.source_count = named + 1;
}

void aegis_workload_read_tensors(const aegis_workload_section *section, aegis_workload_model *model)
{
    read_inputs(section, model);
    read_state(section, model);
    if (section->reader->status == AEGIS_OK) {
        read_sources(section, model);
    }
}
