/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/driver/submit_queue.h"

#include "base/base.h"

aegis_status aegis_submit_queue_init(aegis_submit_queue *queue,
                                     uint32_t capacity,
                                     const aegis_allocator *allocator,
                                     aegis_error *err)
{
    uint64_t size = 2;
    while (size < capacity) {
        size *= 2;
    }
    queue->cells = aegis_allocate_zeroed(allocator, size, sizeof *queue->cells);
    if (queue->cells == NULL) {
        return aegis_error_set(err, AEGIS_HERE("schedule.submit_queue"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for a queue of %u submissions", capacity);
    }
    for (uint64_t i = 0; i < size; i++) {
        atomic_init(&queue->cells[i].sequence, i);
    }
    queue->mask = size - 1;
    queue->tail = 0;
    atomic_init(&queue->head, 0);
    return AEGIS_OK;
}

void aegis_submit_queue_finish(aegis_submit_queue *queue, const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, queue->cells, queue->mask + 1, sizeof *queue->cells);
    queue->cells = NULL;
}

bool aegis_submit_queue_put(aegis_submit_queue *queue, const aegis_submit_item *item)
{
    uint64_t at = atomic_load_explicit(&queue->head, memory_order_relaxed);
    for (;;) {
        aegis_submit_cell *cell = &queue->cells[at & queue->mask];
        uint64_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);
        if (sequence < at) {
            return false;
        }
        if (sequence > at) {
            at = atomic_load_explicit(&queue->head, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(
                       &queue->head, &at, at + 1, memory_order_relaxed, memory_order_relaxed)) {
            cell->item = *item;
            atomic_store_explicit(&cell->sequence, at + 1, memory_order_release);
            return true;
        }
    }
}

bool aegis_submit_queue_take(aegis_submit_queue *queue, aegis_submit_item *ret_item)
{
    aegis_submit_cell *cell = &queue->cells[queue->tail & queue->mask];
    if (atomic_load_explicit(&cell->sequence, memory_order_acquire) != queue->tail + 1) {
        return false;
    }
    *ret_item = cell->item;
    atomic_store_explicit(&cell->sequence, queue->tail + queue->mask + 1, memory_order_release);
    queue->tail++;
    return true;
}
