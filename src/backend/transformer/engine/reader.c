/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/reader.h"

#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HERE AEGIS_HERE("transformer.reader")

/* The same file again, with O_DIRECT where it is possible: /proc/self/fd names the very file that
 * was checked, whatever the path leads to by now. */
static aegis_status open_file(const aegis_safetensors_file *source,
                              struct aegis_weight_reader_file *ret_file,
                              aegis_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%d", source->fd);
    struct aegis_weight_reader_file made = {
        .direct = true, .size_bytes = source->size_bytes, .path = source->path};
    made.fd = open(name, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (made.fd < 0) {
        made.direct = false;
        made.fd = open(name, O_RDONLY | O_CLOEXEC);
    }
    if (made.fd < 0) {
        return aegis_error_set_native(err, HERE, AEGIS_ERROR_IO, errno,
                                      "%s cannot be opened for reading weights: %s", source->path,
                                      strerror(errno));
    }
    *ret_file = made;
    return AEGIS_OK;
}

aegis_status aegis_weight_reader_open(aegis_weight_reader *reader,
                                      const aegis_safetensors *tensors,
                                      const aegis_allocator *allocator,
                                      aegis_error *err)
{
    const uint32_t count = aegis_safetensors_file_count(tensors);
    aegis_weight_reader made = {.allocator = *allocator, .direct = true, .count = count};
    made.files = aegis_allocate_zeroed(allocator, count, sizeof *made.files);
    if (made.files == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %u open files",
                               count);
    }
    for (uint32_t i = 0; i < count; i++) {
        made.files[i].fd = -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        aegis_status status = open_file(aegis_safetensors_file_at(tensors, i), &made.files[i], err);
        if (status != AEGIS_OK) {
            aegis_weight_reader_close(&made);
            return status;
        }
        made.direct &= made.files[i].direct;
    }
    *reader = made;
    return AEGIS_OK;
}

void aegis_weight_reader_close(aegis_weight_reader *reader)
{
    for (uint32_t i = 0; reader->files != NULL && i < reader->count; i++) {
        if (reader->files[i].fd >= 0) {
            close(reader->files[i].fd);
        }
    }
    if (reader->files != NULL) {
        aegis_deallocate(&reader->allocator, reader->files, reader->count, sizeof *reader->files);
    }
    *reader = (aegis_weight_reader){0};
}

aegis_status aegis_weight_read(const aegis_weight_reader *reader,
                               uint32_t file,
                               uint64_t offset,
                               uint64_t bytes,
                               void *to,
                               aegis_error *err)
{
    const struct aegis_weight_reader_file *source = &reader->files[file];
    const uint64_t end = offset + bytes < source->size_bytes ? offset + bytes : source->size_bytes;
    uint64_t at = offset;
    while (at < end) {
        /* Whole blocks again after a short read: O_DIRECT wants its begin aligned. */
        const uint64_t begin = at / AEGIS_READ_BLOCK * AEGIS_READ_BLOCK;
        ssize_t got = pread(source->fd, (uint8_t *)to + (begin - offset),
                            (size_t)(offset + bytes - begin), (off_t)begin);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return aegis_error_set_native(err, HERE, AEGIS_ERROR_IO, errno,
                                          "%s: reading %" PRIu64 " bytes at %" PRIu64 ": %s",
                                          source->path, bytes, offset, strerror(errno));
        }
        if (begin + (uint64_t)got <= at) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_IO,
                                   "%s ends at byte %" PRIu64 ", it had %" PRIu64
                                   " when it was opened; it must not change while it is used",
                                   source->path, begin + (uint64_t)got, source->size_bytes);
        }
        at = begin + (uint64_t)got;
    }
    if (!source->direct) {
        posix_fadvise(source->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
    }
    return AEGIS_OK;
}

void *aegis_pages_map(uint64_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX / 2) {
        return NULL;
    }
    void *pages =
        mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return NULL;
    }
    /* Advice alone; without large pages it is slower by a few percent. */
    (void)madvise(pages, (size_t)bytes, MADV_HUGEPAGE);
    return pages;
}

void aegis_pages_unmap(void *pages, uint64_t bytes)
{
    if (pages != NULL) {
        munmap(pages, (size_t)bytes);
    }
}
