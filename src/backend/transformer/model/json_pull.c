/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/json_pull_internal.h"

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

aegis_status
aegis_json_pull_peek(aegis_json_pull *pull, aegis_json_kind *ret_kind, aegis_error *err)
{
    int byte;
    aegis_status status = aegis_json_look_past_space(pull, &byte, err);
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_json_mark(pull);
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
        return aegis_json_fail_here(pull, err, "the text ends where a value should be");
    default:
        if (byte == '-' || (byte >= '0' && byte <= '9')) {
            *ret_kind = AEGIS_JSON_NUMBER;
            return AEGIS_OK;
        }
        return aegis_json_fail_here(pull, err, "no value begins like this");
    }
}

aegis_status aegis_json_expect(aegis_json_pull *pull, aegis_json_kind kind, aegis_error *err)
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
    aegis_status status = aegis_json_expect(pull, kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (pull->depth == AEGIS_JSON_PULL_DEPTH) {
        return aegis_json_fail_here(pull, err, "nested deeper than 64 levels");
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
    aegis_status status = aegis_json_look_past_space(pull, &byte, err);
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
        return aegis_json_fail_here(
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
        status = aegis_json_expect(pull, AEGIS_JSON_STRING, err);
    }
    if (status == AEGIS_OK && more) {
        status = aegis_json_read_string(pull, err);
    }
    if (status == AEGIS_OK && more) {
        status = aegis_json_look_past_space(pull, &byte, err);
        if (status == AEGIS_OK && byte != ':') {
            status = aegis_json_fail_here(pull, err, "':' is wanted behind a key");
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
    aegis_status status = aegis_json_expect(pull, AEGIS_JSON_STRING, err);
    return status == AEGIS_OK ? aegis_json_read_string(pull, err) : status;
}

static aegis_status read_word(aegis_json_pull *pull, const char *word, aegis_error *err)
{
    for (; *word != '\0'; word++) {
        int byte;
        aegis_status status = aegis_json_look(pull, &byte, err);
        if (status != AEGIS_OK) {
            return status;
        }
        if (byte != *word) {
            return aegis_json_fail_here(pull, err, "no value is written like this");
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
    aegis_status status = aegis_json_expect(pull, AEGIS_JSON_NULL, err);
    return status == AEGIS_OK ? read_word(pull, "null", err) : status;
}

/* A value without members, or into one that has some. */
static aegis_status skip_one(aegis_json_pull *pull, aegis_error *err)
{
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
        return aegis_json_read_string(pull, err);
    case AEGIS_JSON_NUMBER:
        return aegis_json_skip_number(pull, err);
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
    aegis_status status = aegis_json_look_past_space(pull, &byte, err);
    if (status == AEGIS_OK && byte >= 0) {
        status = aegis_json_fail_here(pull, err, "something stands behind the end of the document");
    }
    return status;
}
