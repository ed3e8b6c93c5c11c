/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitioned assignment: every model gets one lane and every lane is proved alone. First fit by
 * decreasing utilisation over all movable models; when that fails, the present lanes are kept and
 * the new model alone looks for a place; when that fails too, branch and bound over all
 * assignments.
 */
#include "schedule/driver/internal.h"

#include <stdlib.h>
#include <string.h>

#define COMPONENT "schedule.assignment"
/* Of one test of one lane: seconds at worst; a set so near to full is undecided, so refused. */
#define ANALYSIS_STEPS UINT64_C(20000000)
/* Of the search over assignments: tests of a lane, and steps of each. The limits are counts, so
 * that the answer is the same on every machine. */
#define SEARCH_TESTS 3000u
#define SEARCH_STEPS UINT64_C(100000)

/* Working memory of one search, all arrays as long as the set. */
typedef struct workspace {
    const aegis_policy *policy;
    aegis_candidate *candidates;
    size_t count;
    uint16_t lanes;
    const aegis_allocator *allocator;
    size_t *members; /* of the lane that is tested */
    aegis_policy_model *models;
    size_t *order;
    aegis_task *tasks;
    int *lane_of; /* -1: not placed yet */
    size_t *by_use;
    uint64_t steps; /* of one test */
    uint32_t tests; /* of lanes that the search may still make */
    bool undecided; /* one of them was */
} workspace;

static void workspace_finish(workspace *w)
{
    aegis_deallocate(w->allocator, w->members, w->count, sizeof *w->members);
    aegis_deallocate(w->allocator, w->models, w->count, sizeof *w->models);
    aegis_deallocate(w->allocator, w->order, w->count, sizeof *w->order);
    aegis_deallocate(w->allocator, w->tasks, w->count, sizeof *w->tasks);
    aegis_deallocate(w->allocator, w->lane_of, w->count, sizeof *w->lane_of);
    aegis_deallocate(w->allocator, w->by_use, w->count, sizeof *w->by_use);
}

static aegis_status workspace_init(workspace *w, aegis_error *err)
{
    w->members = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->members);
    w->models = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->models);
    w->order = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->order);
    w->tasks = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->tasks);
    w->lane_of = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->lane_of);
    w->by_use = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->by_use);
    if (w->members == NULL || w->models == NULL || w->order == NULL || w->tasks == NULL ||
        w->lane_of == NULL || w->by_use == NULL) {
        workspace_finish(w);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to assign %zu models to lanes", w->count);
    }
    return AEGIS_OK;
}

static aegis_task task_of(const aegis_candidate *candidate)
{
    return (aegis_task){.name = candidate->name,
                        .execution = (int64_t)candidate->enforceable_ns,
                        .period = (int64_t)candidate->policy.period_ns,
                        .deadline = (int64_t)candidate->policy.deadline_ns,
                        .jitter = (int64_t)candidate->jitter_ns,
                        .segments = candidate->segments,
                        .segment_count = candidate->segment_count};
}

static int64_t longest_segment(const aegis_candidate *candidate)
{
    int64_t longest = candidate->segments == NULL ? (int64_t)candidate->enforceable_ns : 0;
    for (size_t i = 0; candidate->segments != NULL && i < candidate->segment_count; i++) {
        longest = candidate->segments[i] > longest ? candidate->segments[i] : longest;
    }
    return longest;
}

/* The background model that blocks a lane longest, SIZE_MAX: it has none. */
static size_t longest_background(const workspace *w, uint16_t lane)
{
    size_t longest = SIZE_MAX;
    for (size_t i = 0; i < w->count; i++) {
        if (w->lane_of[i] == (int)lane && w->candidates[i].background &&
            (longest == SIZE_MAX ||
             longest_segment(&w->candidates[i]) > longest_segment(&w->candidates[longest]))) {
            longest = i;
        }
    }
    return longest;
}

/* One more task behind the `count` of the foreground: what background models block. */
static size_t
add_background(workspace *w, uint16_t lane, aegis_analysis analysis, size_t count, bool *ret_proof)
{
    size_t background = longest_background(w, lane);
    if (background == SIZE_MAX || count == 0 || !*ret_proof) {
        return count;
    }
    w->members[count] = background;
    w->order[count] = count;
    *ret_proof = aegis_policy_background_task(
        analysis, w->tasks, count, longest_segment(&w->candidates[background]), &w->tasks[count]);
    w->tasks[count].name = w->candidates[background].name;
    return count + 1;
}

/* Collects the members of a lane in the order that the policy's proof wants. */
static size_t
collect_lane(workspace *w, uint16_t lane, aegis_analysis *ret_analysis, bool *ret_proof)
{
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (w->lane_of[i] == (int)lane && !w->candidates[i].background) {
            w->members[count] = i;
            w->models[count] = w->candidates[i].policy;
            w->models[count].lane = lane;
            count++;
        }
    }
    *ret_proof = w->policy->ops->proof != NULL &&
                 w->policy->ops->proof(w->policy->self, w->models, count, ret_analysis, w->order);
    bool ordered = *ret_proof && *ret_analysis != AEGIS_ANALYSIS_NP_EDF &&
                   *ret_analysis != AEGIS_ANALYSIS_EDF && *ret_analysis != AEGIS_ANALYSIS_FIFO;
    for (size_t i = 0; i < count; i++) {
        if (!ordered) {
            w->order[i] = i;
        }
        w->tasks[i] = task_of(&w->candidates[w->members[w->order[i]]]);
    }
    return add_background(w, lane, *ret_analysis, count, ret_proof);
}

/* What stands for background models of a lane: they have no response, and use what is left. */
static void keep_background(workspace *w, double utilisation, uint16_t lane)
{
    for (size_t i = 0; i < w->count; i++) {
        aegis_candidate *candidate = &w->candidates[i];
        if (w->lane_of[i] == (int)lane && candidate->background) {
            candidate->response_ns = AEGIS_RESPONSE_OMITTED;
            candidate->blocking_ns = 0;
            candidate->lane_utilisation = utilisation;
            candidate->policy.lane = lane;
        }
    }
}

static void keep_results(workspace *w, const aegis_admission_result *result, uint16_t lane)
{
    for (size_t i = 0; i < result->task_count; i++) {
        aegis_candidate *candidate = &w->candidates[w->members[w->order[i]]];
        candidate->response_ns = result->tasks[i].response;
        candidate->blocking_ns = result->tasks[i].blocking;
        candidate->lane_utilisation = result->utilisation;
        candidate->policy.lane = lane;
    }
    keep_background(w, result->utilisation, lane);
}

static uint32_t id_at(const workspace *w, size_t task)
{
    return w->candidates[w->members[w->order[task]]].id;
}

static void
explain_witness(const workspace *w, const aegis_admission_result *result, aegis_refusal *refusal)
{
    refusal->rationale = AEGIS_WHY_DEMAND;
    refusal->at_ns = result->violation_at;
    refusal->demand_ns = result->violation_demand;
    /* A blocking job starts one tick before the others: their deadlines lie one tick later. */
    int64_t due = result->violation_at + (result->witness_count > 0 && result->witness[0].blocks);
    for (size_t i = 0; i < result->witness_count; i++) {
        if (result->witness[i].blocks) {
            refusal->blocker = id_at(w, result->witness[i].task);
            refusal->blocking_ns = result->witness[i].execution - 1;
        } else if (result->witness[i].deadline == due) {
            refusal->culprit = id_at(w, result->witness[i].task);
        }
    }
}

/* Whose segment blocks task `i` under fixed priorities. */
static uint32_t longest_below(const workspace *w, size_t count, size_t i)
{
    uint32_t blocker = AEGIS_TRACE_NONE;
    int64_t longest = 1; /* a segment of one tick blocks nobody */
    for (size_t k = i + 1; k < count; k++) {
        const aegis_task *task = &w->tasks[k];
        int64_t own = task->segment_count == 0 ? task->execution : 0;
        for (size_t s = 0; s < task->segment_count; s++) {
            own = task->segments[s] > own ? task->segments[s] : own;
        }
        if (own > longest) {
            longest = own;
            blocker = id_at(w, k);
        }
    }
    return blocker;
}

static void explain(const workspace *w,
                    const aegis_admission_result *result,
                    uint16_t lane,
                    aegis_refusal *refusal)
{
    *refusal = (aegis_refusal){.lane = lane,
                               .culprit = AEGIS_TRACE_NONE,
                               .blocker = AEGIS_TRACE_NONE,
                               .utilisation = result->utilisation};
    if (result->verdict == AEGIS_ADMISSION_UNDECIDED) {
        refusal->rationale = AEGIS_WHY_ANALYSIS_UNDECIDED;
    } else if (result->utilisation_ppm > 1000000) {
        refusal->rationale = AEGIS_WHY_UTILISATION;
    } else if (result->has_violation) {
        explain_witness(w, result, refusal);
    } else {
        refusal->rationale = AEGIS_WHY_RESPONSE;
        if (result->first_miss < result->task_count) {
            const aegis_task_result *miss = &result->tasks[result->first_miss];
            refusal->culprit = id_at(w, result->first_miss);
            refusal->response_ns = miss->response;
            refusal->deadline_ns = w->tasks[result->first_miss].deadline;
            refusal->blocking_ns = miss->blocking;
            if (miss->blocking > 0) {
                refusal->blocker = longest_below(w, result->task_count, result->first_miss);
            }
        }
    }
}

/* Tests one lane with what is placed on it. `refusal` may be NULL. */
static aegis_status
test_lane(workspace *w, uint16_t lane, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
{
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    aegis_admission_result result;
    bool proof = false;
    size_t count = collect_lane(w, lane, &analysis, &proof);
    *ret_fits = count == 0;
    if (count == 0) { /* background alone delays nobody */
        keep_background(w, 0, lane);
        return AEGIS_OK;
    }
    if (!proof) {
        if (refusal != NULL) {
            *refusal = (aegis_refusal){.rationale = AEGIS_WHY_NO_PROOF,
                                       .lane = lane,
                                       .culprit = AEGIS_TRACE_NONE,
                                       .blocker = AEGIS_TRACE_NONE};
        }
        return AEGIS_OK;
    }
    const aegis_admission_limits limits = {.steps = w->steps};
    aegis_status status =
        aegis_admission_test(analysis, w->tasks, count, &limits, w->allocator, &result, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_fits = result.verdict == AEGIS_SCHEDULABLE;
    w->undecided = w->undecided || result.verdict == AEGIS_ADMISSION_UNDECIDED;
    if (*ret_fits) {
        keep_results(w, &result, lane);
    } else if (refusal != NULL) {
        explain(w, &result, lane, refusal);
    }
    aegis_admission_result_finish(&result, w->allocator);
    return AEGIS_OK;
}

/* Puts candidate i on the first lane that takes it; leaves it unplaced otherwise. */
static aegis_status
place(workspace *w, size_t i, bool *ret_placed, aegis_refusal *refusal, aegis_error *err)
{
    int pinned = w->candidates[i].pinned;
    uint16_t first = pinned >= 0 ? (uint16_t)pinned : 0;
    uint16_t last = pinned >= 0 ? (uint16_t)(pinned + 1) : w->lanes;
    for (uint16_t lane = first; lane < last; lane++) {
        w->lane_of[i] = lane;
        aegis_refusal why;
        aegis_status status = test_lane(w, lane, ret_placed, &why, err);
        if (status != AEGIS_OK || *ret_placed) {
            return status;
        }
        /* Of several refusals the one of the least used lane says most about what is missing. */
        if (lane == first || why.utilisation < refusal->utilisation) {
            *refusal = why;
        }
        w->lane_of[i] = -1;
    }
    return AEGIS_OK;
}

static bool uses_more(const workspace *w, size_t a, size_t b)
{
    const aegis_candidate *x = &w->candidates[a], *y = &w->candidates[b];
    if (x->background || y->background) { /* last, the shortest segments first of all */
        return x->background != y->background ? y->background
                                              : longest_segment(x) < longest_segment(y);
    }
    aegis_u128 left = (aegis_u128)x->enforceable_ns * y->policy.period_ns;
    aegis_u128 right = (aegis_u128)y->enforceable_ns * x->policy.period_ns;
    return left != right ? left > right : x->id < y->id;
}

/* By decreasing utilisation, background last; insertion sort of a small set. */
static void order_by_use(workspace *w)
{
    for (size_t i = 0; i < w->count; i++) {
        size_t at = i;
        while (at > 0 && uses_more(w, i, w->by_use[at - 1])) {
            w->by_use[at] = w->by_use[at - 1];
            at--;
        }
        w->by_use[at] = i;
    }
}

static aegis_status first_fit_decreasing(workspace *w, bool *ret_fits, aegis_error *err)
{
    aegis_refusal unused = {0};
    *ret_fits = true;
    for (size_t i = 0; i < w->count; i++) {
        bool held = w->candidates[i].fixed || w->candidates[i].pinned >= 0;
        w->lane_of[i] = !held                          ? -1
                        : w->candidates[i].pinned >= 0 ? w->candidates[i].pinned
                                                       : (int)w->candidates[i].policy.lane;
    }
    for (uint16_t lane = 0; lane < w->lanes && *ret_fits; lane++) {
        aegis_status status = test_lane(w, lane, ret_fits, NULL, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    order_by_use(w);
    for (size_t k = 0; k < w->count && *ret_fits; k++) {
        size_t i = w->by_use[k];
        if (w->lane_of[i] < 0) {
            aegis_status status = place(w, i, ret_fits, &unused, err);
            if (status != AEGIS_OK) {
                return status;
            }
        }
    }
    return AEGIS_OK;
}

static aegis_status
keep_and_place_last(workspace *w, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
{
    for (size_t i = 0; i < w->count; i++) {
        w->lane_of[i] = i + 1 < w->count ? (int)w->candidates[i].policy.lane : -1;
    }
    *ret_fits = false;
    return place(w, w->count - 1, ret_fits, refusal, err);
}

static bool is_movable(const aegis_candidate *candidate)
{
    return !candidate->fixed && candidate->pinned < 0;
}

static bool is_empty(const workspace *w, uint16_t lane)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->lane_of[i] == (int)lane) {
            return false;
        }
    }
    return true;
}

/*
 * Places the movable models from the k-th by utilisation on, depth first. A lane that fails with
 * some of its models fails with more of them, since every test is sustainable in the set of tasks,
 * so a branch ends there. Of several empty lanes the first stands for all: no model that is still
 * to come is pinned.
 */
static aegis_status search_from(workspace *w, size_t k, bool *ret_fits, aegis_error *err)
{
    while (k < w->count && w->lane_of[w->by_use[k]] >= 0) {
        k++;
    }
    *ret_fits = k == w->count;
    bool tried_empty = false;
    for (uint16_t lane = 0; k < w->count && lane < w->lanes && !*ret_fits && w->tests > 0; lane++) {
        bool empty = is_empty(w, lane), holds = false;
        if (empty && tried_empty) {
            continue;
        }
        tried_empty = tried_empty || empty;
        w->lane_of[w->by_use[k]] = lane;
        w->tests--;
        aegis_status status = test_lane(w, lane, &holds, NULL, err);
        if (status == AEGIS_OK && holds) {
            status = search_from(w, k + 1, ret_fits, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
        if (!*ret_fits) {
            w->lane_of[w->by_use[k]] = -1;
        }
    }
    return AEGIS_OK;
}

/* The responses that the candidates carry are those of the last test of their lane, which may have
 * been one with fewer models or another branch's. */
static aegis_status prove_all(workspace *w, bool *ret_fits, aegis_error *err)
{
    w->steps = ANALYSIS_STEPS;
    *ret_fits = true;
    for (uint16_t lane = 0; lane < w->lanes && *ret_fits; lane++) {
        aegis_status status = test_lane(w, lane, ret_fits, NULL, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status
search_all(workspace *w, bool *ret_fits, aegis_lane_search *ret_search, aegis_error *err)
{
    size_t movable = 0;
    for (size_t i = 0; i < w->count; i++) {
        bool moves = is_movable(&w->candidates[i]);
        movable += moves;
        w->lane_of[i] = moves                          ? -1
                        : w->candidates[i].pinned >= 0 ? w->candidates[i].pinned
                                                       : (int)w->candidates[i].policy.lane;
    }
    *ret_search = AEGIS_LANE_SEARCH_NONE;
    if (w->lanes < 2 || movable < 2) {
        return AEGIS_OK; /* every lane was tried already */
    }
    w->steps = SEARCH_STEPS;
    w->undecided = false;
    aegis_status status = search_from(w, 0, ret_fits, err);
    if (status == AEGIS_OK && *ret_fits) {
        status = prove_all(w, ret_fits, err);
    }
    *ret_search = w->tests > 0 && !w->undecided ? AEGIS_LANE_SEARCH_ALL : AEGIS_LANE_SEARCH_LIMIT;
    return status;
}

static aegis_status fit_of_last(workspace *w, aegis_refusal *refusal, aegis_error *err)
{
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    bool proof = false;
    for (size_t i = 0; i < w->count; i++) {
        w->lane_of[i] = i + 1 < w->count ? (int)w->candidates[i].policy.lane : (int)refusal->lane;
    }
    size_t count = collect_lane(w, refusal->lane, &analysis, &proof);
    for (size_t i = 0; i < count && proof; i++) {
        if (w->members[w->order[i]] == w->count - 1) {
            return aegis_admission_what_fits(analysis, w->tasks, count, i, NULL, w->allocator,
                                             &refusal->fit, err);
        }
    }
    return AEGIS_OK;
}

aegis_status aegis_assignment_find(const aegis_policy *policy,
                                   aegis_candidate *candidates,
                                   size_t count,
                                   uint16_t lanes,
                                   const aegis_allocator *allocator,
                                   bool *ret_fits,
                                   aegis_refusal *ret_refusal,
                                   aegis_error *err)
{
    workspace w = {.policy = policy,
                   .candidates = candidates,
                   .count = count,
                   .lanes = lanes,
                   .allocator = allocator,
                   .steps = ANALYSIS_STEPS,
                   .tests = SEARCH_TESTS};
    aegis_refusal refusal = {.culprit = AEGIS_TRACE_NONE, .blocker = AEGIS_TRACE_NONE};
    /* A failed search must not leave half-moved lanes behind. */
    aegis_candidate *kept = aegis_allocate_zeroed(allocator, count, sizeof *kept);
    if (kept == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to assign lanes");
    }
    aegis_status status = workspace_init(&w, err);
    if (status != AEGIS_OK) {
        aegis_deallocate(allocator, kept, count, sizeof *kept);
        return status;
    }
    memcpy(kept, candidates, count * sizeof *kept);
    *ret_fits = false;
    status = first_fit_decreasing(&w, ret_fits, err);
    if (status == AEGIS_OK && !*ret_fits) {
        memcpy(candidates, kept, count * sizeof *kept);
        status = keep_and_place_last(&w, ret_fits, &refusal, err);
    }
    if (status == AEGIS_OK && !*ret_fits && refusal.rationale != AEGIS_WHY_NO_PROOF) {
        memcpy(candidates, kept, count * sizeof *kept);
        status = search_all(&w, ret_fits, &refusal.search, err);
    }
    if (status == AEGIS_OK && !*ret_fits) {
        memcpy(candidates, kept, count * sizeof *kept);
        if (refusal.rationale != AEGIS_WHY_NO_PROOF) {
            status = fit_of_last(&w, &refusal, err);
        }
        *ret_refusal = refusal;
    }
    workspace_finish(&w);
    aegis_deallocate(allocator, kept, count, sizeof *kept);
    return status;
}

aegis_task aegis_candidate_task(const aegis_candidate *candidate)
{
    return task_of(candidate);
}
