/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "trace/file.h"
#include "trace/format.h"

/* The largest file that is read; more does not fit the memory of the machines this is for. */
#define MOST_FILE_BYTES (UINT64_C(16) << 30)

typedef struct reader {
    const uint8_t *bytes;
    size_t size, offset;
    trace_chunk chunk;      /* the current one */
    const uint8_t *payload; /* its payload, `payload_bytes` long */
    size_t payload_bytes;
    bool is_checked; /* a pass before has compared the checksums of the payloads */
} reader;

/* What the first pass finds out, before anything is allocated. */
typedef struct survey {
    const uint8_t *header;
    size_t header_bytes;
    size_t rings, records;
    bool complete;
} survey;

#define PARSE_ERROR(err, ...) \
    aegis_error_set((err), AEGIS_HERE("trace.parse"), AEGIS_ERROR_PARSE, __VA_ARGS__)

static aegis_status read_head(reader *in, aegis_error *err)
{
    trace_file_head head;
    if (in->size < sizeof head) {
        return PARSE_ERROR(err,
                           "offset 0: a trace file begins with %zu bytes of head, there are %zu",
                           sizeof head, in->size);
    }
    memcpy(&head, in->bytes, sizeof head);
    if (memcmp(head.magic, TRACE_MAGIC, sizeof head.magic) != 0) {
        return PARSE_ERROR(err, "offset 0: no trace file: it does not begin with %s", TRACE_MAGIC);
    }
    if (head.checksum != aegis_trace_head_checksum(&head)) {
        return PARSE_ERROR(err, "offset 0: the head of the trace file is damaged (checksum)");
    }
    if (head.version != TRACE_VERSION || head.record_bytes != sizeof(aegis_trace_record)) {
        return PARSE_ERROR(
            err,
            "offset 8: trace version %u with records of %u bytes; this program reads "
            "version %u with %zu: use the aegisrt that wrote it",
            head.version, head.record_bytes, TRACE_VERSION, sizeof(aegis_trace_record));
    }
    in->offset = sizeof head;
    return AEGIS_OK;
}

/* Reads the next chunk and leaves the offset behind it. `ret_more` false: the bytes end here, in a
 * whole chunk or (the writer died) in a torn one. */
static aegis_status next_chunk(reader *in, bool *ret_more, aegis_error *err)
{
    size_t at = in->offset, left = in->size - at;
    if (left < sizeof in->chunk) {
        *ret_more = false;
        return AEGIS_OK;
    }
    trace_chunk *chunk = &in->chunk;
    memcpy(chunk, in->bytes + at, sizeof *chunk);
    if (chunk->checksum != aegis_trace_chunk_checksum(chunk)) {
        return PARSE_ERROR(err, "offset %zu: the head of a trace block is damaged (checksum)", at);
    }
    uint64_t payload_bytes = aegis_trace_payload_bytes(chunk);
    if (left - sizeof *chunk < payload_bytes) {
        *ret_more = false;
        return AEGIS_OK;
    }
    in->payload = in->bytes + at + sizeof *chunk;
    in->payload_bytes = (size_t)payload_bytes;
    if (!in->is_checked &&
        chunk->payload_checksum !=
            aegis_trace_checksum(TRACE_CHECKSUM_START, in->payload, in->payload_bytes)) {
        return PARSE_ERROR(err, "offset %zu: %zu bytes of a trace block are damaged (checksum)",
                           at + sizeof *chunk, in->payload_bytes);
    }
    in->offset = at + sizeof *chunk + in->payload_bytes;
    *ret_more = true;
    return AEGIS_OK;
}

static aegis_status survey_header(const reader *in, survey *found, aegis_error *err)
{
    (void)err;
    found->header = in->payload;
    found->header_bytes = in->payload_bytes;
    return AEGIS_OK;
}

static aegis_status survey_name(const reader *in, survey *found, aegis_error *err)
{
    if (in->chunk.ring != found->rings || found->rings > UINT16_MAX) {
        return PARSE_ERROR(err, "before offset %zu: ring %u is named where ring %zu was expected",
                           in->offset, in->chunk.ring, found->rings);
    }
    json_t *text = json_stringn((const char *)in->payload, in->payload_bytes);
    if (text == NULL || memchr(in->payload, 0, in->payload_bytes) != NULL) {
        json_decref(text);
        return PARSE_ERROR(err, "before offset %zu: the name of ring %zu is no UTF-8", in->offset,
                           found->rings);
    }
    json_decref(text);
    found->rings++;
    return AEGIS_OK;
}

static aegis_status survey_records(const reader *in, survey *found, aegis_error *err)
{
    if (in->chunk.ring >= found->rings || in->chunk.count == 0) {
        return PARSE_ERROR(err,
                           "before offset %zu: a block of %u records of ring %u, which has no name",
                           in->offset, in->chunk.count, in->chunk.ring);
    }
    found->records += in->chunk.count;
    return AEGIS_OK;
}

static aegis_status survey_totals(const reader *in, survey *found, aegis_error *err)
{
    if (in->offset != in->size || in->chunk.count != found->rings) {
        return PARSE_ERROR(err,
                           "before offset %zu: totals of %u rings where those of %zu end the file "
                           "(%zu bytes follow)",
                           in->offset, in->chunk.count, found->rings, in->size - in->offset);
    }
    found->complete = true;
    return AEGIS_OK;
}

static aegis_status survey_chunk(const reader *in, survey *found, aegis_error *err)
{
    if (found->header == NULL && in->chunk.tag != TRACE_TAG_HEADER) {
        return PARSE_ERROR(err, "offset %zu: the first block must be the header",
                           sizeof(trace_file_head));
    }
    switch (in->chunk.tag) {
    case TRACE_TAG_HEADER:
        return survey_header(in, found, err);
    case TRACE_TAG_NAME:
        return survey_name(in, found, err);
    case TRACE_TAG_RECORDS:
        return survey_records(in, found, err);
    case TRACE_TAG_TOTALS:
        return survey_totals(in, found, err);
    default:
        return PARSE_ERROR(err, "before offset %zu: unknown kind of block 0x%08x", in->offset,
                           in->chunk.tag);
    }
}

static aegis_status survey_file(reader *in, survey *found, aegis_error *err)
{
    aegis_status status = read_head(in, err);
    for (bool more = true; status == AEGIS_OK && more;) {
        status = next_chunk(in, &more, err);
        if (status == AEGIS_OK && more) {
            status = survey_chunk(in, found, err);
        }
    }
    if (status == AEGIS_OK && found->header == NULL) {
        return PARSE_ERROR(err, "offset %zu: the file ends (at %zu) inside its header", in->offset,
                           in->size);
    }
    return status;
}

/* Later passes see only what the first has checked. */
static bool next_checked(reader *in)
{
    bool more = false;
    return next_chunk(in, &more, NULL) == AEGIS_OK && more;
}

static aegis_status add_rings(reader in, aegis_trace_file *file, size_t *counts, aegis_error *err)
{
    for (reader scan = in; next_checked(&scan);) {
        if (scan.chunk.tag == TRACE_TAG_RECORDS) {
            counts[scan.chunk.ring] += scan.chunk.count;
        }
    }
    while (next_checked(&in)) {
        if (in.chunk.tag == TRACE_TAG_NAME) {
            aegis_status status = aegis_trace_file_add_ring(
                file, (const char *)in.payload, in.payload_bytes, counts[in.chunk.ring], err);
            if (status != AEGIS_OK) {
                return status;
            }
        }
    }
    return AEGIS_OK;
}

/* Checks the numbers of a block of records against `*next`, the number that its ring is at, and
 * counts the gaps. Numbers are modulo 2^32. */
static aegis_status
check_sequence(const reader *in, uint32_t *next, uint64_t *gaps, aegis_error *err)
{
    size_t start = in->offset - in->payload_bytes;
    for (uint32_t i = 0; i < in->chunk.count; i++) {
        size_t offset = start + i * sizeof(aegis_trace_record);
        aegis_trace_record record;
        memcpy(&record, in->bytes + offset, sizeof record);
        uint32_t gap = record.sequence - *next;
        bool is_first_right = i > 0 || record.sequence == in->chunk.sequence;
        if (record.ring != in->chunk.ring || !is_first_right || gap > INT32_MAX) {
            return PARSE_ERROR(err,
                               "offset %zu: record %u of ring %u where record %u of ring %u or a "
                               "later one was expected",
                               offset, record.sequence, record.ring, *next, in->chunk.ring);
        }
        *gaps += gap;
        *next = record.sequence + 1;
    }
    return AEGIS_OK;
}

static aegis_status add_totals(const reader *in, aegis_trace_file *file, aegis_error *err)
{
    for (size_t i = 0; i < file->ring_count; i++) {
        trace_totals totals;
        memcpy(&totals, in->payload + i * sizeof totals, sizeof totals);
        if (totals.written != file->rings[i].count) {
            return PARSE_ERROR(
                err,
                "before offset %zu: the totals say %llu records of ring %s, the file "
                "holds %zu",
                in->offset, (unsigned long long)totals.written, file->rings[i].name,
                file->rings[i].count);
        }
        file->rings[i].dropped = totals.dropped;
    }
    return AEGIS_OK;
}

static aegis_status add_records(reader in, aegis_trace_file *file, uint32_t *next, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && next_checked(&in)) {
        uint32_t ring = in.chunk.ring;
        if (in.chunk.tag == TRACE_TAG_RECORDS) {
            status = check_sequence(&in, &next[ring], &file->rings[ring].dropped, err);
            aegis_trace_file_add_records(file, ring, in.payload, in.chunk.count);
        } else if (in.chunk.tag == TRACE_TAG_TOTALS) {
            status = add_totals(&in, file, err);
        }
    }
    for (size_t i = 0; i < file->ring_count; i++) {
        uint64_t dropped = file->rings[i].dropped;
        if (__builtin_add_overflow(file->dropped, dropped, &file->dropped)) {
            file->dropped = UINT64_MAX;
        }
    }
    return status;
}

static aegis_status fill(const reader *start, aegis_trace_file *file, aegis_error *err)
{
    size_t rings = file->ring_capacity;
    size_t *counts = aegis_allocate_zeroed(&file->allocator, rings, sizeof *counts);
    uint32_t *next = aegis_allocate_zeroed(&file->allocator, rings, sizeof *next);
    aegis_status status;
    if (counts == NULL || next == NULL) {
        status = aegis_error_set(err, AEGIS_HERE("trace.parse"), AEGIS_ERROR_NO_MEMORY,
                                 "no memory to count the records of %zu rings", rings);
    } else {
        status = add_rings(*start, file, counts, err);
        status = status == AEGIS_OK ? add_records(*start, file, next, err) : status;
        status = status == AEGIS_OK ? aegis_trace_file_seal(file, err) : status;
    }
    aegis_deallocate(&file->allocator, counts, rings, sizeof *counts);
    aegis_deallocate(&file->allocator, next, rings, sizeof *next);
    return status;
}

aegis_status aegis_trace_file_parse(const void *bytes,
                                    size_t size,
                                    const aegis_allocator *allocator,
                                    aegis_trace_file **ret_file,
                                    aegis_error *err)
{
    reader in = {.bytes = bytes, .size = size};
    survey found = {0};
    aegis_status status = survey_file(&in, &found, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_trace_file *file;
    status = aegis_trace_file_new(allocator, (const char *)found.header, found.header_bytes,
                                  found.rings, found.records, &file, err);
    if (status != AEGIS_OK) {
        return status;
    }
    file->complete = found.complete;
    in.offset = sizeof(trace_file_head);
    in.is_checked = true;
    status = fill(&in, file, err);
    if (status != AEGIS_OK) {
        aegis_trace_file_close(file);
        return status;
    }
    *ret_file = file;
    return AEGIS_OK;
}

aegis_status aegis_trace_file_open(const char *path,
                                   const aegis_allocator *allocator,
                                   aegis_trace_file **ret_file,
                                   aegis_error *err)
{
    char *bytes;
    size_t size;
    aegis_status status = aegis_file_read(path, MOST_FILE_BYTES, allocator, &bytes, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_trace_file_parse(bytes, size, allocator, ret_file, err);
    aegis_file_free(allocator, bytes, size);
    if (status != AEGIS_OK) {
        aegis_error_prefix(err, "%s", path);
    }
    return status;
}
