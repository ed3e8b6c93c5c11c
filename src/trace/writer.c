/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Keeps the first failure and cuts the torn chunk off, as far as the system lets us. */
static bool keep_failure(trace_writer *writer, int code)
{
    char text[128];
    aegis_error_set_native(&writer->error, AEGIS_HERE("trace.writer"), AEGIS_ERROR_IO, code,
                           "writing the trace file failed after %llu bytes: %s; later records are "
                           "lost, free some space or choose another path",
                           (unsigned long long)writer->offset, strerror_r(code, text, sizeof text));
    /* A file that cannot be cut keeps a torn tail, which readers skip. */
    int cut = ftruncate(writer->fd, (off_t)writer->offset);
    (void)cut;
    return false;
}

/* Drops the first `bytes` bytes of the pieces. */
static void advance(struct iovec *pieces, size_t count, size_t bytes)
{
    for (size_t i = 0; i < count && bytes > 0; i++) {
        size_t step = bytes < pieces[i].iov_len ? bytes : pieces[i].iov_len;
        pieces[i].iov_base = (char *)pieces[i].iov_base + step;
        pieces[i].iov_len -= step;
        bytes -= step;
    }
}

static bool write_all(trace_writer *writer, struct iovec *pieces, size_t count)
{
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        left += pieces[i].iov_len;
    }
    size_t total = left;
    while (left > 0) {
        ssize_t written = writev(writer->fd, pieces, (int)count);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return keep_failure(writer, written < 0 ? errno : ENOSPC);
        }
        advance(pieces, count, (size_t)written);
        left -= (size_t)written;
    }
    writer->offset += total;
    return true;
}

static struct iovec piece(const void *bytes, size_t size)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
}

/* Fills in the chunk's checksums and writes it with its payload, which lies in two pieces. */
static bool
write_chunk(trace_writer *writer, trace_chunk *chunk, struct iovec first, struct iovec second)
{
    if (writer->fd < 0) {
        return true;
    }
    if (writer->error.status != AEGIS_OK) {
        return false;
    }
    uint64_t state = aegis_trace_checksum(TRACE_CHECKSUM_START, first.iov_base, first.iov_len);
    chunk->payload_checksum = aegis_trace_checksum(state, second.iov_base, second.iov_len);
    chunk->checksum = aegis_trace_chunk_checksum(chunk);
    struct iovec pieces[] = {piece(chunk, sizeof *chunk), first, second};
    return write_all(writer, pieces, 3);
}

aegis_status aegis_trace_writer_open(trace_writer *writer, const char *path, aegis_error *err)
{
    *writer = (trace_writer){.fd = -1};
    if (path == NULL) {
        return AEGIS_OK;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        int code = errno;
        char text[128];
        return aegis_error_set_native(err, AEGIS_HERE("trace.writer"), AEGIS_ERROR_IO, code,
                                      "cannot make the trace file %s: %s", path,
                                      strerror_r(code, text, sizeof text));
    }
    writer->fd = fd;
    trace_file_head head = {.version = TRACE_VERSION, .record_bytes = sizeof(aegis_trace_record)};
    memcpy(head.magic, TRACE_MAGIC, sizeof head.magic);
    head.checksum = aegis_trace_head_checksum(&head);
    struct iovec pieces[] = {piece(&head, sizeof head)};
    if (!write_all(writer, pieces, 1)) {
        return aegis_trace_writer_close(writer, err);
    }
    return AEGIS_OK;
}

bool aegis_trace_writer_header(trace_writer *writer, const char *json)
{
    size_t size = strlen(json);
    trace_chunk chunk = {.tag = TRACE_TAG_HEADER, .count = (uint32_t)size};
    return write_chunk(writer, &chunk, piece(json, size), piece(NULL, 0));
}

bool aegis_trace_writer_name(trace_writer *writer, uint32_t ring, const char *name)
{
    size_t size = strlen(name);
    trace_chunk chunk = {.tag = TRACE_TAG_NAME, .ring = ring, .count = (uint32_t)size};
    return write_chunk(writer, &chunk, piece(name, size), piece(NULL, 0));
}

bool aegis_trace_writer_records(trace_writer *writer, uint32_t ring, const trace_span *span)
{
    trace_chunk chunk = {.tag = TRACE_TAG_RECORDS,
                         .ring = ring,
                         .count = (uint32_t)(span->counts[0] + span->counts[1]),
                         .sequence = span->records[0]->sequence};
    return write_chunk(writer, &chunk,
                       piece(span->records[0], span->counts[0] * sizeof(aegis_trace_record)),
                       piece(span->records[1], span->counts[1] * sizeof(aegis_trace_record)));
}

bool aegis_trace_writer_totals(trace_writer *writer, const trace_totals *rings, uint32_t count)
{
    trace_chunk chunk = {.tag = TRACE_TAG_TOTALS, .count = count};
    return write_chunk(writer, &chunk, piece(rings, count * sizeof *rings), piece(NULL, 0));
}

aegis_status aegis_trace_writer_close(trace_writer *writer, aegis_error *err)
{
    if (writer->fd >= 0) {
        int fd = writer->fd;
        if (close(fd) != 0 && writer->error.status == AEGIS_OK) {
            int code = errno;
            char text[128];
            aegis_error_set_native(&writer->error, AEGIS_HERE("trace.writer"), AEGIS_ERROR_IO, code,
                                   "closing the trace file failed: %s",
                                   strerror_r(code, text, sizeof text));
        }
        writer->fd = -1;
    }
    return aegis_trace_writer_status(writer, err);
}

aegis_status aegis_trace_writer_status(const trace_writer *writer, aegis_error *err)
{
    if (writer->error.status != AEGIS_OK && err != NULL) {
        *err = writer->error;
    }
    return writer->error.status;
}
