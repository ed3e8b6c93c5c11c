/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up transformers as models with jobs: the engine's tokens and bits however they are cut; jobs
 * that end early leave the sequence; every status. */
#include "support/backend_conformance.h"
#include "support/test_allocator.h"

#include <aegisrt/ext/backend_ops.h>
#include <aegisrt/transformer.h>

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define PROMPT 7
#define TOKENS 12
#define VOCABULARY 301
#define CONTEXT 24
#define MOST_CUTS 64

static char folder[] = "/tmp/aegisrt-language-XXXXXX";
static const char *const kinds[] = {"gpt2-tiny", "llama-tiny", "llama-tiny-untied"};
static const char *const dtypes[] = {"f32", "f16", "bf16", "i8"};
static const uint32_t prompt[PROMPT] = {3, 77, 200, 5, 3, 77, 200};
static const aegis_state_pair pair = {"cursor", "next_cursor"};
static aegis_backend *backend;

static const char *model_path(const char *shape, const char *dtype)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s-%s", folder, shape, dtype);
    return path;
}

static aegis_model_config config_of(const char *path)
{
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {PROMPT}};
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    return (aegis_model_config){.name = "m",
                                .path = path,
                                .inputs = &shape,
                                .input_count = 1,
                                .state = &pair,
                                .state_count = 1,
                                .sources = &source,
                                .source_count = 1,
                                .context_tokens = CONTEXT};
}

static aegis_model *open_model(const aegis_model_config *config)
{
    aegis_error err;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, config, &model, &err), &err);
    return model;
}

static void give_prompt(aegis_model *model)
{
    aegis_error err;
    void *data;
    uint64_t size;
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    assert_int_equal(size, PROMPT * sizeof(int64_t));
    for (int i = 0; i < PROMPT; i++) {
        ((int64_t *)data)[i] = prompt[i];
    }
}

static const void *output(aegis_model *model, const char *name)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size;
    must(aegis_model_output(model, 0, name, &data, &size, &err), &err);
    return data;
}

static int64_t token(aegis_model *model)
{
    return *(const int64_t *)output(model, "token");
}

static int64_t job(aegis_model *model)
{
    conformance_run(model, 0);
    aegis_model_commit(model);
    return token(model);
}

/* What the engine makes of the prompt, and the logits behind the prompt and the tokens but the
 * last. */
typedef struct wanted {
    uint32_t tokens[TOKENS];
    float logits[VOCABULARY];
} wanted;

static wanted engine_makes(const char *path)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config config = {.model = path,
                                             .budget_bytes = UINT64_C(4) << 30,
                                             .context_tokens = 64,
                                             .threads = 2,
                                             .no_tokenizer = true};
    const aegis_generation_request request = {
        .tokens = prompt, .token_count = PROMPT, .max_tokens = TOKENS, .past_end = true};
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    aegis_generation made = {0};
    aegis_generation_figures figures;
    aegis_error err;
    wanted all;
    uint32_t text[PROMPT + TOKENS];
    must(aegis_transformer_create(&config, &allocator, &idle, &err), &err);
    must(aegis_transformer_load(&idle, &planned, &err), &err);
    must(aegis_transformer_prepare(&planned, &ready, &err), &err);
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, &figures, &err), &err);
    assert_int_equal(made.token_count, TOKENS);
    memcpy(all.tokens, made.tokens, sizeof all.tokens);
    memcpy(text, prompt, sizeof prompt);
    memcpy(text + PROMPT, made.tokens, sizeof all.tokens);
    must(aegis_transformer_evaluate(ready, text, PROMPT + TOKENS - 1, all.logits, &err), &err);
    aegis_generation_finish(ready, &made);
    aegis_transformer_ready_destroy(ready);
    return all;
}

/* A sequence from its begin; the model's jobs give the prompt, then the engine's tokens. */
static void expect_sequence(aegis_model *model, const wanted *all)
{
    give_prompt(model);
    for (int i = 1; i < PROMPT; i++) {
        assert_int_equal(job(model), prompt[i]);
    }
    for (int i = 0; i < TOKENS; i++) {
        assert_int_equal(job(model), all->tokens[i]);
    }
    assert_memory_equal(output(model, "logits"), all->logits, sizeof all->logits);
}

static size_t find_cuts(const aegis_model_config *config, uint32_t positions[MOST_CUTS])
{
    aegis_error err;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    uint64_t before = 0;
    aegis_model *model = open_model(config);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err), &err);
    assert_in_range(count, 2, MOST_CUTS);
    for (size_t i = 0; i < count; i++) {
        positions[i] = candidates[i].position;
        assert_true(i == 0 || positions[i] > positions[i - 1]);
        assert_true(candidates[i].live_bytes > 0 && candidates[i].live_tensors > 0);
        assert_true(candidates[i].elapsed_ns >= before);
        before = candidates[i].elapsed_ns;
    }
    aegis_model_close(model);
    return count;
}

static void jobs_make_the_engines_tokens(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        for (size_t d = 0; d < LENGTH(dtypes); d++) {
            const char *path = model_path(kinds[k], dtypes[d]);
            const wanted all = engine_makes(path);
            aegis_model_config config = config_of(path);
            aegis_error err;
            uint32_t cuts[MOST_CUTS];
            const size_t count = find_cuts(&config, cuts);
            for (size_t used = 0; used <= count; used += count) { /* none, and all */
                placed_memory memory;
                config.cuts = used > 0 ? cuts : NULL;
                config.cut_count = used;
                aegis_model *model = open_model(&config);
                assert_int_equal(aegis_model_segment_count(model), used + 1);
                expect_sequence(model, &all); /* in trial memory */
                must(aegis_model_record(model, NULL, &err), &err);
                placed_make(model, 0, &memory);
                expect_sequence(model, &all);
                must(aegis_model_reset(model, &err), &err);
                expect_sequence(model, &all);
                placed_check_red_zones(&memory);
                aegis_model_close(model);
                placed_free(&memory);
            }
        }
    }
}

static uint64_t cache_bytes(const aegis_model_config *config)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    aegis_model *model = open_model(config);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    assert_int_equal(lifetimes[0].memory_class, AEGIS_MEMORY_WEIGHTS);
    assert_int_equal(lifetimes[1].memory_class, AEGIS_MEMORY_STATE);
    const uint64_t bytes = lifetimes[1].size_bytes;
    aegis_model_close(model);
    return bytes;
}

static void conforms_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        aegis_model_config config = config_of(model_path(kinds[k], "f16"));
        uint32_t cuts[MOST_CUTS];
        const size_t count = find_cuts(&config, cuts);
        const uint64_t kept = cache_bytes(&config);
        conformance_check_keeping(backend, &config, kept);
        config.cuts = cuts;
        for (size_t used = 1; used <= count; used++) {
            config.cut_count = used;
            conformance_check_keeping(backend, &config, kept);
        }
    }
    /* llama-tiny: 3 blocks, keys and values of 2 heads of 12, as f32 */
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    assert_int_equal(cache_bytes(&config), 3 * 2 * 2 * 12 * CONTEXT * sizeof(float));
}

/* Other models' activations lie in the same bytes between two segments, and the last segment may
 * run again. */
static void segments_leave_nothing_in_working_memory(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        const char *path = model_path(kinds[k], "f32");
        const wanted all = engine_makes(path);
        aegis_model_config config = config_of(path);
        uint32_t cuts[MOST_CUTS];
        placed_memory memory;
        aegis_error err;
        config.cuts = cuts;
        config.cut_count = find_cuts(&config, cuts);
        aegis_model *model = open_model(&config);
        must(aegis_model_record(model, NULL, &err), &err);
        placed_make(model, 0, &memory);
        unsigned char *working = memory.base + memory.boundary_end + PLACED_RED_ZONE;
        assert_true(memory.activation_height > 0 && memory.boundary_height > 0);
        give_prompt(model);
        for (int i = 0; i < PROMPT + 2; i++) {
            for (uint32_t s = 0; s <= config.cut_count; s++) {
                for (int again = 0; again < 3; again++) {
                    memset(working, 0xff, memory.activation_height); /* NaN */
                    must(aegis_model_execute(model, s, 0, NULL, &err), &err);
                }
            }
            aegis_model_commit(model);
        }
        assert_int_equal(token(model), all.tokens[2]);
        assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
        assert_non_null(strstr(err.message, "is due"));
        aegis_model_close(model);
        placed_free(&memory);
    }
}

static void jobs_without_commit_leave_the_sequence(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "bf16");
    const wanted all = engine_makes(path);
    aegis_model_config config = config_of(path);
    uint32_t cuts[MOST_CUTS];
    aegis_error err;
    config.cuts = cuts;
    config.cut_count = find_cuts(&config, cuts);
    aegis_model *model = open_model(&config);
    give_prompt(model);
    for (int i = 0; i < PROMPT + TOKENS - 1; i++) {
        for (uint32_t s = 0; s <= (uint32_t)i % config.cut_count; s++) { /* a job that is aborted */
            must(aegis_model_execute(model, s, 0, NULL, &err), &err);
        }
        conformance_run(model, 0); /* one whose result is thrown away */
        const int64_t made = job(model);
        assert_int_equal(made, i + 1 < PROMPT ? prompt[i + 1] : all.tokens[i + 1 - PROMPT]);
    }
    assert_memory_equal(output(model, "logits"), all.logits, sizeof all.logits);
    aegis_model_close(model);
}

static void sequences_end_as_configured(void **state)
{
    (void)state;
    for (int stops = 0; stops < 2; stops++) {
        aegis_model_config config = config_of(model_path("gpt2-tiny", "f32"));
        int64_t made[CONTEXT];
        config.stop_at_end = stops == 1;
        config.state_count = 0; /* its own */
        aegis_model *model = open_model(&config);
        for (int i = 0; i < CONTEXT; i++) {
            made[i] = job(model);
            assert_in_range(made[i], 0, VOCABULARY - 1);
        }
        for (int i = 0; i < CONTEXT; i++) {
            assert_int_equal(job(model), stops ? -1 : made[i]);
        }
        if (stops) {
            aegis_error err;
            must(aegis_model_reset(model, &err), &err);
            assert_int_equal(job(model), made[0]);
        }
        aegis_model_close(model);
    }
}

/* A model whose first chosen token ends its texts. */
static void an_end_of_text_ends_the_sequence(void **state)
{
    (void)state;
    char path[256], file[300], text[2048];
    aegis_error err;
    snprintf(path, sizeof path, "%s/ends", folder);
    must(aegis_transformer_synthesize(path, "gpt2-tiny", "f32", 5, &err), &err);
    const wanted all = engine_makes(path);
    snprintf(file, sizeof file, "%s/config.json", path);
    FILE *in = fopen(file, "r");
    assert_non_null(in);
    const size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = '\0';
    char *brace = strchr(text, '{');
    assert_non_null(brace);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fprintf(out, "{\"eos_token_id\": %u, %s", all.tokens[0], brace + 1);
    assert_int_equal(fclose(out), 0);
    aegis_model_config config = config_of(path);
    aegis_model *model = open_model(&config);
    for (int round = 0; round < 3; round++) {
        give_prompt(model);
        for (int i = 1; i < PROMPT; i++) {
            assert_int_equal(job(model), prompt[i]);
        }
        assert_int_equal(job(model), all.tokens[0]);
    }
    aegis_model_close(model);
    config.stop_at_end = true;
    model = open_model(&config);
    give_prompt(model);
    for (int i = 0; i < PROMPT; i++) {
        job(model);
    }
    assert_int_equal(token(model), all.tokens[0]);
    assert_int_equal(job(model), -1);
    aegis_model_close(model);
}

/* ---- ending a segment part-way ---- */

typedef struct interrupter {
    aegis_model *model;
    _Atomic bool over;
} interrupter;

static void *interrupt(void *argument)
{
    interrupter *self = argument;
    while (!atomic_load(&self->over)) {
        aegis_model_terminate(self->model);
    }
    return NULL;
}

static void terminated_jobs_can_be_repeated(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    aegis_model_config config = config_of(path);
    aegis_error err;
    aegis_model *model = open_model(&config);
    interrupter other = {.model = model};
    pthread_t thread;
    int ended = 0;
    assert_true(aegis_model_can_terminate(model));
    give_prompt(model);
    job(model);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &other), 0);
    for (int i = 0; i < 1000000 && ended < 5; i++) {
        const aegis_status status = aegis_model_execute(model, 0, 0, NULL, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_TERMINATED);
        ended += status == AEGIS_ERROR_TERMINATED;
    }
    atomic_store(&other.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(ended, 5);
    for (int i = 2; i < PROMPT; i++) {
        assert_int_equal(job(model), prompt[i]);
    }
    assert_int_equal(job(model), all.tokens[0]);
    aegis_model_close(model);
}

/* ---- weights that come from the disk ---- */

/* The smallest model that streaming can do with: by what refusals say is missing. */
static aegis_model_config streamed_config(const char *path)
{
    aegis_model_config config = config_of(path);
    aegis_error err = {0};
    aegis_model *model = NULL;
    config.stream_weights = true;
    for (config.memory_limit_bytes = 200000; model == NULL; config.memory_limit_bytes += 4096) {
        assert_true(config.memory_limit_bytes < 4000000);
        const aegis_status status = aegis_model_open(backend, &config, &model, &err);
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_BUDGET_EXCEEDED);
    }
    config.memory_limit_bytes -= 4096;
    aegis_model_close(model);
    return config;
}

static uint64_t planned_bytes(const aegis_model *model)
{
    uint64_t classes[AEGIS_MEMORY_CLASS_COUNT], sum = 0;
    aegis_error err;
    must(aegis_model_estimate_memory(model, classes, &err), &err);
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        sum += classes[c];
    }
    return sum;
}

static void a_streamed_model_makes_the_same_tokens(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        const char *path = model_path(kinds[k], "f32");
        const wanted all = engine_makes(path);
        const aegis_model_config least = streamed_config(path);
        aegis_model_config config = least;
        for (uint32_t more = 0; more < 3; more++) {
            aegis_error err;
            placed_memory memory;
            config.memory_limit_bytes = least.memory_limit_bytes + more * 16384;
            aegis_model *model = open_model(&config);
            const uint64_t awaited = aegis_model_awaited_segments(model);
            assert_true(awaited != 0 && aegis_model_segment_count(model) > 2);
            assert_non_null(strstr(aegis_model_label(model), "KiB from files"));
            expect_sequence(model, &all);
            must(aegis_model_record(model, NULL, &err), &err);
            assert_true(planned_bytes(model) <= config.memory_limit_bytes);
            placed_make(model, 0, &memory);
            expect_sequence(model, &all);
            must(aegis_model_reset(model, &err), &err);
            expect_sequence(model, &all);
            placed_check_red_zones(&memory);
            aegis_model_close(model);
            placed_free(&memory);
        }
    }
    /* One that fits is as any other. */
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    config.stream_weights = true;
    config.memory_limit_bytes = UINT64_C(16) << 20;
    aegis_model *model = open_model(&config);
    assert_int_equal(aegis_model_awaited_segments(model), 0);
    assert_true(aegis_model_is_ready(model, 0));
    assert_int_equal(aegis_model_segment_count(model), 1);
    aegis_model_close(model);
}

static void a_streamed_model_conforms(void **state)
{
    (void)state;
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        aegis_model_config config = streamed_config(model_path(kinds[k], "f32"));
        config.memory_limit_bytes += 16384; /* for a second slot, as the suite asks for */
        config.slots = 2;
        aegis_error err;
        const aegis_tensor_lifetime *lifetimes = NULL;
        size_t count = 0;
        aegis_model *model = open_model(&config);
        must(aegis_model_record(model, NULL, &err), &err);
        must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
        const uint64_t kept = lifetimes[1].size_bytes + lifetimes[count - 1].size_bytes;
        assert_int_equal(lifetimes[count - 1].alignment, 4096);
        aegis_model_close(model);
        conformance_check_keeping(backend, &config, kept);
    }
}

/* Wherever a job ends, the next one finds its begin; what is ready does not wait. */
static void streamed_jobs_that_end_early_leave_the_sequence(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    const aegis_model_config config = streamed_config(path);
    aegis_error err;
    aegis_model *model = open_model(&config);
    const uint32_t segments = aegis_model_segment_count(model);
    give_prompt(model);
    for (uint32_t i = 0; i < PROMPT + TOKENS - 1; i++) {
        for (uint32_t s = 0; s <= i % segments; s++) { /* a job that is aborted */
            aegis_model_await(model, s);
            assert_true(aegis_model_is_ready(model, s));
            must(aegis_model_execute(model, s, 0, NULL, &err), &err);
        }
        const int64_t made = job(model);
        assert_int_equal(made, i + 1 < PROMPT ? prompt[i + 1] : all.tokens[i + 1 - PROMPT]);
    }
    interrupter other = {.model = model};
    pthread_t thread;
    int ended = 0;
    must(aegis_model_reset(model, &err), &err);
    give_prompt(model);
    assert_int_equal(pthread_create(&thread, NULL, interrupt, &other), 0);
    for (int i = 0; i < 10000 && ended < 9; i++) {
        aegis_status status = AEGIS_OK;
        for (uint32_t s = 0; s < segments && status == AEGIS_OK; s++) {
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
        assert_true(status == AEGIS_OK || status == AEGIS_ERROR_TERMINATED);
        ended += status == AEGIS_ERROR_TERMINATED;
    }
    atomic_store(&other.over, true);
    pthread_join(thread, NULL);
    assert_int_equal(ended, 9);
    expect_sequence(model, &all);
    aegis_model_close(model);
}

static void note(void *self)
{
    atomic_fetch_add((_Atomic int *)self, 1);
}

/* A file that loses its end while it is read from fails the job with IO, and the model goes on when
 * the bytes are there again. */
static void a_failed_read_fails_the_job_alone(void **state)
{
    (void)state;
    char path[256], file[300], command[700];
    aegis_error err;
    snprintf(path, sizeof path, "%s/cut-off", folder);
    must(aegis_transformer_synthesize(path, "llama-tiny", "f32", 5, &err), &err);
    const wanted all = engine_makes(path);
    const aegis_model_config config = streamed_config(path);
    aegis_model *model = open_model(&config);
    _Atomic int bells = 0;
    aegis_model_watch(model, note, &bells);
    expect_sequence(model, &all);
    assert_true(atomic_load(&bells) > 0);
    snprintf(file, sizeof file, "%s/model.safetensors", path);
    snprintf(command, sizeof command, "cp '%s' '%s.kept'", file, file);
    assert_int_equal(system(command), 0);
    assert_int_equal(truncate(file, 4096), 0);
    aegis_status status = AEGIS_OK;
    for (int i = 0; i < 20 && status == AEGIS_OK; i++) { /* some were read ahead */
        for (uint32_t s = 0; s < aegis_model_segment_count(model) && status == AEGIS_OK; s++) {
            aegis_model_await(model, s);
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
    }
    assert_int_equal(status, AEGIS_ERROR_IO);
    assert_non_null(strstr(err.message, "must not change while it is used"));
    snprintf(command, sizeof command, "cat '%s.kept' > '%s'", file, file); /* the same file */
    assert_int_equal(system(command), 0);
    must(aegis_model_reset(model, &err), &err);
    for (int i = 0; i < 20; i++) { /* what failed goes by */
        status = AEGIS_OK;
        for (uint32_t s = 0; s < aegis_model_segment_count(model) && status == AEGIS_OK; s++) {
            status = aegis_model_execute(model, s, 0, NULL, &err);
        }
    }
    must(status, &err);
    expect_sequence(model, &all);
    aegis_model_watch(model, NULL, NULL);
    aegis_model_close(model);
}

/* ---- statuses ---- */

static void
expect_refusal(const aegis_model_config *config, aegis_status wanted_status, const char *words)
{
    aegis_error err;
    aegis_model *model = NULL;
    assert_int_equal(aegis_model_open(backend, config, &model, &err), wanted_status);
    assert_null(model);
    if (strstr(err.message, words) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    }
}

static void bad_configurations_are_refused(void **state)
{
    (void)state;
    static const uint32_t inside = 1, falling[] = {7, 7};
    static const aegis_state_pair other = {"tokens", "token"};
    static const aegis_input_shape one = {.name = "tokens", .rank = 1, .shape = {1}};
    const aegis_model_config good = config_of(model_path("llama-tiny", "f32"));
    aegis_model_config config = good;
    config.path = "/tmp/no such folder";
    expect_refusal(&config, AEGIS_ERROR_NOT_FOUND, "cannot open the model folder");
    config = good;
    config.threads = 2;
    expect_refusal(&config, AEGIS_ERROR_UNSUPPORTED, "threads = 1");
    config = good;
    config.context_tokens = 97;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "made for 96");
    config = good;
    config.context_tokens = PROMPT;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "no room");
    config = good;
    config.input_count = 0;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "tokens");
    config = good;
    config.inputs = &one;
    config.state = &other;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "cursor = \"next_cursor\"");
    config = good;
    config.cuts = &inside;
    config.cut_count = 1;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "inside block 0");
    config.cuts = falling;
    config.cut_count = 2;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "rising");
    config.cut_count = 1000;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "pieces");
    config = good;
    config.memory_limit_bytes = 10000;
    expect_refusal(&config, AEGIS_ERROR_BUDGET_EXCEEDED, "weights = \"stream\"");
    config.stream_weights = true;
    expect_refusal(&config, AEGIS_ERROR_BUDGET_EXCEEDED, "streaming needs");
    config.memory_limit_bytes = 0;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "write memory");
    config.memory_limit_bytes = 600000;
    config.cuts = &inside;
    config.cut_count = 1;
    expect_refusal(&config, AEGIS_ERROR_CONFIG, "remove cuts");
}

static void calls_out_of_turn_are_refused(void **state)
{
    (void)state;
    aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    const aegis_cut_candidate *candidates = NULL;
    uint32_t cuts[MOST_CUTS];
    size_t count = 0;
    aegis_error err;
    config.cut_count = find_cuts(&config, cuts);
    config.cuts = cuts;
    aegis_model *model = open_model(&config);
    assert_int_equal(aegis_model_execute(model, 1, 0, NULL, &err), AEGIS_ERROR_STATE);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE);
    must(aegis_model_record(model, NULL, &err), &err);
    assert_int_equal(aegis_model_cut_candidates(model, NULL, &candidates, &count, &err),
                     AEGIS_ERROR_STATE); /* cut already */
    assert_null(candidates);
    aegis_model_close(model);
}

static void wrong_values_fail_the_job_alone(void **state)
{
    (void)state;
    const aegis_model_config config = config_of(model_path("llama-tiny", "f32"));
    aegis_error err;
    aegis_model *model = open_model(&config);
    void *data = NULL;
    uint64_t size = 0;
    must(aegis_model_input(model, 0, "tokens", &data, &size, &err), &err);
    *(int64_t *)data = VOCABULARY;
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, "0 to 300"));
    *(int64_t *)data = 1;
    must(aegis_model_execute(model, 0, 0, NULL, &err), &err);
    must(aegis_model_input(model, 0, "cursor", &data, &size, &err), &err);
    *(int64_t *)data = -1;
    assert_int_equal(aegis_model_execute(model, 0, 0, NULL, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, "reset"));
    assert_true(aegis_model_is_valid(model));
    aegis_model_close(model);
}

/* Until it is placed a recorded model computes at the last position, and starts no sequence. */
static void measured_jobs_are_the_longest(void **state)
{
    (void)state;
    const char *path = model_path("llama-tiny", "f32");
    const wanted all = engine_makes(path);
    const aegis_model_config config = config_of(path);
    aegis_error err;
    placed_memory memory;
    aegis_model *model = open_model(&config);
    must(aegis_model_record(model, NULL, &err), &err);
    job(model);
    float first[VOCABULARY];
    memcpy(first, output(model, "logits"), sizeof first);
    job(model); /* the same position again */
    assert_memory_equal(output(model, "logits"), first, sizeof first);
    assert_int_equal(((const int64_t *)output(model, "next_cursor"))[0], 0);
    placed_make(model, 0, &memory);
    expect_sequence(model, &all);
    aegis_model_close(model);
    placed_free(&memory);
}

static void memory_that_runs_out_is_reported(void **state)
{
    (void)state;
    test_allocator counted = {0};
    const aegis_allocator allocator = test_allocator_make(&counted);
    const aegis_backend_config runtime = {.runtime = "transformer"};
    const aegis_model_config config = config_of(model_path("gpt2-tiny", "i8"));
    aegis_error err;
    bool ended = false;
    for (uint64_t fail = 1; fail < 5000 && !ended; fail++) {
        aegis_backend *own = NULL;
        aegis_model *model = NULL;
        counted.calls = 0;
        counted.fail_at = fail;
        aegis_status status = aegis_backend_create(&runtime, NULL, &allocator, &own, &err);
        if (status == AEGIS_OK) {
            status = aegis_model_open(own, &config, &model, &err);
        }
        if (status == AEGIS_OK) {
            status = aegis_model_record(model, NULL, &err);
        }
        ended = status == AEGIS_OK && counted.calls < fail;
        assert_true(status == AEGIS_ERROR_NO_MEMORY || ended);
        aegis_model_close(model);
        aegis_backend_destroy(own);
        assert_int_equal(counted.blocks, 0);
        assert_int_equal(counted.wrong_sizes, 0);
    }
    assert_true(ended);
}

static int set_up(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config config = {.runtime = "transformer", .consumer = "test"};
    aegis_error err;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    for (size_t k = 0; k < LENGTH(kinds); k++) {
        for (size_t d = 0; d < LENGTH(dtypes); d++) {
            must(aegis_transformer_synthesize(model_path(kinds[k], dtypes[d]), kinds[k], dtypes[d],
                                              5, &err),
                 &err);
        }
    }
    must(aegis_backend_create(&config, NULL, &allocator, &backend, &err), &err);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    aegis_backend_destroy(backend);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_make_the_engines_tokens),
        cmocka_unit_test(conforms_however_it_is_cut),
        cmocka_unit_test(segments_leave_nothing_in_working_memory),
        cmocka_unit_test(jobs_without_commit_leave_the_sequence),
        cmocka_unit_test(sequences_end_as_configured),
        cmocka_unit_test(an_end_of_text_ends_the_sequence),
        cmocka_unit_test(terminated_jobs_can_be_repeated),
        cmocka_unit_test(a_streamed_model_makes_the_same_tokens),
        cmocka_unit_test(a_streamed_model_conforms),
        cmocka_unit_test(streamed_jobs_that_end_early_leave_the_sequence),
        cmocka_unit_test(a_failed_read_fails_the_job_alone),
        cmocka_unit_test(bad_configurations_are_refused),
        cmocka_unit_test(calls_out_of_turn_are_refused),
        cmocka_unit_test(wrong_values_fail_the_job_alone),
        cmocka_unit_test(measured_jobs_are_the_longest),
        cmocka_unit_test(memory_that_runs_out_is_reported),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
