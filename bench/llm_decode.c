/* SPDX-License-Identifier: Apache-2.0 */
/* Prefill and decoding of a model folder, fully resident, many short windows in one process:
 *
 *   bench_llm_decode FOLDER [THREADS [PROMPT [TOKENS [WINDOWS [INSTRUCTIONS]]]]]
 *
 * (defaults: 2 32 16 20, the best instructions). Windows are short, so that some are undisturbed on
 * a busy machine; the upper quartile is what to compare there. */
#include "bench.h"

#include <aegisrt/transformer.h>

#define MOST_PROMPT 1024

typedef struct plan {
    const char *folder, *instructions;
    uint32_t threads, prompt, tokens, windows;
} plan;

static uint32_t argument_or(int argc, char **argv, int index, uint32_t standard)
{
    return index < argc ? (uint32_t)strtoul(argv[index], NULL, 10) : standard;
}

static aegis_transformer_ready *open_engine(const plan *all, aegis_error *err)
{
    const aegis_transformer_config config = {.model = all->folder,
                                             .strategy = "resident-stream",
                                             .budget_bytes = UINT64_C(64) << 30,
                                             .threads = all->threads,
                                             .context_tokens = all->prompt + all->tokens + 1,
                                             .prefill_rows = all->prompt,
                                             .instructions = all->instructions,
                                             .no_tokenizer = true};
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    if (aegis_transformer_create(&config, &allocator, &idle, err) == AEGIS_OK &&
        aegis_transformer_load(&idle, &planned, err) == AEGIS_OK &&
        aegis_transformer_prepare(&planned, &ready, err) == AEGIS_OK) {
        return ready;
    }
    aegis_transformer_idle_destroy(idle);
    aegis_transformer_planned_destroy(planned);
    return NULL;
}

static void report_rates(bench_report *report, const char *name, double *samples, uint32_t count)
{
    char text[64];
    bench_sort(samples, count);
    const double points[] = {0.5, 0.75, 1.0};
    const char *const words[] = {"median", "upper quartile", "best"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s, %s", name, words[i]);
        bench_report_value(report, text, "tokens/s", bench_percentile(samples, count, points[i]));
    }
}

static int run(const plan *all, aegis_transformer_ready *engine, aegis_error *err)
{
    uint32_t tokens[MOST_PROMPT];
    double *prefill = calloc(all->windows, sizeof *prefill);
    double *decode = calloc(all->windows, sizeof *decode);
    for (uint32_t i = 0; i < all->prompt; i++) {
        tokens[i] = 31 * i % 251;
    }
    const aegis_generation_request request = {.tokens = tokens,
                                              .token_count = all->prompt,
                                              .max_tokens = all->tokens + 1,
                                              .past_end = true};
    aegis_status status = prefill != NULL && decode != NULL ? AEGIS_OK : AEGIS_ERROR_NO_MEMORY;
    for (uint32_t w = 0; status == AEGIS_OK && w < all->windows; w++) {
        aegis_generation made = {0};
        aegis_generation_figures figures = {0};
        status = aegis_transformer_generate(engine, &request, 1, NULL, NULL, &made, &figures, err);
        aegis_generation_finish(engine, &made);
        prefill[w] = figures.prompt_tokens / figures.prefill_s;
        decode[w] = figures.decoded_tokens / figures.decode_s;
    }
    if (status == AEGIS_OK) {
        bench_report report = bench_report_begin("llm_decode");
        report_rates(&report, "prefill", prefill, all->windows);
        report_rates(&report, "decode", decode, all->windows);
        bench_report_end(&report);
    }
    free(decode);
    free(prefill);
    return status == AEGIS_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    aegis_error error = {0};
    const plan all = {.folder = argc > 1 ? argv[1] : NULL,
                      .threads = argument_or(argc, argv, 2, 2),
                      .prompt = argument_or(argc, argv, 3, 32),
                      .tokens = argument_or(argc, argv, 4, 16),
                      .windows = argument_or(argc, argv, 5, 20),
                      .instructions = argc > 6 ? argv[6] : NULL};
    if (all.folder == NULL || all.prompt == 0 || all.prompt > MOST_PROMPT || all.windows == 0 ||
        all.tokens == 0) {
        fprintf(stderr,
                "usage: bench_llm_decode FOLDER [THREADS [PROMPT [TOKENS [WINDOWS [SET]]]]]\n");
        return 2;
    }
    aegis_transformer_ready *engine = open_engine(&all, &error);
    const int code = engine != NULL ? run(&all, engine, &error) : 1;
    aegis_transformer_ready_destroy(engine);
    if (code != 0) {
        fprintf(stderr, "%s\n", error.message);
    }
    return code;
}
