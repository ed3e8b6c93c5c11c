/* SPDX-License-Identifier: Apache-2.0 */

/* What is planned, what could be freed, what is shared. */

#include "orchestrator_internal.h"

#include <inttypes.h>
#include <string.h>

const char *aegis_memory_class_name(aegis_memory_class memory_class)
{
    switch (memory_class) {
    case AEGIS_MEMORY_WEIGHTS:
        return "weights";
    case AEGIS_MEMORY_PREPACKED:
        return "prepacked";
    case AEGIS_MEMORY_STATE:
        return "state";
    case AEGIS_MEMORY_INPUT:
        return "input";
    case AEGIS_MEMORY_OUTPUT:
        return "output";
    case AEGIS_MEMORY_ACTIVATION:
        return "activation";
    case AEGIS_MEMORY_BOUNDARY:
        return "boundary";
    case AEGIS_MEMORY_SPILL:
        return "spill";
    case AEGIS_MEMORY_PAGED:
        return "paged";
    case AEGIS_MEMORY_CLASS_COUNT:
        break;
    }
    return "unknown";
}

uint64_t aegis_memory_orchestrator_current(const aegis_memory_orchestrator *o)
{
    return aegis_layout_planned(o, NULL);
}

uint64_t aegis_memory_orchestrator_peak(const aegis_memory_orchestrator *o)
{
    return o->peak_bytes;
}

static uint64_t lane_bytes(const aegis_memory_orchestrator *o)
{
    uint64_t bytes = 0, alignment;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        bytes +=
            o->sealed ? o->lanes[lane].size : aegis_layout_lane(o, lane, NULL, NULL, &alignment);
    }
    return bytes;
}

static uint64_t paged_bytes(const aegis_memory_orchestrator *o)
{
    uint64_t bytes = 0, alignment;
    for (uint16_t lane = 0; lane < o->config.lanes; lane++) {
        bytes += o->sealed ? o->lanes[lane].paged_size
                           : aegis_layout_paged(o, lane, NULL, NULL, &alignment);
    }
    return bytes;
}

void aegis_memory_orchestrator_totals(const aegis_memory_orchestrator *o,
                                      aegis_memory_totals *ret_totals)
{
    aegis_memory_totals t = {.capacity_bytes = o->config.capacity_bytes,
                             .planned_bytes = aegis_layout_planned(o, NULL)};
    for (size_t i = 0; i < o->count; i++) {
        const aegis_model_plan *m = o->models[i];
        for (int c = 0; c < AEGIS_MEMORY_ACTIVATION; c++) {
            t.by_class[c] += m->by_class[c];
        }
        t.by_class[AEGIS_MEMORY_BOUNDARY] += m->by_class[AEGIS_MEMORY_BOUNDARY];
        t.activations_sum += m->binding.activation_height;
        t.sum_of_models += m->binding.total_bytes;
        t.shared_saved += m->binding.shared_bytes;
        t.paged_sum += m->binding.paged_bytes;
        for (size_t k = 0; k < m->share_count; k++) { /* each once, below */
            t.by_class[m->shares[k]->memory_class] -= m->shares[k]->size;
        }
    }
    for (size_t i = 0; i < o->share_count; i++) {
        t.by_class[o->shares[i]->memory_class] += o->shares[i]->size;
        t.shared_bytes += aegis_share_size(o->shares[i]);
    }
    t.shared_saved -= t.shared_bytes;
    t.activations_planned = lane_bytes(o);
    t.by_class[AEGIS_MEMORY_ACTIVATION] = t.activations_planned;
    t.by_class[AEGIS_MEMORY_PAGED] = paged_bytes(o);
    t.by_class[AEGIS_MEMORY_SPILL] = o->config.lanes * o->config.spill_bytes_per_lane;
    t.padding_bytes = t.planned_bytes;
    for (int c = 0; c < AEGIS_MEMORY_CLASS_COUNT; c++) {
        t.padding_bytes -= t.by_class[c];
    }
    *ret_totals = t;
}

bool aegis_memory_orchestrator_last_refusal(const aegis_memory_orchestrator *o,
                                            aegis_memory_refusal *ret_refusal)
{
    if (o->refused) {
        *ret_refusal = o->refusal;
    }
    return o->refused;
}

/* ---- pressure ---- */

static uint64_t freeable(const aegis_memory_orchestrator *o, const aegis_model_plan *m)
{
    return aegis_layout_planned(o, NULL) - aegis_layout_planned(o, m);
}

aegis_status aegis_memory_orchestrator_freeable(const aegis_memory_orchestrator *o,
                                                uint32_t model,
                                                uint64_t *ret_bytes,
                                                aegis_error *err)
{
    if (o == NULL || ret_bytes == NULL) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "orchestrator and output must be given");
    }
    for (size_t i = 0; i < o->count; i++) {
        if (o->models[i]->binding.model == model) {
            *ret_bytes = freeable(o, o->models[i]);
            return AEGIS_OK;
        }
    }
    return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NOT_FOUND,
                           "no model %" PRIu32 " is planned here", model);
}

static uint64_t freeable_by_all(const aegis_memory_orchestrator *o)
{
    uint64_t bytes =
        (o->sealed ? 0 : lane_bytes(o) + paged_bytes(o)) + aegis_share_bytes(o, NULL, NULL);
    for (size_t i = 0; i < o->count; i++) {
        bytes += o->models[i]->binding.permanent_bytes;
    }
    return bytes;
}

/* Whether removing `bytes` serves the policy better than what was named before. */
static bool better(aegis_pressure_policy policy,
                   uint64_t needed,
                   const aegis_pressure_answer *named,
                   uint64_t bytes)
{
    switch (policy) {
    case AEGIS_PRESSURE_NEWEST:
        return true; /* models come in the order of planning */
    case AEGIS_PRESSURE_LARGEST:
        return !named->found || bytes > named->freed_bytes;
    case AEGIS_PRESSURE_SMALLEST_ENOUGH:
        return bytes >= needed && (!named->found || bytes < named->freed_bytes);
    case AEGIS_PRESSURE_REPORT:
        break;
    }
    return false;
}

aegis_status aegis_memory_orchestrator_handle_pressure(const aegis_memory_orchestrator *o,
                                                       aegis_pressure_policy policy,
                                                       uint64_t needed_bytes,
                                                       aegis_pressure_answer *ret_answer,
                                                       aegis_error *err)
{
    if (o == NULL || ret_answer == NULL || (unsigned)policy > AEGIS_PRESSURE_SMALLEST_ENOUGH) {
        return aegis_error_set(
            err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_INVALID_ARGUMENT,
            "orchestrator, a known policy and output must be given; policy is %u",
            (unsigned)policy);
    }
    aegis_pressure_answer answer = {0};
    if (policy == AEGIS_PRESSURE_REPORT) {
        answer.freed_bytes = freeable_by_all(o);
    } else {
        for (size_t i = 0; i < o->count; i++) {
            uint64_t bytes = freeable(o, o->models[i]);
            if (better(policy, needed_bytes, &answer, bytes)) {
                answer = (aegis_pressure_answer){true, o->models[i]->binding.model, bytes};
            }
        }
    }
    *ret_answer = answer;
    return AEGIS_OK;
}

/* ---- sharing ---- */

static bool comes_first(const aegis_sharing_opportunity *a, const aegis_sharing_opportunity *b)
{
    if (a->shared_bytes != b->shared_bytes) {
        return a->shared_bytes > b->shared_bytes;
    }
    return a->model_a != b->model_a ? a->model_a < b->model_a : a->model_b < b->model_b;
}

/* Keeps the first `capacity` of all in their order. */
static void enter(aegis_sharing_opportunity *list,
                  size_t capacity,
                  size_t seen,
                  aegis_sharing_opportunity entry)
{
    size_t at = seen < capacity ? seen : capacity;
    while (at > 0 && comes_first(&entry, &list[at - 1])) {
        if (at < capacity) {
            list[at] = list[at - 1];
        }
        at--;
    }
    if (at < capacity) {
        list[at] = entry;
    }
}

static uint64_t shared_bytes(const aegis_model_plan *a, const aegis_model_plan *b)
{
    uint64_t x = a->binding.activation_height, y = b->binding.activation_height;
    if (a == b) {
        return a->activation_sizes > x ? a->activation_sizes - x : 0;
    }
    return a->binding.lane != b->binding.lane ? 0 : x < y ? x : y;
}

aegis_status aegis_memory_orchestrator_sharing(const aegis_memory_orchestrator *o,
                                               aegis_sharing_opportunity *opportunities,
                                               size_t capacity,
                                               size_t *ret_count,
                                               aegis_error *err)
{
    if (o == NULL || ret_count == NULL || (capacity > 0 && opportunities == NULL)) {
        return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                               AEGIS_ERROR_INVALID_ARGUMENT,
                               "orchestrator and outputs must be given");
    }
    size_t seen = 0;
    for (size_t i = 0; i < o->count; i++) {
        for (size_t j = i; j < o->count; j++) {
            const aegis_model_plan *a = o->models[i], *b = o->models[j];
            aegis_sharing_opportunity entry = {a->binding.model, b->binding.model,
                                               shared_bytes(a, b)};
            if (entry.shared_bytes > 0) {
                enter(opportunities, capacity, seen++, entry);
            }
        }
    }
    *ret_count = seen;
    return AEGIS_OK;
}
