/* SPDX-License-Identifier: Apache-2.0 */
/* Binary heap of periodic models by (next release, model number). */
#include "schedule/driver/internal.h"

static bool before(const aegis_scheduler *scheduler, uint32_t a, uint32_t b)
{
    uint64_t x = scheduler->entries[a]->next_release_ns;
    uint64_t y = scheduler->entries[b]->next_release_ns;
    return x != y ? x < y : a < b;
}

static void swap(aegis_scheduler *scheduler, uint32_t i, uint32_t j)
{
    uint32_t kept = scheduler->heap[i];
    scheduler->heap[i] = scheduler->heap[j];
    scheduler->heap[j] = kept;
}

static void rise(aegis_scheduler *scheduler, uint32_t i)
{
    while (i > 0 && before(scheduler, scheduler->heap[i], scheduler->heap[(i - 1) / 2])) {
        swap(scheduler, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static void sink(aegis_scheduler *scheduler, uint32_t i)
{
    for (;;) {
        uint32_t least = i;
        for (uint32_t child = 2 * i + 1; child <= 2 * i + 2 && child < scheduler->heap_count;
             child++) {
            if (before(scheduler, scheduler->heap[child], scheduler->heap[least])) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        swap(scheduler, i, least);
        i = least;
    }
}

void aegis_release_heap_push(aegis_scheduler *scheduler, uint32_t model)
{
    scheduler->heap[scheduler->heap_count] = model;
    rise(scheduler, scheduler->heap_count++);
}

uint32_t aegis_release_heap_top(const aegis_scheduler *scheduler)
{
    return scheduler->heap[0];
}

void aegis_release_heap_sink(aegis_scheduler *scheduler)
{
    sink(scheduler, 0);
}

void aegis_release_heap_remove(aegis_scheduler *scheduler, uint32_t model)
{
    for (uint32_t i = 0; i < scheduler->heap_count; i++) {
        if (scheduler->heap[i] == model) {
            scheduler->heap[i] = scheduler->heap[--scheduler->heap_count];
            if (i < scheduler->heap_count) {
                rise(scheduler, i);
                sink(scheduler, i);
            }
            return;
        }
    }
}
