/* SPDX-License-Identifier: Apache-2.0 */
/* The conformance suite over a device of this machine: AEGISRT_TEST_DEVICE=host (default) or cuda.
 * Exit 77 when the device is not available. AEGISRT_TEST_TIMES=1 adds round-trip times. */
#include "support/device/conformance.h"

#include <aegisrt/clock.h>

#include <stdlib.h>
#include <string.h>

#define PINNED_BYTES (UINT64_C(9) << 20)

static aegis_status create(void *self,
                           uint64_t arena_bytes,
                           const aegis_allocator *allocator,
                           aegis_device **ret_device,
                           aegis_error *err)
{
    aegis_device_config config = {.kind = *(const aegis_device_kind *)self,
                                  .arena_bytes = arena_bytes,
                                  .pinned_bytes = PINNED_BYTES};
    return aegis_device_create(&config, allocator, ret_device, err);
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void nothing(void *argument)
{
    (void)argument;
}

typedef aegis_status (*submit)(aegis_stream *, aegis_stream_function, void *, aegis_error *);

static void print_round_trip(aegis_stream *stream, const char *what, submit put)
{
    enum {
        RUNS = 2000
    };
    static uint64_t times[RUNS];
    aegis_clock clock = aegis_clock_monotonic();
    for (int i = 0; i < RUNS; i++) {
        uint64_t start = aegis_clock_now_ns(&clock);
        put(stream, nothing, NULL, NULL);
        aegis_stream_synchronize(stream, NULL);
        times[i] = aegis_clock_now_ns(&clock) - start;
    }
    qsort(times, RUNS, sizeof *times, compare);
    printf("%s and synchronise: median %llu ns, p99 %llu ns, max %llu ns (%d runs)\n", what,
           (unsigned long long)times[RUNS / 2], (unsigned long long)times[RUNS * 99 / 100],
           (unsigned long long)times[RUNS - 1], RUNS);
}

static void print_times(aegis_device_kind kind)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_device_config config = {.kind = kind, .arena_bytes = 1 << 20, .measure = true};
    aegis_stream_config stream_config = aegis_stream_config_default("times");
    aegis_device *device = NULL;
    aegis_stream *stream = NULL;
    if (aegis_device_create(&config, &allocator, &device, NULL) == AEGIS_OK &&
        aegis_stream_create(device, &stream_config, &stream, NULL) == AEGIS_OK) {
        const aegis_device_capabilities *is = aegis_device_get_capabilities(device);
        printf("measured: %llu bytes/s, %llu FLOP/s\n",
               (unsigned long long)is->measured_bandwidth_bytes_per_second,
               (unsigned long long)is->measured_flops);
        print_round_trip(stream, "call", aegis_stream_call);
        print_round_trip(stream, "notify", aegis_stream_notify);
    }
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
}

int main(void)
{
    const char *name = getenv("AEGISRT_TEST_DEVICE");
    aegis_device_kind kind = AEGIS_DEVICE_HOST;
    aegis_device_capabilities capabilities;
    aegis_error err;
    if (name != NULL && strcmp(name, "cuda") == 0) {
        kind = AEGIS_DEVICE_CUDA;
    } else if (name != NULL && strcmp(name, "host") != 0) {
        fprintf(stderr, "AEGISRT_TEST_DEVICE is '%s': host or cuda\n", name);
        return 2;
    }
    if (aegis_device_query(kind, 0, false, &capabilities, &err) != AEGIS_OK) {
        bool absent = err.status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE;
        printf("%s: %s\n", absent ? "skipped" : "failed", err.message);
        return absent ? 77 : 1;
    }
    conformance_target target = {.name = aegis_device_kind_name(kind),
                                 .create = create,
                                 .self = &kind,
                                 .pinned_bytes = PINNED_BYTES};
    int failed = conformance_run(&target, stdout);
    if (getenv("AEGISRT_TEST_TIMES") != NULL) {
        print_times(kind);
    }
    return failed == 0 ? 0 : 1;
}
