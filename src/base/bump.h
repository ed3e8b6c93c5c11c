/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BASE_BUMP_H
#define AEGIS_BASE_BUMP_H

/* Many small blocks that die together: what a parser keeps. Not for device memory. */

#include <aegisrt/allocator.h>

#include <stddef.h>

typedef struct aegis_bump_chunk aegis_bump_chunk;

typedef struct aegis_bump {
    aegis_allocator allocator;
    aegis_bump_chunk *chunks; /* newest first */
} aegis_bump;

void aegis_bump_init(aegis_bump *bump, const aegis_allocator *allocator);
/* Gives everything back; the bump is empty and usable again. */
void aegis_bump_finish(aegis_bump *bump);

/* `count * size` zeroed bytes aligned for any type, or NULL when memory is short or the product
 * overflows. Lives until finish. */
void *aegis_bump_take(aegis_bump *bump, size_t count, size_t size);
/* A copy of `length` bytes of `text` with a NUL behind, or NULL. */
char *aegis_bump_text(aegis_bump *bump, const char *text, size_t length);

#endif
