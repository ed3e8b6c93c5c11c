/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding on a CUDA device against the rate at which the device reads memory, in one run:
 *
 *   bench_llm_decode_cuda FOLDER|SHAPE:DTYPE... (default: gpt2-small:f16 gpt2-small:f32
 *                                                gpt2-medium:f16 gpt2-large:f16)
 *
 * A shape is made up in a temporary folder. Steps run one behind the other, each token from the one
 * before, as in generation: 100 a window, 30 windows, the context of 256 tokens begins anew when it
 * is full. `ratio` is bytes of the matrices over time over the read rate; keys and values, tables
 * and padding are read besides and count for nothing. Skipped (77) where there is no device. */
#include "bench.h"

#include "backend/transformer/cuda/program.h"

#include <aegisrt/transformer.h>

#include <cuda_runtime_api.h>

#define CONTEXT 256u
#define WINDOWS 30
#define STEPS 100
#define READ_BYTES ((size_t)4 << 30)
#define SKIPPED 77

int bench_cuda_read(
    const void *memory, size_t bytes, void *never, int processors, cudaStream_t stream);

static void must(int code, const char *what)
{
    if (code != 0) {
        fprintf(stderr, "bench: %s: %s\n", what, cudaGetErrorString((cudaError_t)code));
        exit(1);
    }
}

static void must_be(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "bench: %s\n", err->message);
        exit(1);
    }
}

typedef struct bed {
    bench_report *report;
    cudaStream_t stream;
    cudaEvent_t begin, end;
    int processors;
    double read_rate; /* bytes a second */
} bed;

static double elapsed_s(const bed *b)
{
    float ms = 0;
    must(cudaEventSynchronize(b->end), "cudaEventSynchronize");
    must(cudaEventElapsedTime(&ms, b->begin, b->end), "cudaEventElapsedTime");
    return (double)ms / 1e3;
}

/* ---- the device's own rates ---- */

static void measure_rates(bed *b)
{
    uint8_t *memory = NULL;
    double read[10], copy[10];
    must(cudaMalloc((void **)&memory, READ_BYTES + 256), "cudaMalloc");
    must(cudaMemset(memory, 0x5a, READ_BYTES), "cudaMemset");
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    for (int i = 0; i < 10; i++) {
        must(cudaEventRecord(b->begin, b->stream), "cudaEventRecord");
        must(bench_cuda_read(memory, READ_BYTES, memory + READ_BYTES, b->processors, b->stream),
             "read");
        must(cudaEventRecord(b->end, b->stream), "cudaEventRecord");
        read[i] = (double)READ_BYTES / elapsed_s(b);
        must(cudaEventRecord(b->begin, b->stream), "cudaEventRecord");
        must(cudaMemcpyAsync(memory, memory + READ_BYTES / 2, READ_BYTES / 2,
                             cudaMemcpyDeviceToDevice, b->stream),
             "cudaMemcpyAsync");
        must(cudaEventRecord(b->end, b->stream), "cudaEventRecord");
        copy[i] = (double)READ_BYTES / elapsed_s(b);
    }
    must(cudaFree(memory), "cudaFree");
    bench_sort(read, 10);
    bench_sort(copy, 10);
    b->read_rate = bench_percentile(read, 10, 0.5);
    bench_report_value(b->report, "reading memory, median", "bytes/s", b->read_rate);
    bench_report_value(b->report, "copying memory, bytes read and written, median", "bytes/s",
                       bench_percentile(copy, 10, 0.5));
}

/* ---- a model ---- */

typedef struct loaded {
    aegis_program *program;
    const aegis_program_facts *facts;
    aegis_program_memory memory;
    uint8_t *all;
    int64_t *surface; /* cursor, other cursor, token, prompt */
    float *logits;
    aegis_decode_fault *fault;
} loaded;

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static void load(loaded *l)
{
    const aegis_program_facts *f = l->facts;
    const uint64_t layers = f->layer_bytes * f->layers;
    const uint64_t room = f->layer_bytes > f->fixed_bytes ? f->layer_bytes : f->fixed_bytes;
    aegis_error err;
    uint8_t *staging = malloc(room);
    if (staging == NULL) {
        exit(1);
    }
    uint64_t at = layers + f->fixed_bytes;
    must(cudaMalloc((void **)&l->all, at + aligned(f->cache_bytes) + aligned(f->work_bytes) + 4096 +
                                          f->vocabulary * sizeof(float)),
         "cudaMalloc");
    l->memory = (aegis_program_memory){.layers = l->all, .fixed = l->all + layers};
    l->memory.cache = l->all + at;
    at += aligned(f->cache_bytes);
    l->memory.work = l->all + at;
    at += aligned(f->work_bytes);
    l->surface = (int64_t *)(void *)(l->all + at);
    l->logits = (float *)(void *)(l->all + at + 4096);
    must_be(aegis_program_pack_fixed(l->program, staging, &err), &err);
    must(cudaMemcpy(l->all + layers, staging, f->fixed_bytes, cudaMemcpyHostToDevice),
         "cudaMemcpy");
    for (uint32_t i = 0; i < f->layers; i++) {
        must_be(aegis_program_pack_layer(l->program, i, staging, &err), &err);
        must(cudaMemcpy(l->all + i * f->layer_bytes, staging, f->layer_bytes,
                        cudaMemcpyHostToDevice),
             "cudaMemcpy");
    }
    must(cudaMemset(l->memory.cache, 0, f->cache_bytes), "cudaMemset");
    must(cudaMemset(l->memory.work, 0, f->work_bytes), "cudaMemset");
    must(cudaMemset(l->surface, 0, 4096), "cudaMemset");
    must(cudaHostAlloc((void **)&l->fault, sizeof *l->fault, cudaHostAllocMapped), "cudaHostAlloc");
    memset(l->fault, 0, sizeof *l->fault);
    must(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    free(staging);
}

static void step(const bed *b, const loaded *l, uint32_t which)
{
    aegis_error err;
    const aegis_program_job job = {.last = l->facts->layers,
                                   .head = true,
                                   .prompt = l->surface + 8,
                                   .prompt_count = 1,
                                   .cursor = l->surface + 2 * (which % 2),
                                   .next_cursor = l->surface + 2 * (1 - which % 2),
                                   .token = l->surface + 4,
                                   .logits = l->logits,
                                   .fault = l->fault};
    must_be(aegis_program_launch(l->program, &l->memory, &job, b->stream, &err), &err);
}

static double kv_bytes(const aegis_program_facts *f)
{
    return (double)f->cache_bytes / 2; /* half of the context on average */
}

static void report_steps(bed *b, const loaded *l, const char *name, const char *how, double *steps)
{
    char text[160];
    const double matrices = (double)l->facts->matrix_bytes;
    bench_sort(steps, WINDOWS);
    const double median = bench_percentile(steps, WINDOWS, 0.5);
    snprintf(text, sizeof text, "%s, %s: a step, median", name, how);
    bench_report_value(b->report, text, "us", median * 1e6);
    snprintf(text, sizeof text, "%s, %s: a step, best", name, how);
    bench_report_value(b->report, text, "us", steps[0] * 1e6);
    snprintf(text, sizeof text, "%s, %s: tokens, median", name, how);
    bench_report_value(b->report, text, "tokens/s", 1 / median);
    snprintf(text, sizeof text, "%s, %s: matrices over the read rate", name, how);
    bench_report_value(b->report, text, "ratio", matrices / median / b->read_rate);
    fprintf(stderr, "%-16s %-28s %8.2f us  best %8.2f  ratio %.3f\n", name, how, median * 1e6,
            steps[0] * 1e6, matrices / median / b->read_rate);
}

static void run_launches(bed *b, const loaded *l, const char *name, const char *how)
{
    double steps[WINDOWS];
    for (int i = 0; i < 2 * STEPS; i++) {
        step(b, l, (uint32_t)i);
    }
    for (int w = 0; w < WINDOWS; w++) {
        must(cudaEventRecord(b->begin, b->stream), "cudaEventRecord");
        for (int i = 0; i < STEPS; i++) {
            step(b, l, (uint32_t)i);
        }
        must(cudaEventRecord(b->end, b->stream), "cudaEventRecord");
        steps[w] = elapsed_s(b) / STEPS;
    }
    report_steps(b, l, name, how, steps);
}

/* The same steps as a graph of two. */
static void run_graph(bed *b, const loaded *l, const char *name, const char *how)
{
    double steps[WINDOWS];
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    must(cudaStreamBeginCapture(b->stream, cudaStreamCaptureModeThreadLocal), "capture");
    step(b, l, 0);
    step(b, l, 1);
    must(cudaStreamEndCapture(b->stream, &graph), "capture");
    must(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
    for (int w = 0; w < WINDOWS; w++) {
        must(cudaEventRecord(b->begin, b->stream), "cudaEventRecord");
        for (int i = 0; i < STEPS / 2; i++) {
            must(cudaGraphLaunch(exec, b->stream), "cudaGraphLaunch");
        }
        must(cudaEventRecord(b->end, b->stream), "cudaEventRecord");
        steps[w] = elapsed_s(b) / STEPS;
    }
    must(cudaGraphExecDestroy(exec), "cudaGraphExecDestroy");
    must(cudaGraphDestroy(graph), "cudaGraphDestroy");
    report_steps(b, l, name, how, steps);
}

/* From the launch until the host knows. */
static void run_alone(bed *b, const loaded *l, const char *name)
{
    char text[160];
    double samples[WINDOWS * STEPS];
    for (int i = 0; i < WINDOWS * STEPS; i++) {
        const uint64_t since = bench_now_ns();
        step(b, l, (uint32_t)i);
        must(cudaStreamSynchronize(b->stream), "cudaStreamSynchronize");
        samples[i] = (double)(bench_now_ns() - since);
    }
    snprintf(text, sizeof text, "%s: one step, launched and awaited", name);
    bench_report_samples(b->report, text, "ns", samples, WINDOWS * STEPS);
}

/* False when the model does not have this form. */
static bool run_form(bed *b, const char *folder, const char *name, uint32_t form, bool every)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err;
    loaded l = {0};
    char how[64];
    if (aegis_program_open(folder, CONTEXT, 0, form, &allocator, &l.program, &err) != AEGIS_OK) {
        fprintf(stderr, "bench: form %u: %s\n", form, err.message);
        return false;
    }
    l.facts = aegis_program_about(l.program);
    load(&l);
    for (int keep = 0; keep <= (every ? 1 : 0); keep++) {
        aegis_program_keep_in_cache(l.program, keep == 1);
        snprintf(how, sizeof how, "%s%u warps, %u ahead%s",
                 l.facts->clusters ? "in clusters, " : "", l.facts->warps, l.facts->depth,
                 keep == 1 ? ", L2 kept" : "");
        run_launches(b, &l, name, how);
    }
    aegis_program_keep_in_cache(l.program, false);
    if (every) {
        run_graph(b, &l, name, "graph");
        run_alone(b, &l, name);
        bench_report_value(b->report, "matrices of a step", "bytes", (double)l.facts->matrix_bytes);
        bench_report_value(b->report, "read of layers and head, padded", "bytes",
                           (double)l.facts->step_bytes);
        bench_report_value(b->report, "keys and values of a step, mean", "bytes",
                           kv_bytes(l.facts));
    }
    must(cudaFree(l.all), "cudaFree");
    must(cudaFreeHost(l.fault), "cudaFreeHost");
    aegis_program_close(l.program);
    return true;
}

static void run_model(bed *b, const char *what)
{
    char folder[256], name[64], command[300];
    const char *colon = strchr(what, ':');
    const bool made = colon != NULL && strchr(what, '/') == NULL;
    bool first = true;
    aegis_error err;
    if (made) {
        char shape[64];
        snprintf(shape, sizeof shape, "%.*s", (int)(colon - what), what);
        snprintf(folder, sizeof folder, "/tmp/aegisrt-bench-XXXXXX");
        if (mkdtemp(folder) == NULL) {
            exit(1);
        }
        must_be(aegis_transformer_synthesize(folder, shape, colon + 1, 7, &err), &err);
        snprintf(name, sizeof name, "%s %s", shape, colon + 1);
    } else {
        snprintf(folder, sizeof folder, "%s", what);
        snprintf(name, sizeof name, "%.60s", what);
    }
    for (uint32_t form = 0; aegis_decode_form_at(form).warps != 0; form++) {
        first = !run_form(b, folder, name, form, first) && first;
    }
    if (made) {
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0) {
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    static char *standard[] = {"gpt2-small:f16", "gpt2-small:f32", "gpt2-medium:f16",
                               "gpt2-large:f16"};
    struct cudaDeviceProp is;
    if (cudaGetDeviceProperties(&is, 0) != cudaSuccess) {
        fprintf(stderr, "skipped: no CUDA device\n");
        return SKIPPED;
    }
    bench_report report = bench_report_begin("llm_decode_cuda");
    bed b = {.report = &report, .processors = is.multiProcessorCount};
    json_object_set_new(report.root, "device", json_string(is.name));
    must(cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking), "cudaStreamCreate");
    must(cudaEventCreate(&b.begin), "cudaEventCreate");
    must(cudaEventCreate(&b.end), "cudaEventCreate");
    measure_rates(&b);
    fprintf(stderr, "reads %.3f TB/s\n", b.read_rate / 1e12);
    char **models = argc > 1 ? argv + 1 : standard;
    const int count = argc > 1 ? argc - 1 : (int)(sizeof standard / sizeof *standard);
    for (int i = 0; i < count; i++) {
        run_model(&b, models[i]);
    }
    bench_report_end(&report);
    return 0;
}
