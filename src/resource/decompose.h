/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_DECOMPOSE_H
#define AEGIS_RESOURCE_DECOMPOSE_H

/* Takes an instance apart into pieces that can be planned by themselves. */

#include <aegisrt/memory_plan.h>

#include <stddef.h>
#include <stdint.h>

/* Buffers [first, first + count) of the decomposition, to be planned above `base`. */
typedef struct aegis_part {
    size_t first, count;
    uint64_t base;
} aegis_part;

typedef struct aegis_decomposition {
    size_t count;
    aegis_plan_buffer *buffers; /* those of a part together, sorted by (lower, upper) */
    size_t *origin;             /* index in the caller's array */
    uint64_t *base;             /* of each buffer */
    uint64_t *offsets;          /* above its base; 0 for those that are settled */
    aegis_part *parts;
    size_t piece_count;
    uint64_t settled_height; /* of what needs no planning; no plan can be lower */
} aegis_decomposition;

/* NO_MEMORY. Finish it also after a failure. */
aegis_status aegis_decompose(const aegis_plan_buffer *buffers,
                             size_t count,
                             const aegis_allocator *allocator,
                             aegis_decomposition *ret_parts,
                             aegis_error *err);
void aegis_decomposition_finish(aegis_decomposition *d, const aegis_allocator *allocator);

/* The offsets in the caller's order. */
void aegis_decomposition_offsets(const aegis_decomposition *d, uint64_t *ret_offsets);

#endif
