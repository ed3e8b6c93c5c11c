/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/graph_internal.h"
#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "transformer.graph"
#define NAME_BYTES 192
#define SHAPE_BYTES 128

/* A validation under way. */
typedef struct maker {
    aegis_graph_validated *graph;
    const aegis_tensor_names *names;
    const char *prefix; /* as the files have it: names->prefix or "" */
    bool *used;         /* by index of the tensor */
    uint32_t count;
} maker;

static const char *shape_text(const uint64_t *shape, uint32_t rank, char text[SHAPE_BYTES])
{
    size_t at = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < rank && at < SHAPE_BYTES; i++) {
        int more =
            snprintf(text + at, SHAPE_BYTES - at, "%s%" PRIu64, i == 0 ? "" : ", ", shape[i]);
        at += more > 0 ? (size_t)more : 0;
    }
    return text;
}

static aegis_status no_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for the layers of the model");
}

static const char *path_of(const maker *m, const aegis_tensor_source *source)
{
    return aegis_safetensors_file_at(m->graph->files, source->file)->path;
}

static void mark_used(maker *m, const aegis_tensor_source *source)
{
    m->used[source - aegis_safetensors_at(m->graph->files, 0)] = true;
}

static bool is_used(const maker *m, const aegis_tensor_source *source)
{
    return m->used[source - aegis_safetensors_at(m->graph->files, 0)];
}

static aegis_status check_shape(const maker *m,
                                const aegis_tensor_source *source,
                                const uint64_t *shape,
                                uint32_t rank,
                                aegis_error *err)
{
    char found[SHAPE_BYTES], wanted[SHAPE_BYTES];
    if (source->rank == rank && memcmp(source->shape, shape, rank * sizeof *shape) == 0) {
        return AEGIS_OK;
    }
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
        "%.160s: tensor \"%s\" has shape [%.60s], config.json asks for [%s]; use "
        "the config.json and the weights of one model",
        path_of(m, source), source->name, shape_text(source->shape, source->rank, found),
        shape_text(shape, rank, wanted));
}

static aegis_status check_dtype(const maker *m,
                                const aegis_tensor_rule *rule,
                                const aegis_tensor_source *source,
                                aegis_error *err)
{
    bool good =
        source->dtype != AEGIS_DTYPE_OTHER && (source->dtype != AEGIS_DTYPE_I8 || rule->matrix);
    if (good) {
        return AEGIS_OK;
    }
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                           "%.160s: tensor \"%s\" has dtype %s; %s; convert the model",
                           path_of(m, source), source->name, source->dtype_name,
                           rule->matrix ? "F32, F16, BF16 and I8 with scales are supported"
                                        : "only F32, F16 and BF16 are supported here");
}

/* "<name>.scales" of an I8 matrix. */
static aegis_status find_scales(maker *m, aegis_graph_tensor *tensor, aegis_error *err)
{
    char name[NAME_BYTES + 8];
    if (tensor->source->dtype != AEGIS_DTYPE_I8) {
        return AEGIS_OK;
    }
    snprintf(name, sizeof name, "%s.scales", tensor->source->name);
    const aegis_tensor_source *scales = aegis_safetensors_find(m->graph->files, name);
    if (scales == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "%.160s: tensor \"%s\" is I8, but there are no scales \"%s\" (F32, "
                               "one an output feature); convert the model again",
                               path_of(m, tensor->source), tensor->source->name, name);
    }
    if (scales->dtype != AEGIS_DTYPE_F32) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%.160s: scales \"%s\" have dtype %s, not F32; convert the model "
                               "again",
                               path_of(m, scales), name, scales->dtype_name);
    }
    tensor->scales = scales;
    mark_used(m, scales);
    return check_shape(m, scales, &tensor->rows, 1, err);
}

static aegis_status make_tensor(maker *m,
                                const aegis_tensor_rule *rule,
                                const char *name,
                                aegis_graph_tensor *tensor,
                                aegis_error *err)
{
    const aegis_decoder_config *config = &m->graph->config;
    const aegis_tensor_source *source = aegis_safetensors_find(m->graph->files, name);
    if (source == NULL) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
            "%.200s: tensor \"%s\" (%s) is missing; config.json asks for it with "
            "%u layers of %s",
            aegis_safetensors_file_at(m->graph->files, 0)->path, name,
            aegis_tensor_role_name(rule->role), config->layers,
            aegis_architecture_name(config->architecture));
    }
    *tensor = (aegis_graph_tensor){.role = rule->role,
                                   .source = source,
                                   .rows = aegis_extent_of(config, rule->rows),
                                   .columns = aegis_extent_of(config, rule->columns),
                                   .transposed = rule->transposed};
    uint64_t shape[2] = {tensor->rows, tensor->columns};
    if (rule->transposed) {
        shape[0] = tensor->columns;
        shape[1] = tensor->rows;
    }
    uint32_t rank = rule->columns == AEGIS_EXTENT_ONE ? 1 : 2;
    aegis_status status = check_dtype(m, rule, source, err);
    if (status == AEGIS_OK) {
        status = check_shape(m, source, shape, rank, err);
    }
    if (status == AEGIS_OK) {
        status = find_scales(m, tensor, err);
    }
    if (status == AEGIS_OK) {
        mark_used(m, source);
        tensor->bytes = source->bytes + (tensor->scales != NULL ? tensor->scales->bytes : 0);
    }
    return status;
}

static uint32_t rule_count(const aegis_tensor_rule *rules)
{
    uint32_t count = 0;
    while (rules[count].name != NULL) {
        count++;
    }
    return count;
}

/* The layer's tensors, whose names begin with `prefix`. */
static aegis_status make_layer(maker *m,
                               aegis_graph_layer *layer,
                               const aegis_tensor_rule *rules,
                               const char *prefix,
                               aegis_error *err)
{
    uint32_t count = rule_count(rules);
    aegis_graph_tensor *tensors = aegis_bump_take(&m->graph->bump, count, sizeof *tensors);
    aegis_status status = AEGIS_OK;
    if (tensors == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < count && status == AEGIS_OK; i++) {
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "%s%s", prefix, rules[i].name);
        status = make_tensor(m, &rules[i], name, &tensors[i], err);
        layer->bytes += tensors[i].bytes;
    }
    layer->tensors = tensors;
    layer->tensor_count = count;
    if (!layer->tied) {
        m->graph->weight_bytes += layer->bytes;
    }
    return status;
}

/* The head is the token table; one stored besides must at least have its shape. */
static aegis_status make_tied_head(maker *m, aegis_graph_layer *layer, aegis_error *err)
{
    aegis_graph_tensor *head = aegis_bump_take(&m->graph->bump, 1, sizeof *head);
    if (head == NULL) {
        return no_memory(err);
    }
    *head = m->graph->layers[0].tensors[0];
    head->role = AEGIS_ROLE_HEAD;
    *layer = (aegis_graph_layer){.kind = AEGIS_LAYER_HEAD,
                                 .tied = true,
                                 .tensor_count = 1,
                                 .tensors = head,
                                 .bytes = head->bytes};
    const aegis_tensor_source *copy =
        aegis_safetensors_find(m->graph->files, m->names->head[0].name);
    if (copy == NULL) {
        return AEGIS_OK;
    }
    const uint64_t shape[2] = {head->rows, head->columns};
    m->graph->ignored_count++;
    m->graph->ignored_bytes += copy->bytes;
    mark_used(m, copy);
    return check_shape(m, copy, shape, 2, err);
}

static aegis_status make_layers(maker *m, aegis_error *err)
{
    aegis_graph_validated *graph = m->graph;
    uint32_t blocks = graph->config.layers;
    graph->layer_count = blocks + 3;
    graph->layers = aegis_bump_take(&graph->bump, graph->layer_count, sizeof *graph->layers);
    if (graph->layers == NULL) {
        return no_memory(err);
    }
    graph->layers[0].kind = AEGIS_LAYER_EMBEDDING;
    aegis_status status = make_layer(m, &graph->layers[0], m->names->embedding, m->prefix, err);
    for (uint32_t i = 0; i < blocks && status == AEGIS_OK; i++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "%s%s%u.", m->prefix, m->names->block_prefix, i);
        graph->layers[i + 1].kind = AEGIS_LAYER_BLOCK;
        graph->layers[i + 1].block = i;
        status = make_layer(m, &graph->layers[i + 1], m->names->block, prefix, err);
    }
    if (status == AEGIS_OK) {
        graph->layers[blocks + 1].kind = AEGIS_LAYER_FINAL_NORM;
        status = make_layer(m, &graph->layers[blocks + 1], m->names->final_norm, m->prefix, err);
    }
    if (status == AEGIS_OK && graph->config.tied) {
        return make_tied_head(m, &graph->layers[blocks + 2], err);
    }
    if (status == AEGIS_OK) {
        graph->layers[blocks + 2].kind = AEGIS_LAYER_HEAD;
        status = make_layer(m, &graph->layers[blocks + 2], m->names->head, "", err);
    }
    return status;
}

static bool is_passed_over(const maker *m, const char *name)
{
    size_t length = strlen(name);
    for (const char *const *end = m->names->passed_over; *end != NULL; end++) {
        size_t tail = strlen(*end);
        if (length > tail && strcmp(name + length - tail, *end) == 0) {
            return true;
        }
    }
    return false;
}

/* What no layer uses is a buffer known by name, or an error: the configuration is another model's.
 */
static aegis_status check_rest(maker *m, aegis_error *err)
{
    const aegis_tensor_source *first_extra = NULL;
    uint32_t extras = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const aegis_tensor_source *source = aegis_safetensors_at(m->graph->files, i);
        if (is_used(m, source)) {
            continue;
        }
        if (is_passed_over(m, source->name)) {
            m->graph->ignored_count++;
            m->graph->ignored_bytes += source->bytes;
            continue;
        }
        first_extra = extras++ == 0 ? source : first_extra;
    }
    if (extras == 0) {
        return AEGIS_OK;
    }
    return aegis_error_set(
        err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
        "%.160s: %u tensors have no place in a %s of %u layers, first \"%.80s\"; "
        "use the config.json and the weights of one model",
        path_of(m, first_extra), extras, aegis_architecture_name(m->graph->config.architecture),
        m->graph->config.layers, first_extra->name);
}

/* The files name all tensors with the prefix or, as GPT-2's first ones, none. */
static const char *prefix_of(const maker *m)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", m->names->prefix, m->names->embedding[0].name);
    return aegis_safetensors_find(m->graph->files, name) == NULL &&
                   aegis_safetensors_find(m->graph->files, m->names->embedding[0].name) != NULL
               ? ""
               : m->names->prefix;
}

static aegis_status fill(aegis_graph_validated *graph, aegis_error *err)
{
    maker m = {.graph = graph,
               .names = aegis_tensor_names_of(graph->config.architecture),
               .count = aegis_safetensors_count(graph->files)};
    size_t slots = (size_t)m.count + 1; /* an empty file has none */
    m.used = aegis_allocate_zeroed(&graph->allocator, slots, sizeof *m.used);
    if (m.used == NULL) {
        return no_memory(err);
    }
    m.prefix = prefix_of(&m);
    aegis_status status = make_layers(&m, err);
    if (status == AEGIS_OK) {
        status = check_rest(&m, err);
    }
    aegis_deallocate(&graph->allocator, m.used, slots, sizeof *m.used);
    return status;
}

aegis_status aegis_graph_validate(aegis_graph_loaded **graph,
                                  aegis_graph_validated **ret_graph,
                                  aegis_error *err)
{
    aegis_graph_loaded *loaded = *graph;
    aegis_graph_validated *made = aegis_allocate_zeroed(&loaded->allocator, 1, sizeof *made);
    if (made == NULL) {
        return no_memory(err);
    }
    made->allocator = loaded->allocator;
    made->config = loaded->config;
    made->files = loaded->files;
    aegis_bump_init(&made->bump, &loaded->allocator);
    aegis_status status = fill(made, err);
    if (status != AEGIS_OK) {
        made->files = NULL; /* stays the loaded graph's */
        aegis_graph_free(made);
        return status;
    }
    loaded->files = NULL; /* taken */
    aegis_graph_loaded_free(loaded);
    *graph = NULL;
    *ret_graph = made;
    return AEGIS_OK;
}
