/* SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.json: everything but the lists of the model (model_json.c). */
#include "backend/transformer/tokenizer/tokenizer_json.h"

#include "base/base.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define COMPONENT "transformer.tokenizer"
#define MAX_ADDED 65536

/* One pre-tokenizer, normalizer, post-processor or decoder, as its members say. */
typedef struct component {
    char type[32];
    char strange[32]; /* the first member that no supported component has */
    uint64_t line, column;
    bool prefix_space, use_regex, individual_digits;
} component;

aegis_status aegis_tokenizer_keys(aegis_json_pull *pull,
                                  const aegis_allocator *allocator,
                                  aegis_member_reader read,
                                  void *self,
                                  aegis_error *err)
{
    bool more;
    aegis_key_set keys;
    aegis_key_set_init(&keys, allocator);
    aegis_status status = aegis_json_pull_object(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_key(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = aegis_key_set_add(&keys, pull, err);
        if (status == AEGIS_OK) {
            status = read(self, pull->text, err);
        }
    }
    aegis_key_set_finish(&keys);
    return status;
}

/* True when a null was there, and is consumed. */
static aegis_status take_null(aegis_json_pull *pull, bool *ret_null, aegis_error *err)
{
    aegis_json_kind kind;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_null = kind == AEGIS_JSON_NULL;
    return *ret_null ? aegis_json_pull_null(pull, err) : AEGIS_OK;
}

/* The reading of one slot: "pre_tokenizer" and so on. */
typedef struct slot_reader {
    aegis_tokenizer_reader *reader;
    const char *slot;
    const char *list; /* the member of a Sequence that holds its parts */
    aegis_status (*accept)(struct slot_reader *self, const component *found, aegis_error *err);
    component *now; /* under way */
} slot_reader;

static aegis_status read_component(slot_reader *self, aegis_error *err);

static aegis_status read_parts(slot_reader *self, aegis_error *err)
{
    aegis_json_pull *pull = &self->reader->pull;
    bool more;
    aegis_status status = aegis_json_pull_array(pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_item(pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_component(self, err);
    }
    return status;
}

static aegis_status read_component_member(void *opaque, const char *key, aegis_error *err)
{
    slot_reader *self = opaque;
    aegis_json_pull *pull = &self->reader->pull;
    component *now = self->now;
    bool ignored;
    assert(now != NULL);
    if (strcmp(key, "type") == 0) {
        aegis_status status = aegis_json_pull_string(pull, err);
        now->line = pull->line;
        now->column = pull->column;
        snprintf(now->type, sizeof now->type, "%s", status == AEGIS_OK ? pull->text : "");
        return status;
    }
    if (strcmp(key, self->list) == 0) {
        return read_parts(self, err);
    }
    bool *flag = strcmp(key, "add_prefix_space") == 0    ? &now->prefix_space
                 : strcmp(key, "use_regex") == 0         ? &now->use_regex
                 : strcmp(key, "individual_digits") == 0 ? &now->individual_digits
                 : strcmp(key, "trim_offsets") == 0      ? &ignored
                                                         : NULL;
    if (flag != NULL) {
        return aegis_json_pull_boolean(pull, flag, err);
    }
    if (now->strange[0] == '\0') {
        snprintf(now->strange, sizeof now->strange, "%s", key);
    }
    return aegis_json_pull_skip(pull, err);
}

static aegis_status
unsupported(slot_reader *self, const component *found, const char *supported, aegis_error *err)
{
    aegis_json_pull *pull = &self->reader->pull;
    pull->line = found->line;
    pull->column = found->column;
    return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                "%s \"%s\" is not supported; %s", self->slot, found->type,
                                supported);
}

/* The next value as a component: its parts first, then itself. */
static aegis_status read_component(slot_reader *self, aegis_error *err)
{
    aegis_json_pull *pull = &self->reader->pull;
    component now = {.prefix_space = false, .use_regex = true};
    component *outer = self->now;
    aegis_json_kind kind;
    aegis_status status = aegis_json_pull_peek(pull, &kind, err);
    now.line = pull->line;
    now.column = pull->column;
    self->now = &now;
    if (status == AEGIS_OK) {
        status = aegis_tokenizer_keys(pull, &self->reader->tokenizer->allocator,
                                      read_component_member, self, err);
    }
    self->now = outer; /* `now` ends here; the parts of a Sequence are members of `outer` */
    if (status == AEGIS_OK && strcmp(now.type, "Sequence") != 0) {
        status = self->accept(self, &now, err);
        if (status == AEGIS_OK && now.strange[0] != '\0') {
            pull->line = now.line;
            pull->column = now.column;
            status = aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                          "%s \"%s\" has a member \"%s\", which is not known",
                                          self->slot, now.type, now.strange);
        }
    }
    return status;
}

static aegis_status
read_slot(aegis_tokenizer_reader *reader,
          const char *slot,
          const char *list,
          aegis_status (*accept)(slot_reader *, const component *, aegis_error *),
          aegis_error *err)
{
    slot_reader self = {.reader = reader, .slot = slot, .list = list, .accept = accept};
    bool null;
    aegis_status status = take_null(&reader->pull, &null, err);
    return status == AEGIS_OK && !null ? read_component(&self, err) : status;
}

static aegis_status
accept_pre_tokenizer(slot_reader *self, const component *found, aegis_error *err)
{
    aegis_tokenizer *t = self->reader->tokenizer;
    aegis_stage stage = {0};
    if (strcmp(found->type, "ByteLevel") == 0) {
        stage = (aegis_stage){AEGIS_STAGE_BYTE_LEVEL, found->prefix_space, found->use_regex};
    } else if (strcmp(found->type, "Digits") == 0) {
        stage.kind = found->individual_digits ? AEGIS_STAGE_DIGIT : AEGIS_STAGE_DIGITS;
    } else {
        return unsupported(self, found, "ByteLevel, Digits and sequences of them are", err);
    }
    bool behind =
        t->stage_count > 0 && t->stages[t->stage_count - 1].kind == AEGIS_STAGE_BYTE_LEVEL;
    if (behind) {
        return unsupported(self, found, "nothing may follow ByteLevel", err);
    }
    if (t->stage_count == AEGIS_MAX_STAGES) {
        return unsupported(self, found, "a sequence has at most 8 parts", err);
    }
    t->stages[t->stage_count++] = stage;
    return AEGIS_OK;
}

static aegis_status accept_normalizer(slot_reader *self, const component *found, aegis_error *err)
{
    return unsupported(self, found, "only null is", err);
}

/* ByteLevel trims offsets, which are not made here. */
static aegis_status
accept_post_processor(slot_reader *self, const component *found, aegis_error *err)
{
    return strcmp(found->type, "ByteLevel") == 0
               ? AEGIS_OK
               : unsupported(self, found, "null and ByteLevel are", err);
}

static aegis_status accept_decoder(slot_reader *self, const component *found, aegis_error *err)
{
    if (strcmp(found->type, "ByteLevel") != 0) {
        return unsupported(self, found, "ByteLevel is", err);
    }
    self->reader->has_decoder = true;
    return AEGIS_OK;
}

/* ---- added tokens ---- */

typedef struct added_reader {
    aegis_tokenizer_reader *reader;
    aegis_added_token token;
    bool has_id, has_text;
    bool single_word, lstrip, rstrip;
    uint64_t line, column;
} added_reader;

static aegis_status read_added_text(added_reader *self, aegis_error *err)
{
    aegis_json_pull *pull = &self->reader->pull;
    aegis_status status = aegis_json_pull_string(pull, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (pull->text_size == 0) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "an added token is empty");
    }
    self->token.size = pull->text_size;
    self->token.text = aegis_bump_text(&self->reader->tokenizer->bump, pull->text, pull->text_size);
    if (self->token.text == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err, "no memory for a token");
    }
    self->has_text = true;
    return AEGIS_OK;
}

static aegis_status read_added_member(void *opaque, const char *key, aegis_error *err)
{
    added_reader *self = opaque;
    aegis_json_pull *pull = &self->reader->pull;
    if (strcmp(key, "id") == 0) {
        self->has_id = true;
        return aegis_tokenizer_read_id(pull, &self->token.id, err);
    }
    if (strcmp(key, "content") == 0) {
        return read_added_text(self, err);
    }
    bool *flag = strcmp(key, "special") == 0       ? &self->token.special
                 : strcmp(key, "normalized") == 0  ? &self->token.normalized
                 : strcmp(key, "single_word") == 0 ? &self->single_word
                 : strcmp(key, "lstrip") == 0      ? &self->lstrip
                 : strcmp(key, "rstrip") == 0      ? &self->rstrip
                                                   : NULL;
    if (flag == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                    "added_tokens: the member \"%.40s\" is not known", key);
    }
    return aegis_json_pull_boolean(pull, flag, err);
}

static aegis_status keep_added(added_reader *self, aegis_error *err)
{
    aegis_tokenizer *t = self->reader->tokenizer;
    if (t->added_count == t->added_capacity) {
        uint32_t capacity = t->added_capacity == 0 ? 32 : 2 * t->added_capacity;
        aegis_added_token *added =
            capacity > MAX_ADDED ? NULL : aegis_bump_take(&t->bump, capacity, sizeof *added);
        if (added == NULL) {
            return aegis_json_pull_fail(&self->reader->pull, AEGIS_ERROR_NO_MEMORY, err,
                                        "no memory for %u added tokens (%d at most)", capacity,
                                        MAX_ADDED);
        }
        if (t->added_count > 0) {
            memcpy(added, t->added, t->added_count * sizeof *added);
        }
        t->added = added;
        t->added_capacity = capacity;
    }
    t->added[t->added_count++] = self->token;
    return AEGIS_OK;
}

static aegis_status read_added(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_json_pull *pull = &reader->pull;
    added_reader self = {.reader = reader};
    aegis_status status =
        aegis_tokenizer_keys(pull, &reader->tokenizer->allocator, read_added_member, &self, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (!self.has_id || !self.has_text) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "added_tokens: a token has no %s",
                                    self.has_id ? "content" : "id");
    }
    if (self.single_word || self.lstrip || self.rstrip) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_UNSUPPORTED, err,
                                    "added token \"%.80s\": %s is not supported", self.token.text,
                                    self.single_word ? "single_word"
                                    : self.lstrip    ? "lstrip"
                                                     : "rstrip");
    }
    return keep_added(&self, err);
}

static aegis_status read_added_list(aegis_tokenizer_reader *reader, aegis_error *err)
{
    bool more;
    aegis_status status = aegis_json_pull_array(&reader->pull, err);
    while (status == AEGIS_OK) {
        status = aegis_json_pull_item(&reader->pull, &more, err);
        if (status != AEGIS_OK || !more) {
            break;
        }
        status = read_added(reader, err);
    }
    return status;
}

/* ---- the whole ---- */

static aegis_status
read_null_only(aegis_tokenizer_reader *reader, const char *key, aegis_error *err)
{
    bool null;
    aegis_status status = take_null(&reader->pull, &null, err);
    if (status == AEGIS_OK && !null) {
        status = aegis_json_pull_fail(&reader->pull, AEGIS_ERROR_UNSUPPORTED, err,
                                      "%s is not supported; only null is", key);
    }
    return status;
}

static aegis_status read_top(void *opaque, const char *key, aegis_error *err)
{
    aegis_tokenizer_reader *reader = opaque;
    if (strcmp(key, "model") == 0) {
        reader->has_model = true;
        return aegis_tokenizer_read_model(reader, err);
    }
    if (reader->merges_only || strcmp(key, "version") == 0) {
        return aegis_json_pull_skip(&reader->pull, err);
    }
    if (strcmp(key, "truncation") == 0) {
        return read_null_only(reader, "truncation", err);
    }
    if (strcmp(key, "padding") == 0) {
        return read_null_only(reader, "padding", err);
    }
    if (strcmp(key, "added_tokens") == 0) {
        return read_added_list(reader, err);
    }
    if (strcmp(key, "normalizer") == 0) {
        return read_slot(reader, "normalizer", "normalizers", accept_normalizer, err);
    }
    if (strcmp(key, "pre_tokenizer") == 0) {
        return read_slot(reader, "pre_tokenizer", "pretokenizers", accept_pre_tokenizer, err);
    }
    if (strcmp(key, "post_processor") == 0) {
        return read_slot(reader, "post_processor", "processors", accept_post_processor, err);
    }
    if (strcmp(key, "decoder") == 0) {
        return read_slot(reader, "decoder", "decoders", accept_decoder, err);
    }
    return aegis_json_pull_fail(&reader->pull, AEGIS_ERROR_UNSUPPORTED, err,
                                "the member \"%.40s\" is not known", key);
}

/* One pass over the file. */
static aegis_status
read_pass(aegis_tokenizer_reader *reader, int fd, const char *text, uint64_t size, aegis_error *err)
{
    const aegis_allocator *allocator = &reader->tokenizer->allocator;
    aegis_status status = AEGIS_OK;
    if (fd >= 0) {
        status =
            aegis_json_pull_init_file(&reader->pull, fd, 0, size, reader->origin, allocator, err);
    } else {
        aegis_json_pull_init(&reader->pull, text, (size_t)size, reader->origin, allocator);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_tokenizer_keys(&reader->pull, allocator, read_top, reader, err);
    if (status == AEGIS_OK) {
        status = aegis_json_pull_end(&reader->pull, err);
    }
    aegis_json_pull_finish(&reader->pull);
    return status;
}

/* Gives every added token its place: the id of its text in the model, or a new one. */
static aegis_status place_added(aegis_tokenizer_reader *reader,
                                aegis_added_token *token,
                                uint32_t number,
                                aegis_error *err)
{
    aegis_tokenizer *t = reader->tokenizer;
    uint32_t id = aegis_vocabulary_find(&t->vocabulary, token->text, token->size);
    aegis_status status = AEGIS_OK;
    if (id == AEGIS_NO_TOKEN) {
        status =
            aegis_vocabulary_add(&t->vocabulary, token->text, token->size, token->id, false, err);
        if (status == AEGIS_ERROR_EXISTS) {
            status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                     "%s: added token \"%.80s\": the id %u is another token's",
                                     reader->origin, token->text, token->id);
        }
    } else if (id != token->id) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s: added token \"%.80s\" has id %u, in the vocabulary %u",
                                 reader->origin, token->text, token->id, id);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_token *entry = &t->vocabulary.tokens[token->id];
    if (entry->added) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                               "%s: added token \"%.80s\" comes twice", reader->origin,
                               token->text);
    }
    entry->added = true;
    entry->special = token->special;
    uint32_t *first = &t->first_added[(unsigned char)token->text[0]];
    token->next = *first;
    *first = number + 1;
    return AEGIS_OK;
}

static aegis_status finish(aegis_tokenizer_reader *reader, aegis_error *err)
{
    aegis_tokenizer *t = reader->tokenizer;
    const char *lacking = !reader->has_model     ? "model"
                          : !reader->has_decoder ? "decoder ByteLevel"
                          : t->stage_count == 0  ? "pre_tokenizer"
                          : t->stages[t->stage_count - 1].kind != AEGIS_STAGE_BYTE_LEVEL
                              ? "pre_tokenizer ByteLevel"
                              : NULL;
    if (lacking != NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "%s has no %s; only byte-level BPE is supported", reader->origin,
                               lacking);
    }
    if (reader->unknown[0] != '\0') {
        t->unknown =
            aegis_vocabulary_find(&t->vocabulary, reader->unknown, strlen(reader->unknown));
    }
    aegis_status status = AEGIS_OK;
    for (uint32_t i = 0; i < t->added_count && status == AEGIS_OK; i++) {
        status = place_added(reader, &t->added[i], i, err);
    }
    if (status == AEGIS_OK && reader->unknown[0] != '\0' && t->unknown == AEGIS_NO_TOKEN) {
        status = aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_PARSE,
                                 "%s: the unk_token \"%.80s\" is not in the vocabulary",
                                 reader->origin, reader->unknown);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_vocabulary_seal(&t->vocabulary, t->ignore_merges, err);
    if (status == AEGIS_ERROR_EXISTS) {
        aegis_error_prefix(err, "%s", reader->origin);
        if (err != NULL) {
            err->status = AEGIS_ERROR_PARSE;
        }
        status = AEGIS_ERROR_PARSE;
    }
    return status;
}

aegis_status aegis_tokenizer_read(aegis_tokenizer *tokenizer,
                                  int fd,
                                  const char *text,
                                  uint64_t size,
                                  const char *origin,
                                  aegis_error *err)
{
    aegis_tokenizer_reader reader = {.tokenizer = tokenizer, .origin = origin};
    aegis_status status = read_pass(&reader, fd, text, size, err);
    if (status == AEGIS_OK && reader.merges_wait) { /* they came before their tokens */
        reader.merges_only = true;
        status = read_pass(&reader, fd, text, size, err);
    }
    return status == AEGIS_OK ? finish(&reader, err) : status;
}
