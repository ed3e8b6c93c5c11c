/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ONNX_GRAPH_INTERNAL_H
#define AEGIS_BACKEND_ONNX_GRAPH_INTERNAL_H

/* Shared by graph.c (reading, edits), graph_flow.c (what crosses where) and graph_segment.c (a part
 * as a model of its own). */

#include "backend/onnxruntime/graph.h"

#include <onnx.pb-c.h>

#define AEGIS_ONNX_DEEPEST 32 /* subgraphs within subgraphs */

struct aegis_onnx_graph {
    aegis_allocator allocator;
    Onnx__ModelProto *model;
    char *path;
};

aegis_status aegis_onnx_no_memory(aegis_error *err);
/* ONNX's number of an element type; 0 when it has no such type. */
int32_t aegis_onnx_type(aegis_element element);

/* A list of names that is searched by bisection. Names are borrowed; of equal ones the last that
 * was added is found. */
typedef struct aegis_onnx_names {
    struct aegis_onnx_name {
        const char *name;
        uint32_t index;
    } *entries;
    size_t count, capacity;
} aegis_onnx_names;

/* `capacity` names at most can be added. False: no memory. */
bool aegis_onnx_names_init(aegis_onnx_names *names,
                           size_t capacity,
                           const aegis_allocator *allocator);
void aegis_onnx_names_finish(aegis_onnx_names *names, const aegis_allocator *allocator);
/* NULL and "" are left out. */
void aegis_onnx_names_add(aegis_onnx_names *names, const char *name, uint32_t index);
/* After the last add. */
void aegis_onnx_names_sort(aegis_onnx_names *names);
bool aegis_onnx_names_find(const aegis_onnx_names *names, const char *name, uint32_t *ret_index);

/* Calls `visit` for every name that the node reads; with `captured` for names in its subgraphs,
 * which may be the subgraphs' own. False when subgraphs nest too deeply. */
typedef void (*aegis_onnx_visit)(void *argument, const char *name, bool captured);
bool aegis_onnx_visit_reads(const Onnx__NodeProto *node, aegis_onnx_visit visit, void *argument);

/* ---- graph_wire.c: before anything is unpacked ---- */

/* The bytes are a well-formed message whose messages nest at most 100 deep (unpacking recurses). */
bool aegis_onnx_wire_is_safe(const void *bytes, size_t size);

/* Memory for unpacking `size` bytes: an honest model needs little more than its bytes, hostile
 * bytes ask for a hundred times as much. The allocator refuses beyond its limit. */
typedef struct aegis_onnx_budget {
    ProtobufCAllocator allocator;
    size_t left_bytes;
} aegis_onnx_budget;
void aegis_onnx_budget_init(aegis_onnx_budget *budget, size_t size);

#endif
