/* SPDX-License-Identifier: Apache-2.0 */

/* Models come, are sealed, bound and released. Every change is prepared beside the state and
 * entered at the end, so that a failure leaves everything as it was. */

#include "orchestrator_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

aegis_status aegis_memory_orchestrator_create(const aegis_memory_config *config,
                                              const aegis_planner *planner,
                                              const aegis_allocator *allocator,
                                              aegis_memory_orchestrator **ret_orchestrator,
                                              aegis_error *err)
{
    if (config == NULL || planner == NULL || planner->ops == NULL || allocator == NULL ||
        ret_orchestrator == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "config, planner, allocator and output must be given");
    }
    if (config->capacity_bytes == 0 || config->capacity_bytes > AEGIS_MEMORY_MAX_BYTES ||
        config->lanes == 0) {
        return aegis_error_set(
            err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_INVALID_ARGUMENT,
            "capacity %" PRIu64 " and %u lanes: 1 to 2^61 bytes and at least one lane are needed",
            config->capacity_bytes, config->lanes);
    }
    if (config->spill_bytes_per_lane > config->capacity_bytes ||
        aegis_align_up(config->spill_bytes_per_lane, AEGIS_MEMORY_GRAIN) >
            config->capacity_bytes / config->lanes) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                               "spill regions of %" PRIu64
                               " bytes for %u lanes exceed the capacity %" PRIu64,
                               config->spill_bytes_per_lane, config->lanes, config->capacity_bytes);
    }
    aegis_memory_orchestrator *o = aegis_allocate_zeroed(allocator, 1, sizeof *o);
    aegis_lane_region *lanes = aegis_allocate_zeroed(allocator, config->lanes, sizeof *lanes);
    if (o == NULL || lanes == NULL) {
        aegis_deallocate(allocator, o, 1, sizeof *o);
        aegis_deallocate(allocator, lanes, config->lanes, sizeof *lanes);
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for an orchestrator");
    }
    *o = (aegis_memory_orchestrator){
        .allocator = *allocator, .config = *config, .planner = *planner, .lanes = lanes};
    o->config.spill_bytes_per_lane =
        aegis_align_up(config->spill_bytes_per_lane, AEGIS_MEMORY_GRAIN);
    o->peak_bytes = aegis_layout_planned(o, NULL);
    *ret_orchestrator = o;
    return AEGIS_OK;
}

void aegis_memory_orchestrator_destroy(aegis_memory_orchestrator *o)
{
    if (o == NULL) {
        return;
    }
    aegis_allocator allocator = o->allocator;
    for (size_t i = 0; i < o->count; i++) {
        aegis_model_plan_destroy(o, o->models[i]);
    }
    aegis_deallocate(&allocator, o->models, o->room, sizeof(aegis_model_plan *));
    aegis_deallocate(&allocator, o->shares, o->share_room, sizeof(aegis_memory_share *));
    aegis_deallocate(&allocator, o->extents, o->extent_room, sizeof *o->extents);
    aegis_deallocate(&allocator, o->lanes, o->config.lanes, sizeof *o->lanes);
    aegis_deallocate(&allocator, o, 1, sizeof *o);
}

/* Index of a model, or o->count. */
static size_t find_model(const aegis_memory_orchestrator *o, uint32_t model)
{
    size_t i = 0;
    while (i < o->count && o->models[i]->binding.model != model) {
        i++;
    }
    return i;
}

static aegis_status not_found(uint32_t model, aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NOT_FOUND,
                           "no model %" PRIu32 " is planned here", model);
}

static aegis_status make_room(aegis_memory_orchestrator *o, aegis_error *err)
{
    if (o->count < o->room) {
        return AEGIS_OK;
    }
    size_t room = o->room == 0 ? 16 : 2 * o->room;
    aegis_model_plan **models =
        aegis_allocate_zeroed(&o->allocator, room, sizeof(aegis_model_plan *));
    if (models == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu models", room);
    }
    if (o->count > 0) {
        memcpy(models, o->models, o->count * sizeof(aegis_model_plan *));
    }
    aegis_deallocate(&o->allocator, o->models, o->room, sizeof(aegis_model_plan *));
    o->models = models;
    o->room = room;
    return AEGIS_OK;
}

/* After the seal: the lane's region is what it is, the rest goes to the first holes. */
static aegis_status
admit_sealed(aegis_memory_orchestrator *o, aegis_model_plan *m, aegis_error *err)
{
    const aegis_lane_region *lane = &o->lanes[m->binding.lane];
    if (m->binding.activation_height > lane->size ||
        (m->binding.activation_height > 0 && lane->offset % m->activation_alignment != 0)) {
        return aegis_refuse_region(o, m, err);
    }
    if (m->binding.paged_bytes > lane->paged_size ||
        (m->binding.paged_bytes > 0 && lane->paged_offset % m->paged_alignment != 0)) {
        return aegis_refuse_paged(o, m, err);
    }
    uint64_t largest = 0;
    if (!aegis_layout_find_holes(o, NULL, m, &largest)) {
        return aegis_refuse_hole(o, m, largest, err);
    }
    aegis_model_plan_locate(m, lane, m->block_offset);
    return aegis_layout_verify(o, m, err);
}

static aegis_status admit(aegis_memory_orchestrator *o,
                          const aegis_memory_demand *demand,
                          aegis_model_plan *m,
                          aegis_error *err)
{
    if (demand->limit_bytes != 0 && m->binding.total_bytes > demand->limit_bytes) {
        return aegis_refuse_budget(o, m, demand->limit_bytes, err);
    }
    if (o->sealed) {
        return admit_sealed(o, m, err);
    }
    return aegis_layout_end(o, NULL, m) <= o->config.capacity_bytes ? AEGIS_OK
                                                                    : aegis_refuse_arena(o, m, err);
}

aegis_status aegis_memory_orchestrator_plan(aegis_memory_orchestrator *o,
                                            const aegis_memory_demand *demand,
                                            aegis_error *err)
{
    if (o == NULL || demand == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "orchestrator and demand must be given");
    }
    if (find_model(o, demand->model) < o->count) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_EXISTS,
                               "model %" PRIu32 " is planned already: release it first",
                               demand->model);
    }
    bool fixed = o->sealed && demand->lane < o->config.lanes;
    aegis_model_plan *m = NULL;
    o->refused = false;
    aegis_status status = make_room(o, err);
    if (status == AEGIS_OK) {
        status = aegis_model_plan_create(o, demand,
                                         fixed ? o->lanes[demand->lane].size : UINT64_MAX, &m, err);
    }
    if (status == AEGIS_OK) {
        status = aegis_share_reserve(o, m, err);
    }
    if (status == AEGIS_OK) {
        status = admit(o, demand, m, err);
    }
    if (status != AEGIS_OK) {
        aegis_model_plan_destroy(o, m);
        return status;
    }
    aegis_share_enter(o, m);
    o->models[o->count++] = m;
    uint64_t planned = aegis_layout_planned(o, NULL);
    o->peak_bytes = planned > o->peak_bytes ? planned : o->peak_bytes;
    return AEGIS_OK;
}

/* Fixes the regions of the lanes; returns where the permanent part starts. */
static uint64_t place_lanes(aegis_memory_orchestrator *o)
{
    uint64_t end = 0;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        aegis_lane_region *l = &o->lanes[lane];
        l->size = aegis_layout_lane(o, lane, NULL, NULL, &l->alignment);
        l->offset = l->size == 0 ? end : aegis_align_up(end, l->alignment);
        end = l->offset + l->size;
    }
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        aegis_lane_region *l = &o->lanes[lane];
        l->paged_size = aegis_layout_paged(o, lane, NULL, NULL, &l->paged_alignment);
        l->paged_offset = l->paged_size == 0 ? end : aegis_align_up(end, l->paged_alignment);
        end = l->paged_offset + l->paged_size;
    }
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        o->lanes[lane].spill_offset = end;
        end += o->config.spill_bytes_per_lane;
    }
    return end;
}

aegis_status aegis_memory_orchestrator_seal(aegis_memory_orchestrator *o, aegis_error *err)
{
    if (o == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT, "an orchestrator must be given");
    }
    if (o->sealed) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_STATE,
                               "the layout is sealed already: unseal it first");
    }
    uint64_t end = aegis_layout_end(o, NULL, NULL);
    if (end > o->config.capacity_bytes) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                               "the layout ends at %" PRIu64 ", the arena at %" PRIu64, end,
                               o->config.capacity_bytes);
    }
    end = o->permanent_base = place_lanes(o);
    for (size_t i = 0; i < o->count; i++) {
        aegis_model_plan *m = o->models[i];
        m->block_offset =
            m->binding.permanent_bytes == 0 ? end : aegis_align_up(end, m->block_alignment);
        end = m->block_offset + m->binding.permanent_bytes;
    }
    for (size_t i = 0; i < o->share_count; i++) {
        o->shares[i]->offset = aegis_align_up(end, o->shares[i]->alignment);
        end = o->shares[i]->offset + aegis_share_size(o->shares[i]);
    }
    aegis_status status = aegis_layout_verify(o, NULL, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < o->count; i++) {
        aegis_model_plan *m = o->models[i];
        aegis_model_plan_locate(m, &o->lanes[m->binding.lane], m->block_offset);
    }
    o->sealed = true;
    return AEGIS_OK;
}

aegis_status aegis_memory_orchestrator_unseal(aegis_memory_orchestrator *o, aegis_error *err)
{
    if (o == NULL || !o->sealed) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               o == NULL ? AEGIS_ERROR_INVALID_ARGUMENT : AEGIS_ERROR_STATE,
                               "only a sealed layout can be opened again");
    }
    for (size_t i = 0; i < o->count; i++) {
        aegis_model_plan *m = o->models[i];
        aegis_model_plan_unlocate(m, &o->lanes[m->binding.lane]);
    }
    o->sealed = false;
    return AEGIS_OK;
}

/* Where everything lies: what compact goes back to. */
typedef struct saved_layout {
    aegis_lane_region *lanes;
    uint64_t *offsets; /* of the models' blocks, then of what is shared */
    uint64_t permanent_base;
} saved_layout;

static void forget_layout(const aegis_memory_orchestrator *o, saved_layout *saved)
{
    aegis_deallocate(&o->allocator, saved->lanes, o->config.lanes, sizeof *saved->lanes);
    aegis_deallocate(&o->allocator, saved->offsets, o->count + o->share_count + 1,
                     sizeof *saved->offsets);
}

static aegis_status
save_layout(const aegis_memory_orchestrator *o, saved_layout *ret_saved, aegis_error *err)
{
    saved_layout saved = {.permanent_base = o->permanent_base};
    saved.lanes = aegis_allocate_zeroed(&o->allocator, o->config.lanes, sizeof *saved.lanes);
    saved.offsets =
        aegis_allocate_zeroed(&o->allocator, o->count + o->share_count + 1, sizeof *saved.offsets);
    if (saved.lanes == NULL || saved.offsets == NULL) {
        forget_layout(o, &saved);
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to lay %zu models out anew", o->count);
    }
    memcpy(saved.lanes, o->lanes, o->config.lanes * sizeof *saved.lanes);
    for (size_t i = 0; i < o->count; i++) {
        saved.offsets[i] = o->models[i]->block_offset;
    }
    for (size_t i = 0; i < o->share_count; i++) {
        saved.offsets[o->count + i] = o->shares[i]->offset;
    }
    *ret_saved = saved;
    return AEGIS_OK;
}

/* Into an unsealed orchestrator. */
static void restore_layout(aegis_memory_orchestrator *o, const saved_layout *saved)
{
    assert(saved->lanes != NULL && saved->offsets != NULL);
    memcpy(o->lanes, saved->lanes, o->config.lanes * sizeof *saved->lanes);
    o->permanent_base = saved->permanent_base;
    for (size_t i = 0; i < o->share_count; i++) {
        o->shares[i]->offset = saved->offsets[o->count + i];
    }
    for (size_t i = 0; i < o->count; i++) {
        aegis_model_plan *m = o->models[i];
        m->block_offset = saved->offsets[i];
        aegis_model_plan_locate(m, &o->lanes[m->binding.lane], m->block_offset);
    }
    o->sealed = true;
}

static aegis_status lay_out_anew(aegis_memory_orchestrator *o, aegis_error *err)
{
    saved_layout saved = {0};
    aegis_status status = save_layout(o, &saved, err);
    if (status != AEGIS_OK) {
        return status;
    }
    status = aegis_memory_orchestrator_unseal(o, err);
    if (status == AEGIS_OK) {
        status = aegis_memory_orchestrator_seal(o, err);
        if (status != AEGIS_OK) {
            restore_layout(o, &saved);
        }
    }
    forget_layout(o, &saved);
    return status;
}

aegis_status aegis_memory_orchestrator_compact(aegis_memory_orchestrator *o, aegis_error *err)
{
    if (o != NULL && o->sealed) {
        /* Another order can lose more to large alignments than the holes have. */
        uint64_t end = aegis_layout_end(o, NULL, NULL);
        if (end > o->config.capacity_bytes) {
            return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                                   "laid out anew it would end at %" PRIu64
                                   ", the arena at %" PRIu64 ": nothing was moved",
                                   end, o->config.capacity_bytes);
        }
    }
    return o != NULL && o->sealed ? lay_out_anew(o, err)
                                  : aegis_memory_orchestrator_unseal(o, err); /* says why not */
}

aegis_status aegis_memory_orchestrator_bind(aegis_memory_orchestrator *o,
                                            uint32_t model,
                                            const aegis_memory_binding **ret_binding,
                                            aegis_error *err)
{
    if (o == NULL || ret_binding == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "orchestrator and output must be given");
    }
    size_t i = find_model(o, model);
    if (i == o->count) {
        return not_found(model, err);
    }
    if (!o->sealed) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_STATE,
                               "model %" PRIu32 " has no final offsets before the seal: seal first",
                               model);
    }
    *ret_binding = &o->models[i]->binding;
    return AEGIS_OK;
}

aegis_status
aegis_memory_orchestrator_release(aegis_memory_orchestrator *o, uint32_t model, aegis_error *err)
{
    if (o == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT, "an orchestrator must be given");
    }
    size_t i = find_model(o, model);
    if (i == o->count) {
        return not_found(model, err);
    }
    aegis_model_plan_destroy(o, o->models[i]);
    o->count--;
    memmove(&o->models[i], &o->models[i + 1], (o->count - i) * sizeof(aegis_model_plan *));
    return AEGIS_OK;
}

aegis_status aegis_memory_orchestrator_spill_region(const aegis_memory_orchestrator *o,
                                                    uint16_t lane,
                                                    uint64_t *ret_offset,
                                                    uint64_t *ret_size,
                                                    aegis_error *err)
{
    if (o == NULL || ret_offset == NULL || ret_size == NULL || lane >= o->config.lanes) {
        return aegis_error_set(
            err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_INVALID_ARGUMENT,
            "orchestrator, outputs and one of its lanes must be given; lane is %u", lane);
    }
    if (!o->sealed) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_STATE,
                               "lane %u has no spill region before the seal: seal first", lane);
    }
    *ret_offset = o->lanes[lane].spill_offset;
    *ret_size = o->config.spill_bytes_per_lane;
    return AEGIS_OK;
}
