/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/profile/stressor.h"

#include "base/base.h"

#include <sched.h>
#include <stdatomic.h>

#define COMPONENT "schedule.stressor"
/* Larger than the last-level share of an edge core, so that every pass goes to memory. */
#define STRESS_FLOATS ((size_t)4 << 20)
#define STRESS_BLOCK ((size_t)4096)

typedef struct stress_lane {
    aegis_stressor *owner;
    aegis_stream *stream;
    float *memory;
    atomic_bool running;
} stress_lane;

struct aegis_stressor {
    aegis_allocator allocator;
    stress_lane *lanes;
    size_t count;
    atomic_bool stop;
};

/* Reads and writes all of the memory with a few multiply-adds a value; looks at the flag often. */
static void stress(void *argument)
{
    stress_lane *lane = argument;
    atomic_store(&lane->running, true);
    while (!atomic_load_explicit(&lane->owner->stop, memory_order_relaxed)) {
        for (size_t block = 0; block < STRESS_FLOATS; block += STRESS_BLOCK) {
            if (atomic_load_explicit(&lane->owner->stop, memory_order_relaxed)) {
                break;
            }
            for (size_t i = block; i < block + STRESS_BLOCK; i++) {
                float value = lane->memory[i];
                value = value * 0.999F + 0.001F;
                value = value * 0.998F + 0.002F;
                lane->memory[i] = value;
            }
        }
    }
    atomic_store(&lane->running, false);
}

aegis_status aegis_stressor_create(aegis_stream *const *streams,
                                   size_t count,
                                   const aegis_allocator *allocator,
                                   aegis_stressor **ret_stressor,
                                   aegis_error *err)
{
    aegis_stressor *stressor = aegis_allocate_zeroed(allocator, 1, sizeof *stressor);
    if (stressor == NULL) {
        goto fail;
    }
    stressor->allocator = *allocator;
    stressor->lanes = aegis_allocate_zeroed(allocator, count, sizeof *stressor->lanes);
    if (stressor->lanes == NULL) {
        goto fail;
    }
    stressor->count = count;
    for (size_t i = 0; i < count; i++) {
        stressor->lanes[i].owner = stressor;
        stressor->lanes[i].stream = streams[i];
        stressor->lanes[i].memory = aegis_allocate_zeroed(allocator, STRESS_FLOATS, sizeof(float));
        if (stressor->lanes[i].memory == NULL) {
            goto fail;
        }
    }
    *ret_stressor = stressor;
    return AEGIS_OK;
fail:
    aegis_stressor_destroy(stressor);
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no host memory for the load of %zu lanes", count);
}

void aegis_stressor_destroy(aegis_stressor *stressor)
{
    if (stressor == NULL) {
        return;
    }
    aegis_allocator allocator = stressor->allocator;
    for (size_t i = 0; stressor->lanes != NULL && i < stressor->count; i++) {
        aegis_deallocate(&allocator, stressor->lanes[i].memory, STRESS_FLOATS, sizeof(float));
    }
    aegis_deallocate(&allocator, stressor->lanes, stressor->count, sizeof *stressor->lanes);
    aegis_deallocate(&allocator, stressor, 1, sizeof *stressor);
}

aegis_status aegis_stressor_start(aegis_stressor *stressor, aegis_error *err)
{
    atomic_store(&stressor->stop, false);
    for (size_t i = 0; i < stressor->count; i++) {
        aegis_status status =
            aegis_stream_call(stressor->lanes[i].stream, stress, &stressor->lanes[i], err);
        if (status != AEGIS_OK) {
            atomic_store(&stressor->stop, true);
            return status;
        }
    }
    for (size_t i = 0; i < stressor->count; i++) {
        while (!atomic_load(&stressor->lanes[i].running)) {
            sched_yield();
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_stressor_stop(aegis_stressor *stressor, aegis_error *err)
{
    aegis_status result = AEGIS_OK;
    atomic_store(&stressor->stop, true);
    for (size_t i = 0; i < stressor->count; i++) {
        aegis_status status = aegis_stream_synchronize(stressor->lanes[i].stream, err);
        if (result == AEGIS_OK) {
            result = status;
        }
    }
    return result;
}
