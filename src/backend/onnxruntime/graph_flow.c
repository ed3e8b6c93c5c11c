/* SPDX-License-Identifier: Apache-2.0 */
/* Which operator computes a value and which one reads it last. */
#include "backend/onnxruntime/graph_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnx"

/* ---- names ---- */

bool aegis_onnx_names_init(aegis_onnx_names *names,
                           size_t capacity,
                           const aegis_allocator *allocator)
{
    *names = (aegis_onnx_names){.capacity = capacity + 1};
    names->entries = aegis_allocate_zeroed(allocator, names->capacity, sizeof *names->entries);
    return names->entries != NULL;
}

void aegis_onnx_names_finish(aegis_onnx_names *names, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, names->entries, names->capacity, sizeof *names->entries);
    *names = (aegis_onnx_names){.entries = NULL};
}

void aegis_onnx_names_add(aegis_onnx_names *names, const char *name, uint32_t index)
{
    if (name != NULL && name[0] != '\0' && names->count < names->capacity) {
        names->entries[names->count++] = (struct aegis_onnx_name){name, index};
    }
}

static int compare_names(const void *a, const void *b)
{
    const struct aegis_onnx_name *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

void aegis_onnx_names_sort(aegis_onnx_names *names)
{
    qsort(names->entries, names->count, sizeof *names->entries, compare_names);
}

bool aegis_onnx_names_find(const aegis_onnx_names *names, const char *name, uint32_t *ret_index)
{
    size_t low = 0, high = names->count; /* the first entry above `name` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(names->entries[middle].name, name) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0 || strcmp(names->entries[low - 1].name, name) != 0) {
        return false;
    }
    *ret_index = names->entries[low - 1].index;
    return true;
}

/* ---- reads ---- */

static void
visit_names(char *const *names, size_t count, bool captured, aegis_onnx_visit visit, void *argument)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i] != NULL && names[i][0] != '\0') {
            visit(argument, names[i], captured);
        }
    }
}

static bool
visit_node(const Onnx__NodeProto *node, int depth, aegis_onnx_visit visit, void *argument);

static bool
visit_graph(const Onnx__GraphProto *graph, int depth, aegis_onnx_visit visit, void *argument)
{
    if (graph == NULL) {
        return true;
    }
    bool whole = depth <= AEGIS_ONNX_DEEPEST;
    for (size_t i = 0; whole && i < graph->n_node; i++) {
        whole = visit_node(graph->node[i], depth, visit, argument);
    }
    for (size_t i = 0; whole && i < graph->n_output; i++) {
        visit_names(&graph->output[i]->name, 1, true, visit, argument);
    }
    return whole;
}

static bool
visit_node(const Onnx__NodeProto *node, int depth, aegis_onnx_visit visit, void *argument)
{
    bool whole = true;
    visit_names(node->input, node->n_input, depth > 0, visit, argument);
    for (size_t i = 0; whole && i < node->n_attribute; i++) {
        const Onnx__AttributeProto *attribute = node->attribute[i];
        whole = visit_graph(attribute->g, depth + 1, visit, argument);
        for (size_t g = 0; whole && g < attribute->n_graphs; g++) {
            whole = visit_graph(attribute->graphs[g], depth + 1, visit, argument);
        }
    }
    return whole;
}

bool aegis_onnx_visit_reads(const Onnx__NodeProto *node, aegis_onnx_visit visit, void *argument)
{
    return visit_node(node, 0, visit, argument);
}

/* ---- values ---- */

typedef struct flow {
    const aegis_onnx_graph *graph;
    aegis_onnx_value *values;
    size_t count, capacity;
    aegis_onnx_names names;
    uint32_t node;       /* whose reads are visited */
    const char *misread; /* read before it is computed */
} flow;

static aegis_status cannot(const flow *f, const char *what, const char *name, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                           "%s cannot be cut: %s%s%s%s", f->graph->path, what,
                           name != NULL ? " '" : "", name != NULL ? name : "",
                           name != NULL ? "'" : "");
}

static aegis_status list_values(flow *f, aegis_error *err)
{
    const Onnx__GraphProto *proto = f->graph->model->graph;
    for (size_t i = 0; i < proto->n_node; i++) {
        f->capacity += proto->node[i]->n_output;
    }
    f->values = aegis_allocate_zeroed(&f->graph->allocator, f->capacity + 1, sizeof *f->values);
    if (f->values == NULL || !aegis_onnx_names_init(&f->names, f->capacity, &f->graph->allocator)) {
        return aegis_onnx_no_memory(err);
    }
    for (size_t i = 0; i < proto->n_node; i++) {
        for (size_t k = 0; k < proto->node[i]->n_output; k++) {
            const char *name = proto->node[i]->output[k];
            if (name != NULL && name[0] != '\0') { /* else an optional output that nobody wants */
                aegis_onnx_names_add(&f->names, name, (uint32_t)f->count);
                f->values[f->count++] =
                    (aegis_onnx_value){.name = name, .born = (uint32_t)i, .last = (uint32_t)i};
            }
        }
    }
    aegis_onnx_names_sort(&f->names);
    for (size_t i = 1; i < f->names.count; i++) {
        if (strcmp(f->names.entries[i].name, f->names.entries[i - 1].name) == 0) {
            return cannot(f, "two operators compute", f->names.entries[i].name, err);
        }
    }
    return AEGIS_OK;
}

static void note_read(void *argument, const char *name, bool captured)
{
    flow *f = argument;
    uint32_t index;
    if (!aegis_onnx_names_find(&f->names, name, &index)) {
        return;
    }
    aegis_onnx_value *value = &f->values[index];
    if (value->born < f->node) {
        value->last = f->node;
    } else if (!captured) {
        f->misread = value->name;
    }
}

static aegis_status note_reads(flow *f, aegis_error *err)
{
    const Onnx__GraphProto *proto = f->graph->model->graph;
    for (size_t i = 0; i < proto->n_node; i++) {
        f->node = (uint32_t)i;
        if (!aegis_onnx_visit_reads(proto->node[i], note_read, f)) {
            return cannot(f, "its subgraphs nest too deeply", NULL, err);
        }
        if (f->misread != NULL) {
            return cannot(f,
                          "its operators do not stand in the order of their data; too early"
                          " comes the reader of",
                          f->misread, err);
        }
    }
    return AEGIS_OK;
}

static aegis_status note_outputs(flow *f, aegis_error *err)
{
    const Onnx__GraphProto *proto = f->graph->model->graph;
    for (size_t i = 0; i < proto->n_output; i++) {
        uint32_t index;
        const char *name = proto->output[i]->name != NULL ? proto->output[i]->name : "";
        if (!aegis_onnx_names_find(&f->names, name, &index)) {
            return cannot(f, "no operator computes its output", name, err);
        }
        f->values[index].output = true;
    }
    return AEGIS_OK;
}

aegis_status aegis_onnx_graph_flow(const aegis_onnx_graph *graph,
                                   aegis_onnx_value **ret_values,
                                   size_t *ret_count,
                                   uint32_t *ret_operators,
                                   aegis_error *err)
{
    flow f = {.graph = graph};
    const Onnx__GraphProto *proto = graph->model->graph;
    aegis_status status = AEGIS_OK;
    if (proto->n_sparse_initializer > 0) {
        status = cannot(&f, "it has sparse initialisers", NULL, err);
    } else if (proto->n_node > INT32_MAX) {
        status = cannot(&f, "it has too many operators", NULL, err);
    }
    if (status == AEGIS_OK) {
        status = list_values(&f, err);
    }
    if (status == AEGIS_OK) {
        status = note_reads(&f, err);
    }
    if (status == AEGIS_OK) {
        status = note_outputs(&f, err);
    }
    if (f.names.entries != NULL) {
        aegis_onnx_names_finish(&f.names, &graph->allocator);
    }
    if (status != AEGIS_OK) {
        aegis_deallocate(&graph->allocator, f.values, f.capacity + 1, sizeof *f.values);
        return status;
    }
    /* Exactly what is used, so that the caller knows the size. */
    aegis_onnx_value *exact = aegis_allocate_zeroed(&graph->allocator, f.count + 1, sizeof *exact);
    if (exact != NULL && f.count > 0) {
        memcpy(exact, f.values, f.count * sizeof *exact);
    }
    aegis_deallocate(&graph->allocator, f.values, f.capacity + 1, sizeof *f.values);
    if (exact == NULL) {
        return aegis_onnx_no_memory(err);
    }
    *ret_values = exact;
    *ret_count = f.count;
    *ret_operators = (uint32_t)proto->n_node;
    return AEGIS_OK;
}
