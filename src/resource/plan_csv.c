/* SPDX-License-Identifier: Apache-2.0 */

/* Buffers as text: `id,lower,upper,size[,alignment]`. */

#include <aegisrt/memory_plan.h>

#include "base/base.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_FILE_BYTES (UINT64_C(256) << 20)

enum {
    COLUMN_ID = 0,
    COLUMN_LOWER,
    COLUMN_UPPER,
    COLUMN_SIZE,
    COLUMN_ALIGNMENT,
    COLUMN_OFFSET,
    COLUMNS
};

/* The first four stand in every file, in this order; the others may follow. */
static const char *const names[COLUMNS] = {"id", "lower", "upper", "size", "alignment", "offset"};

typedef struct reader {
    const char *name;
    const char *text, *end; /* the rest */
    const char *line_start;
    unsigned long line;
    int columns[COLUMNS]; /* in the order of the header */
    int column_count;
    const char *key; /* the column being read; NULL: none */
} reader;

static aegis_status complain(const reader *r, aegis_error *err, const char *what, const char *cure)
{
    return aegis_error_set(err, AEGIS_HERE("resource.csv"), AEGIS_ERROR_PARSE,
                           "%s:%lu:%lu: %s%s%s; %s", r->name, r->line,
                           (unsigned long)(r->text - r->line_start) + 1,
                           r->key == NULL ? "" : r->key, r->key == NULL ? "" : ": ", what, cure);
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
        return complain(r, err, "a negative number", "only lower and upper may be negative");
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
        char cure[80];
        snprintf(cure, sizeof cure, "%d columns stand in the header", r->column_count);
        return complain(r, err, "a comma is missing", cure);
    }
    r->text++;
    return AEGIS_OK;
}

static int64_t signed_value(uint64_t magnitude, bool negative)
{
    return negative ? -(int64_t)magnitude : (int64_t)magnitude;
}

static aegis_status read_value(reader *r, int column, aegis_plan_buffer *b, aegis_error *err)
{
    skip_blanks(r);
    r->key = names[column];
    if (column == COLUMN_OFFSET && (at_line_end(r) || *r->text == ',')) {
        return AEGIS_OK; /* not fixed */
    }
    uint64_t value = 0;
    bool negative = false, time = column == COLUMN_LOWER || column == COLUMN_UPPER;
    aegis_status status =
        read_number(r, time, column == COLUMN_ID ? UINT32_MAX : INT64_MAX, &value, &negative, err);
    if (status != AEGIS_OK) {
        return status;
    }
    switch (column) {
    case COLUMN_ID:
        b->id = (uint32_t)value;
        break;
    case COLUMN_LOWER:
        b->lower = signed_value(value, negative);
        break;
    case COLUMN_UPPER:
        b->upper = signed_value(value, negative);
        break;
    case COLUMN_SIZE:
        b->size_bytes = value;
        break;
    case COLUMN_ALIGNMENT:
        b->alignment = value;
        break;
    default:
        b->fixed = true;
        b->fixed_offset = value;
        break;
    }
    return AEGIS_OK;
}

static aegis_status read_row(reader *r, aegis_plan_buffer *ret_buffer, aegis_error *err)
{
    aegis_plan_buffer b = {0};
    for (int k = 0; k < r->column_count; k++) {
        r->key = NULL;
        aegis_status status = k == 0 ? AEGIS_OK : expect_comma(r, err);
        if (status == AEGIS_OK) {
            status = read_value(r, r->columns[k], &b, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
    r->key = NULL;
    if (!at_line_end(r)) {
        return complain(r, err, "more on the line than its columns", "remove it");
    }
    *ret_buffer = b;
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

/* One of the columns that may follow, each at most once. */
static bool take_optional(reader *r)
{
    for (int column = COLUMN_SIZE + 1; column < COLUMNS; column++) {
        bool known = false;
        for (int k = 0; k < r->column_count; k++) {
            known |= r->columns[k] == column;
        }
        const char *start = r->text;
        if (!known && take_word(r, names[column]) && (at_line_end(r) || *r->text == ',')) {
            r->columns[r->column_count++] = column;
            return true;
        }
        r->text = start;
    }
    return false;
}

static aegis_status read_header(reader *r, aegis_error *err)
{
    static const char mark[] = "\xef\xbb\xbf"; /* spreadsheets begin files in UTF-8 with it */
    if (r->end - r->text >= 3 && memcmp(r->text, mark, 3) == 0) {
        r->text += 3;
        r->line_start += 3;
    }
    for (int column = COLUMN_ID; column <= COLUMN_SIZE; column++) {
        if ((column > 0 && !take_word(r, ",")) || !take_word(r, names[column])) {
            return complain(r, err, "not the header", "the first line is id,lower,upper,size");
        }
        r->columns[r->column_count++] = column;
    }
    while (!at_line_end(r)) {
        if (!take_word(r, ",")) {
            return complain(r, err, "not the header", "the first line is id,lower,upper,size");
        }
        if (!take_optional(r)) {
            char what[64];
            int length = 0;
            while (length < 24 && r->text + length < r->end && r->text[length] > ' ' &&
                   r->text[length] != ',') {
                length++;
            }
            snprintf(what, sizeof what, "an unknown column '%.*s'", length, r->text);
            return complain(r, err, what, "after size alignment and offset may follow, each once");
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
    if (status == AEGIS_OK && buffers != NULL) {
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
