/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_LANGUAGE_CUDA_H
#define AEGIS_TEST_LANGUAGE_CUDA_H

/* Made-up language models on a CUDA device, for the tests beside this file. */
#define CONFORMANCE_ALIKE 0.0 /* equal: all sums have their order */
#include "support/language_jobs.h"

#include <aegisrt/transformer.h>

#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define ARENA_BYTES (UINT64_C(3) << 30)
#define PINNED_BYTES (UINT64_C(640) << 20)
#define SKIPPED 77

static char folder[] = "/tmp/aegisrt-language-cuda-XXXXXX";
static aegis_device *device;
static aegis_backend *backend;

typedef struct made {
    const char *shape;
    uint32_t vocabulary, context, prompt;
} made;

static const made tiny[] = {
    {"gpt2-tiny", 301, 96, 80}, {"llama-tiny", 301, 96, 80}, {"llama-tiny-untied", 301, 96, 80}};
/* Three blocks, as wide as what they stand for: on compute capability 9.0 the first in clusters. */
static const made shallow[] = {{"gpt2-shallow", 1003, 320, 300}, {"llama-shallow", 1003, 320, 300}};
static const char *const dtypes[] = {"f32", "f16", "bf16"};

/* Its prompt is shorter under a tool that makes each step slow. */
static inline made of_length(const made *m, uint32_t few)
{
    made shorter = *m;
    shorter.prompt = repeats(m->prompt, few);
    return shorter;
}

/* For tests of models that differ from the shallow ones in size alone. */
static inline void skip_what_is_only_large(void)
{
    if (under_sanitizer()) {
        print_message("skipped: larger than what other tests run of the same kernels\n");
        skip();
    }
}

static inline void path_of(char path[256], const char *shape, const char *dtype)
{
    aegis_error err;
    snprintf(path, 256, "%s/%s-%s", folder, shape, dtype);
    if (access(path, F_OK) != 0) {
        must(aegis_transformer_synthesize(path, shape, dtype, 5, &err), &err);
    }
}

static inline int64_t text_token(const made *m, uint32_t i)
{
    return (int64_t)(((uint64_t)i * 2654435761u >> 7) % m->vocabulary);
}

static inline aegis_input_shape prompt_shape(const made *m)
{
    return (aegis_input_shape){.name = "tokens", .rank = 1, .shape = {m->prompt}};
}

/* Of a model with such a prompt; borrows both. */
static inline aegis_model_config
language_config(const char *path, const aegis_input_shape *prompt, uint32_t context)
{
    static const aegis_state_pair pair = {"cursor", "next_cursor"};
    static const aegis_source source = {.kind = AEGIS_SOURCE_CONSTANT, .constant = 42};
    return (aegis_model_config){.name = "m",
                                .path = path,
                                .inputs = prompt,
                                .input_count = 1,
                                .state = &pair,
                                .state_count = 1,
                                .sources = &source,
                                .source_count = 1,
                                .stream = conformance_stream,
                                .context_tokens = context};
}

static inline void give_prompt(aegis_model *model, const made *m)
{
    int64_t *tokens = prompt_input(model, m->prompt);
    for (uint32_t i = 0; i < m->prompt; i++) {
        tokens[i] = text_token(m, i);
    }
}

/* The prompt's jobs: each but the last gives the next token of the prompt. */
static inline int64_t run_prompt(aegis_model *model, const made *m)
{
    give_prompt(model, m);
    for (uint32_t i = 1; i < m->prompt; i++) {
        assert_int_equal(job(model), text_token(m, i));
    }
    return job(model);
}

/* What the job before has left, for the caller to free. */
static inline float *logits_of(aegis_model *model, const made *m)
{
    float *logits = malloc(m->vocabulary * sizeof *logits);
    assert_non_null(logits);
    memcpy(logits, output(model, "logits"), m->vocabulary * sizeof *logits);
    return logits;
}

/* The largest difference of any two. */
static inline double distance(const float *a, const float *b, uint32_t count)
{
    double most = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double one = fabs((double)a[i] - b[i]);
        most = one > most || isnan(one) ? one : most;
    }
    return most;
}

/* What the device has found wrong the next job says, with `words`. */
static inline void expect_fault(aegis_model *model, const char *words)
{
    aegis_error err;
    assert_int_equal(conformance_execute(model, 0, 0, &err), AEGIS_ERROR_INFERENCE);
    assert_non_null(strstr(err.message, words));
}

/* A cursor that is no position, until the model is reset. */
static inline void expect_wrong_cursor(aegis_model *model)
{
    aegis_error err;
    void *data = NULL;
    uint64_t size = 0;
    must(aegis_model_input(model, 0, "cursor", &data, &size, &err), &err);
    *(int64_t *)data = -1;
    must(conformance_execute(model, 0, 0, &err), &err);
    expect_fault(model, "reset");
    must(aegis_model_reset(model, &err), &err);
    must(conformance_execute(model, 0, 0, &err), &err);
}

/* Where a recorded model can be cut, as many as there is room for. */
static inline size_t cuts_of(aegis_model *model, uint32_t *ret_cuts, size_t room)
{
    aegis_error err;
    const aegis_cut_candidate *candidates = NULL;
    size_t count = 0;
    must(aegis_model_cut_candidates(model, conformance_stream, &candidates, &count, &err), &err);
    assert_in_range(count, 1, room);
    for (size_t i = 0; i < count; i++) {
        ret_cuts[i] = candidates[i].position;
        assert_true(candidates[i].elapsed_ns > 0 && candidates[i].live_bytes > 0);
    }
    return count;
}

/* Keys and values. */
static inline uint64_t kept_bytes(const aegis_model_config *config)
{
    aegis_error err;
    const aegis_tensor_lifetime *lifetimes = NULL;
    size_t count = 0;
    uint64_t sum = 0;
    aegis_model *model = NULL;
    must(aegis_model_open(backend, config, &model, &err), &err);
    must(aegis_model_record(model, NULL, &err), &err);
    must(aegis_model_estimate_lifetimes(model, &lifetimes, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        sum += lifetimes[i].memory_class == AEGIS_MEMORY_STATE ? lifetimes[i].size_bytes : 0;
    }
    aegis_model_close(model);
    return sum - 2 * 16; /* both halves of the cursor */
}

/* The conformance suite for all small models, whole and cut. */
static inline void check_conformance_of_small(uint32_t prompt_block)
{
    static const uint32_t cuts[] = {1, 2};
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {7}};
    for (size_t k = 0; k < repeats(LENGTH(tiny), 2); k++) {
        char path[256];
        path_of(path, tiny[k].shape, "f16");
        aegis_model_config config = language_config(path, &shape, 24);
        config.prompt_block = prompt_block;
        const uint64_t kept = kept_bytes(&config);
        for (size_t used = 0; used <= LENGTH(cuts); used++) {
            config.cuts = used > 0 ? cuts : NULL;
            config.cut_count = used;
            conformance_check_keeping(backend, &config, kept);
        }
    }
}

static inline int set_up(void **state)
{
    (void)state;
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config config = {.runtime = "transformer", .consumer = "test"};
    const aegis_stream_config stream = aegis_stream_config_default("test");
    aegis_error err;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    must(aegis_stream_create(device, &stream, &conformance_stream, &err), &err);
    must(aegis_backend_create(&config, device, &allocator, &backend, &err), &err);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    char command[128];
    aegis_backend_destroy(backend);
    aegis_stream_destroy(conformance_stream);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static inline bool open_device(void)
{
    const aegis_device_config config = {
        .kind = AEGIS_DEVICE_CUDA, .arena_bytes = ARENA_BYTES, .pinned_bytes = PINNED_BYTES};
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_error err;
    if (aegis_device_create(&config, &allocator, &device, &err) != AEGIS_OK) {
        print_message("skipped: %s\n", err.message);
        return false;
    }
    return true;
}

/* A case for each type of matrices. */
#define CASES_OF_TYPES(function) \
    CASE_OF(function, "f32"), CASE_OF(function, "f16"), CASE_OF(function, "bf16")

/* The exit status of a program of tests. */
#define run_on_cuda_after(tests, prepare)         \
    (cases_listed(tests, LENGTH(tests)) ? 0       \
     : !open_device()                   ? SKIPPED \
                      : close_device(cmocka_run_group_tests(tests, prepare, tear_down)))
#define run_on_cuda(tests) run_on_cuda_after(tests, set_up)

static inline int close_device(int failed)
{
    aegis_device_destroy(device);
    return failed;
}

#endif
