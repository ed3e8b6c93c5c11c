/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models of a workload on a CUDA device with inputs copied inline and early, in turns within one
 * run. First two of them back to back, without a scheduler: jobs a second when each waits for its
 * own copy, and when the inputs of the next come while one computes. Then the whole workload both
 * ways: what of the lane the bounds use, what is proved of the responses, and what they are.
 *
 *     bench_cuda_copies [WORKLOAD] [SECONDS] [ROUNDS]
 *
 * Needs the library of the package onnxruntime-gpu (AEGISRT_ONNXRUNTIME). Exit code 77: no GPU.
 */
#include "bench.h"

#include "base/base.h"

#include <aegisrt/aegis.h>

#include <time.h>

#define DEFAULT_WORKLOAD "examples/kiosk-gpu-copies.toml"
#define DEFAULT_SECONDS 10
#define DEFAULT_ROUNDS 3
#define MOST_ROUNDS 32
#define MOST_MODELS 16
#define JOBS 1000u
#define WARM_UP 20u
#define ARENA_BYTES (UINT64_C(1) << 20) /* models stay in trial mode, beside it */
#define PINNED_BYTES (UINT64_C(128) << 20)

static const char *const ways[] = {"inline", "early"};

static void fail(const char *what, const aegis_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->message);
    exit(4);
}

/* ---- back to back ---- */

typedef struct step {
    aegis_model *model;
    aegis_stream *stream;
    aegis_status status;
    aegis_error error;
} step;

typedef struct pair {
    aegis_stream *lane, *copies;
    aegis_model *models[2];
    const char *name;
} pair;

static void run_job(void *argument)
{
    step *self = argument;
    self->status = AEGIS_OK;
    for (uint32_t i = 0; i < aegis_model_segment_count(self->model); i++) {
        if (self->status == AEGIS_OK) {
            self->status = aegis_model_execute(self->model, i, 0, self->stream, &self->error);
        }
    }
}

static void copy_inputs(void *argument)
{
    step *self = argument;
    self->status = aegis_model_enqueue_inputs(self->model, 0, self->stream, &self->error);
}

static void begin(step *self, aegis_stream_function function)
{
    aegis_error error;
    if (aegis_stream_call(self->stream, function, self, &error) != AEGIS_OK) {
        fail("a stream", &error);
    }
}

static void finish(const step *self)
{
    aegis_error error;
    if (aegis_stream_synchronize(self->stream, &error) != AEGIS_OK) {
        fail("a stream", &error);
    }
    if (self->status != AEGIS_OK) {
        fail("a job", &self->error);
    }
}

/* The two in turn. Early, the inputs of one come while the other computes. */
static double jobs_a_second(const pair *p, bool early, unsigned jobs)
{
    step run = {.stream = p->lane}, copy = {.stream = p->copies, .model = p->models[0]};
    if (early) {
        begin(&copy, copy_inputs);
        finish(&copy);
    }
    const uint64_t since = bench_now_ns();
    for (unsigned i = 0; i < jobs; i++) {
        run.model = p->models[i % 2];
        copy.model = p->models[(i + 1) % 2];
        begin(&run, run_job);
        if (early) {
            begin(&copy, copy_inputs);
            finish(&copy);
        }
        finish(&run);
    }
    return (double)jobs * 1e9 / (double)(bench_now_ns() - since);
}

static void open_pair(pair *p, const aegis_workload *workload, aegis_backend *backend, bool early)
{
    aegis_error error;
    for (size_t i = 0; i < 2; i++) {
        const aegis_workload_model *wanted = &workload->models[i];
        aegis_model_config config = wanted->config;
        config.stream = p->lane;
        config.early_copies = early;
        if (aegis_model_open(backend, &config, &p->models[i], &error) != AEGIS_OK ||
            aegis_model_record(p->models[i], p->lane, &error) != AEGIS_OK) {
            fail(wanted->name, &error);
        }
    }
}

static void close_pair(pair *p)
{
    aegis_model_close(p->models[0]);
    aegis_model_close(p->models[1]);
}

static void back_to_back(bench_report *report,
                         const aegis_workload *workload,
                         aegis_device *device,
                         aegis_backend *backend,
                         int rounds)
{
    double found[2][MOST_ROUNDS];
    aegis_error error;
    char text[160];
    pair p = {.lane = NULL};
    aegis_stream_config stream = aegis_stream_config_default("bench-lane");
    stream.completion = AEGIS_COMPLETION_POLL;
    if (aegis_stream_create(device, &stream, &p.lane, &error) != AEGIS_OK ||
        aegis_stream_create(device, &stream, &p.copies, &error) != AEGIS_OK) {
        fail("a stream", &error);
    }
    for (int round = 0; round < rounds; round++) {
        for (int way = 0; way < 2; way++) {
            open_pair(&p, workload, backend, way == 1);
            jobs_a_second(&p, way == 1, WARM_UP);
            found[way][round] = jobs_a_second(&p, way == 1, JOBS);
            close_pair(&p);
        }
    }
    for (int way = 0; way < 2; way++) {
        snprintf(text, sizeof text, "%s and %s back to back, %s", workload->models[0].name,
                 workload->models[1].name, ways[way]);
        bench_report_samples(report, text, "jobs/s", found[way], (size_t)rounds);
    }
    aegis_stream_destroy(p.lane);
    aegis_stream_destroy(p.copies);
}

/* ---- the workload ---- */

/* The same workload either way. */
static aegis_workload *load(const char *path, const aegis_allocator *allocator, bool early)
{
    aegis_error error;
    aegis_workload *workload = NULL;
    if (aegis_workload_load(path, allocator, &workload, &error) != AEGIS_OK) {
        fail(path, &error);
    }
    aegis_workload_model *models = (aegis_workload_model *)(uintptr_t)workload->models;
    if (workload->model_count < 2 || workload->model_count > MOST_MODELS) {
        fprintf(stderr, "%s: has %zu models, and 2 to %d are compared\n", path,
                workload->model_count, MOST_MODELS);
        exit(2);
    }
    for (size_t i = 0; i < workload->model_count; i++) {
        models[i].config.early_copies = early;
    }
    workload->copies_early = early;
    return workload;
}

static void report_model(bench_report *report,
                         const aegis_system_model *model,
                         aegis_scheduler *scheduler,
                         const char *way)
{
    aegis_error error;
    aegis_admission_answer answer = model->answer;
    aegis_model_metrics metrics;
    char text[160];
    if (!model->admitted) {
        fprintf(stderr, "%s is refused (%s): %s\n", model->name, way, model->reason);
        return;
    }
    if (aegis_scheduler_answer(scheduler, model->model, &answer, &error) != AEGIS_OK ||
        aegis_scheduler_model_metrics(scheduler, model->model, &metrics, &error) != AEGIS_OK) {
        fail(model->name, &error);
    }
    const struct {
        const char *what;
        double value;
    } values[] = {{"bound C", (double)answer.bound_ns},
                  {"copy bound", (double)answer.copy_bound_ns},
                  {"inputs proved there", (double)answer.copy_response_ns},
                  {"jitter counted", (double)answer.jitter_ns},
                  {"response proved", (double)answer.response_ns},
                  {"response median", (double)metrics.response_ns.p50},
                  {"response 99 %", (double)metrics.response_ns.p99},
                  {"response largest", (double)metrics.response_ns.max},
                  {"arrival median", (double)metrics.arrival_ns.p50},
                  {"arrival largest", (double)metrics.arrival_ns.max}};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(values); i++) {
        snprintf(text, sizeof text, "%s, %s, %s", model->name, way, values[i].what);
        bench_report_value(report, text, "ns", values[i].value);
    }
    snprintf(text, sizeof text, "%s, %s, missed unexcused or past proof", model->name, way);
    bench_report_value(report, text, "jobs",
                       (double)(metrics.counters.unexcused + metrics.past_proof.unexplained));
}

static void run_workload(bench_report *report,
                         const char *path,
                         const aegis_allocator *allocator,
                         unsigned seconds,
                         bool early,
                         bool last)
{
    aegis_error error;
    aegis_system *system = NULL;
    size_t count;
    double used = 0;
    char text[96];
    aegis_workload *workload = load(path, allocator, early);
    if (aegis_system_create(workload, NULL, allocator, &system, &error) != AEGIS_OK ||
        aegis_system_start(system, &error) != AEGIS_OK) {
        fail(path, &error);
    }
    nanosleep(&(struct timespec){.tv_sec = (time_t)seconds}, NULL);
    if (aegis_system_stop(system, &error) != AEGIS_OK) {
        fail(path, &error);
    }
    const aegis_system_model *models = aegis_system_models(system, &count);
    for (size_t i = 0; i < count && last; i++) {
        used = models[i].answer.utilisation > used ? models[i].answer.utilisation : used;
        report_model(report, &models[i], aegis_system_scheduler(system), ways[early]);
    }
    snprintf(text, sizeof text, "fullest lane by the bounds, %s", ways[early]);
    if (last) {
        bench_report_value(report, text, "of its time", used);
    }
    aegis_system_destroy(system);
    aegis_workload_free(workload);
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : DEFAULT_WORKLOAD;
    const unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : DEFAULT_SECONDS;
    int rounds = argc > 3 ? atoi(argv[3]) : DEFAULT_ROUNDS;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    aegis_device *device = NULL;
    aegis_backend *backend = NULL;
    aegis_error error;
    rounds = rounds < 1 ? 1 : rounds > MOST_ROUNDS ? MOST_ROUNDS : rounds;
    aegis_status status = aegis_device_create(&config, &allocator, &device, &error);
    if (status == AEGIS_OK) {
        aegis_workload *workload = load(path, &allocator, true);
        const aegis_backend_config runtime = {
            .runtime = "onnxruntime", .cache_dir = workload->cache_dir, .consumer = "bench"};
        status = aegis_backend_create(&runtime, device, &allocator, &backend, &error);
        if (status == AEGIS_OK) {
            bench_report report = bench_report_begin("cuda_copies");
            back_to_back(&report, workload, device, backend, rounds);
            aegis_backend_destroy(backend);
            aegis_device_destroy(device);
            aegis_workload_free(workload);
            for (int round = 0; round < rounds; round++) {
                run_workload(&report, path, &allocator, seconds, false, round + 1 == rounds);
                run_workload(&report, path, &allocator, seconds, true, round + 1 == rounds);
            }
            bench_report_end(&report);
            return 0;
        }
        aegis_workload_free(workload);
    }
    fprintf(stderr, "skipped: %s\n", error.message);
    return 77;
}
