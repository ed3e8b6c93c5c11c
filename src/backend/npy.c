/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of .npy files: numpy's format description, versions 1.0, 2.0 and 3.0. The header is a
 * Python dictionary of three known keys; anything else in it is refused. */
#include "backend/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "backend.npy"

typedef struct cursor {
    const char *at, *end;
} cursor;

static void skip_spaces(cursor *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\t')) {
        text->at++;
    }
}

static bool accept(cursor *text, const char *word)
{
    skip_spaces(text);
    size_t length = strlen(word);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0) {
        return false;
    }
    text->at += length;
    return true;
}

/* A quoted string without escapes. */
static bool read_string(cursor *text, char *buffer, size_t size)
{
    skip_spaces(text);
    if (text->at >= text->end || (*text->at != '\'' && *text->at != '"')) {
        return false;
    }
    char quote = *text->at++;
    size_t length = 0;
    while (text->at < text->end && *text->at != quote) {
        if (length + 1 >= size || *text->at == '\\') {
            return false;
        }
        buffer[length++] = *text->at++;
    }
    buffer[length] = '\0';
    return accept(text, quote == '"' ? "\"" : "'");
}

static bool read_number(cursor *text, int64_t *ret_number)
{
    skip_spaces(text);
    int64_t number = 0;
    const char *start = text->at;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9') {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *text->at - '0', &number)) {
            return false;
        }
        text->at++;
    }
    *ret_number = number;
    return text->at != start;
}

static bool read_shape(cursor *text, aegis_npy *npy)
{
    if (!accept(text, "(")) {
        return false;
    }
    npy->rank = 0;
    while (!accept(text, ")")) {
        if (npy->rank == AEGIS_MAX_RANK || !read_number(text, &npy->shape[npy->rank])) {
            return false;
        }
        npy->rank++;
        if (!accept(text, ",")) {
            /* A tuple of one element needs its comma. */
            return npy->rank > 1 && accept(text, ")");
        }
    }
    return true;
}

static bool read_element(const char *text, aegis_element *ret_element)
{
    static const struct {
        const char *text;
        aegis_element element;
    } known[] = {
        {"<f4", AEGIS_ELEMENT_F32}, {"<f2", AEGIS_ELEMENT_F16}, {"<f8", AEGIS_ELEMENT_F64},
        {"|i1", AEGIS_ELEMENT_I8},  {"|u1", AEGIS_ELEMENT_U8},  {"<i2", AEGIS_ELEMENT_I16},
        {"<u2", AEGIS_ELEMENT_U16}, {"<i4", AEGIS_ELEMENT_I32}, {"<u4", AEGIS_ELEMENT_U32},
        {"<i8", AEGIS_ELEMENT_I64}, {"<u8", AEGIS_ELEMENT_U64}, {"|b1", AEGIS_ELEMENT_BOOL},
    };
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(known); i++) {
        if (strcmp(text, known[i].text) == 0) {
            *ret_element = known[i].element;
            return true;
        }
    }
    return false;
}

/* Why the header is refused, or NULL. */
static const char *parse_header(cursor *text, aegis_npy *npy)
{
    bool descr = false, order = false, shape = false;
    if (!accept(text, "{")) {
        return "the header is no dictionary";
    }
    while (!accept(text, "}")) {
        char key[32], value[16];
        if (!read_string(text, key, sizeof key) || !accept(text, ":")) {
            return "a key of the header is malformed";
        }
        if (strcmp(key, "descr") == 0 && !descr) {
            if (!read_string(text, value, sizeof value) || !read_element(value, &npy->element)) {
                return "the dtype is none of <f2 <f4 <f8 |i1 |u1 <i2 <u2 <i4 <u4 <i8 <u8 |b1";
            }
            descr = true;
        } else if (strcmp(key, "fortran_order") == 0 && !order) {
            if (!accept(text, "False")) {
                return "only C order is read: save with numpy.ascontiguousarray";
            }
            order = true;
        } else if (strcmp(key, "shape") == 0 && !shape) {
            if (!read_shape(text, npy)) {
                return "the shape is malformed or has more than 8 dimensions";
            }
            shape = true;
        } else {
            return "the header has an unknown or repeated key";
        }
        if (!accept(text, ",")) {
            if (!accept(text, "}")) {
                return "the header is not closed";
            }
            break;
        }
    }
    skip_spaces(text);
    if (text->at != text->end) {
        return "there is text behind the header";
    }
    return descr && order && shape ? NULL : "the header lacks descr, fortran_order or shape";
}

/* Finds the header's text behind magic, version and length. */
static const char *find_header(const unsigned char *bytes, size_t size, cursor *ret_text)
{
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) {
        return "it does not begin as a .npy file";
    }
    unsigned major = bytes[6];
    if (major < 1 || major > 3 || bytes[7] != 0) {
        return "its version is none of 1.0, 2.0, 3.0";
    }
    size_t width = major == 1 ? 2 : 4, length = 0;
    if (size < 8 + width) {
        return "it is truncated";
    }
    for (size_t i = 0; i < width; i++) {
        length |= (size_t)bytes[8 + i] << (8 * i);
    }
    if (length > size - 8 - width) {
        return "its header is truncated";
    }
    ret_text->at = (const char *)bytes + 8 + width;
    ret_text->end = ret_text->at + length;
    return NULL;
}

aegis_status aegis_npy_parse(
    const void *bytes, size_t size, const char *name, aegis_npy *ret_npy, aegis_error *err)
{
    aegis_npy npy = {.rank = 0};
    cursor text = {NULL, NULL};
    const char *why = find_header(bytes, size, &text);
    const char *end = text.end;
    if (why == NULL) {
        why = parse_header(&text, &npy);
    }
    if (why != NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE, "%s: %s", name, why);
    }
    uint64_t elements, needed;
    if (!aegis_shape_elements(npy.shape, npy.rank, &elements) ||
        __builtin_mul_overflow(elements, aegis_element_bytes(npy.element), &needed)) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s: the shape's product overflows", name);
    }
    npy.data = (const unsigned char *)end;
    npy.data_bytes = (uint64_t)((const unsigned char *)bytes + size - npy.data);
    if (npy.data_bytes != needed) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s: %" PRIu64 " bytes of data where its header says %" PRIu64, name,
                               npy.data_bytes, needed);
    }
    *ret_npy = npy;
    return AEGIS_OK;
}
