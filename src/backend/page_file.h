/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_PAGE_FILE_H
#define AEGIS_BACKEND_PAGE_FILE_H

/*
 * The weights of a paged model in one file, which is read back before a run. The file is named
 * after the SHA-256 of its bytes. Direct reads in blocks, past the page cache, so that what a read
 * takes does not depend on what the kernel happens to keep. Nothing here knows a particular
 * runtime.
 */

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEGIS_PAGE_BYTES UINT64_C(4096)            /* addresses and sizes are multiples of it */
#define AEGIS_PAGE_BLOCK_BYTES (UINT64_C(2) << 20) /* read, checked, and ended between */

struct iovec;
struct aegis_page_block;

typedef struct aegis_page_file {
    aegis_allocator allocator;
    int fd;      /* -1: none */
    bool direct; /* false: the file system has no direct reads; its cache is told to forget */
    uint64_t size_bytes;
    struct iovec *pieces; /* of memory, in the order of the file; none crosses a block */
    size_t piece_count;
    struct aegis_page_block *blocks;
    size_t block_count;
    char *path;
} aegis_page_file;

/* A file that is not there: close does nothing. */
void aegis_page_file_init(aegis_page_file *file);

/* Finds the file in `folder` that holds these ranges of memory one behind the other (whole pages,
 * borrowed until close), or writes it, then reads it back over them and checks it against its name.
 * ENGINE_DESERIALIZE when it was changed or cut short: then the memory is spoiled; IO, NO_MEMORY.
 */
aegis_status aegis_page_file_make(aegis_page_file *file,
                                  const char *folder,
                                  const aegis_bytes *ranges,
                                  size_t count,
                                  const aegis_allocator *allocator,
                                  aegis_error *err);
void aegis_page_file_close(aegis_page_file *file);

/* Reads the whole file back to those ranges, each block checked. Allocates nothing. `ended` is
 * asked before each block: then TERMINATED. IO; ENGINE_DESERIALIZE when bytes are others than at
 * make. `ret_bytes` counts what was read, on failure too. */
aegis_status aegis_page_file_read(const aegis_page_file *file,
                                  bool (*ended)(void *argument),
                                  void *argument,
                                  uint64_t *ret_bytes,
                                  aegis_error *err);

#endif
