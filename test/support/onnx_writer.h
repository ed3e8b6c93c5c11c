/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_ONNX_WRITER_H
#define AEGIS_TEST_ONNX_WRITER_H

/* Small ONNX models, written field by field (onnx.proto3). Include cmocka's headers before. */

#include <stdlib.h>
#include <string.h>

typedef struct onnx_bytes {
    unsigned char *data;
    size_t size, room;
} onnx_bytes;

static inline void onnx_put(onnx_bytes *to, const void *data, size_t size)
{
    if (to->size + size > to->room) {
        to->room = 2 * (to->size + size) + 64;
        to->data = realloc(to->data, to->room);
        assert_non_null(to->data);
    }
    memcpy(to->data + to->size, data, size);
    to->size += size;
}

static inline void onnx_varint(onnx_bytes *to, uint64_t value)
{
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        onnx_put(to, &byte, 1);
        value >>= 7;
    } while (value != 0);
}

static inline void onnx_int(onnx_bytes *to, unsigned field, uint64_t value)
{
    onnx_varint(to, field << 3);
    onnx_varint(to, value);
}

static inline void onnx_chunk(onnx_bytes *to, unsigned field, const void *data, size_t size)
{
    onnx_varint(to, field << 3 | 2);
    onnx_varint(to, size);
    onnx_put(to, data, size);
}

static inline void onnx_text(onnx_bytes *to, unsigned field, const char *text)
{
    onnx_chunk(to, field, text, strlen(text));
}

/* Takes `part`. */
static inline void onnx_message(onnx_bytes *to, unsigned field, onnx_bytes part)
{
    onnx_chunk(to, field, part.data != NULL ? part.data : (const unsigned char *)"", part.size);
    free(part.data);
}

/* "a,b,,c": fields of a node; empty names stay. */
static inline void onnx_names(onnx_bytes *to, unsigned field, const char *list)
{
    char copy[256], *rest = copy;
    if (list[0] == '\0') {
        return;
    }
    snprintf(copy, sizeof copy, "%s", list);
    for (char *name = strsep(&rest, ","); name != NULL; name = strsep(&rest, ",")) {
        onnx_text(to, field, name);
    }
}

static inline onnx_bytes onnx_node(const char *op, const char *inputs, const char *outputs)
{
    onnx_bytes node = {NULL, 0, 0};
    onnx_names(&node, 1, inputs);
    onnx_names(&node, 2, outputs);
    onnx_text(&node, 4, op);
    return node;
}

/* Takes `graph`: an attribute that is a subgraph. */
static inline void onnx_subgraph(onnx_bytes *node, const char *name, onnx_bytes graph)
{
    onnx_bytes attribute = {NULL, 0, 0};
    onnx_text(&attribute, 1, name);
    onnx_message(&attribute, 6, graph);
    onnx_int(&attribute, 20, 5);
    onnx_message(node, 5, attribute);
}

/* A float tensor of `count` elements; negative: a dimension named "n". */
static inline onnx_bytes onnx_value(const char *name, int64_t count)
{
    onnx_bytes dim = {NULL, 0, 0}, shape = {NULL, 0, 0}, tensor = {NULL, 0, 0}, type = {NULL, 0, 0},
               value = {NULL, 0, 0};
    if (count < 0) {
        onnx_text(&dim, 2, "n");
    } else {
        onnx_int(&dim, 1, (uint64_t)count);
    }
    onnx_message(&shape, 1, dim);
    onnx_int(&tensor, 1, 1);
    onnx_message(&tensor, 2, shape);
    onnx_message(&type, 1, tensor);
    onnx_text(&value, 1, name);
    onnx_message(&value, 2, type);
    return value;
}

/* An initialiser in an external file. */
static inline onnx_bytes onnx_external(const char *name, const char *offset, const char *length)
{
    static const char *const keys[] = {"location", "offset", "length"};
    const char *const values[] = {"weights.bin", offset, length};
    onnx_bytes tensor = {NULL, 0, 0};
    onnx_int(&tensor, 1, 4);
    onnx_int(&tensor, 2, 1);
    onnx_text(&tensor, 8, name);
    for (int i = 0; i < 3; i++) {
        onnx_bytes entry = {NULL, 0, 0};
        onnx_text(&entry, 1, keys[i]);
        onnx_text(&entry, 2, values[i]);
        onnx_message(&tensor, 13, entry);
    }
    onnx_int(&tensor, 14, 1);
    return tensor;
}

/* Takes `graph`. */
static inline onnx_bytes onnx_model(onnx_bytes graph)
{
    onnx_bytes model = {NULL, 0, 0}, opset = {NULL, 0, 0};
    onnx_int(&model, 1, 8);
    onnx_message(&model, 7, graph);
    onnx_int(&opset, 2, 17);
    onnx_message(&model, 8, opset);
    return model;
}

#endif
