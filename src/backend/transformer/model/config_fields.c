/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/config_fields.h"

#include "backend/transformer/model/key_set.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static aegis_status no_memory(const aegis_config_fields *fields, aegis_error *err)
{
    return aegis_json_pull_fail(&fields->pull, AEGIS_ERROR_NO_MEMORY, err,
                                "no memory for the configuration");
}

static aegis_status add(aegis_config_fields *fields, aegis_config_field **ret, aegis_error *err)
{
    aegis_json_pull *pull = &fields->pull;
    if (fields->count == fields->capacity) {
        size_t capacity = fields->capacity == 0 ? 64 : 2 * fields->capacity;
        aegis_config_field *items = aegis_bump_take(&fields->bump, capacity, sizeof *items);
        if (items == NULL) {
            return no_memory(fields, err);
        }
        if (fields->count > 0) {
            memcpy(items, fields->items, fields->count * sizeof *items);
        }
        fields->items = items;
        fields->capacity = capacity;
    }
    aegis_config_field *field = &fields->items[fields->count];
    *field =
        (aegis_config_field){.key = aegis_bump_text(&fields->bump, pull->text, pull->text_size),
                             .line = pull->line,
                             .column = pull->column};
    if (field->key == NULL) {
        return no_memory(fields, err);
    }
    fields->count++;
    *ret = field;
    return AEGIS_OK;
}

static aegis_status
read_value(aegis_config_fields *fields, aegis_config_field *field, aegis_error *err)
{
    aegis_json_pull *pull = &fields->pull;
    aegis_status status = aegis_json_pull_peek(pull, &field->kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (field->kind == AEGIS_JSON_NUMBER) {
        return aegis_json_pull_number(pull, &field->number, err);
    }
    if (field->kind != AEGIS_JSON_STRING) {
        return aegis_json_pull_skip(pull, err);
    }
    status = aegis_json_pull_string(pull, err);
    if (status == AEGIS_OK) {
        field->text = aegis_bump_text(&fields->bump, pull->text, pull->text_size);
        status = field->text == NULL ? no_memory(fields, err) : AEGIS_OK;
    }
    return status;
}

static aegis_status read_eos_number(aegis_config_fields *fields, aegis_error *err)
{
    double number;
    aegis_status status = aegis_json_pull_number(&fields->pull, &number, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (fields->eos_count == AEGIS_CONFIG_MAX_EOS || number < 0 || floor(number) != number) {
        return aegis_json_pull_fail(&fields->pull, AEGIS_ERROR_CONFIG, err,
                                    "eos_token_id: up to %d ids from 0 are wanted",
                                    AEGIS_CONFIG_MAX_EOS);
    }
    fields->eos[fields->eos_count++] = number;
    return AEGIS_OK;
}

/* A number, null or a list of numbers. */
static aegis_status
read_eos(aegis_config_fields *fields, aegis_config_field *field, aegis_error *err)
{
    aegis_json_pull *pull = &fields->pull;
    bool more;
    aegis_status status = aegis_json_pull_peek(pull, &field->kind, err);
    if (status != AEGIS_OK || field->kind == AEGIS_JSON_NULL) {
        return status == AEGIS_OK ? aegis_json_pull_null(pull, err) : status;
    }
    if (field->kind != AEGIS_JSON_ARRAY) {
        return read_eos_number(fields, err);
    }
    status = aegis_json_pull_array(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_item(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_eos_number(fields, err);
    }
    return status;
}

static aegis_status
read_keys(aegis_config_fields *fields, aegis_key_set *keys, bool top, aegis_error *err);

/* What later versions of transformers write instead of rope_theta and rope_scaling: the members are
 * read as if they stood outside. */
static aegis_status
read_rope_parameters(aegis_config_fields *fields, aegis_key_set *keys, aegis_error *err)
{
    aegis_json_kind kind;
    aegis_status status = aegis_json_pull_peek(&fields->pull, &kind, err);
    if (status == AEGIS_OK && kind == AEGIS_JSON_NULL) {
        return aegis_json_pull_null(&fields->pull, err);
    }
    return status == AEGIS_OK ? read_keys(fields, keys, false, err) : status;
}

static aegis_status
read_keys(aegis_config_fields *fields, aegis_key_set *keys, bool top, aegis_error *err)
{
    aegis_json_pull *pull = &fields->pull;
    bool more;
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        aegis_config_field *field = NULL;
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = aegis_key_set_add(keys, pull, err);
        if (status == AEGIS_OK) {
            status = add(fields, &field, err);
        }
        if (status != AEGIS_OK || field == NULL) {
            break;
        }
        if (top && strcmp(field->key, "rope_parameters") == 0) {
            status = read_rope_parameters(fields, keys, err);
        } else if (strcmp(field->key, "eos_token_id") == 0) {
            status = read_eos(fields, field, err);
        } else {
            status = read_value(fields, field, err);
        }
    }
    return status;
}

aegis_status aegis_config_fields_read(aegis_config_fields *fields,
                                      const char *text,
                                      size_t size,
                                      const char *origin,
                                      const aegis_allocator *allocator,
                                      aegis_error *err)
{
    aegis_key_set keys;
    *fields = (aegis_config_fields){0};
    aegis_json_pull_init(&fields->pull, text, size, origin, allocator);
    aegis_bump_init(&fields->bump, allocator);
    aegis_key_set_init(&keys, allocator);
    aegis_status status = read_keys(fields, &keys, true, err);
    if (status == AEGIS_OK) {
        status = aegis_json_pull_end(&fields->pull, err);
    }
    aegis_key_set_finish(&keys);
    return status;
}

void aegis_config_fields_finish(aegis_config_fields *fields)
{
    aegis_json_pull_finish(&fields->pull);
    aegis_bump_finish(&fields->bump);
}

static const aegis_config_field *find(const aegis_config_fields *fields, const char *key)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (strcmp(fields->items[i].key, key) == 0) {
            return &fields->items[i];
        }
    }
    return NULL;
}

/* NULL for null as well. */
static const aegis_config_field *value_of(const aegis_config_fields *fields, const char *key)
{
    const aegis_config_field *field = find(fields, key);
    return field == NULL || field->kind == AEGIS_JSON_NULL ? NULL : field;
}

bool aegis_config_has(const aegis_config_fields *fields, const char *key)
{
    return value_of(fields, key) != NULL;
}

aegis_status aegis_config_fail(aegis_config_fields *fields,
                               const char *key,
                               aegis_status status,
                               aegis_error *err,
                               const char *format,
                               ...)
{
    char text[AEGIS_ERROR_MESSAGE_BYTES];
    const aegis_config_field *field = find(fields, key);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fields->pull.line = field == NULL ? 1 : field->line;
    fields->pull.column = field == NULL ? 1 : field->column;
    return aegis_json_pull_fail(&fields->pull, status, err, "%s: %s", key, text);
}

static aegis_status missing(aegis_config_fields *fields, const char *key, aegis_error *err)
{
    return aegis_config_fail(fields, key, AEGIS_ERROR_CONFIG, err,
                             "the key is missing; fetch the model's own config.json");
}

static aegis_status wrong_kind(aegis_config_fields *fields,
                               const aegis_config_field *field,
                               const char *wanted,
                               aegis_error *err)
{
    return aegis_config_fail(fields, field->key, AEGIS_ERROR_CONFIG, err, "%s is wanted, not %s",
                             wanted, aegis_json_kind_name(field->kind));
}

aegis_status aegis_config_text(aegis_config_fields *fields,
                               const char *key,
                               const char *fallback,
                               const char **ret,
                               aegis_error *err)
{
    const aegis_config_field *field = value_of(fields, key);
    if (field == NULL && fallback == NULL) {
        return missing(fields, key, err);
    }
    if (field != NULL && field->kind != AEGIS_JSON_STRING) {
        return wrong_kind(fields, field, "a string", err);
    }
    *ret = field == NULL ? fallback : field->text;
    return AEGIS_OK;
}

aegis_status aegis_config_number(aegis_config_fields *fields,
                                 const char *key,
                                 double least,
                                 double most,
                                 double fallback,
                                 double *ret,
                                 aegis_error *err)
{
    const aegis_config_field *field = value_of(fields, key);
    if (field == NULL && fallback < least) {
        return missing(fields, key, err);
    }
    if (field != NULL && field->kind != AEGIS_JSON_NUMBER) {
        return wrong_kind(fields, field, "a number", err);
    }
    if (field != NULL && !(field->number >= least && field->number <= most)) {
        return aegis_config_fail(fields, key, AEGIS_ERROR_CONFIG, err,
                                 "%.17g is outside [%.17g, %.17g]", field->number, least, most);
    }
    *ret = field == NULL ? fallback : field->number;
    return AEGIS_OK;
}

aegis_status aegis_config_whole(aegis_config_fields *fields,
                                const char *key,
                                double least,
                                double most,
                                double fallback,
                                double *ret,
                                aegis_error *err)
{
    double number = 0;
    aegis_status status = aegis_config_number(fields, key, least, most, fallback, &number, err);
    if (status == AEGIS_OK && floor(number) != number) {
        status = aegis_config_fail(fields, key, AEGIS_ERROR_CONFIG, err,
                                   "%.17g is not a whole number", number);
    }
    if (status == AEGIS_OK) {
        *ret = number;
    }
    return status;
}

aegis_status aegis_config_boolean(
    aegis_config_fields *fields, const char *key, bool fallback, bool *ret, aegis_error *err)
{
    const aegis_config_field *field = value_of(fields, key);
    if (field != NULL && field->kind != AEGIS_JSON_TRUE && field->kind != AEGIS_JSON_FALSE) {
        return wrong_kind(fields, field, "true or false", err);
    }
    *ret = field == NULL ? fallback : field->kind == AEGIS_JSON_TRUE;
    return AEGIS_OK;
}

static bool is_only(const aegis_config_field *field, aegis_config_only only)
{
    switch (only) {
    case AEGIS_CONFIG_NULL:
        return false;
    case AEGIS_CONFIG_FALSE:
        return field->kind == AEGIS_JSON_FALSE;
    case AEGIS_CONFIG_TRUE:
        return field->kind == AEGIS_JSON_TRUE;
    case AEGIS_CONFIG_ONE:
        return field->kind == AEGIS_JSON_NUMBER && field->number == 1;
    case AEGIS_CONFIG_DEFAULT:
        return field->kind == AEGIS_JSON_STRING && strcmp(field->text, "default") == 0;
    }
    return false;
}

aegis_status aegis_config_check_fixed(aegis_config_fields *fields,
                                      const aegis_config_fixed *fixed,
                                      size_t count,
                                      aegis_error *err)
{
    static const char *const words[] = {"null", "false", "true", "1", "\"default\""};
    for (size_t i = 0; i < count; i++) {
        const aegis_config_field *field = value_of(fields, fixed[i].key);
        if (field != NULL && !is_only(field, fixed[i].only)) {
            return aegis_config_fail(fields, fixed[i].key, AEGIS_ERROR_UNSUPPORTED, err,
                                     "only %s is supported; take a model without it",
                                     words[fixed[i].only]);
        }
    }
    return AEGIS_OK;
}
