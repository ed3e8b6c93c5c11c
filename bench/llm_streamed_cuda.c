/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoding on a CUDA device when the memory limit is below the model: layers come from pinned
 * memory for every job, against the rate at which the same link copies from pinned memory in the
 * same run.
 *
 *     bench_llm_streamed_cuda [SHAPE:DTYPE...]   (default: gpt2-small:f16 gpt2-small:f32
 *                                                 gpt2-medium:f16 llama-135m:f16)
 *
 * For each: all layers come, half of them, as few as can (three); and resident. `together`: the
 * segments of a job enqueued one behind the other; `awaited`: each awaited before the next, as a
 * lane does. `ratio` is streamed bytes over time over the link's rate. Segments are timed from
 * their call until the host knows that they are done: what a profile bounds. Skipped (77) without a
 * GPU.
 */
#include "llm_link.h"

#include "backend/transformer/cuda/program.h"

#define CONTEXT 256u
#define JOBS 120u
#define WARM_UP 10u
#define MOST_SEGMENTS 64u
#define PINNED_BYTES ((uint64_t)1 << 30)
#define ARENA_BYTES ((uint64_t)512 << 20)

typedef struct bed {
    llm_bed on;
    double link_rate; /* bytes a second */
    uint64_t layer_bytes;
} bed;

/* ---- jobs ---- */

typedef struct part {
    aegis_model *model;
    aegis_stream *lane;
    uint32_t first, end; /* segments */
} part;

static void run_part(void *argument)
{
    const part *p = argument;
    aegis_error err;
    for (uint32_t s = p->first; s < p->end; s++) {
        gpu_check(aegis_model_execute(p->model, s, 0, p->lane, &err), &err);
    }
}

/* Nanoseconds from the call until the host knows that they are done. */
static double run_segments(const bed *b, aegis_model *model, uint32_t first, uint32_t end)
{
    part p = {.model = model, .lane = b->on.stream, .first = first, .end = end};
    aegis_error err;
    const uint64_t since = bench_now_ns();
    gpu_check(aegis_stream_call(b->on.stream, run_part, &p, &err), &err);
    llm_await(&b->on);
    return (double)(bench_now_ns() - since);
}

static void report_job(bed *b, const char *what, const char *how, double *jobs, double bytes)
{
    char text[200];
    snprintf(text, sizeof text, "%s, %s, %s: a job", b->on.name, what, how);
    bench_report_samples(&b->on.report, text, "ns", jobs, JOBS); /* sorts */
    const double median = bench_percentile(jobs, JOBS, 0.5);
    const double ratio = bytes / (median / 1e9) / b->link_rate;
    if (bytes > 0) {
        snprintf(text, sizeof text, "%s, %s, %s: streamed bytes over the link's rate", b->on.name,
                 what, how);
        bench_report_value(&b->on.report, text, "ratio", ratio);
    }
    fprintf(stderr, "%-16s %-28s %-9s %9.1f us (p99 %9.1f, max %9.1f)  ratio %.3f\n", b->on.name,
            what, how, median / 1e3, bench_percentile(jobs, JOBS, 0.99) / 1e3, jobs[JOBS - 1] / 1e3,
            ratio);
}

/* The segment that varies most, and the longest. */
static void report_segments(bed *b, const char *what, double *samples, uint32_t segments)
{
    char text[200];
    double longest = 0, spread = 0;
    for (uint32_t s = 0; s < segments; s++) {
        double *own = samples + (size_t)s * JOBS;
        bench_sort(own, JOBS);
        const double median = bench_percentile(own, JOBS, 0.5);
        longest = median > longest ? median : longest;
        spread = own[JOBS - 1] / median > spread ? own[JOBS - 1] / median : spread;
    }
    snprintf(text, sizeof text, "%s, %s: segments", b->on.name, what);
    bench_report_value(&b->on.report, text, "segments", segments);
    snprintf(text, sizeof text, "%s, %s: the longest segment, median", b->on.name, what);
    bench_report_value(&b->on.report, text, "ns", longest);
    snprintf(text, sizeof text, "%s, %s: largest over median, of the worst segment", b->on.name,
             what);
    bench_report_value(&b->on.report, text, "ratio", spread);
    fprintf(stderr, "%-16s %-28s %u segments, longest %.1f us, worst max/median %.2f\n", b->on.name,
            what, segments, longest / 1e3, spread);
}

static aegis_model_config config_of(const bed *b, const char *folder, uint64_t memory)
{
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {1}};
    return (aegis_model_config){.name = b->on.name,
                                .path = folder,
                                .inputs = &shape,
                                .input_count = 1,
                                .stream = b->on.stream,
                                .residency = memory > 0 ? AEGIS_STREAMED : AEGIS_RESIDENT,
                                .memory_limit_bytes = memory,
                                .context_tokens = CONTEXT};
}

static void run_model(bed *b, const char *folder, uint64_t memory)
{
    static double jobs[JOBS], samples[MOST_SEGMENTS * JOBS];
    char what[64] = "resident";
    aegis_model *model = NULL;
    aegis_error err;
    const aegis_model_config config = config_of(b, folder, memory);
    gpu_check(aegis_model_open(b->on.backend, &config, &model, &err), &err);
    uint32_t layers = 0;
    const uint32_t segments = aegis_model_segment_count(model);
    const uint32_t come = llm_streamed_layers(model, &layers);
    const double bytes = (double)come * (double)b->layer_bytes;
    if (come > 0) {
        snprintf(what, sizeof what, "%u layers come", come);
    }
    for (uint32_t j = 0; j < WARM_UP + JOBS; j++) {
        jobs[j < WARM_UP ? 0 : j - WARM_UP] = run_segments(b, model, 0, segments);
        aegis_model_commit(model);
    }
    report_job(b, what, "together", jobs, bytes);
    for (uint32_t j = 0; j < WARM_UP + JOBS && segments > 1; j++) {
        const uint32_t at = j < WARM_UP ? 0 : j - WARM_UP;
        jobs[at] = 0;
        for (uint32_t s = 0; s < segments; s++) {
            samples[s * JOBS + at] = run_segments(b, model, s, s + 1);
            jobs[at] += samples[s * JOBS + at];
        }
        aegis_model_commit(model);
    }
    if (segments > 1) {
        report_job(b, what, "awaited", jobs, bytes);
        report_segments(b, what, samples, segments);
    }
    aegis_model_close(model);
}

static void run_shape(bed *b, const char *what)
{
    const aegis_allocator allocator = aegis_allocator_default();
    llm_made made;
    aegis_program *program = NULL;
    aegis_error err;
    llm_make(&b->on, what, &made);
    gpu_check(aegis_program_open(made.folder, CONTEXT, 0, AEGIS_PROGRAM_ANY_FORM, &allocator,
                                 &program, &err),
              &err);
    const uint32_t layers = aegis_program_about(program)->layers;
    b->layer_bytes = aegis_program_about(program)->layer_bytes;
    aegis_program_close(program);
    const aegis_model_config config = config_of(b, made.folder, 1);
    const uint64_t least = llm_needed_bytes(&b->on, &config);
    if (least == 0) {
        fprintf(stderr, "bench: a budget of one byte was not refused\n");
        exit(1);
    }
    run_model(b, made.folder, least);
    run_model(b, made.folder, least + layers / 2 * b->layer_bytes);
    run_model(b, made.folder, least + (layers - 3) * b->layer_bytes);
    run_model(b, made.folder, 0);
    llm_remove(&made);
}

int main(int argc, char **argv)
{
    static char *standard[] = {"gpt2-small:f16", "gpt2-small:f32", "gpt2-medium:f16",
                               "llama-135m:f16"};
    bed b = {.link_rate = 0};
    if (!llm_begin(&b.on, "llm_streamed_cuda", ARENA_BYTES, PINNED_BYTES)) {
        return LLM_SKIPPED;
    }
    b.link_rate = llm_measure_link(&b.on);
    char **models = argc > 1 ? argv + 1 : standard;
    const int count = argc > 1 ? argc - 1 : (int)(sizeof standard / sizeof *standard);
    for (int i = 0; i < count; i++) {
        run_shape(&b, models[i]);
    }
    llm_end(&b.on);
    return 0;
}
