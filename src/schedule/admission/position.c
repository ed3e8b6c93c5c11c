/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/admission/position.h"

#include <stdbool.h>
#include <string.h>

/* 0 behind the end, which no token is. */
static char at(aegis_json_text json, size_t offset)
{
    if (offset >= json.size) {
        return '\0';
    }
    return json.text[offset];
}

static size_t skip_space(aegis_json_text json, size_t offset)
{
    while (offset < json.size && strchr(" \t\r\n", json.text[offset]) != NULL) {
        offset++;
    }
    return offset;
}

/* Behind the string whose opening quote is at `offset`. */
static size_t skip_string(aegis_json_text json, size_t offset)
{
    for (offset++; offset < json.size && json.text[offset] != '"'; offset++) {
        offset += json.text[offset] == '\\';
    }
    return offset + 1;
}

/* Behind a value of any kind. */
static size_t skip_value(aegis_json_text json, size_t offset)
{
    size_t depth = 0;
    do {
        char c = at(json, offset);
        if (c == '"') {
            offset = skip_string(json, offset);
        } else if (c == '{' || c == '[') {
            depth++;
            offset++;
        } else if (c == '}' || c == ']') {
            depth--;
            offset++;
        } else {
            offset++;
        }
    } while (offset < json.size && (depth > 0 || strchr(",]} \t\r\n", json.text[offset]) == NULL));
    return offset;
}

/* From a value to the next element or key; false at the end of the container. */
static bool next_item(aegis_json_text json, size_t *offset)
{
    *offset = skip_space(json, *offset);
    bool more = at(json, *offset) == ',';
    *offset = skip_space(json, *offset + 1);
    return more;
}

static size_t find_key(aegis_json_text json, size_t container, const char *key)
{
    size_t length = strlen(key), offset = skip_space(json, container + 1);
    while (at(json, offset) == '"') {
        size_t end = skip_string(json, offset);
        if (end - offset == length + 2 && memcmp(json.text + offset + 1, key, length) == 0) {
            return offset;
        }
        offset = skip_space(json, end);                          /* the colon */
        offset = skip_value(json, skip_space(json, offset + 1)); /* behind the value */
        if (!next_item(json, &offset)) {
            break;
        }
    }
    return container;
}

size_t aegis_json_root(aegis_json_text json)
{
    return skip_space(json, 0);
}

size_t aegis_json_key(aegis_json_text json, size_t container, const char *key)
{
    return find_key(json, container, key);
}

size_t aegis_json_member(aegis_json_text json, size_t container, const char *key)
{
    size_t offset = find_key(json, container, key);
    if (offset == container) {
        return container;
    }
    offset = skip_space(json, skip_string(json, offset));
    return skip_space(json, offset + 1);
}

size_t aegis_json_element(aegis_json_text json, size_t container, size_t index)
{
    size_t offset = skip_space(json, container + 1);
    for (size_t i = 0; i < index; i++) {
        offset = aegis_json_following(json, offset);
    }
    return offset;
}

size_t aegis_json_following(aegis_json_text json, size_t element)
{
    size_t offset = skip_value(json, element);
    next_item(json, &offset);
    return offset;
}

void aegis_json_line_column(aegis_json_text json,
                            size_t offset,
                            size_t *ret_line,
                            size_t *ret_column)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < offset && i < json.size; i++) {
        if (json.text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    *ret_line = line;
    *ret_column = offset - start + 1;
}
