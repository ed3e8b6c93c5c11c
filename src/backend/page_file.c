/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/page_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define COMPONENT "backend.page_file"
#define LANES 8
#define MAX_READS 4 /* of one block, when the kernel gives it in part */

typedef struct aegis_page_block {
    size_t first, count; /* pieces */
    uint64_t at, size;   /* in the file */
    uint64_t sum;
} aegis_page_block;

void aegis_page_file_init(aegis_page_file *file)
{
    *file = (aegis_page_file){.fd = -1};
}

static void finish(aegis_page_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    aegis_deallocate(&file->allocator, file->pieces, file->piece_count, sizeof *file->pieces);
    aegis_deallocate(&file->allocator, file->blocks, file->block_count, sizeof *file->blocks);
    aegis_free_text(&file->allocator, file->path);
    aegis_page_file_init(file);
}

void aegis_page_file_close(aegis_page_file *file)
{
    if (file->fd >= 0) {
        finish(file);
    }
}

static aegis_status failed(const char *what, const char *path, int code, aegis_error *err)
{
    return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                  "cannot %s %s: %s", what, path, strerror(code));
}

static aegis_status differs(const char *path, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                           "%s, which holds weights that are paged, has been changed since it was "
                           "written; remove it, and it is made anew at the next start",
                           path);
}

/* ---- pieces and blocks ---- */

/* Cuts the ranges at the ends of blocks; returns how many pieces that makes. */
static size_t cut(const aegis_bytes *ranges, size_t count, struct iovec *pieces)
{
    uint64_t at = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t done = 0; done < ranges[i].size;) {
            uint64_t room = AEGIS_PAGE_BLOCK_BYTES - at % AEGIS_PAGE_BLOCK_BYTES;
            uint64_t left = ranges[i].size - done, size = left < room ? left : room;
            if (pieces != NULL) {
                pieces[used] = (struct iovec){
                    .iov_base = (unsigned char *)(uintptr_t)ranges[i].bytes + done, /* NOLINT */
                    .iov_len = size};
            }
            used++;
            done += size;
            at += size;
        }
    }
    return used;
}

static void make_blocks(aegis_page_file *file)
{
    size_t next = 0;
    for (size_t i = 0; i < file->block_count; i++) {
        aegis_page_block *block = &file->blocks[i];
        *block = (aegis_page_block){.first = next, .at = i * AEGIS_PAGE_BLOCK_BYTES};
        while (next < file->piece_count && block->size < AEGIS_PAGE_BLOCK_BYTES) {
            block->size += file->pieces[next++].iov_len;
        }
        block->count = next - block->first;
    }
}

static bool lay_out(aegis_page_file *file, const aegis_bytes *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        file->size_bytes += ranges[i].size;
    }
    file->piece_count = cut(ranges, count, NULL);
    file->block_count = (file->size_bytes + AEGIS_PAGE_BLOCK_BYTES - 1) / AEGIS_PAGE_BLOCK_BYTES;
    file->pieces = aegis_allocate_zeroed(&file->allocator, file->piece_count, sizeof *file->pieces);
    file->blocks = aegis_allocate_zeroed(&file->allocator, file->block_count, sizeof *file->blocks);
    if (file->pieces == NULL || file->blocks == NULL) {
        return false;
    }
    cut(ranges, count, file->pieces);
    make_blocks(file);
    return true;
}

/* ---- sums ---- */

/* Sums of words and sums of those sums (Fletcher 1982, 64 bits wide, eight lanes side by side): one
 * changed word, or two that changed places, change it. Against accidents; the SHA-256 of the name
 * was checked when the file was opened. As fast as the memory. */
static uint64_t sum_of(const aegis_page_file *file, const aegis_page_block *block)
{
    uint64_t first[LANES] = {0}, second[LANES] = {0}, total = 0;
    for (size_t p = block->first; p < block->first + block->count; p++) {
        const uint64_t *words = file->pieces[p].iov_base;
        for (size_t i = 0; i < file->pieces[p].iov_len / sizeof *words; i += LANES) {
            for (size_t k = 0; k < LANES; k++) {
                first[k] += words[i + k];
                second[k] += first[k];
            }
        }
    }
    for (int k = 0; k < LANES; k++) {
        total = total * UINT64_C(0x9e3779b97f4a7c15) + first[k];
        total = total * UINT64_C(0xbf58476d1ce4e5b9) + second[k];
    }
    return total;
}

/* ---- reading ---- */

static aegis_status
read_block(const aegis_page_file *file, const aegis_page_block *block, aegis_error *err)
{
    ssize_t got = -1;
    for (int reads = 0; reads < MAX_READS && got != (ssize_t)block->size; reads++) {
        got = preadv(file->fd, file->pieces + block->first, (int)block->count, (off_t)block->at);
        if (got < 0 && errno != EINTR) {
            return failed("read", file->path, errno, err);
        }
    }
    if (got != (ssize_t)block->size) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                               "%s gave %zd of the %" PRIu64 " bytes at %" PRIu64
                               ": it was cut short; remove it, and it is made anew at the next "
                               "start",
                               file->path, got, block->size, block->at);
    }
    if (!file->direct) {
        posix_fadvise(file->fd, (off_t)block->at, (off_t)block->size, POSIX_FADV_DONTNEED);
    }
    return AEGIS_OK;
}

aegis_status aegis_page_file_read(const aegis_page_file *file,
                                  bool (*ended)(void *argument),
                                  void *argument,
                                  uint64_t *ret_bytes,
                                  aegis_error *err)
{
    *ret_bytes = 0;
    for (size_t i = 0; i < file->block_count; i++) {
        const aegis_page_block *block = &file->blocks[i];
        if (ended(argument)) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TERMINATED,
                                   "ended after %" PRIu64 " of %" PRIu64 " bytes were read",
                                   *ret_bytes, file->size_bytes);
        }
        aegis_status status = read_block(file, block, err);
        if (status != AEGIS_OK) {
            return status;
        }
        *ret_bytes += block->size;
        if (sum_of(file, block) != block->sum) {
            return differs(file->path, err);
        }
    }
    return AEGIS_OK;
}

/* ---- making ---- */

/* Hash of the memory, and the sums of the blocks. */
static aegis_status
measure(aegis_page_file *file, char ret_hash[AEGIS_SHA256_HEX_BYTES], aegis_error *err)
{
    aegis_sha256 hash = {NULL};
    aegis_status status = aegis_sha256_start(&hash, err);
    for (size_t i = 0; status == AEGIS_OK && i < file->piece_count; i++) {
        status = aegis_sha256_add(&hash, file->pieces[i].iov_base, file->pieces[i].iov_len, err);
    }
    for (size_t i = 0; status == AEGIS_OK && i < file->block_count; i++) {
        file->blocks[i].sum = sum_of(file, &file->blocks[i]);
    }
    if (status == AEGIS_OK) {
        status = aegis_sha256_finish(&hash, ret_hash, err);
    }
    aegis_sha256_end(&hash);
    return status;
}

/* With direct reads where the file system has them. */
static aegis_status open_file(aegis_page_file *file, aegis_error *err)
{
    struct stat info;
    file->direct = true;
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (file->fd < 0 && errno == EINVAL) {
        file->direct = false;
        file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
    }
    if (file->fd < 0) {
        return failed("open", file->path, errno, err);
    }
    if (fstat(file->fd, &info) != 0 || !S_ISREG(info.st_mode) ||
        (uint64_t)info.st_size != file->size_bytes) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_ENGINE_DESERIALIZE,
                               "%s is no file of %" PRIu64
                               " bytes; remove it, and it is made anew at the next start",
                               file->path, file->size_bytes);
    }
    /* What writing it left in the page cache. */
    posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    return AEGIS_OK;
}

/* What is read back is hashed, not only summed: the name promises that. */
static aegis_status check(aegis_page_file *file, const char *hash, aegis_error *err)
{
    char found[AEGIS_SHA256_HEX_BYTES];
    for (size_t i = 0; i < file->block_count; i++) {
        aegis_status status = read_block(file, &file->blocks[i], err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    aegis_status status = measure(file, found, err);
    return status == AEGIS_OK && strcmp(found, hash) != 0 ? differs(file->path, err) : status;
}

static aegis_status make(aegis_page_file *file,
                         const char *folder,
                         const aegis_bytes *ranges,
                         size_t count,
                         aegis_error *err)
{
    char hash[AEGIS_SHA256_HEX_BYTES], path[4096];
    struct stat info;
    aegis_status status = measure(file, hash, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if ((size_t)snprintf(path, sizeof path, "%s/image-%s.bin", folder, hash) >= sizeof path) {
        return failed("name a file in", folder, ENAMETOOLONG, err);
    }
    file->path = aegis_copy_text(&file->allocator, path);
    if (file->path == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a path");
    }
    if (stat(path, &info) != 0) {
        status = aegis_file_write_parts(path, ranges, count, err);
    }
    if (status == AEGIS_OK) {
        status = open_file(file, err);
    }
    return status == AEGIS_OK ? check(file, hash, err) : status;
}

aegis_status aegis_page_file_make(aegis_page_file *file,
                                  const char *folder,
                                  const aegis_bytes *ranges,
                                  size_t count,
                                  const aegis_allocator *allocator,
                                  aegis_error *err)
{
    aegis_page_file made = {.allocator = *allocator, .fd = -1};
    aegis_status status =
        lay_out(&made, ranges, count)
            ? make(&made, folder, ranges, count, err)
            : aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                              "no memory for the table of %" PRIu64 " paged bytes",
                              made.size_bytes);
    if (status != AEGIS_OK) {
        finish(&made);
        return status;
    }
    *file = made;
    return AEGIS_OK;
}
