/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tokenizer/tokenizer.h"

#include "backend/transformer/tokenizer/tokenizer_internal.h"
#include "backend/transformer/tokenizer/utf8.h"
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPONENT "transformer.tokenizer"

void aegis_token_list_init(aegis_token_list *list, const aegis_allocator *allocator)
{
    *list = (aegis_token_list){.allocator = *allocator};
}

void aegis_token_list_finish(aegis_token_list *list)
{
    if (list->ids != NULL) {
        aegis_deallocate(&list->allocator, list->ids, list->capacity, sizeof *list->ids);
    }
    list->ids = NULL;
    list->count = list->capacity = 0;
}

aegis_status aegis_token_list_add(aegis_token_list *list, uint32_t id, aegis_error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : 2 * list->capacity;
        uint32_t *ids = aegis_allocate_zeroed(&list->allocator, capacity, sizeof *ids);
        if (ids == NULL) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                                   "no memory for %zu tokens", capacity);
        }
        if (list->count > 0) {
            memcpy(ids, list->ids, list->count * sizeof *ids);
        }
        aegis_deallocate(&list->allocator, list->ids, list->capacity, sizeof *ids);
        list->ids = ids;
        list->capacity = capacity;
    }
    list->ids[list->count++] = id;
    return AEGIS_OK;
}

static aegis_status create(int fd,
                           const char *text,
                           uint64_t size,
                           const char *origin,
                           const aegis_allocator *allocator,
                           aegis_tokenizer **ret_tokenizer,
                           aegis_error *err)
{
    aegis_tokenizer *tokenizer = aegis_allocate_zeroed(allocator, 1, sizeof *tokenizer);
    if (tokenizer == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a tokenizer");
    }
    tokenizer->allocator = *allocator;
    tokenizer->unknown = AEGIS_NO_TOKEN;
    aegis_bump_init(&tokenizer->bump, allocator);
    aegis_vocabulary_init(&tokenizer->vocabulary, allocator);
    aegis_status status = aegis_tokenizer_read(tokenizer, fd, text, size, origin, err);
    if (status == AEGIS_OK) {
        status = aegis_word_patterns_create(allocator, &tokenizer->patterns, err);
    }
    if (status != AEGIS_OK) {
        aegis_tokenizer_destroy(tokenizer);
        return status;
    }
    *ret_tokenizer = tokenizer;
    return AEGIS_OK;
}

aegis_status aegis_tokenizer_parse(const char *text,
                                   size_t size,
                                   const char *origin,
                                   const aegis_allocator *allocator,
                                   aegis_tokenizer **ret_tokenizer,
                                   aegis_error *err)
{
    return create(-1, text, size, origin, allocator, ret_tokenizer, err);
}

aegis_status aegis_tokenizer_open(const char *path,
                                  const aegis_allocator *allocator,
                                  aegis_tokenizer **ret_tokenizer,
                                  aegis_error *err)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        int code = errno;
        aegis_status status = code == ENOENT || code == ENOTDIR ? AEGIS_ERROR_NOT_FOUND
                              : code == EACCES || code == EPERM ? AEGIS_ERROR_PERMISSION
                                                                : AEGIS_ERROR_IO;
        return aegis_error_set_native(
            err, AEGIS_HERE(COMPONENT), status, code, "cannot open the tokenizer %s: %s%s", path,
            strerror(code),
            status == AEGIS_ERROR_NOT_FOUND ? "; a model in Hugging Face's layout has one" : "");
    }
    aegis_status status;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_IO,
                                 "%s is not a regular file", path);
    } else if ((uint64_t)info.st_size > AEGIS_TOKENIZER_FILE_LIMIT) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                                 "%s has %" PRIu64 " bytes, more than the %" PRIu64
                                 " of a tokenizer.json",
                                 path, (uint64_t)info.st_size, AEGIS_TOKENIZER_FILE_LIMIT);
    } else {
        status = create(fd, NULL, (uint64_t)info.st_size, path, allocator, ret_tokenizer, err);
    }
    close(fd);
    return status;
}

void aegis_tokenizer_destroy(aegis_tokenizer *tokenizer)
{
    if (tokenizer != NULL) {
        aegis_allocator allocator = tokenizer->allocator;
        aegis_word_patterns_destroy(tokenizer->patterns);
        aegis_vocabulary_finish(&tokenizer->vocabulary);
        aegis_bump_finish(&tokenizer->bump);
        aegis_deallocate(&allocator, tokenizer, 1, sizeof *tokenizer);
    }
}

uint32_t aegis_tokenizer_size(const aegis_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.size;
}

size_t aegis_tokenizer_memory(const aegis_tokenizer *tokenizer)
{
    size_t total = sizeof *tokenizer + aegis_vocabulary_memory(&tokenizer->vocabulary) +
                   aegis_word_patterns_memory(tokenizer->patterns) +
                   2 * tokenizer->added_capacity * sizeof *tokenizer->added; /* grown by doubling */
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        total += tokenizer->added[i].size + 1;
    }
    return total;
}

bool aegis_tokenizer_find(const aegis_tokenizer *tokenizer,
                          const char *text,
                          size_t size,
                          uint32_t *ret_id)
{
    const aegis_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (uint32_t i = 0; i < tokenizer->added_count; i++) {
        const aegis_added_token *added = &tokenizer->added[i];
        if (added->size == size && memcmp(added->text, text, size) == 0) {
            *ret_id = added->id;
            return true;
        }
    }
    for (uint32_t id = 0; id < vocabulary->size; id++) {
        const aegis_token *token = &vocabulary->tokens[id];
        if (token->present && !token->added && token->size == size &&
            memcmp(vocabulary->pool + token->offset, text, size) == 0) {
            *ret_id = id;
            return true;
        }
    }
    return false;
}

bool aegis_tokenizer_is_special(const aegis_tokenizer *tokenizer, uint32_t id)
{
    return id < tokenizer->vocabulary.size && tokenizer->vocabulary.tokens[id].special;
}

bool aegis_tokenizer_bytes(const aegis_tokenizer *tokenizer,
                           uint32_t id,
                           const char **ret_bytes,
                           size_t *ret_size)
{
    const aegis_vocabulary *vocabulary = &tokenizer->vocabulary;
    if (id >= vocabulary->size || !vocabulary->tokens[id].present) {
        return false;
    }
    *ret_bytes = vocabulary->pool + vocabulary->tokens[id].offset;
    *ret_size = vocabulary->tokens[id].size;
    return true;
}

/* The longest added token at the beginning of the text, or NULL. */
static const aegis_added_token *
added_at(const aegis_encoding *e, const char *text, size_t size, bool normalized)
{
    const aegis_tokenizer *t = e->tokenizer;
    const aegis_added_token *best = NULL;
    uint32_t next = t->first_added[(unsigned char)text[0]];
    for (; next != 0; next = t->added[next - 1].next) {
        const aegis_added_token *token = &t->added[next - 1];
        bool wanted = token->normalized == normalized && (e->specials || !token->special);
        if (wanted && token->size <= size && (best == NULL || token->size > best->size) &&
            memcmp(token->text, text, token->size) == 0) {
            best = token;
        }
    }
    return best;
}

/* Cuts the text at added tokens: those that are looked for in the text as it is first, then in what
 * they leave those that are looked for after normalization, which changes nothing here. */
static aegis_status
encode_text(aegis_encoding *e, const char *text, size_t size, bool normalized, aegis_error *err)
{
    size_t from = 0, at = 0;
    aegis_status status = AEGIS_OK;
    while (status == AEGIS_OK && from < size) {
        const aegis_added_token *token = NULL;
        while (at < size && (token = added_at(e, text + at, size - at, normalized)) == NULL) {
            at++;
        }
        status = normalized ? aegis_encode_piece(e, text + from, at - from, err)
                            : encode_text(e, text + from, at - from, true, err);
        if (status == AEGIS_OK && token != NULL) {
            status = aegis_token_list_add(e->list, token->id, err);
            at += token->size;
        }
        from = at;
    }
    return status;
}

static aegis_status encode_valid(aegis_encoding *e, const char *text, size_t size, aegis_error *err)
{
    aegis_status status = aegis_encode_words_init(e, err);
    if (status == AEGIS_OK) {
        status = encode_text(e, text, size, false, err);
    }
    aegis_encode_words_finish(e);
    aegis_encode_word_finish(e);
    return status;
}

static aegis_status encode_broken(
    aegis_encoding *e, const char *text, size_t size, size_t repaired_size, aegis_error *err)
{
    const aegis_allocator *allocator = &e->tokenizer->allocator;
    char *repaired = aegis_allocate_zeroed(allocator, repaired_size, 1);
    if (repaired == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a text of %zu bytes", repaired_size);
    }
    aegis_utf8_repair(text, size, repaired);
    aegis_status status = encode_valid(e, repaired, repaired_size, err);
    aegis_deallocate(allocator, repaired, repaired_size, 1);
    return status;
}

static bool is_valid(const char *text, size_t size)
{
    size_t step;
    for (size_t at = 0; at < size; at += step) {
        if (aegis_utf8_next((const unsigned char *)text + at, size - at, &step) !=
            AEGIS_UTF8_WHOLE) {
            return false;
        }
    }
    return true;
}

aegis_status aegis_tokenizer_encode(const aegis_tokenizer *tokenizer,
                                    const char *text,
                                    size_t size,
                                    bool specials,
                                    aegis_token_list *list,
                                    aegis_error *err)
{
    size_t before = list->count;
    aegis_encoding encoding = {.tokenizer = tokenizer, .list = list, .specials = specials};
    if (size > AEGIS_TOKENIZER_TEXT_LIMIT) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "the text has %zu bytes, more than %" PRIu64 "; cut it", size,
                               AEGIS_TOKENIZER_TEXT_LIMIT);
    }
    aegis_status status =
        is_valid(text, size)
            ? encode_valid(&encoding, text, size, err)
            : encode_broken(&encoding, text, size, aegis_utf8_repaired_size(text, size), err);
    if (status != AEGIS_OK) {
        list->count = before;
    }
    return status;
}
