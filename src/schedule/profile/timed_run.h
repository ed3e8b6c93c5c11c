/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_TIMED_RUN_H
#define AEGIS_SCHEDULE_TIMED_RUN_H

/* One run of a model as the profiler takes it. */

#include "schedule/profile/cold.h"

#include <aegisrt/profile.h>

#include <stdatomic.h>

/* Some segments of a job on the lane's own thread. */
typedef struct aegis_timed_run {
    const aegis_clock *clock;
    aegis_stream *stream;
    aegis_model *model;
    aegis_cold *cold;          /* NULL: start with caches as they are, at once */
    aegis_buffer scratch;      /* with `cold`, of the device; none: size 0 */
    uint32_t first, end;       /* segments [first, end) */
    _Atomic uint64_t start_ns; /* 0 until it starts */
    uint64_t end_ns;
    uint64_t waited_ns; /* in between, for bytes */
    /* The shortest so far of each segment alone, and of several together (last): the thread of a
     * GPU lane waits as it will when the model is scheduled. */
    uint64_t least_ns[AEGIS_MAX_SEGMENTS + 1];
    aegis_status status;
    aegis_error error;
} aegis_timed_run;

/* Runs it and gives the time between start and end on the lane. */
aegis_status aegis_timed_run_once(aegis_timed_run *run, uint64_t *ret_elapsed_ns, aegis_error *err);
/* Asks a run to end `after_ns` into it and gives how long it went on: 0 when it had ended. */
aegis_status aegis_timed_run_end_after(aegis_timed_run *run,
                                       uint64_t after_ns,
                                       uint64_t *ret_stretch_ns,
                                       aegis_error *err);

#endif
