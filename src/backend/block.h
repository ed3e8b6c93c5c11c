/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_BLOCK_H
#define AEGIS_BACKEND_BLOCK_H

/* Blocks from the system with a header in front, so that a release finds what it needs from the
 * pointer alone: trial runs, loading, and what was never planned. Aligned to 64 bytes. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL only when not even address space is left. */
void *aegis_block_alloc(uint64_t size_bytes, uint64_t tag, const void *owner);
/* False, and nothing done, for a pointer without an intact header. NULL is fine. */
bool aegis_block_free(void *block);
/* Of a live block: as given to alloc. */
bool aegis_block_describe(const void *block,
                          uint64_t *ret_size,
                          uint64_t *ret_tag,
                          const void **ret_owner);

#endif
