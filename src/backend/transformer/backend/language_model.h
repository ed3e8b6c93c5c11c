/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_LANGUAGE_MODEL_H
#define AEGIS_TRANSFORMER_LANGUAGE_MODEL_H

/*
 * The runner as a model with jobs (language_base.h).
 *
 * A streamed model has segments of its own making: those that wait for bytes do so before they run,
 * and one that runs does not wait.
 */

#include "backend/block.h"
#include "backend/transformer/backend/language_base.h"
#include "backend/transformer/backend/runner.h"

#include <stdatomic.h>

#define AEGIS_LANGUAGE "backend.transformer"

typedef struct language_backend {
    aegis_allocator allocator;
} language_backend;

typedef struct language_segment {
    uint32_t end;                    /* piece */
    uint32_t first_group, end_group; /* of bytes that come from the files */
    void *working;                   /* trial memory, or a planned address */
} language_segment;

typedef struct language_model {
    aegis_language base;    /* first; its allocator counts */
    aegis_allocator source; /* what stands behind that one */
    _Atomic uint64_t held;  /* bytes from it, beside this structure */
    aegis_runner *runner;
    const aegis_runner_facts *facts;
    language_segment *segments;
    void *crossing, *trial; /* trial: one block under crossing and working, until placed */

    /* The job that is going on. */
    uint32_t saved;              /* segment at whose start the runner was saved */
    uint32_t position;           /* the step's */
    bool behind_end;             /* nothing to do */
    _Atomic uint64_t generation; /* odd while a segment runs */
    _Atomic uint64_t stop;       /* the generation that is to end */
} language_model;

/* language_place.c */
aegis_status aegis_language_record(void *self, aegis_stream *stream, aegis_error *err);
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
