/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tokenizer/utf8.h"

#include <string.h>

/* Well-formed sequences: Unicode, table 3-7. */
aegis_utf8_result aegis_utf8_next(const unsigned char *bytes, size_t size, size_t *ret_size)
{
    unsigned first = bytes[0];
    size_t more = first < 0x80                     ? 0
                  : first >= 0xc2 && first <= 0xdf ? 1
                  : first >= 0xe0 && first <= 0xef ? 2
                  : first >= 0xf0 && first <= 0xf4 ? 3
                                                   : SIZE_MAX;
    if (more == SIZE_MAX) {
        *ret_size = 1;
        return AEGIS_UTF8_BROKEN;
    }
    unsigned least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (size_t i = 1; i <= more; i++) {
        *ret_size = i;
        if (i == size) {
            return AEGIS_UTF8_INCOMPLETE;
        }
        if (bytes[i] < least || bytes[i] > most) {
            return AEGIS_UTF8_BROKEN;
        }
        least = 0x80;
        most = 0xbf;
    }
    *ret_size = more + 1;
    return AEGIS_UTF8_WHOLE;
}

size_t aegis_utf8_repaired_size(const char *text, size_t size)
{
    size_t result = 0, step;
    for (size_t at = 0; at < size; at += step) {
        bool whole =
            aegis_utf8_next((const unsigned char *)text + at, size - at, &step) == AEGIS_UTF8_WHOLE;
        result += whole ? step : AEGIS_UTF8_REPLACEMENT_BYTES;
    }
    return result;
}

void aegis_utf8_repair(const char *text, size_t size, char *ret_text)
{
    size_t step;
    for (size_t at = 0; at < size; at += step) {
        bool whole =
            aegis_utf8_next((const unsigned char *)text + at, size - at, &step) == AEGIS_UTF8_WHOLE;
        size_t bytes = whole ? step : AEGIS_UTF8_REPLACEMENT_BYTES;
        memcpy(ret_text, whole ? text + at : AEGIS_UTF8_REPLACEMENT, bytes);
        ret_text += bytes;
    }
}
