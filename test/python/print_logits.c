/* SPDX-License-Identifier: Apache-2.0 */
/* print_logits FOLDER: makes small models of every shape and dtype in FOLDER (those
 * that are there already are taken as they are), continues a prompt
 * greedily with every instruction set of this machine, and prints tokens and the logits behind the
 * prompt as hexadecimal floats, one line each. Two machines print the same when they compute the
 * same. The best set's name goes to stderr. */
#include "backend/transformer/tensor/tensor.h"

#include <aegisrt/transformer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKENS 16

static const uint32_t prompt[] = {3, 77, 200, 5, 3, 77, 200};
static const size_t prompt_count = sizeof prompt / sizeof prompt[0];

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s: %s\n", aegis_status_name(status), err->message);
        exit(1);
    }
}

/* `label` does not name the instruction set: all sets of all machines are to agree. */
static void print_model(const char *folder, const char *label, const char *instructions)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_transformer_config config = {.model = folder,
                                             .budget_bytes = UINT64_C(4) << 30,
                                             .context_tokens = 64,
                                             .threads = 2,
                                             .instructions = instructions,
                                             .no_tokenizer = true};
    const aegis_generation_request request = {
        .tokens = prompt, .token_count = prompt_count, .max_tokens = TOKENS, .past_end = true};
    aegis_transformer_idle *idle = NULL;
    aegis_transformer_planned *planned = NULL;
    aegis_transformer_ready *ready = NULL;
    aegis_transformer_info info;
    aegis_generation made = {0};
    aegis_error err;
    must(aegis_transformer_create(&config, &allocator, &idle, &err), &err);
    must(aegis_transformer_load(&idle, &planned, &err), &err);
    must(aegis_transformer_prepare(&planned, &ready, &err), &err);
    aegis_transformer_ready_info(ready, &info);
    must(aegis_transformer_generate(ready, &request, 1, NULL, NULL, &made, NULL, &err), &err);
    for (size_t i = 0; i < made.token_count; i++) {
        printf("%s token %zu %u\n", label, i, made.tokens[i]);
    }
    aegis_generation_finish(ready, &made);
    float *logits = calloc(info.vocabulary, sizeof *logits);
    if (logits == NULL) {
        exit(1);
    }
    must(aegis_transformer_evaluate(ready, prompt, prompt_count, logits, &err), &err);
    for (uint32_t i = 0; i < info.vocabulary; i++) {
        printf("%s logit %u %a\n", label, i, (double)logits[i]);
    }
    free(logits);
    aegis_transformer_ready_destroy(ready);
}

int main(int count, char **arguments)
{
    static const char *const shapes[] = {"gpt2-tiny", "llama-tiny", "llama-tiny-untied"};
    static const char *const dtypes[] = {"f32", "f16", "bf16", "i8"};
    aegis_error err;
    if (count != 2) {
        fprintf(stderr, "usage: print_logits FOLDER\n");
        return 2;
    }
    const aegis_kernels *set;
    fprintf(stderr, "best set: %s\n", aegis_kernels_choose()->name);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++) {
            char folder[4096], label[64];
            snprintf(label, sizeof label, "%s-%s", shapes[s], dtypes[d]);
            snprintf(folder, sizeof folder, "%s/%s", arguments[1], label);
            if (access(folder, R_OK) != 0) {
                must(aegis_transformer_synthesize(folder, shapes[s], dtypes[d], 5, &err), &err);
            }
            print_model(folder, label, NULL);
            for (size_t i = 1; (set = aegis_kernels_at(i)) != NULL; i++) {
                print_model(folder, label, set->name);
            }
        }
    }
    return 0;
}
