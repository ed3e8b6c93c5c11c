/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_MODEL_FILES_H
#define AEGIS_TEST_MODEL_FILES_H

/* Writes SafeTensors files, whole or spoiled, into a temporary folder. */

#include "support/device/tree_fixture.h"

#include <stdint.h>

static inline bool
put_bytes(const tree_fixture *folder, const char *name, const void *bytes, size_t size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder->root, name);
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && fwrite(bytes, 1, size, file) == size;
    return file != NULL && fclose(file) == 0 && good;
}

/* Length `claimed` (the header's own when 0), the header and `data_size` bytes 0, 1, 2, ... */
static inline bool put_tensors(const tree_fixture *folder,
                               const char *name,
                               const char *header,
                               uint64_t claimed,
                               size_t data_size)
{
    size_t length = strlen(header), size = 8 + length + data_size;
    unsigned char *bytes = malloc(size);
    if (bytes == NULL) {
        return false;
    }
    claimed = claimed == 0 ? length : claimed;
    for (int i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)(claimed >> 8 * i);
    }
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data_size; i++) {
        bytes[8 + length + i] = (unsigned char)i;
    }
    bool good = put_bytes(folder, name, bytes, size);
    free(bytes);
    return good;
}

/* A header that is written member by member. */
typedef struct header_text {
    char text[65536];
    size_t at;
    uint64_t end; /* of the data so far */
} header_text;

static inline void header_add(header_text *header,
                              const char *name,
                              const char *dtype,
                              uint64_t element_bytes,
                              uint64_t rows,
                              uint64_t columns)
{
    uint64_t bytes = rows * (columns == 0 ? 1 : columns) * element_bytes;
    char shape[64];
    if (columns == 0) {
        snprintf(shape, sizeof shape, "%llu", (unsigned long long)rows);
    } else {
        snprintf(shape, sizeof shape, "%llu,%llu", (unsigned long long)rows,
                 (unsigned long long)columns);
    }
    header->at += (size_t)snprintf(
        header->text + header->at, sizeof header->text - header->at,
        "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
        header->at == 0 ? "{" : ",", name, dtype, shape, (unsigned long long)header->end,
        (unsigned long long)(header->end + bytes));
    header->end += bytes;
}

static inline bool header_put(header_text *header, const tree_fixture *folder, const char *name)
{
    snprintf(header->text + header->at, sizeof header->text - header->at, "}");
    return put_tensors(folder, name, header->text, 0, (size_t)header->end);
}

#endif
