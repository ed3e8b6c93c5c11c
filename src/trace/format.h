/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_FORMAT_H
#define AEGIS_TRACE_FORMAT_H

/* The native trace file, little endian:
 *
 *   trace_file_head, then chunks, each a trace_chunk followed by its payload:
 *     HEAD  `count` bytes of JSON. The first chunk; a later one replaces it.
 *     NAME  `count` bytes, the name of ring `ring`; before the first RECS of that ring. Rings are
 *           named in the order of their numbers.
 *     RECS  `count` records of ring `ring`, in written order; the first has number `sequence`.
 *     DONE  trace_totals for each of `count` rings. The last chunk; absent when the writer died.
 *
 * The chunk's own checksum lets the reader tell a chunk that was cut short (accepted: the writer
 * died) from one whose length is damaged (refused). */

#include <aegisrt/trace.h>

#include <stdint.h>
#include <string.h>

#define TRACE_MAGIC "AEGISTRC"
#define TRACE_VERSION 1u

enum {
    TRACE_TAG_HEADER = 0x44414548,  /* "HEAD" */
    TRACE_TAG_NAME = 0x454d414e,    /* "NAME" */
    TRACE_TAG_RECORDS = 0x53434552, /* "RECS" */
    TRACE_TAG_TOTALS = 0x454e4f44   /* "DONE" */
};

typedef struct trace_file_head {
    char magic[8];
    uint32_t version;
    uint32_t record_bytes;
    uint64_t reserved;
    uint64_t checksum; /* of the bytes before it */
} trace_file_head;

typedef struct trace_chunk {
    uint32_t tag;
    uint32_t ring;
    uint32_t count;
    uint32_t sequence;
    uint64_t payload_checksum;
    uint64_t checksum; /* of the bytes before it */
} trace_chunk;

typedef struct trace_totals {
    uint64_t written, dropped;
} trace_totals;

_Static_assert(sizeof(aegis_trace_record) == 64, "a record is 64 bytes in files");
_Static_assert(sizeof(trace_file_head) == 32 && sizeof(trace_chunk) == 32, "no padding in files");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files hold records as memory does");

#define TRACE_CHECKSUM_START UINT64_C(0x9e3779b97f4a7c15)

/* Continues a checksum over `size` bytes. Each step is a bijection of the 64-bit state for a given
 * word and of the word for a given state, so that no single damaged word can go unseen. Word-wise,
 * because a drain thread shares the cores with the lanes. */
static inline uint64_t aegis_trace_checksum(uint64_t state, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    for (; size > 0; size -= size < 8 ? size : 8, at += 8) {
        uint64_t word = 0;
        memcpy(&word, at, size < 8 ? size : 8);
        state = (state ^ word) * UINT64_C(0xff51afd7ed558ccd);
        state ^= state >> 32;
    }
    return state;
}

static inline uint64_t aegis_trace_chunk_checksum(const trace_chunk *chunk)
{
    return aegis_trace_checksum(TRACE_CHECKSUM_START, chunk, offsetof(trace_chunk, checksum));
}

static inline uint64_t aegis_trace_head_checksum(const trace_file_head *head)
{
    return aegis_trace_checksum(TRACE_CHECKSUM_START, head, offsetof(trace_file_head, checksum));
}

/* Bytes of the payload that a chunk announces; 0 for a tag that does not exist. */
static inline uint64_t aegis_trace_payload_bytes(const trace_chunk *chunk)
{
    switch (chunk->tag) {
    case TRACE_TAG_HEADER:
    case TRACE_TAG_NAME:
        return chunk->count;
    case TRACE_TAG_RECORDS:
        return (uint64_t)chunk->count * sizeof(aegis_trace_record);
    case TRACE_TAG_TOTALS:
        return (uint64_t)chunk->count * sizeof(trace_totals);
    default:
        return 0;
    }
}

#endif
