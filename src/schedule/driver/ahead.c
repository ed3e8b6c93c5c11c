/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launching ahead. While a segment runs, its lane's thread enqueues what the core foresees to
 * follow it behind the gate of the lane's stream: the next segment of the job, or the next job of
 * the same or another model. Who decides what comes next decides as ever; if it is that segment,
 * the gate is opened, and the launch is off the way from one segment to the next. Another one is
 * launched past the gate, and what stands there stays until it is chosen.
 *
 * It is asked for when the segment that runs is dispatched, and again after every event as long as
 * nothing was put. What is wanted is told to the lane's thread in one place (`want`): who has the
 * turn writes it and takes it back; the lane's thread takes it, once for each segment that it runs,
 * and from then on it is there. It takes it shortly before the end of what runs: what comes until
 * then is foreseen (bench_foresee: 98.9 % of a kiosk's answers hold; 89.5 % when put at once).
 *
 * A job that is ready has its inputs in its slot, and keeps the slot to its end. So what stands
 * there for it is what it takes when it is chosen, however late. It stays when the job ends before
 * (a fault, an overrun, a removal) too: what is behind the gate does not depend on the job, and the
 * next one in the same slot, from the same half of the state, takes it. It is let run in vain only
 * when all is stopped or a model goes: its own, whose memory goes then, or another, while no job of
 * its own is under way, since closing a model may wait for the whole device and so for what no job
 * might ever take. Nobody reads what it writes then, and nothing else runs on the lane.
 *
 * One segment a lane, because each gate that is waited at delays every launch on the device. So
 * what was passed by holds the place until its turn comes.
 */
#include "schedule/driver/internal.h"

/* Putting it there takes some 10 us, in which the thread does not see the end of what runs. */
#define LEAST_NS UINT64_C(15000)

static bool same(const aegis_ahead *a, const aegis_ahead *b)
{
    return a->entry == b->entry && a->segment == b->segment && a->data_slot == b->data_slot &&
           a->odd == b->odd;
}

/* Of a model without state both halves are one, and what stands there must be taken by its like:
 * launched once more beside it, a graph would wait for itself. */
static bool half_of(const aegis_entry *entry)
{
    return entry->has_halves && entry->odd;
}

/* ---- what is wanted: the turn's ---- */

/* False: the lane's thread has taken it. */
static bool withdraw(aegis_lane *lane)
{
    uint32_t wanted = AEGIS_AHEAD_WANTED;
    return atomic_compare_exchange_strong(&lane->want, &wanted, AEGIS_AHEAD_NONE) ||
           wanted == AEGIS_AHEAD_NONE;
}

static bool successor(const aegis_lane *lane, aegis_ahead *ret_next)
{
    *ret_next = (aegis_ahead){.entry = lane->entry,
                              .segment = lane->segment + 1,
                              .data_slot = lane->data_slot,
                              .odd = half_of(lane->entry)};
    return ret_next->segment < lane->entry->core.segment_count;
}

/* The next job of a model with state begins from the half that the present one commits, which
 * nothing can be enqueued for yet. */
static bool foresee(const aegis_lane *lane, uint64_t end_ns, aegis_ahead *ret_next)
{
    aegis_scheduler *scheduler = lane->scheduler;
    aegis_core_next next;
    if (!aegis_core_foresee(scheduler->core, lane->index, end_ns, end_ns - lane->dispatched_ns,
                            &next)) {
        return successor(lane, ret_next); /* likely */
    }
    if (next.model == AEGIS_TRACE_NONE) {
        return false;
    }
    if (next.job == lane->job) {
        return successor(lane, ret_next);
    }
    aegis_entry *entry = aegis_scheduler_entry(scheduler, next.model);
    if (entry == lane->entry && entry->has_halves) {
        return false;
    }
    *ret_next = (aegis_ahead){.entry = entry,
                              .segment = next.segment,
                              .data_slot = aegis_driver_data_slot(scheduler, entry, next.job),
                              .odd = half_of(entry)};
    return scheduler->removing == NULL;
}

/* Whether the gate is free, and will be when the lane's thread comes to it. */
static bool has_room(const aegis_lane *lane)
{
    return lane->stands.entry == NULL &&
           atomic_load_explicit(&lane->scheduler->pauses, memory_order_relaxed) == 0 &&
           !atomic_load_explicit(&lane->gateless, memory_order_relaxed) &&
           !atomic_load_explicit(&lane->discards, memory_order_acquire);
}

void aegis_ahead_want(aegis_lane *lane, uint64_t now)
{
    aegis_ahead next;
    uint32_t state = atomic_load_explicit(&lane->want, memory_order_relaxed);
    if (state == AEGIS_AHEAD_TAKEN || (state == AEGIS_AHEAD_NONE && !has_room(lane))) {
        return;
    }
    uint64_t end_ns = lane->dispatched_ns + lane->entry->least_ns[lane->segment];
    bool wants = has_room(lane) && foresee(lane, end_ns > now ? end_ns : now, &next) &&
                 !atomic_load_explicit(&next.entry->never_ahead, memory_order_relaxed);
    if (state == AEGIS_AHEAD_WANTED && ((wants && same(&next, &lane->wanted)) || !withdraw(lane))) {
        return;
    }
    if (wants && end_ns >= now + LEAST_NS) {
        lane->wanted = next;
        atomic_store_explicit(&lane->want, AEGIS_AHEAD_WANTED, memory_order_release);
        if (lane->dispatched_ns != now) { /* it was launched without */
            aegis_stream_ask_meanwhile(lane->stream);
        }
    }
}

void aegis_ahead_want_again(aegis_scheduler *scheduler, uint64_t now)
{
    for (uint16_t i = 0; i < scheduler->config.lane_count; i++) {
        aegis_lane *lane = &scheduler->lanes[i];
        if (lane->running && lane->dispatched_ns != now) {
            aegis_ahead_want(lane, now);
        }
    }
}

void aegis_ahead_open(aegis_lane *lane)
{
    const aegis_entry *entry = lane->entry;
    const aegis_ahead chosen = {.entry = lane->entry,
                                .segment = lane->segment,
                                .data_slot = lane->data_slot,
                                .odd = half_of(entry)};
    lane->opened = same(&lane->stands, &chosen);
    if (lane->opened) {
        aegis_stream_ahead_open(lane->stream);
        lane->stands.entry = NULL;
        atomic_fetch_add_explicit(&lane->scheduler->opened, 1, memory_order_relaxed);
    }
}

void aegis_ahead_collect(aegis_lane *lane)
{
    if (atomic_load_explicit(&lane->want, memory_order_relaxed) == AEGIS_AHEAD_TAKEN &&
        lane->was_put) {
        lane->stands = lane->wanted;
    }
    atomic_store_explicit(&lane->want, AEGIS_AHEAD_NONE, memory_order_relaxed);
}

/* ---- on the lane's thread ---- */

static bool put(aegis_lane *lane, const aegis_ahead *next)
{
    aegis_status status = aegis_stream_ahead_begin(lane->stream, NULL);
    if (status != AEGIS_OK) {
        if (status == AEGIS_ERROR_UNSUPPORTED) {
            atomic_store_explicit(&lane->gateless, true, memory_order_relaxed);
        }
        return false;
    }
    status = aegis_model_enqueue_ahead(next->entry->model, next->segment, next->data_slot,
                                       lane->stream, NULL);
    /* Should this fail, the device has, and the segment that runs will tell. */
    (void)aegis_stream_ahead_end(lane->stream, NULL);
    if (status != AEGIS_OK) {
        aegis_stream_ahead_open(lane->stream); /* nothing is behind it */
        atomic_store_explicit(&next->entry->never_ahead, true, memory_order_relaxed);
    }
    return status == AEGIS_OK;
}

static void put_wanted(aegis_lane *lane)
{
    uint32_t wanted = AEGIS_AHEAD_WANTED;
    if (atomic_load_explicit(&lane->want, memory_order_relaxed) == AEGIS_AHEAD_WANTED &&
        atomic_compare_exchange_strong(&lane->want, &wanted, AEGIS_AHEAD_TAKEN)) {
        lane->was_put = put(lane, &lane->wanted);
    }
}

void aegis_ahead_put(aegis_lane *lane)
{
    if (!lane->puts_late || lane->entry->least_ns[lane->segment] <= AEGIS_STREAM_NEAR_NS) {
        put_wanted(lane);
    }
}

/* While it waits, and the end is near; also of work that is not the driver's. */
static void put_late(void *argument)
{
    aegis_lane *lane = argument;
    if (atomic_load_explicit(&lane->want, memory_order_acquire) != AEGIS_AHEAD_WANTED) {
        return;
    }
    uint64_t least_ns = lane->entry->least_ns[lane->segment];
    if (aegis_clock_now_ns(&lane->scheduler->config.clock) + LEAST_NS <=
        lane->start_ns + least_ns) {
        put_wanted(lane);
    }
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

/* What the thread of a lane that runs has taken is clear when the segment has ended, but what
 * continues a job of another model, which takes it. */
static bool want_is_clear(aegis_lane *lane, const aegis_entry *entry)
{
    return !lane->running || withdraw(lane) ||
           (entry != NULL && lane->wanted.entry != entry && lane->wanted.segment > 0);
}

static bool lane_is_clear(aegis_lane *lane, const aegis_entry *entry)
{
    const aegis_entry *stands = lane->stands.entry;
    if (stands != NULL && (stands == entry || !stands->in_job)) {
        begin_discard(lane);
    }
    stands = lane->stands.entry;
    return (entry == NULL ? stands == NULL : stands != entry) && want_is_clear(lane, entry) &&
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

void aegis_ahead_start(aegis_lane *lane)
{
    lane->puts_late = aegis_stream_set_meanwhile(lane->stream, put_late, lane);
}

void aegis_ahead_stop(aegis_lane *lane)
{
    if (lane->stands.entry != NULL) {
        begin_discard(lane);
    }
    aegis_stream_synchronize(lane->stream, NULL);
    (void)aegis_stream_set_meanwhile(lane->stream, NULL, NULL);
}
