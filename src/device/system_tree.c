/* SPDX-License-Identifier: Apache-2.0 */
#include "device/system_tree.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool join(const char *root, const char *path, char *ret_full, size_t size)
{
    size_t length = strlen(root);
    const char *separator = length > 0 && root[length - 1] == '/' ? "" : "/";
    while (*path == '/') {
        path++;
    }
    int written = snprintf(ret_full, size, "%s%s%s", root, separator, path);
    return written > 0 && (size_t)written < size;
}

static FILE *open_file(const char *root, const char *path)
{
    char full[AEGIS_TREE_PATH_BYTES];
    return join(root, path, full, sizeof full) ? fopen(full, "re") : NULL;
}

static void trim_end(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && isspace((unsigned char)text[length - 1])) {
        text[--length] = '\0';
    }
}

bool aegis_tree_read(const char *root, const char *path, char *ret_text, size_t size)
{
    FILE *file = open_file(root, path);
    if (file == NULL) {
        return false;
    }
    size_t count = fread(ret_text, 1, size - 1, file);
    bool good = ferror(file) == 0;
    fclose(file);
    ret_text[count] = '\0';
    trim_end(ret_text);
    return good;
}

bool aegis_tree_read_at(const char *root, char *ret_text, size_t size, const char *format, ...)
{
    char path[AEGIS_TREE_PATH_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(path, sizeof path, format, arguments);
    va_end(arguments);
    return written > 0 && (size_t)written < sizeof path &&
           aegis_tree_read(root, path, ret_text, size);
}

bool aegis_tree_number(const char *root, const char *path, int64_t *ret_number)
{
    char text[64], *end;
    if (!aegis_tree_read(root, path, text, sizeof text) || text[0] == '\0') {
        return false;
    }
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0') {
        return false;
    }
    *ret_number = number;
    return true;
}

bool aegis_tree_size(const char *root, const char *path, uint64_t *ret_bytes)
{
    char text[64], *end;
    if (!aegis_tree_read(root, path, text, sizeof text) || !isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (errno != 0 || (shift > 0 ? end[1] != '\0' : *end != '\0') || number > UINT64_MAX >> shift) {
        return false;
    }
    *ret_bytes = (uint64_t)number << shift;
    return true;
}

bool aegis_tree_exists(const char *root, const char *path)
{
    char full[AEGIS_TREE_PATH_BYTES];
    return join(root, path, full, sizeof full) && access(full, F_OK) == 0;
}

/* Where the value begins when `line` is about `key`, else NULL. */
static char *value_of(char *line, const char *key)
{
    size_t length = strlen(key);
    if (strncmp(line, key, length) != 0) {
        return NULL;
    }
    char *value = line + length;
    char next = *value;
    if (next != ':' && next != '=' && next != ' ' && next != '\t') {
        return NULL;
    }
    value += strspn(value, ":= \t");
    return value;
}

bool aegis_tree_field(
    const char *root, const char *path, const char *key, char *ret_text, size_t size)
{
    FILE *file = open_file(root, path);
    if (file == NULL) {
        return false;
    }
    char *line = NULL;
    size_t capacity = 0;
    bool found = false;
    while (!found && getline(&line, &capacity, file) >= 0) {
        char *value = value_of(line, key);
        if (value != NULL) {
            trim_end(value);
            snprintf(ret_text, size, "%s", value);
            found = true;
        }
    }
    free(line);
    fclose(file);
    return found;
}

bool aegis_tree_field_number(const char *root,
                             const char *path,
                             const char *key,
                             uint64_t *ret_number)
{
    char text[64], *end;
    if (!aegis_tree_field(root, path, key, text, sizeof text) || !isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    bool kilo = strcmp(end, " kB") == 0;
    if (errno != 0 || (*end != '\0' && !isspace((unsigned char)*end)) ||
        (kilo && number > UINT64_MAX / 1024)) {
        return false;
    }
    *ret_number = kilo ? number * 1024 : number;
    return true;
}

size_t aegis_tree_numbers(const char *text, uint64_t *ret_numbers, size_t capacity)
{
    size_t count = 0;
    while (count < capacity) {
        char *end;
        text += strspn(text, " \t");
        if (!isdigit((unsigned char)*text)) {
            break;
        }
        errno = 0;
        unsigned long long number = strtoull(text, &end, 10);
        if (errno != 0) {
            break;
        }
        ret_numbers[count++] = number;
        text = end;
    }
    return count;
}

/* A CPU number at *text, which moves behind it. */
static bool parse_cpu(const char **text, long *ret_cpu)
{
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    char *end;
    errno = 0;
    long cpu = strtol(*text, &end, 10);
    *text = end;
    *ret_cpu = cpu;
    return errno == 0 && cpu < AEGIS_CPU_LIMIT;
}

bool aegis_cpu_list_parse(const char *text, aegis_cpu_list *ret_list)
{
    aegis_cpu_list list = {{0}};
    while (*text != '\0') {
        long first, last;
        if (!parse_cpu(&text, &first)) {
            return false;
        }
        last = first;
        if (*text == '-') {
            text++;
            if (!parse_cpu(&text, &last) || last < first) {
                return false;
            }
        }
        for (long cpu = first; cpu <= last; cpu++) {
            list.bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
        }
        if (*text == ',' && text[1] != '\0') {
            text++;
        } else if (*text != '\0') {
            return false;
        }
    }
    *ret_list = list;
    return true;
}

bool aegis_cpu_list_has(const aegis_cpu_list *list, int cpu)
{
    return cpu >= 0 && cpu < AEGIS_CPU_LIMIT && (list->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}

int aegis_cpu_list_count(const aegis_cpu_list *list)
{
    int count = 0;
    for (size_t i = 0; i < AEGIS_CPU_LIMIT / 64; i++) {
        count += __builtin_popcountll(list->bits[i]);
    }
    return count;
}
