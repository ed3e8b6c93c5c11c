/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/proto.h"

#include <assert.h>
#include <string.h>

enum {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2
};

static void put_bytes(trace_proto *message, const void *bytes, size_t size)
{
    assert(size <= sizeof message->bytes - message->used);
    memcpy(message->bytes + message->used, bytes, size);
    message->used += size;
}

static void put_varint(trace_proto *message, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    do {
        bytes[size] = (uint8_t)(value & 0x7f);
        value >>= 7;
        bytes[size++] |= value != 0 ? 0x80 : 0;
    } while (value != 0);
    put_bytes(message, bytes, size);
}

static void put_tag(trace_proto *message, unsigned field, unsigned wire)
{
    put_varint(message, (uint64_t)field << 3 | wire);
}

void aegis_trace_proto_uint(trace_proto *message, unsigned field, uint64_t value)
{
    put_tag(message, field, WIRE_VARINT);
    put_varint(message, value);
}

void aegis_trace_proto_int(trace_proto *message, unsigned field, int64_t value)
{
    aegis_trace_proto_uint(message, field, (uint64_t)value);
}

void aegis_trace_proto_fixed64(trace_proto *message, unsigned field, uint64_t value)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(value >> (8 * i));
    }
    put_tag(message, field, WIRE_FIXED64);
    put_bytes(message, bytes, sizeof bytes);
}

void aegis_trace_proto_text(trace_proto *message, unsigned field, const char *text)
{
    size_t size = strlen(text);
    put_tag(message, field, WIRE_BYTES);
    put_varint(message, size);
    put_bytes(message, text, size);
}

void aegis_trace_proto_message(trace_proto *message, unsigned field, const trace_proto *inner)
{
    put_tag(message, field, WIRE_BYTES);
    put_varint(message, inner->used);
    put_bytes(message, inner->bytes, inner->used);
}
