/* SPDX-License-Identifier: Apache-2.0 */
/* Parses the input as a trace file, as it is and with its checksums made right (no fuzzer guesses
 * a checksum), and exports what was accepted. */
#include "trace/format.h"

#include <stdlib.h>

static void repair_chunk(uint8_t *at, size_t left)
{
    trace_chunk chunk;
    memcpy(&chunk, at, sizeof chunk);
    uint64_t payload = aegis_trace_payload_bytes(&chunk);
    if (payload <= left - sizeof chunk) {
        chunk.payload_checksum =
            aegis_trace_checksum(TRACE_CHECKSUM_START, at + sizeof chunk, (size_t)payload);
    }
    chunk.checksum = aegis_trace_chunk_checksum(&chunk);
    memcpy(at, &chunk, sizeof chunk);
}

static void repair(uint8_t *bytes, size_t size)
{
    trace_file_head head;
    if (size < sizeof head) {
        return;
    }
    memcpy(&head, bytes, sizeof head);
    head.checksum = aegis_trace_head_checksum(&head);
    memcpy(bytes, &head, sizeof head);
    size_t offset = sizeof head;
    while (size - offset >= sizeof(trace_chunk)) {
        trace_chunk chunk;
        repair_chunk(bytes + offset, size - offset);
        memcpy(&chunk, bytes + offset, sizeof chunk);
        uint64_t whole = sizeof chunk + aegis_trace_payload_bytes(&chunk);
        if (whole > size - offset) {
            return;
        }
        offset += (size_t)whole;
    }
}

static void parse_and_export(const uint8_t *bytes, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file;
    if (aegis_trace_file_parse(bytes, size, &allocator, &file, NULL) != AEGIS_OK) {
        return;
    }
    aegis_trace_export_json(file, "/dev/null", NULL);
    aegis_trace_export_perfetto(file, "/dev/null", NULL);
    aegis_trace_file_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_export(data, size);
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy != NULL) {
        memcpy(copy, data, size);
        repair(copy, size);
        parse_and_export(copy, size);
    }
    free(copy);
    return 0;
}
