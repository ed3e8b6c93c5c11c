/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/ext/clock_ops.h>

#include "base/base.h"

#include <errno.h>
#include <time.h>

static uint64_t monotonic_now(void *self)
{
    (void)self;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * AEGIS_NS_PER_S + (uint64_t)now.tv_nsec;
}

static aegis_status monotonic_wait_until(void *self, uint64_t when_ns, aegis_error *err)
{
    (void)self;
    struct timespec when = {.tv_sec = (time_t)(when_ns / AEGIS_NS_PER_S),
                            .tv_nsec = (long)(when_ns % AEGIS_NS_PER_S)};
    int rc;
    do {
        rc = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
    } while (rc == EINTR);
    if (rc != 0) {
        return aegis_error_set_native(err, AEGIS_HERE("base.clock"), AEGIS_ERROR_IO, rc,
                                      "clock_nanosleep failed with errno %d", rc);
    }
    return AEGIS_OK;
}

static const aegis_clock_ops monotonic_ops = {.version = AEGIS_CLOCK_OPS_VERSION,
                                              .name = "monotonic",
                                              .now_ns = monotonic_now,
                                              .wait_until = monotonic_wait_until};

aegis_clock aegis_clock_monotonic(void)
{
    return (aegis_clock){.ops = &monotonic_ops};
}

uint64_t aegis_clock_now_ns(const aegis_clock *clock)
{
    return clock->ops->now_ns(clock->self);
}
