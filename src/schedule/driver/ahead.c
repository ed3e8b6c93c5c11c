/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launching ahead. While a segment runs, its lane's thread enqueues the one that follows it in its
 * job behind the gate of the lane's stream. Who decides what comes next decides as ever; if it is
 * that segment, the gate is opened, and the launch is off the way from one segment to the next.
 * Another one is launched past the gate, and what stands there stays until it is chosen.
 *
 * Only the successor of what runs is put there. Its inputs and its slot are those of the running
 * job, so nothing about it can change but that it does not come: the job may be ended between two
 * segments. It stays there even then. What is behind the gate does not depend on the job, and the
 * next one in the same slot, from the same half of the state, takes it. It is let run in vain only
 * when all is stopped or a model goes: its own, whose memory goes then, or another, while no job of
 * its own is under way, since closing a model may wait for the whole device and so for what no job
 * might ever take. Nobody reads what it writes then, and nothing else runs on the lane.
 *
 * One segment a lane, because each gate that is waited at delays every launch on the device.
 */
#include "schedule/driver/internal.h"

/* Putting it there takes some 10 us, in which the thread does not see the end of what runs. */
#define LEAST_NS UINT64_C(15000)

static bool stands(const aegis_lane *lane)
{
    const aegis_ahead *ahead = &lane->stands;
    return ahead->entry == lane->entry && ahead->segment == lane->segment &&
           ahead->data_slot == lane->data_slot && ahead->odd == lane->entry->odd;
}

void aegis_ahead_open(aegis_lane *lane)
{
    const aegis_entry *entry = lane->entry;
    lane->opened = stands(lane);
    if (lane->opened) {
        aegis_stream_ahead_open(lane->stream);
        lane->stands.entry = NULL;
        atomic_fetch_add_explicit(&lane->scheduler->opened, 1, memory_order_relaxed);
    }
    lane->odd = entry->odd;
    lane->may_put = lane->stands.entry == NULL && lane->segment + 1 < entry->core.segment_count &&
                    entry->least_ns[lane->segment] >= LEAST_NS &&
                    !atomic_load_explicit(&entry->never_ahead, memory_order_relaxed);
}

void aegis_ahead_collect(aegis_lane *lane)
{
    if (lane->puts.entry != NULL) {
        lane->stands = lane->puts;
        lane->puts.entry = NULL;
    }
}

void aegis_ahead_put(aegis_lane *lane)
{
    if (!lane->may_put || aegis_stream_ahead_begin(lane->stream, NULL) != AEGIS_OK) {
        return;
    }
    aegis_status status = aegis_model_enqueue_ahead(lane->entry->model, lane->segment + 1,
                                                    lane->data_slot, lane->stream, NULL);
    /* Should this fail, the device has, and the segment that runs will tell. */
    (void)aegis_stream_ahead_end(lane->stream, NULL);
    if (status != AEGIS_OK) {
        aegis_stream_ahead_open(lane->stream); /* nothing is behind it */
        atomic_store_explicit(&lane->entry->never_ahead, true, memory_order_relaxed);
        return;
    }
    lane->puts = (aegis_ahead){.entry = lane->entry,
                               .segment = lane->segment + 1,
                               .data_slot = lane->data_slot,
                               .odd = lane->odd};
}

/* ---- in vain ---- */

static void discard(void *argument)
{
    aegis_lane *lane = argument;
    aegis_stream_ahead_discard(lane->stream);
    atomic_store_explicit(&lane->discards, false, memory_order_release);
    aegis_wake_ring(&lane->scheduler->wake);
}

/* Behind the segment that runs, before any that is dispatched from now on. */
static void begin_discard(aegis_lane *lane)
{
    atomic_store_explicit(&lane->discards, true, memory_order_relaxed);
    if (aegis_stream_call(lane->stream, discard, lane, NULL) == AEGIS_OK) {
        lane->stands.entry = NULL;
    } else { /* a full ring: later */
        atomic_store_explicit(&lane->discards, false, memory_order_relaxed);
    }
}

static bool lane_is_clear(aegis_lane *lane, const aegis_entry *entry)
{
    const aegis_entry *stands = lane->stands.entry;
    if (stands != NULL && (stands == entry || !stands->in_job)) {
        begin_discard(lane);
    }
    return lane->stands.entry != entry &&
           !atomic_load_explicit(&lane->discards, memory_order_acquire);
}

bool aegis_ahead_is_clear(aegis_scheduler *scheduler, const aegis_entry *entry)
{
    bool clear = true;
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        clear = lane_is_clear(&scheduler->lanes[i], entry) && clear;
    }
    return clear;
}

void aegis_ahead_clear(aegis_lane *lane)
{
    if (lane->stands.entry != NULL) {
        begin_discard(lane);
    }
    aegis_stream_synchronize(lane->stream, NULL);
}
