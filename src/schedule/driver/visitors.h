/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_DRIVER_VISITORS_H
#define AEGIS_SCHEDULE_DRIVER_VISITORS_H

/*
 * Submitters are threads of anybody and take no lock, and the model that one is looking at may
 * leave meanwhile. Who takes something away from them makes it unreachable first, then waits here
 * until all who may still have seen it have left. Visitors never wait; they are counted in one of
 * two halves, so that those who come later do not hold up who waits.
 */

#include <stdatomic.h>
#include <time.h>

typedef struct aegis_visitors {
    _Atomic unsigned half;
    _Atomic unsigned inside[2];
} aegis_visitors;

/* The half that has to be told to aegis_visitors_leave. */
static inline unsigned aegis_visitors_enter(aegis_visitors *visitors)
{
    for (;;) {
        unsigned half = atomic_load(&visitors->half);
        atomic_fetch_add(&visitors->inside[half], 1);
        if (atomic_load(&visitors->half) == half) {
            return half; /* whoever waits for this half from now on sees us in it */
        }
        atomic_fetch_sub(&visitors->inside[half], 1);
    }
}

static inline void aegis_visitors_leave(aegis_visitors *visitors, unsigned half)
{
    atomic_fetch_sub(&visitors->inside[half], 1);
}

/* One thread at a time. It sleeps, because on a SCHED_FIFO thread a yield would keep visitors of
 * lesser priority from ever leaving. */
static inline void aegis_visitors_wait(aegis_visitors *visitors)
{
    unsigned before = atomic_load(&visitors->half);
    atomic_store(&visitors->half, 1 - before);
    while (atomic_load(&visitors->inside[before]) != 0) {
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
}

#endif
