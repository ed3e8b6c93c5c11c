/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_TOKENIZER_INTERNAL_H
#define AEGIS_TRANSFORMER_TOKENIZER_INTERNAL_H

/* Parts: tokenizer_json.c reads the file, words.c cuts text into words, merge.c joins the bytes of
 * a word, tokenizer.c holds them together, decoder.c is the way back. */

#include "backend/transformer/model/json_pull.h"
#include "backend/transformer/tokenizer/tokenizer.h"
#include "backend/transformer/tokenizer/vocabulary.h"
#include "base/bump.h"

#define AEGIS_MAX_STAGES 8

typedef enum aegis_stage_kind {
    AEGIS_STAGE_DIGIT,     /* every numeric character on its own */
    AEGIS_STAGE_DIGITS,    /* runs of them */
    AEGIS_STAGE_BYTE_LEVEL /* GPT-2's words; the last stage */
} aegis_stage_kind;

typedef struct aegis_stage {
    aegis_stage_kind kind;
    bool prefix_space, words; /* of BYTE_LEVEL: add_prefix_space, use_regex */
} aegis_stage;

/* A token that is looked for in the text itself, before any other step. */
typedef struct aegis_added_token {
    const char *text;
    size_t size;
    uint32_t id;
    bool special;
    bool normalized; /* looked for in what the others leave */
    uint32_t next;   /* of the same first byte: 0 or index + 1 */
} aegis_added_token;

typedef struct aegis_word_patterns aegis_word_patterns;

struct aegis_tokenizer {
    aegis_allocator allocator;
    aegis_bump bump; /* added tokens */
    aegis_vocabulary vocabulary;
    aegis_stage stages[AEGIS_MAX_STAGES];
    uint32_t stage_count;
    aegis_added_token *added;
    uint32_t added_count, added_capacity;
    uint32_t first_added[256]; /* by first byte: 0 or index + 1 */
    uint32_t unknown;          /* AEGIS_NO_TOKEN: what has no token is left out */
    bool fuse_unknown, ignore_merges;
    aegis_word_patterns *patterns;
};

/* tokenizer_json.c: fills vocabulary, stages, added tokens and flags. `fd` >= 0 or `text`. */
aegis_status aegis_tokenizer_read(aegis_tokenizer *tokenizer,
                                  int fd,
                                  const char *text,
                                  uint64_t size,
                                  const char *origin,
                                  aegis_error *err);

/* words.c */
aegis_status aegis_word_patterns_create(const aegis_allocator *allocator,
                                        aegis_word_patterns **ret_patterns,
                                        aegis_error *err);
void aegis_word_patterns_destroy(aegis_word_patterns *patterns);
size_t aegis_word_patterns_memory(const aegis_word_patterns *patterns);

/* merge.c: room for the symbols of the longest word so far. */
typedef struct aegis_symbol {
    uint32_t id, previous,
        next; /* indices; AEGIS_NO_TOKEN at the ends. id AEGIS_NO_TOKEN: merged */
} aegis_symbol;

typedef struct aegis_candidate {
    uint32_t rank, at; /* the merge of the symbol `at` and its next */
} aegis_candidate;

/* One encode. */
typedef struct aegis_encoding {
    const aegis_tokenizer *tokenizer;
    aegis_token_list *list;
    bool specials;
    void *match;  /* of words.c */
    char *spaced; /* a piece with a space in front */
    size_t spaced_capacity;
    aegis_symbol *symbols;
    aegis_candidate *heap; /* two a symbol */
    size_t symbol_capacity;
} aegis_encoding;

/* Appends the tokens of one word. */
aegis_status
aegis_encode_word(aegis_encoding *encoding, const char *word, size_t size, aegis_error *err);
void aegis_encode_word_finish(aegis_encoding *encoding);

/* words.c: the words of a piece of valid UTF-8, through all stages, each to aegis_encode_word. */
aegis_status aegis_encode_words_init(aegis_encoding *encoding, aegis_error *err);
void aegis_encode_words_finish(aegis_encoding *encoding);
aegis_status
aegis_encode_piece(aegis_encoding *encoding, const char *piece, size_t size, aegis_error *err);

#endif
