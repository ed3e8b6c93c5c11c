/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/cuda/residency.h"

#include <stddef.h>

/* ---- dividing ---- */

uint64_t aegis_residency_least(uint32_t layers, uint64_t layer_bytes)
{
    return layer_bytes * (layers < AEGIS_RESIDENCY_SLOTS ? layers : AEGIS_RESIDENCY_SLOTS);
}

static uint64_t quotient_up(uint64_t value, uint64_t divisor)
{
    return (value + divisor - 1) / divisor;
}

bool aegis_residency_divide(uint32_t layers,
                            uint64_t layer_bytes,
                            uint64_t available_bytes,
                            uint32_t most_segments,
                            aegis_residency_plan *ret_plan)
{
    const uint64_t room = available_bytes / layer_bytes;
    *ret_plan = (aegis_residency_plan){.layers = layers};
    if (room >= layers) {
        return true;
    }
    if (room < AEGIS_RESIDENCY_SLOTS) {
        return false;
    }
    ret_plan->streamed = layers - (uint32_t)(room - AEGIS_RESIDENCY_SLOTS);
    const uint64_t for_bytes = quotient_up(AEGIS_RESIDENCY_SEGMENT_BYTES, layer_bytes);
    const uint64_t for_count = quotient_up(ret_plan->streamed, most_segments);
    uint64_t fetches = for_bytes > for_count ? for_bytes : for_count;
    fetches = fetches < ret_plan->streamed ? fetches : ret_plan->streamed;
    ret_plan->fetches = (uint32_t)fetches;
    ret_plan->segments = (uint32_t)quotient_up(ret_plan->streamed, fetches);
    return true;
}

uint32_t aegis_residency_streamed_before(const aegis_residency_plan *plan, uint32_t layer)
{
    return (uint32_t)((uint64_t)layer * plan->streamed / plan->layers);
}

bool aegis_residency_is_streamed(const aegis_residency_plan *plan, uint32_t layer)
{
    return aegis_residency_streamed_before(plan, layer + 1) >
           aegis_residency_streamed_before(plan, layer);
}

uint32_t aegis_residency_layer_of(const aegis_residency_plan *plan, uint32_t fetch)
{
    return (uint32_t)(quotient_up(((uint64_t)fetch + 1) * plan->layers, plan->streamed) - 1);
}

/* ---- segments ---- */

static bool is_last(const aegis_residency_plan *plan, uint32_t segment)
{
    return segment + 1 == plan->segments;
}

/* The fetch behind the last that a segment computes. */
static uint32_t computed_by(const aegis_residency_plan *plan, uint32_t segment)
{
    return is_last(plan, segment) ? plan->streamed : (segment + 1) * plan->fetches - 1;
}

uint32_t aegis_residency_end_of(const aegis_residency_plan *plan, uint32_t segment)
{
    return is_last(plan, segment) ? plan->layers
                                  : aegis_residency_layer_of(plan, computed_by(plan, segment));
}

typedef struct walk {
    const aegis_residency_plan *plan;
    aegis_residency_slots *slots;
    const aegis_residency_ops *ops;
    void *self;
    uint32_t next_fetch, end_fetch;
} walk;

static aegis_status fetch_next(walk *w, bool behind_launch, aegis_error *err)
{
    if (w->next_fetch >= w->end_fetch) {
        return AEGIS_OK;
    }
    const uint32_t fetch = w->next_fetch++;
    aegis_status status = w->ops->fetch(w->self, fetch, behind_launch, err);
    if (status == AEGIS_OK) {
        w->slots->fetch[fetch % AEGIS_RESIDENCY_SLOTS] = fetch;
    }
    return status;
}

/* What stays up to the fetched layer, that layer, and its slot is free again. */
static aegis_status compute(walk *w, uint32_t fetch, uint32_t *layer, aegis_error *err)
{
    const uint32_t at = aegis_residency_layer_of(w->plan, fetch);
    aegis_status status = AEGIS_OK;
    if (*layer < at) {
        status = w->ops->launch(w->self, *layer, at, err);
    }
    if (status == AEGIS_OK) {
        status = w->ops->launch_fetched(w->self, at, fetch, err);
    }
    *layer = at + 1;
    return status == AEGIS_OK ? fetch_next(w, true, err) : status;
}

static aegis_status run(walk *w, uint32_t segment, aegis_error *err)
{
    const uint32_t first = segment > 0 ? computed_by(w->plan, segment - 1) : 0;
    const uint32_t end = computed_by(w->plan, segment);
    const uint32_t end_layer = aegis_residency_end_of(w->plan, segment);
    uint32_t layer = segment > 0 ? aegis_residency_end_of(w->plan, segment - 1) : 0;
    w->end_fetch = is_last(w->plan, segment) ? end : end + 1;
    w->next_fetch = first + (w->slots->fetch[first % AEGIS_RESIDENCY_SLOTS] == first);
    aegis_status status = w->ops->begin(w->self, err);
    while (status == AEGIS_OK && w->next_fetch < w->end_fetch &&
           w->next_fetch < first + AEGIS_RESIDENCY_SLOTS) {
        status = fetch_next(w, false, err);
    }
    for (uint32_t fetch = first; fetch < end && status == AEGIS_OK; fetch++) {
        status = compute(w, fetch, &layer, err);
    }
    if (status == AEGIS_OK && layer < end_layer) {
        status = w->ops->launch(w->self, layer, end_layer, err);
    }
    return status == AEGIS_OK && w->end_fetch > end ? w->ops->await(w->self, end, err) : status;
}

aegis_status aegis_residency_run(const aegis_residency_plan *plan,
                                 uint32_t segment,
                                 aegis_residency_slots *slots,
                                 const aegis_residency_ops *ops,
                                 void *self,
                                 aegis_error *err)
{
    const aegis_residency_slots empty = {{AEGIS_RESIDENCY_NOTHING, AEGIS_RESIDENCY_NOTHING}};
    walk w = {.plan = plan, .slots = slots, .ops = ops, .self = self};
    if (segment == 0) {
        *slots = empty;
    }
    aegis_status status = run(&w, segment, err);
    if (status != AEGIS_OK) {
        *slots = empty;
    }
    return status;
}
