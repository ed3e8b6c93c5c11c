/* SPDX-License-Identifier: Apache-2.0 */
/* What is checked before bytes of unknown origin are unpacked: the unpacker recurses without a
 * limit, and allocates a structure of hundreds of bytes for an empty message of two. */
#include "backend/onnxruntime/graph_internal.h"

#include <stdlib.h>

#define DEEPEST_MESSAGE 100
#define BUDGET_BASE ((size_t)64 << 20)
#define BUDGET_FACTOR 16u /* packed integers of one byte become eight; short strings more */

typedef struct wire {
    const unsigned char *at, *end;
} wire;

static bool read_varint(wire *in, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (in->at == in->end) {
            return false;
        }
        unsigned char byte = *in->at++;
        value |= shift < 64 ? (uint64_t)(byte & 0x7fu) << shift : 0;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(wire *in, uint64_t size)
{
    if (size > (uint64_t)(in->end - in->at)) {
        return false;
    }
    in->at += size;
    return true;
}

static bool walk(wire in, const ProtobufCMessageDescriptor *type, int depth);

static bool walk_bytes(wire *in, const ProtobufCFieldDescriptor *field, int depth)
{
    uint64_t size;
    if (!read_varint(in, &size)) {
        return false;
    }
    wire inner = {.at = in->at};
    if (!skip(in, size)) {
        return false;
    }
    inner.end = in->at;
    return field == NULL || field->type != PROTOBUF_C_TYPE_MESSAGE ||
           walk(inner, field->descriptor, depth + 1);
}

static bool walk(wire in, const ProtobufCMessageDescriptor *type, int depth)
{
    uint64_t tag, ignored;
    if (depth > DEEPEST_MESSAGE) {
        return false;
    }
    while (in.at < in.end) {
        if (!read_varint(&in, &tag) || tag >> 3 == 0 || tag > UINT32_MAX) {
            return false; /* field 0 does not exist, whatever unpackers make of it */
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        bool whole = false;
        switch (tag & 7u) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            whole = read_varint(&in, &ignored);
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            whole = skip(&in, 8);
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            whole = walk_bytes(&in, field, depth);
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            whole = skip(&in, 4);
            break;
        default: /* groups: not in ONNX, not understood by the unpacker */
            break;
        }
        if (!whole) {
            return false;
        }
    }
    return true;
}

bool aegis_onnx_wire_is_safe(const void *bytes, size_t size)
{
    wire in = {.at = bytes, .end = (const unsigned char *)bytes + size};
    return walk(in, &onnx__model_proto__descriptor, 0);
}

static void *budget_alloc(void *argument, size_t size)
{
    aegis_onnx_budget *budget = argument;
    if (size > budget->left_bytes) {
        return NULL;
    }
    budget->left_bytes -= size;
    return malloc(size);
}

static void budget_free(void *argument, void *pointer)
{
    (void)argument;
    free(pointer);
}

void aegis_onnx_budget_init(aegis_onnx_budget *budget, size_t size)
{
    budget->allocator =
        (ProtobufCAllocator){.alloc = budget_alloc, .free = budget_free, .allocator_data = budget};
    budget->left_bytes = size > (SIZE_MAX - BUDGET_BASE) / BUDGET_FACTOR
                             ? SIZE_MAX
                             : BUDGET_BASE + BUDGET_FACTOR * size;
}
