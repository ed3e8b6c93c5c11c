/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_ORCHESTRATOR_INTERNAL_H
#define AEGIS_RESOURCE_ORCHESTRATOR_INTERNAL_H

/* Shared by orchestrator.c (the life of models), orchestrator_model.c (planning one model by
 * itself), orchestrator_share.c (weights told by content), orchestrator_layout.c (where regions and
 * blocks lie) and orchestrator_report.c. */

#include <aegisrt/memory_plan.h>

#include "base/base.h"

#define AEGIS_MEMORY_GRAIN UINT64_C(64)

/* A range that is taken. */
typedef struct aegis_extent {
    uint64_t offset, end;
} aegis_extent;

/* Sizes above this are refused, so that sums of a few of them cannot wrap. */
#define AEGIS_MEMORY_MAX_BYTES (UINT64_C(1) << 61)

/* Weights, or packed copies of them, of one content. Belongs to the orchestrator once a model that
 * holds it has entered, before that to the model. */
typedef struct aegis_memory_share {
    aegis_memory_class memory_class; /* a packed copy and its weights never share */
    uint8_t content[AEGIS_CONTENT_BYTES];
    uint64_t size, alignment; /* size as asked for; the layout rounds it up */
    uint64_t offset;          /* after the seal */
    uint32_t holders;         /* models that have entered */
    uintptr_t holder_mix;     /* exclusive or of their addresses: with one holder, its address */
} aegis_memory_share;

/* One planned model. Offsets in the binding count from the lane's region or from the model's block
 * until aegis_model_plan_locate makes them final. */
typedef struct aegis_model_plan {
    aegis_memory_binding binding;
    aegis_memory_placement *placements;
    char *name;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT]; /* ACTIVATION, BOUNDARY: the height */
    uint64_t activation_sizes;                   /* sum */
    uint64_t activation_alignment, block_alignment, paged_alignment;
    uint64_t block_offset;         /* after the seal */
    aegis_memory_share **share_of; /* by placement; NULL: in the block, or an activation */
    aegis_memory_share **shares;   /* the different ones; as long as share_of */
    size_t share_count;
    bool entered;
    uint64_t unjoined_bytes; /* of packed copies that are there, which it may not join any more */
    /* where the activations peak */
    uint32_t peak_segment;
    int64_t peak_at;
    uint64_t peak_bytes;
    size_t peak_count;
    uint32_t peak_tensors[AEGIS_REFUSAL_TENSORS];
    uint64_t peak_tensor_bytes[AEGIS_REFUSAL_TENSORS];
} aegis_model_plan;

typedef struct aegis_lane_region {
    uint64_t offset, size, alignment; /* of activations; valid after the seal */
    uint64_t paged_offset, paged_size, paged_alignment;
    uint64_t spill_offset;
} aegis_lane_region;

struct aegis_memory_orchestrator {
    aegis_allocator allocator;
    aegis_memory_config config; /* spill_bytes_per_lane rounded up */
    aegis_planner planner;
    bool sealed;
    aegis_lane_region *lanes;
    uint64_t permanent_base;   /* after the seal */
    aegis_model_plan **models; /* in the order of planning */
    size_t count, room;
    aegis_memory_share **shares; /* in the order of their first holders */
    size_t share_count, share_room;
    aegis_extent *extents; /* scratch of the layout: room + share_room + 1 */
    size_t extent_room;
    uint64_t peak_bytes;
    bool refused;
    aegis_memory_refusal refusal;
};

/* ---- orchestrator_model.c ---- */

/* Plans a model by itself. Activations are planned again to fit `region_bytes` when their least
 * known height is above it and the bound is not; UINT64_MAX: never. */
aegis_status aegis_model_plan_create(aegis_memory_orchestrator *o,
                                     const aegis_memory_demand *demand,
                                     uint64_t region_bytes,
                                     aegis_model_plan **ret_model,
                                     aegis_error *err);
/* Also gives up what it holds of the shares. */
void aegis_model_plan_destroy(aegis_memory_orchestrator *o, aegis_model_plan *model);
/* Adds the bases of the lane's regions and of the block to every placement; shares are where they
 * are. Once, or again after unlocate. */
void aegis_model_plan_locate(aegis_model_plan *model,
                             const aegis_lane_region *lane,
                             uint64_t block_offset);
void aegis_model_plan_unlocate(aegis_model_plan *model, const aegis_lane_region *lane);

/* ---- orchestrator_share.c ---- */

/* Whether a tensor is placed by its content. Packed copies are so before the seal only: loading
 * writes them, and after it models that read them may be running. */
bool aegis_share_wanted(const aegis_memory_orchestrator *o, const aegis_tensor_lifetime *lifetime);
bool aegis_share_has_content(const aegis_tensor_lifetime *lifetime);
/* Bytes that the tensor would not need if it were placed by its content. */
uint64_t aegis_share_unjoined(const aegis_memory_orchestrator *o,
                              const aegis_tensor_lifetime *lifetime);
/* Gives placement `index` of a model that has not entered its share: the model's own with that
 * content, or the orchestrator's, or a new one. NO_MEMORY (host memory). */
aegis_status aegis_share_join(const aegis_memory_orchestrator *o,
                              aegis_model_plan *model,
                              size_t index,
                              const aegis_tensor_lifetime *lifetime,
                              aegis_error *err);
/* Room for what `enter` adds, so that it cannot fail. */
aegis_status
aegis_share_reserve(aegis_memory_orchestrator *o, const aegis_model_plan *model, aegis_error *err);
void aegis_share_enter(aegis_memory_orchestrator *o, aegis_model_plan *model);
/* Of a model that has entered or not; frees what nobody holds any more. */
void aegis_share_leave(aegis_memory_orchestrator *o, aegis_model_plan *model);
/* False when the share goes with `without` and `with` does not need it; both may be NULL. */
bool aegis_share_stays(const aegis_memory_share *share,
                       const aegis_model_plan *without,
                       const aegis_model_plan *with);
/* Bytes that the shares of these models take; `with` adds its new ones. */
uint64_t aegis_share_bytes(const aegis_memory_orchestrator *o,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with);
uint64_t aegis_share_size(const aegis_memory_share *share);

/* ---- orchestrator_layout.c; `without` and `with` may be NULL ---- */

/* Size of the lane's activation region for these models, and its alignment. */
uint64_t aegis_layout_lane(const aegis_memory_orchestrator *o,
                           uint16_t lane,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with,
                           uint64_t *ret_alignment);
/* The same for its paged region: the largest of the models, as one at a time lies there. */
uint64_t aegis_layout_paged(const aegis_memory_orchestrator *o,
                            uint16_t lane,
                            const aegis_model_plan *without,
                            const aegis_model_plan *with,
                            uint64_t *ret_alignment);
/* Before the seal: where the layout of these models would end. */
uint64_t aegis_layout_end(const aegis_memory_orchestrator *o,
                          const aegis_model_plan *without,
                          const aegis_model_plan *with);
/* After the seal: holes for the block and the new shares of `with`, which has reserved; their
 * offsets are written there. Returns false when there are none. */
bool aegis_layout_find_holes(const aegis_memory_orchestrator *o,
                             const aegis_model_plan *without,
                             aegis_model_plan *with,
                             uint64_t *ret_largest_hole);
/* What `with` would add to the permanent parts. */
uint64_t aegis_layout_added(const aegis_memory_orchestrator *o, const aegis_model_plan *with);
/* Checks by aegis_plan_verify that all regions and blocks are apart and within the capacity. */
aegis_status aegis_layout_verify(const aegis_memory_orchestrator *o,
                                 const aegis_model_plan *with,
                                 aegis_error *err);
/* Bytes of regions and blocks, without gaps between them. */
uint64_t aegis_layout_planned(const aegis_memory_orchestrator *o, const aegis_model_plan *without);

/* ---- orchestrator_refusal.c: fill the record and the message ---- */

aegis_status aegis_refuse_budget(aegis_memory_orchestrator *o,
                                 const aegis_model_plan *model,
                                 uint64_t limit_bytes,
                                 aegis_error *err);
aegis_status
aegis_refuse_arena(aegis_memory_orchestrator *o, aegis_model_plan *model, aegis_error *err);
aegis_status aegis_refuse_hole(aegis_memory_orchestrator *o,
                               aegis_model_plan *model,
                               uint64_t largest_hole,
                               aegis_error *err);
aegis_status
aegis_refuse_region(aegis_memory_orchestrator *o, const aegis_model_plan *model, aegis_error *err);
aegis_status
aegis_refuse_paged(aegis_memory_orchestrator *o, const aegis_model_plan *model, aegis_error *err);

#endif
