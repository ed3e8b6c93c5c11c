/* SPDX-License-Identifier: Apache-2.0 */
/* One run on the lane's own thread, to its end or until it is told to end. */
#include "schedule/profile/timed_run.h"

#include <time.h>

#define IDLE_NS 10000000

/* Until what the segment needs is in memory: others compute meanwhile. */
static uint64_t await_segment(const aegis_timed_run *run, uint32_t segment)
{
    if (aegis_model_is_ready(run->model, segment)) {
        return 0;
    }
    const uint64_t since = aegis_clock_now_ns(run->clock);
    aegis_model_await(run->model, segment);
    return aegis_clock_now_ns(run->clock) - since;
}

static uint64_t *least_of(aegis_timed_run *run)
{
    return &run->least_ns[run->end - run->first == 1 ? run->first : AEGIS_MAX_SEGMENTS];
}

static void cool(void *argument)
{
    const aegis_timed_run *run = argument;
    aegis_cold_make(run->cold);
    if (run->first == 0) { /* a job begins on a lane that was idle */
        nanosleep(&(struct timespec){.tv_nsec = IDLE_NS}, NULL);
    }
}

static bool sweeps_device(const aegis_timed_run *run)
{
    return run->cold != NULL && run->scratch.size_bytes > 0;
}

/* The copy comes last: what the device last did moves its times, and in service that is the work of
 * another model. */
static aegis_status sweep_device(aegis_timed_run *run, aegis_error *err)
{
    uint64_t half = run->scratch.size_bytes / 2;
    char *bytes = run->scratch.pointer;
    aegis_status status = aegis_stream_call(run->stream, cool, run, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_copy(run->stream, bytes, bytes + half, half, err);
    }
    return status == AEGIS_OK ? aegis_stream_synchronize(run->stream, err) : status;
}

static void run_job(void *argument)
{
    aegis_timed_run *run = argument;
    await_segment(run, run->first);
    if (run->cold != NULL && !sweeps_device(run)) {
        cool(run);
    }
    atomic_store(&run->start_ns, aegis_clock_now_ns(run->clock));
    aegis_stream_expect(run->stream, *least_of(run));
    run->status = AEGIS_OK;
    run->waited_ns = 0;
    for (uint32_t segment = run->first; segment < run->end && run->status == AEGIS_OK; segment++) {
        run->waited_ns += await_segment(run, segment);
        run->status = aegis_model_execute(run->model, segment, 0, run->stream, &run->error);
    }
}

/* Runs when the device has finished, so that asynchronous work is counted. */
static void end_job(void *argument)
{
    aegis_timed_run *run = argument;
    run->end_ns = aegis_clock_now_ns(run->clock);
    if (run->status == AEGIS_OK && run->end == aegis_model_segment_count(run->model)) {
        aegis_model_commit(run->model);
    }
}

static aegis_status begin_run(aegis_timed_run *run, aegis_error *err)
{
    atomic_store(&run->start_ns, 0);
    aegis_status status = sweeps_device(run) ? sweep_device(run, err) : AEGIS_OK;
    if (status == AEGIS_OK) {
        status = aegis_stream_call(run->stream, run_job, run, err);
    }
    return status != AEGIS_OK ? status : aegis_stream_notify(run->stream, end_job, run, err);
}

aegis_status aegis_timed_run_once(aegis_timed_run *run, uint64_t *ret_elapsed_ns, aegis_error *err)
{
    aegis_status status = begin_run(run, err);
    if (status == AEGIS_OK) {
        status = aegis_stream_synchronize(run->stream, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (run->status != AEGIS_OK) {
        if (err != NULL) {
            *err = run->error;
        }
        return run->status;
    }
    *ret_elapsed_ns = run->end_ns - atomic_load(&run->start_ns) - run->waited_ns;
    uint64_t *least = least_of(run);
    if (*least == 0 || *ret_elapsed_ns < *least) {
        *least = *ret_elapsed_ns;
    }
    return AEGIS_OK;
}

aegis_status aegis_timed_run_end_after(aegis_timed_run *run,
                                       uint64_t after_ns,
                                       uint64_t *ret_stretch_ns,
                                       aegis_error *err)
{
    aegis_status status = begin_run(run, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint64_t start = 0, asked = 0;
    while (start == 0) {
        start = atomic_load(&run->start_ns);
    }
    do {
        asked = aegis_clock_now_ns(run->clock);
    } while (asked < start + after_ns);
    aegis_model_terminate(run->model);
    status = aegis_stream_synchronize(run->stream, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (run->status != AEGIS_OK && run->status != AEGIS_ERROR_TERMINATED) {
        if (err != NULL) {
            *err = run->error;
        }
        return run->status;
    }
    *ret_stretch_ns = run->end_ns > asked ? run->end_ns - asked : 0;
    return AEGIS_OK;
}
