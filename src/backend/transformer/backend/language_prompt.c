/* SPDX-License-Identifier: Apache-2.0 */
/* A prompt that is a text. The tokenizer is there while a model is opened and not longer. */
#include "backend/transformer/backend/language_base.h"
#include "backend/transformer/tokenizer/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static aegis_status encode(const aegis_language *language,
                           const aegis_model_config *config,
                           aegis_token_list *tokens,
                           aegis_error *err)
{
    char path[4096];
    aegis_tokenizer *tokenizer = NULL;
    snprintf(path, sizeof path, "%s/tokenizer.json", config->path);
    aegis_status status = aegis_tokenizer_open(path, &language->allocator, &tokenizer, err);
    if (status == AEGIS_OK) {
        status = aegis_tokenizer_encode(tokenizer, config->prompt, strlen(config->prompt), true,
                                        tokens, err);
    }
    aegis_tokenizer_destroy(tokenizer);
    return status;
}

static aegis_status check_shape(const aegis_language *language,
                                const aegis_model_config *config,
                                const aegis_token_list *tokens,
                                aegis_error *err)
{
    if (tokens->count == 0 || tokens->count > UINT32_MAX / 2) {
        return aegis_error_set(err, AEGIS_HERE(language->component), AEGIS_ERROR_CONFIG,
                               "prompt has %zu tokens; write a text", tokens->count);
    }
    for (size_t i = 0; i < config->input_count; i++) {
        const aegis_input_shape *shape = &config->inputs[i];
        if (strcmp(shape->name, "tokens") == 0 &&
            (shape->rank != 1 || shape->shape[0] != (int64_t)tokens->count)) {
            return aegis_error_set(err, AEGIS_HERE(language->component), AEGIS_ERROR_CONFIG,
                                   "input 'tokens' has another shape than the [%zu] of the "
                                   "prompt's tokens; leave it out",
                                   tokens->count);
        }
    }
    return AEGIS_OK;
}

static aegis_status keep(aegis_language *language, const aegis_token_list *tokens, aegis_error *err)
{
    int64_t *written =
        aegis_allocate_zeroed(&language->allocator, tokens->count, sizeof *language->written);
    if (written == NULL) {
        return aegis_error_set(err, AEGIS_HERE(language->component), AEGIS_ERROR_NO_MEMORY,
                               "no memory for %zu tokens", tokens->count);
    }
    for (size_t i = 0; i < tokens->count; i++) {
        written[i] = tokens->ids[i];
    }
    language->written = written;
    language->prompt = (uint32_t)tokens->count;
    return AEGIS_OK;
}

aegis_status aegis_language_read_prompt(aegis_language *language,
                                        const aegis_model_config *config,
                                        aegis_error *err)
{
    aegis_token_list tokens;
    aegis_token_list_init(&tokens, &language->allocator);
    aegis_status status = encode(language, config, &tokens, err);
    if (status == AEGIS_OK) {
        status = check_shape(language, config, &tokens, err);
    }
    if (status == AEGIS_OK) {
        status = keep(language, &tokens, err);
    }
    aegis_token_list_finish(&tokens);
    return status;
}

void aegis_language_write_prompt(const aegis_language *language)
{
    for (uint32_t slot = 0; language->written != NULL && slot < language->surface.slots; slot++) {
        memcpy(aegis_surface_input_pointer(&language->surface, LANGUAGE_TOKENS, slot, 0),
               language->written, language->prompt * sizeof *language->written);
    }
}
