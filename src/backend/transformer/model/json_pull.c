/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/json_pull.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT "transformer.json"
#define WINDOW_BYTES 65536
#define NUMBER_BYTES 64

void aegis_json_pull_init(aegis_json_pull *pull,
                          const char *text,
                          size_t size,
                          const char *origin,
                          const aegis_allocator *allocator)
{
    *pull = (aegis_json_pull){.allocator = *allocator,
                              .origin = origin,
                              .fd = -1,
                              .at = (const unsigned char *)text,
                              .line = 1,
                              .column = 1,
                              .now_line = 1,
                              .ended = true};
    pull->end = pull->at + size;
    pull->window_start = pull->at;
}

aegis_status aegis_json_pull_init_file(aegis_json_pull *pull,
                                       int fd,
                                       uint64_t offset,
                                       uint64_t size,
                                       const char *origin,
                                       const aegis_allocator *allocator,
                                       aegis_error *err)
{
    unsigned char *window = allocator->alloc(allocator->self, WINDOW_BYTES);
    if (window == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for the %d bytes that %s is read through", WINDOW_BYTES,
                               origin);
    }
    aegis_json_pull_init(pull, (const char *)window, 0, origin, allocator);
    pull->window = window;
    pull->fd = fd;
    pull->file_offset = offset;
    pull->file_size = size;
    pull->ended = false;
    return AEGIS_OK;
}

void aegis_json_pull_finish(aegis_json_pull *pull)
{
    if (pull->window != NULL) {
        pull->allocator.free(pull->allocator.self, pull->window, WINDOW_BYTES);
    }
    if (pull->scratch != NULL) {
        pull->allocator.free(pull->allocator.self, pull->scratch, pull->scratch_capacity);
    }
    *pull = (aegis_json_pull){.fd = -1};
}

const char *aegis_json_kind_name(aegis_json_kind kind)
{
    switch (kind) {
    case AEGIS_JSON_OBJECT:
        return "an object";
    case AEGIS_JSON_ARRAY:
        return "an array";
    case AEGIS_JSON_STRING:
        return "a string";
    case AEGIS_JSON_NUMBER:
        return "a number";
    case AEGIS_JSON_TRUE:
        return "true";
    case AEGIS_JSON_FALSE:
        return "false";
    case AEGIS_JSON_NULL:
        return "null";
    }
    return "nothing";
}

/* Bytes of the text before `at`. */
static uint64_t position(const aegis_json_pull *pull)
{
    return pull->consumed + (uint64_t)(pull->at - pull->window_start);
}

static void mark(aegis_json_pull *pull)
{
    pull->line = pull->now_line;
    pull->column = position(pull) - pull->line_start + 1;
}

aegis_status aegis_json_pull_fail(
    const aegis_json_pull *pull, aegis_status status, aegis_error *err, const char *format, ...)
{
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), status, "%s:%" PRIu64 ":%" PRIu64 ": %s",
                           pull->origin, pull->line, pull->column, text);
}

/* A failure where the reader stands. */
static aegis_status fail_here(aegis_json_pull *pull, aegis_error *err, const char *what)
{
    mark(pull);
    return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s", what);
}

/* More bytes into an exhausted window. */
static aegis_status refill(aegis_json_pull *pull, aegis_error *err)
{
    ssize_t got;
    pull->consumed = position(pull);
    uint64_t rest = pull->file_size - pull->consumed;
    size_t wanted = rest < WINDOW_BYTES ? (size_t)rest : WINDOW_BYTES;
    do {
        got = pread(pull->fd, pull->window, wanted, (off_t)(pull->file_offset + pull->consumed));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        int code = errno;
        return aegis_error_set_native(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO, code,
                                      "cannot read %s: %s", pull->origin, strerror(code));
    }
    pull->at = pull->window_start = pull->window;
    pull->end = pull->window + got;
    pull->ended = got == 0;
    return AEGIS_OK;
}

/* The next byte without consuming it, -1 at the end. */
static aegis_status look(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    if (pull->at == pull->end && !pull->ended) {
        aegis_status status = refill(pull, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    *ret_byte = pull->at == pull->end ? -1 : *pull->at;
    return AEGIS_OK;
}

/* The next byte that is not white space, not consumed. */
static aegis_status look_past_space(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    for (;;) {
        aegis_status status = look(pull, ret_byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (*ret_byte != ' ' && *ret_byte != '\n' && *ret_byte != '\t' && *ret_byte != '\r') {
            return AEGIS_OK;
        }
        pull->at++;
        if (*ret_byte == '\n') {
            pull->now_line++;
            pull->line_start = position(pull);
        }
    }
}

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

static aegis_status take(aegis_json_pull *pull, int *ret_byte, aegis_error *err)
{
    aegis_status status = look(pull, ret_byte, err);
    if (status == AEGIS_OK && *ret_byte >= 0) {
        pull->at++;
    }
    return status;
}

static aegis_status read_hex(aegis_json_pull *pull, uint32_t *ret_code, aegis_error *err)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        int byte;
        aegis_status status = take(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        int digit = byte >= '0' && byte <= '9'   ? byte - '0'
                    : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10
                    : byte >= 'A' && byte <= 'F' ? byte - 'A' + 10
                                                 : -1;
        if (digit < 0) {
            return fail_here(pull, err, "\\u wants four hexadecimal digits");
        }
        code = code << 4 | (uint32_t)digit;
    }
    *ret_code = code;
    return AEGIS_OK;
}

/* Behind "\u": one code point, of which surrogates are halves. */
static aegis_status read_unicode(aegis_json_pull *pull, aegis_error *err)
{
    uint32_t code, low;
    aegis_status status = read_hex(pull, &code, err);
    if (status == AEGIS_OK && code >= 0xd800 && code <= 0xdfff) {
        int slash = 0, letter = 0;
        bool paired = code < 0xdc00;
        if (paired) {
            status = take(pull, &slash, err);
        }
        if (paired && status == AEGIS_OK) {
            status = take(pull, &letter, err);
        }
        if (status == AEGIS_OK && (slash != '\\' || letter != 'u')) {
            status = fail_here(pull, err, "half of a surrogate pair");
        }
        if (status == AEGIS_OK) {
            status = read_hex(pull, &low, err);
        }
        if (status == AEGIS_OK && (low < 0xdc00 || low > 0xdfff)) {
            status = fail_here(pull, err, "half of a surrogate pair");
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
    aegis_status status = take(pull, &byte, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (byte == 'u') {
        return read_unicode(pull, err);
    }
    const char *found = byte > 0 ? strchr(from, byte) : NULL;
    if (found == NULL) {
        return fail_here(pull, err, "an unknown escape");
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
    aegis_status status =
        more == 0 ? fail_here(pull, err, "bytes that are not UTF-8") : append(pull, first, err);
    for (; more > 0 && status == AEGIS_OK; more--) {
        int byte;
        status = look(pull, &byte, err);
        if (status == AEGIS_OK && (byte < least || byte > most)) {
            status = fail_here(pull, err, "bytes that are not UTF-8");
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
static aegis_status read_string(aegis_json_pull *pull, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    pull->at++;
    pull->text_size = 0;
    pull->text = "";
    while (status == AEGIS_OK) {
        int byte;
        status = look(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (byte < 0x20) {
            return fail_here(pull, err,
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

aegis_status
aegis_json_pull_peek(aegis_json_pull *pull, aegis_json_kind *ret_kind, aegis_error *err)
{
    int byte;
    aegis_status status = look_past_space(pull, &byte, err);
    if (status != AEGIS_OK) {
        return status;
    }
    mark(pull);
    switch (byte) {
    case '{':
        *ret_kind = AEGIS_JSON_OBJECT;
        return AEGIS_OK;
    case '[':
        *ret_kind = AEGIS_JSON_ARRAY;
        return AEGIS_OK;
    case '"':
        *ret_kind = AEGIS_JSON_STRING;
        return AEGIS_OK;
    case 't':
        *ret_kind = AEGIS_JSON_TRUE;
        return AEGIS_OK;
    case 'f':
        *ret_kind = AEGIS_JSON_FALSE;
        return AEGIS_OK;
    case 'n':
        *ret_kind = AEGIS_JSON_NULL;
        return AEGIS_OK;
    case -1:
        return fail_here(pull, err, "the text ends where a value should be");
    default:
        if (byte == '-' || (byte >= '0' && byte <= '9')) {
            *ret_kind = AEGIS_JSON_NUMBER;
            return AEGIS_OK;
        }
        return fail_here(pull, err, "no value begins like this");
    }
}

static aegis_status expect(aegis_json_pull *pull, aegis_json_kind kind, aegis_error *err)
{
    aegis_json_kind found = kind;
    aegis_status status = aegis_json_pull_peek(pull, &found, err);
    if (status == AEGIS_OK && found != kind) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s is wanted here, not %s",
                                      aegis_json_kind_name(kind), aegis_json_kind_name(found));
    }
    return status;
}

static aegis_status enter(aegis_json_pull *pull, aegis_json_kind kind, aegis_error *err)
{
    aegis_status status = expect(pull, kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (pull->depth == AEGIS_JSON_PULL_DEPTH) {
        return fail_here(pull, err, "nested deeper than 64 levels");
    }
    uint64_t bit = UINT64_C(1) << pull->depth;
    pull->is_array = kind == AEGIS_JSON_ARRAY ? pull->is_array | bit : pull->is_array & ~bit;
    pull->depth++;
    pull->fresh = true;
    pull->at++;
    return AEGIS_OK;
}

aegis_status aegis_json_pull_object(aegis_json_pull *pull, aegis_error *err)
{
    return enter(pull, AEGIS_JSON_OBJECT, err);
}

aegis_status aegis_json_pull_array(aegis_json_pull *pull, aegis_error *err)
{
    return enter(pull, AEGIS_JSON_ARRAY, err);
}

/* Past the comma to the next member, or past `closing` and out. */
static aegis_status
next_member(aegis_json_pull *pull, char closing, bool *ret_more, aegis_error *err)
{
    int byte;
    aegis_status status = look_past_space(pull, &byte, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (byte == closing) {
        pull->at++;
        pull->depth--;
        pull->fresh = false;
        *ret_more = false;
        return AEGIS_OK;
    }
    if (pull->fresh) {
        pull->fresh = false;
    } else if (byte == ',') {
        pull->at++;
    } else {
        return fail_here(
            pull, err, closing == '}' ? "',' or '}' is wanted here" : "',' or ']' is wanted here");
    }
    *ret_more = true;
    return AEGIS_OK;
}

aegis_status aegis_json_pull_key(aegis_json_pull *pull, bool *ret_more, aegis_error *err)
{
    bool more = false;
    int byte = 0;
    aegis_status status = next_member(pull, '}', &more, err);
    if (status == AEGIS_OK && more) {
        status = expect(pull, AEGIS_JSON_STRING, err);
    }
    if (status == AEGIS_OK && more) {
        status = read_string(pull, err);
    }
    if (status == AEGIS_OK && more) {
        status = look_past_space(pull, &byte, err);
        if (status == AEGIS_OK && byte != ':') {
            status = fail_here(pull, err, "':' is wanted behind a key");
        } else if (status == AEGIS_OK) {
            pull->at++;
        }
    }
    if (status == AEGIS_OK) {
        *ret_more = more;
    }
    return status;
}

aegis_status aegis_json_pull_item(aegis_json_pull *pull, bool *ret_more, aegis_error *err)
{
    return next_member(pull, ']', ret_more, err);
}

aegis_status aegis_json_pull_string(aegis_json_pull *pull, aegis_error *err)
{
    aegis_status status = expect(pull, AEGIS_JSON_STRING, err);
    return status == AEGIS_OK ? read_string(pull, err) : status;
}

/* The bytes of a number, as far as they could belong to one. */
static aegis_status
read_number_text(aegis_json_pull *pull, char text[NUMBER_BYTES], aegis_error *err)
{
    aegis_status status = expect(pull, AEGIS_JSON_NUMBER, err);
    size_t size = 0;
    while (status == AEGIS_OK) {
        int byte;
        status = look(pull, &byte, err);
        if (status != AEGIS_OK || byte <= 0 || strchr("+-.0123456789eE", byte) == NULL) {
            break;
        }
        if (size + 1 == NUMBER_BYTES) {
            return fail_here(pull, err, "a number of more than 63 characters");
        }
        text[size++] = (char)byte;
        pull->at++;
    }
    text[size] = '\0';
    return status;
}

static const char *past_digits(const char *text)
{
    return text + strspn(text, "0123456789");
}

/* The grammar of RFC 8259, section 6. */
static bool is_number(const char *text)
{
    text += *text == '-';
    const char *digits = past_digits(text);
    if (digits == text || (*text == '0' && digits > text + 1)) {
        return false;
    }
    text = digits;
    if (*text == '.') {
        digits = past_digits(text + 1);
        if (digits == text + 1) {
            return false;
        }
        text = digits;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        digits = past_digits(text);
        if (digits == text) {
            return false;
        }
        text = digits;
    }
    return *text == '\0';
}

aegis_status aegis_json_pull_unsigned(aegis_json_pull *pull, uint64_t *ret, aegis_error *err)
{
    char text[NUMBER_BYTES] = "";
    aegis_status status = read_number_text(pull, text, err);
    if (status != AEGIS_OK) {
        return status;
    }
    errno = 0;
    unsigned long long number = strtoull(text, NULL, 10);
    if (!is_number(text) || *past_digits(text) != '\0' || errno != 0) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "%s is not a whole number from 0 to 2^64 - 1", text);
    }
    *ret = number;
    return AEGIS_OK;
}

aegis_status aegis_json_pull_number(aegis_json_pull *pull, double *ret, aegis_error *err)
{
    char text[NUMBER_BYTES] = "";
    aegis_status status = read_number_text(pull, text, err);
    if (status != AEGIS_OK) {
        return status;
    }
    double number = is_number(text) ? strtod(text, NULL) : (double)NAN;
    if (!isfinite(number)) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s is not a number", text);
    }
    *ret = number;
    return AEGIS_OK;
}

static aegis_status read_word(aegis_json_pull *pull, const char *word, aegis_error *err)
{
    for (; *word != '\0'; word++) {
        int byte;
        aegis_status status = look(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (byte != *word) {
            return fail_here(pull, err, "no value is written like this");
        }
        pull->at++;
    }
    return AEGIS_OK;
}

aegis_status aegis_json_pull_boolean(aegis_json_pull *pull, bool *ret, aegis_error *err)
{
    aegis_json_kind kind = AEGIS_JSON_NULL;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (kind != AEGIS_JSON_TRUE && kind != AEGIS_JSON_FALSE) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "true or false is wanted here, not %s",
                                    aegis_json_kind_name(kind));
    }
    status = read_word(pull, kind == AEGIS_JSON_TRUE ? "true" : "false", err);
    if (status == AEGIS_OK) {
        *ret = kind == AEGIS_JSON_TRUE;
    }
    return status;
}

aegis_status aegis_json_pull_null(aegis_json_pull *pull, aegis_error *err)
{
    aegis_status status = expect(pull, AEGIS_JSON_NULL, err);
    return status == AEGIS_OK ? read_word(pull, "null", err) : status;
}

/* A value without members, or into one that has some. */
static aegis_status skip_one(aegis_json_pull *pull, aegis_error *err)
{
    char number[NUMBER_BYTES] = "";
    bool ignored;
    aegis_json_kind kind;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    switch (kind) {
    case AEGIS_JSON_OBJECT:
    case AEGIS_JSON_ARRAY:
        return enter(pull, kind, err);
    case AEGIS_JSON_STRING:
        return read_string(pull, err);
    case AEGIS_JSON_NUMBER:
        status = read_number_text(pull, number, err);
        if (status == AEGIS_OK && !is_number(number)) {
            status =
                aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "%s is not a number", number);
        }
        return status;
    case AEGIS_JSON_NULL:
        return aegis_json_pull_null(pull, err);
    case AEGIS_JSON_TRUE:
    case AEGIS_JSON_FALSE:
        break;
    }
    return aegis_json_pull_boolean(pull, &ignored, err);
}

aegis_status aegis_json_pull_skip(aegis_json_pull *pull, aegis_error *err)
{
    uint32_t outside = pull->depth;
    aegis_status status = skip_one(pull, err);
    while (status == AEGIS_OK && pull->depth > outside) {
        bool more = false;
        bool array = (pull->is_array >> (pull->depth - 1) & 1) != 0;
        status =
            array ? aegis_json_pull_item(pull, &more, err) : aegis_json_pull_key(pull, &more, err);
        if (status == AEGIS_OK && more) {
            status = skip_one(pull, err);
        }
    }
    return status;
}

aegis_status aegis_json_pull_end(aegis_json_pull *pull, aegis_error *err)
{
    int byte;
    aegis_status status = look_past_space(pull, &byte, err);
    if (status == AEGIS_OK && byte >= 0) {
        status = fail_here(pull, err, "something stands behind the end of the document");
    }
    return status;
}
