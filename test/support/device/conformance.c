/* SPDX-License-Identifier: Apache-2.0 */
#include "support/device/conformance.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void *heap_alloc(void *self, size_t size)
{
    conformance_heap *heap = self;
    long call = atomic_fetch_add(&heap->calls, 1) + 1;
    if (heap->fail_at > 0 && call == heap->fail_at) {
        return NULL;
    }
    void *pointer = malloc(size);
    if (pointer != NULL) {
        atomic_fetch_add(&heap->live_blocks, 1);
        atomic_fetch_add(&heap->live_bytes, (long)size);
    }
    return pointer;
}

static void heap_free(void *self, void *pointer, size_t size)
{
    conformance_heap *heap = self;
    if (pointer != NULL) {
        atomic_fetch_sub(&heap->live_blocks, 1);
        atomic_fetch_sub(&heap->live_bytes, (long)size);
        free(pointer);
    }
}

aegis_allocator conformance_allocator(conformance_heap *heap)
{
    return (aegis_allocator){.alloc = heap_alloc, .free = heap_free, .self = heap};
}

bool conformance_check(conformance_case *test, bool good, const char *text, int line)
{
    if (!good) {
        test->failures++;
        fprintf(test->out, "    line %d: not true: %s\n", line, text);
    }
    return good;
}

/* ---- gate ---- */

static void wait_in_gate(void *argument)
{
    conformance_gate *gate = argument;
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 10;
    sem_post(&gate->entered);
    while (sem_timedwait(&gate->open, &limit) != 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec > limit.tv_sec) {
            return;
        }
    }
}

bool conformance_hold(conformance_case *test, conformance_gate *gate, aegis_stream *stream)
{
    gate->used = !test->target->manual;
    if (!gate->used) {
        return true;
    }
    sem_init(&gate->entered, 0, 0);
    sem_init(&gate->open, 0, 0);
    if (!CHECK(test, aegis_stream_call(stream, wait_in_gate, gate, NULL) == AEGIS_OK)) {
        return false;
    }
    while (sem_wait(&gate->entered) != 0) {
        /* EINTR */
    }
    return true;
}

void conformance_let_go(conformance_gate *gate)
{
    if (gate->used) {
        sem_post(&gate->open);
    }
}

aegis_stream *conformance_stream(conformance_case *test, size_t depth)
{
    aegis_stream_config config = aegis_stream_config_default("conform");
    aegis_stream *stream = NULL;
    config.depth = depth;
    CHECK(test, aegis_stream_create(test->device, &config, &stream, NULL) == AEGIS_OK);
    return stream;
}

/* ---- running ---- */

static int run_case(const conformance_target *target, const conformance_entry *entry, FILE *out)
{
    conformance_case test = {.target = target, .out = out};
    aegis_allocator allocator = conformance_allocator(&test.heap);
    aegis_error err;
    aegis_error_clear(&err);
    if (target->create(target->self, CONFORMANCE_ARENA_BYTES, &allocator, &test.device, &err) !=
        AEGIS_OK) {
        fprintf(out, "FAIL  %s: no device: %s\n", entry->name, err.message);
        return 1;
    }
    entry->run(&test);
    aegis_device_destroy(test.device);
    CHECK(&test, test.heap.live_blocks == 0);
    CHECK(&test, test.heap.live_bytes == 0);
    fprintf(out, "%s  %s\n", test.failures == 0 ? "ok  " : "FAIL", entry->name);
    fflush(out);
    return test.failures == 0 ? 0 : 1;
}

static void print_device(const conformance_target *target, FILE *out)
{
    conformance_heap heap = {0};
    aegis_allocator allocator = conformance_allocator(&heap);
    aegis_device *device;
    if (target->create(target->self, CONFORMANCE_ARENA_BYTES, &allocator, &device, NULL) !=
        AEGIS_OK) {
        return;
    }
    const aegis_device_capabilities *is = aegis_device_get_capabilities(device);
    static const char *const sources[] = {"unknown", "read", "derived", "measured"};
    aegis_figure_source source;
    fprintf(out, "device %s: %s\n", target->name, is->name);
    fprintf(out, "  %d multiprocessors, %d FP32 lanes each, %d kHz, capability %d.%d\n",
            is->multiprocessor_count, is->fp32_lanes_per_multiprocessor, is->core_clock_khz,
            is->compute_capability_major, is->compute_capability_minor);
    fprintf(out, "  memory %llu bytes, %llu free, clock %d kHz, bus %d bits, integrated %s\n",
            (unsigned long long)is->total_memory_bytes, (unsigned long long)is->free_memory_bytes,
            is->memory_clock_khz, is->memory_bus_width_bits, is->integrated ? "yes" : "no");
    unsigned long long rate = aegis_device_theoretical_bandwidth(is, &source);
    fprintf(out, "  bandwidth %llu bytes/s (%s), ", rate, sources[source]);
    rate = aegis_device_theoretical_flops(is, &source);
    fprintf(out, "FP32 %llu FLOP/s (%s), %d stream priorities\n", rate, sources[source],
            is->stream_priorities);
    aegis_device_destroy(device);
}

int conformance_run(const conformance_target *target, FILE *out)
{
    const conformance_entry *const groups[] = {conformance_memory_cases, conformance_stream_cases,
                                               conformance_event_cases, conformance_overlap_cases};
    int cases = 0, failed = 0;
    print_device(target, out);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        for (const conformance_entry *entry = groups[i]; entry->name != NULL; entry++) {
            failed += run_case(target, entry, out);
            cases++;
        }
    }
    fprintf(out, "%s: %d cases, %d failed\n", target->name, cases, failed);
    return failed;
}
