/* SPDX-License-Identifier: Apache-2.0 */
#include "heap.h"

static void place(aegis_core_heap *heap, uint32_t position, uint32_t item)
{
    heap->items[position] = item;
    heap->positions[item] = position;
}

static void rise(aegis_core_heap *heap, uint32_t position)
{
    uint32_t item = heap->items[position];
    while (position > 0) {
        uint32_t parent = (position - 1) / 2;
        if (!heap->before(heap->context, item, heap->items[parent])) {
            break;
        }
        place(heap, position, heap->items[parent]);
        position = parent;
    }
    place(heap, position, item);
}

static void sink(aegis_core_heap *heap, uint32_t position)
{
    uint32_t item = heap->items[position];
    for (;;) {
        uint32_t child = 2 * position + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count &&
            heap->before(heap->context, heap->items[child + 1], heap->items[child])) {
            child++;
        }
        if (!heap->before(heap->context, heap->items[child], item)) {
            break;
        }
        place(heap, position, heap->items[child]);
        position = child;
    }
    place(heap, position, item);
}

void aegis_core_heap_push(aegis_core_heap *heap, uint32_t item)
{
    place(heap, heap->count++, item);
    rise(heap, heap->count - 1);
}

void aegis_core_heap_update(aegis_core_heap *heap, uint32_t item)
{
    rise(heap, heap->positions[item]);
    sink(heap, heap->positions[item]);
}

void aegis_core_heap_remove(aegis_core_heap *heap, uint32_t item)
{
    uint32_t position = heap->positions[item];
    uint32_t last = heap->items[--heap->count];
    heap->positions[item] = AEGIS_HEAP_ABSENT;
    if (last != item) {
        place(heap, position, last);
        aegis_core_heap_update(heap, last);
    }
}

uint32_t aegis_core_heap_second(const aegis_core_heap *heap)
{
    if (heap->count < 2) {
        return AEGIS_HEAP_ABSENT;
    }
    if (heap->count > 2 && heap->before(heap->context, heap->items[2], heap->items[1])) {
        return heap->items[2];
    }
    return heap->items[1];
}
