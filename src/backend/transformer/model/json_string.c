/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/json_pull_internal.h"

#include <inttypes.h>
#include <string.h>

/* Strings: escapes, surrogates, UTF-8. */

static aegis_status grow_scratch(aegis_json_pull *pull, aegis_error *err)
{
    size_t capacity = pull->scratch_capacity == 0 ? 256 : 2 * pull->scratch_capacity;
    if (capacity > AEGIS_JSON_PULL_TEXT_LIMIT) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "the string is longer than %" PRIu64 " bytes",
                                    AEGIS_JSON_PULL_TEXT_LIMIT);
    }
    char *bigger = pull->allocator.alloc(pull->allocator.self, capacity);
    if (bigger == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err,
                                    "no memory for a string of %zu bytes", capacity);
    }
    if (pull->scratch != NULL) {
        memcpy(bigger, pull->scratch, pull->text_size);
        pull->allocator.free(pull->allocator.self, pull->scratch, pull->scratch_capacity);
    }
    pull->scratch = bigger;
    pull->scratch_capacity = capacity;
    return AEGIS_OK;
}

static aegis_status append(aegis_json_pull *pull, int byte, aegis_error *err)
{
    if (pull->text_size + 1 >= pull->scratch_capacity) {
        aegis_status status = grow_scratch(pull, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    pull->scratch[pull->text_size++] = (char)byte;
    return AEGIS_OK;
}

static aegis_status append_code_point(aegis_json_pull *pull, uint32_t code, aegis_error *err)
{
    int bytes[4], count = 0;
    if (code < 0x80) {
        bytes[count++] = (int)code;
    } else if (code < 0x800) {
        bytes[count++] = (int)(0xc0 | code >> 6);
        bytes[count++] = (int)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        bytes[count++] = (int)(0xe0 | code >> 12);
        bytes[count++] = (int)(0x80 | (code >> 6 & 0x3f));
        bytes[count++] = (int)(0x80 | (code & 0x3f));
    } else {
        bytes[count++] = (int)(0xf0 | code >> 18);
        bytes[count++] = (int)(0x80 | (code >> 12 & 0x3f));
        bytes[count++] = (int)(0x80 | (code >> 6 & 0x3f));
        bytes[count++] = (int)(0x80 | (code & 0x3f));
    }
    aegis_status status = AEGIS_OK;
    for (int i = 0; i < count && status == AEGIS_OK; i++) {
        status = append(pull, bytes[i], err);
    }
    return status;
}

static aegis_status read_hex(aegis_json_pull *pull, uint32_t *ret_code, aegis_error *err)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int byte;
        aegis_status status = aegis_json_take(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        int digit = byte >= '0' && byte <= '9'   ? byte - '0'
                    : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                    : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return aegis_json_fail_here(pull, err, "\\u wants four hexadecimal digits");
        }
        code = code << 4 | (uint32_t)digit;
    }
    *ret_code = code;
    return AEGIS_OK;
}

/* Behind "\u": one code point, of which surrogates are halves. */
static aegis_status read_unicode(aegis_json_pull *pull, aegis_error *err)
{
    uint32_t code = 0, low = 0;
    aegis_status status = read_hex(pull, &code, err);
    if (status == AEGIS_OK && code >= 0xd800 && code <= 0xdfff) {
        int slash = 0, letter = 0;
        bool paired = code < 0xdc00;
        if (paired) {
            status = aegis_json_take(pull, &slash, err);
        }
        if (paired && status == AEGIS_OK) {
            status = aegis_json_take(pull, &letter, err);
        }
        if (status == AEGIS_OK && (slash != '\\' || letter != 'u')) {
            status = aegis_json_fail_here(pull, err, "half of a surrogate pair");
        }
        if (status == AEGIS_OK) {
            status = read_hex(pull, &low, err);
        }
        if (status == AEGIS_OK && (low < 0xdc00 || low > 0xdfff)) {
            status = aegis_json_fail_here(pull, err, "half of a surrogate pair");
        }
        if (status == AEGIS_OK) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return status == AEGIS_OK ? append_code_point(pull, code, err) : status;
}

static aegis_status read_escape(aegis_json_pull *pull, aegis_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int byte;
    aegis_status status = aegis_json_take(pull, &byte, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (byte == 'u') {
        return read_unicode(pull, err);
    }
    const char *found = byte > 0 ? strchr(from, byte) : NULL;
    if (found == NULL) {
        return aegis_json_fail_here(pull, err, "an unknown escape");
    }
    return append(pull, to[found - from], err);
}

/* A sequence of UTF-8 whose first byte, at least 0x80, has been taken (Unicode, table 3-7). */
static aegis_status read_multibyte(aegis_json_pull *pull, int first, aegis_error *err)
{
    int more = first >= 0xc2 && first <= 0xdf   ? 1
               : first >= 0xe0 && first <= 0xef ? 2
               : first >= 0xf0 && first <= 0xf4 ? 3
                                                : 0;
    int least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    int most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    aegis_status status = more == 0 ? aegis_json_fail_here(pull, err, "bytes that are not UTF-8")
                                    : append(pull, first, err);
    for (; more > 0 && status == AEGIS_OK; more--) {
        int byte;
        status = aegis_json_look(pull, &byte, err);
        if (status == AEGIS_OK && (byte < least || byte > most)) {
            status = aegis_json_fail_here(pull, err, "bytes that are not UTF-8");
        }
        if (status == AEGIS_OK) {
            pull->at++;
            status = append(pull, byte, err);
        }
        least = 0x80;
        most = 0xbf;
    }
    return status;
}

/* A string, whose opening quote comes next, into the scratch. */
aegis_status aegis_json_read_string(aegis_json_pull *pull, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pull->at++;
    pull->text_size = 0;
    pull->text = "";
    while (status == AEGIS_OK) {
        int byte;
        status = aegis_json_look(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (byte < 0x20) {
            return aegis_json_fail_here(pull, err,
                                        byte < 0 ? "the text ends inside a string"
                                                 : "a control character inside a string");
        }
        pull->at++;
        if (byte == '"') {
            break;
        }
        status = byte == '\\'  ? read_escape(pull, err)
                 : byte < 0x80 ? append(pull, byte, err)
                               : read_multibyte(pull, byte, err);
    }
    if (status == AEGIS_OK && pull->scratch == NULL) {
        status = grow_scratch(pull, err);
    }
    if (status == AEGIS_OK && pull->scratch != NULL) {
        pull->scratch[pull->text_size] = '\0';
        pull->text = pull->scratch;
    }
    return status;
}
