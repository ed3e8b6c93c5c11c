/* SPDX-License-Identifier: Apache-2.0 */
/* Operators between two convolutions that the blocked layout makes needless.
 *
 * ONNX Runtime's optimiser moves convolutions to a blocked layout (NCHWc) and leaves what stands
 * between them, where it knows no better, in the plain one:
 *
 *     Conv -> ReorderOutput -> Add(one constant a channel) [-> Relu] -> ReorderInput -> ...
 *
 * Its own blocked Conv adds a bias a channel, and applies Relu, after the last product of an
 * element was added: the same additions of the same numbers in the same order. So the constant
 * becomes the bias, and three copies of the tensor are never made. That results keep every bit is
 * not left to this argument: who compiles runs both graphs (variants.c). */
#include "backend/onnxruntime/graph_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "backend.onnx"
#define BLOCKED "com.microsoft.nchwc"
#define ALIAS "/aegis-bias"
#define NOBODY UINT32_MAX

typedef struct folding {
    aegis_allocator allocator;
    Onnx__GraphProto *proto;
    aegis_onnx_names readers;      /* of values: one entry a read, outputs of the model as NOBODY */
    aegis_onnx_names initialisers; /* of the graph as it was: indices */
    bool *gone;                    /* operators */
    size_t originals, folded;      /* initialisers that were there; patterns */
} folding;

/* The operators of one pattern. */
typedef struct pattern {
    uint32_t conv, out, add, relu, in; /* relu: NOBODY when there is none */
    uint32_t constant;
} pattern;

static void count_read(void *argument, const char *name, bool captured)
{
    (void)name;
    (void)captured;
    ++*(size_t *)argument;
}

typedef struct reading {
    folding *f;
    uint32_t node;
} reading;

static void note_read(void *argument, const char *name, bool captured)
{
    reading *r = argument;
    (void)captured;
    aegis_onnx_names_add(&r->f->readers, name, r->node);
}

static bool index_names(folding *f)
{
    Onnx__GraphProto *proto = f->proto;
    size_t reads = proto->n_output;
    bool whole = true;
    for (size_t i = 0; whole && i < proto->n_node; i++) {
        whole = aegis_onnx_visit_reads(proto->node[i], count_read, &reads);
    }
    if (!whole || !aegis_onnx_names_init(&f->readers, reads, &f->allocator) ||
        !aegis_onnx_names_init(&f->initialisers, proto->n_initializer, &f->allocator)) {
        return false;
    }
    for (size_t i = 0; i < proto->n_node; i++) {
        reading r = {f, (uint32_t)i};
        aegis_onnx_visit_reads(proto->node[i], note_read, &r);
    }
    for (size_t i = 0; i < proto->n_output; i++) {
        aegis_onnx_names_add(&f->readers, proto->output[i]->name, NOBODY);
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        aegis_onnx_names_add(&f->initialisers, proto->initializer[i]->name, (uint32_t)i);
    }
    aegis_onnx_names_sort(&f->readers);
    aegis_onnx_names_sort(&f->initialisers);
    return true;
}

/* ---- what stands there ---- */

/* The one operator that reads the only value of `node`. */
static bool sole_reader(const folding *f, uint32_t node, uint32_t *ret_reader)
{
    const Onnx__NodeProto *proto = f->proto->node[node];
    size_t reads = 0;
    if (proto->n_output != 1) {
        return false;
    }
    for (size_t i = 0; i < f->readers.count; i++) {
        if (strcmp(f->readers.entries[i].name, proto->output[0]) == 0) {
            *ret_reader = f->readers.entries[i].index;
            reads++;
        }
    }
    return reads == 1 && *ret_reader != NOBODY;
}

static bool is_operator(const folding *f, uint32_t node, const char *domain, const char *type)
{
    const Onnx__NodeProto *proto = f->proto->node[node];
    const char *own = proto->domain != NULL ? proto->domain : "";
    bool same = strcmp(own, domain) == 0 || (domain[0] == '\0' && strcmp(own, "ai.onnx") == 0);
    return !f->gone[node] && same && proto->op_type != NULL && strcmp(proto->op_type, type) == 0;
}

static const Onnx__AttributeProto *find_attribute(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++) {
        if (node->attribute[i]->name != NULL && strcmp(node->attribute[i]->name, name) == 0) {
            return node->attribute[i];
        }
    }
    return NULL;
}

static bool has_operand(const Onnx__NodeProto *node, size_t index)
{
    return index < node->n_input && node->input[index] != NULL && node->input[index][0] != '\0';
}

/* A blocked convolution without bias, sum or activation. Returns its output channels, or 0. */
static int64_t bare_convolution(const folding *f, uint32_t node)
{
    const Onnx__NodeProto *proto = f->proto->node[node];
    uint32_t weight;
    if (!is_operator(f, node, BLOCKED, "Conv") || proto->n_output != 1 || !has_operand(proto, 1) ||
        has_operand(proto, 2) || has_operand(proto, 3) ||
        find_attribute(proto, "activation") != NULL ||
        !aegis_onnx_names_find(&f->initialisers, proto->input[1], &weight)) {
        return 0;
    }
    const Onnx__TensorProto *tensor = f->proto->initializer[weight];
    return tensor->n_dims == 4 ? tensor->dims[0] : 0;
}

/* [channels, 1, 1], with ones before it. */
static bool is_one_a_channel(const Onnx__TensorProto *tensor, int64_t channels)
{
    size_t rank = tensor->n_dims;
    if (rank < 3 || rank > 4 || tensor->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
        return false;
    }
    return tensor->dims[rank - 1] == 1 && tensor->dims[rank - 2] == 1 &&
           tensor->dims[rank - 3] == channels && (rank == 3 || tensor->dims[0] == 1);
}

static bool find_constant(const folding *f, uint32_t add, int64_t channels, uint32_t *ret_constant)
{
    const Onnx__NodeProto *node = f->proto->node[add];
    for (size_t i = 0; node->n_input == 2 && i < 2; i++) {
        if (aegis_onnx_names_find(&f->initialisers, node->input[i], ret_constant)) {
            return is_one_a_channel(f->proto->initializer[*ret_constant], channels);
        }
    }
    return false;
}

static bool keeps_channels_first(const Onnx__NodeProto *node)
{
    const Onnx__AttributeProto *last = find_attribute(node, "channels_last");
    return last == NULL || last->i == 0;
}

static bool match(const folding *f, uint32_t conv, pattern *ret)
{
    int64_t channels = bare_convolution(f, conv);
    pattern p = {.conv = conv, .relu = NOBODY};
    if (channels == 0 || !sole_reader(f, conv, &p.out) ||
        !is_operator(f, p.out, BLOCKED, "ReorderOutput") ||
        !keeps_channels_first(f->proto->node[p.out]) || !sole_reader(f, p.out, &p.add) ||
        !is_operator(f, p.add, "", "Add") || !find_constant(f, p.add, channels, &p.constant) ||
        !sole_reader(f, p.add, &p.in)) {
        return false;
    }
    /* Channels that fill up the last block are not part of the plain tensor. */
    const Onnx__AttributeProto *given = find_attribute(f->proto->node[p.out], "channels");
    if (given == NULL || given->i != channels) {
        return false;
    }
    if (is_operator(f, p.in, "", "Relu")) {
        p.relu = p.in;
        if (!sole_reader(f, p.relu, &p.in)) {
            return false;
        }
    }
    *ret = p;
    return is_operator(f, p.in, BLOCKED, "ReorderInput") &&
           keeps_channels_first(f->proto->node[p.in]) && f->proto->node[p.in]->n_output == 1;
}

/* ---- edits; what they add comes from malloc ---- */

static Onnx__TensorProto *copy_tensor(const Onnx__TensorProto *tensor)
{
    size_t size = onnx__tensor_proto__get_packed_size(tensor);
    uint8_t *bytes = malloc(size + 1);
    Onnx__TensorProto *copy = NULL;
    if (bytes != NULL) {
        onnx__tensor_proto__pack(tensor, bytes);
        copy = onnx__tensor_proto__unpack(NULL, size, bytes);
    }
    free(bytes);
    return copy;
}

/* The constant as a vector, under a name of its own: others may read it as it is. */
static bool add_bias(folding *f, const pattern *p, const char *name)
{
    Onnx__GraphProto *proto = f->proto;
    for (size_t i = f->originals; i < proto->n_initializer; i++) {
        if (strcmp(proto->initializer[i]->name, name) == 0) {
            return true; /* of another convolution with the same constant */
        }
    }
    const Onnx__TensorProto *constant = proto->initializer[p->constant];
    int64_t channels = constant->dims[constant->n_dims - 3];
    Onnx__TensorProto *bias = copy_tensor(constant);
    Onnx__TensorProto **list =
        realloc(proto->initializer, (proto->n_initializer + 1) * sizeof *list);
    proto->initializer = list != NULL ? list : proto->initializer;
    char *copy = strdup(name);
    if (bias == NULL || list == NULL || copy == NULL) {
        free(copy);
        if (bias != NULL) {
            onnx__tensor_proto__free_unpacked(bias, NULL);
        }
        return false;
    }
    if (bias->name != protobuf_c_empty_string) {
        free(bias->name);
    }
    bias->name = copy;
    bias->dims[0] = channels;
    bias->n_dims = 1;
    proto->initializer[proto->n_initializer++] = bias;
    return true;
}

/* The operand list of a convolution is made three long. */
static bool set_bias(Onnx__NodeProto *conv, const char *name)
{
    char **inputs = realloc(conv->input, 3 * sizeof *inputs);
    char *copy = strdup(name);
    if (inputs != NULL) {
        conv->input = inputs;
    }
    if (inputs == NULL || copy == NULL) {
        free(copy);
        return false;
    }
    for (size_t i = 2; i < conv->n_input; i++) {
        if (conv->input[i] != NULL && conv->input[i] != protobuf_c_empty_string) {
            free(conv->input[i]);
        }
    }
    conv->input[2] = copy;
    conv->n_input = 3;
    return true;
}

static bool set_relu(Onnx__NodeProto *conv)
{
    static const char name[] = "activation", value[] = "Relu";
    Onnx__AttributeProto **list = realloc(conv->attribute, (conv->n_attribute + 1) * sizeof *list);
    Onnx__AttributeProto *attribute = malloc(sizeof *attribute);
    char *copy = strdup(name);
    uint8_t *bytes = (uint8_t *)strdup(value);
    if (list != NULL) {
        conv->attribute = list;
    }
    if (list == NULL || attribute == NULL || copy == NULL || bytes == NULL) {
        free(attribute);
        free(copy);
        free(bytes);
        return false;
    }
    onnx__attribute_proto__init(attribute);
    attribute->name = copy;
    attribute->has_type = 1;
    attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    attribute->has_s = 1;
    attribute->s = (ProtobufCBinaryData){.len = sizeof value - 1, .data = bytes};
    conv->attribute[conv->n_attribute++] = attribute;
    return true;
}

static bool apply(folding *f, const pattern *p)
{
    Onnx__NodeProto *conv = f->proto->node[p->conv], *in = f->proto->node[p->in];
    const char *constant = f->proto->initializer[p->constant]->name;
    char name[512];
    if ((size_t)snprintf(name, sizeof name, "%s" ALIAS, constant) >= sizeof name) {
        return true; /* left as it is */
    }
    if (!add_bias(f, p, name) || !set_bias(conv, name) || (p->relu != NOBODY && !set_relu(conv))) {
        return false;
    }
    char *output = conv->output[0];
    conv->output[0] = in->output[0];
    in->output[0] = output;
    f->gone[p->out] = f->gone[p->add] = f->gone[p->in] = true;
    if (p->relu != NOBODY) {
        f->gone[p->relu] = true;
    }
    f->folded++;
    return true;
}

static void remove_operators(folding *f)
{
    size_t kept = 0;
    for (size_t i = 0; i < f->proto->n_node; i++) {
        if (f->gone[i]) {
            onnx__node_proto__free_unpacked(f->proto->node[i], NULL);
        } else {
            f->proto->node[kept++] = f->proto->node[i];
        }
    }
    f->proto->n_node = kept;
}

/* Constants that only the folded operators read. */
static bool remove_initialisers(folding *f)
{
    Onnx__GraphProto *proto = f->proto;
    size_t kept = 0;
    aegis_onnx_names_finish(&f->readers, &f->allocator);
    aegis_onnx_names_finish(&f->initialisers, &f->allocator);
    if (!index_names(f)) {
        return false;
    }
    for (size_t i = 0; i < proto->n_initializer; i++) {
        uint32_t reader;
        if (aegis_onnx_names_find(&f->readers, proto->initializer[i]->name, &reader)) {
            proto->initializer[kept++] = proto->initializer[i];
        } else {
            onnx__tensor_proto__free_unpacked(proto->initializer[i], NULL);
        }
    }
    proto->n_initializer = kept;
    return true;
}

aegis_status aegis_onnx_graph_fold(aegis_onnx_graph *graph, size_t *ret_folded, aegis_error *err)
{
    folding f = {.allocator = graph->allocator, .proto = graph->model->graph};
    size_t operators = f.proto->n_node;
    f.originals = f.proto->n_initializer;
    f.gone = aegis_allocate_zeroed(&f.allocator, operators + 1, sizeof *f.gone);
    bool whole = f.gone != NULL && index_names(&f);
    for (uint32_t i = 0; whole && i < operators; i++) {
        pattern p;
        if (match(&f, i, &p)) {
            whole = apply(&f, &p);
        }
    }
    if (whole && f.folded > 0) {
        remove_operators(&f);
        whole = remove_initialisers(&f);
    }
    aegis_onnx_names_finish(&f.readers, &f.allocator);
    aegis_onnx_names_finish(&f.initialisers, &f.allocator);
    aegis_deallocate(&f.allocator, f.gone, operators + 1, sizeof *f.gone);
    *ret_folded = f.folded;
    return whole ? AEGIS_OK : aegis_onnx_no_memory(err);
}

void aegis_onnx_graph_forget_sizes(aegis_onnx_graph *graph)
{
    Onnx__GraphProto *proto = graph->model->graph;
    for (size_t i = 0; i < proto->n_input; i++) {
        const Onnx__TypeProto *type = proto->input[i]->type;
        if (type == NULL || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
            type->tensor_type == NULL || type->tensor_type->shape == NULL) {
            continue;
        }
        Onnx__TensorShapeProto *shape = type->tensor_type->shape;
        for (size_t d = 0; d < shape->n_dim; d++) {
            if (shape->dim[d]->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
                shape->dim[d]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE__NOT_SET;
            }
        }
    }
}
