/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounds of the driver itself. The wake bound is how late the orchestration thread sees an instant
 * that it sleeps for, with every lane loaded: release jitter in the proofs. The overhead bound is a
 * round trip through an idle lane with the others loaded: launch, detection of the end and one
 * turn of the loop, part of every enforceable bound.
 */
#include "schedule/driver/internal.h"
#include "schedule/profile/stressor.h"

#define SAMPLES 600u
/* A later wake voids the lane's proofs until it is idle, and is recorded; covering the last percent
 * too would put the neighbours of a shared machine into every bound. */
#define QUANTILE 0.97
#define ASSURANCE 0.95
#define MARGIN 1.5

typedef struct calibration {
    aegis_scheduler *scheduler;
    uint64_t samples[SAMPLES];
    aegis_status status;
    aegis_error error;
} calibration;

/* Naps of many lengths, 0.1 to 3 ms: a thread that slept longer finds colder caches. */
static uint64_t nap_ns(uint32_t i)
{
    return 100 * AEGIS_NS_PER_US + (i * UINT64_C(7919) % 30) * 100 * AEGIS_NS_PER_US;
}

static void wait_for(aegis_scheduler *scheduler, uint64_t until_ns)
{
    while (aegis_clock_now_ns(&scheduler->config.clock) < until_ns) {
        if (scheduler->config.wait == AEGIS_WAIT_SLEEP) {
            aegis_wake_wait(&scheduler->wake, aegis_wake_count(&scheduler->wake), until_ns);
        }
    }
}

static void measure_wakes(void *argument)
{
    calibration *c = argument;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint64_t target = aegis_clock_now_ns(&c->scheduler->config.clock) + nap_ns(i);
        wait_for(c->scheduler, target);
        c->samples[i] = aegis_clock_now_ns(&c->scheduler->config.clock) - target;
    }
}

static void nothing(void *argument)
{
    (void)argument;
}

static void ring_back(void *argument)
{
    aegis_lane *lane = argument;
    atomic_store_explicit(&lane->done, true, memory_order_release);
    aegis_wake_ring(&lane->scheduler->wake);
}

static void wait_for_lane(aegis_scheduler *scheduler, aegis_lane *lane)
{
    for (;;) {
        uint32_t seen = aegis_wake_count(&scheduler->wake);
        if (atomic_load_explicit(&lane->done, memory_order_acquire)) {
            return;
        }
        if (scheduler->config.wait == AEGIS_WAIT_SLEEP) {
            aegis_wake_wait(&scheduler->wake, seen, UINT64_MAX);
        }
    }
}

static void measure_round_trips(void *argument)
{
    calibration *c = argument;
    aegis_lane *lane = &c->scheduler->lanes[0];
    for (uint32_t i = 0; i < SAMPLES && c->status == AEGIS_OK; i++) {
        /* The lane's thread goes to sleep between dispatches, as it will when models run. */
        wait_for(c->scheduler, aegis_clock_now_ns(&c->scheduler->config.clock) + nap_ns(i));
        uint64_t start = aegis_clock_now_ns(&c->scheduler->config.clock);
        atomic_store(&lane->done, false);
        c->status = aegis_stream_call(lane->stream, nothing, NULL, &c->error);
        if (c->status == AEGIS_OK) {
            c->status = aegis_stream_notify(lane->stream, ring_back, lane, &c->error);
        }
        if (c->status == AEGIS_OK) {
            wait_for_lane(c->scheduler, lane);
        }
        c->samples[i] = aegis_clock_now_ns(&c->scheduler->config.clock) - start;
    }
}

static void stand_at_gate(void *argument)
{
    aegis_stream *stream = argument;
    if (aegis_stream_ahead_begin(stream, NULL) == AEGIS_OK) {
        (void)aegis_stream_ahead_end(stream, NULL);
    }
}

static void leave_gate(void *argument)
{
    aegis_stream_ahead_discard(argument);
}

/* Nothing stands at the gate of each lane, as something will when models run: that takes time of
 * all launches. */
static aegis_status
call_lanes(aegis_scheduler *scheduler, aegis_stream_function function, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    for (uint16_t i = 0; i < scheduler->config.lane_count && status == AEGIS_OK; i++) {
        aegis_stream *lane = scheduler->config.lanes[i];
        status = aegis_stream_call(lane, function, lane, err);
    }
    return status;
}

/* Runs `measure` on the orchestration thread with lanes first..last-1 loaded, and the thread of the
 * copies, which takes a core while it waits for one. */
static aegis_status run_loaded(calibration *c,
                               uint16_t first,
                               aegis_stream_function measure,
                               uint64_t *ret_bound_ns,
                               aegis_error *err)
{
    aegis_scheduler *scheduler = c->scheduler;
    aegis_stressor *load = NULL;
    aegis_bound_method method;
    aegis_command command = {.kind = AEGIS_COMMAND_CALL,
                             .of.call = {.function = measure, .argument = c}};
    size_t count = (size_t)(scheduler->config.lane_count - first);
    aegis_status status = AEGIS_OK, stopped;
    if (count > 0 || scheduler->config.copy_stream != NULL) {
        status = aegis_stressor_create(scheduler->config.lanes + first, count,
                                       scheduler->config.copy_stream, NULL, &scheduler->allocator,
                                       &load, err);
        if (status != AEGIS_OK) {
            return status;
        }
        status = aegis_stressor_start(load, AEGIS_STRESS_ALL, err);
        if (status != AEGIS_OK) {
            goto done;
        }
    }
    status = aegis_worker_push(scheduler->orchestrator, &command, err);
    if (status == AEGIS_OK) {
        status = aegis_worker_synchronize(scheduler->orchestrator, err);
    }
    if (load != NULL) {
        stopped = aegis_stressor_stop(load, status == AEGIS_OK ? err : NULL);
        status = status == AEGIS_OK ? stopped : status;
    }
    if (status == AEGIS_OK && c->status != AEGIS_OK) {
        status = c->status;
        if (err != NULL) {
            *err = c->error;
        }
    }
    if (status == AEGIS_OK) {
        *ret_bound_ns =
            aegis_profile_compute_wcet(c->samples, SAMPLES, QUANTILE, ASSURANCE, MARGIN, &method);
    }
done:
    aegis_stressor_destroy(load);
    return status;
}

aegis_status aegis_driver_calibrate(aegis_scheduler *scheduler, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    calibration *c = aegis_allocate_zeroed(&scheduler->allocator, 1, sizeof *c);
    if (c == NULL) {
        return aegis_error_set(err, AEGIS_HERE(AEGIS_DRIVER), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to measure the driver");
    }
    c->scheduler = scheduler;
    if (scheduler->config.wake_bound_ns == 0) {
        status = run_loaded(c, 0, measure_wakes, &scheduler->config.wake_bound_ns, err);
    }
    if (status == AEGIS_OK && scheduler->config.overhead_bound_ns == 0) {
        status = call_lanes(scheduler, stand_at_gate, err);
        aegis_status measured =
            status == AEGIS_OK
                ? run_loaded(c, 1, measure_round_trips, &scheduler->config.overhead_bound_ns, err)
                : status;
        status = call_lanes(scheduler, leave_gate, measured == AEGIS_OK ? err : NULL);
        status = measured != AEGIS_OK ? measured : status;
    }
    aegis_deallocate(&scheduler->allocator, c, 1, sizeof *c);
    return status;
}
