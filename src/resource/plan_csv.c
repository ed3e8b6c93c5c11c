/* SPDX-License-Identifier: Apache-2.0 */

/* Buffers as text: `id,lower,upper,size[,alignment]`. */

#include <aegisrt/memory_plan.h>

#include "base/base.h"

#include <inttypes.h>
#include <string.h>

#define MAX_FILE_BYTES (UINT64_C(256) << 20)

typedef struct reader {
    const char *name;
    const char *text, *end; /* the rest */
    const char *line_start;
    unsigned long line;
    bool aligned; /* the fifth column is there */
} reader;

static aegis_status complain(const reader *r, aegis_error *err, const char *what, const char *cure)
{
    return aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_PARSE, "%s:%lu:%lu: %s; %s",
                           r->name, r->line, (unsigned long)(r->text - r->line_start) + 1, what,
                           cure);
}

static void skip_blanks(reader *r)
{
    while (r->text < r->end && (*r->text == ' ' || *r->text == '\t')) {
        r->text++;
    }
}

static bool at_line_end(const reader *r)
{
    return r->text == r->end || *r->text == '\n' || *r->text == '\r';
}

static bool next_line(reader *r)
{
    if (r->text < r->end && *r->text == '\r') {
        r->text++;
    }
    if (r->text < r->end && *r->text == '\n') {
        r->text++;
    }
    r->line++;
    r->line_start = r->text;
    return r->text < r->end;
}

/* A decimal integer of [low, high]; magnitudes are read as unsigned. */
static aegis_status read_number(reader *r,
                                bool may_be_negative,
                                uint64_t high,
                                uint64_t *ret_magnitude,
                                bool *ret_negative,
                                aegis_error *err)
{
    skip_blanks(r);
    bool negative = r->text < r->end && *r->text == '-';
    if (negative && !may_be_negative) {
        return complain(r, err, "a negative number", "id, size and alignment are 0 or more");
    }
    const char *digits = r->text + (negative ? 1 : 0);
    const char *c = digits;
    uint64_t value = 0;
    for (; c < r->end && *c >= '0' && *c <= '9'; c++) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
            __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value) || value > high) {
            return complain(r, err, "the number is too large", "ids have 32 bits, the others 63");
        }
    }
    if (c == digits) {
        return complain(r, err, "no integer here", "write decimal digits");
    }
    r->text = c;
    *ret_magnitude = value;
    *ret_negative = negative;
    skip_blanks(r);
    return AEGIS_OK;
}

static aegis_status expect_comma(reader *r, aegis_error *err)
{
    if (r->text == r->end || *r->text != ',') {
        return complain(r, err, "a comma is missing",
                        r->aligned ? "a line is id,lower,upper,size,alignment"
                                   : "a line is id,lower,upper,size");
    }
    r->text++;
    return AEGIS_OK;
}

static aegis_status read_row(reader *r, aegis_plan_buffer *ret_buffer, aegis_error *err)
{
    uint64_t value[5] = {0};
    bool negative[5] = {false};
    int columns = r->aligned ? 5 : 4;
    for (int column = 0; column < columns; column++) {
        aegis_status status = column == 0 ? AEGIS_OK : expect_comma(r, err);
        if (status == AEGIS_OK) {
            status =
                read_number(r, column == 1 || column == 2, column == 0 ? UINT32_MAX : INT64_MAX,
                            &value[column], &negative[column], err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
    if (!at_line_end(r)) {
        return complain(r, err, "more on the line than its columns", "remove it");
    }
    *ret_buffer = (aegis_plan_buffer){
        .id = (uint32_t)value[0],
        .lower = negative[1] ? -(int64_t)value[1] : (int64_t)value[1],
        .upper = negative[2] ? -(int64_t)value[2] : (int64_t)value[2],
        .size_bytes = value[3],
        .alignment = value[4],
    };
    return AEGIS_OK;
}

static bool take_word(reader *r, const char *word)
{
    skip_blanks(r);
    size_t length = strlen(word);
    if ((size_t)(r->end - r->text) < length || memcmp(r->text, word, length) != 0) {
        return false;
    }
    r->text += length;
    skip_blanks(r);
    return true;
}

static aegis_status read_header(reader *r, aegis_error *err)
{
    static const char *const columns[] = {"id", ",", "lower", ",", "upper", ",", "size"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(columns); i++) {
        if (!take_word(r, columns[i])) {
            return complain(r, err, "not the header", "the first line is id,lower,upper,size");
        }
    }
    if (!at_line_end(r)) {
        r->aligned = take_word(r, ",") && take_word(r, "alignment");
        if (!r->aligned || !at_line_end(r)) {
            return complain(r, err, "an unknown column", "after size only alignment may follow");
        }
    }
    return AEGIS_OK;
}

static size_t count_lines(const char *text, size_t size)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static aegis_status
read_rows(reader *r, aegis_plan_buffer *buffers, size_t *ret_count, aegis_error *err)
{
    size_t count = 0;
    aegis_status status = read_header(r, err);
    while (status == AEGIS_OK && next_line(r)) {
        skip_blanks(r);
        if (!at_line_end(r)) {
            status = read_row(r, &buffers[count], err);
            count += status == AEGIS_OK;
        }
        if (status == AEGIS_OK && r->text < r->end && *r->text == '\r' &&
            (r->text + 1 == r->end || r->text[1] != '\n')) {
            status = complain(r, err, "a carriage return without a line feed",
                              "end lines with LF or CRLF");
        }
    }
    *ret_count = count;
    return status;
}

aegis_status aegis_plan_csv_parse(const char *text,
                                  size_t size,
                                  const char *name,
                                  const aegis_allocator *allocator,
                                  aegis_plan_buffer **ret_buffers,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    if ((text == NULL && size > 0) || name == NULL || allocator == NULL || ret_buffers == NULL ||
        ret_count == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "text, name, allocator and outputs must be given");
    }
    if (text == NULL) {
        text = "";
    }
    /* Every row has a line of its own, so the rows never outnumber the lines. */
    size_t lines = count_lines(text, size), count = 0;
    aegis_plan_buffer *buffers = NULL,
                      *read = aegis_allocate_zeroed(allocator, lines, sizeof *read);
    if (read == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu lines of %s", lines, name);
    }
    reader r = {.name = name, .text = text, .end = text + size, .line_start = text, .line = 1};
    aegis_status status = read_rows(&r, read, &count, err);
    if (status == AEGIS_OK) {
        buffers = aegis_allocate_zeroed(allocator, count, sizeof *buffers);
        if (buffers == NULL) {
            status = aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_NO_MEMORY,
                                     "no host memory for %zu buffers of %s", count, name);
        }
    }
    if (status == AEGIS_OK) {
        memcpy(buffers, read, count * sizeof *buffers);
        *ret_buffers = buffers;
        *ret_count = count;
    }
    aegis_deallocate(allocator, read, lines, sizeof *read);
    return status;
}

aegis_status aegis_plan_csv_load(const char *path,
                                 const aegis_allocator *allocator,
                                 aegis_plan_buffer **ret_buffers,
                                 size_t *ret_count,
                                 aegis_error *err)
{
    if (path == NULL || allocator == NULL || ret_buffers == NULL || ret_count == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "path, allocator and outputs must be given");
    }
    char *text;
    size_t size;
    aegis_status status = aegis_file_read(path, MAX_FILE_BYTES, allocator, &text, &size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_plan_csv_parse(text, size, path, allocator, ret_buffers, ret_count, err);
    aegis_file_free(allocator, text, size);
    return status;
}

void aegis_plan_buffers_free(const aegis_allocator *allocator,
                             aegis_plan_buffer *buffers,
                             size_t count)
{
    aegis_deallocate(allocator, buffers, count, sizeof *buffers);
}
