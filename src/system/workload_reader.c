/* SPDX-License-Identifier: Apache-2.0 */
#include "system/workload_reader.h"

#include "base/base.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COMPONENT "system.workload"

void aegis_workload_fail(const aegis_workload_section *section,
                         const aegis_toml_node *at,
                         const char *key,
                         aegis_status status,
                         const char *format,
                         ...)
{
    aegis_workload_reader *reader = section->reader;
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    if (reader->status != AEGIS_OK) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (at == NULL) {
        at = section->table;
    }
    reader->status = aegis_error_set(
        reader->err, AEGIS_HERE(COMPONENT), status, "%s:%d:%d: %s%s%s: %s", reader->origin,
        at->line, at->column, section->label, section->label[0] != '\0' ? ": " : "", key, text);
}

static bool is_known(const char *key, const char *const *known, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(key, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static void refuse_key(const aegis_workload_section *section,
                       const aegis_toml_node *child,
                       const char *const *known,
                       size_t count)
{
    /* The place of the key, not that of its value. */
    aegis_toml_node at = {.line = child->key_line, .column = child->key_column};
    const char *nearest = aegis_nearest_word(child->key, known, count);
    char all[320];
    size_t used = 0;
    if (nearest != NULL) {
        aegis_workload_fail(section, &at, child->key, AEGIS_ERROR_CONFIG,
                            "unknown key; did you mean \"%s\"?", nearest);
        return;
    }
    all[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof all; i++) {
        used +=
            (size_t)snprintf(all + used, sizeof all - used, "%s%s", i > 0 ? ", " : "", known[i]);
    }
    aegis_workload_fail(section, &at, child->key, AEGIS_ERROR_CONFIG, "unknown key; known are %s",
                        all);
}

void aegis_workload_check_keys(const aegis_workload_section *section,
                               const char *const *known,
                               size_t count,
                               const aegis_workload_later_key *later)
{
    for (size_t i = 0; i < section->table->child_count; i++) {
        const aegis_toml_node *child = &section->table->children[i];
        bool answered = is_known(child->key, known, count);
        for (size_t k = 0; !answered && later != NULL && later[k].key != NULL; k++) {
            if (strcmp(child->key, later[k].key) == 0) {
                aegis_workload_fail(section, child, child->key, AEGIS_ERROR_UNSUPPORTED,
                                    "not supported by this version; %s", later[k].cure);
                answered = true;
            }
        }
        if (!answered) {
            refuse_key(section, child, known, count);
        }
    }
}

const aegis_toml_node *aegis_workload_get(const aegis_workload_section *section,
                                          const char *key,
                                          aegis_toml_kind kind,
                                          const char *wanted)
{
    if (section->reader->status != AEGIS_OK) {
        return NULL;
    }
    const aegis_toml_node *node = aegis_toml_find(section->table, key);
    if (node != NULL && node->kind != kind) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG, "expected %s, got %s", wanted,
                            aegis_toml_kind_name(node->kind));
        return NULL;
    }
    return node;
}

const aegis_toml_node *aegis_workload_text(const aegis_workload_section *section,
                                           const char *key,
                                           const char *wanted,
                                           const char **ret_value)
{
    const aegis_toml_node *node = aegis_workload_get(section, key, AEGIS_TOML_STRING, wanted);
    if (node == NULL) {
        return NULL;
    }
    if (node->value.text[0] == '\0') {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG, "is empty; write %s", wanted);
        return NULL;
    }
    const char *copy = aegis_workload_copy(section, node->value.text);
    if (copy == NULL) {
        return NULL;
    }
    *ret_value = copy;
    return node;
}

const aegis_toml_node *aegis_workload_choice(const aegis_workload_section *section,
                                             const char *key,
                                             const char *const *names,
                                             size_t count,
                                             int *ret_value)
{
    char wanted[160] = "";
    size_t used = 0;
    for (size_t i = 0; i < count && used < sizeof wanted; i++) {
        used += (size_t)snprintf(wanted + used, sizeof wanted - used, "%s\"%s\"",
                                 i == 0           ? ""
                                 : i + 1 == count ? " or "
                                                  : ", ",
                                 names[i]);
    }
    const aegis_toml_node *node = aegis_workload_get(section, key, AEGIS_TOML_STRING, wanted);
    if (node == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(node->value.text, names[i]) == 0) {
            *ret_value = (int)i;
            return node;
        }
    }
    aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG, "\"%.64s\" is not known; write %s",
                        node->value.text, wanted);
    return NULL;
}

const aegis_toml_node *aegis_workload_integer(const aegis_workload_section *section,
                                              const char *key,
                                              int64_t low,
                                              int64_t high,
                                              int64_t *ret_value)
{
    const aegis_toml_node *node =
        aegis_workload_get(section, key, AEGIS_TOML_INTEGER, "an integer");
    if (node == NULL) {
        return NULL;
    }
    if (node->value.integer < low || node->value.integer > high) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "%" PRId64 " is out of range; write %" PRId64 " to %" PRId64,
                            node->value.integer, low, high);
        return NULL;
    }
    *ret_value = node->value.integer;
    return node;
}

const aegis_toml_node *aegis_workload_number(const aegis_workload_section *section,
                                             const char *key,
                                             double low,
                                             double high,
                                             bool open,
                                             double *ret_value)
{
    const aegis_toml_node *node = aegis_toml_find(section->table, key);
    bool integer = node != NULL && node->kind == AEGIS_TOML_INTEGER;
    node = aegis_workload_get(section, key, integer ? AEGIS_TOML_INTEGER : AEGIS_TOML_FLOAT,
                              "a number");
    if (node == NULL) {
        return NULL;
    }
    double value = integer ? (double)node->value.integer : node->value.number;
    /* Written so that a NaN fails. */
    bool inside = open ? value > low && value < high : value >= low && value <= high;
    if (!inside) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "%g is out of range; write a number %s %g and %g", value,
                            open ? "strictly between" : "between", low, high);
        return NULL;
    }
    *ret_value = value;
    return node;
}

const aegis_toml_node *
aegis_workload_boolean(const aegis_workload_section *section, const char *key, bool *ret_value)
{
    const aegis_toml_node *node =
        aegis_workload_get(section, key, AEGIS_TOML_BOOLEAN, "true or false");
    if (node != NULL) {
        *ret_value = node->value.boolean;
    }
    return node;
}

const aegis_toml_node *aegis_workload_duration(const aegis_workload_section *section,
                                               const char *key,
                                               bool zero_allowed,
                                               uint64_t *ret_ns)
{
    aegis_error error;
    uint64_t ns = 0;
    const aegis_toml_node *node = aegis_workload_get(section, key, AEGIS_TOML_STRING,
                                                     "a duration such as \"200ms\" (a string)");
    if (node == NULL) {
        return NULL;
    }
    if (aegis_parse_duration(node->value.text, &ns, &error) != AEGIS_OK) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG, "%s", error.message);
        return NULL;
    }
    if (ns == 0 && !zero_allowed) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "must be above 0; write a duration such as \"200ms\"");
        return NULL;
    }
    if (ns > AEGIS_WORKLOAD_MAX_DURATION_NS) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "\"%.64s\" is too long for the analysis; write a duration of at most "
                            "366 days",
                            node->value.text);
        return NULL;
    }
    *ret_ns = ns;
    return node;
}

const aegis_toml_node *aegis_workload_size(const aegis_workload_section *section,
                                           const char *key,
                                           uint64_t least,
                                           uint64_t *ret_bytes)
{
    aegis_error error;
    uint64_t bytes = 0;
    const aegis_toml_node *node = aegis_toml_find(section->table, key);
    if (node != NULL && node->kind == AEGIS_TOML_INTEGER && section->reader->status == AEGIS_OK) {
        bytes = node->value.integer < 0 ? 0 : (uint64_t)node->value.integer;
    } else {
        node = aegis_workload_get(section, key, AEGIS_TOML_STRING, "a size such as \"64MiB\"");
        if (node == NULL) {
            return NULL;
        }
        if (aegis_parse_size(node->value.text, &bytes, &error) != AEGIS_OK) {
            aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG, "%s", error.message);
            return NULL;
        }
    }
    if (bytes < least || bytes > AEGIS_WORKLOAD_MAX_SIZE_BYTES) {
        char given[64], smallest[64];
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "%s is out of range; write a size from %s to 256 TiB, such as "
                            "\"64MiB\"",
                            aegis_format_size(bytes, given, sizeof given),
                            aegis_format_size(least, smallest, sizeof smallest));
        return NULL;
    }
    *ret_bytes = bytes;
    return node;
}

const char *aegis_workload_resolve(const aegis_workload_section *section,
                                   const aegis_toml_node *at,
                                   const char *key,
                                   const char *path)
{
    const char *folder = section->reader->folder;
    if (folder == NULL || access(path, F_OK) == 0) {
        return path;
    }
    if (path[0] == '/' || strcmp(folder, ".") == 0) {
        aegis_workload_fail(section, at, key, AEGIS_ERROR_NOT_FOUND,
                            "there is no file %s; correct the path%s", path,
                            path[0] == '/' ? "" : " (it is relative to the working directory)");
        return NULL;
    }
    size_t size = strlen(folder) + strlen(path) + 2;
    char *joined = aegis_workload_take(section, size, 1);
    if (joined == NULL) {
        return NULL;
    }
    snprintf(joined, size, "%s/%s", folder, path);
    if (access(joined, F_OK) != 0) {
        aegis_workload_fail(section, at, key, AEGIS_ERROR_NOT_FOUND,
                            "there is no file %s, neither in the working directory nor in %s; "
                            "correct the path",
                            path, folder);
        return NULL;
    }
    return joined;
}

void *aegis_workload_take(const aegis_workload_section *section, size_t count, size_t size)
{
    void *block = aegis_bump_take(section->reader->bump, count, size);
    if (block == NULL && section->reader->status == AEGIS_OK) {
        section->reader->status =
            aegis_error_set(section->reader->err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                            "%s: no memory for the workload", section->reader->origin);
    }
    return block;
}

const char *aegis_workload_copy(const aegis_workload_section *section, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = aegis_workload_take(section, size, 1);
    return copy == NULL ? NULL : memcpy(copy, text, size);
}
