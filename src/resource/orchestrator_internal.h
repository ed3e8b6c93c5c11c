/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_RESOURCE_ORCHESTRATOR_INTERNAL_H
#define AEGIS_RESOURCE_ORCHESTRATOR_INTERNAL_H

/* Shared by orchestrator.c (the life of models), orchestrator_model.c (planning one model by
 * itself), orchestrator_layout.c (where regions and blocks lie) and orchestrator_report.c. */

#include <aegisrt/memory_plan.h>

#include "base/base.h"

#define AEGIS_MEMORY_GRAIN UINT64_C(64)

/* Sizes above this are refused, so that sums of a few of them cannot wrap. */
#define AEGIS_MEMORY_MAX_BYTES (UINT64_C(1) << 61)

/* One planned model. Offsets in the binding count from the lane's region or from the model's block
 * until aegis_model_plan_locate makes them final. */
typedef struct aegis_model_plan {
    aegis_memory_binding binding;
    aegis_memory_placement *placements;
    char *name;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT]; /* ACTIVATION, BOUNDARY: the height */
    uint64_t activation_sizes;                   /* sum */
    uint64_t activation_alignment, block_alignment;
    uint64_t block_offset; /* after the seal */
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
    uint64_t peak_bytes;
    bool refused;
    aegis_memory_refusal refusal;
};

/* ---- orchestrator_model.c ---- */

/* Plans a model by itself. Activations are planned again to fit `region_bytes` when their least
 * known height is above it and the bound is not; UINT64_MAX: never. */
aegis_status aegis_model_plan_create(const aegis_memory_orchestrator *o,
                                     const aegis_memory_demand *demand,
                                     uint64_t region_bytes,
                                     aegis_model_plan **ret_model,
                                     aegis_error *err);
void aegis_model_plan_destroy(aegis_model_plan *model, const aegis_allocator *allocator);
/* Adds the bases of the lane's region and of the block to every placement. Once. */
void aegis_model_plan_locate(aegis_model_plan *model, uint64_t lane_offset, uint64_t block_offset);

/* ---- orchestrator_layout.c; `without` and `with` may be NULL ---- */

/* Size of the lane's activation region for these models, and its alignment. */
uint64_t aegis_layout_lane(const aegis_memory_orchestrator *o,
                           uint16_t lane,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with,
                           uint64_t *ret_alignment);
/* Before the seal: where the layout of these models would end. */
uint64_t aegis_layout_end(const aegis_memory_orchestrator *o,
                          const aegis_model_plan *without,
                          const aegis_model_plan *with);
/* After the seal: the first hole for the block. Returns false when there is none. */
bool aegis_layout_find_hole(const aegis_memory_orchestrator *o,
                            const aegis_model_plan *without,
                            const aegis_model_plan *with,
                            uint64_t *ret_offset,
                            uint64_t *ret_largest_hole);
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
aegis_refuse_arena(aegis_memory_orchestrator *o, const aegis_model_plan *model, aegis_error *err);
aegis_status aegis_refuse_hole(aegis_memory_orchestrator *o,
                               const aegis_model_plan *model,
                               uint64_t largest_hole,
                               aegis_error *err);
aegis_status
aegis_refuse_region(aegis_memory_orchestrator *o, const aegis_model_plan *model, aegis_error *err);

#endif
