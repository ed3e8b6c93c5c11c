/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BASE_TOML_H
#define AEGIS_BASE_TOML_H

/*
 * TOML text as a tree of plain nodes with their places. toml.cpp is the only file that knows the
 * library behind it. Lines and columns count from 1.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_TOML_MAX_BYTES (UINT64_C(1) << 20)

typedef enum aegis_toml_kind {
    AEGIS_TOML_TABLE = 0,
    AEGIS_TOML_ARRAY,
    AEGIS_TOML_STRING,
    AEGIS_TOML_INTEGER,
    AEGIS_TOML_FLOAT,
    AEGIS_TOML_BOOLEAN,
    AEGIS_TOML_TIME /* dates and times: no value is kept */
} aegis_toml_kind;

typedef struct aegis_toml_node {
    aegis_toml_kind kind;
    const char *key; /* NULL in an array and for the root */
    int line, column;
    int key_line, key_column; /* of the key; those of the value when there is no key */
    union {
        const char *text;
        int64_t integer;
        double number;
        bool boolean;
    } value;
    const struct aegis_toml_node *children; /* of tables and arrays, in the order of the text */
    size_t child_count;
} aegis_toml_node;

typedef struct aegis_toml aegis_toml;

/*
 * Parses a whole document. `origin` stands for the file in messages. PARSE with
 * "origin:line:column: what is wrong"; NO_MEMORY. Texts with a NUL inside are refused, and so are
 * documents above AEGIS_TOML_MAX_BYTES or nested deeper than anything sensible.
 */
aegis_status aegis_toml_parse(const char *text,
                              size_t size,
                              const char *origin,
                              const aegis_allocator *allocator,
                              aegis_toml **ret_document,
                              aegis_error *err);
/* NULL is fine. */
void aegis_toml_free(aegis_toml *document);

/* The root table; borrowed until free. */
const aegis_toml_node *aegis_toml_root(const aegis_toml *document);
/* The child of a table with that key, or NULL. */
const aegis_toml_node *aegis_toml_find(const aegis_toml_node *table, const char *key);
/* "a string", "an integer", ...: for messages. Static. */
const char *aegis_toml_kind_name(aegis_toml_kind kind);

#ifdef __cplusplus
}
#endif
#endif
