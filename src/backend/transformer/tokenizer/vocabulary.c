/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tokenizer/vocabulary.h"

#include "backend/transformer/tokenizer/utf8.h"

#include <string.h>

#define COMPONENT "transformer.tokenizer"

static bool is_own_character(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

void aegis_vocabulary_init(aegis_vocabulary *vocabulary, const aegis_allocator *allocator)
{
    int16_t next = 256;
    *vocabulary = (aegis_vocabulary){.allocator = *allocator};
    memset(vocabulary->byte_of, -1, sizeof vocabulary->byte_of);
    for (unsigned byte = 0; byte < 256; byte++) {
        vocabulary->byte_ids[byte] = AEGIS_NO_TOKEN;
        vocabulary->byte_of[is_own_character(byte) ? (int16_t)byte : next++] = (int16_t)byte;
    }
}

void aegis_vocabulary_finish(aegis_vocabulary *v)
{
    if (v->allocator.alloc == NULL) {
        return;
    }
    aegis_deallocate(&v->allocator, v->tokens, v->capacity, sizeof *v->tokens);
    aegis_deallocate(&v->allocator, v->pool, v->pool_capacity, 1);
    aegis_deallocate(&v->allocator, v->slots, (size_t)v->slot_mask + 1, sizeof *v->slots);
    aegis_deallocate(&v->allocator, v->merges, v->merge_capacity, sizeof *v->merges);
    aegis_deallocate(&v->allocator, v->merge_slots, (size_t)v->merge_slot_mask + 1,
                     sizeof *v->merge_slots);
    *v = (aegis_vocabulary){0};
}

static aegis_status no_memory(size_t bytes, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                           "no memory for %zu bytes of the vocabulary", bytes);
}

/* Another array of `capacity` items of `size` bytes with the first `used` of the old one. */
static aegis_status resize(const aegis_allocator *allocator,
                           void **array,
                           uint32_t old_capacity,
                           uint32_t used,
                           uint32_t capacity,
                           size_t size,
                           aegis_error *err)
{
    void *other = aegis_allocate_zeroed(allocator, capacity, size);
    if (other == NULL) {
        return no_memory(capacity * size, err);
    }
    if (used > 0) {
        memcpy(other, *array, used * size);
    }
    aegis_deallocate(allocator, *array, old_capacity, size);
    *array = other;
    return AEGIS_OK;
}

/* The bytes that the text stands for, into `bytes` (room for `size`). Returns their number, or
 * SIZE_MAX when the text is literal. */
static size_t bytes_of(const aegis_vocabulary *v, const char *text, size_t size, char *bytes)
{
    size_t count = 0;
    for (size_t at = 0; at < size; at++) {
        unsigned character = (unsigned char)text[at];
        if (character >= 0x80) { /* the alphabet ends below U+0800: two bytes */
            if (character > 0xdf || at + 1 == size) {
                return SIZE_MAX;
            }
            character = (character & 0x1f) << 6 | ((unsigned char)text[++at] & 0x3f);
        }
        if (character >= AEGIS_BYTE_ALPHABET || v->byte_of[character] < 0) {
            return SIZE_MAX;
        }
        bytes[count++] = (char)v->byte_of[character];
    }
    return count;
}

static uint32_t hash_text(const char *bytes, size_t size, bool literal)
{
    uint32_t hash = literal ? UINT32_C(0x9e3779b9) : UINT32_C(2166136261);
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (unsigned char)bytes[i]) * UINT32_C(16777619);
    }
    return hash ^ hash >> 15;
}

/* The slot of the text: its own or the free one where it would go. */
static uint32_t slot_of(const aegis_vocabulary *v, const char *bytes, size_t size, bool literal)
{
    uint32_t slot = hash_text(bytes, size, literal) & v->slot_mask;
    while (v->slots[slot] != 0) {
        const aegis_token *token = &v->tokens[v->slots[slot] - 1];
        if (token->size == size && token->literal == literal &&
            memcmp(v->pool + token->offset, bytes, size) == 0) {
            break;
        }
        slot = (slot + 1) & v->slot_mask;
    }
    return slot;
}

static aegis_status grow_slots(aegis_vocabulary *v, aegis_error *err)
{
    uint32_t count = v->slots == NULL ? 1024 : 2 * (v->slot_mask + 1);
    uint32_t *old = v->slots, old_mask = v->slot_mask;
    uint32_t *slots = aegis_allocate_zeroed(&v->allocator, count, sizeof *slots);
    if (slots == NULL) {
        return no_memory(count * sizeof *slots, err);
    }
    v->slots = slots;
    v->slot_mask = count - 1;
    for (uint32_t i = 0; old != NULL && i <= old_mask; i++) {
        if (old[i] != 0) {
            const aegis_token *token = &v->tokens[old[i] - 1];
            slots[slot_of(v, v->pool + token->offset, token->size, token->literal)] = old[i];
        }
    }
    aegis_deallocate(&v->allocator, old, (size_t)old_mask + 1, sizeof *old);
    return AEGIS_OK;
}

/* Room for one token of `size` bytes with that id. */
static aegis_status make_room(aegis_vocabulary *v, uint32_t id, size_t size, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    uint32_t capacity = v->capacity == 0 ? 1024 : v->capacity;
    uint32_t pool_capacity = v->pool_capacity == 0 ? 16384 : v->pool_capacity;
    while (capacity <= id) {
        capacity *= 2;
    }
    if (size > UINT32_MAX / 4 - v->pool_size) {
        return no_memory(v->pool_size + size, err);
    }
    while (pool_capacity < v->pool_size + size) {
        pool_capacity *= 2;
    }
    if (capacity > v->capacity) {
        status = resize(&v->allocator, (void **)&v->tokens, v->capacity, v->size, capacity,
                        sizeof *v->tokens, err);
        v->capacity = status == AEGIS_OK ? capacity : v->capacity;
    }
    if (status == AEGIS_OK && pool_capacity > v->pool_capacity) {
        status = resize(&v->allocator, (void **)&v->pool, v->pool_capacity, v->pool_size,
                        pool_capacity, 1, err);
        v->pool_capacity = status == AEGIS_OK ? pool_capacity : v->pool_capacity;
    }
    if (status == AEGIS_OK && (v->slots == NULL || v->hashed >= (v->slot_mask + 1) / 4 * 3)) {
        status = grow_slots(v, err);
    }
    return status;
}

aegis_status aegis_vocabulary_add(
    aegis_vocabulary *v, const char *text, size_t size, uint32_t id, bool hashed, aegis_error *err)
{
    if (size > AEGIS_TOKEN_MAX_BYTES) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_UNSUPPORTED,
                               "the token has %zu bytes, more than %d", size,
                               AEGIS_TOKEN_MAX_BYTES);
    }
    aegis_status status = make_room(v, id, size, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (id < v->size && v->tokens[id].present) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_EXISTS,
                               "the id %u is taken by another token", id);
    }
    char *bytes = v->pool + v->pool_size;
    size_t count = bytes_of(v, text, size, bytes);
    bool literal = count == SIZE_MAX;
    if (literal) {
        memcpy(bytes, text, size);
        count = size;
    }
    uint32_t slot = slot_of(v, bytes, count, literal);
    if (hashed && v->slots[slot] != 0) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_EXISTS,
                               "the token is there already, with id %u", v->slots[slot] - 1);
    }
    v->tokens[id] = (aegis_token){
        .offset = v->pool_size, .size = (uint16_t)count, .present = true, .literal = literal};
    if (hashed) {
        v->slots[slot] = id + 1;
        v->hashed++;
        if (count == 1 && !literal) {
            v->byte_ids[(unsigned char)bytes[0]] = id;
        }
    }
    v->pool_size += (uint32_t)count;
    v->size = id >= v->size ? id + 1 : v->size;
    v->longest = count > v->longest ? (uint32_t)count : v->longest;
    return AEGIS_OK;
}

uint32_t aegis_vocabulary_find_bytes(const aegis_vocabulary *v, const char *bytes, size_t size)
{
    uint32_t entry = v->slots == NULL ? 0 : v->slots[slot_of(v, bytes, size, false)];
    return entry == 0 ? AEGIS_NO_TOKEN : entry - 1;
}

uint32_t aegis_vocabulary_find(const aegis_vocabulary *v, const char *text, size_t size)
{
    char bytes[512];
    if (v->slots == NULL || size > AEGIS_TOKEN_MAX_BYTES) {
        return AEGIS_NO_TOKEN;
    }
    char *room = size <= sizeof bytes ? bytes : v->allocator.alloc(v->allocator.self, size);
    if (room == NULL) {
        return AEGIS_NO_TOKEN;
    }
    size_t count = bytes_of(v, text, size, room);
    bool literal = count == SIZE_MAX;
    uint32_t entry = v->slots[slot_of(v, literal ? text : room, literal ? size : count, literal)];
    if (room != bytes) {
        v->allocator.free(v->allocator.self, room, size);
    }
    return entry == 0 ? AEGIS_NO_TOKEN : entry - 1;
}

aegis_status
aegis_vocabulary_add_merge(aegis_vocabulary *v, const aegis_merge *merge, aegis_error *err)
{
    if (v->merge_count == v->merge_capacity) {
        uint32_t capacity = v->merge_capacity == 0 ? 1024 : 2 * v->merge_capacity;
        aegis_status status = resize(&v->allocator, (void **)&v->merges, v->merge_capacity,
                                     v->merge_count, capacity, sizeof *v->merges, err);
        if (status != AEGIS_OK) {
            return status;
        }
        v->merge_capacity = capacity;
    }
    v->merges[v->merge_count++] = *merge;
    return AEGIS_OK;
}

static uint32_t merge_slot_of(const aegis_vocabulary *v, uint32_t left, uint32_t right)
{
    uint64_t key = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t slot = (uint32_t)(key >> 40) & v->merge_slot_mask;
    while (v->merge_slots[slot] != 0) {
        const aegis_merge *merge = &v->merges[v->merge_slots[slot] - 1];
        if (merge->left == left && merge->right == right) {
            break;
        }
        slot = (slot + 1) & v->merge_slot_mask;
    }
    return slot;
}

static aegis_status hash_merges(aegis_vocabulary *v, aegis_error *err)
{
    uint32_t count = 16;
    while (count / 4 * 3 <= v->merge_count) {
        count *= 2;
    }
    v->merge_slots = aegis_allocate_zeroed(&v->allocator, count, sizeof *v->merge_slots);
    if (v->merge_slots == NULL) {
        return no_memory(count * sizeof *v->merge_slots, err);
    }
    v->merge_slot_mask = count - 1;
    for (uint32_t rank = 0; rank < v->merge_count; rank++) {
        uint32_t slot = merge_slot_of(v, v->merges[rank].left, v->merges[rank].right);
        if (v->merge_slots[slot] != 0) {
            return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_EXISTS,
                                   "merge %u is the same as merge %u", rank,
                                   v->merge_slots[slot] - 1);
        }
        v->merge_slots[slot] = rank + 1;
    }
    return AEGIS_OK;
}

/* Exactly as much room as is used. An empty table stays as it is. */
static aegis_status trim(const aegis_allocator *allocator,
                         void **array,
                         uint32_t *capacity,
                         uint32_t used,
                         size_t size,
                         aegis_error *err)
{
    if (used == 0 || used == *capacity) {
        return AEGIS_OK;
    }
    aegis_status status = resize(allocator, array, *capacity, used, used, size, err);
    if (status == AEGIS_OK) {
        *capacity = used;
    }
    return status;
}

aegis_status aegis_vocabulary_seal(aegis_vocabulary *v, bool keep_texts, aegis_error *err)
{
    if (!keep_texts) {
        aegis_deallocate(&v->allocator, v->slots, (size_t)v->slot_mask + 1, sizeof *v->slots);
        v->slots = NULL;
        v->slot_mask = 0;
    }
    aegis_status status = trim(&v->allocator, (void **)&v->merges, &v->merge_capacity,
                               v->merge_count, sizeof *v->merges, err);
    if (status == AEGIS_OK) {
        status =
            trim(&v->allocator, (void **)&v->tokens, &v->capacity, v->size, sizeof *v->tokens, err);
    }
    if (status == AEGIS_OK) {
        status = trim(&v->allocator, (void **)&v->pool, &v->pool_capacity, v->pool_size, 1, err);
    }
    return status == AEGIS_OK ? hash_merges(v, err) : status;
}

uint32_t aegis_vocabulary_rank(const aegis_vocabulary *v, uint32_t left, uint32_t right)
{
    return v->merge_slots[merge_slot_of(v, left, right)] - 1; /* 0 - 1 is AEGIS_NO_TOKEN */
}

size_t aegis_vocabulary_memory(const aegis_vocabulary *v)
{
    return v->capacity * sizeof *v->tokens + v->pool_capacity +
           (v->slots == NULL ? 0 : ((size_t)v->slot_mask + 1) * sizeof *v->slots) +
           v->merge_capacity * sizeof *v->merges +
           (v->merge_slots == NULL ? 0 : ((size_t)v->merge_slot_mask + 1) * sizeof *v->merge_slots);
}
