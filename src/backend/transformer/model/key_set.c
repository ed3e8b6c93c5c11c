/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/model/key_set.h"

#include <string.h>

void aegis_key_set_init(aegis_key_set *set, const aegis_allocator *allocator)
{
    *set = (aegis_key_set){0};
    aegis_bump_init(&set->bump, allocator);
}

void aegis_key_set_finish(aegis_key_set *set)
{
    aegis_bump_finish(&set->bump);
    set->keys = NULL;
    set->count = set->capacity = 0;
}

static uint32_t hash_of(const char *text, size_t size)
{
    uint32_t hash = UINT32_C(2166136261); /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)text[i]) * UINT32_C(16777619);
    }
    return hash;
}

static bool has(const aegis_key_set *set, uint32_t hash, const char *text, size_t size)
{
    for (size_t i = 0; i < set->count; i++) {
        const aegis_key *key = &set->keys[i];
        if (key->hash == hash && key->size == size && memcmp(key->text, text, size) == 0) {
            return true;
        }
    }
    return false;
}

static bool grow(aegis_key_set *set)
{
    size_t capacity = set->capacity == 0 ? 64 : 2 * set->capacity;
    aegis_key *keys = aegis_bump_take(&set->bump, capacity, sizeof *keys);
    if (keys == NULL) {
        return false;
    }
    if (set->count > 0) {
        memcpy(keys, set->keys, set->count * sizeof *keys);
    }
    set->keys = keys;
    set->capacity = capacity;
    return true;
}

aegis_status aegis_key_set_add(aegis_key_set *set, const aegis_json_pull *pull, aegis_error *err)
{
    uint32_t hash = hash_of(pull->text, pull->text_size);
    if (has(set, hash, pull->text, pull->text_size)) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "the key \"%.80s\" comes twice",
                                    pull->text);
    }
    if (set->count == AEGIS_KEY_SET_LIMIT) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_PARSE, err, "more than %d keys",
                                    AEGIS_KEY_SET_LIMIT);
    }
    const char *text = NULL;
    if (set->count < set->capacity || grow(set)) {
        text = aegis_bump_text(&set->bump, pull->text, pull->text_size);
    }
    if (text == NULL) {
        return aegis_json_pull_fail(pull, AEGIS_ERROR_NO_MEMORY, err, "no memory for the key");
    }
    set->keys[set->count++] = (aegis_key){hash, pull->text_size, text};
    return AEGIS_OK;
}
