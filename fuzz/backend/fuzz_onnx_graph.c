/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever the bytes, the reader of ONNX files answers; what it accepts can be described, cut at
 * every position and read back. */
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef AEGISRT_HAVE_ONNXRUNTIME

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)data;
    (void)size;
    return 0; /* this build reads no ONNX */
}

#else

#include "backend/onnxruntime/graph.h"

#include <stdlib.h>

#define MOST_CUTS 64u

static void describe(const aegis_onnx_graph *graph, const aegis_allocator *allocator)
{
    aegis_error err;
    for (int inputs = 0; inputs < 2; inputs++) {
        aegis_surface_declaration *declared = NULL;
        size_t count = 0;
        if (aegis_onnx_graph_declarations(graph, inputs != 0, &declared, &count, &err) ==
            AEGIS_OK) {
            aegis_deallocate(allocator, declared, count + 1, sizeof *declared);
        }
    }
    aegis_onnx_external *externals = NULL;
    size_t count = 0;
    bool ambiguous;
    if (aegis_onnx_graph_externals(graph, &externals, &count, &ambiguous, &err) == AEGIS_OK) {
        for (size_t i = 0; i < count; i++) {
            if (externals[i].location[0] == '/' || externals[i].location[0] == '\0') {
                abort();
            }
        }
        aegis_deallocate(allocator, externals, count + 1, sizeof *externals);
    }
    (void)aegis_onnx_graph_has_control_flow(graph);
}

/* A segment reads back as a model. */
static void check_segment(const void *bytes, size_t size, const aegis_allocator *allocator)
{
    aegis_error err;
    aegis_onnx_graph *segment = NULL;
    if (aegis_onnx_graph_parse(bytes, size, "segment", allocator, &segment, &err) != AEGIS_OK) {
        abort();
    }
    aegis_onnx_graph_destroy(segment);
}

static void cut(const aegis_onnx_graph *graph, const aegis_allocator *allocator)
{
    aegis_error err;
    aegis_onnx_value *values = NULL;
    size_t count = 0;
    uint32_t operators = 0;
    if (aegis_onnx_graph_flow(graph, &values, &count, &operators, &err) != AEGIS_OK) {
        return;
    }
    aegis_tensor_info *types = calloc(count + 1, sizeof *types);
    for (size_t i = 0; types != NULL && i < count; i++) {
        if (values[i].born > values[i].last || values[i].last >= operators) {
            abort();
        }
        types[i] = (aegis_tensor_info){.element = AEGIS_ELEMENT_F32, .rank = 1, .shape = {1}};
    }
    for (uint32_t at = 1; types != NULL && at <= operators && at < MOST_CUTS; at++) {
        void *bytes = NULL;
        size_t size = 0;
        if (aegis_onnx_graph_segment(graph, values, types, count, at - 1, at, &bytes, &size,
                                     &err) == AEGIS_OK) {
            check_segment(bytes, size, allocator);
        }
        free(bytes);
    }
    free(types);
    aegis_deallocate(allocator, values, count + 1, sizeof *values);
}

/* Other forms of the graph are graphs; every order has every operator. Takes the graph. */
static void vary(aegis_onnx_graph *graph, const aegis_allocator *allocator)
{
    aegis_error err;
    aegis_onnx_order *order = NULL;
    size_t folded = 0, size = 0;
    void *bytes = NULL;
    aegis_onnx_graph_forget_sizes(graph);
    if (aegis_onnx_graph_fold(graph, &folded, &err) == AEGIS_OK &&
        aegis_onnx_order_create(graph, &order, &err) == AEGIS_OK) {
        size_t choices = aegis_onnx_order_choices(order);
        for (size_t i = 0; i < choices && i < MOST_CUTS; i++) {
            if (aegis_onnx_order_try(order, i) && i % 2 == 0) {
                aegis_onnx_order_keep(order);
            }
        }
        if (choices > 0) {
            aegis_onnx_order_apply(order, graph);
        }
    }
    aegis_onnx_order_destroy(order);
    if (aegis_onnx_graph_serialise(graph, &bytes, &size, &err) == AEGIS_OK) {
        check_segment(bytes, size, allocator);
        free(bytes);
    }
    aegis_onnx_graph_destroy(graph);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_error err;
    aegis_onnx_graph *graph = NULL;
    void *bytes = NULL;
    size_t written = 0;
    aegis_allocator allocator = aegis_allocator_default();
    if (aegis_onnx_graph_parse(data, size, "fuzz", &allocator, &graph, &err) != AEGIS_OK) {
        return 0;
    }
    describe(graph, &allocator);
    cut(graph, &allocator);
    aegis_onnx_graph_drop_initialiser_inputs(graph);
    if (aegis_onnx_graph_name_operators(graph, &err) == AEGIS_OK &&
        aegis_onnx_graph_serialise(graph, &bytes, &written, &err) == AEGIS_OK) {
        check_segment(bytes, written, &allocator);
        free(bytes);
    }
    vary(graph, &allocator);
    return 0;
}

#endif
