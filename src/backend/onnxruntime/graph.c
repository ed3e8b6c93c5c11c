/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/onnxruntime/graph_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnx"

aegis_status aegis_onnx_no_memory(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for an ONNX graph");
}

aegis_status aegis_onnx_graph_parse(const void *bytes,
                                    size_t size,
                                    const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_onnx_graph **ret_graph,
                                    aegis_error *err)
{
    aegis_onnx_budget budget;
    aegis_onnx_budget_init(&budget, size);
    bool safe = size > 0 && aegis_onnx_wire_is_safe(bytes, size);
    Onnx__ModelProto *model =
        safe ? onnx__model_proto__unpack(&budget.allocator, size, bytes) : NULL;
    if (model == NULL || model->graph == NULL || model->graph->n_node == 0 ||
        model->n_opset_import == 0) {
        const char *why = size == 0       ? "the file is empty"
                          : !safe         ? "it is truncated, no protobuf, or nests too deeply"
                          : model == NULL ? "it is no protobuf of a model"
                          : model->graph == NULL      ? "it holds no graph"
                          : model->graph->n_node == 0 ? "its graph has no nodes"
                                                      : "it names no operator set";
        if (model != NULL) {
            onnx__model_proto__free_unpacked(model, NULL);
        }
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s is no ONNX model (%zu bytes): %s", path, size, why);
    }
    aegis_onnx_graph *graph = aegis_allocate_zeroed(allocator, 1, sizeof *graph);
    char *copy = aegis_copy_text(allocator, path);
    if (graph == NULL || copy == NULL) {
        onnx__model_proto__free_unpacked(model, NULL);
        aegis_free_text(allocator, copy);
        aegis_deallocate(allocator, graph, 1, sizeof *graph);
        return aegis_onnx_no_memory(err);
    }
    *graph = (aegis_onnx_graph){.allocator = *allocator, .model = model, .path = copy};
    *ret_graph = graph;
    return AEGIS_OK;
}

void aegis_onnx_graph_destroy(aegis_onnx_graph *graph)
{
    if (graph == NULL) {
        return;
    }
    aegis_allocator allocator = graph->allocator;
    onnx__model_proto__free_unpacked(graph->model, NULL);
    aegis_free_text(&allocator, graph->path);
    aegis_deallocate(&allocator, graph, 1, sizeof *graph);
}

/* ---- declarations ---- */

static const struct {
    int32_t onnx_type;
    aegis_element element;
} KNOWN_TYPES[] = {
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, AEGIS_ELEMENT_F32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16, AEGIS_ELEMENT_F16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16, AEGIS_ELEMENT_BF16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE, AEGIS_ELEMENT_F64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT8, AEGIS_ELEMENT_I8},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, AEGIS_ELEMENT_U8},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT16, AEGIS_ELEMENT_I16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT16, AEGIS_ELEMENT_U16},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT32, AEGIS_ELEMENT_I32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT32, AEGIS_ELEMENT_U32},
    {ONNX__TENSOR_PROTO__DATA_TYPE__INT64, AEGIS_ELEMENT_I64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__UINT64, AEGIS_ELEMENT_U64},
    {ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, AEGIS_ELEMENT_BOOL},
};

static bool element_of(int32_t onnx_type, aegis_element *ret_element)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(KNOWN_TYPES); i++) {
        if (KNOWN_TYPES[i].onnx_type == onnx_type) {
            *ret_element = KNOWN_TYPES[i].element;
            return true;
        }
    }
    return false;
}

int32_t aegis_onnx_type(aegis_element element)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(KNOWN_TYPES); i++) {
        if (KNOWN_TYPES[i].element == element) {
            return KNOWN_TYPES[i].onnx_type;
        }
    }
    return 0;
}

static aegis_status declare(const Onnx__ValueInfoProto *value,
                            bool input,
                            aegis_surface_declaration *ret_declaration,
                            aegis_error *err)
{
    const char *what = input ? "input" : "output";
    const char *name = value->name != NULL ? value->name : "";
    bool tensor = value->type != NULL &&
                  value->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE &&
                  value->type->tensor_type != NULL;
    if (!tensor || !value->type->tensor_type->has_elem_type ||
        !element_of(value->type->tensor_type->elem_type, &ret_declaration->element)) {
        return aegis_error_set(
            err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
            "%s '%s' is no tensor of numbers (strings, sequences and maps cannot "
            "be planned)",
            what, name);
    }
    const Onnx__TensorShapeProto *shape = value->type->tensor_type->shape;
    if (shape != NULL && shape->n_dim > AEGIS_MAX_RANK) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%s '%s' has %zu dimensions; at most %d", what, name, shape->n_dim,
                               AEGIS_MAX_RANK);
    }
    ret_declaration->name = name;
    ret_declaration->rank = shape == NULL ? -1 : (int)shape->n_dim;
    for (int i = 0; i < ret_declaration->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[i];
        bool fixed = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
                     dim->dim_value >= 0;
        bool named = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
                     dim->dim_param != NULL && dim->dim_param[0] != '\0' &&
                     dim->dim_param[0] != '?';
        ret_declaration->shape[i] = fixed ? dim->dim_value : -1;
        ret_declaration->free_name[i] = named ? dim->dim_param : NULL;
    }
    return AEGIS_OK;
}

static bool is_initialiser(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (graph->initializer[i]->name != NULL && strcmp(graph->initializer[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

aegis_status aegis_onnx_graph_declarations(const aegis_onnx_graph *graph,
                                           bool inputs,
                                           aegis_surface_declaration **ret_declarations,
                                           size_t *ret_count,
                                           aegis_error *err)
{
    const Onnx__GraphProto *proto = graph->model->graph;
    size_t most = inputs ? proto->n_input : proto->n_output, count = 0;
    Onnx__ValueInfoProto **values = inputs ? proto->input : proto->output;
    for (size_t i = 0; i < most; i++) {
        count += !inputs || values[i]->name == NULL || !is_initialiser(proto, values[i]->name);
    }
    aegis_surface_declaration *all =
        aegis_allocate_zeroed(&graph->allocator, count + 1, sizeof *all);
    if (all == NULL) {
        return aegis_onnx_no_memory(err);
    }
    aegis_status status = AEGIS_OK;
    for (size_t i = 0, k = 0; status == AEGIS_OK && i < most; i++) {
        if (!inputs || values[i]->name == NULL || !is_initialiser(proto, values[i]->name)) {
            status = declare(values[i], inputs, &all[k++], err);
        }
    }
    if (status != AEGIS_OK) {
        aegis_deallocate(&graph->allocator, all, count + 1, sizeof *all);
        return status;
    }
    *ret_declarations = all;
    *ret_count = count;
    return AEGIS_OK;
}

bool aegis_onnx_graph_has_control_flow(const aegis_onnx_graph *graph)
{
    const Onnx__GraphProto *proto = graph->model->graph;
    for (size_t i = 0; i < proto->n_node; i++) {
        for (size_t k = 0; k < proto->node[i]->n_attribute; k++) {
            const Onnx__AttributeProto *attribute = proto->node[i]->attribute[k];
            if (attribute->g != NULL || attribute->n_graphs > 0) {
                return true;
            }
        }
    }
    return false;
}

/* ---- edits; what they add comes from malloc, as protobuf-c's own pieces do ---- */

void aegis_onnx_graph_drop_initialiser_inputs(aegis_onnx_graph *graph)
{
    Onnx__GraphProto *proto = graph->model->graph;
    size_t kept = 0;
    for (size_t i = 0; i < proto->n_input; i++) {
        if (proto->input[i]->name != NULL && is_initialiser(proto, proto->input[i]->name)) {
            onnx__value_info_proto__free_unpacked(proto->input[i], NULL);
        } else {
            proto->input[kept++] = proto->input[i];
        }
    }
    proto->n_input = kept;
    /* Before IR 4 every initialiser had to be an input. */
    if (graph->model->ir_version < 4) {
        graph->model->has_ir_version = 1;
        graph->model->ir_version = 4;
    }
}

aegis_status aegis_onnx_graph_serialise(const aegis_onnx_graph *graph,
                                        void **ret_bytes,
                                        size_t *ret_size,
                                        aegis_error *err)
{
    size_t size = onnx__model_proto__get_packed_size(graph->model);
    void *bytes = malloc(size);
    if (bytes == NULL) {
        return aegis_onnx_no_memory(err);
    }
    onnx__model_proto__pack(graph->model, bytes);
    *ret_bytes = bytes;
    *ret_size = size;
    return AEGIS_OK;
}

/* ---- external initialisers ---- */

typedef struct external_walk {
    Onnx__TensorProto **tensors;
    size_t count, capacity;
    aegis_allocator allocator;
    bool failed;
} external_walk;

static void walk_add(external_walk *walk, Onnx__TensorProto *tensor)
{
    if (walk->count == walk->capacity) {
        size_t wanted = walk->capacity == 0 ? 64 : 2 * walk->capacity;
        Onnx__TensorProto **bigger =
            aegis_allocate_zeroed(&walk->allocator, wanted, sizeof *bigger);
        if (bigger == NULL) {
            walk->failed = true;
            return;
        }
        if (walk->count > 0) {
            memcpy(bigger, walk->tensors, walk->count * sizeof *bigger);
        }
        aegis_deallocate(&walk->allocator, walk->tensors, walk->capacity, sizeof *bigger);
        walk->tensors = bigger;
        walk->capacity = wanted;
    }
    walk->tensors[walk->count++] = tensor;
}

static void walk_graph(external_walk *walk, Onnx__GraphProto *graph, int depth)
{
    if (graph == NULL || depth > AEGIS_ONNX_DEEPEST) {
        walk->failed = walk->failed || depth > AEGIS_ONNX_DEEPEST;
        return;
    }
    for (size_t i = 0; i < graph->n_initializer; i++) {
        Onnx__TensorProto *tensor = graph->initializer[i];
        if (tensor->has_data_location &&
            tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
            walk_add(walk, tensor);
        }
    }
    for (size_t i = 0; i < graph->n_node; i++) {
        for (size_t k = 0; k < graph->node[i]->n_attribute; k++) {
            Onnx__AttributeProto *attribute = graph->node[i]->attribute[k];
            walk_graph(walk, attribute->g, depth + 1);
            for (size_t g = 0; g < attribute->n_graphs; g++) {
                walk_graph(walk, attribute->graphs[g], depth + 1);
            }
        }
    }
}

static const char *property(const Onnx__TensorProto *tensor, const char *key)
{
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        const Onnx__StringStringEntryProto *entry = tensor->external_data[i];
        if (entry->key != NULL && entry->value != NULL && strcmp(entry->key, key) == 0) {
            return entry->value;
        }
    }
    return NULL;
}

static bool parse_number(const char *text, uint64_t *ret_number)
{
    char *end = NULL;
    if (text == NULL || text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* A location stays in the model's folder: relative, without "..". */
static bool location_is_safe(const char *location)
{
    if (location == NULL || location[0] == '\0' || location[0] == '/') {
        return false;
    }
    for (const char *at = location; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0')) {
            return false;
        }
    }
    return true;
}

static bool describe_external(const Onnx__TensorProto *tensor, aegis_onnx_external *ret_external)
{
    const char *offset = property(tensor, "offset"), *length = property(tensor, "length");
    *ret_external = (aegis_onnx_external){
        .name = tensor->name != NULL ? tensor->name : "",
        .location = property(tensor, "location"),
        .onnx_type = tensor->data_type,
        .dims = tensor->dims,
        .dim_count = tensor->n_dims,
        .length = UINT64_MAX, /* to the end of the file */
    };
    return location_is_safe(ret_external->location) &&
           (offset == NULL || parse_number(offset, &ret_external->offset)) &&
           (length == NULL || parse_number(length, &ret_external->length));
}

aegis_status aegis_onnx_graph_externals(const aegis_onnx_graph *graph,
                                        aegis_onnx_external **ret_externals,
                                        size_t *ret_count,
                                        bool *ret_ambiguous,
                                        aegis_error *err)
{
    external_walk walk = {.allocator = graph->allocator};
    walk_graph(&walk, graph->model->graph, 0);
    aegis_onnx_external *all =
        aegis_allocate_zeroed(&graph->allocator, walk.count + 1, sizeof *all);
    aegis_status status = AEGIS_OK;
    bool ambiguous = false;
    if (walk.failed || all == NULL) {
        aegis_deallocate(&graph->allocator, walk.tensors, walk.capacity, sizeof *walk.tensors);
        aegis_deallocate(&graph->allocator, all, walk.count + 1, sizeof *all);
        return aegis_onnx_no_memory(err);
    }
    for (size_t i = 0; status == AEGIS_OK && i < walk.count; i++) {
        if (!describe_external(walk.tensors[i], &all[i])) {
            status =
                aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                "%s: initialiser '%s' has a malformed external location (it must "
                                "be a relative path within the model's folder)",
                                graph->path, all[i].name);
        }
        for (size_t k = 0; k < i; k++) {
            ambiguous = ambiguous || strcmp(all[k].name, all[i].name) == 0;
        }
    }
    aegis_deallocate(&graph->allocator, walk.tensors, walk.capacity, sizeof *walk.tensors);
    if (status != AEGIS_OK) {
        aegis_deallocate(&graph->allocator, all, walk.count + 1, sizeof *all);
        return status;
    }
    *ret_externals = all;
    *ret_count = walk.count;
    *ret_ambiguous = ambiguous;
    return AEGIS_OK;
}

static bool replace_value(Onnx__TensorProto *tensor, const char *key, const char *value)
{
    for (size_t i = 0; i < tensor->n_external_data; i++) {
        Onnx__StringStringEntryProto *entry = tensor->external_data[i];
        if (entry->key != NULL && strcmp(entry->key, key) == 0) {
            char *copy = strdup(value);
            if (copy == NULL) {
                return false;
            }
            if (entry->value != protobuf_c_empty_string) {
                free(entry->value);
            }
            entry->value = copy;
            return true;
        }
    }
    return false; /* ONNX Runtime writes all three keys */
}

aegis_status aegis_onnx_graph_move_external(
    aegis_onnx_graph *graph, size_t index, const char *location, uint64_t offset, aegis_error *err)
{
    external_walk walk = {.allocator = graph->allocator};
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, offset);
    walk_graph(&walk, graph->model->graph, 0);
    bool moved = !walk.failed && index < walk.count &&
                 replace_value(walk.tensors[index], "location", location) &&
                 replace_value(walk.tensors[index], "offset", text);
    aegis_deallocate(&graph->allocator, walk.tensors, walk.capacity, sizeof *walk.tensors);
    return moved ? AEGIS_OK
                 : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_BUILD,
                                   "%s: initialiser %zu of the compiled graph cannot be moved",
                                   graph->path, index);
}
