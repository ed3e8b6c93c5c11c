/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/block.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64u
#define MAGIC_LIVE UINT64_C(0x6165676973626c6b)
#define MAGIC_DEAD UINT64_C(0x6465616462656566)

typedef struct block_header {
    _Alignas(ALIGNMENT) uint64_t magic;
    uint64_t size_bytes, tag, mapped_bytes; /* mapped_bytes: 0 when from malloc */
    const void *owner;
} block_header;

void *aegis_block_alloc(uint64_t size_bytes, uint64_t tag, const void *owner)
{
    void *memory = NULL;
    uint64_t mapped = 0;
    if (size_bytes > UINT64_MAX / 2) {
        return NULL;
    }
    uint64_t total =
        sizeof(block_header) + ((size_bytes + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1));
    if (posix_memalign(&memory, ALIGNMENT, total) != 0) {
        /* More than the machine grants by malloc; address space alone may still do. */
        memory = mmap(NULL, total, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            return NULL;
        }
        mapped = total;
    }
    block_header *header = memory;
    header->magic = MAGIC_LIVE;
    header->size_bytes = size_bytes;
    header->tag = tag;
    header->mapped_bytes = mapped;
    header->owner = owner;
    return header + 1;
}

bool aegis_block_free(void *block)
{
    if (block == NULL) {
        return true;
    }
    block_header *header = (block_header *)block - 1;
    if (header->magic != MAGIC_LIVE) {
        return false;
    }
    header->magic = MAGIC_DEAD;
    if (header->mapped_bytes != 0) {
        munmap(header, header->mapped_bytes);
    } else {
        free(header);
    }
    return true;
}

bool aegis_block_describe(const void *block,
                          uint64_t *ret_size,
                          uint64_t *ret_tag,
                          const void **ret_owner)
{
    const block_header *header = (const block_header *)block - 1;
    if (header->magic != MAGIC_LIVE) {
        return false;
    }
    *ret_size = header->size_bytes;
    *ret_tag = header->tag;
    *ret_owner = header->owner;
    return true;
}
