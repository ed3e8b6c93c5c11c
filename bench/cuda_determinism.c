/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How much the execution time of each model of a workload varies on a CUDA device, and with what:
 * jobs that follow their own kind, jobs after an idle device, jobs behind others that filled the
 * device's cache.
 *
 *     bench_cuda_determinism WORKLOAD [itself=N] [idle=N] [others=N] [pause=MS] [only=NAME]...
 *                            [series=FILE]
 *
 * N jobs each (1000, 0 and 0). Two times are taken of each job: the lane's, from the start of the
 * launch to the end as the polling lane sees it, which is what profiles and traces hold; and the
 * device's own, between two events around the work. With series the samples go to a file for
 * bench/determinism_report.py.
 *
 * Needs the library of the package onnxruntime-gpu (AEGISRT_ONNXRUNTIME). Exit code 77: no GPU.
 */
#include "bench.h"

#include "base/base.h"

#include <aegisrt/backend.h>
#include <aegisrt/ext/cuda_graph.h>
#include <aegisrt/workload.h>

#include <time.h>

#define WARM_UP 20u
#define ARENA_BYTES (UINT64_C(1) << 20) /* models stay in trial mode, beside it */
#define PINNED_BYTES (UINT64_C(64) << 20)
#define MOST_NAMES 64

typedef enum before {
    ITSELF,
    IDLE,
    OTHERS,
    BEFORE_COUNT
} before;
static const char *const before_names[] = {"itself", "idle", "others"};

typedef struct options {
    const char *path, *series;
    unsigned runs[BEFORE_COUNT], pause_ms;
    const char *only[MOST_NAMES];
    size_t only_count;
} options;

typedef struct bench {
    aegis_device *device;
    aegis_stream *stream;
    aegis_event *start, *end;
    void *others[2]; /* each as large as the cache twice over */
    uint64_t others_bytes;
    double *lane, *on_device;
    json_t *series;
    bench_report report;
} bench;

typedef struct job {
    const bench *on;
    aegis_model *model; /* NULL: fill the cache */
    uint64_t start_ns, end_ns;
    aegis_status status;
    aegis_error error;
} job;

static void fail(const char *what, const aegis_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    exit(4);
}

/* ---- on the lane's thread ---- */

static aegis_status execute(job *self)
{
    const bench *on = self->on;
    aegis_status status = aegis_stream_enqueue_record(on->stream, on->start, &self->error);
    for (uint32_t i = 0; i < aegis_model_segment_count(self->model) && status == AEGIS_OK; i++) {
        status = aegis_model_execute(self->model, i, 0, on->stream, &self->error);
    }
    return status == AEGIS_OK ? aegis_stream_enqueue_record(on->stream, on->end, &self->error)
                              : status;
}

static void start_job(void *argument)
{
    job *self = argument;
    self->start_ns = bench_now_ns();
    self->status =
        self->model != NULL
            ? execute(self)
            : aegis_stream_enqueue_copy(self->on->stream, self->on->others[0], self->on->others[1],
                                        self->on->others_bytes, &self->error);
}

static void end_job(void *argument)
{
    job *self = argument;
    self->end_ns = bench_now_ns();
    if (self->status == AEGIS_OK && self->model != NULL) {
        aegis_model_commit(self->model);
    }
}

/* ---- */

static void run_job(job *self, const char *name)
{
    aegis_error error;
    aegis_stream *stream = self->on->stream;
    if (aegis_stream_call(stream, start_job, self, &error) != AEGIS_OK ||
        aegis_stream_notify(stream, end_job, self, &error) != AEGIS_OK ||
        aegis_stream_synchronize(stream, &error) != AEGIS_OK) {
        fail(name, &error);
    }
    if (self->status != AEGIS_OK) {
        fail(name, &self->error);
    }
}

static void prepare(const bench *on, before what, unsigned pause_ms)
{
    job fill = {.on = on};
    struct timespec pause = {.tv_sec = pause_ms / 1000,
                             .tv_nsec = (long)(pause_ms % 1000) * 1000000};
    if (what == IDLE) {
        nanosleep(&pause, NULL);
    } else if (what == OTHERS) {
        run_job(&fill, "filling the cache");
    }
}

/* Sorts the samples. */
static void report(bench *on, const char *name, double *samples, unsigned count)
{
    double cv = bench_variation(samples, count);
    json_t *values = json_array(), *series = json_object();
    for (unsigned i = 0; i < count; i++) {
        json_array_append_new(values, json_integer((json_int_t)samples[i]));
    }
    json_object_set_new(series, "name", json_string(name));
    json_object_set_new(series, "samples_ns", values);
    json_array_append_new(on->series, series);
    bench_report_samples(&on->report, name, "ns", samples, count);
    json_t *results = on->report.results;
    json_t *result = json_array_get(results, json_array_size(results) - 1);
    json_object_set_new(result, "min", json_real(samples[0]));
    json_object_set_new(result, "cv", json_real(cv));
}

static void
measure(bench *on, aegis_model *model, const char *name, before what, const options *given)
{
    job one = {.on = on, .model = model};
    unsigned runs = given->runs[what];
    char text[160];
    aegis_error error;
    for (unsigned i = 0; i < WARM_UP + runs; i++) {
        prepare(on, what, given->pause_ms);
        run_job(&one, name);
        int64_t elapsed = 0;
        if (aegis_event_elapsed_ns(on->start, on->end, &elapsed, &error) != AEGIS_OK) {
            fail(name, &error);
        }
        if (i >= WARM_UP) {
            on->lane[i - WARM_UP] = (double)(one.end_ns - one.start_ns);
            on->on_device[i - WARM_UP] = (double)elapsed;
        }
    }
    snprintf(text, sizeof text, "%s, after %s, lane", name, before_names[what]);
    report(on, text, on->lane, runs);
    snprintf(text, sizeof text, "%s, after %s, device", name, before_names[what]);
    report(on, text, on->on_device, runs);
}

static void measure_model(bench *on,
                          aegis_backend *backend,
                          const aegis_workload_model *wanted,
                          const options *given)
{
    aegis_error error;
    aegis_model *model = NULL;
    aegis_model_config config = wanted->config;
    config.stream = on->stream;
    if (aegis_model_open(backend, &config, &model, &error) != AEGIS_OK ||
        aegis_model_record(model, on->stream, &error) != AEGIS_OK) {
        fail(wanted->name, &error);
    }
    for (int what = 0; what < BEFORE_COUNT; what++) {
        if (given->runs[what] > 0) {
            measure(on, model, wanted->name, (before)what, given);
        }
    }
    aegis_model_close(model);
}

static bool is_wanted(const options *given, const aegis_workload_model *model)
{
    bool found = given->only_count == 0;
    for (size_t i = 0; i < given->only_count && !found; i++) {
        found = strcmp(given->only[i], model->name) == 0;
    }
    return found && strcmp(model->backend, "onnxruntime") == 0;
}

/* ---- set-up ---- */

static bool read_number(const char *word, const char *key, unsigned *ret)
{
    size_t length = strlen(key);
    char *end;
    if (strncmp(word, key, length) != 0 || word[length] != '=') {
        return false;
    }
    unsigned long value = strtoul(word + length + 1, &end, 10);
    if (end == word + length + 1 || *end != '\0' || value > 1000000) {
        return false;
    }
    *ret = (unsigned)value;
    return true;
}

static bool read_options(int argc, char **argv, options *ret)
{
    *ret = (options){.runs = {1000, 0, 0}, .pause_ms = 5};
    bool known = argc > 1;
    ret->path = argc > 1 ? argv[1] : NULL;
    for (int i = 2; i < argc && known; i++) {
        known = read_number(argv[i], "pause", &ret->pause_ms);
        for (int what = 0; what < BEFORE_COUNT && !known; what++) {
            known = read_number(argv[i], before_names[what], &ret->runs[what]);
        }
        if (!known && strncmp(argv[i], "only=", 5) == 0 && ret->only_count < MOST_NAMES) {
            ret->only[ret->only_count++] = argv[i] + 5;
            known = true;
        } else if (!known && strncmp(argv[i], "series=", 7) == 0) {
            ret->series = argv[i] + 7;
            known = true;
        }
    }
    return known;
}

static bool make_device(const aegis_allocator *allocator, bench *on)
{
    aegis_error error;
    aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    aegis_stream_config lane = aegis_stream_config_default("bench-lane");
    lane.completion = AEGIS_COMPLETION_POLL;
    aegis_status status = aegis_device_create(&config, allocator, &on->device, &error);
    if (status == AEGIS_ERROR_DEVICE_NOT_AVAILABLE) {
        printf("skipped: %s\n", error.message);
        return false;
    }
    if (status == AEGIS_OK) {
        on->others_bytes = 2 * aegis_device_get_capabilities(on->device)->l2_cache_bytes;
        status = aegis_stream_create(on->device, &lane, &on->stream, &error);
    }
    for (int i = 0; i < 2 && status == AEGIS_OK; i++) {
        status = aegis_cuda_memory_alloc(on->device, on->others_bytes, &on->others[i], &error);
    }
    if (status != AEGIS_OK || aegis_event_create(on->device, &on->start, &error) != AEGIS_OK ||
        aegis_event_create(on->device, &on->end, &error) != AEGIS_OK) {
        fail("the device", &error);
    }
    return true;
}

static void end_device(bench *on)
{
    aegis_event_destroy(on->start);
    aegis_event_destroy(on->end);
    aegis_cuda_memory_free(on->device, on->others[0]);
    aegis_cuda_memory_free(on->device, on->others[1]);
    aegis_stream_destroy(on->stream);
    aegis_device_destroy(on->device);
}

static void make_samples(bench *on, const options *given)
{
    size_t most = 1;
    for (int i = 0; i < BEFORE_COUNT; i++) {
        most = given->runs[i] > most ? given->runs[i] : most;
    }
    on->lane = calloc(most, sizeof(double));
    on->on_device = calloc(most, sizeof(double));
    on->series = json_array();
    if (on->lane == NULL || on->on_device == NULL) {
        fputs("no memory for samples\n", stderr);
        exit(4);
    }
}

static void write_series(const bench *on, const char *path)
{
    json_t *root = json_pack("{s:O}", "series", on->series);
    if (path != NULL && json_dump_file(root, path, JSON_COMPACT) != 0) {
        fprintf(stderr, "%s cannot be written\n", path);
    }
    json_decref(root);
}

int main(int argc, char **argv)
{
    options given;
    bench on = {0};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_workload *workload = NULL;
    aegis_backend *backend = NULL;
    aegis_error error;
    if (!read_options(argc, argv, &given)) {
        fputs("usage: bench_cuda_determinism WORKLOAD [itself=N] [idle=N] [others=N] [pause=MS] "
              "[only=NAME]... [series=FILE]\n",
              stderr);
        return 2;
    }
    if (aegis_workload_load(given.path, &allocator, &workload, &error) != AEGIS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    if (!make_device(&allocator, &on)) {
        aegis_workload_free(workload);
        return 77;
    }
    make_samples(&on, &given);
    aegis_backend_config config = {.runtime = "onnxruntime",
                                   .cache_dir = workload->cache_dir,
                                   .consumer = "bench_cuda_determinism"};
    if (aegis_backend_create(&config, on.device, &allocator, &backend, &error) != AEGIS_OK) {
        fail("the backend", &error);
    }
    on.report = bench_report_begin("cuda_determinism");
    json_object_set_new(on.report.root, "device",
                        json_string(aegis_device_get_capabilities(on.device)->name));
    for (size_t i = 0; i < workload->model_count; i++) {
        if (is_wanted(&given, &workload->models[i])) {
            measure_model(&on, backend, &workload->models[i], &given);
        }
    }
    bench_report_end(&on.report);
    write_series(&on, given.series);
    json_decref(on.series);
    aegis_backend_destroy(backend);
    end_device(&on);
    aegis_workload_free(workload);
    free(on.lane);
    free(on.on_device);
    return 0;
}
