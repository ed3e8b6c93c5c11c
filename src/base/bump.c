/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bump.h"

#include "base/base.h"

#include <stdalign.h>
#include <string.h>

#define CHUNK_BYTES ((size_t)8192)
#define ALIGNMENT alignof(max_align_t)

struct aegis_bump_chunk {
    aegis_bump_chunk *next;
    size_t size, used; /* of `bytes` */
    alignas(max_align_t) unsigned char bytes[];
};

void aegis_bump_init(aegis_bump *bump, const aegis_allocator *allocator)
{
    *bump = (aegis_bump){.allocator = *allocator};
}

void aegis_bump_finish(aegis_bump *bump)
{
    while (bump->chunks != NULL) {
        aegis_bump_chunk *chunk = bump->chunks;
        bump->chunks = chunk->next;
        bump->allocator.free(bump->allocator.self, chunk, sizeof *chunk + chunk->size);
    }
}

static aegis_bump_chunk *add_chunk(aegis_bump *bump, size_t bytes)
{
    size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES, total;
    if (__builtin_add_overflow(size, sizeof(aegis_bump_chunk), &total)) {
        return NULL;
    }
    aegis_bump_chunk *chunk = bump->allocator.alloc(bump->allocator.self, total);
    if (chunk != NULL) {
        *chunk = (aegis_bump_chunk){.next = bump->chunks, .size = size};
        bump->chunks = chunk;
    }
    return chunk;
}

void *aegis_bump_take(aegis_bump *bump, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, ALIGNMENT, &bytes)) {
        return NULL;
    }
    /* At least one unit, so that an empty array has an address of its own. */
    bytes = bytes / ALIGNMENT * ALIGNMENT;
    aegis_bump_chunk *chunk = bump->chunks;
    if (chunk == NULL || chunk->size - chunk->used < bytes) {
        chunk = add_chunk(bump, bytes);
    }
    if (chunk == NULL) {
        return NULL;
    }
    void *block = chunk->bytes + chunk->used;
    chunk->used += bytes;
    return memset(block, 0, bytes);
}

char *aegis_bump_text(aegis_bump *bump, const char *text, size_t length)
{
    char *copy = length == SIZE_MAX ? NULL : aegis_bump_take(bump, length + 1, 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
    }
    return copy;
}
