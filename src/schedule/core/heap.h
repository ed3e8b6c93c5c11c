/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_CORE_HEAP_H
#define AEGIS_SCHEDULE_CORE_HEAP_H

/* An indexed binary heap of numbers over memory of the caller. `positions` says where an item
 * stands, so that any item can be moved or taken out in O(log n). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEGIS_HEAP_ABSENT UINT32_MAX

/* Whether item `a` stands before item `b`: a strict total order. */
typedef bool (*aegis_core_before)(const void *context, uint32_t a, uint32_t b);

typedef struct aegis_core_heap {
    uint32_t *items;
    uint32_t *positions; /* by item; heaps that never share an item may share these */
    uint32_t count;
    aegis_core_before before;
    const void *context;
} aegis_core_heap;

void aegis_core_heap_push(aegis_core_heap *heap, uint32_t item);
void aegis_core_heap_remove(aegis_core_heap *heap, uint32_t item);
/* Restores the order after the rank of `item` changed. */
void aegis_core_heap_update(aegis_core_heap *heap, uint32_t item);
/* The second smallest item, or AEGIS_HEAP_ABSENT. */
uint32_t aegis_core_heap_second(const aegis_core_heap *heap);

#endif
