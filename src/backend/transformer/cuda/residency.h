/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_RESIDENCY_H
#define AEGIS_TRANSFORMER_CUDA_RESIDENCY_H

/*
 * Which layers of a model stay in the device's memory and which come from pinned host memory for
 * every job, and in what order a segment fetches and computes.
 *
 * Layers that come pass through two slots, each as large as a layer: while one is computed the next
 * is copied. They are spread evenly over the model, and the last layer is one of them. A fetch is
 * the n-th of them; it goes to slot n % 2.
 *
 * A segment fetches `fetches` layers (the last one what is left) and computes everything up to the
 * last that it has fetched, which the next segment begins with; the last segment computes that too.
 * What a segment fetches has arrived when the segment ends: so no copy goes on beside the segments
 * of other models, each segment's time holds its copies, and these are the same for every job. The
 * slots hold nothing from one job to the next.
 *
 * Plain C, no CUDA: the order is tested where there is no GPU.
 */

#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#define AEGIS_RESIDENCY_SLOTS 2u
#define AEGIS_RESIDENCY_NOTHING UINT32_MAX
/* A segment of less would spend too much of its time on being dispatched. */
#define AEGIS_RESIDENCY_SEGMENT_BYTES ((uint64_t)16 << 20)

typedef struct aegis_residency_plan {
    uint32_t layers;
    uint32_t streamed; /* of them; 0: all stay, and the rest means nothing */
    uint32_t fetches;  /* of a segment */
    uint32_t segments;
} aegis_residency_plan;

/* The least memory in which layers can be computed. */
uint64_t aegis_residency_least(uint32_t layers, uint64_t layer_bytes);
/* As many layers stay as fit into `available_bytes` beside the slots; all when they do. False when
 * it is less than the least. At most `most_segments` segments. */
bool aegis_residency_divide(uint32_t layers,
                            uint64_t layer_bytes,
                            uint64_t available_bytes,
                            uint32_t most_segments,
                            aegis_residency_plan *ret_plan);

bool aegis_residency_is_streamed(const aegis_residency_plan *plan, uint32_t layer);
/* Of the layers before `layer`, how many are streamed. */
uint32_t aegis_residency_streamed_before(const aegis_residency_plan *plan, uint32_t layer);
/* The layer that a fetch brings. */
uint32_t aegis_residency_layer_of(const aegis_residency_plan *plan, uint32_t fetch);
/* The layer behind the last that a segment computes. */
uint32_t aegis_residency_end_of(const aegis_residency_plan *plan, uint32_t segment);

/* What carries a segment out, in the order of the calls. */
typedef struct aegis_residency_ops {
    /* Fetches begin behind everything that was launched before. */
    aegis_status (*begin)(void *self, aegis_error *err);
    /* Into the slot, `behind_launch`: once the launch on that slot in this segment is done. */
    aegis_status (*fetch)(void *self, uint32_t fetch, bool behind_launch, aegis_error *err);
    /* Layers [first, last) that stay. */
    aegis_status (*launch)(void *self, uint32_t first, uint32_t last, aegis_error *err);
    /* One layer, once its fetch has arrived. */
    aegis_status (*launch_fetched)(void *self, uint32_t layer, uint32_t fetch, aegis_error *err);
    /* The segment ends once this fetch has arrived too. */
    aegis_status (*await)(void *self, uint32_t fetch, aegis_error *err);
} aegis_residency_ops;

/* What the slots hold by the time the device gets there. */
typedef struct aegis_residency_slots {
    uint32_t fetch[AEGIS_RESIDENCY_SLOTS];
} aegis_residency_slots;

/* One segment of a streamed model. Segment 0 begins a job; the one that ran last may run again and
 * then fetches what it has overwritten. After a failure the slots count as empty. */
aegis_status aegis_residency_run(const aegis_residency_plan *plan,
                                 uint32_t segment,
                                 aegis_residency_slots *slots,
                                 const aegis_residency_ops *ops,
                                 void *self,
                                 aegis_error *err);

#endif
