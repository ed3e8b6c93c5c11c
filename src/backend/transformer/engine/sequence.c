/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/sequence.h"

#include "base/base.h"

#include <string.h>

#define HERE AEGIS_HERE("transformer.generate")
#define DEFAULT_TOKENS 64

const char *aegis_generation_end_name(aegis_generation_end end)
{
    switch (end) {
    case AEGIS_GENERATION_LENGTH:
        return "length";
    case AEGIS_GENERATION_EOS:
        return "eos";
    case AEGIS_GENERATION_CONTEXT:
        return "context";
    case AEGIS_GENERATION_STOPPED:
        return "stopped";
    }
    return "unknown";
}

/* --- set up -------------------------------------------------------------------------------------
 */

static aegis_status take_prompt(const aegis_engine *engine, aegis_sequence *one, aegis_error *err)
{
    const aegis_generation_request *request = one->request;
    aegis_status status = AEGIS_OK;
    if (request->prompt != NULL && engine->tokenizer == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_UNSUPPORTED,
                               "a text as prompt, but the engine has no tokenizer; give tokens");
    }
    if (request->prompt != NULL) {
        status = aegis_tokenizer_encode(engine->tokenizer, request->prompt, request->prompt_size,
                                        true, &one->tokens, err);
    }
    for (size_t i = 0; request->prompt == NULL && status == AEGIS_OK && i < request->token_count;
         i++) {
        status = aegis_token_list_add(&one->tokens, request->tokens[i], err);
    }
    return status;
}

static aegis_status start_sequence(const aegis_engine *engine,
                                   const aegis_generation_request *request,
                                   aegis_sequence *one,
                                   aegis_error *err)
{
    one->request = request;
    aegis_token_list_init(&one->tokens, &engine->allocator);
    aegis_status status = take_prompt(engine, one, err);
    if (status != AEGIS_OK) {
        return status;
    }
    one->prompt = one->tokens.count;
    if (one->prompt == 0 || one->prompt >= engine->limits.positions) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "a prompt of %zu tokens; it needs at least one, and fewer than the "
                               "context of %u",
                               one->prompt, engine->limits.positions);
    }
    for (size_t i = 0; i < one->prompt; i++) {
        if (one->tokens.ids[i] >= engine->weights.config->vocabulary) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                   "token %u of the prompt is outside the vocabulary of %u",
                                   one->tokens.ids[i], engine->weights.config->vocabulary);
        }
    }
    one->most = request->max_tokens != 0 ? request->max_tokens : DEFAULT_TOKENS;
    one->end = AEGIS_GENERATION_LENGTH;
    if (one->most > engine->limits.positions - one->prompt) {
        one->most = (uint32_t)(engine->limits.positions - one->prompt);
        one->end = AEGIS_GENERATION_CONTEXT;
    }
    one->sampling =
        (aegis_sampling){request->temperature, request->top_k, request->top_p, request->seed};
    if (engine->tokenizer != NULL) {
        aegis_token_decoder_init(&one->decoder, engine->tokenizer, false);
    }
    return AEGIS_OK;
}

aegis_status aegis_sequences_set_up(aegis_generation_run *all,
                                    const aegis_generation_request *requests,
                                    aegis_error *err)
{
    aegis_engine *engine = all->engine;
    const aegis_allocator *allocator = &engine->allocator;
    all->sequences = aegis_allocate_zeroed(allocator, all->count, sizeof *all->sequences);
    all->rows = aegis_allocate_zeroed(allocator, engine->limits.rows, sizeof *all->rows);
    all->candidates = aegis_allocate_zeroed(allocator, engine->weights.config->vocabulary,
                                            sizeof *all->candidates);
    all->piece_bytes =
        engine->tokenizer != NULL ? aegis_tokenizer_max_output(engine->tokenizer) + 4 : 4;
    all->piece = aegis_allocate_zeroed(allocator, all->piece_bytes, 1);
    if (all->sequences == NULL || all->rows == NULL || all->candidates == NULL ||
        all->piece == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %u sequences",
                               all->count);
    }
    aegis_status status = AEGIS_OK;
    for (uint32_t s = 0; status == AEGIS_OK && s < all->count; s++) {
        status = start_sequence(engine, &requests[s], &all->sequences[s], err);
        if (status != AEGIS_OK && all->count > 1) {
            aegis_error_prefix(err, "request %u", s);
        }
    }
    return status;
}

void aegis_sequences_tear_down(aegis_generation_run *all)
{
    const aegis_engine *engine = all->engine;
    const aegis_allocator *allocator = &engine->allocator;
    for (uint32_t s = 0; all->sequences != NULL && s < all->count; s++) {
        aegis_token_list_finish(&all->sequences[s].tokens);
        aegis_deallocate(allocator, all->sequences[s].text, all->sequences[s].text_capacity, 1);
    }
    aegis_deallocate(allocator, all->piece, all->piece_bytes, 1);
    aegis_deallocate(allocator, all->candidates, engine->weights.config->vocabulary,
                     sizeof *all->candidates);
    aegis_deallocate(allocator, all->rows, engine->limits.rows, sizeof *all->rows);
    aegis_deallocate(allocator, all->sequences, all->count, sizeof *all->sequences);
}

/* --- tokens and their text ----------------------------------------------------------------------
 */

static aegis_status append_text(const aegis_engine *engine,
                                aegis_sequence *one,
                                const char *text,
                                size_t size,
                                aegis_error *err)
{
    if (one->text_size + size + 1 > one->text_capacity) {
        const size_t capacity = 2 * (one->text_size + size) + 64;
        char *larger = aegis_allocate_zeroed(&engine->allocator, capacity, 1);
        if (larger == NULL) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for the text");
        }
        if (one->text_size > 0) {
            memcpy(larger, one->text, one->text_size);
        }
        aegis_deallocate(&engine->allocator, one->text, one->text_capacity, 1);
        one->text = larger;
        one->text_capacity = capacity;
    }
    memcpy(one->text + one->text_size, text, size);
    one->text_size += size;
    one->text[one->text_size] = '\0';
    return AEGIS_OK;
}

static bool ends_text(const aegis_engine *engine, uint32_t token)
{
    const aegis_decoder_config *config = engine->weights.config;
    for (uint32_t i = 0; i < config->eos_count; i++) {
        if (config->eos_tokens[i] == token) {
            return true;
        }
    }
    return false;
}

/* Bytes that are still missing their character come out with the last token. */
static aegis_status piece_of(aegis_generation_run *all,
                             aegis_sequence *one,
                             uint32_t token,
                             size_t *ret_size,
                             aegis_error *err)
{
    *ret_size = 0;
    if (all->engine->tokenizer == NULL) {
        return AEGIS_OK;
    }
    aegis_error unknown;
    aegis_status status = aegis_token_decoder_push(&one->decoder, token, all->piece,
                                                   all->piece_bytes - 4, ret_size, &unknown);
    if (status == AEGIS_ERROR_NOT_FOUND) { /* vocabularies are padded: such an id has no text */
        *ret_size = 0;
        return AEGIS_OK;
    }
    if (status != AEGIS_OK && err != NULL) {
        *err = unknown;
    }
    return status;
}

aegis_status
aegis_sequence_accept(aegis_generation_run *all, uint32_t s, uint32_t token, aegis_error *err)
{
    aegis_sequence *one = &all->sequences[s];
    aegis_status status = aegis_token_list_add(&one->tokens, token, err);
    if (status != AEGIS_OK) {
        return status;
    }
    all->figures.tokens++;
    const bool eos = ends_text(all->engine, token) && !one->request->past_end;
    const bool full = one->tokens.count - one->prompt >= one->most;
    size_t size;
    status = piece_of(all, one, token, &size, err);
    if (status == AEGIS_OK && (eos || full) && all->engine->tokenizer != NULL) {
        char rest[4];
        const size_t more = aegis_token_decoder_finish(&one->decoder, rest);
        memcpy(all->piece + size, rest, more); /* the piece has room for 4 bytes besides */
        size += more;
    }
    if (status == AEGIS_OK) {
        status = append_text(all->engine, one, all->piece, size, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    const bool go_on = all->stream == NULL || all->stream(all->self, s, token, all->piece, size);
    one->done = eos || full || !go_on;
    if (eos) {
        one->end = AEGIS_GENERATION_EOS;
    } else if (!go_on && !full) {
        one->end = AEGIS_GENERATION_STOPPED;
    }
    return AEGIS_OK;
}

aegis_status aegis_sequence_copy(const aegis_engine *engine,
                                 const aegis_sequence *one,
                                 aegis_generation *ret,
                                 aegis_error *err)
{
    const aegis_allocator *allocator = &engine->allocator;
    const bool text = engine->tokenizer != NULL;
    ret->prompt_count = one->prompt;
    ret->token_count = one->tokens.count - one->prompt;
    ret->text_size = one->text_size;
    ret->end = one->end;
    ret->prompt_tokens =
        aegis_allocate_zeroed(allocator, ret->prompt_count, sizeof *ret->prompt_tokens);
    ret->tokens = aegis_allocate_zeroed(allocator, ret->token_count, sizeof *ret->tokens);
    ret->text = text ? aegis_allocate_zeroed(allocator, ret->text_size + 1, 1) : NULL;
    if (ret->prompt_tokens == NULL || ret->tokens == NULL || (text && ret->text == NULL)) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for the results");
    }
    memcpy(ret->prompt_tokens, one->tokens.ids, ret->prompt_count * sizeof *ret->tokens);
    memcpy(ret->tokens, one->tokens.ids + ret->prompt_count,
           ret->token_count * sizeof *ret->tokens);
    if (text && ret->text_size > 0) {
        memcpy(ret->text, one->text, ret->text_size);
    }
    return AEGIS_OK;
}
