/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a lane would run next. This is what a step does with the end of a segment, in numbers alone:
 * nothing is changed. What a step would have to ask a policy for, or to go through one by one, is
 * not known.
 */
#include "state.h"

/* What is assumed of the segment that runs. */
typedef struct assumed_end {
    const aegis_core *core;
    const core_lane *lane;
    uint32_t number; /* of the model that runs */
    uint64_t end_ns, execution_ns;
} assumed_end;

static bool has_due_release(const assumed_end *end, const aegis_core_heap *releases)
{
    return releases->count > 0 && end->core->jobs[releases->items[0]].release_ns <= end->end_ns;
}

static bool goes_on(const assumed_end *end)
{
    const core_job *job = &end->core->jobs[end->lane->running];
    const core_model *model = &end->core->models[end->number];
    uint64_t budget = model->limits.compute_budget_ns;
    bool spent = budget > 0 && core_add_ns(job->executed_ns, end->execution_ns) >= budget;
    return job->segment + 1 < model->limits.segment_count && !end->lane->terminated && !spent;
}

/* The first model of the heap but the one that runs; NO_MODEL: there is no other. */
static uint32_t first_other(const assumed_end *end, const aegis_core_heap *heap)
{
    if (heap->count == 0) {
        return NO_MODEL;
    }
    return heap->items[0] != end->number ? heap->items[0] : aegis_core_heap_second(heap);
}

/* Whether the model that runs stands in its lane's heap when its segment has ended. */
static bool stays(const assumed_end *end, bool on)
{
    const core_model *model = &end->core->models[end->number];
    const aegis_core_model *limits = &model->limits;
    if (model->state != MODEL_ADMITTED) {
        return false;
    }
    if (limits->background && limits->share_ppm > 0 &&
        aegis_core_rest_ns(end->execution_ns, limits->share_ppm) > 0) {
        return false;
    }
    if (!on) {
        return model->listed;
    }
    uint32_t next = end->core->jobs[end->lane->running].segment + 1;
    return (limits->awaited_segments >> next & 1) == 0 || model->ready_segment == next;
}

static bool answer_root(const assumed_end *end, uint32_t number, aegis_core_next *ret_next)
{
    const core_job *job = &end->core->jobs[end->core->models[number].ready_root];
    *ret_next = (aegis_core_next){
        .model = number, .job = job->id, .segment = job->segment, .slot = job->slot};
    return true;
}

/* The model that runs goes first: with its next segment, or with another of its jobs. */
static bool answer_own(const assumed_end *end, bool on, aegis_core_next *ret_next)
{
    const core_job *job = &end->core->jobs[end->lane->running];
    if (!on) {
        return answer_root(end, end->number, ret_next);
    }
    *ret_next = (aegis_core_next){
        .model = end->number, .job = job->id, .segment = job->segment + 1, .slot = job->slot};
    return true;
}

static bool foresee_foreground(const assumed_end *end, bool own, bool on, aegis_core_next *ret_next)
{
    const aegis_core *core = end->core;
    uint32_t other = first_other(end, &end->lane->foreground);
    if (!own) {
        return answer_root(end, other, ret_next);
    }
    if (other == NO_MODEL) {
        return answer_own(end, on, ret_next);
    }
    if (on && (core->policy.ops->version < 2 || !core->policy.ops->key_keeps)) {
        return false; /* the key of the next segment would have to be asked for */
    }
    uint32_t first = on ? end->lane->running : core->models[end->number].ready_root;
    int64_t key = core->jobs[first].key;
    int64_t other_key = core->jobs[core->models[other].ready_root].key;
    bool goes_first = key != other_key ? key < other_key : end->number < other;
    return goes_first ? answer_own(end, on, ret_next) : answer_root(end, other, ret_next);
}

static bool foresee_background(const assumed_end *end, bool own, bool on, aegis_core_next *ret_next)
{
    const core_lane *lane = end->lane;
    const core_model *models = end->core->models;
    uint32_t other = first_other(end, &lane->background);
    if (has_due_release(end, &lane->background_releases) ||
        (lane->resting.count > 0 && models[lane->resting.items[0]].rests_until_ns <= end->end_ns)) {
        return false;
    }
    if (!own && other == NO_MODEL) {
        *ret_next = (aegis_core_next){.model = AEGIS_TRACE_NONE};
        return true;
    }
    if (!own || other == NO_MODEL) {
        return own ? answer_own(end, on, ret_next) : answer_root(end, other, ret_next);
    }
    const core_model *model = &models[end->number];
    uint64_t virtual_ns =
        core_add_ns(model->virtual_ns,
                    core_add_ns(end->execution_ns, model->virtual_rest) / model->limits.weight);
    uint64_t other_ns = models[other].virtual_ns;
    bool goes_first = virtual_ns != other_ns ? virtual_ns < other_ns : end->number < other;
    return goes_first ? answer_own(end, on, ret_next) : answer_root(end, other, ret_next);
}

bool aegis_core_foresee(const aegis_core *core,
                        uint16_t lane_number,
                        uint64_t end_ns,
                        uint64_t execution_ns,
                        aegis_core_next *ret_next)
{
    if (lane_number >= core->config.lanes || core->lanes[lane_number].running == NO_JOB ||
        end_ns < core->now_ns || core->policy.ops->idle_until != NULL) {
        return false;
    }
    const core_lane *lane = &core->lanes[lane_number];
    const assumed_end end = {.core = core,
                             .lane = lane,
                             .number = core->jobs[lane->running].model,
                             .end_ns = end_ns,
                             .execution_ns = execution_ns};
    if (core->stopping) {
        *ret_next = (aegis_core_next){.model = AEGIS_TRACE_NONE};
        return true;
    }
    if (has_due_release(&end, &lane->releases)) {
        return false;
    }
    bool background = core->models[end.number].limits.background;
    bool on = goes_on(&end), own = stays(&end, on);
    if ((own && !background) || first_other(&end, &lane->foreground) != NO_MODEL) {
        return foresee_foreground(&end, own && !background, on, ret_next);
    }
    return foresee_background(&end, own && background, on, ret_next);
}
