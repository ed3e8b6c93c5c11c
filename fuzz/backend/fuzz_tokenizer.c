/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tokenizer/tokenizer.h"
#include "backend/transformer/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A vocabulary with every byte, so that decoding gives back what was encoded. */
static aegis_tokenizer *make_bytes(const aegis_allocator *allocator)
{
    char text[8192];
    size_t at = 0;
    unsigned next = 256;
    static const char head[] =
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
        "\"individual_digits\":true},{\"type\":\"ByteLevel\"}]},\"decoder\":{\"type\":"
        "\"ByteLevel\"},"
        "\"model\":{\"vocab\":{\"th\":256,\"the\":257,\"\\u0120t\":258";
    static const char tail[] = "},\"merges\":[\"t h\",\"th e\",\"\\u0120 t\"]}}";
    memcpy(text, head, sizeof head - 1);
    at = sizeof head - 1;
    for (unsigned byte = 0; byte < 256; byte++) {
        bool own = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        unsigned code = own ? byte : next++;
        static const char digits[] = "0123456789abcdef";
        const char entry[] = {
            ',', '"', '\\', 'u', '0', digits[code >> 8], digits[code >> 4 & 15], digits[code & 15],
            '"', ':'};
        memcpy(text + at, entry, sizeof entry);
        at += sizeof entry;
        text[at++] = (char)('0' + byte / 100);
        if (byte < 100) {
            at--;
        }
        if (byte >= 10) {
            text[at++] = (char)('0' + byte / 10 % 10);
        }
        text[at++] = (char)('0' + byte % 10);
    }
    memcpy(text + at, tail, sizeof tail - 1);
    at += sizeof tail - 1;
    aegis_tokenizer *tokenizer = NULL;
    if (aegis_tokenizer_parse(text, at, "bytes", allocator, &tokenizer, NULL) != AEGIS_OK) {
        abort();
    }
    return tokenizer;
}

/* Encodes and decodes. The result into `ret` (room for 3 bytes a byte and 16 more). */
static size_t round_trip(const aegis_tokenizer *t,
                         const aegis_allocator *allocator,
                         const char *text,
                         size_t size,
                         char *ret)
{
    aegis_token_list list;
    aegis_token_decoder decoder;
    size_t at = 0, capacity = aegis_tokenizer_max_output(t);
    char *piece = malloc(capacity);
    aegis_token_list_init(&list, allocator);
    if (piece == NULL || aegis_tokenizer_encode(t, text, size, true, &list, NULL) != AEGIS_OK) {
        abort();
    }
    aegis_token_decoder_init(&decoder, t, true);
    for (size_t i = 0; i < list.count; i++) {
        size_t count;
        if (aegis_token_decoder_push(&decoder, list.ids[i], piece, capacity, &count, NULL) !=
            AEGIS_OK) {
            abort();
        }
        if (ret != NULL) {
            memcpy(ret + at, piece, count);
        }
        at += count;
    }
    at += aegis_token_decoder_finish(&decoder, ret == NULL ? piece : ret + at);
    free(piece);
    aegis_token_list_finish(&list);
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    const char *text = (const char *)data;
    aegis_tokenizer *tokenizer = NULL;
    aegis_error error = {0};
    aegis_status status =
        aegis_tokenizer_parse(text, size, "fuzz.json", &allocator, &tokenizer, &error);
    if (status == AEGIS_OK) {
        round_trip(tokenizer, &allocator, text, size, NULL);
        aegis_tokenizer_destroy(tokenizer);
    } else if (tokenizer != NULL || error.status != status ||
               strncmp(error.message, "fuzz.json", 9) != 0) {
        abort();
    }
    /* The input as a text: what comes back is the text with its broken parts replaced. */
    size_t repaired_size = aegis_utf8_repaired_size(text, size);
    char *repaired = malloc(repaired_size + 1), *found = malloc(3 * size + 16);
    tokenizer = make_bytes(&allocator);
    if (repaired == NULL || found == NULL) {
        abort();
    }
    aegis_utf8_repair(text, size, repaired);
    if (round_trip(tokenizer, &allocator, text, size, found) != repaired_size ||
        memcmp(found, repaired, repaired_size) != 0) {
        abort();
    }
    free(repaired);
    free(found);
    aegis_tokenizer_destroy(tokenizer);
    return 0;
}
