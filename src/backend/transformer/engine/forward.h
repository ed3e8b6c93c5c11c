/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_FORWARD_H
#define AEGIS_TRANSFORMER_FORWARD_H

/*
 * One pass of rows through the model. A row is a token of one sequence at one position; rows of a
 * pass may belong to one sequence (a prompt, a draft) or to several (a batch). The bits of a row's
 * logits do not depend on the other rows of its pass, on the partition or on the number of threads.
 *
 * A pass runs in steps, so that a caller can bound how long it keeps a lane: aegis_forward_run goes
 * on until a given piece of the partition would be computed.
 */

#include "backend/transformer/engine/weights.h"
#include "backend/transformer/tensor/product.h"

typedef struct aegis_forward_row {
    uint32_t sequence, position, token;
    bool wants_logits;
} aegis_forward_row;

typedef struct aegis_forward_limits {
    uint32_t sequences;     /* key and value caches */
    uint32_t positions;     /* of each */
    uint32_t rows;          /* of a pass */
    uint32_t logits;        /* rows of a pass that want them */
    bool half_cache;        /* keys and values as f16 */
    uint64_t scratch_bytes; /* of the multiplier, for each thread */
} aegis_forward_limits;

typedef struct aegis_forward aegis_forward;

/* Bytes of caches, and of everything else that create takes with `threads` threads. */
uint64_t aegis_forward_cache_bytes(const aegis_decoder_config *config,
                                   const aegis_forward_limits *limits);
uint64_t aegis_forward_work_bytes(const aegis_decoder_config *config,
                                  const aegis_forward_limits *limits,
                                  uint32_t threads);

/* Borrows weights (loaded), kernels and pool. The kernels make all products until the caller sets
 * another multiplier, whose scratch the limits hold. NO_MEMORY. */
aegis_status aegis_forward_create(aegis_weights *weights,
                                  const aegis_kernels *kernels,
                                  aegis_compute_pool *pool,
                                  const aegis_forward_limits *limits,
                                  const aegis_allocator *allocator,
                                  aegis_forward **ret_forward,
                                  aegis_error *err);
/* Borrowed. */
void aegis_forward_multiply_by(aegis_forward *forward, const aegis_multiplier *multiplier);
/* NULL is fine. */
void aegis_forward_destroy(aegis_forward *forward);

/*
 * Begins a pass; the rows are copied. `follows`: another pass comes behind it, with logits wanted
 * (`next_logits`) or not, so that its weights can be read ahead. Keys and values of the rows'
 * positions are overwritten as the pass goes; positions before them must have been computed. A pass
 * that fails leaves the caches before its rows as they were. INVALID_ARGUMENT (limits, token out of
 * the vocabulary), IO (row of the table).
 */
aegis_status aegis_forward_begin(aegis_forward *forward,
                                 const aegis_forward_row *rows,
                                 uint32_t count,
                                 bool follows,
                                 bool next_logits,
                                 aegis_error *err);
/* Goes on up to piece `until` (UINT32_MAX: to the end). IO. */
aegis_status
aegis_forward_run(aegis_forward *forward, uint32_t until, bool *ret_done, aegis_error *err);
/* Logits of the n-th row that wanted them, once the pass is done; the vocabulary's size. */
float *aegis_forward_logits(const aegis_forward *forward, uint32_t index);

#endif
