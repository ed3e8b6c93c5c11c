/* SPDX-License-Identifier: Apache-2.0 */
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COLUMNS 24

typedef struct cell {
    char *text;
    cli_colour colour;
} cell;

struct cli_table {
    size_t columns, cells, capacity;
    bool figures[MAX_COLUMNS];
    bool failed;
    cell *at; /* the headers are the first row */
};

/* Columns on a terminal, one for each character of UTF-8. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void add_cell(cli_table *table, cli_colour colour, const char *text)
{
    if (table->cells == table->capacity) {
        size_t capacity = table->capacity * 2 + 64;
        cell *grown = realloc(table->at, capacity * sizeof *grown);
        if (grown == NULL) {
            table->failed = true;
            return;
        }
        table->at = grown;
        table->capacity = capacity;
    }
    char *copy = strdup(text);
    if (copy == NULL) {
        table->failed = true;
        return;
    }
    table->at[table->cells++] = (cell){.text = copy, .colour = colour};
}

cli_table *cli_table_create(const char *headers)
{
    cli_table *table = calloc(1, sizeof *table);
    while (table != NULL && table->columns < MAX_COLUMNS) {
        char name[64];
        size_t length = strcspn(headers, "|");
        table->figures[table->columns] = headers[0] == '>';
        snprintf(name, sizeof name, "%.*s", (int)length - table->figures[table->columns],
                 headers + table->figures[table->columns]);
        add_cell(table, CLI_BOLD, name);
        table->columns++;
        if (headers[length] == '\0') {
            break;
        }
        headers += length + 1;
    }
    return table;
}

void cli_table_cell(cli_table *table, cli_colour colour, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    if (table == NULL) {
        return;
    }
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): as in output.c */
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    add_cell(table, colour, text);
}

static void print_cell(const cell *one, size_t width, bool figures, bool last)
{
    int gap = (int)(width - width_of(one->text));
    const char *end = one->colour == CLI_PLAIN ? "" : cli_end();
    if (figures) {
        printf("%*s%s%s%s", gap, "", cli_begin(one->colour), one->text, end);
    } else {
        printf("%s%s%s%*s", cli_begin(one->colour), one->text, end, last ? 0 : gap, "");
    }
    fputs(last ? "\n" : "  ", stdout);
}

static void print_rows(const cli_table *table)
{
    size_t widths[MAX_COLUMNS] = {0};
    for (size_t i = 0; i < table->cells; i++) {
        size_t width = width_of(table->at[i].text), column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t i = 0; i < table->cells; i++) {
        size_t column = i % table->columns;
        bool last = column + 1 == table->columns || i + 1 == table->cells;
        print_cell(&table->at[i], widths[column], table->figures[column], last);
    }
}

int cli_table_finish(cli_table *table)
{
    bool failed = table == NULL || table->failed;
    if (!failed) {
        print_rows(table);
    }
    for (size_t i = 0; table != NULL && i < table->cells; i++) {
        free(table->at[i].text);
    }
    if (table != NULL) {
        free(table->at);
    }
    free(table);
    if (failed) {
        fputs("aegisrt: error: no host memory for a table\n", stderr);
        return CLI_EXIT_UNAVAILABLE;
    }
    return CLI_EXIT_OK;
}
