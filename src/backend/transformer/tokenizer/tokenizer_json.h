/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_TOKENIZER_JSON_H
#define AEGIS_TRANSFORMER_TOKENIZER_JSON_H

#include "backend/transformer/model/key_set.h"
#include "backend/transformer/tokenizer/tokenizer_internal.h"

/* The reading of one file. */
typedef struct aegis_tokenizer_reader {
    aegis_tokenizer *tokenizer;
    const char *origin;
    aegis_json_pull pull;
    bool has_model, has_decoder, has_vocabulary;
    bool merges_wait; /* they came before the vocabulary and were passed over */
    bool merges_only; /* the second pass, for them */
    char unknown[256];
} aegis_tokenizer_reader;

/* Reads the value of a member of an object. `key` lives until the next pull. */
typedef aegis_status (*aegis_member_reader)(void *self, const char *key, aegis_error *err);

/* An object, each key once. */
aegis_status aegis_tokenizer_keys(aegis_json_pull *pull,
                                  const aegis_allocator *allocator,
                                  aegis_member_reader read,
                                  void *self,
                                  aegis_error *err);
/* A number below AEGIS_TOKENIZER_MAX_ID. */
aegis_status aegis_tokenizer_read_id(aegis_json_pull *pull, uint32_t *ret_id, aegis_error *err);
/* model_json.c: the member "model". */
aegis_status aegis_tokenizer_read_model(aegis_tokenizer_reader *reader, aegis_error *err);

#endif
