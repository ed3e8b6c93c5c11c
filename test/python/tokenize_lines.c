/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of check_tokenizer.py: tokenize_lines TOKENIZER INPUT OUTPUT. INPUT is a sequence of
 * texts, each a 32-bit length and the bytes. OUTPUT has for each text the number of tokens, the
 * tokens, the length of what the streaming decoder makes of them, and those bytes; at the end the
 * bytes of the tables and the peak growth of resident memory in KiB.
 */
#include "backend/transformer/tokenizer/tokenizer.h"

#include <aegisrt/doctor.h>

#include <stdio.h>
#include <stdlib.h>

static void put(FILE *out, uint32_t number)
{
    fwrite(&number, sizeof number, 1, out);
}

static int decode(const aegis_tokenizer *tokenizer, const aegis_token_list *list, FILE *out)
{
    aegis_token_decoder decoder;
    aegis_error error = {0};
    size_t capacity = aegis_tokenizer_max_output(tokenizer), size = 0, piece;
    char *text = malloc((list->count + 1) * capacity);
    if (text == NULL) {
        return 1;
    }
    aegis_token_decoder_init(&decoder, tokenizer, false);
    for (size_t i = 0; i < list->count; i++) {
        if (aegis_token_decoder_push(&decoder, list->ids[i], text + size, capacity, &piece,
                                     &error) != AEGIS_OK) {
            fprintf(stderr, "%s\n", error.message);
            free(text);
            return 1;
        }
        size += piece;
    }
    size += aegis_token_decoder_finish(&decoder, text + size);
    put(out, (uint32_t)size);
    fwrite(text, 1, size, out);
    free(text);
    return 0;
}

static int run(const aegis_tokenizer *tokenizer, FILE *in, FILE *out)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_token_list list;
    aegis_error error = {0};
    uint32_t size;
    int failed = 0;
    aegis_token_list_init(&list, &allocator);
    while (!failed && fread(&size, sizeof size, 1, in) == 1) {
        char *text = malloc((size_t)size + 1);
        list.count = 0;
        failed = text == NULL || fread(text, 1, size, in) != size ||
                 aegis_tokenizer_encode(tokenizer, text, size, true, &list, &error) != AEGIS_OK;
        if (!failed) {
            put(out, (uint32_t)list.count);
            if (list.count > 0) { /* an empty list has no memory */
                fwrite(list.ids, sizeof *list.ids, list.count, out);
            }
            failed = decode(tokenizer, &list, out);
        }
        free(text);
    }
    if (error.status != AEGIS_OK) {
        fprintf(stderr, "%s\n", error.message);
    }
    aegis_token_list_finish(&list);
    return failed;
}

int main(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_tokenizer *tokenizer = NULL;
    aegis_error error = {0};
    uint64_t before, peak_before, after, peak;
    if (argc != 4) {
        return 2;
    }
    aegis_process_memory(NULL, &before, &peak_before, &error);
    if (aegis_tokenizer_open(argv[1], &allocator, &tokenizer, &error) != AEGIS_OK) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    aegis_process_memory(NULL, &after, &peak, &error);
    FILE *in = fopen(argv[2], "rb"), *out = fopen(argv[3], "wb");
    int failed = in == NULL || out == NULL || run(tokenizer, in, out);
    if (!failed) {
        put(out, (uint32_t)aegis_tokenizer_memory(tokenizer));
        put(out, (uint32_t)((after - before) / 1024));
        put(out, (uint32_t)((peak - before) / 1024));
    }
    failed = (in != NULL && fclose(in) != 0) || (out != NULL && fclose(out) != 0) || failed;
    aegis_tokenizer_destroy(tokenizer);
    return failed;
}
