/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each model of a workload on a CUDA device, launched node by node and as a captured graph: the
 * time of a job from its start to the end on the device, and what the CPU spends on it. Jobs follow
 * each other on an idle device; the lane's thread polls.
 *
 *     bench_cuda_graphs [WORKLOAD] [RUNS]
 *
 * Needs the library of the package onnxruntime-gpu (AEGISRT_ONNXRUNTIME). Exit code 77: no GPU.
 */
#include "bench.h"

#include "base/base.h"

#include <aegisrt/backend.h>
#include <aegisrt/workload.h>

#include <time.h>

#define DEFAULT_WORKLOAD "examples/kiosk-gpu.toml"
#define DEFAULT_RUNS 1000u
#define WARM_UP 20u
#define ARENA_BYTES (UINT64_C(1) << 20) /* models stay in trial mode, beside it */
#define PINNED_BYTES (UINT64_C(64) << 20)

typedef struct job {
    aegis_model *model;
    aegis_stream *stream;
    uint64_t start_ns, end_ns, processor_ns;
    aegis_status status;
    aegis_error error;
} job;

typedef struct series {
    double *elapsed, *processor;
    unsigned runs;
} series;

static void fail(const char *what, const aegis_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    exit(4);
}

static uint64_t thread_time_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * AEGIS_NS_PER_S + (uint64_t)time.tv_nsec;
}

static void start_job(void *argument)
{
    job *self = argument;
    uint64_t before = thread_time_ns();
    self->start_ns = bench_now_ns();
    self->status = AEGIS_OK;
    for (uint32_t i = 0; i < aegis_model_segment_count(self->model); i++) {
        if (self->status == AEGIS_OK) {
            self->status = aegis_model_execute(self->model, i, 0, self->stream, &self->error);
        }
    }
    self->processor_ns = thread_time_ns() - before;
}

static void end_job(void *argument)
{
    job *self = argument;
    self->end_ns = bench_now_ns();
    if (self->status == AEGIS_OK) {
        aegis_model_commit(self->model);
    }
}

static void run_job(job *self, const char *name)
{
    aegis_error error;
    if (aegis_stream_call(self->stream, start_job, self, &error) != AEGIS_OK ||
        aegis_stream_notify(self->stream, end_job, self, &error) != AEGIS_OK ||
        aegis_stream_synchronize(self->stream, &error) != AEGIS_OK) {
        fail(name, &error);
    }
    if (self->status != AEGIS_OK) {
        fail(name, &self->error);
    }
}

/* Sorts the samples. */
static void report_mode(bench_report *report,
                        const char *name,
                        const char *mode,
                        const aegis_model *model,
                        const series *measured)
{
    char text[128];
    double cv = bench_variation(measured->elapsed, measured->runs);
    snprintf(text, sizeof text, "%s, %s", name, mode);
    bench_report_samples(report, text, "ns", measured->elapsed, measured->runs);
    json_t *result = json_array_get(report->results, json_array_size(report->results) - 1);
    bench_sort(measured->processor, measured->runs);
    json_object_set_new(result, "cv", json_real(cv));
    json_object_set_new(result, "processor_median",
                        json_real(bench_percentile(measured->processor, measured->runs, 0.5)));
    json_object_set_new(result, "note", json_string(aegis_model_note(model)));
}

static void measure(bench_report *report,
                    aegis_backend *backend,
                    aegis_stream *stream,
                    const aegis_workload_model *wanted,
                    bool eager,
                    const series *into)
{
    aegis_error error;
    job one = {.stream = stream};
    aegis_model_config config = wanted->config;
    config.stream = stream;
    config.eager = eager;
    if (aegis_model_open(backend, &config, &one.model, &error) != AEGIS_OK ||
        aegis_model_record(one.model, stream, &error) != AEGIS_OK) {
        fail(wanted->name, &error);
    }
    for (unsigned i = 0; i < WARM_UP + into->runs; i++) {
        run_job(&one, wanted->name);
        if (i >= WARM_UP) {
            into->elapsed[i - WARM_UP] = (double)(one.end_ns - one.start_ns);
            into->processor[i - WARM_UP] = (double)one.processor_ns;
        }
    }
    report_mode(report, wanted->name, eager ? "node by node" : "graph", one.model, into);
    aegis_model_close(one.model);
}

static bool
make_device(const aegis_allocator *allocator, aegis_device **device, aegis_stream **stream)
{
    aegis_error error;
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    aegis_stream_config lane = aegis_stream_config_default("bench-lane");
    lane.completion = AEGIS_COMPLETION_POLL;
    aegis_status status = aegis_device_create(&config, allocator, device, &error);
    if (status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE) {
        printf("skipped: %s\n", error.message);
        return false;
    }
    if (status != AEGIS_OK || aegis_stream_create(*device, &lane, stream, &error) != AEGIS_OK) {
        fail("the device", &error);
    }
    return true;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : DEFAULT_WORKLOAD;
    series into = {.runs = argc > 2 ? (unsigned)atoi(argv[2]) : DEFAULT_RUNS};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_device *device = NULL;
    aegis_stream *stream = NULL;
    aegis_backend *backend = NULL;
    aegis_error error;
    into.elapsed = calloc(into.runs + 1, sizeof(double));
    into.processor = calloc(into.runs + 1, sizeof(double));
    if (into.runs == 0 || into.elapsed == NULL || into.processor == NULL) {
        fputs("RUNS must be a number above 0\n", stderr);
        return 2;
    }
    if (aegis_workload_load(path, &allocator, &workload, &error) != AEGIS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    if (!make_device(&allocator, &device, &stream)) {
        return 77;
    }
    aegis_backend_config config = {.runtime = "onnxruntime",
                                   .cache_dir = workload->cache_dir,
                                   .consumer = "bench_cuda_graphs"};
    if (aegis_backend_create(&config, device, &allocator, &backend, &error) != AEGIS_OK) {
        fail("the backend", &error);
    }
    bench_report report = bench_report_begin("cuda_graphs");
    json_object_set_new(report.root, "device",
                        json_string(aegis_device_get_capabilities(device)->name));
    for (size_t i = 0; i < workload->model_count; i++) {
        if (strcmp(workload->models[i].backend, "onnxruntime") == 0) {
            measure(&report, backend, stream, &workload->models[i], true, &into);
            measure(&report, backend, stream, &workload->models[i], false, &into);
        }
    }
    bench_report_end(&report);
    aegis_backend_destroy(backend);
    aegis_stream_destroy(stream);
    aegis_device_destroy(device);
    aegis_workload_free(workload);
    free(into.elapsed);
    free(into.processor);
    return 0;
}
