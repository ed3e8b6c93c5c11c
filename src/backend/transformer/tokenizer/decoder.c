/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tokenizer/tokenizer_internal.h"
#include "backend/transformer/tokenizer/utf8.h"

#include <string.h>

#define COMPONENT "transformer.tokenizer"

size_t aegis_tokenizer_max_output(const aegis_tokenizer *tokenizer)
{
    return AEGIS_UTF8_REPLACEMENT_BYTES * ((size_t)tokenizer->vocabulary.longest + 3);
}

void aegis_token_decoder_init(aegis_token_decoder *decoder,
                              const aegis_tokenizer *tokenizer,
                              bool keep_specials)
{
    *decoder = (aegis_token_decoder){.tokenizer = tokenizer, .keep_specials = keep_specials};
}

/* Writes the characters that begin in the held bytes, which a byte of the token completes or
 * breaks, and takes the byte into them. Returns the bytes written. */
static size_t push_byte(aegis_token_decoder *d, unsigned char byte, char *text)
{
    size_t written = 0, step;
    d->held[d->held_size++] = byte;
    while (d->held_size > 0) {
        aegis_utf8_result result = aegis_utf8_next(d->held, d->held_size, &step);
        if (result == AEGIS_UTF8_INCOMPLETE) {
            break;
        }
        bool whole = result == AEGIS_UTF8_WHOLE;
        size_t bytes = whole ? step : AEGIS_UTF8_REPLACEMENT_BYTES;
        memcpy(text + written, whole ? (const char *)d->held : AEGIS_UTF8_REPLACEMENT, bytes);
        written += bytes;
        d->held_size = (uint8_t)(d->held_size - step);
        memmove(d->held, d->held + step, d->held_size);
    }
    return written;
}

aegis_status aegis_token_decoder_push(aegis_token_decoder *decoder,
                                      uint32_t id,
                                      char *ret_text,
                                      size_t capacity,
                                      size_t *ret_size,
                                      aegis_error *err)
{
    const char *bytes;
    size_t size, written = 0;
    if (!aegis_tokenizer_bytes(decoder->tokenizer, id, &bytes, &size)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NOT_FOUND,
                               "there is no token %u; the vocabulary has %u", id,
                               aegis_tokenizer_size(decoder->tokenizer));
    }
    if (aegis_tokenizer_is_special(decoder->tokenizer, id) && !decoder->keep_specials) {
        size = 0;
    }
    if (capacity < AEGIS_UTF8_REPLACEMENT_BYTES * (size + decoder->held_size)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_OVERFLOW,
                               "%zu bytes are too few for token %u; give %zu", capacity, id,
                               aegis_tokenizer_max_output(decoder->tokenizer));
    }
    for (size_t i = 0; i < size; i++) {
        written += push_byte(decoder, (unsigned char)bytes[i], ret_text + written);
    }
    *ret_size = written;
    return AEGIS_OK;
}

size_t aegis_token_decoder_finish(aegis_token_decoder *decoder, char ret_text[4])
{
    if (decoder->held_size == 0) {
        return 0;
    }
    decoder->held_size = 0;
    for (size_t i = 0; i < AEGIS_UTF8_REPLACEMENT_BYTES; i++) {
        ret_text[i] = AEGIS_UTF8_REPLACEMENT[i]; /* no NUL: there may be no room for it */
    }
    return AEGIS_UTF8_REPLACEMENT_BYTES;
}
