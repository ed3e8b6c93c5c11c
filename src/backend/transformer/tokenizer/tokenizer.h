/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_TOKENIZER_H
#define AEGIS_TRANSFORMER_TOKENIZER_H

/*
 * Byte-level BPE from a tokenizer.json (Hugging Face's `tokenizers`), for the pre-tokenizers of
 * GPT-2 and SmolLM2. Equal to that package token by token.
 *
 * Text is bytes. Broken UTF-8 is replaced by U+FFFD first, one for each maximal part of a sequence,
 * as Python's bytes.decode("utf-8", errors="replace") and the WHATWG decoder do; tokens are made of
 * the result. A text with NUL bytes is fine.
 *
 * What is understood: model BPE (vocab; merges as "a b" or ["a", "b"]; unk_token, fuse_unk,
 * ignore_merges), pre-tokenizers ByteLevel, Digits and sequences of them, decoder ByteLevel,
 * added tokens without single_word, lstrip, rstrip. Normalizers, dropout, byte_fallback, prefixes,
 * suffixes, truncation, padding and post-processors that add tokens are refused by name.
 *
 * The file is read in pieces and no tree of it is kept: a vocabulary of 49152 tokens with 48900
 * merges takes about 2 MiB, and about half of that again while it is read.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEGIS_TOKENIZER_FILE_LIMIT (UINT64_C(256) << 20)
#define AEGIS_TOKENIZER_MAX_ID (UINT32_C(1) << 20) /* ids are below */
/* Longest text of one encode. */
#define AEGIS_TOKENIZER_TEXT_LIMIT (UINT64_C(64) << 20)

typedef struct aegis_tokenizer aegis_tokenizer;

/* Tokens of a text. Start with zeroes and an allocator; encode appends. */
typedef struct aegis_token_list {
    aegis_allocator allocator;
    uint32_t *ids;
    size_t count, capacity;
} aegis_token_list;

void aegis_token_list_init(aegis_token_list *list, const aegis_allocator *allocator);
void aegis_token_list_finish(aegis_token_list *list); /* of a zeroed one too */
/* NO_MEMORY. */
aegis_status aegis_token_list_add(aegis_token_list *list, uint32_t id, aegis_error *err);

/*
 * Reads a tokenizer.json. NOT_FOUND, PERMISSION, IO, NO_MEMORY; PARSE (not JSON, or a member of the
 * wrong kind, a token or id twice, a merge of tokens that are not there); UNSUPPORTED (something
 * outside the list above, by its name). Messages begin with "path:line:column" where there is one.
 */
aegis_status aegis_tokenizer_open(const char *path,
                                  const aegis_allocator *allocator,
                                  aegis_tokenizer **ret_tokenizer,
                                  aegis_error *err);
/* As above from memory; `origin` stands for the path. */
aegis_status aegis_tokenizer_parse(const char *text,
                                   size_t size,
                                   const char *origin,
                                   const aegis_allocator *allocator,
                                   aegis_tokenizer **ret_tokenizer,
                                   aegis_error *err);
/* NULL is fine. */
void aegis_tokenizer_destroy(aegis_tokenizer *tokenizer);

/* All of the functions below may be called by several threads at once. */

/* One more than the largest id. */
uint32_t aegis_tokenizer_size(const aegis_tokenizer *tokenizer);
/* Bytes that the tables take. */
size_t aegis_tokenizer_memory(const aegis_tokenizer *tokenizer);
/* The id of the added (special) token that is written like this, for example "<|endoftext|>", or of
 * the plain token with these bytes. False when there is none. */
bool aegis_tokenizer_find(const aegis_tokenizer *tokenizer,
                          const char *text,
                          size_t size,
                          uint32_t *ret_id);
/* Whether the id is of a special token, which decoding leaves out. */
bool aegis_tokenizer_is_special(const aegis_tokenizer *tokenizer, uint32_t id);
/* The bytes that the token stands for; part of a character at times. False for an id without a
 * token. Borrowed, not ended by NUL. */
bool aegis_tokenizer_bytes(const aegis_tokenizer *tokenizer,
                           uint32_t id,
                           const char **ret_bytes,
                           size_t *ret_size);

/*
 * Appends the tokens of `text` to `list`. `specials`: special tokens written in the text become
 * those tokens (as the Python package does by default); else they are text like any other.
 * Memory while it runs is bounded by about 50 bytes for each byte of the longest word. On failure
 * the list is as before. NO_MEMORY, INVALID_ARGUMENT (longer than the limit).
 */
aegis_status aegis_tokenizer_encode(const aegis_tokenizer *tokenizer,
                                    const char *text,
                                    size_t size,
                                    bool specials,
                                    aegis_token_list *list,
                                    aegis_error *err);

/*
 * Decodes a stream of tokens: what comes out is always whole UTF-8 characters. Bytes of a character
 * that is not complete yet are held back; broken ones become U+FFFD. The output of all calls joined
 * is what decoding all tokens at once gives.
 */
typedef struct aegis_token_decoder {
    const aegis_tokenizer *tokenizer;
    bool keep_specials;    /* write special tokens too */
    unsigned char held[4]; /* an unfinished character */
    uint8_t held_size;
} aegis_token_decoder;

/* The most bytes that one token may give, 3 a byte of the longest token and 9 more. */
size_t aegis_tokenizer_max_output(const aegis_tokenizer *tokenizer);

void aegis_token_decoder_init(aegis_token_decoder *decoder,
                              const aegis_tokenizer *tokenizer,
                              bool keep_specials);
/* Writes what the token completes to `ret_text` (no NUL) and its length to ret_size, 0 when nothing
 * is complete. `capacity` of aegis_tokenizer_max_output is always enough. NOT_FOUND (no such id),
 * OVERFLOW (less room than 3 bytes for each byte of the token and each held: nothing has happened).
 */
aegis_status aegis_token_decoder_push(aegis_token_decoder *decoder,
                                      uint32_t id,
                                      char *ret_text,
                                      size_t capacity,
                                      size_t *ret_size,
                                      aegis_error *err);
/* The end: an unfinished character becomes one U+FFFD. At most 3 bytes; returns how many. */
size_t aegis_token_decoder_finish(aegis_token_decoder *decoder, char ret_text[4]);

#endif
