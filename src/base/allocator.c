/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void *default_alloc(void *self, size_t size)
{
    (void)self;
    return malloc(size);
}

static void default_free(void *self, void *pointer, size_t size)
{
    (void)self;
    (void)size;
    free(pointer);
}

aegis_allocator aegis_allocator_default(void)
{
    return (aegis_allocator){.alloc = default_alloc, .free = default_free};
}

void *aegis_allocate_zeroed(const aegis_allocator *allocator, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        return NULL;
    }
    if (bytes == 0) {
        bytes = 1;
    }
    void *pointer = allocator->alloc(allocator->self, bytes);
    if (pointer != NULL) {
        memset(pointer, 0, bytes);
    }
    return pointer;
}

void aegis_deallocate(const aegis_allocator *allocator, void *pointer, size_t count, size_t size)
{
    if (pointer != NULL) {
        size_t bytes = count * size;
        allocator->free(allocator->self, pointer, bytes == 0 ? 1 : bytes);
    }
}

void aegis_heap_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
