/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peer: a workload's models on plain ONNX Runtime, one session and one thread each, at the same
 * rates and with the same inputs. The operating system decides who runs.
 *
 *     bench_peer_ort_threads [--cuda] [WORKLOAD] [SECONDS]
 *
 * With --cuda sessions are on the CUDA provider with its default options: each has its own arena,
 * its own stream, and copies its inputs in and its outputs out. The library is that of
 * AEGISRT_ONNXRUNTIME.
 *
 * Jobs are released at their nominal instants, as AegisRT releases them; a late thread runs the
 * jobs that it owes one after the other. A background model without a period runs one job after the
 * other, and rests after each as its share says. Models that the workload expects to be refused are
 * left out. A job is missed when it ends after its deadline, or has not ended when its deadline
 * passes before the end of the measurement.
 */
#include "bench.h"
#include "ort.h"

#include "base/base.h"

#include <aegisrt/doctor.h>

#include <errno.h>
#include <pthread.h>
#include <time.h>

#define DEFAULT_WORKLOAD "examples/kiosk.toml"
#define DEFAULT_CUDA_WORKLOAD "examples/kiosk-gpu.toml"
#define DEFAULT_SECONDS 20
#define START_DELAY_NS (100 * AEGIS_NS_PER_MS)
#define NS_PER_S AEGIS_NS_PER_S

typedef struct peer {
    const ort_runtime *ort;
    const aegis_workload_model *model;
    ort_session session;
    pthread_t thread;
    void *(*run)(void *self);
    uint64_t start_ns, end_ns;
    double *ratios; /* response over deadline, of jobs that ended */
    size_t jobs, finished, late, owed, owed_late, capacity;
    uint64_t processor_ns, worst_ns;
} peer;

static void sleep_until(uint64_t when_ns)
{
    struct timespec when = {.tv_sec = (time_t)(when_ns / NS_PER_S),
                            .tv_nsec = (long)(when_ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
        /* again until the instant has come */
    }
}

/* Processor time of this thread: with more threads than cores, elapsed time is mostly waiting. */
static uint64_t thread_time_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static void run_job(peer *self, uint64_t release_ns)
{
    ort_run(self->ort, &self->session);
    uint64_t response = bench_now_ns() - release_ns;
    self->worst_ns = response > self->worst_ns ? response : self->worst_ns;
    if (self->model->background) {
        return;
    }
    self->late += response > self->model->deadline_ns;
    self->ratios[self->finished] = (double)response / (double)self->model->deadline_ns;
    self->finished++;
}

/* Background without a period. */
static void *run_continuous(void *argument)
{
    peer *self = argument;
    double share = self->model->share_ppm > 0 ? self->model->share_ppm / 1e6 : 1;
    uint64_t before = thread_time_ns();
    uint64_t release = self->start_ns + self->model->offset_ns;
    for (sleep_until(release); release < self->end_ns; release = bench_now_ns()) {
        self->jobs++;
        run_job(self, release);
        uint64_t now = bench_now_ns();
        sleep_until(now + (uint64_t)((double)(now - release) * (1 - share) / share));
    }
    self->processor_ns = thread_time_ns() - before;
    return NULL;
}

static void *run_model(void *argument)
{
    peer *self = argument;
    const aegis_workload_model *model = self->model;
    uint64_t before = thread_time_ns();
    uint64_t release = self->start_ns + model->offset_ns;
    for (; release < self->end_ns && self->jobs < self->capacity; release += model->period_ns) {
        sleep_until(release);
        if (bench_now_ns() >= self->end_ns) {
            break;
        }
        self->jobs++;
        run_job(self, release);
    }
    for (; release < self->end_ns; release += model->period_ns) {
        self->jobs++;
        self->owed++;
        self->owed_late += !model->background && release + model->deadline_ns < self->end_ns;
    }
    self->processor_ns = thread_time_ns() - before;
    return NULL;
}

static size_t
load(const ort_runtime *ort, const aegis_workload *workload, double seconds, peer *peers)
{
    size_t count = 0;
    for (size_t i = 0; i < workload->model_count; i++) {
        const aegis_workload_model *model = &workload->models[i];
        bool continuous = model->background && model->period_ns == 0 && !model->external;
        if (model->expect_refuse || (model->period_ns == 0 && !continuous) ||
            strcmp(model->backend, "onnxruntime") != 0) {
            continue;
        }
        peer *self = &peers[count++];
        *self = (peer){.ort = ort, .model = model};
        self->run = continuous ? run_continuous : run_model;
        self->capacity = continuous ? 1 : (size_t)(seconds * 1e9 / (double)model->period_ns) + 2;
        self->ratios = calloc(self->capacity, sizeof *self->ratios);
        ort_require(self->ratios != NULL, "no memory", model->name);
        ort_load(ort, &model->config, &self->session);
        ort_run(ort, &self->session); /* the first run fills the arena */
    }
    return count;
}

static void run_all(peer *peers, size_t count, double seconds)
{
    uint64_t start = bench_now_ns() + START_DELAY_NS;
    for (size_t i = 0; i < count; i++) {
        peers[i].start_ns = start;
        peers[i].end_ns = start + (uint64_t)(seconds * 1e9);
        ort_require(pthread_create(&peers[i].thread, NULL, peers[i].run, &peers[i]) == 0,
                    "cannot start a thread for", peers[i].model->name);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(peers[i].thread, NULL);
    }
}

static void report_model(bench_report *report, const peer *self)
{
    json_t *result = bench_result(report, self->model->name, "jobs");
    json_object_set_new(result, "jobs", json_integer((json_int_t)self->jobs));
    json_object_set_new(result, "missed", json_integer((json_int_t)(self->late + self->owed_late)));
    json_object_set_new(result, "deadline_ns", json_integer((json_int_t)self->model->deadline_ns));
    json_object_set_new(result, "worst_response_ns", json_integer((json_int_t)self->worst_ns));
}

static void report_jobs(bench_report *report, const peer *peers, size_t count, double seconds)
{
    size_t jobs = 0, finished = 0, late = 0, owed = 0, owed_late = 0;
    uint64_t processor = 0;
    for (size_t i = 0; i < count; i++) {
        jobs += peers[i].jobs;
        finished += peers[i].finished;
        late += peers[i].late;
        owed += peers[i].owed;
        owed_late += peers[i].owed_late;
        processor += peers[i].processor_ns;
    }
    double *ratios = calloc(finished + 1, sizeof *ratios);
    ort_require(ratios != NULL, "no memory", "results");
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(ratios + at, peers[i].ratios, peers[i].finished * sizeof *ratios);
        at += peers[i].finished;
    }
    bench_report_value(report, "models", "models", (double)count);
    bench_report_value(report, "duration", "s", seconds);
    bench_report_value(report, "jobs", "jobs", (double)jobs);
    bench_report_value(report, "completed", "jobs", (double)(finished - late));
    bench_report_value(report, "missed", "jobs", (double)(late + owed_late));
    bench_report_value(report, "pending", "jobs", (double)(owed - owed_late));
    bench_report_value(report, "busy", "cores", (double)processor / (seconds * 1e9));
    bench_report_samples(report, "response_over_deadline", "ratio", ratios, finished);
    free(ratios);
}

static void report_device(bench_report *report, const char *name)
{
    aegis_device_capabilities is;
    if (aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &is, NULL) == AEGIS_OK) {
        json_object_set_new(report->root, "device", json_string(is.name));
        bench_report_value(report, name, "bytes",
                           (double)(is.total_memory_bytes - is.free_memory_bytes));
    }
}

static void report_memory(bench_report *report, const char *resident_name, const char *peak_name)
{
    uint64_t resident = 0, peak = 0;
    if (aegis_process_memory(NULL, &resident, &peak, NULL) == AEGIS_OK) {
        bench_report_value(report, resident_name, "bytes", (double)resident);
        bench_report_value(report, peak_name, "bytes", (double)peak);
    }
}

int main(int argc, char **argv)
{
    bool cuda = argc > 1 && strcmp(argv[1], "--cuda") == 0;
    argc -= cuda;
    argv += cuda;
    const char *path = argc > 1 ? argv[1] : cuda ? DEFAULT_CUDA_WORKLOAD : DEFAULT_WORKLOAD;
    double seconds = argc > 2 ? atof(argv[2]) : DEFAULT_SECONDS;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload;
    aegis_error error;
    if (seconds <= 0 || aegis_workload_load(path, &allocator, &workload, &error) != AEGIS_OK) {
        fprintf(stderr, "%s\n", seconds <= 0 ? "SECONDS must be positive" : error.message);
        return 2;
    }
    ort_runtime ort;
    ort_open(&ort, cuda ? getenv("AEGISRT_ONNXRUNTIME") : NULL);
    ort.cuda = cuda;
    peer *peers = calloc(workload->model_count, sizeof *peers);
    ort_require(peers != NULL, "no memory", path);
    bench_report report = bench_report_begin("peer_ort_threads");
    report_memory(&report, "resident_before_loading", "peak_before_loading");
    if (cuda) {
        report_device(&report, "device_before_loading");
    }
    size_t count = load(&ort, workload, seconds, peers);
    report_memory(&report, "resident_after_loading", "peak_after_loading");
    run_all(peers, count, seconds);
    report_memory(&report, "resident_after_run", "peak_after_run");
    if (cuda) {
        report_device(&report, "device_after_run");
    }
    report_jobs(&report, peers, count, seconds);
    for (size_t i = 0; i < count; i++) {
        report_model(&report, &peers[i]);
    }
    bench_report_end(&report);
    for (size_t i = 0; i < count; i++) {
        ort_unload(&ort, &peers[i].session);
        free(peers[i].ratios);
    }
    free(peers);
    ort_close(&ort);
    aegis_workload_free(workload);
    return 0;
}
