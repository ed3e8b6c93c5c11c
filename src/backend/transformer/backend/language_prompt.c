/* SPDX-License-Identifier: Apache-2.0 */
/* A prompt that is a text. The tokenizer is there while a model is opened and not longer. */
#include "backend/transformer/backend/language_model.h"
#include "backend/transformer/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT AEGIS_LANGUAGE

static aegis_status encode(const language_model *model,
                           const aegis_model_config *config,
                           aegis_token_list *tokens,
                           aegis_error *err)
{
    char path[4096];
    aegis_tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", config->path);
    aegis_status status = aegis_tokenizer_open(path, &model->allocator, &tokenizer, err);
    if (status == AEGIS_OK) {
        status = aegis_tokenizer_encode(tokenizer, config->prompt, strlen(config->prompt), true,
                                        tokens, err);
    }
    aegis_tokenizer_destroy(tokenizer);
    return status;
}

static aegis_status
check_shape(const aegis_model_config *config, const aegis_token_list *tokens, aegis_error *err)
{
    if (tokens->count == 0 || tokens->count > UINT32_MAX / 2) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                               "prompt has %zu tokens; write a text", tokens->count);
    }
    for (size_t i = 0; i < config->input_count; i++) {
        const aegis_input_shape *shape = &config->inputs[i];
        if (strcmp(shape->name, "tokens") == 0 &&
            (shape->rank != 1 || shape->shape[0] != (int64_t)tokens->count)) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_CONFIG,
                                   "input 'tokens' has another shape than the [%zu] of the "
                                   "prompt's tokens; leave it out",
                                   tokens->count);
        }
    }
    return AEGIS_OK;
}

static aegis_status keep(language_model *model, const aegis_token_list *tokens, aegis_error *err)
{
    int64_t *written =
        aegis_allocate_zeroed(&model->allocator, tokens->count, sizeof *model->written);
    if (written == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu tokens", tokens->count);
    }
    for (size_t i = 0; i < tokens->count; i++) {
        written[i] = tokens->ids[i];
    }
    model->written = written;
    model->prompt = (uint32_t)tokens->count;
    return AEGIS_OK;
}

aegis_status aegis_language_read_prompt(language_model *model,
                                        const aegis_model_config *config,
                                        aegis_error *err)
{
    aegis_token_list tokens;
    aegis_token_list_init(&tokens, &model->allocator);
    aegis_status status = encode(model, config, &tokens, err);
    if (status == AEGIS_OK) {
        status = check_shape(config, &tokens, err);
    }
    if (status == AEGIS_OK) {
        status = keep(model, &tokens, err);
    }
    aegis_token_list_finish(&tokens);
    return status;
}

void aegis_language_write_prompt(const language_model *model)
{
    for (uint32_t slot = 0; model->written != NULL && slot < model->surface.slots; slot++) {
        memcpy(aegis_surface_input_pointer(&model->surface, LANGUAGE_TOKENS, slot, 0),
               model->written, model->prompt * sizeof *model->written);
    }
}
