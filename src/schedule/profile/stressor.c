/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/profile/stressor.h"

#include "base/base.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>

#define COMPONENT "schedule.stressor"
/* Larger than the last-level share of an edge core, so that every pass goes to memory. */
#define STRESS_FLOATS ((size_t)4 << 20)
#define STRESS_BLOCK ((size_t)4096)
#define COPIES_IN 8 /* a round, so that its thread need not keep up with each */

typedef struct stress_lane {
    aegis_stressor *owner;
    aegis_stream *stream;
    float *memory;
    aegis_buffer device, pinned; /* of a GPU's lane, instead of `memory` */
    aegis_event *copied[2];      /* likewise */
    bool copies_in;              /* and nothing else */
    aegis_status status;
    aegis_error error;
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
}

/* Reads and writes more of the device's memory than its cache holds, then copies in and out. */
static aegis_status enqueue_copies(const stress_lane *lane, aegis_event *copied, aegis_error *err)
{
    const uint64_t half = lane->device.size_bytes / 2, part = lane->pinned.size_bytes / 2;
    char *device = lane->device.pointer, *host = lane->pinned.pointer;
    aegis_status status = aegis_stream_enqueue_copy(lane->stream, device, device + half, half, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_enqueue_copy(lane->stream, device, host, part, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_stream_enqueue_copy(lane->stream, host + part, device, part, err);
    }
    return status == AEGIS_OK ? aegis_stream_enqueue_record(lane->stream, copied, err) : status;
}

/* Copies in alone, as the stream does that copies inputs, in pieces as large as its own. */
static aegis_status
enqueue_copies_in(const stress_lane *lane, aegis_event *copied, aegis_error *err)
{
    const uint64_t pinned = lane->pinned.size_bytes, device = lane->device.size_bytes;
    uint64_t piece = pinned < device ? pinned : device;
    piece = piece < AEGIS_COPY_PIECE_BYTES ? piece : AEGIS_COPY_PIECE_BYTES;
    aegis_status status = AEGIS_OK;
    for (int i = 0; i < COPIES_IN && status == AEGIS_OK; i++) {
        status = aegis_stream_enqueue_copy(lane->stream, lane->device.pointer, lane->pinned.pointer,
                                           piece, err);
    }
    return status == AEGIS_OK ? aegis_stream_enqueue_record(lane->stream, copied, err) : status;
}

static aegis_status enqueue_round(const stress_lane *lane, aegis_event *copied, aegis_error *err)
{
    return lane->copies_in ? enqueue_copies_in(lane, copied, err)
                           : enqueue_copies(lane, copied, err);
}

/* Two rounds are in the stream at any time, so that the device never waits for this thread. */
static void stress_device(void *argument)
{
    stress_lane *lane = argument;
    size_t turn = 0;
    lane->status = enqueue_round(lane, lane->copied[0], &lane->error);
    atomic_store(&lane->running, true);
    while (lane->status == AEGIS_OK &&
           !atomic_load_explicit(&lane->owner->stop, memory_order_relaxed)) {
        lane->status = enqueue_round(lane, lane->copied[(turn + 1) % 2], &lane->error);
        if (lane->status == AEGIS_OK) {
            lane->status = aegis_event_synchronize(lane->copied[turn % 2], &lane->error);
        }
        turn++;
    }
}

static aegis_status
take_parts(aegis_stressor *stressor, const aegis_stress_memory *memory, aegis_error *err)
{
    assert(stressor->count > 0);
    const uint64_t device = memory->device.size_bytes / stressor->count;
    const uint64_t pinned = memory->pinned.size_bytes / stressor->count;
    aegis_status status = AEGIS_OK;
    for (size_t i = 0; i < stressor->count; i++) {
        stress_lane *lane = &stressor->lanes[i];
        lane->device = (aegis_buffer){.pointer = (char *)memory->device.pointer + i * device,
                                      .size_bytes = device};
        lane->pinned = (aegis_buffer){.pointer = (char *)memory->pinned.pointer + i * pinned,
                                      .size_bytes = pinned};
        for (size_t k = 0; k < AEGIS_ARRAY_LENGTH(lane->copied) && status == AEGIS_OK; k++) {
            status = aegis_event_create(aegis_stream_device(lane->stream), &lane->copied[k], err);
        }
    }
    return status;
}

aegis_status aegis_stressor_create(aegis_stream *const *streams,
                                   size_t lane_count,
                                   aegis_stream *copy_stream,
                                   const aegis_stress_memory *memory,
                                   const aegis_allocator *allocator,
                                   aegis_stressor **ret_stressor,
                                   aegis_error *err)
{
    const size_t count = lane_count + (copy_stream != NULL);
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
        stressor->lanes[i].stream = i < lane_count ? streams[i] : copy_stream;
        stressor->lanes[i].copies_in = i >= lane_count;
        if (memory != NULL) {
            continue;
        }
        stressor->lanes[i].memory = aegis_allocate_zeroed(allocator, STRESS_FLOATS, sizeof(float));
        if (stressor->lanes[i].memory == NULL) {
            goto fail;
        }
    }
    if (memory != NULL) {
        aegis_status status = take_parts(stressor, memory, err);
        if (status != AEGIS_OK) {
            aegis_stressor_destroy(stressor);
            return status;
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
        aegis_event_destroy(stressor->lanes[i].copied[0]);
        aegis_event_destroy(stressor->lanes[i].copied[1]);
    }
    aegis_deallocate(&allocator, stressor->lanes, stressor->count, sizeof *stressor->lanes);
    aegis_deallocate(&allocator, stressor, 1, sizeof *stressor);
}

aegis_status aegis_stressor_start(aegis_stressor *stressor, size_t spared, aegis_error *err)
{
    atomic_store(&stressor->stop, false);
    for (size_t i = 0; i < stressor->count; i++) {
        stress_lane *lane = &stressor->lanes[i];
        lane->status = AEGIS_OK;
        atomic_store(&lane->running, false);
        if (i == spared) {
            continue;
        }
        aegis_status status = aegis_stream_call(
            lane->stream, lane->memory != NULL ? stress : stress_device, lane, err);
        if (status != AEGIS_OK) {
            atomic_store(&stressor->stop, true);
            return status;
        }
    }
    for (size_t i = 0; i < stressor->count; i++) {
        while (i != spared && !atomic_load(&stressor->lanes[i].running)) {
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
        if (status == AEGIS_OK && stressor->lanes[i].status != AEGIS_OK) {
            status = stressor->lanes[i].status;
            if (err != NULL && result == AEGIS_OK) {
                *err = stressor->lanes[i].error;
            }
        }
        if (result == AEGIS_OK) {
            result = status;
        }
    }
    return result;
}
