/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitioned assignment: every model gets one lane and every lane is proved alone. First fit by
 * decreasing utilisation over all movable models; when that fails, the present lanes are kept and
 * the new model alone looks for a place; when that fails too, branch and bound over all
 * assignments.
 *
 * Where the present lanes are those of first fit, it need not be run again to know its outcome. All
 * tests are sustainable in the set of tasks: a lane that holds with more holds with fewer, one that
 * fails with fewer fails with more. So when the new model fits on lane l beside all that is there,
 * and on each lane before l it fails beside those alone that first fit places before it, first fit
 * puts it on l and leaves everybody else where they are: who is placed after it meets on the lanes
 * before its own at least what refused it there, and on its own no more than what holds. That costs
 * one test of a lane, which begins where the last one of this lane ended.
 */
#include "schedule/driver/assignment.h"

#include <stdlib.h>
#include <string.h>

#define COMPONENT AEGIS_ASSIGNMENT
/* Of one test of one lane: seconds at worst; a set so near to full is undecided, so refused. */
#define ANALYSIS_STEPS UINT64_C(20000000)
/* Of the search over assignments: tests of a lane, and steps of each. The limits are counts, so
 * that the answer is the same on every machine. */
#define SEARCH_TESTS 3000u
#define SEARCH_STEPS UINT64_C(100000)

/* Puts candidate i on the first lane that takes it; leaves it unplaced otherwise. */
static aegis_status
place(aegis_assignment *w, size_t i, bool *ret_placed, aegis_refusal *refusal, aegis_error *err)
{
    int pinned = w->candidates[i].pinned;
    uint16_t first = pinned >= 0 ? (uint16_t)pinned : 0;
    uint16_t last = pinned >= 0 ? (uint16_t)(pinned + 1) : w->lanes;
    for (uint16_t lane = first; lane < last; lane++) {
        w->lane_of[i] = lane;
        aegis_refusal why;
        aegis_status status = aegis_lane_test(w, lane, ret_placed, &why, err);
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

static bool uses_more(const aegis_assignment *w, size_t a, size_t b)
{
    const aegis_candidate *x = &w->candidates[a], *y = &w->candidates[b];
    if (x->background || y->background) { /* last, the shortest segments first of all */
        return x->background != y->background
                   ? y->background
                   : aegis_assignment_longest(x) < aegis_assignment_longest(y);
    }
    aegis_u128 left = (aegis_u128)x->enforceable_ns * y->policy.period_ns;
    aegis_u128 right = (aegis_u128)y->enforceable_ns * x->policy.period_ns;
    return left != right ? left > right : x->id < y->id;
}

/* By decreasing utilisation, background last; insertion sort of a small set. */
static void order_by_use(aegis_assignment *w)
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

/* Puts candidate i on the first lane that holds with it; leaves it unplaced otherwise. Where the
 * present lanes are those of first fit, a lane that lost nobody refuses again whom it refused, and
 * one that gained nobody takes again whom it has. */
static aegis_status
place_first_fit(aegis_assignment *w, size_t i, bool *ret_placed, aegis_error *err)
{
    bool known = w->stands && i + 1 < w->count;
    uint16_t present = w->candidates[i].policy.lane;
    *ret_placed = false;
    for (uint16_t lane = 0; lane < w->lanes && !*ret_placed; lane++) {
        aegis_status status = AEGIS_OK;
        if (known && lane < present && !w->lost[lane]) {
            continue;
        }
        w->lane_of[i] = lane;
        *ret_placed = known && lane == present && !w->gained[lane];
        if (!*ret_placed) {
            status = aegis_lane_decide(w, lane, ret_placed, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
        bool moves = !known || lane != present;
        w->gained[lane] = w->gained[lane] || (*ret_placed && moves);
        w->lost[present] = w->lost[present] || (*ret_placed && known && moves);
        w->lane_of[i] = *ret_placed ? (int)lane : -1;
    }
    return AEGIS_OK;
}

/* The responses that the candidates carry are those of the last test of their lane, which may have
 * been one with fewer models, or none. */
static aegis_status prove_all(aegis_assignment *w, bool *ret_fits, aegis_error *err)
{
    w->steps = ANALYSIS_STEPS;
    *ret_fits = true;
    for (uint16_t lane = 0; lane < w->lanes && *ret_fits; lane++) {
        aegis_status status = aegis_lane_test(w, lane, ret_fits, NULL, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status first_fit_decreasing(aegis_assignment *w, bool *ret_fits, aegis_error *err)
{
    *ret_fits = true;
    memset(w->gained, 0, sizeof w->gained);
    memset(w->lost, 0, sizeof w->lost);
    for (size_t i = 0; i < w->count; i++) {
        bool held = w->candidates[i].fixed || w->candidates[i].pinned >= 0;
        w->lane_of[i] = !held                          ? -1
                        : w->candidates[i].pinned >= 0 ? w->candidates[i].pinned
                                                       : (int)w->candidates[i].policy.lane;
    }
    if (w->candidates[w->count - 1].pinned >= 0) {
        w->gained[w->candidates[w->count - 1].pinned] = true;
    }
    for (uint16_t lane = 0; lane < w->lanes && *ret_fits; lane++) {
        aegis_status status = AEGIS_OK;
        if (!w->stands || w->gained[lane]) {
            status = aegis_lane_decide(w, lane, ret_fits, err);
        }
        if (status != AEGIS_OK) {
            return status;
        }
    }
    for (size_t k = 0; k < w->count && *ret_fits; k++) {
        if (w->lane_of[w->by_use[k]] < 0) {
            aegis_status status = place_first_fit(w, w->by_use[k], ret_fits, err);
            if (status != AEGIS_OK) {
                return status;
            }
        }
    }
    return *ret_fits ? prove_all(w, ret_fits, err) : AEGIS_OK;
}

static aegis_status
keep_and_place_last(aegis_assignment *w, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
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

static bool is_empty(const aegis_assignment *w, uint16_t lane)
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
static aegis_status search_from(aegis_assignment *w, size_t k, bool *ret_fits, aegis_error *err)
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
        aegis_status status = aegis_lane_decide(w, lane, &holds, err);
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

static aegis_status
search_all(aegis_assignment *w, bool *ret_fits, aegis_lane_search *ret_search, aegis_error *err)
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

static aegis_status fit_of_last(aegis_assignment *w, aegis_refusal *refusal, aegis_error *err)
{
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    bool proof = false;
    for (size_t i = 0; i < w->count; i++) {
        w->lane_of[i] = i + 1 < w->count ? (int)w->candidates[i].policy.lane : (int)refusal->lane;
    }
    size_t count = aegis_lane_collect(w, refusal->lane, &analysis, &proof);
    for (size_t i = 0; i < count && proof; i++) {
        if (w->members[w->order[i]] == w->count - 1) {
            return aegis_admission_what_fits(analysis, w->tasks, count, i, NULL, w->allocator,
                                             &refusal->fit, err);
        }
    }
    return AEGIS_OK;
}

/* ---- from what stands ---- */

/* Nobody but the new model could be placed elsewhere. */
static bool only_last_moves(const aegis_assignment *w)
{
    for (size_t i = 0; i + 1 < w->count && w->lanes > 1; i++) {
        if (is_movable(&w->candidates[i])) {
            return false;
        }
    }
    return true;
}

/* The present lanes are those that first fit gave to the same models. */
static bool first_fit_stands(aegis_assignment *w)
{
    bool stands = w->memory->first_fit && w->memory->models + 1 == w->count;
    for (size_t i = 0; i < w->count; i++) {
        w->lane_of[i] = i + 1 < w->count ? (int)w->candidates[i].policy.lane : -1;
    }
    for (uint16_t lane = 0; lane < w->lanes && stands; lane++) {
        stands = aegis_lane_stands(w, lane);
    }
    return stands;
}

/* Whether first fit, coming to the new model, would leave it on this lane. */
static aegis_status
would_take_last(aegis_assignment *w, uint16_t lane, bool *ret_takes, aegis_error *err)
{
    size_t last = w->count - 1;
    bool fewer = false;
    for (size_t i = 0; i < w->count; i++) {
        bool before = i == last || !is_movable(&w->candidates[i]) || uses_more(w, i, last);
        w->lane_of[i] = !before ? -1 : i == last ? (int)lane : (int)w->candidates[i].policy.lane;
        fewer = fewer || (!before && w->candidates[i].policy.lane == lane);
    }
    *ret_takes = false; /* the whole lane has refused it already */
    return fewer ? aegis_lane_decide(w, lane, ret_takes, err) : AEGIS_OK;
}

/* The outcome of first fit, when it is known without running it; `ret_known` says so. */
static aegis_status place_into_first_fit(
    aegis_assignment *w, bool *ret_known, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
{
    const aegis_candidate *last = &w->candidates[w->count - 1];
    *ret_known = false;
    w->stands = first_fit_stands(w);
    if (!w->stands) {
        return AEGIS_OK;
    }
    w->undecided = false;
    aegis_status status = keep_and_place_last(w, ret_fits, refusal, err);
    uint16_t end = *ret_fits ? last->policy.lane : w->lanes;
    bool elsewhere = w->undecided || (last->pinned >= 0 && !*ret_fits);
    for (uint16_t lane = 0; lane < end && last->pinned < 0 && !elsewhere; lane++) {
        if (status != AEGIS_OK) {
            return status;
        }
        status = would_take_last(w, lane, &elsewhere, err);
    }
    *ret_known = !elsewhere && !w->undecided;
    return status;
}

/* First fit, or the present lanes with the new model on one of them. */
static aegis_status first_fit_or_keep(aegis_assignment *w,
                                      const aegis_candidate *kept,
                                      bool *ret_fits,
                                      aegis_refusal *refusal,
                                      aegis_error *err)
{
    bool known = false;
    if (only_last_moves(w)) {
        w->memory->proved_first_fit = w->lanes == 1;
        return keep_and_place_last(w, ret_fits, refusal, err);
    }
    aegis_status status = place_into_first_fit(w, &known, ret_fits, refusal, err);
    if (status != AEGIS_OK || known) {
        w->memory->proved_first_fit = *ret_fits;
        return status;
    }
    memcpy(w->candidates, kept, w->count * sizeof *kept);
    status = first_fit_decreasing(w, ret_fits, err);
    w->memory->proved_first_fit = *ret_fits;
    if (status == AEGIS_OK && !*ret_fits) {
        memcpy(w->candidates, kept, w->count * sizeof *kept);
        status = keep_and_place_last(w, ret_fits, refusal, err);
    }
    return status;
}

/* Where the new model copies early, inputs of others come later than they did, and their lanes,
 * which it may not be on, have to hold with that. */
static aegis_status
prove_beside(aegis_assignment *w, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
{
    const aegis_candidate *last = &w->candidates[w->count - 1];
    const uint16_t own = last->policy.lane;
    for (size_t i = 0; i < w->count; i++) {
        w->lane_of[i] = w->candidates[i].policy.lane;
    }
    for (uint16_t lane = 0; lane < w->lanes && last->copy_ns > 0 && *ret_fits; lane++) {
        if (lane == own || aegis_lane_stands(w, lane)) {
            continue;
        }
        aegis_status status = aegis_lane_test(w, lane, ret_fits, refusal, err);
        refusal->beside = !*ret_fits;
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static aegis_status find(aegis_assignment *w,
                         const aegis_candidate *kept,
                         bool *ret_fits,
                         aegis_refusal *ret_refusal,
                         aegis_error *err)
{
    aegis_refusal refusal = {.culprit = AEGIS_TRACE_NONE, .blocker = AEGIS_TRACE_NONE};
    *ret_fits = false;
    order_by_use(w);
    aegis_lane_memory_forget_proved(w->memory);
    w->memory->proved_models = w->count;
    aegis_status status = first_fit_or_keep(w, kept, ret_fits, &refusal, err);
    if (status == AEGIS_OK && *ret_fits) {
        status = prove_beside(w, ret_fits, &refusal, err);
    }
    if (status == AEGIS_OK && !*ret_fits && refusal.rationale != AEGIS_WHY_NO_PROOF) {
        memcpy(w->candidates, kept, w->count * sizeof *kept);
        status = search_all(w, ret_fits, &refusal.search, err);
    }
    if (status == AEGIS_OK && !*ret_fits) {
        memcpy(w->candidates, kept, w->count * sizeof *kept);
        if (refusal.rationale != AEGIS_WHY_NO_PROOF && !refusal.beside) {
            status = fit_of_last(w, &refusal, err);
        }
        *ret_refusal = refusal;
    }
    return status;
}

aegis_status aegis_assignment_find(const aegis_policy *policy,
                                   aegis_candidate *candidates,
                                   size_t count,
                                   uint16_t lanes,
                                   aegis_lane_memory *memory,
                                   const aegis_allocator *allocator,
                                   bool *ret_fits,
                                   aegis_refusal *ret_refusal,
                                   aegis_error *err)
{
    aegis_assignment w = {.policy = policy,
                          .candidates = candidates,
                          .count = count,
                          .lanes = lanes,
                          .allocator = allocator,
                          .memory = memory,
                          .steps = ANALYSIS_STEPS,
                          .tests = SEARCH_TESTS};
    /* A failed search must not leave half-moved lanes behind. */
    aegis_candidate *kept = aegis_allocate_zeroed(allocator, count, sizeof *kept);
    if (kept == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to assign lanes");
    }
    memcpy(kept, candidates, count * sizeof *kept);
    aegis_status status = aegis_assignment_init(&w, err);
    if (status == AEGIS_OK) {
        status = find(&w, kept, ret_fits, ret_refusal, err);
        aegis_assignment_finish(&w);
    }
    aegis_deallocate(allocator, kept, count, sizeof *kept);
    return status;
}
