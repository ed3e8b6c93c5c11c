/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_UTF8_H
#define AEGIS_TRANSFORMER_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* U+FFFD in UTF-8. */
#define AEGIS_UTF8_REPLACEMENT "\xef\xbf\xbd"
#define AEGIS_UTF8_REPLACEMENT_BYTES 3

typedef enum aegis_utf8_result {
    AEGIS_UTF8_WHOLE,  /* a character of *ret_size bytes */
    AEGIS_UTF8_BROKEN, /* *ret_size bytes that are the maximal part of one (Unicode, 3.9, D93b) */
    AEGIS_UTF8_INCOMPLETE /* all bytes are the beginning of one; *ret_size = size */
} aegis_utf8_result;

/* What stands at the beginning of `bytes`; `size` is at least 1. */
aegis_utf8_result aegis_utf8_next(const unsigned char *bytes, size_t size, size_t *ret_size);

/* Bytes of the text with every broken part replaced by U+FFFD; `size` when nothing is broken. */
size_t aegis_utf8_repaired_size(const char *text, size_t size);
/* Writes that text. */
void aegis_utf8_repair(const char *text, size_t size, char *ret_text);

#endif
