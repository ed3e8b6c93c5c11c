/* SPDX-License-Identifier: Apache-2.0 */
/* Inputs of a graph with shapes that are fixed. What is allocated here is released with the
 * unpacked model, by free. */
#include "backend/onnxruntime/graph_internal.h"

#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnx"

typedef Onnx__TensorShapeProto__Dimension dimension;

static void set_dimension(dimension *one, int64_t value)
{
    if (one->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
        one->dim_param != protobuf_c_empty_string) {
        free(one->dim_param);
    }
    one->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    one->dim_value = value;
}

static bool add_dimensions(Onnx__TensorShapeProto *shape, size_t count)
{
    shape->dim = calloc(count + 1, sizeof(dimension *));
    for (size_t i = 0; shape->dim != NULL && i < count; i++) {
        shape->dim[i] = malloc(sizeof(dimension));
        if (shape->dim[i] == NULL) {
            return false;
        }
        onnx__tensor_shape_proto__dimension__init(shape->dim[i]);
        shape->n_dim++;
    }
    return shape->dim != NULL;
}

static bool add_shape(Onnx__TypeProto__Tensor *tensor, size_t rank)
{
    tensor->shape = malloc(sizeof *tensor->shape);
    if (tensor->shape == NULL) {
        return false;
    }
    onnx__tensor_shape_proto__init(tensor->shape);
    return add_dimensions(tensor->shape, rank);
}

static const aegis_input_shape *
shape_of(const aegis_input_shape *shapes, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (name != NULL && strcmp(shapes[i].name, name) == 0) {
            return &shapes[i];
        }
    }
    return NULL;
}

aegis_status aegis_onnx_graph_fix_inputs(aegis_onnx_graph *graph,
                                         const aegis_input_shape *shapes,
                                         size_t count,
                                         aegis_error *err)
{
    Onnx__GraphProto *proto = graph->model->graph;
    for (size_t i = 0; i < proto->n_input; i++) {
        const aegis_input_shape *wanted = shape_of(shapes, count, proto->input[i]->name);
        if (wanted == NULL) {
            continue;
        }
        Onnx__TypeProto__Tensor *tensor = proto->input[i]->type->tensor_type;
        if (tensor->shape == NULL && !add_shape(tensor, (size_t)wanted->rank)) {
            return aegis_onnx_no_memory(err);
        }
        if (tensor->shape->n_dim != (size_t)wanted->rank) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "input '%s' has %zu dimensions, the shape given for it %d",
                                   wanted->name, tensor->shape->n_dim, wanted->rank);
        }
        for (int d = 0; d < wanted->rank; d++) {
            set_dimension(tensor->shape->dim[d], wanted->shape[d]);
        }
    }
    return AEGIS_OK;
}
