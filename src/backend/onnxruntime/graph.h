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

/* Inputs that `shapes` names get these shapes. CONFIG for another number of dimensions. */
aegis_status aegis_onnx_graph_fix_inputs(aegis_onnx_graph *graph,
                                         const aegis_input_shape *shapes,
                                         size_t count,
                                         aegis_error *err);

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

/* ---- variants of an optimised graph: same results, less memory ---- */

/* Makes additions of one constant a channel, and Relu behind them, part of the blocked convolution
 * before them (graph_fold.c says why results stay as they are). `ret_folded` counts; the graph may
 * be half changed on failure. */
aegis_status aegis_onnx_graph_fold(aegis_onnx_graph *graph, size_t *ret_folded, aegis_error *err);

/* Takes the values from the dimensions of the inputs. ONNX Runtime then knows no sizes before it
 * runs, and gives every tensor a buffer of its own time: where it knows them it lets tensors of one
 * size inherit buffers from each other, which then live, unused, from the first to the last. It
 * also computes less in place; what prevails is to be measured. */
void aegis_onnx_graph_forget_sizes(aegis_onnx_graph *graph);

/* In which order ONNX Runtime executes the operators follows from that of the file. Each choice
 * brings another branch of one join to the front. */
typedef struct aegis_onnx_order aegis_onnx_order;
aegis_status aegis_onnx_order_create(const aegis_onnx_graph *graph,
                                     aegis_onnx_order **ret_order,
                                     aegis_error *err);
void aegis_onnx_order_destroy(aegis_onnx_order *order); /* NULL is fine */
size_t aegis_onnx_order_choices(const aegis_onnx_order *order);
/* Makes one more choice on trial; what was tried before and not kept is given up. False when
 * operators are executed as with the choices that hold. */
bool aegis_onnx_order_try(aegis_onnx_order *order, size_t choice);
/* The choice on trial holds. */
void aegis_onnx_order_keep(aegis_onnx_order *order);
/* Brings the operators of the graph that it was made from, in the order they had then, into the
 * order of the last trial. Once. */
void aegis_onnx_order_apply(const aegis_onnx_order *order, aegis_onnx_graph *graph);

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
