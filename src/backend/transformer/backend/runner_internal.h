/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_RUNNER_INTERNAL_H
#define AEGIS_TRANSFORMER_RUNNER_INTERNAL_H

/* What runner.c and runner_step.c share. */

#include "backend/transformer/backend/runner.h"
#include "backend/transformer/engine/forward_internal.h"

struct aegis_runner {
    aegis_allocator allocator;
    const aegis_kernels *kernels;
    aegis_graph_validated *graph;
    aegis_weights weights;
    aegis_partition *partition; /* all pinned */
    aegis_forward_limits limits;
    aegis_runner_facts facts;
    aegis_compute_pool *pool; /* of the calling thread alone */
    aegis_forward *forward;
    float *frequencies;
    bool moved;               /* weights and cache lie in the caller's memory */
    uint32_t blocks_together; /* of a streamed model: blocks of a segment */
    uint64_t head_bytes; /* of a streamed model: bytes of the head that a segment has at most */

    /* As saved. The values lie with what crosses. */
    float *saved_x, *saved_normed;
    uint32_t block, stage, piece;
    bool active, head_begun;
};

/* runner_plan.c: all weights stay when they fit into `available` bytes, else what fits.
 * BUDGET_EXCEEDED. */
aegis_status aegis_runner_plan(aegis_runner *runner, uint64_t available, aegis_error *err);

/* Bytes of the two areas of a step. */
void aegis_runner_measure(const aegis_runner *runner,
                          uint64_t *ret_crossing,
                          uint64_t *ret_working);

#endif
