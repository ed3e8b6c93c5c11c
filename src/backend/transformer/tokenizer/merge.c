/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Byte-pair encoding of one word: as long as two neighbours have a merge, the one of smallest rank,
 * leftmost among equals, is done. A linked list of symbols and a heap of candidates make this
 * O(n log n) for any word; candidates that have been overtaken are recognised when they come up.
 */
#include "backend/transformer/tokenizer/tokenizer_internal.h"

#include "base/base.h"

#define COMPONENT "transformer.tokenizer"

static aegis_status make_room(aegis_encoding *e, size_t size, aegis_error *err)
{
    const aegis_allocator *allocator = &e->tokenizer->allocator;
    size_t capacity = e->symbol_capacity == 0 ? 64 : e->symbol_capacity;
    if (size <= e->symbol_capacity) {
        return AEGIS_OK;
    }
    while (capacity < size) {
        capacity *= 2;
    }
    aegis_encode_word_finish(e);
    aegis_symbol *symbols = aegis_allocate_zeroed(allocator, capacity, sizeof *symbols);
    aegis_candidate *heap = aegis_allocate_zeroed(allocator, 2 * capacity, sizeof *heap);
    if (symbols == NULL || heap == NULL) {
        aegis_deallocate(allocator, symbols, capacity, sizeof *symbols);
        aegis_deallocate(allocator, heap, 2 * capacity, sizeof *heap);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no memory for a word of %zu bytes", size);
    }
    e->symbols = symbols;
    e->heap = heap;
    e->symbol_capacity = capacity;
    return AEGIS_OK;
}

void aegis_encode_word_finish(aegis_encoding *e)
{
    const aegis_allocator *allocator = &e->tokenizer->allocator;
    aegis_deallocate(allocator, e->symbols, e->symbol_capacity, sizeof *e->symbols);
    aegis_deallocate(allocator, e->heap, 2 * e->symbol_capacity, sizeof *e->heap);
    e->symbols = NULL;
    e->heap = NULL;
    e->symbol_capacity = 0;
}

static bool before(const aegis_candidate *a, const aegis_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(aegis_candidate *heap, size_t *count, aegis_candidate candidate)
{
    size_t at = (*count)++;
    while (at > 0 && before(&candidate, &heap[(at - 1) / 2])) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = candidate;
}

static aegis_candidate heap_pop(aegis_candidate *heap, size_t *count)
{
    aegis_candidate first = heap[0], last = heap[--*count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= *count) {
            break;
        }
        if (child + 1 < *count && before(&heap[child + 1], &heap[child])) {
            child++;
        }
        if (!before(&heap[child], &last)) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

/* One symbol a byte. Bytes without a token become the unknown token, or nothing. */
static uint32_t make_symbols(aegis_encoding *e, const char *word, size_t size)
{
    const aegis_tokenizer *t = e->tokenizer;
    uint32_t count = 0;
    bool after_unknown = false;
    for (size_t i = 0; i < size; i++) {
        uint32_t id = t->vocabulary.byte_ids[(unsigned char)word[i]];
        bool unknown = id == AEGIS_NO_TOKEN;
        if (unknown && (t->unknown == AEGIS_NO_TOKEN || (after_unknown && t->fuse_unknown))) {
            continue;
        }
        after_unknown = unknown;
        e->symbols[count] = (aegis_symbol){unknown ? t->unknown : id, count - 1, count + 1};
        count++;
    }
    if (count > 0) {
        e->symbols[0].previous = AEGIS_NO_TOKEN;
        e->symbols[count - 1].next = AEGIS_NO_TOKEN;
    }
    return count;
}

/* Offers the merge of a symbol and its next. Every merge takes one candidate and gives at most two,
 * so that the heap holds fewer than two a symbol. */
static void offer(aegis_encoding *e, size_t *heap_count, uint32_t at)
{
    const aegis_symbol *left = &e->symbols[at];
    if (left->next == AEGIS_NO_TOKEN) {
        return;
    }
    uint32_t rank =
        aegis_vocabulary_rank(&e->tokenizer->vocabulary, left->id, e->symbols[left->next].id);
    if (rank != AEGIS_NO_TOKEN) {
        heap_push(e->heap, heap_count, (aegis_candidate){rank, at});
    }
}

/* Joins the symbol with its next. */
static void join(aegis_encoding *e, uint32_t at, uint32_t result)
{
    aegis_symbol *left = &e->symbols[at], *right = &e->symbols[left->next];
    left->id = result;
    left->next = right->next;
    right->id = AEGIS_NO_TOKEN;
    if (left->next != AEGIS_NO_TOKEN) {
        e->symbols[left->next].previous = at;
    }
}

static void merge_all(aegis_encoding *e, uint32_t count)
{
    const aegis_vocabulary *vocabulary = &e->tokenizer->vocabulary;
    size_t heap_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        offer(e, &heap_count, i);
    }
    while (heap_count > 0) {
        aegis_candidate best = heap_pop(e->heap, &heap_count);
        const aegis_merge *merge = &vocabulary->merges[best.rank];
        const aegis_symbol *left = &e->symbols[best.at];
        if (left->id != merge->left || left->next == AEGIS_NO_TOKEN ||
            e->symbols[left->next].id != merge->right) {
            continue; /* overtaken */
        }
        join(e, best.at, merge->result);
        if (left->previous != AEGIS_NO_TOKEN) {
            offer(e, &heap_count, left->previous);
        }
        offer(e, &heap_count, best.at);
    }
}

aegis_status aegis_encode_word(aegis_encoding *e, const char *word, size_t size, aegis_error *err)
{
    const aegis_tokenizer *t = e->tokenizer;
    if (t->ignore_merges) {
        uint32_t whole = aegis_vocabulary_find_bytes(&t->vocabulary, word, size);
        if (whole != AEGIS_NO_TOKEN) {
            return aegis_token_list_add(e->list, whole, err);
        }
    }
    aegis_status status = make_room(e, size, err);
    if (status != AEGIS_OK || e->symbols == NULL) {
        return status;
    }
    uint32_t count = make_symbols(e, word, size);
    merge_all(e, count);
    for (uint32_t at = 0; count > 0 && at != AEGIS_NO_TOKEN && status == AEGIS_OK;
         at = e->symbols[at].next) {
        status = aegis_token_list_add(e->list, e->symbols[at].id, err);
    }
    return status;
}
