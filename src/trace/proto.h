/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_PROTO_H
#define AEGIS_TRACE_PROTO_H

/* As much of the protobuf wire format as a Perfetto trace needs. */

#include <stddef.h>
#include <stdint.h>

#define TRACE_PROTO_BYTES 2048

/* One message being built. Whoever fills it keeps within the size: texts are cut before. */
typedef struct trace_proto {
    size_t used;
    uint8_t bytes[TRACE_PROTO_BYTES];
} trace_proto;

void aegis_trace_proto_uint(trace_proto *message, unsigned field, uint64_t value);
void aegis_trace_proto_int(trace_proto *message, unsigned field, int64_t value);
void aegis_trace_proto_fixed64(trace_proto *message, unsigned field, uint64_t value);
void aegis_trace_proto_text(trace_proto *message, unsigned field, const char *text);
void aegis_trace_proto_message(trace_proto *message, unsigned field, const trace_proto *inner);

#endif
