/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_VOCABULARY_H
#define AEGIS_TRANSFORMER_VOCABULARY_H

/*
 * Tokens and merges in flat tables.
 *
 * A byte-level vocabulary writes each byte as one character: printable ASCII and Latin-1 as
 * themselves, the rest as U+0100 and following (GPT-2's bytes_to_unicode). Tokens are kept as the
 * bytes they stand for. A token with a character outside that alphabet stands for its own UTF-8 and
 * is marked literal, so that the two cannot be mistaken for one another.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEGIS_NO_TOKEN UINT32_MAX
#define AEGIS_TOKEN_MAX_BYTES 65535
/* Characters of the alphabet are below. */
#define AEGIS_BYTE_ALPHABET 324

typedef struct aegis_token {
    uint32_t offset; /* in the pool */
    uint16_t size;
    bool present : 1, literal : 1, special : 1, added : 1;
} aegis_token;

typedef struct aegis_merge {
    uint32_t left, right, result;
} aegis_merge;

typedef struct aegis_vocabulary {
    aegis_allocator allocator;
    aegis_token *tokens; /* by id */
    uint32_t size, capacity;
    char *pool;
    uint32_t pool_size, pool_capacity;
    uint32_t *slots; /* hash table of ids by (literal, bytes): 0 or id + 1 */
    uint32_t slot_mask, hashed;
    aegis_merge *merges; /* by rank */
    uint32_t merge_count, merge_capacity;
    uint32_t *merge_slots; /* hash table of ranks by (left, right): 0 or rank + 1 */
    uint32_t merge_slot_mask;
    uint32_t byte_ids[256];               /* token of each byte, or AEGIS_NO_TOKEN */
    uint32_t longest;                     /* bytes of the longest token */
    int16_t byte_of[AEGIS_BYTE_ALPHABET]; /* character -> byte, -1 */
} aegis_vocabulary;

void aegis_vocabulary_init(aegis_vocabulary *vocabulary, const aegis_allocator *allocator);
void aegis_vocabulary_finish(aegis_vocabulary *vocabulary); /* of a zeroed one too */

/* Adds a token as the file writes it (UTF-8). hashed: findable by text, so part of the BPE. The id
 * is below AEGIS_TOKENIZER_MAX_ID. EXISTS (id or text), UNSUPPORTED (too long), NO_MEMORY. */
aegis_status aegis_vocabulary_add(aegis_vocabulary *vocabulary,
                                  const char *text,
                                  size_t size,
                                  uint32_t id,
                                  bool hashed,
                                  aegis_error *err);
/* The id of a token as the file writes it, or AEGIS_NO_TOKEN. */
uint32_t aegis_vocabulary_find(const aegis_vocabulary *vocabulary, const char *text, size_t size);
/* The same by the bytes that it stands for. Needs the table of texts. */
uint32_t
aegis_vocabulary_find_bytes(const aegis_vocabulary *vocabulary, const char *bytes, size_t size);
/* The next merge, of existing tokens. NO_MEMORY. */
aegis_status aegis_vocabulary_add_merge(aegis_vocabulary *vocabulary,
                                        const aegis_merge *merge,
                                        aegis_error *err);
/* All is read: makes the table of merges, gives back spare room and, unless `keep_texts`, the table
 * of texts. EXISTS (a merge twice), NO_MEMORY. */
aegis_status aegis_vocabulary_seal(aegis_vocabulary *vocabulary, bool keep_texts, aegis_error *err);
/* The rank of the merge of two tokens, or AEGIS_NO_TOKEN. After seal. */
uint32_t aegis_vocabulary_rank(const aegis_vocabulary *vocabulary, uint32_t left, uint32_t right);
size_t aegis_vocabulary_memory(const aegis_vocabulary *vocabulary);

#endif
