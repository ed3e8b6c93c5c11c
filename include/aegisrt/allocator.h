/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_ALLOCATOR_H
#define AEGISRT_ALLOCATOR_H

/** @file allocator.h Where host memory comes from. Passed at create; there is no global one. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A source of host memory. Copied by value into the objects that use it. */
typedef struct aegis_allocator {
    /** Returns `size` bytes aligned for any type, or NULL. `size` > 0. Any thread. */
    void *(*alloc)(void *self, size_t size);
    /** Gives back what alloc returned; `size` is the size asked for. NULL is fine. Any thread. */
    void (*free)(void *self, void *pointer, size_t size);
    void *self;
} aegis_allocator;

/** malloc and free. */
aegis_allocator aegis_allocator_default(void);

/** `count * size` zeroed bytes, or NULL when memory is short or the product overflows. */
void *aegis_allocate_zeroed(const aegis_allocator *allocator, size_t count, size_t size);

/** Gives back what aegis_allocate_zeroed returned, with the same count and size. NULL is fine. */
void aegis_deallocate(const aegis_allocator *allocator, void *pointer, size_t count, size_t size);

#ifdef __cplusplus
}
#endif
#endif
