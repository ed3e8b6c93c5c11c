/* SPDX-License-Identifier: Apache-2.0 */
#include "support/test_allocator.h"

#include <stdlib.h>

/* The size stands in front of the block, so that free can check what it is told. */
#define FRONT 64

static void *test_alloc(void *argument, size_t size)
{
    test_allocator *self = argument;
    uint64_t call = atomic_fetch_add(&self->calls, 1) + 1;
    if (call == atomic_load(&self->fail_at)) {
        return NULL;
    }
    size_t *block = aligned_alloc(FRONT, (size + 2 * FRONT - 1) / FRONT * FRONT);
    if (block == NULL) {
        return NULL;
    }
    *block = size;
    atomic_fetch_add(&self->blocks, 1);
    atomic_fetch_add(&self->bytes, (int64_t)size);
    return (char *)block + FRONT;
}

static void test_free(void *argument, void *pointer, size_t size)
{
    test_allocator *self = argument;
    if (pointer == NULL) {
        return;
    }
    size_t *block = (void *)((char *)pointer - FRONT);
    if (*block != size) {
        atomic_fetch_add(&self->wrong_sizes, 1);
    }
    atomic_fetch_sub(&self->blocks, 1);
    atomic_fetch_sub(&self->bytes, (int64_t)*block);
    free(block);
}

aegis_allocator test_allocator_make(test_allocator *self)
{
    return (aegis_allocator){.alloc = test_alloc, .free = test_free, .self = self};
}
