/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_LANGUAGE_CUDA_PROMPT_H
#define AEGIS_TEST_LANGUAGE_CUDA_PROMPT_H

/* Prompts in blocks on a CUDA device, for the tests beside this file. */
#include "language_cuda.h"

#define TOLERANCE 1e-3
#define FOLLOWING 8

static inline aegis_model *open_with(const char *path,
                                     const made *m,
                                     uint32_t block,
                                     const uint32_t *cuts,
                                     size_t count,
                                     const aegis_input_shape *shape)
{
    aegis_error err;
    aegis_model *model = NULL;
    aegis_model_config config = language_config(path, shape, m->context);
    config.prompt_block = block;
    config.cuts = cuts;
    config.cut_count = count;
    must(aegis_model_open(backend, &config, &model, &err), &err);
    return model;
}

/* Jobs of the prompt, each at least two tokens; the last one's token was chosen. */
static inline int64_t run_blocks(aegis_model *model, const made *m, uint32_t block)
{
    int64_t chosen = -1;
    give_prompt(model, m);
    for (uint32_t at = 0; at < m->prompt; at += block) {
        chosen = job(model);
        if (at + block < m->prompt) {
            assert_int_equal(chosen, text_token(m, at + block));
        }
    }
    return chosen;
}

typedef struct answer {
    int64_t tokens[FOLLOWING + 1];
    float *behind_prompt, *behind_all;
} answer;

static inline void follow(aegis_model *model, const made *m, int64_t chosen, answer *ret_answer)
{
    memset(ret_answer->tokens, 0, sizeof ret_answer->tokens);
    ret_answer->tokens[0] = chosen;
    ret_answer->behind_prompt = logits_of(model, m);
    const int more = (int)repeats(FOLLOWING, 1);
    for (int i = 1; i <= more; i++) {
        ret_answer->tokens[i] = job(model);
    }
    ret_answer->behind_all = logits_of(model, m);
}

static inline void forget(answer *of)
{
    free(of->behind_prompt);
    free(of->behind_all);
}

static inline answer steps_of(const char *path, const made *m, const aegis_input_shape *shape)
{
    answer wanted;
    aegis_model *model = open_with(path, m, 0, NULL, 0, shape);
    follow(model, m, run_prompt(model, m), &wanted);
    aegis_model_close(model);
    return wanted;
}

static inline void
check_near(const char *what, const answer *got, const answer *wanted, const made *m)
{
    const double behind = distance(got->behind_prompt, wanted->behind_prompt, m->vocabulary);
    const double later = distance(got->behind_all, wanted->behind_all, m->vocabulary);
    print_message("%s: logits differ by at most %.2e, %u tokens later by %.2e\n", what, behind,
                  repeats(FOLLOWING, 1), later);
    assert_memory_equal(got->tokens, wanted->tokens, sizeof got->tokens);
    assert_true(behind < TOLERANCE && later < TOLERANCE);
}

static inline void check_same(const answer *got, const answer *wanted, const made *m)
{
    assert_memory_equal(got->tokens, wanted->tokens, sizeof got->tokens);
    assert_memory_equal(got->behind_prompt, wanted->behind_prompt, m->vocabulary * sizeof(float));
    assert_memory_equal(got->behind_all, wanted->behind_all, m->vocabulary * sizeof(float));
}

/* Without cuBLAS a model that asks for blocks is refused, and says what would help. */
static inline bool has_cublas(void)
{
    static const aegis_input_shape shape = {.name = "tokens", .rank = 1, .shape = {7}};
    char path[256];
    aegis_error err;
    aegis_model *model = NULL;
    path_of(path, "gpt2-tiny", "f32");
    aegis_model_config config = language_config(path, &shape, 24);
    config.prompt_block = 4;
    const aegis_status status = aegis_model_open(backend, &config, &model, &err);
    if (status == AEGIS_ERROR_RUNTIME_NOT_AVAILABLE) {
        print_message("skipped: %s\n", err.message);
        return false;
    }
    must(status, &err);
    assert_non_null(strstr(aegis_model_label(model), "prompts by 4, cuBLAS"));
    aegis_model_close(model);
    return true;
}

static inline int set_up_with_cublas(void **state)
{
    const int failed = set_up(state);
    if (failed == 0 && !has_cublas()) {
        (void)tear_down(state);
        exit(SKIPPED);
    }
    return failed;
}

#endif
