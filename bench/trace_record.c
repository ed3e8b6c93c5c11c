/* SPDX-License-Identifier: Apache-2.0 */
/* Cost of one trace record in the writer's thread. Batches of 64 spread the cost of the measuring
 * clock; the single ones show the tail, that clock included. The drain thread runs beside. */
#include "bench/bench.h"

#include <aegisrt/trace.h>

#define BATCH 64
#define SAMPLES 20000
#define PAUSE_EVERY 512 /* samples: lets the drain thread keep up, so that nothing is dropped */

typedef struct fixture {
    aegis_trace_collector *collector;
    aegis_trace_ring *ring;
    double *samples;
} fixture;

static void pause_for_drain(size_t i)
{
    if (i % PAUSE_EVERY == 0) {
        usleep(2000);
    }
}

static void measure_batches(fixture *f, bench_report *report, const char *name, uint64_t time_ns)
{
    aegis_trace_record record = {.time_ns = time_ns, .kind = AEGIS_TRACE_DISPATCH, .job = 1};
    for (size_t i = 0; i < SAMPLES; i++) {
        pause_for_drain(i);
        uint64_t start = bench_now_ns();
        for (int j = 0; j < BATCH; j++) {
            record.a = j;
            aegis_trace_record_write(f->ring, &record);
        }
        f->samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    bench_report_samples(report, name, "ns", f->samples, SAMPLES);
}

static void measure_single(fixture *f, bench_report *report)
{
    aegis_trace_record record = {.kind = AEGIS_TRACE_DISPATCH, .job = 1};
    for (size_t i = 0; i < SAMPLES; i++) {
        pause_for_drain(i);
        uint64_t start = bench_now_ns();
        aegis_trace_record_write(f->ring, &record);
        f->samples[i] = (double)(bench_now_ns() - start);
    }
    bench_report_samples(report, "one_record_and_one_clock_read", "ns", f->samples, SAMPLES);
}

static void measure_clock(fixture *f, bench_report *report)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t start = bench_now_ns(), now = 0;
        for (int j = 0; j < BATCH; j++) {
            now += bench_now_ns();
        }
        bench_keep(&now);
        f->samples[i] = (double)(bench_now_ns() - start) / BATCH;
    }
    bench_report_samples(report, "clock_read", "ns", f->samples, SAMPLES);
}

static aegis_status set_up(fixture *f, aegis_error *err)
{
    aegis_clock clock = aegis_clock_monotonic();
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_config config = {.drain_interval_ns = 1000000};
    aegis_status status =
        aegis_trace_collector_create(&config, &clock, &allocator, &f->collector, err);
    return status == AEGIS_OK ? aegis_trace_ring_create(f->collector, "bench", &f->ring, err)
                              : status;
}

int main(void)
{
    fixture f = {.samples = calloc(SAMPLES, sizeof(double))};
    aegis_error err = {0};
    if (f.samples == NULL || set_up(&f, &err) != AEGIS_OK) {
        fprintf(stderr, "bench_trace_record: %s\n", err.message);
        aegis_trace_collector_destroy(f.collector);
        free(f.samples);
        return 4;
    }
    bench_report report = bench_report_begin("trace_record");
    uint64_t written, dropped;
    measure_clock(&f, &report);
    measure_batches(&f, &report, "record_with_clock", 0);
    measure_batches(&f, &report, "record_with_time_given", 1);
    measure_single(&f, &report);
    aegis_trace_collector_totals(f.collector, &written, &dropped);
    bench_report_value(&report, "written", "records", (double)written);
    bench_report_value(&report, "dropped", "records", (double)dropped);
    bench_report_end(&report);
    aegis_trace_collector_destroy(f.collector);
    free(f.samples);
    return 0;
}
