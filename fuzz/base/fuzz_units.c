/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"period", "deadline", "offset", "name"};
    char *text = malloc(size + 1), shown[64];
    uint64_t value = 0;
    if (text == NULL) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (aegis_parse_size(text, &value, NULL) == AEGIS_OK) {
        if (strlen(aegis_format_size(value, shown, sizeof shown)) < 3) {
            abort();
        }
    }
    if (aegis_parse_duration(text, &value, NULL) == AEGIS_OK && value <= INT64_MAX) {
        if (strlen(aegis_format_duration((int64_t)value, shown, sizeof shown)) < 3) {
            abort();
        }
    }
    const char *nearest = aegis_nearest_word(text, words, AEGIS_ARRAY_LENGTH(words));
    if (nearest != NULL && strlen(nearest) < 4) {
        abort();
    }
    free(text);
    return 0;
}
