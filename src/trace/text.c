/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/text.h"

#include <string.h>

static size_t sequence_length(unsigned char lead)
{
    return lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
}

void aegis_trace_trim_text(char *text)
{
    size_t used = strlen(text), start = used;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return;
    }
    start--; /* now at the lead byte of the last sequence */
    if (used - start < sequence_length((unsigned char)text[start])) {
        text[start] = '\0';
    }
}
