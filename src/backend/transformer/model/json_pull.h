/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_JSON_PULL_H
#define AEGIS_TRANSFORMER_JSON_PULL_H

/*
 * JSON read piece by piece, without a tree: the headers and vocabularies of models have up to
 * millions of members, and their trees would not fit into the budget that a model is loaded under
 * (figures against jansson: docs/dependencies.md). Memory is a window of 64 KiB and the longest
 * string. Strict RFC 8259: valid UTF-8, no lone surrogates, nothing behind the value, at most 64
 * levels.
 *
 * The caller asks for what it expects, in the order of the text:
 *
 *     status = aegis_json_pull_object(pull, err);
 *     while (status == AEGIS_OK) {
 *         status = aegis_json_pull_key(pull, &more, err);       key in pull->text
 *         if (status != AEGIS_OK || !more) break;
 *         status = aegis_json_pull_unsigned(pull, &number, err);
 *     }
 *
 * Every failure names "origin:line:column" (from 1, columns in bytes) and is final: PARSE for what
 * is not JSON or of another kind than asked for, NO_MEMORY, IO. Not thread-safe.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AEGIS_JSON_PULL_DEPTH 64
/* No key or string of a model is longer. */
#define AEGIS_JSON_PULL_TEXT_LIMIT (UINT64_C(1) << 20)

typedef enum aegis_json_kind {
    AEGIS_JSON_OBJECT,
    AEGIS_JSON_ARRAY,
    AEGIS_JSON_STRING,
    AEGIS_JSON_NUMBER,
    AEGIS_JSON_TRUE,
    AEGIS_JSON_FALSE,
    AEGIS_JSON_NULL
} aegis_json_kind;

typedef struct aegis_json_pull {
    /* The last string or key, unescaped, with a NUL behind that is not counted (it may hold NULs).
     * Lives until the next call. */
    const char *text;
    size_t text_size;
    uint64_t line, column; /* where the last value or key began */

    aegis_allocator allocator;
    const char *origin;
    int fd; /* -1: from memory */
    const unsigned char *at, *end;
    unsigned char *window; /* of a file */
    uint64_t file_offset, file_size;
    const unsigned char *window_start;
    uint64_t consumed;             /* bytes before window_start */
    uint64_t now_line, line_start; /* line of `at` and the position of its first byte */
    char *scratch;
    size_t scratch_capacity;
    uint32_t depth;
    uint64_t is_array; /* one bit a level */
    bool fresh;        /* just inside an object or array: no comma yet */
    bool ended;        /* the file has no more bytes */
} aegis_json_pull;

/* `origin` and `text` are borrowed. */
void aegis_json_pull_init(aegis_json_pull *pull,
                          const char *text,
                          size_t size,
                          const char *origin,
                          const aegis_allocator *allocator);
/* Reads `size` bytes from `offset` on of the file that `fd` has open, 64 KiB at a time; fd stays
 * the caller's. */
aegis_status aegis_json_pull_init_file(aegis_json_pull *pull,
                                       int fd,
                                       uint64_t offset,
                                       uint64_t size,
                                       const char *origin,
                                       const aegis_allocator *allocator,
                                       aegis_error *err);
/* Of a zeroed one too. */
void aegis_json_pull_finish(aegis_json_pull *pull);

/* The kind of the next value, which is not consumed. */
aegis_status
aegis_json_pull_peek(aegis_json_pull *pull, aegis_json_kind *ret_kind, aegis_error *err);
/* Enter; then ask for keys or items until there are no more, which leaves. */
aegis_status aegis_json_pull_object(aegis_json_pull *pull, aegis_error *err);
aegis_status aegis_json_pull_array(aegis_json_pull *pull, aegis_error *err);
/* The next key of the object, and its colon. */
aegis_status aegis_json_pull_key(aegis_json_pull *pull, bool *ret_more, aegis_error *err);
aegis_status aegis_json_pull_item(aegis_json_pull *pull, bool *ret_more, aegis_error *err);
/* A value into pull->text. */
aegis_status aegis_json_pull_string(aegis_json_pull *pull, aegis_error *err);
/* A number without fraction or exponent, from 0 to 2^64 - 1. */
aegis_status aegis_json_pull_unsigned(aegis_json_pull *pull, uint64_t *ret, aegis_error *err);
aegis_status aegis_json_pull_number(aegis_json_pull *pull, double *ret, aegis_error *err);
aegis_status aegis_json_pull_boolean(aegis_json_pull *pull, bool *ret, aegis_error *err);
aegis_status aegis_json_pull_null(aegis_json_pull *pull, aegis_error *err);
/* Any value, checked as strictly. */
aegis_status aegis_json_pull_skip(aegis_json_pull *pull, aegis_error *err);
/* Nothing but white space is left. */
aegis_status aegis_json_pull_end(aegis_json_pull *pull, aegis_error *err);

/* A failure at the place of the last value or key: "origin:line:column: ...". */
aegis_status aegis_json_pull_fail(const aegis_json_pull *pull,
                                  aegis_status status,
                                  aegis_error *err,
                                  const char *format,
                                  ...) AEGIS_PRINTF(4, 5);
/* "an object", "a string", ... Static. */
const char *aegis_json_kind_name(aegis_json_kind kind);

#endif
