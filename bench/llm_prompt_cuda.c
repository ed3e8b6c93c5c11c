/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time to the first token on a CUDA device: a prompt token by token, and in blocks through cuBLAS.
 *
 *     bench_llm_prompt_cuda [SHAPE:DTYPE...]   (default: gpt2-small:f16 gpt2-small:f32
 *                                               llama-135m:f16)
 *
 * Prompts of 32, 128 and 512 tokens, in blocks of 1 (steps), 32, 128 and 512. Jobs run one behind
 * the other, each awaited as a lane does; `first token` is from the first job's call until
 * the host knows that the last one is done, `a job` the longest of them. Skipped (77) without a GPU
 * or cuBLAS.
 */
#include "llm_gpu.h"

#define CONTEXT 1024u
#define PROMPTS 21u
#define WARM_UP 3u
#define ARENA_BYTES ((uint64_t)64 << 20)
#define PINNED_BYTES ((uint64_t)64 << 20)

typedef struct job {
    aegis_model *model;
    aegis_stream *lane;
} job;

static void execute(void *argument)
{
    const job *j = argument;
    aegis_error err;
    gpu_check(aegis_model_execute(j->model, 0, 0, j->lane, &err), &err);
}

/* Nanoseconds from the call until the host knows that it is done. */
static double run_job(llm_bed *b, aegis_model *model)
{
    job j = {.model = model, .lane = b->stream};
    aegis_error err;
    const uint64_t since = bench_now_ns();
    gpu_check(aegis_stream_call(b->stream, execute, &j, &err), &err);
    llm_await(b);
    const double elapsed = (double)(bench_now_ns() - since);
    aegis_model_commit(model);
    return elapsed;
}

static void run_prompts(llm_bed *b, aegis_model *model, uint32_t prompt, uint32_t block)
{
    static double first[PROMPTS], longest[PROMPTS];
    char text[160];
    aegis_error err;
    for (uint32_t p = 0; p < WARM_UP + PROMPTS; p++) {
        const uint32_t to = p < WARM_UP ? 0 : p - WARM_UP;
        gpu_check(aegis_model_reset(model, &err), &err);
        first[to] = longest[to] = 0;
        for (uint32_t at = 0; at < prompt; at += block) {
            const double elapsed = run_job(b, model);
            first[to] += elapsed;
            longest[to] = elapsed > longest[to] ? elapsed : longest[to];
        }
    }
    snprintf(text, sizeof text, "%s, %u tokens by %u: first token", b->name, prompt, block);
    bench_report_samples(&b->report, text, "ns", first, PROMPTS); /* sorts */
    snprintf(text, sizeof text, "%s, %u tokens by %u: a job", b->name, prompt, block);
    bench_report_samples(&b->report, text, "ns", longest, PROMPTS);
    fprintf(stderr, "%-16s %3u tokens by %3u: first token %9.1f us, a job %8.1f us (max %8.1f)\n",
            b->name, prompt, block, bench_percentile(first, PROMPTS, 0.5) / 1e3,
            bench_percentile(longest, PROMPTS, 0.5) / 1e3, longest[PROMPTS - 1] / 1e3);
}

/* False without cuBLAS. */
static bool run_block(llm_bed *b, const char *folder, uint32_t prompt, uint32_t block)
{
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {prompt}};
    const aegis_model_config config = {.name = b->name,
                                       .path = folder,
                                       .inputs = &shape,
                                       .input_count = 1,
                                       .sources = &source,
                                       .source_count = 1,
                                       .stream = b->stream,
                                       .prompt_block = block,
                                       .context_tokens = CONTEXT};
    aegis_model *model = NULL;
    aegis_error err;
    const aegis_status status = aegis_model_open(b->backend, &config, &model, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return false;
    }
    gpu_check(status, &err);
    run_prompts(b, model, prompt, block);
    aegis_model_close(model);
    return true;
}

static bool run_shape(llm_bed *b, const char *what)
{
    static const uint32_t prompts[] = {32, 128, 512}, blocks[] = {32, 128, 512, 1};
    llm_made made;
    bool has = true;
    llm_make(b, what, &made);
    for (size_t p = 0; p < sizeof prompts / sizeof *prompts && has; p++) {
        for (size_t k = 0; k < sizeof blocks / sizeof *blocks && has; k++) {
            has = blocks[k] > prompts[p] || run_block(b, made.folder, prompts[p], blocks[k]);
        }
    }
    llm_remove(&made);
    return has;
}

int main(int argc, char **argv)
{
    static char *standard[] = {"gpt2-small:f16", "gpt2-small:f32", "llama-135m:f16"};
    llm_bed b;
    bool has = true;
    if (!llm_begin(&b, "llm_prompt_cuda", ARENA_BYTES, PINNED_BYTES)) {
        return LLM_SKIPPED;
    }
    char **models = argc > 1 ? argv + 1 : standard;
    const int count = argc > 1 ? argc - 1 : (int)(sizeof standard / sizeof *standard);
    for (int i = 0; i < count && has; i++) {
        has = run_shape(&b, models[i]);
    }
    llm_end(&b);
    return has ? 0 : LLM_SKIPPED;
}
