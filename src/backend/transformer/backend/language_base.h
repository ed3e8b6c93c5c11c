/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANGUAGE_BASE_H
#define AEGIS_TRANSFORMER_LANGUAGE_BASE_H

/*
 * A language model as a model with jobs, as far as it is the same wherever it computes. A job is
 * one step of one sequence: it takes the token at its position (of the prompt, or the one chosen
 * last) and chooses the next. (On a CUDA device it may take several of the prompt, and what it
 * leaves is what the step of the last would.) All jobs of a sequence take the same path; only
 * attention grows with the position.
 *
 *   tokens       i64[n]  prompt, given with its length; n below the context
 *   cursor       i64[2]  position, token chosen last: the state; 0, 0 begins a sequence
 *   token        i64[1]  token behind the position: of the prompt as long as there is one, else the
 *                        most likely one; -1 from a job behind the end
 *   logits       f32[vocabulary]
 *   next_cursor  i64[2]  feeds cursor
 *
 * Keys and values are state that needs no second half: entries at and behind the committed position
 * are not read before they are written again, so a job that ends early leaves what it found.
 *
 * From its record until it is placed a model computes every job at the last position of its
 * context, on a cache that is in memory as a whole: the longest job there is. Profiles are made
 * then.
 */

#include "backend/surface.h"

#include <aegisrt/ext/backend_ops.h>

enum {
    LANGUAGE_TOKENS = 0,
    LANGUAGE_CURSOR,
    LANGUAGE_INPUTS
};
enum {
    LANGUAGE_TOKEN = 0,
    LANGUAGE_LOGITS,
    LANGUAGE_NEXT_CURSOR,
    LANGUAGE_OUTPUTS
};

/* First member of every such model: its ops below take the model's pointer. */
typedef struct aegis_language {
    aegis_allocator allocator;
    const char *component; /* in messages; static */
    aegis_surface surface;
    const char *hash;      /* borrowed from what computes */
    char label[224];       /* holds the longest that write_label of cuda_model.c makes */
    uint64_t memory_limit; /* 0: none */
    bool stop_at_end;
    bool stream;      /* weights that do not fit into memory_limit come from elsewhere */
    uint32_t prompt;  /* tokens of it */
    int64_t *written; /* those of a text; NULL: sources fill the input */

    uint32_t segment_count;
    uint32_t next; /* segment that is due */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_room, lifetime_count;
    aegis_cut_candidate *candidates;
    size_t candidate_room;
    bool recorded, placed;
} aegis_language;

/* The parts of `config` that need no model, checked: UNSUPPORTED (threads), CONFIG (streaming
 * without a limit, or with cuts). */
aegis_status aegis_language_init(aegis_language *language,
                                 const char *component,
                                 const aegis_model_config *config,
                                 const aegis_allocator *allocator,
                                 aegis_error *err);
/* Of one that was only zeroed too. */
void aegis_language_finish(aegis_language *language);

/* Makes the surface, with the state pair whether the configuration names it or not, and reads the
 * prompt where it is a text. CONFIG, and what the tokenizer says. */
aegis_status aegis_language_make_surface(aegis_language *language,
                                         const aegis_model_config *config,
                                         uint32_t context,
                                         uint32_t vocabulary,
                                         aegis_error *err);
uint64_t aegis_language_surface_bytes(const aegis_language *language);
/* The list of lifetimes, once. NO_MEMORY. */
aegis_status aegis_language_make_lifetimes(aegis_language *language, size_t room, aegis_error *err);
/* Room for candidates, once. NO_MEMORY. UNSUPPORTED (streamed), STATE (already cut, or placed). */
aegis_status
aegis_language_make_candidates(aegis_language *language, size_t room, aegis_error *err);

/* Jobs belong to no sequence and are as long as they can be. */
bool aegis_language_is_measured(const aegis_language *language);
/* INVALID_ARGUMENT (no such segment or slot), STATE (another segment is due). */
aegis_status aegis_language_check_segment(const aegis_language *language,
                                          uint32_t segment,
                                          uint32_t slot,
                                          aegis_error *err);

/* language_prompt.c: the tokens of the configuration's text into `written` and `prompt`. NOT_FOUND,
 * PARSE, UNSUPPORTED (the tokenizer), CONFIG (no token in it, or a shape that says otherwise). */
aegis_status aegis_language_read_prompt(aegis_language *language,
                                        const aegis_model_config *config,
                                        aegis_error *err);
/* Into the input of every slot, after sources have filled it. */
void aegis_language_write_prompt(const aegis_language *language);

/* Entries of an ops table. */
const char *aegis_language_hash(void *self);
const char *aegis_language_label(void *self);
bool aegis_language_is_valid(void *self);
const aegis_tensor_info *aegis_language_inputs(void *self, size_t *ret_count);
const aegis_tensor_info *aegis_language_outputs(void *self, size_t *ret_count);
uint32_t aegis_language_segment_count(void *self);
aegis_status aegis_language_lifetimes(void *self,
                                      const aegis_tensor_lifetime **ret_lifetimes,
                                      size_t *ret_count,
                                      aegis_error *err);
bool aegis_language_is_placed(void *self);
void aegis_language_commit(void *self);
void aegis_language_last_spill(void *self, aegis_model_spill *ret_spill);
const char *aegis_language_version(void *backend);

#endif
