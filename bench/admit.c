/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aegis_scheduler_admit by the number of models that stand: the time of admitting the last one, and
 * of admitting all one by one. The models use 0.7 of each of one or two lanes; their bounds are
 * given, nothing is executed. Thread time stands beside wall time: on a machine that others use it
 * is the figure to compare. A set of which one model is refused is drawn anew: what refusals cost
 * is another question.
 */
#include "bench/bench.h"
#include "bench/tasksets.h"

#include <aegisrt/scheduler.h>

#include <time.h>

#define SETS 1000
#define CASE_NS UINT64_C(4000000000) /* a case ends after this time with the sets it has */
#define MOST_MODELS 256
#define MS 1000000.0

typedef struct bed {
    aegis_device *device;
    aegis_stream *lanes[2];
    aegis_scheduler *scheduler;
    aegis_context *contexts[MOST_MODELS];
    aegis_allocator allocator;
} bed;

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static double thread_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void open_device(bed *b)
{
    aegis_error err;
    const aegis_device_config config = {.kind = AEGIS_DEVICE_HOST, .arena_bytes = 1 << 20};
    b->allocator = aegis_allocator_default();
    must(aegis_device_create(&config, &b->allocator, &b->device, &err), &err);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(b->lanes); i++) {
        const aegis_stream_config stream = {.name = "lane", .cpu = -1, .width = 1, .depth = 4};
        must(aegis_stream_create(b->device, &stream, &b->lanes[i], &err), &err);
    }
}

static void open_scheduler(bed *b, const char *policy, uint16_t lanes)
{
    aegis_error err;
    aegis_scheduler_config config = {.lanes = b->lanes,
                                     .lane_count = lanes,
                                     .clock = aegis_clock_monotonic(),
                                     .max_models = MOST_MODELS,
                                     .cpu = -1,
                                     .wake_bound_ns = 1,
                                     .overhead_bound_ns = 1};
    must(aegis_policy_find(policy, &config.policy, &err), &err);
    must(aegis_scheduler_create(&config, &b->allocator, &b->scheduler, &err), &err);
}

static void close_scheduler(bed *b)
{
    aegis_scheduler_destroy(b->scheduler);
    for (size_t i = 0; i < MOST_MODELS; i++) {
        aegis_context_destroy(b->contexts[i]);
        b->contexts[i] = NULL;
    }
}

/* True when it was admitted. */
static bool admit(bed *b, uint32_t id, const aegis_task *task)
{
    char name[16];
    aegis_error err;
    aegis_admission_answer answer;
    const aegis_resource_budget budget = {.memory_limit_bytes = 0};
    aegis_profile profile = {.bound_ns = (uint64_t)task->execution};
    const aegis_admission_request request = {.profile = &profile,
                                             .period_ns = (uint64_t)task->period,
                                             .priority = (int32_t)id,
                                             .overrun = AEGIS_OVERRUN_REPORT,
                                             .queue_depth = 1,
                                             .lane = -1};
    snprintf(name, sizeof name, "m%u", id);
    if (b->contexts[id] == NULL) {
        must(aegis_context_create(id, name, &budget, NULL, &b->allocator, &b->contexts[id], &err),
             &err);
    }
    aegis_status status =
        aegis_scheduler_admit(b->scheduler, b->contexts[id], &request, &answer, &err);
    if (status != AEGIS_ERROR_NOT_ADMITTED) {
        must(status, &err);
    }
    return status == AEGIS_OK;
}

typedef struct figures {
    double last_us[SETS], last_thread_us[SETS], all_us[SETS];
    size_t count;
} figures;

/* One set; counted when all its models were admitted. */
static void run_set(bed *b, const aegis_task *tasks, uint32_t count, figures *f)
{
    uint64_t begin = bench_now_ns(), start = begin;
    double start_thread = 0;
    for (uint32_t i = 0; i < count; i++) {
        start = bench_now_ns();
        start_thread = thread_us();
        if (!admit(b, i, &tasks[i])) {
            return;
        }
    }
    f->last_thread_us[f->count] = thread_us() - start_thread;
    f->last_us[f->count] = (double)(bench_now_ns() - start) / 1000.0;
    f->all_us[f->count] = (double)(bench_now_ns() - begin) / 1000.0;
    f->count++;
}

static void
measure(bench_report *report, bed *b, const char *policy, uint16_t lanes, uint32_t count)
{
    static figures f;
    static aegis_task tasks[MOST_MODELS];
    uint64_t seed = 1;
    char name[96];
    uint64_t start = bench_now_ns();
    const bench_taskset_shape shape = {.count = count,
                                       .utilisation = 0.7 * lanes,
                                       .least_period = 100 * MS,
                                       .largest_period = 300 * MS,
                                       .least_deadline = 1.0};
    f.count = 0;
    while (f.count < SETS && bench_now_ns() - start < CASE_NS) {
        bench_draw_taskset(&seed, &shape, tasks);
        open_scheduler(b, policy, lanes);
        run_set(b, tasks, count, &f);
        close_scheduler(b);
    }
    snprintf(name, sizeof name, "%s_lanes%u_n%u_last", policy, lanes, count);
    bench_report_samples(report, name, "us", f.last_us, f.count);
    snprintf(name, sizeof name, "%s_lanes%u_n%u_last_thread", policy, lanes, count);
    bench_report_samples(report, name, "us", f.last_thread_us, f.count);
    snprintf(name, sizeof name, "%s_lanes%u_n%u_all", policy, lanes, count);
    bench_report_samples(report, name, "us", f.all_us, f.count);
}

int main(void)
{
    static const char *const policies[] = {"np-edf", "np-rm"};
    static const uint32_t counts[] = {8, 32, MOST_MODELS};
    static bed b;
    bench_report report = bench_report_begin("admit");
    open_device(&b);
    for (size_t p = 0; p < AEGIS_ARRAY_LENGTH(policies); p++) {
        for (uint16_t lanes = 1; lanes <= 2; lanes++) {
            for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(counts); n++) {
                measure(&report, &b, policies[p], lanes, counts[n]);
            }
        }
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(b.lanes); i++) {
        aegis_stream_destroy(b.lanes[i]);
    }
    aegis_device_destroy(b.device);
    bench_report_end(&report);
    return 0;
}
