/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers. The only file that knows PCRE2, which has the lookahead that GPT-2's expression
 * needs. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "backend/transformer/tokenizer/tokenizer_internal.h"
#include "base/base.h"

#include <pcre2.h>
#include <string.h>

#define COMPONENT "transformer.tokenizer"

/* White space as Unicode's White_Space has it. PCRE2's \s with UCP would add U+180E. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"
/* GPT-2's expression (openai/gpt-2, src/encoder.py): contractions, letters, numbers, other
 * characters, each with one space in front; white space without the last one before a word. The
 * possessive quantifiers change nothing but the time: no later part could take what they give back.
 */
static const char words_pattern[] = "'(?:[sdmt]|ll|ve|re)"
                                    "| ?\\p{L}++"
                                    "| ?\\p{N}++"
                                    "| ?[^" SPACE "\\p{L}\\p{N}]++"
                                    "|[" SPACE "]+(?![^" SPACE "])"
                                    "|[" SPACE "]++";
/* Rust's char::is_numeric: Nd, Nl, No. */
static const char digits_pattern[] = "\\p{N}++|\\P{N}++";
static const char digit_pattern[] = "\\p{N}|\\P{N}++";

struct aegis_word_patterns {
    aegis_allocator allocator;
    pcre2_general_context *context;
    pcre2_code *words, *digits, *digit;
};

/* PCRE2 does not say how large a block is that it gives back. */
typedef union block_header {
    size_t size;
    max_align_t align;
} block_header;

static void *take(size_t size, void *self)
{
    const aegis_allocator *allocator = self;
    size_t whole;
    if (__builtin_add_overflow(size, sizeof(block_header), &whole)) {
        return NULL;
    }
    block_header *block = allocator->alloc(allocator->self, whole);
    if (block == NULL) {
        return NULL;
    }
    block->size = whole;
    return block + 1;
}

static void give_back(void *pointer, void *self)
{
    const aegis_allocator *allocator = self;
    if (pointer != NULL) {
        block_header *block = (block_header *)pointer - 1;
        allocator->free(allocator->self, block, block->size);
    }
}

static pcre2_code *compile(pcre2_compile_context *context, const char *pattern, int *ret_code)
{
    PCRE2_SIZE offset;
    return pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, ret_code, &offset,
                         context);
}

static aegis_status pattern_error(int code, aegis_error *err)
{
    if (code == PCRE2_ERROR_NOMEMORY || code == 121) { /* 121: at compile time */
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY, code,
                                      "no memory for the pre-tokenizer's expressions");
    }
    return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INTERNAL, code,
                                  "PCRE2 refuses the pre-tokenizer's expressions (%d); it must be "
                                  "built with Unicode",
                                  code);
}

aegis_status aegis_word_patterns_create(const aegis_allocator *allocator,
                                        aegis_word_patterns **ret_patterns,
                                        aegis_error *err)
{
    int code = PCRE2_ERROR_NOMEMORY;
    pcre2_compile_context *compiling = NULL;
    aegis_word_patterns *patterns = aegis_allocate_zeroed(allocator, 1, sizeof *patterns);
    if (patterns == NULL) {
        return pattern_error(code, err);
    }
    patterns->allocator = *allocator;
    patterns->context = pcre2_general_context_create(take, give_back, &patterns->allocator);
    if (patterns->context != NULL) {
        compiling = pcre2_compile_context_create(patterns->context);
    }
    if (compiling != NULL) {
        patterns->words = compile(compiling, words_pattern, &code);
    }
    if (patterns->words != NULL) {
        patterns->digits = compile(compiling, digits_pattern, &code);
    }
    if (patterns->digits != NULL) {
        patterns->digit = compile(compiling, digit_pattern, &code);
    }
    pcre2_compile_context_free(compiling);
    if (patterns->digit == NULL) {
        aegis_word_patterns_destroy(patterns);
        return pattern_error(code, err);
    }
    *ret_patterns = patterns;
    return AEGIS_OK;
}

void aegis_word_patterns_destroy(aegis_word_patterns *patterns)
{
    if (patterns != NULL) {
        aegis_allocator allocator = patterns->allocator;
        pcre2_code_free(patterns->words);
        pcre2_code_free(patterns->digits);
        pcre2_code_free(patterns->digit);
        pcre2_general_context_free(patterns->context);
        aegis_deallocate(&allocator, patterns, 1, sizeof *patterns);
    }
}

size_t aegis_word_patterns_memory(const aegis_word_patterns *patterns)
{
    const pcre2_code *const codes[] = {patterns->words, patterns->digits, patterns->digit};
    size_t total = sizeof *patterns;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(codes); i++) {
        size_t size = 0;
        pcre2_pattern_info(codes[i], PCRE2_INFO_SIZE, &size);
        total += size + sizeof(block_header);
    }
    return total;
}

aegis_status aegis_encode_words_init(aegis_encoding *e, aegis_error *err)
{
    e->match = pcre2_match_data_create(1, e->tokenizer->patterns->context);
    return e->match == NULL ? pattern_error(PCRE2_ERROR_NOMEMORY, err) : AEGIS_OK;
}

void aegis_encode_words_finish(aegis_encoding *e)
{
    const aegis_allocator *allocator = &e->tokenizer->allocator;
    pcre2_match_data_free(e->match);
    aegis_deallocate(allocator, e->spaced, e->spaced_capacity, 1);
    e->match = NULL;
    e->spaced = NULL;
    e->spaced_capacity = 0;
}

/* The end of the match that begins at `from`. The expressions match at every character; what a
 * later piece holds is not seen by the lookahead, as in the original. */
static aegis_status match_at(aegis_encoding *e,
                             const pcre2_code *code,
                             const char *piece,
                             size_t size,
                             size_t from,
                             size_t *ret_end,
                             aegis_error *err)
{
    int found = pcre2_match(code, (PCRE2_SPTR)piece, size, from,
                            PCRE2_ANCHORED | PCRE2_NO_UTF_CHECK, e->match, NULL);
    if (found < 0) {
        return pattern_error(found, err);
    }
    *ret_end = pcre2_get_ovector_pointer(e->match)[1];
    return AEGIS_OK;
}

static aegis_status
run_stage(aegis_encoding *e, uint32_t stage, const char *piece, size_t size, aegis_error *err);

static aegis_status
digits_stage(aegis_encoding *e, uint32_t stage, const char *piece, size_t size, aegis_error *err)
{
    const aegis_word_patterns *patterns = e->tokenizer->patterns;
    const pcre2_code *code =
        e->tokenizer->stages[stage].kind == AEGIS_STAGE_DIGIT ? patterns->digit : patterns->digits;
    aegis_status status = AEGIS_OK;
    for (size_t at = 0, end = 0; at < size && status == AEGIS_OK; at = end) {
        status = match_at(e, code, piece, size, at, &end, err);
        if (status == AEGIS_OK) {
            status = run_stage(e, stage + 1, piece + at, end - at, err);
        }
    }
    return status;
}

/* A copy of the piece with a space in front. */
static aegis_status put_space(aegis_encoding *e, const char *piece, size_t size, aegis_error *err)
{
    const aegis_allocator *allocator = &e->tokenizer->allocator;
    if (e->spaced_capacity < size + 1) {
        aegis_deallocate(allocator, e->spaced, e->spaced_capacity, 1);
        e->spaced_capacity = 0;
        e->spaced = aegis_allocate_zeroed(allocator, size + 1, 1);
        if (e->spaced == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for a piece of %zu bytes", size);
        }
        e->spaced_capacity = size + 1;
    }
    e->spaced[0] = ' ';
    memcpy(e->spaced + 1, piece, size);
    return AEGIS_OK;
}

static aegis_status byte_level_stage(
    aegis_encoding *e, uint32_t index, const char *piece, size_t size, aegis_error *err)
{
    const aegis_stage *stage = &e->tokenizer->stages[index];
    aegis_status status = AEGIS_OK;
    if (stage->prefix_space && piece[0] != ' ') {
        status = put_space(e, piece, size, err);
        piece = e->spaced;
        size++;
    }
    if (status == AEGIS_OK && !stage->words) {
        return aegis_encode_word(e, piece, size, err);
    }
    for (size_t at = 0, end = 0; at < size && status == AEGIS_OK; at = end) {
        status = match_at(e, e->tokenizer->patterns->words, piece, size, at, &end, err);
        if (status == AEGIS_OK) {
            status = aegis_encode_word(e, piece + at, end - at, err);
        }
    }
    return status;
}

static aegis_status
run_stage(aegis_encoding *e, uint32_t stage, const char *piece, size_t size, aegis_error *err)
{
    return e->tokenizer->stages[stage].kind == AEGIS_STAGE_BYTE_LEVEL
               ? byte_level_stage(e, stage, piece, size, err)
               : digits_stage(e, stage, piece, size, err);
}

aegis_status aegis_encode_piece(aegis_encoding *e, const char *piece, size_t size, aegis_error *err)
{
    return size == 0 ? AEGIS_OK : run_stage(e, 0, piece, size, err);
}
