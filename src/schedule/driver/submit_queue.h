/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_SUBMIT_QUEUE_H
#define AEGIS_SCHEDULE_SUBMIT_QUEUE_H

/*
 * Bounded queue of submissions of one model: many producers, the orchestration thread consumes.
 * Each cell carries a sequence number (Vyukov's bounded queue). A producer that is preempted
 * between claiming a cell and filling it holds up later submissions of the same model only: that
 * is why there is one queue a model and not one for all.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define AEGIS_NO_RECORD UINT32_MAX

typedef struct aegis_submit_item {
    uint64_t job, release_ns, deadline_ns;
    int32_t priority;
    uint32_t record; /* of the model's callback records; AEGIS_NO_RECORD: none */
} aegis_submit_item;

typedef struct aegis_submit_cell {
    _Atomic uint64_t sequence;
    aegis_submit_item item;
} aegis_submit_cell;

typedef struct aegis_submit_queue {
    aegis_submit_cell *cells;
    uint64_t mask;
    _Alignas(64) _Atomic uint64_t head; /* next to fill */
    _Alignas(64) uint64_t tail;         /* next to take; consumer only */
} aegis_submit_queue;

aegis_status aegis_submit_queue_init(aegis_submit_queue *queue,
                                     uint32_t capacity,
                                     const aegis_allocator *allocator,
                                     aegis_error *err);
void aegis_submit_queue_finish(aegis_submit_queue *queue, const aegis_allocator *allocator);
/* Any thread. False when full. */
bool aegis_submit_queue_put(aegis_submit_queue *queue, const aegis_submit_item *item);
/* One thread. False when empty. */
bool aegis_submit_queue_take(aegis_submit_queue *queue, aegis_submit_item *ret_item);

#endif
