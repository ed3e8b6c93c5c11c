/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a model of high priority waits behind a cut one of low priority on one GPU lane.
 *
 *     bench_gpu_blocking [JOBS]
 *
 * The low model runs all the time: eight segments of 500 us, spin kernels. The high one, a kernel
 * of 100 us, is submitted at pseudo-random instants of its life. Blocking is the response of the
 * high job (submission to end, by the host's clock) less the length of its own kernel; alone it is
 * measured the same way before. The goal: at most the largest segment plus 50 us.
 */
#include "gpu.h"

#include <stdatomic.h>
#include <time.h>

#define SEGMENT_NS UINT64_C(500000)
#define HIGH_NS UINT64_C(100000)
#define GOAL_NS 50000.0
#define DEFAULT_JOBS 1500

typedef struct high {
    sem_t ended;
    double response_ns;
} high;

typedef struct low {
    gpu_bed *bed;
    uint32_t model;
    atomic_bool stop;
    sem_t ended;
} low;

static void high_ended(void *argument, const aegis_job_result *result)
{
    high *self = argument;
    self->response_ns = (double)(result->finish_ns - result->release_ns);
    sem_post(&self->ended);
}

/* Keeps one job of the low model in being; the callback thread may submit. */
static void low_ended(void *argument, const aegis_job_result *result)
{
    low *self = argument;
    (void)result;
    if (atomic_load(&self->stop)) {
        sem_post(&self->ended);
        return;
    }
    gpu_bed_submit(self->bed, self->model, low_ended, self);
}

/* Each job comes at another place of the low model's segments. */
static void wait_odd_time(uint64_t least_ns, uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t ns = least_ns + (*seed >> 33) % (4 * SEGMENT_NS);
    struct timespec nap = {.tv_sec = (time_t)(ns / 1000000000u),
                           .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&nap, NULL);
}

static void take_jobs(gpu_bed *bed, uint32_t model, double *samples, size_t count)
{
    high self;
    uint64_t seed = 1;
    sem_init(&self.ended, 0, 0);
    for (size_t i = 0; i < count; i++) {
        wait_odd_time(bed->periods_ns[model], &seed);
        gpu_bed_submit(bed, model, high_ended, &self);
        gpu_sem_wait(&self.ended);
        samples[i] = self.response_ns - (double)HIGH_NS;
    }
}

static void
measure(bench_report *report, const char *name, const gpu_bed_config *config, size_t jobs)
{
    gpu_bed bed;
    char text[96];
    double *alone = gpu_samples(jobs), *blocked = gpu_samples(jobs);
    gpu_bed_open(&bed, config);
    uint32_t urgent = gpu_bed_add(&bed, "1x100000", GPU_BED_HOUR_NS, 0, 8);
    low background = {.bed = &bed, .model = gpu_bed_add(&bed, "8x500000", GPU_BED_HOUR_NS, 1, 1)};
    sem_init(&background.ended, 0, 0);
    gpu_bed_start(&bed);
    take_jobs(&bed, urgent, alone, jobs / 4);
    gpu_bed_submit(&bed, background.model, low_ended, &background);
    take_jobs(&bed, urgent, blocked, jobs);
    atomic_store(&background.stop, true);
    gpu_sem_wait(&background.ended);
    snprintf(text, sizeof text, "%s_alone", name);
    bench_report_samples(report, text, "ns", alone, jobs / 4);
    snprintf(text, sizeof text, "%s_blocking", name);
    bench_report_samples(report, text, "ns", blocked, jobs); /* sorts */
    snprintf(text, sizeof text, "%s_worst_over_goal", name);
    bench_report_value(report, text, "ns", blocked[jobs - 1] - (double)SEGMENT_NS - GOAL_NS);
    snprintf(text, sizeof text, "%s_p99_over_goal", name);
    bench_report_value(report, text, "ns",
                       bench_percentile(blocked, jobs, 0.99) - (double)SEGMENT_NS - GOAL_NS);
    gpu_bed_close(&bed);
    free(alone);
    free(blocked);
}

int main(int argc, char **argv)
{
    long jobs = argc > 1 ? atol(argv[1]) : DEFAULT_JOBS;
    if (jobs < 4) {
        fprintf(stderr, "JOBS must be at least 4\n");
        return 2;
    }
    aegis_device_destroy(gpu_device(4096, 0));
    bench_report report = bench_report_begin("gpu_blocking");
    bench_report_value(&report, "largest_segment", "ns", (double)SEGMENT_NS);
    gpu_bed_config config = {
        .policy = "np-fp", .ahead = true, .wake_bound_ns = 100000, .overhead_bound_ns = 100000};
    measure(&report, "sleep_adaptive", &config, (size_t)jobs);
    config.wait = AEGIS_WAIT_POLL;
    measure(&report, "poll_driver_adaptive_lane", &config, (size_t)jobs);
    config.completion = AEGIS_COMPLETION_POLL;
    measure(&report, "poll", &config, (size_t)jobs);
    gpu_report_device(&report);
    bench_report_end(&report);
    return 0;
}
