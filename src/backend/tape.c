/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/tape.h"

#include <inttypes.h>
#include <string.h>

#define COMPONENT "backend.tape"

void aegis_tape_init(aegis_tape *tape, const aegis_allocator *allocator)
{
    memset(tape, 0, sizeof *tape);
    tape->allocator = *allocator;
}

void aegis_tape_finish(aegis_tape *tape)
{
    aegis_deallocate(&tape->allocator, tape->allocations, tape->allocation_capacity,
                     sizeof *tape->allocations);
    aegis_deallocate(&tape->allocator, tape->events, tape->event_capacity, sizeof *tape->events);
    tape->allocations = NULL;
    tape->events = NULL;
    tape->allocation_count = tape->allocation_capacity = 0;
    tape->event_count = tape->event_capacity = 0;
}

void aegis_tape_clear(aegis_tape *tape)
{
    tape->allocation_count = tape->event_count = 0;
    tape->live_bytes = tape->peak_bytes = 0;
    tape->out_of_memory = false;
}

/* Makes room for one more element. */
static bool grow(aegis_tape *tape, void **array, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity) {
        return true;
    }
    size_t wanted = *capacity == 0 ? 256 : *capacity * 2;
    void *bigger = aegis_allocate_zeroed(&tape->allocator, wanted, element);
    if (bigger == NULL) {
        tape->out_of_memory = true;
        return false;
    }
    if (count > 0) {
        memcpy(bigger, *array, count * element);
    }
    aegis_deallocate(&tape->allocator, *array, *capacity, element);
    *array = bigger;
    *capacity = wanted;
    return true;
}

static void add_event(aegis_tape *tape, int64_t event)
{
    if (grow(tape, (void **)&tape->events, tape->event_count, &tape->event_capacity,
             sizeof *tape->events)) {
        tape->events[tape->event_count++] = event;
    }
}

size_t aegis_tape_alloc(aegis_tape *tape, uint64_t size_bytes)
{
    size_t index = tape->allocation_count;
    if (!grow(tape, (void **)&tape->allocations, index, &tape->allocation_capacity,
              sizeof *tape->allocations)) {
        return SIZE_MAX;
    }
    tape->allocations[index] = (aegis_tape_allocation){
        .size_bytes = size_bytes, .born = (int64_t)tape->event_count, .died = -1};
    tape->allocation_count++;
    add_event(tape, (int64_t)index);
    tape->live_bytes += size_bytes;
    if (tape->live_bytes > tape->peak_bytes) {
        tape->peak_bytes = tape->live_bytes;
    }
    return index;
}

void aegis_tape_free(aegis_tape *tape, size_t allocation)
{
    if (allocation >= tape->allocation_count || tape->allocations[allocation].died >= 0) {
        return;
    }
    tape->allocations[allocation].died = (int64_t)tape->event_count;
    tape->live_bytes -= tape->allocations[allocation].size_bytes;
    add_event(tape, -1 - (int64_t)allocation);
}

size_t aegis_tape_survivors(const aegis_tape *tape)
{
    size_t count = 0;
    for (size_t i = 0; i < tape->allocation_count; i++) {
        count += tape->allocations[i].died < 0;
    }
    return count;
}

static uint64_t event_bytes(const aegis_tape *tape, size_t event)
{
    int64_t which = tape->events[event];
    return tape->allocations[which >= 0 ? which : -1 - which].size_bytes;
}

aegis_status aegis_tape_compare(const aegis_tape *first, const aegis_tape *second, aegis_error *err)
{
    if (first->out_of_memory || second->out_of_memory) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory to record the sequence of allocations");
    }
    size_t common =
        first->event_count < second->event_count ? first->event_count : second->event_count;
    for (size_t i = 0; i < common; i++) {
        if (first->events[i] != second->events[i] ||
            event_bytes(first, i) != event_bytes(second, i)) {
            return aegis_error_set(
                err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEPARTURE,
                "two runs differ at allocation event %zu: %s of %" PRIu64
                " bytes, then %s of %" PRIu64
                " bytes; a model whose allocations vary cannot be planned",
                i, first->events[i] >= 0 ? "request" : "release", event_bytes(first, i),
                second->events[i] >= 0 ? "request" : "release", event_bytes(second, i));
        }
    }
    if (first->event_count != second->event_count) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_DEPARTURE,
                               "two runs differ: %zu allocation events, then %zu; a model whose "
                               "allocations vary cannot be planned",
                               first->event_count, second->event_count);
    }
    return AEGIS_OK;
}

size_t aegis_tape_lifetimes(const aegis_tape *tape,
                            aegis_memory_class memory_class,
                            uint32_t segment,
                            aegis_tensor_lifetime *ret_lifetimes)
{
    size_t count = 0;
    for (size_t i = 0; i < tape->allocation_count; i++) {
        const aegis_tape_allocation *one = &tape->allocations[i];
        if (one->size_bytes == 0) {
            continue;
        }
        ret_lifetimes[count++] = (aegis_tensor_lifetime){
            .tensor = (uint32_t)i,
            .memory_class = memory_class,
            .segment = segment,
            .start = one->born,
            .end = one->died >= 0 ? one->died : (int64_t)tape->event_count + 1,
            .size_bytes = one->size_bytes,
            .alignment = 64,
        };
    }
    return count;
}
