/* SPDX-License-Identifier: Apache-2.0 */
/* A run of operators as a model of its own. The message is put together from pieces that stay with
 * the graph; only the types of what crosses the ends are made anew. */
#include "backend/onnxruntime/graph_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnx"

/* A ValueInfoProto with all that hangs on it. */
typedef struct typed_value {
    Onnx__ValueInfoProto value;
    Onnx__TypeProto type;
    Onnx__TypeProto__Tensor tensor;
    Onnx__TensorShapeProto shape;
    Onnx__TensorShapeProto__Dimension dims[AEGIS_MAX_RANK];
    Onnx__TensorShapeProto__Dimension *list[AEGIS_MAX_RANK];
} typed_value;

typedef struct segment {
    const aegis_onnx_graph *graph;
    const aegis_onnx_value *values;
    const aegis_tensor_info *types;
    size_t count;
    uint32_t first, end; /* operators */
    aegis_onnx_names value_names, input_names, initialiser_names;
    bool *reads_value, *reads_input, *reads_initialiser;
    typed_value *typed;
    size_t typed_count;
    Onnx__ValueInfoProto **inputs, **outputs, **infos;
    Onnx__TensorProto **initialisers;
    size_t input_count, output_count, info_count, initialiser_count;
} segment;

static bool make_tables(segment *s)
{
    const aegis_allocator *a = &s->graph->allocator;
    const Onnx__GraphProto *proto = s->graph->model->graph;
    size_t inputs = proto->n_input, outputs = proto->n_output;
    s->reads_value = aegis_allocate_zeroed(a, s->count + 1, sizeof(bool));
    s->reads_input = aegis_allocate_zeroed(a, inputs + 1, sizeof(bool));
    s->reads_initialiser = aegis_allocate_zeroed(a, proto->n_initializer + 1, sizeof(bool));
    s->typed = aegis_allocate_zeroed(a, 2 * s->count + 1, sizeof *s->typed);
    s->inputs = aegis_allocate_zeroed(a, inputs + s->count + 1, sizeof(void *));
    s->outputs = aegis_allocate_zeroed(a, outputs + s->count + 1, sizeof(void *));
    s->infos = aegis_allocate_zeroed(a, proto->n_value_info + 1, sizeof(void *));
    s->initialisers = aegis_allocate_zeroed(a, proto->n_initializer + 1, sizeof(void *));
    return s->reads_value != NULL && s->reads_input != NULL && s->reads_initialiser != NULL &&
           s->typed != NULL && s->inputs != NULL && s->outputs != NULL && s->infos != NULL &&
           s->initialisers != NULL && aegis_onnx_names_init(&s->value_names, s->count, a) &&
           aegis_onnx_names_init(&s->input_names, inputs, a) &&
           aegis_onnx_names_init(&s->initialiser_names, proto->n_initializer, a);
}

static void free_tables(segment *s)
{
    const aegis_allocator *a = &s->graph->allocator;
    const Onnx__GraphProto *proto = s->graph->model->graph;
    size_t inputs = proto->n_input, outputs = proto->n_output;
    aegis_deallocate(a, s->reads_value, s->count + 1, sizeof(bool));
    aegis_deallocate(a, s->reads_input, inputs + 1, sizeof(bool));
    aegis_deallocate(a, s->reads_initialiser, proto->n_initializer + 1, sizeof(bool));
    aegis_deallocate(a, s->typed, 2 * s->count + 1, sizeof *s->typed);
    aegis_deallocate(a, (void *)s->inputs, inputs + s->count + 1, sizeof(void *));
    aegis_deallocate(a, (void *)s->outputs, outputs + s->count + 1, sizeof(void *));
    aegis_deallocate(a, (void *)s->infos, proto->n_value_info + 1, sizeof(void *));
    aegis_deallocate(a, (void *)s->initialisers, proto->n_initializer + 1, sizeof(void *));
    aegis_onnx_names_finish(&s->value_names, a);
    aegis_onnx_names_finish(&s->input_names, a);
    aegis_onnx_names_finish(&s->initialiser_names, a);
}

static void fill_names(segment *s)
{
    const Onnx__GraphProto *proto = s->graph->model->graph;
    for (size_t i = 0; i < s->count; i++) {
        aegis_onnx_names_add(&s->value_names, s->values[i].name, (uint32_t)i);
    }
    for (size_t i = 0; i < proto->n_input; i++) {
        aegis_onnx_names_add(&s->input_names, proto->input[i]->name, (uint32_t)i);
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        aegis_onnx_names_add(&s->initialiser_names, proto->initializer[i]->name, (uint32_t)i);
    }
    aegis_onnx_names_sort(&s->value_names);
    aegis_onnx_names_sort(&s->input_names);
    aegis_onnx_names_sort(&s->initialiser_names);
}

/* A subgraph's own name that equals an outer one only adds an input that nobody reads. */
static void note_read(void *argument, const char *name, bool captured)
{
    segment *s = argument;
    uint32_t index;
    (void)captured;
    if (aegis_onnx_names_find(&s->value_names, name, &index)) {
        s->reads_value[index] = s->reads_value[index] || s->values[index].born < s->first;
    } else if (aegis_onnx_names_find(&s->initialiser_names, name, &index)) {
        s->reads_initialiser[index] = true;
    } else if (aegis_onnx_names_find(&s->input_names, name, &index)) {
        s->reads_input[index] = true;
    }
}

static aegis_status
type_value(segment *s, size_t index, Onnx__ValueInfoProto **ret_info, aegis_error *err)
{
    const aegis_tensor_info *info = &s->types[index];
    int32_t number = aegis_onnx_type(info->element);
    if (number == 0 || info->rank < 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%s cannot be cut at operator %" PRIu32 " or %" PRIu32
                               ": '%s' crosses there and is no tensor of a known type and shape",
                               s->graph->path, s->first, s->end, s->values[index].name);
    }
    typed_value *t = &s->typed[s->typed_count++];
    onnx__value_info_proto__init(&t->value);
    onnx__type_proto__init(&t->type);
    onnx__type_proto__tensor__init(&t->tensor);
    onnx__tensor_shape_proto__init(&t->shape);
    for (int i = 0; i < info->rank; i++) {
        onnx__tensor_shape_proto__dimension__init(&t->dims[i]);
        t->dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        t->dims[i].dim_value = info->shape[i];
        t->list[i] = &t->dims[i];
    }
    t->shape.n_dim = (size_t)info->rank;
    t->shape.dim = t->list;
    t->tensor.has_elem_type = 1;
    t->tensor.elem_type = number;
    t->tensor.shape = &t->shape;
    t->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    t->type.tensor_type = &t->tensor;
    t->value.name = (char *)(uintptr_t)s->values[index].name;
    t->value.type = &t->type;
    *ret_info = &t->value;
    return AEGIS_OK;
}

static aegis_status list_surface(segment *s, aegis_error *err)
{
    const Onnx__GraphProto *proto = s->graph->model->graph;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < proto->n_input; i++) {
        if (s->reads_input[i]) {
            s->inputs[s->input_count++] = proto->input[i];
        }
    }
    for (size_t i = 0; status == AEGIS_OK && i < s->count; i++) {
        const aegis_onnx_value *value = &s->values[i];
        bool computed = value->born >= s->first && value->born < s->end;
        if (s->reads_value[i]) {
            status = type_value(s, i, &s->inputs[s->input_count], err);
            s->input_count += status == AEGIS_OK;
        } else if (computed && (value->output || value->last >= s->end)) {
            status = type_value(s, i, &s->outputs[s->output_count], err);
            s->output_count += status == AEGIS_OK;
        }
    }
    if (status == AEGIS_OK && s->output_count == 0) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "%s cannot be cut so: operators %" PRIu32 " to %" PRIu32
                                 " compute nothing that anybody reads",
                                 s->graph->path, s->first, s->end);
    }
    return status;
}

/* Types that the optimiser has noted for values within the segment. */
static void list_rest(segment *s)
{
    const Onnx__GraphProto *proto = s->graph->model->graph;
    for (size_t i = 0; i < proto->n_value_info; i++) {
        uint32_t index;
        const char *name = proto->value_info[i]->name;
        if (name != NULL && aegis_onnx_names_find(&s->value_names, name, &index)) {
            const aegis_onnx_value *value = &s->values[index];
            bool within = value->born >= s->first && value->born < s->end && !value->output &&
                          value->last < s->end;
            if (within) {
                s->infos[s->info_count++] = proto->value_info[i];
            }
        }
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        if (s->reads_initialiser[i]) {
            s->initialisers[s->initialiser_count++] = proto->initializer[i];
        }
    }
}

static aegis_status
write_segment(const segment *s, void **ret_bytes, size_t *ret_size, aegis_error *err)
{
    const Onnx__GraphProto *proto = s->graph->model->graph;
    Onnx__ModelProto model = *s->graph->model;
    Onnx__GraphProto part = *proto;
    part.n_node = s->end - s->first;
    part.node = proto->node + s->first;
    part.n_initializer = s->initialiser_count;
    part.initializer = s->initialisers;
    part.n_input = s->input_count;
    part.input = s->inputs;
    part.n_output = s->output_count;
    part.output = s->outputs;
    part.n_value_info = s->info_count;
    part.value_info = s->infos;
    part.n_quantization_annotation = 0;
    model.graph = &part;
    size_t size = onnx__model_proto__get_packed_size(&model);
    void *bytes = malloc(size);
    if (bytes == NULL) {
        return aegis_onnx_no_memory(err);
    }
    onnx__model_proto__pack(&model, bytes);
    *ret_bytes = bytes;
    *ret_size = size;
    return AEGIS_OK;
}

aegis_status aegis_onnx_graph_segment(const aegis_onnx_graph *graph,
                                      const aegis_onnx_value *values,
                                      const aegis_tensor_info *types,
                                      size_t count,
                                      uint32_t first,
                                      uint32_t end,
                                      void **ret_bytes,
                                      size_t *ret_size,
                                      aegis_error *err)
{
    const Onnx__GraphProto *proto = graph->model->graph;
    segment s = {.graph = graph,
                 .values = values,
                 .types = types,
                 .count = count,
                 .first = first,
                 .end = end};
    if (first >= end || end > proto->n_node) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "operators %" PRIu32 " to %" PRIu32
                               " are no segment: cuts must ascend and lie between 1 and %zu",
                               first, end, proto->n_node - 1);
    }
    aegis_status status = make_tables(&s) ? AEGIS_OK : aegis_onnx_no_memory(err);
    if (status == AEGIS_OK) {
        fill_names(&s);
        for (uint32_t i = first; i < end; i++) {
            (void)aegis_onnx_visit_reads(proto->node[i], note_read, &s); /* its depth was checked */
        }
        status = list_surface(&s, err);
    }
    if (status == AEGIS_OK) {
        list_rest(&s);
        status = write_segment(&s, ret_bytes, ret_size, err);
    }
    free_tables(&s);
    return status;
}

aegis_status aegis_onnx_graph_name_operators(aegis_onnx_graph *graph, aegis_error *err)
{
    Onnx__GraphProto *proto = graph->model->graph;
    for (size_t i = 0; i < proto->n_node; i++) {
        char text[40];
        snprintf(text, sizeof text, AEGIS_ONNX_OPERATOR_NAME "%zu", i);
        char *name = strdup(text);
        if (name == NULL) {
            return aegis_onnx_no_memory(err);
        }
        if (proto->node[i]->name != protobuf_c_empty_string) {
            free(proto->node[i]->name);
        }
        proto->node[i]->name = name;
    }
    return AEGIS_OK;
}

size_t aegis_onnx_graph_operator_outputs(const aegis_onnx_graph *graph, uint32_t index)
{
    const Onnx__NodeProto *node = graph->model->graph->node[index];
    size_t count = 0;
    for (size_t i = 0; i < node->n_output; i++) {
        count += node->output[i] != NULL && node->output[i][0] != '\0';
    }
    return count;
}
