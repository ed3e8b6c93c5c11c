/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies between two segments on a GPU lane: a cut model whose segments are spin kernels of one
 * length, through scheduler, lane and device, against bare loops of the same kernels in turns
 * within one run.
 *
 *     bench_gpu_dispatch [ROUNDS]
 *
 * Kernels stamp their start and end by the GPU's clock. Of each job of 32 segments only what lies
 * inside it counts: 31 gaps, and the time from the first start to the last end. Then the same of 32
 * jobs of one segment, of one model (`jobs_of_one`) and of two in turns (`jobs_of_two`), which have
 * all been released when the long kernel before them ends; its gap counts nowhere. The bare loops:
 * `bare` launches all kernels back to back, so that the GPU never waits for the host; `waiting`
 * waits for each before it launches the next, as anything must that decides after the end and
 * launches then; `gated` launches each while the one before it runs, behind a gate that the host
 * opens when it sees that one's end: the least that deciding after the end costs. Modes name how
 * driver and lane wait. The goal: gap at most that of `bare` plus one launch call plus 2 us, span
 * at most 1/0.99 of that of `bare`.
 */
#include "gpu.h"

#include <time.h>

#define SEGMENTS 32u
#define AHEAD_NS 1000000u
#define DEFAULT_ROUNDS 15
#define GOAL_NS 2000.0
#define GATE_BYTES 128u

typedef struct mode {
    const char *name;
    aegis_wait_mode wait;
    aegis_completion completion;
    bool ahead, measure_bounds;
} mode;

static const mode modes[] = {
    {"poll", AEGIS_WAIT_POLL, AEGIS_COMPLETION_POLL, true, true},
    {"poll_not_ahead", AEGIS_WAIT_POLL, AEGIS_COMPLETION_POLL, false, true},
    {"poll_driver_adaptive_lane", AEGIS_WAIT_POLL, AEGIS_COMPLETION_ADAPTIVE, true, true},
    {"sleep_poll", AEGIS_WAIT_SLEEP, AEGIS_COMPLETION_POLL, true, false},
    {"sleep_adaptive", AEGIS_WAIT_SLEEP, AEGIS_COMPLETION_ADAPTIVE, true, true},
    {"sleep_block", AEGIS_WAIT_SLEEP, AEGIS_COMPLETION_BLOCK, false, false},
};

static const uint64_t lengths_ns[] = {20000, 200000, 1000000};

typedef struct series {
    double *gaps, *spans;
    size_t rounds;
    double cpu_ns; /* of all rounds */
} series;

static series new_series(size_t rounds)
{
    return (series){.gaps = gpu_samples(rounds * (SEGMENTS - 1)), .spans = gpu_samples(rounds)};
}

static void free_series(series *one)
{
    free(one->gaps);
    free(one->spans);
}

static void take_round(series *one, const kernel_stamp *stamps)
{
    for (size_t i = 0; i + 1 < SEGMENTS; i++) {
        one->gaps[one->rounds * (SEGMENTS - 1) + i] =
            (double)stamps[i + 1].start_ns - (double)stamps[i].end_ns;
    }
    one->spans[one->rounds++] = (double)(stamps[SEGMENTS - 1].end_ns - stamps[0].start_ns);
}

typedef enum bare_kind {
    BARE,
    BARE_WAITING,
    BARE_GATED
} bare_kind;

typedef struct bare_call {
    aegis_stream *lane;
    kernel_stamp *stamps;
    uint64_t ns;
    bare_kind kind;
    int code;
} bare_call;

static void run_bare(void *argument)
{
    bare_call *self = argument;
    struct CUstream_st *handle = NULL;
    aegis_error error;
    gpu_check(aegis_cuda_stream_handle(self->lane, &handle, &error), &error);
    if (self->kind == BARE) {
        self->code = bare_loop(handle, self->ns, self->stamps, SEGMENTS);
    } else if (self->kind == BARE_WAITING) {
        self->code = bare_waiting_loop(handle, self->ns, self->stamps, SEGMENTS);
    } else {
        uint32_t *words = (uint32_t *)(self->stamps + SEGMENTS);
        memset(words, 0, GATE_BYTES);
        self->code = bare_gated_loop(handle, self->ns, self->stamps, SEGMENTS, words);
    }
}

/* On the lane's own thread, like the scheduler's launches. */
static void bare_round(series *one, gpu_bed *bed, kernel_stamp *stamps, uint64_t ns, bare_kind kind)
{
    bare_call call = {.lane = bed->lane, .stamps = stamps, .ns = ns, .kind = kind};
    aegis_error error;
    double before = gpu_cpu_ns();
    gpu_check(aegis_stream_call(bed->lane, run_bare, &call, &error), &error);
    gpu_check(aegis_stream_synchronize(bed->lane, &error), &error);
    one->cpu_ns += gpu_cpu_ns() - before;
    gpu_must(call.code, "a bare loop");
    take_round(one, stamps);
}

static void note_end(void *self, const aegis_job_result *result)
{
    if (result->end != AEGIS_JOB_COMPLETED) {
        fprintf(stderr, "a job ended with %d\n", (int)result->end);
        exit(4);
    }
    sem_post(self);
}

/* A submission before its time would be held back, and the waiting counted. */
static void sleep_period(const gpu_bed *bed, uint32_t model)
{
    struct timespec period = {.tv_sec = (time_t)(bed->periods_ns[model] / 1000000000u),
                              .tv_nsec = (long)(bed->periods_ns[model] % 1000000000u)};
    nanosleep(&period, NULL);
}

static void aegis_round(series *one, gpu_bed *bed, uint32_t model, sem_t *ended)
{
    size_t count;
    sleep_period(bed, model);
    double before = gpu_cpu_ns();
    kernel_model_clear(bed->models[model]);
    gpu_bed_submit(bed, model, note_end, ended);
    gpu_sem_wait(ended);
    one->cpu_ns += gpu_cpu_ns() - before;
    take_round(one, kernel_model_stamps(bed->models[model], &count));
}

static int by_start(const void *a, const void *b)
{
    uint64_t first = ((const kernel_stamp *)a)->start_ns;
    uint64_t second = ((const kernel_stamp *)b)->start_ns;
    return (first > second) - (first < second);
}

/* Jobs of the models before the last one, which holds the lane until they are all ready. The CPU
 * time is that of the long kernel too, and means nothing. */
static void jobs_round(series *one, gpu_bed *bed, uint32_t models, sem_t *ended)
{
    kernel_stamp stamps[SEGMENTS];
    size_t used = 0, count;
    sleep_period(bed, models);
    for (uint32_t m = 0; m <= models; m++) {
        kernel_model_clear(bed->models[m]);
    }
    gpu_bed_submit(bed, models, note_end, ended);
    nanosleep(&(struct timespec){.tv_nsec = AHEAD_NS},
              NULL); /* a driver that sleeps takes it alone */
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        gpu_bed_submit(bed, i % models, note_end, ended);
    }
    for (uint32_t i = 0; i <= SEGMENTS; i++) {
        gpu_sem_wait(ended);
    }
    for (uint32_t m = 0; m < models; m++) {
        const kernel_stamp *own = kernel_model_stamps(bed->models[m], &count);
        memcpy(stamps + used, own, count * sizeof *own);
        used += count;
    }
    qsort(stamps, SEGMENTS, sizeof *stamps, by_start);
    take_round(one, stamps);
}

static double median_of(double *samples, size_t count)
{
    bench_sort(samples, count);
    return bench_percentile(samples, count, 0.5);
}

static void report_name(char *text, size_t size, uint64_t ns, const char *mode_name, const char *of)
{
    snprintf(text, size, "%lluus_%s_%s", (unsigned long long)(ns / 1000), mode_name, of);
}

static void report_series(bench_report *report, uint64_t ns, const char *name, series *one)
{
    char text[96];
    report_name(text, sizeof text, ns, name, "gap");
    bench_report_samples(report, text, "ns", one->gaps, one->rounds * (SEGMENTS - 1));
    report_name(text, sizeof text, ns, name, "span");
    bench_report_samples(report, text, "ns", one->spans, one->rounds);
    report_name(text, sizeof text, ns, name, "cpu_per_segment");
    bench_report_value(report, text, "ns", one->cpu_ns / (double)(one->rounds * SEGMENTS));
}

static void report_against(bench_report *report,
                           uint64_t ns,
                           const mode *how,
                           series *ours,
                           series *bare,
                           series *waiting,
                           double launch_ns)
{
    char text[96];
    double gap = median_of(ours->gaps, ours->rounds * (SEGMENTS - 1));
    double least = median_of(bare->gaps, bare->rounds * (SEGMENTS - 1));
    report_name(text, sizeof text, ns, how->name, "gap_over_bare");
    bench_report_value(report, text, "ns", gap - least);
    report_name(text, sizeof text, ns, how->name, "gap_over_waiting");
    bench_report_value(report, text, "ns",
                       gap - median_of(waiting->gaps, waiting->rounds * (SEGMENTS - 1)));
    report_name(text, sizeof text, ns, how->name, "gap_over_goal");
    bench_report_value(report, text, "ns", gap - least - launch_ns - GOAL_NS);
    report_name(text, sizeof text, ns, how->name, "throughput_ratio");
    bench_report_value(report, text, "bare span over AegisRT span",
                       median_of(bare->spans, bare->rounds) / median_of(ours->spans, ours->rounds));
    report_name(text, sizeof text, ns, how->name, "throughput_ratio_to_waiting");
    bench_report_value(report, text, "waiting span over AegisRT span",
                       median_of(waiting->spans, waiting->rounds) /
                           median_of(ours->spans, ours->rounds));
}

typedef void (*our_round)(series *one, gpu_bed *bed, uint32_t model, sem_t *ended);

static void measure_length(bench_report *report,
                           const mode *how,
                           gpu_bed *bed,
                           our_round take_ours,
                           uint32_t model,
                           uint64_t ns,
                           size_t rounds,
                           double launch_ns)
{
    aegis_error error;
    aegis_buffer stamps;
    sem_t ended;
    series ours = new_series(rounds), bare = new_series(rounds), waiting = new_series(rounds);
    series gated = new_series(rounds);
    sem_init(&ended, 0, 0);
    gpu_check(aegis_device_pinned_alloc(bed->device, SEGMENTS * sizeof(kernel_stamp) + GATE_BYTES,
                                        64, &stamps, &error),
              &error);
    for (size_t i = 0; i < rounds; i++) {
        take_ours(&ours, bed, model, &ended);
        bare_round(&bare, bed, stamps.pointer, ns, BARE);
        bare_round(&waiting, bed, stamps.pointer, ns, BARE_WAITING);
        bare_round(&gated, bed, stamps.pointer, ns, BARE_GATED);
    }
    report_series(report, ns, how->name, &ours);
    char name[64];
    snprintf(name, sizeof name, "bare_beside_%s", how->name);
    report_series(report, ns, name, &bare);
    snprintf(name, sizeof name, "waiting_beside_%s", how->name);
    report_series(report, ns, name, &waiting);
    snprintf(name, sizeof name, "gated_beside_%s", how->name);
    report_series(report, ns, name, &gated);
    report_against(report, ns, how, &ours, &bare, &waiting, launch_ns);
    gpu_check(aegis_device_pinned_free(bed->device, &stamps, &error), &error);
    free_series(&ours);
    free_series(&bare);
    free_series(&waiting);
    free_series(&gated);
}

typedef struct launch_times {
    aegis_stream *lane;
    double launch_ns, round_trip_ns;
    int code;
} launch_times;

static void time_launches(void *argument)
{
    launch_times *self = argument;
    struct CUstream_st *handle = NULL;
    aegis_error error;
    gpu_check(aegis_cuda_stream_handle(self->lane, &handle, &error), &error);
    self->code = bare_launch(handle, &self->launch_ns, &self->round_trip_ns);
}

static void measure_mode(bench_report *report, const mode *how, size_t rounds)
{
    bool measure_bounds = how->measure_bounds;
    aegis_scheduler_metrics metrics;
    gpu_bed bed;
    aegis_error error;
    char text[96];
    gpu_bed_open(&bed, &(gpu_bed_config){.wait = how->wait,
                                         .completion = how->completion,
                                         .ahead = how->ahead,
                                         .wake_bound_ns = measure_bounds ? 0 : 100000,
                                         .overhead_bound_ns = measure_bounds ? 0 : 100000});
    if (measure_bounds) {
        snprintf(text, sizeof text, "%s_overhead_bound", how->name);
        bench_report_value(report, text, "ns",
                           (double)aegis_scheduler_overhead_bound_ns(bed.scheduler));
        snprintf(text, sizeof text, "%s_wake_bound", how->name);
        bench_report_value(report, text, "ns",
                           (double)aegis_scheduler_wake_bound_ns(bed.scheduler));
    }
    launch_times times = {.lane = bed.lane};
    gpu_check(aegis_stream_call(bed.lane, time_launches, &times, &error), &error);
    gpu_check(aegis_stream_synchronize(bed.lane, &error), &error);
    gpu_must(times.code, "launches");
    snprintf(text, sizeof text, "%s_launch_call", how->name);
    bench_report_value(report, text, "ns", times.launch_ns);
    snprintf(text, sizeof text, "%s_launch_and_poll", how->name);
    bench_report_value(report, text, "ns", times.round_trip_ns);

    uint32_t models[3];
    char path[32];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%ux%llu", SEGMENTS, (unsigned long long)lengths_ns[i]);
        models[i] = gpu_bed_add(&bed, path, GPU_BED_HOUR_NS, 0, 3);
    }
    gpu_bed_start(&bed);
    for (int i = 0; i < 3; i++) {
        measure_length(report, how, &bed, aegis_round, models[i], lengths_ns[i], rounds,
                       times.launch_ns);
    }
    gpu_check(aegis_scheduler_get_metrics(bed.scheduler, &metrics, &error), &error);
    snprintf(text, sizeof text, "%s_opened", how->name);
    bench_report_value(report, text, "of all segments",
                       (double)metrics.opened / (double)(3 * rounds * SEGMENTS));
    gpu_bed_close(&bed);
}

/* SEGMENTS jobs of one segment each, of so many models. */
static void
measure_jobs(bench_report *report, const mode *how, uint32_t models, uint64_t ns, size_t rounds)
{
    aegis_scheduler_metrics metrics;
    gpu_bed bed;
    aegis_error error;
    char text[96], path[32];
    const mode named = {.name = text};
    snprintf(text, sizeof text, "%s_jobs_of_%s", how->name, models == 1 ? "one" : "two");
    gpu_bed_open(&bed, &(gpu_bed_config){.wait = how->wait,
                                         .completion = how->completion,
                                         .ahead = how->ahead,
                                         .wake_bound_ns = 10000,
                                         .overhead_bound_ns = 10000,
                                         .slots = SEGMENTS / models});
    launch_times times = {.lane = bed.lane};
    gpu_check(aegis_stream_call(bed.lane, time_launches, &times, &error), &error);
    gpu_check(aegis_stream_synchronize(bed.lane, &error), &error);
    gpu_must(times.code, "launches");
    snprintf(path, sizeof path, "1x%llu", (unsigned long long)ns);
    for (uint32_t i = 0; i < models; i++) {
        gpu_bed_add(&bed, path, GPU_BED_HOUR_NS, 0, 4);
    }
    /* The last of them is released before it ends. */
    snprintf(path, sizeof path, "1x%llu",
             (unsigned long long)(3 * AHEAD_NS + (SEGMENTS / models + 1) * bed.periods_ns[0]));
    gpu_bed_add(&bed, path, GPU_BED_HOUR_NS, 0, 4);
    gpu_bed_start(&bed);
    measure_length(report, &named, &bed, jobs_round, models, ns, rounds, times.launch_ns);
    gpu_check(aegis_scheduler_get_metrics(bed.scheduler, &metrics, &error), &error);
    char opened[128];
    snprintf(opened, sizeof opened, "%lluus_%s_opened", (unsigned long long)(ns / 1000), text);
    bench_report_value(report, opened, "of all jobs",
                       (double)metrics.opened / (double)(rounds * SEGMENTS));
    gpu_bed_close(&bed);
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : DEFAULT_ROUNDS;
    if (rounds < 1) {
        fprintf(stderr, "ROUNDS must be positive\n");
        return 2;
    }
    aegis_device_destroy(gpu_device(4096, 0)); /* no GPU: exit 77 before anything is said */
    bench_report report = bench_report_begin("gpu_dispatch");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        measure_mode(&report, &modes[i], (size_t)rounds);
        for (uint32_t k = 0; k < 2; k++) { /* 1 ms says no more */
            measure_jobs(&report, &modes[i], 1, lengths_ns[k], (size_t)rounds);
            measure_jobs(&report, &modes[i], 2, lengths_ns[k], (size_t)rounds);
        }
    }
    gpu_report_device(&report);
    bench_report_end(&report);
    return 0;
}
