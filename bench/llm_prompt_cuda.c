/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time to the first token on a CUDA device: a prompt token by token, and in blocks through cuBLAS.
 *
 *     bench_llm_prompt_cuda [SHAPE:DTYPE...]   (default: gpt2-small:f16 gpt2-small:f32
 *                                               llama-135m:f16)
 *
 * Prompts of 32, 128 and 512 tokens, in blocks of 1 (steps), 32, 128 and 512. Jobs run one behind
 * the other, each of their segments awaited as a lane does; `first token` is from the first job's
 * call until the host knows that the last one is done, `a job` the longest of them. And prompts of
 * 128 and 512 in blocks of 128 with all layers from pinned memory, and with half of them: there
 * `ratio` is the bytes that all jobs of the prompt copy over the time to the first token and the
 * rate at which the same link copies in the same run. Skipped (77) without a GPU or cuBLAS.
 */
#include "llm_link.h"

#define CONTEXT 1024u
#define PROMPTS 21u
#define WARM_UP 3u
#define STREAMED_BLOCK 128u
#define ARENA_BYTES ((uint64_t)512 << 20)
#define PINNED_BYTES ((uint64_t)1 << 30)

typedef struct job {
    aegis_model *model;
    aegis_stream *lane;
    uint32_t segment;
} job;

static void execute(void *argument)
{
    const job *j = argument;
    aegis_error err;
    gpu_check(aegis_model_execute(j->model, j->segment, 0, j->lane, &err), &err);
}

/* Nanoseconds from the call until the host knows that it is done. */
static double run_job(llm_bed *b, aegis_model *model)
{
    const uint32_t segments = aegis_model_segment_count(model);
    job j = {.model = model, .lane = b->stream};
    aegis_error err;
    const uint64_t since = bench_now_ns();
    for (; j.segment < segments; j.segment++) {
        gpu_check(aegis_stream_call(b->stream, execute, &j, &err), &err);
        llm_await(b);
    }
    const double elapsed = (double)(bench_now_ns() - since);
    aegis_model_commit(model);
    return elapsed;
}

/* The median time to the first token; `how` is what stands behind the block in a name. */
static double
run_prompts(llm_bed *b, aegis_model *model, uint32_t prompt, uint32_t block, const char *how)
{
    static double first[PROMPTS], longest[PROMPTS];
    char text[200];
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
    snprintf(text, sizeof text, "%s, %u tokens by %u%s: first token", b->name, prompt, block, how);
    bench_report_samples(&b->report, text, "ns", first, PROMPTS); /* sorts */
    snprintf(text, sizeof text, "%s, %u tokens by %u%s: a job", b->name, prompt, block, how);
    bench_report_samples(&b->report, text, "ns", longest, PROMPTS);
    fprintf(stderr, "%-16s %3u tokens by %3u%s: first token %9.1f us, a job %8.1f us (max %8.1f)\n",
            b->name, prompt, block, how, bench_percentile(first, PROMPTS, 0.5) / 1e3,
            bench_percentile(longest, PROMPTS, 0.5) / 1e3, longest[PROMPTS - 1] / 1e3);
    return bench_percentile(first, PROMPTS, 0.5);
}

static aegis_model_config
config_of(const llm_bed *b, const char *folder, const aegis_input_shape *shape, uint32_t block)
{
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    return (aegis_model_config){.name = b->name,
                                .path = folder,
                                .inputs = shape,
                                .input_count = 1,
                                .sources = &source,
                                .source_count = 1,
                                .stream = b->stream,
                                .prompt_block = block,
                                .context_tokens = CONTEXT};
}

/* False without cuBLAS. */
static bool run_block(llm_bed *b, const char *folder, uint32_t prompt, uint32_t block)
{
    const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {prompt}};
    const aegis_model_config config = config_of(b, folder, &shape, block);
    aegis_model *model = NULL;
    aegis_error err;
    const aegis_status status = aegis_model_open(b->backend, &config, &model, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        fprintf(stderr, "skipped: %s\n", err.message);
        return false;
    }
    gpu_check(status, &err);
    (void)run_prompts(b, model, prompt, block, "");
    aegis_model_close(model);
    return true;
}

/* ---- layers from pinned memory ---- */

/* With so much memory; how many layers the model has. */
static uint32_t run_streamed(
    llm_bed *b, const aegis_model_config *config, uint32_t prompt, uint64_t all, double link_rate)
{
    char how[64], text[200];
    aegis_model *model = NULL;
    aegis_error err;
    uint32_t layers = 0;
    gpu_check(aegis_model_open(b->backend, config, &model, &err), &err);
    const uint32_t come = llm_streamed_layers(model, &layers);
    snprintf(how, sizeof how, ", %u of %u layers come", come, layers);
    const double first = run_prompts(b, model, prompt, STREAMED_BLOCK, how);
    aegis_model_close(model);
    /* the memory lacks all that come but two, whose place the slots have */
    const double layer = (double)(all - config->memory_limit_bytes) / (double)(come - 2);
    const double bytes = layer * come * (prompt / STREAMED_BLOCK);
    const double ratio = bytes / (first / 1e9) / link_rate;
    snprintf(text, sizeof text, "%s, %u tokens by %u%s: streamed bytes over the link's rate",
             b->name, prompt, STREAMED_BLOCK, how);
    bench_report_value(&b->report, text, "ratio", ratio);
    fprintf(stderr, "%-16s %3u tokens by %3u%s: %.0f MB, ratio %.3f\n", b->name, prompt,
            STREAMED_BLOCK, how, bytes / 1e6, ratio);
    return layers;
}

/* All layers come, then half of them. */
static void run_both(llm_bed *b, const char *folder, uint32_t prompt, double link_rate)
{
    const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {prompt}};
    aegis_model_config config = config_of(b, folder, &shape, STREAMED_BLOCK);
    const uint64_t all = llm_needed_bytes(b, &config);
    config.residency = AEGIS_STREAMED;
    const uint64_t least = llm_needed_bytes(b, &config);
    if (least == 0 || all <= least) {
        fprintf(stderr, "bench: a budget of one byte was not refused\n");
        exit(1);
    }
    config.memory_limit_bytes = least;
    const uint32_t layers = run_streamed(b, &config, prompt, all, link_rate);
    config.memory_limit_bytes = least + layers / 2 * ((all - least) / (layers - 2));
    (void)run_streamed(b, &config, prompt, all, link_rate);
}

static bool run_shape(llm_bed *b, const char *what, double link_rate)
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
    for (size_t p = 1; p < sizeof prompts / sizeof *prompts && has; p++) {
        run_both(b, made.folder, prompts[p], link_rate);
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
    const double link_rate = llm_measure_link(&b);
    char **models = argc > 1 ? argv + 1 : standard;
    const int count = argc > 1 ? argc - 1 : (int)(sizeof standard / sizeof *standard);
    for (int i = 0; i < count && has; i++) {
        has = run_shape(&b, models[i], link_rate);
    }
    llm_end(&b);
    return has ? 0 : LLM_SKIPPED;
}
