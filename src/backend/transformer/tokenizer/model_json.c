/* SPDX-License-Identifier: Apache-2.0 */
/* The member "model" of a tokenizer.json: BPE with its vocabulary and merges. */
#include "backend/transformer/tokenizer/tokenizer_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A merge's two texts, joined. */
#define PAIR_BYTES 4096

aegis_status aegis_tokenizer_read_id(aegis_json_pull *pull, uint32_t *ret_id, aegis_error *err)
{
    uint64_t id;
    aegis_status status = aegis_json_pull_unsigned(pull, &id, err);
    if (status == AEGIS_OK && id >= AEGIS_TOKENIZER_MAX_ID) {
        status =
            aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                 "the id %" PRIu64 " is not below %u", id, AEGIS_TOKENIZER_MAX_ID);
    }
    if (status == AEGIS_OK) {
        *ret_id = (uint32_t)id;
    }
    return status;
}

/* "token": id. The text has to be kept while the id is read. */
static aegis_status
read_token(aegis_tokenizer_reader *reader, char **text, size_t *room, aegis_error *err)
{
    aegis_json_pull *pull = &reader->pull;
    const aegis_allocator *allocator = &reader->tokenizer->allocator;
    size_t size = pull->text_size;
    uint64_t line = pull->line, column = pull->column;
    if (size > *room) {
        aegis_deallocate(allocator, *text, *room, 1);
        *room = 0;
        *text = aegis_allocate_zeroed(allocator, 2 * size, 1);
        if (*text == NULL) {
            return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err,
                                        "no memory for a token of %zu bytes", size);
        }
        *room = 2 * size;
    }
    if (size > 0) {
        memcpy(*text, pull->text, size);
    }
    uint32_t id;
    aegis_error why = {0};
    aegis_status status = aegis_tokenizer_read_id(pull, &id, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_vocabulary_add(&reader->tokenizer->vocabulary, size > 0 ? *text : "", size, id,
                                  true, &why);
    if (status != AEGIS_OK) {
        pull->line = line;
        pull->column = column;
        status = status == AEGIS_ERROR_EXISTS ? AEGIS_ERROR_PARSE : status;
        return aegis_json_pull_fail(pull, status, err, "vocab: %s", why.message);
    }
    return AEGIS_OK;
}

static aegis_status read_vocabulary(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_json_pull *pull = &reader->pull;
    char *text = NULL;
    size_t room = 0;
    bool more;
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_token(reader, &text, &room, err);
    }
    aegis_deallocate(&reader->tokenizer->allocator, text, room, 1);
    reader->has_vocabulary = true;
    return status;
}

/* A pair of texts, one behind the other. */
typedef struct pair {
    char text[PAIR_BYTES];
    size_t left, size; /* bytes of the left one and of both */
} pair;

static aegis_status add_half(aegis_json_pull *pull, pair *joined, aegis_error *err)
{
    aegis_status status = aegis_json_pull_string(pull, err);
    if (status == AEGIS_OK && pull->text_size > PAIR_BYTES - joined->size) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                      "merges: texts of more than %d bytes", PAIR_BYTES);
    }
    if (status == AEGIS_OK) {
        memcpy(joined->text + joined->size, pull->text, pull->text_size);
        joined->size += pull->text_size;
    }
    return status;
}

/* ["a", "b"] */
static aegis_status read_pair_array(aegis_json_pull *pull, pair *joined, aegis_error *err)
{
    bool more = true;
    aegis_status status = aegis_json_pull_array(pull, err);
    for (int i = 0; i < 2 && status == AEGIS_OK; i++) {
        status = aegis_json_pull_item(pull, &more, err);
        if (status == AEGIS_OK && more) {
            joined->left = joined->size;
            status = add_half(pull, joined, err);
        }
    }
    if (status == AEGIS_OK && more) {
        status = aegis_json_pull_item(pull, &more, err);
        more = !more;
    }
    if (status == AEGIS_OK && !more) {
        status = aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "a merge has two texts");
    }
    return status;
}

/* "a b": one space, which no byte-level token holds. */
static aegis_status read_pair_text(aegis_json_pull *pull, pair *joined, aegis_error *err)
{
    aegis_status status = add_half(pull, joined, err);
    if (status != AEGIS_OK) {
        return status;
    }
    char *space = memchr(joined->text, ' ', joined->size);
    size_t rest = space == NULL ? 0 : joined->size - (size_t)(space - joined->text) - 1;
    if (space == NULL || memchr(space + 1, ' ', rest) != NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err,
                                    "merge \"%.80s\" is not two texts with one space between",
                                    pull->text);
    }
    memmove(space, space + 1, rest);
    joined->left = (size_t)(space - joined->text);
    joined->size--;
    return AEGIS_OK;
}

static aegis_status read_merge(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_json_pull *pull = &reader->pull;
    aegis_vocabulary *vocabulary = &reader->tokenizer->vocabulary;
    pair joined;
    aegis_json_kind kind;
    joined.left = joined.size = 0;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    if (status == AEGIS_OK) {
        status = kind == AEGIS_JSON_ARRAY ? read_pair_array(pull, &joined, err)
                                          : read_pair_text(pull, &joined, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_merge merge = {
        aegis_vocabulary_find(vocabulary, joined.text, joined.left),
        aegis_vocabulary_find(vocabulary, joined.text + joined.left, joined.size - joined.left),
        aegis_vocabulary_find(vocabulary, joined.text, joined.size)};
    if (merge.left == AEGIS_NO_TOKEN || merge.right == AEGIS_NO_TOKEN ||
        merge.result == AEGIS_NO_TOKEN) {
        return aegis_json_pull_fail(
            pull, AEGIS_ERROR_PARSE, err,
            "merge of \"%.*s\" and \"%.*s\": the vocabulary lacks one of "
            "them or the two joined",
            (int)(joined.left < 60 ? joined.left : 60), joined.text,
            (int)(joined.size - joined.left < 60 ? joined.size - joined.left : 60),
            joined.text + joined.left);
    }
    return aegis_vocabulary_add_merge(vocabulary, &merge, err);
}

static aegis_status read_merges(aegis_tokenizer_reader *reader, aegis_error *err)
{
    bool more;
    aegis_status status = aegis_json_pull_array(&reader->pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_item(&reader->pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_merge(reader, err);
    }
    return status;
}

static aegis_status read_type(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_status status = aegis_json_pull_string(&reader->pull, err);
    if (status == AEGIS_OK && strcmp(reader->pull.text, "BPE") != 0) {
        status =
            aegis_json_pull_fail(&reader->pull, AEGIS_ERROR_UNSUPPORTED, err,
                                 "model \"%.40s\" is not supported; BPE is", reader->pull.text);
    }
    return status;
}

static aegis_status read_unknown(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_json_kind kind;
    aegis_status status = aegis_json_pull_peek(&reader->pull, &kind, err);
    if (status == AEGIS_OK && kind == AEGIS_JSON_NULL) {
        return aegis_json_pull_null(&reader->pull, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_json_pull_string(&reader->pull, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    if (reader->pull.text_size >= sizeof reader->unknown) {
        return aegis_json_pull_fail(&reader->pull, AEGIS_ERROR_UNSUPPORTED, err,
                                    "an unk_token of more than %zu bytes",
                                    sizeof reader->unknown - 1);
    }
    memcpy(reader->unknown, reader->pull.text, reader->pull.text_size + 1);
    return AEGIS_OK;
}

/* Members that must say nothing: null, "" or zero. */
static aegis_status read_nothing(aegis_tokenizer_reader *reader, const char *name, aegis_error *err)
{
    aegis_json_pull *pull = &reader->pull;
    aegis_json_kind kind;
    double number = 0;
    bool nothing = true;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (kind == AEGIS_JSON_NULL) {
        return aegis_json_pull_null(pull, err);
    }
    if (kind == AEGIS_JSON_NUMBER) {
        status = aegis_json_pull_number(pull, &number, err);
        nothing = number == 0;
    } else {
        status = aegis_json_pull_string(pull, err);
        nothing = pull->text_size == 0;
    }
    if (status == AEGIS_OK && !nothing) {
        status =
            aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err, "%s is not supported", name);
    }
    return status;
}

static aegis_status read_model_member(void *opaque, const char *key, aegis_error *err)
{
    static const char *const nothings[] = {"dropout", "continuing_subword_prefix",
                                           "end_of_word_suffix"};
    aegis_tokenizer_reader *reader = opaque;
    aegis_json_pull *pull = &reader->pull;
    bool fallback = false;
    if (strcmp(key, "merges") == 0) {
        reader->merges_wait = !reader->has_vocabulary;
        return reader->merges_wait ? aegis_json_pull_skip(pull, err) : read_merges(reader, err);
    }
    if (reader->merges_only) {
        return aegis_json_pull_skip(pull, err);
    }
    if (strcmp(key, "vocab") == 0) {
        return read_vocabulary(reader, err);
    }
    if (strcmp(key, "type") == 0) {
        return read_type(reader, err);
    }
    if (strcmp(key, "unk_token") == 0) {
        return read_unknown(reader, err);
    }
    if (strcmp(key, "fuse_unk") == 0) {
        return aegis_json_pull_boolean(pull, &reader->tokenizer->fuse_unknown, err);
    }
    if (strcmp(key, "ignore_merges") == 0) {
        return aegis_json_pull_boolean(pull, &reader->tokenizer->ignore_merges, err);
    }
    if (strcmp(key, "byte_fallback") == 0) {
        aegis_status status = aegis_json_pull_boolean(pull, &fallback, err);
        return status == AEGIS_OK && fallback
                   ? aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                          "byte_fallback is not supported")
                   : status;
    }
    for (size_t i = 0; i < sizeof nothings / sizeof *nothings; i++) {
        if (strcmp(key, nothings[i]) == 0) {
            return read_nothing(reader, nothings[i], err);
        }
    }
    return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                "model: the member \"%.40s\" is not known", key);
}

aegis_status aegis_tokenizer_read_model(aegis_tokenizer_reader *reader, aegis_error *err)
{
    return aegis_tokenizer_keys(&reader->pull, &reader->tokenizer->allocator, read_model_member,
                                reader, err);
}
