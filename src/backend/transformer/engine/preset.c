/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/engine/preset.h"

#include "base/base.h"
#include "base/toml.h"

#include <aegisrt/transformer.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HERE AEGIS_HERE("transformer.preset")

typedef enum preset_kind {
    PRESET_TEXT,
    PRESET_SIZE,
    PRESET_COUNT,
    PRESET_LARGE, /* 64 bits */
    PRESET_NUMBER,
    PRESET_CACHE
} preset_kind;

typedef struct preset_key {
    const char *table, *key;
    preset_kind kind;
    size_t offset; /* in the preset */
} preset_key;

#define CONFIG_OF(member) offsetof(aegis_transformer_preset, config.member)
#define REQUEST_OF(member) offsetof(aegis_transformer_preset, request.member)

static const preset_key keys[] = {
    {"model", "path", PRESET_TEXT, CONFIG_OF(model)},
    {"memory", "budget", PRESET_SIZE, CONFIG_OF(budget_bytes)},
    {"memory", "kv_cache", PRESET_CACHE, CONFIG_OF(half_cache)},
    {"memory", "context", PRESET_COUNT, CONFIG_OF(context_tokens)},
    {"memory", "batch", PRESET_COUNT, CONFIG_OF(sequences)},
    {"plan", "strategy", PRESET_TEXT, CONFIG_OF(strategy)},
    {"compute", "threads", PRESET_COUNT, CONFIG_OF(threads)},
    {"compute", "instructions", PRESET_TEXT, CONFIG_OF(instructions)},
    {"compute", "products", PRESET_TEXT, CONFIG_OF(products)},
    {"compute", "prefill_rows", PRESET_COUNT, CONFIG_OF(prefill_rows)},
    {"generate", "max_tokens", PRESET_COUNT, REQUEST_OF(max_tokens)},
    {"generate", "temperature", PRESET_NUMBER, REQUEST_OF(temperature)},
    {"generate", "top_k", PRESET_COUNT, REQUEST_OF(top_k)},
    {"generate", "top_p", PRESET_NUMBER, REQUEST_OF(top_p)},
    {"generate", "seed", PRESET_LARGE, REQUEST_OF(seed)},
    {"generate", "draft_tokens", PRESET_COUNT, CONFIG_OF(draft_tokens)},
};

typedef struct preset_reader {
    const char *path;
    aegis_transformer_preset *preset;
    aegis_error *err;
} preset_reader;

static aegis_status
say(const preset_reader *reader, const aegis_toml_node *node, const char *wanted)
{
    return aegis_error_set(reader->err, HERE, AEGIS_ERROR_CONFIG, "%s:%d:%d: %s: %s", reader->path,
                           node->line, node->column, node->key, wanted);
}

/* "known are model, memory, ..."; tables stand once for each of their keys. */
static void list_known(const char *const *names, size_t count, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "known are ");
    for (size_t i = 0; i < count && used < size; i++) {
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0) {
            used +=
                (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? "" : ", ", names[i]);
        }
    }
}

static aegis_status
unknown(const preset_reader *reader, const aegis_toml_node *node, const char *table)
{
    const char *names[AEGIS_ARRAY_LENGTH(keys)];
    size_t count = 0;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
        if (table == NULL) {
            names[count++] = keys[i].table;
        } else if (strcmp(keys[i].table, table) == 0) {
            names[count++] = keys[i].key;
        }
    }
    const char *near = aegis_nearest_word(node->key, names, count);
    char cure[192];
    if (near != NULL) {
        snprintf(cure, sizeof cure, "did you mean \"%s\"?", near);
    } else {
        list_known(names, count, cure, sizeof cure);
    }
    return aegis_error_set(reader->err, HERE, AEGIS_ERROR_CONFIG, "%s:%d:%d: unknown %s \"%s\"; %s",
                           reader->path, node->key_line, node->key_column,
                           table == NULL ? "table" : "key", node->key, cure);
}

static aegis_status take_text(const preset_reader *reader, const aegis_toml_node *node, void *to)
{
    if (node->kind != AEGIS_TOML_STRING) {
        return say(reader, node, "write a text");
    }
    char *copy = aegis_copy_text(&reader->preset->allocator, node->value.text);
    if (copy == NULL) {
        return aegis_error_set(reader->err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for a preset");
    }
    const char *text = copy;
    memcpy(to, &text, sizeof text);
    return AEGIS_OK;
}

static aegis_status take_size(const preset_reader *reader, const aegis_toml_node *node, void *to)
{
    aegis_error error;
    uint64_t bytes;
    if (node->kind != AEGIS_TOML_STRING) {
        return say(reader, node, "write a size as text, for example \"512MiB\"");
    }
    if (aegis_parse_size(node->value.text, &bytes, &error) != AEGIS_OK) {
        return say(reader, node, error.message);
    }
    memcpy(to, &bytes, sizeof bytes);
    return AEGIS_OK;
}

static aegis_status
take_integer(const preset_reader *reader, const aegis_toml_node *node, bool large, void *to)
{
    if (node->kind != AEGIS_TOML_INTEGER || node->value.integer < 0 ||
        (!large && node->value.integer > UINT32_MAX)) {
        return say(reader, node, "write a whole number that is not negative");
    }
    const uint64_t wide = (uint64_t)node->value.integer;
    const uint32_t narrow = (uint32_t)wide;
    memcpy(to, large ? (const void *)&wide : (const void *)&narrow,
           large ? sizeof wide : sizeof narrow);
    return AEGIS_OK;
}

static aegis_status take_number(const preset_reader *reader, const aegis_toml_node *node, void *to)
{
    const double value = node->kind == AEGIS_TOML_FLOAT     ? node->value.number
                         : node->kind == AEGIS_TOML_INTEGER ? (double)node->value.integer
                                                            : -1;
    if (!(value >= 0 && value <= 1e6)) {
        return say(reader, node, "write a number from 0 on");
    }
    memcpy(to, &value, sizeof value);
    return AEGIS_OK;
}

static aegis_status take_cache(const preset_reader *reader, const aegis_toml_node *node, void *to)
{
    const char *text = node->kind == AEGIS_TOML_STRING ? node->value.text : "";
    const bool half = strcmp(text, "f16") == 0;
    if (!half && strcmp(text, "f32") != 0) {
        return say(reader, node, "write \"f32\" or \"f16\"");
    }
    memcpy(to, &half, sizeof half);
    return AEGIS_OK;
}

static aegis_status
take_value(const preset_reader *reader, const aegis_toml_node *node, const char *table)
{
    const preset_key *key = NULL;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
        if (strcmp(keys[i].table, table) == 0 && strcmp(keys[i].key, node->key) == 0) {
            key = &keys[i];
        }
    }
    if (key == NULL) {
        return unknown(reader, node, table);
    }
    void *to = (char *)reader->preset + key->offset;
    switch (key->kind) {
    case PRESET_TEXT:
        return take_text(reader, node, to);
    case PRESET_SIZE:
        return take_size(reader, node, to);
    case PRESET_COUNT:
        return take_integer(reader, node, false, to);
    case PRESET_LARGE:
        return take_integer(reader, node, true, to);
    case PRESET_NUMBER:
        return take_number(reader, node, to);
    case PRESET_CACHE:
        return take_cache(reader, node, to);
    }
    return AEGIS_OK;
}

static bool is_table(const char *name)
{
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
        if (strcmp(keys[i].table, name) == 0) {
            return true;
        }
    }
    return false;
}

static aegis_status take_tables(const preset_reader *reader, const aegis_toml_node *root)
{
    aegis_status status = AEGIS_OK;
    for (size_t t = 0; status == AEGIS_OK && t < root->child_count; t++) {
        const aegis_toml_node *table = &root->children[t];
        if (!is_table(table->key)) {
            return unknown(reader, table, NULL);
        }
        if (table->kind != AEGIS_TOML_TABLE) {
            return say(reader, table, "is a table: write [name] on a line of its own");
        }
        for (size_t i = 0; status == AEGIS_OK && i < table->child_count; i++) {
            status = take_value(reader, &table->children[i], table->key);
        }
    }
    return status;
}

aegis_status aegis_preset_parse(const char *text,
                                size_t size,
                                const char *origin,
                                const aegis_allocator *allocator,
                                aegis_transformer_preset *ret_preset,
                                aegis_error *err)
{
    aegis_transformer_preset preset = {.allocator = *allocator};
    const preset_reader reader = {origin, &preset, err};
    aegis_toml *document = NULL;
    aegis_status status = aegis_toml_parse(text, size, origin, allocator, &document, err);
    if (status == AEGIS_OK) {
        status = take_tables(&reader, aegis_toml_root(document));
        aegis_toml_free(document);
    }
    if (status != AEGIS_OK) {
        aegis_transformer_preset_finish(&preset);
        return status;
    }
    *ret_preset = preset;
    return AEGIS_OK;
}

aegis_status aegis_transformer_preset_load(const char *path,
                                           const aegis_allocator *allocator,
                                           aegis_transformer_preset *ret_preset,
                                           aegis_error *err)
{
    char *text = NULL;
    size_t size = 0;
    aegis_status status = aegis_file_read(path, AEGIS_TOML_MAX_BYTES, allocator, &text, &size, err);
    if (status == AEGIS_OK) {
        status = aegis_preset_parse(text, size, path, allocator, ret_preset, err);
        aegis_file_free(allocator, text, size);
    }
    return status;
}

void aegis_transformer_preset_finish(aegis_transformer_preset *preset)
{
    const char *const texts[] = {preset->config.model, preset->config.strategy,
                                 preset->config.instructions, preset->config.products};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(texts); i++) {
        if (texts[i] != NULL) {
            aegis_free_text(&preset->allocator, (char *)(uintptr_t)texts[i]);
        }
    }
    *preset = (aegis_transformer_preset){0};
}
