/* SPDX-License-Identifier: Apache-2.0 */
/* In which order operators execute.
 *
 * ONNX Runtime executes a graph in the order of a depth-first search from its ends backwards; where
 * an operator reads from several others, it goes down to the one that stands last in the file
 * first. So the order of the file decides which branch is computed first, and with it which tensors
 * wait for each other. A branch that is computed late lets less wait. All orders give the same
 * results: every operator reads the same values.
 *
 * Here: the places where there is a choice (joins), and the file's order for given choices. What an
 * order is worth is measured by who compiles (variants.c). */
#include "backend/onnxruntime/graph_internal.h"

#include <string.h>

#define LEAVE (UINT32_C(1) << 31)

struct aegis_onnx_order {
    aegis_allocator allocator;
    size_t count; /* operators */
    /* Producers of operator i, the one to be executed first in front: `producers` from first[i] to
     * first[i + 1]. */
    uint32_t *first, *producers;
    uint32_t *kept; /* `producers` of the choices that hold */
    size_t edges, edge_room;
    uint32_t *file, *position;            /* operators in the order of the file, and back */
    uint64_t now, tried;                  /* hashes of the order of execution */
    bool sound;                           /* `file` holds every operator */
    bool *read;                           /* by another operator */
    uint32_t *execution, *sorted, *stack; /* scratch */
    bool *entered;
};

/* ---- producers ---- */

typedef struct gathering {
    aegis_onnx_order *order;
    const aegis_onnx_names *values;
    uint32_t node;
    bool fill;
} gathering;

static void gather(void *argument, const char *name, bool captured)
{
    gathering *g = argument;
    aegis_onnx_order *o = g->order;
    uint32_t producer;
    (void)captured;
    if (!aegis_onnx_names_find(g->values, name, &producer) || producer == g->node) {
        return;
    }
    if (!g->fill) {
        o->edges++;
        return;
    }
    for (uint32_t i = o->first[g->node]; i < o->edges; i++) {
        if (o->producers[i] == producer) {
            return; /* reads several of its values */
        }
    }
    o->producers[o->edges++] = producer;
}

/* As ONNX Runtime goes: the one that stands last in the file first. */
static void sort_producers(aegis_onnx_order *o, size_t node)
{
    uint32_t *list = o->producers + o->first[node];
    size_t count = o->first[node + 1] - o->first[node];
    for (size_t i = 1; i < count; i++) {
        for (size_t k = i; k > 0 && list[k] > list[k - 1]; k--) {
            uint32_t other = list[k];
            list[k] = list[k - 1];
            list[k - 1] = other;
        }
    }
}

static bool find_producers(aegis_onnx_order *o, const Onnx__GraphProto *proto)
{
    aegis_onnx_names values;
    size_t outputs = 0;
    for (size_t i = 0; i < proto->n_node; i++) {
        outputs += proto->node[i]->n_output;
    }
    if (!aegis_onnx_names_init(&values, outputs, &o->allocator)) {
        return false;
    }
    for (size_t i = 0; i < proto->n_node; i++) {
        for (size_t k = 0; k < proto->node[i]->n_output; k++) {
            aegis_onnx_names_add(&values, proto->node[i]->output[k], (uint32_t)i);
        }
    }
    aegis_onnx_names_sort(&values);
    gathering g = {.order = o, .values = &values};
    bool whole = true;
    for (; whole && g.node < proto->n_node; g.node++) {
        whole = aegis_onnx_visit_reads(proto->node[g.node], gather, &g);
    }
    o->edge_room = o->edges;
    o->producers = aegis_allocate_zeroed(&o->allocator, o->edge_room + 1, sizeof *o->producers);
    o->sorted = aegis_allocate_zeroed(&o->allocator, o->edge_room + 1, sizeof *o->sorted);
    o->kept = aegis_allocate_zeroed(&o->allocator, o->edge_room + 1, sizeof *o->kept);
    o->stack = aegis_allocate_zeroed(&o->allocator, o->edge_room + o->count + 1, sizeof *o->stack);
    whole =
        whole && o->producers != NULL && o->kept != NULL && o->stack != NULL && o->sorted != NULL;
    g.fill = true;
    o->edges = 0;
    for (g.node = 0; whole && g.node < proto->n_node; g.node++) {
        o->first[g.node] = (uint32_t)o->edges;
        aegis_onnx_visit_reads(proto->node[g.node], gather, &g);
        o->first[g.node + 1] = (uint32_t)o->edges;
        sort_producers(o, g.node);
    }
    aegis_onnx_names_finish(&values, &o->allocator);
    return whole;
}

/* ---- orders ---- */

/* Depth first from the operators that nobody reads; of each range of `visit` the last one first.
 * Writes operators as they are left; returns how many: all, unless some read each other in a
 * circle.
 */
static size_t
search(aegis_onnx_order *o, const uint32_t *visit, bool ends_ascend, uint32_t *ret_order)
{
    size_t used = 0, depth = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        uint32_t end = ends_ascend ? i : (uint32_t)o->count - 1 - i;
        if (!o->read[end]) {
            o->stack[depth++] = end;
        }
    }
    memset(o->entered, 0, o->count * sizeof *o->entered);
    while (depth > 0) {
        uint32_t node = o->stack[depth - 1];
        if ((node & LEAVE) != 0) {
            ret_order[used++] = node & ~LEAVE;
            depth--;
        } else if (o->entered[node]) {
            depth--;
        } else {
            o->entered[node] = true;
            o->stack[depth - 1] = node | LEAVE;
            for (uint32_t i = o->first[node]; i < o->first[node + 1]; i++) {
                if (!o->entered[visit[i]]) {
                    o->stack[depth++] = visit[i];
                }
            }
        }
    }
    return used;
}

/* The file's order for these choices: what shall be executed first stands last. */
static void list_file(aegis_onnx_order *o)
{
    o->sound = search(o, o->producers, false, o->file) == o->count;
    for (uint32_t i = 0; i < o->count; i++) {
        o->position[o->file[i]] = i;
    }
}

/* What ONNX Runtime makes of that file: hashed, as only equality matters. */
static uint64_t execution_of(aegis_onnx_order *o)
{
    memcpy(o->sorted, o->producers, o->edges * sizeof *o->sorted);
    for (uint32_t node = 0; node < o->count; node++) {
        for (uint32_t i = o->first[node] + 1; i < o->first[node + 1]; i++) {
            for (uint32_t k = i;
                 k > o->first[node] && o->position[o->sorted[k]] < o->position[o->sorted[k - 1]];
                 k--) {
                uint32_t other = o->sorted[k];
                o->sorted[k] = o->sorted[k - 1];
                o->sorted[k - 1] = other;
            }
        }
    }
    search(o, o->sorted, true, o->execution);
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < o->count; i++) {
        hash = (hash ^ o->execution[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

void aegis_onnx_order_destroy(aegis_onnx_order *o)
{
    if (o == NULL) {
        return;
    }
    const aegis_allocator allocator = o->allocator;
    aegis_deallocate(&allocator, o->first, o->count + 1, sizeof *o->first);
    aegis_deallocate(&allocator, o->file, o->count + 1, sizeof *o->file);
    aegis_deallocate(&allocator, o->execution, o->count + 1, sizeof *o->execution);
    aegis_deallocate(&allocator, o->position, o->count + 1, sizeof *o->position);
    aegis_deallocate(&allocator, o->entered, o->count + 1, sizeof *o->entered);
    aegis_deallocate(&allocator, o->read, o->count + 1, sizeof *o->read);
    aegis_deallocate(&allocator, o->producers, o->edge_room + 1, sizeof *o->producers);
    aegis_deallocate(&allocator, o->kept, o->edge_room + 1, sizeof *o->kept);
    aegis_deallocate(&allocator, o->sorted, o->edge_room + 1, sizeof *o->sorted);
    aegis_deallocate(&allocator, o->stack, o->edge_room + o->count + 1, sizeof *o->stack);
    aegis_deallocate(&allocator, o, 1, sizeof *o);
}

aegis_status aegis_onnx_order_create(const aegis_onnx_graph *graph,
                                     aegis_onnx_order **ret_order,
                                     aegis_error *err)
{
    const Onnx__GraphProto *proto = graph->model->graph;
    const aegis_allocator *allocator = &graph->allocator;
    aegis_onnx_order *o = aegis_allocate_zeroed(allocator, 1, sizeof *o);
    if (o == NULL) {
        return aegis_onnx_no_memory(err);
    }
    o->allocator = *allocator;
    o->count = proto->n_node;
    o->first = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->first);
    o->file = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->file);
    o->execution = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->execution);
    o->position = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->position);
    o->entered = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->entered);
    o->read = aegis_allocate_zeroed(allocator, o->count + 1, sizeof *o->read);
    bool whole = o->first != NULL && o->file != NULL && o->execution != NULL &&
                 o->position != NULL && o->entered != NULL && o->read != NULL && o->count < LEAVE &&
                 find_producers(o, proto);
    if (!whole) {
        aegis_onnx_order_destroy(o);
        return aegis_onnx_no_memory(err);
    }
    for (size_t i = 0; i < o->edges; i++) {
        o->read[o->producers[i]] = true;
    }
    memcpy(o->kept, o->producers, o->edges * sizeof *o->kept);
    list_file(o);
    o->now = o->sound ? execution_of(o) : 0;
    *ret_order = o;
    return AEGIS_OK;
}

size_t aegis_onnx_order_choices(const aegis_onnx_order *o)
{
    size_t choices = 0;
    for (size_t i = 0; o->sound && i < o->count; i++) {
        uint32_t producers = o->first[i + 1] - o->first[i];
        choices += producers > 1 ? producers - 1 : 0;
    }
    return choices;
}

/* The place in `producers` of the one that the choice brings to the front of its range. */
static uint32_t find_choice(const aegis_onnx_order *o, size_t choice, uint32_t *ret_front)
{
    for (size_t i = 0; i < o->count; i++) {
        uint32_t producers = o->first[i + 1] - o->first[i];
        size_t choices = producers > 1 ? producers - 1 : 0;
        if (choice < choices) {
            *ret_front = o->first[i];
            return o->first[i] + 1 + (uint32_t)choice;
        }
        choice -= choices;
    }
    *ret_front = 0;
    return 0;
}

bool aegis_onnx_order_try(aegis_onnx_order *o, size_t choice)
{
    uint32_t front, at = find_choice(o, choice, &front);
    memcpy(o->producers, o->kept, o->edges * sizeof *o->kept);
    uint32_t chosen = o->producers[at];
    memmove(&o->producers[front + 1], &o->producers[front], (at - front) * sizeof *o->producers);
    o->producers[front] = chosen;
    list_file(o);
    o->tried = o->sound ? execution_of(o) : 0;
    return o->sound && o->tried != o->now;
}

void aegis_onnx_order_keep(aegis_onnx_order *o)
{
    memcpy(o->kept, o->producers, o->edges * sizeof *o->kept);
    o->now = o->tried;
}

void aegis_onnx_order_apply(const aegis_onnx_order *o, aegis_onnx_graph *graph)
{
    Onnx__GraphProto *proto = graph->model->graph;
    for (size_t i = 0; i < o->count; i++) { /* follows each cycle of the permutation once */
        o->entered[i] = false;
    }
    for (uint32_t start = 0; start < o->count; start++) {
        Onnx__NodeProto *carried = proto->node[start];
        for (uint32_t at = start; !o->entered[at];) {
            uint32_t from = o->file[at];
            o->entered[at] = true;
            proto->node[at] = from == start ? carried : proto->node[from];
            at = from;
        }
    }
}
