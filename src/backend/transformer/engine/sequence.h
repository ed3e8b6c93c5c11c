/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_SEQUENCE_H
#define AEGIS_TRANSFORMER_SEQUENCE_H

/* The requests of one call of generate on their way: prompts, tokens so far, their text. */

#include "backend/transformer/engine/engine.h"

/* One request on its way. */
typedef struct aegis_sequence {
    const aegis_generation_request *request;
    aegis_token_list tokens; /* prompt, then output */
    size_t prompt;           /* tokens of it */
    uint32_t most;           /* tokens to make */
    aegis_sampling sampling;
    aegis_token_decoder decoder;
    char *text;
    size_t text_size, text_capacity;
    bool done;
    aegis_generation_end end;
    uint32_t draft[AEGIS_ENGINE_MAX_DRAFT], drafted; /* of the pass */
} aegis_sequence;

typedef struct aegis_generation_run {
    aegis_engine *engine;
    aegis_sequence *sequences;
    uint32_t count;
    aegis_generation_stream stream;
    void *self;
    aegis_forward_row *rows;     /* limits.rows */
    aegis_candidate *candidates; /* vocabulary */
    char *piece;                 /* text of one token */
    size_t piece_bytes;
    aegis_generation_figures figures;
} aegis_generation_run;

/* Prompts as tokens, room for everything. What aegis_transformer_generate says. */
aegis_status aegis_sequences_set_up(aegis_generation_run *all,
                                    const aegis_generation_request *requests,
                                    aegis_error *err);
/* After a set_up that failed, too. */
void aegis_sequences_tear_down(aegis_generation_run *all);
/* Takes a token that was chosen for sequence `s`: its text, the caller's stream, the ends. */
aegis_status
aegis_sequence_accept(aegis_generation_run *all, uint32_t s, uint32_t token, aegis_error *err);
/* A copy for the caller; on failure `ret` holds what was copied by then. */
aegis_status aegis_sequence_copy(const aegis_engine *engine,
                                 const aegis_sequence *one,
                                 aegis_generation *ret,
                                 aegis_error *err);

#endif
