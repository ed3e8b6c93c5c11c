/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_READER_H
#define AEGIS_TRANSFORMER_READER_H

/*
 * Reads of weights that leave nothing in the page cache: O_DIRECT, and where the file system
 * refuses that, ordinary reads whose pages are given back at once. The cache would be memory that
 * no budget sees.
 */

#include "backend/transformer/model/safetensors.h"

#include <stdbool.h>

#define AEGIS_READ_BLOCK 4096

typedef struct aegis_weight_reader {
    aegis_allocator allocator;
    uint32_t count;
    bool direct; /* all files */
    struct aegis_weight_reader_file {
        int fd;
        bool direct;
        uint64_t size_bytes;
        const char *path; /* borrowed */
    } *files;
} aegis_weight_reader;

/* Borrows `tensors` until close. IO, PERMISSION, NO_MEMORY. */
aegis_status aegis_weight_reader_open(aegis_weight_reader *reader,
                                      const aegis_safetensors *tensors,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
/* Of a zeroed one too. */
void aegis_weight_reader_close(aegis_weight_reader *reader);

/*
 * Reads [offset, offset + bytes) of a file; offset, bytes and `to` are multiples of
 * AEGIS_READ_BLOCK. The end of the file may lie inside the last block, nothing is written behind
 * it. IO (also when the file has become shorter). Any thread.
 */
aegis_status aegis_weight_read(const aegis_weight_reader *reader,
                               uint32_t file,
                               uint64_t offset,
                               uint64_t bytes,
                               void *to,
                               aegis_error *err);

/* Writable pages that are not touched yet, in whole blocks; large pages where the kernel has some.
 * NULL when memory is short. */
void *aegis_pages_map(uint64_t bytes);
void aegis_pages_unmap(void *pages, uint64_t bytes);

/* One stretch of weights that goes to a fixed place. */
typedef struct aegis_load_part {
    uint32_t file;
    uint64_t offset, bytes;
    uint8_t *to;
} aegis_load_part;

/*
 * Reads all parts with `threads` threads (1 to 16), each with a block of AEGIS_LOAD_BYTES of its
 * own while it works. On failure the contents of the places are undefined. IO, NO_MEMORY.
 */
#define AEGIS_LOAD_BYTES ((uint64_t)512 << 10)
aegis_status aegis_weight_load(const aegis_weight_reader *reader,
                               const aegis_load_part *parts,
                               uint32_t count,
                               uint32_t threads,
                               aegis_error *err);

#endif
