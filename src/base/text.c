/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <string.h>

#define LONGEST_WORD 48

/* Levenshtein distance of two words, both at most LONGEST_WORD long. */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST_WORD + 1], length_b = strlen(b);
    for (size_t j = 0; j <= length_b; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= length_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            row[j] = best;
        }
    }
    return row[length_b];
}

const char *aegis_nearest_word(const char *word, const char *const *candidates, size_t count)
{
    size_t length = strlen(word), best = length / 3 + 2;
    const char *nearest = NULL;
    if (length > LONGEST_WORD) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (candidates[i] == NULL || strlen(candidates[i]) > LONGEST_WORD) {
            continue;
        }
        size_t d = distance(word, candidates[i]);
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}

char *aegis_copy_text(const aegis_allocator *allocator, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = allocator->alloc(allocator->self, size);
    if (copy != NULL) {
        memcpy(copy, text, size);
    }
    return copy;
}

void aegis_free_text(const aegis_allocator *allocator, char *text)
{
    if (text != NULL) {
        allocator->free(allocator->self, text, strlen(text) + 1);
    }
}
