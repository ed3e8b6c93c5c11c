/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_NULL_MODEL_H
#define AEGIS_BACKEND_NULL_MODEL_H

/* What the files of the null runtime share: one open model. */

#include "backend/block.h"
#include "backend/null/null.h"
#include "backend/tape.h"

#include <aegisrt/ext/backend_ops.h>

#include <stdatomic.h>

#define AEGIS_NULL "backend.null"

typedef struct null_backend {
    aegis_allocator allocator;
    aegis_reserve reserve;
} null_backend;

typedef struct null_segment {
    aegis_tape tape;
    void **addresses; /* planned, one per allocation of the tape */
    void **live;      /* what the script holds while it runs */
} null_segment;

typedef struct null_model {
    null_backend *backend;
    aegis_allocator allocator;
    aegis_null_file file;
    aegis_surface surface;
    char hash[AEGIS_SHA256_HEX_BYTES];
    uint64_t memory_limit;
    null_segment *segments;
    unsigned char *weights, *prepacked; /* trial blocks until placed */
    unsigned char **boundaries;         /* one a boundary tensor of the file; likewise */
    uint64_t *digests;                  /* per slot: what a job has computed so far */
    aegis_tensor_lifetime *lifetimes;
    size_t lifetime_count, lifetime_capacity;
    aegis_cut_candidate *candidates;
    uint64_t *marks; /* set while candidates are measured: when each operator ended */
    aegis_player player;
    aegis_tape *recording; /* set while recording */
    /* With early copies what segments read of the inputs, slot by slot, as if on a device; else
     * NULL. */
    unsigned char *copied;
    bool placed, recorded, lost;
    uint64_t runs;
    _Atomic uint64_t generation; /* odd while a segment runs */
    _Atomic uint64_t stop;       /* the generation that is to end */
    unsigned char empty[64];
} null_model;

/* null.c */
void aegis_null_fill_weights(null_model *model);
void aegis_null_free_trial(null_model *model);
aegis_status
aegis_null_check_limit(const null_model *model, uint64_t activations, aegis_error *err);

/* null_run.c */
uint64_t aegis_null_now_ns(void);
aegis_status
aegis_null_run_segment(null_model *model, uint32_t segment, uint32_t slot, aegis_error *err);
aegis_status aegis_null_execute(
    void *self, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
void aegis_null_terminate(void *self);
aegis_status
aegis_null_enqueue_inputs(void *self, uint32_t slot, aegis_stream *stream, aegis_error *err);
/* Of all inputs in one slot. */
uint64_t aegis_null_input_bytes(const null_model *model);

/* null_place.c */
aegis_status aegis_null_record(void *self, aegis_stream *stream, aegis_error *err);
aegis_status aegis_null_lifetimes(void *self,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err);
aegis_status aegis_null_place(void *self, const aegis_model_placement *placement, aegis_error *err);

/* null_candidates.c */
aegis_status aegis_null_cut_candidates(void *self,
                                       aegis_stream *stream,
                                       const aegis_cut_candidate **ret_candidates,
                                       size_t *ret_count,
                                       aegis_error *err);

#endif
