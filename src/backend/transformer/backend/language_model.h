/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANGUAGE_MODEL_H
#define AEGIS_TRANSFORMER_LANGUAGE_MODEL_H

/*
 * The runner as a model with jobs. A job is one step of one sequence: it takes the token at its
 * position (of the prompt, or the one chosen last) and chooses the next. All jobs of a sequence
 * take the same path; only attention grows with the position.
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
 *
 * A streamed model has segments of its own making: those that wait for bytes do so before they run,
 * and one that runs does not wait.
 */

#include "backend/block.h"
#include "backend/surface.h"
#include "backend/transformer/backend/runner.h"

#include <aegisrt/ext/backend_ops.h>

#include <stdatomic.h>

#define AEGIS_LANGUAGE "backend.transformer"

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

typedef struct language_backend {
    aegis_allocator allocator;
} language_backend;

typedef struct language_segment {
    uint32_t end;                    /* piece */
    uint32_t first_group, end_group; /* of bytes that come from the files */
    void *working;                   /* trial memory, or a planned address */
} language_segment;

typedef struct language_model {
    aegis_allocator allocator;
    aegis_surface surface;
    aegis_runner *runner;
    const aegis_runner_facts *facts;
    char label[160];
    uint64_t memory_limit;
    bool stop_at_end, stream;
    uint32_t prompt;  /* tokens of it */
    int64_t *written; /* those of a text; NULL: sources fill the input */

    language_segment *segments;
    uint32_t segment_count;
    void *crossing, *trial; /* trial: one block under crossing and working, until placed */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count;
    aegis_cut_candidate *candidates;
    bool recorded, placed;

    /* The job that is going on. */
    uint32_t next;               /* segment that is due */
    uint32_t saved;              /* segment at whose start the runner was saved */
    uint32_t position;           /* the step's */
    bool behind_end;             /* nothing to do */
    _Atomic uint64_t generation; /* odd while a segment runs */
    _Atomic uint64_t stop;       /* the generation that is to end */
} language_model;

/* language_place.c */
size_t aegis_language_lifetime_room(const language_model *model);
aegis_status aegis_language_record(void *self, aegis_stream *stream, aegis_error *err);
aegis_status aegis_language_lifetimes(void *self,
                                      const aegis_tensor_lifetime **ret_lifetimes,
                                      size_t *ret_count,
                                      aegis_error *err);
aegis_status
aegis_language_place(void *self, const aegis_model_placement *placement, aegis_error *err);

/* language_run.c */
aegis_status aegis_language_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
void aegis_language_terminate(void *self);

/* Without waiting; not while a segment runs. */
bool aegis_language_is_ready(void *self, uint32_t segment);
uint64_t aegis_language_awaited_segments(void *self);
void aegis_language_watch(void *self, aegis_model_wake wake, void *watcher);

/* language_prompt.c: the tokens of the configuration's text into `written` and `prompt`. NOT_FOUND,
 * PARSE, UNSUPPORTED (the tokenizer), CONFIG (no token in it, or a shape that says otherwise). */
aegis_status aegis_language_read_prompt(language_model *model,
                                        const aegis_model_config *config,
                                        aegis_error *err);
/* Into the input of every slot, after sources have filled it. */
void aegis_language_write_prompt(const language_model *model);

/* language_cuts.c: the segments of a streamed model are given. */
aegis_status aegis_language_segment(language_model *model, aegis_error *err);
/* Segments at the given positions; CONFIG when a position is none. */
aegis_status
aegis_language_cut(language_model *model, const uint32_t *cuts, size_t count, aegis_error *err);
aegis_status aegis_language_cut_candidates(void *self,
                                           aegis_stream *stream,
                                           const aegis_cut_candidate **ret_candidates,
                                           size_t *ret_count,
                                           aegis_error *err);

#endif
