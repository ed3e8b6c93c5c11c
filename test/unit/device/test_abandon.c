/* SPDX-License-Identifier: Apache-2.0 */
/* A stream whose work never ends: found by a bounded wait, left behind with a fatal report, and the
 * device goes without waiting. The thread that is left ends with the process. */
#include <aegisrt/clock.h>
#include <aegisrt/device.h>

#include <semaphore.h>
#include <stdio.h>
#include <unistd.h>

#define REQUIRE(condition)                                           \
    do {                                                             \
        if (!(condition)) {                                          \
            printf("line %d: not true: %s\n", __LINE__, #condition); \
            return 1;                                                \
        }                                                            \
    } while (0)

static void never_end(void *argument)
{
    sem_t *never = argument;
    while (sem_wait(never) != 0) {
        /* EINTR */
    }
}

int main(void)
{
    static sem_t never; /* outlives main's frame: the thread goes on to use it */
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 65536};
    aegis_stream_config stream_config = aegis_stream_config_default("hung");
    aegis_clock clock = aegis_clock_monotonic();
    aegis_device *device;
    aegis_stream *hung, *good, *more = NULL;
    aegis_error err;
    sem_init(&never, 0, 0);
    REQUIRE(aegis_device_create(&config, &allocator, &device, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_create(device, &stream_config, &hung, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_create(device, &stream_config, &good, NULL) == AEGIS_OK);
    REQUIRE(aegis_stream_call(hung, never_end, &never, NULL) == AEGIS_OK);

    uint64_t begin = aegis_clock_now_ns(&clock);
    REQUIRE(aegis_stream_synchronize_until(hung, begin + 10000000, &err) == AEGIS_ERROR_TIMEOUT);
    REQUIRE(err.category == AEGIS_CATEGORY_TRANSIENT);
    REQUIRE(aegis_stream_abandon(hung, &err) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(err.category == AEGIS_CATEGORY_FATAL);

    REQUIRE(aegis_stream_create(device, &stream_config, &more, &err) == AEGIS_ERROR_DEVICE_LOST);
    REQUIRE(more == NULL);
    REQUIRE(aegis_stream_synchronize(good, NULL) == AEGIS_OK);
    aegis_stream_destroy(good);
    aegis_device_destroy(device);
    test_keep_notes();
    fflush(stdout);
    _exit(0); /* no leak check: what was left behind is the point */
}
