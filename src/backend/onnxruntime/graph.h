/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ONNX_GRAPH_H
#define AEGIS_BACKEND_ONNX_GRAPH_H

/* ONNX model files: what they declare, and the edits that compiling needs. Knows protobuf, not ONNX
 * Runtime. */

#include "backend/surface.h"

typedef struct aegis_onnx_graph aegis_onnx_graph;

/* PARSE when the bytes are no ONNX model. `path` is for messages. */
aegis_status aegis_onnx_graph_parse(const void *bytes,
                                    size_t size,
                                    const char *path,
                                    const aegis_allocator *allocator,
                                    aegis_onnx_graph **ret_graph,
                                    aegis_error *err);
void aegis_onnx_graph_destroy(aegis_onnx_graph *graph); /* NULL is fine */

/* Inputs (without initialisers that are listed as inputs) and outputs. Names are borrowed from the
 * graph. UNSUPPORTED for what is no tensor of a known element. The array is freed with
 * aegis_deallocate(allocator, array, count + 1, sizeof). */
aegis_status aegis_onnx_graph_declarations(const aegis_onnx_graph *graph,
                                           bool inputs,
                                           aegis_surface_declaration **ret_declarations,
                                           size_t *ret_count,
                                           aegis_error *err);
/* Some node (also of a subgraph) has a subgraph: If, Loop, Scan. */
bool aegis_onnx_graph_has_control_flow(const aegis_onnx_graph *graph);

/* Initialisers leave the inputs (old models list them there, so that a caller could replace them).
 */
void aegis_onnx_graph_drop_initialiser_inputs(aegis_onnx_graph *graph);

/* Bytes of the model, from malloc; free() them. */
aegis_status aegis_onnx_graph_serialise(const aegis_onnx_graph *graph,
                                        void **ret_bytes,
                                        size_t *ret_size,
                                        aegis_error *err);

/* One initialiser that lies in an external file. Strings are borrowed from the graph. */
typedef struct aegis_onnx_external {
    const char *name;
    const char *location;
    int32_t onnx_type;
    const int64_t *dims;
    size_t dim_count;
    uint64_t offset, length;
} aegis_onnx_external;

/* All of them, subgraphs included. PARSE when a range is malformed or a location leaves the folder;
 * `ret_ambiguous`: a name occurs twice. The array is freed with aegis_deallocate(allocator, array,
 * count + 1, sizeof). */
aegis_status aegis_onnx_graph_externals(const aegis_onnx_graph *graph,
                                        aegis_onnx_external **ret_externals,
                                        size_t *ret_count,
                                        bool *ret_ambiguous,
                                        aegis_error *err);
/* Moves the i-th external initialiser (order of aegis_onnx_graph_externals) to another range. */
aegis_status aegis_onnx_graph_move_external(
    aegis_onnx_graph *graph, size_t index, const char *location, uint64_t offset, aegis_error *err);

/* ---- cutting ---- */

/* A value that some operator of the main graph computes. Operators count from 0 in the order of the
 * file, in which every value is computed before it is read. */
typedef struct aegis_onnx_value {
    const char *name; /* borrowed from the graph */
    uint32_t born;    /* the operator that computes it */
    uint32_t last;    /* the last one that reads it, itself or in a subgraph; `born` when none */
    bool output;      /* of the model */
} aegis_onnx_value;

/* All of them in the order of their birth. A value crosses position p when born < p <= last.
 * UNSUPPORTED when this graph cannot be cut (operators out of order, outputs that no operator
 * computes, sparse initialisers). The array is freed with aegis_deallocate(allocator, array,
 * count + 1, sizeof). */
aegis_status aegis_onnx_graph_flow(const aegis_onnx_graph *graph,
                                   aegis_onnx_value **ret_values,
                                   size_t *ret_count,
                                   uint32_t *ret_operators,
                                   aegis_error *err);

/* Operators [first, end) as a model of its own: its inputs are those of the model that it reads and
 * the values computed before; its outputs those of the model that it computes and the values read
 * later. `values` are those of aegis_onnx_graph_flow, `types` has element, rank and shape of each
 * (element 0: not known). UNSUPPORTED when a type that is needed is not known or nothing comes
 * out; CONFIG for an empty range. The bytes come from malloc. */
aegis_status aegis_onnx_graph_segment(const aegis_onnx_graph *graph,
                                      const aegis_onnx_value *values,
                                      const aegis_tensor_info *types,
                                      size_t count,
                                      uint32_t first,
                                      uint32_t end,
                                      void **ret_bytes,
                                      size_t *ret_size,
                                      aegis_error *err);

/* Names operator i AEGIS_ONNX_OPERATOR_NAME + i, so that a profile tells them apart. */
#define AEGIS_ONNX_OPERATOR_NAME "aegis-operator-"
aegis_status aegis_onnx_graph_name_operators(aegis_onnx_graph *graph, aegis_error *err);
/* How many values it computes. */
size_t aegis_onnx_graph_operator_outputs(const aegis_onnx_graph *graph, uint32_t index);

#endif
