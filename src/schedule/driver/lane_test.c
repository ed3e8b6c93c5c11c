/* SPDX-License-Identifier: Apache-2.0 */
/* One lane with what is placed on it: its tasks, their test, and why it refuses. */
#include "schedule/driver/assignment.h"

void aegis_assignment_finish(aegis_assignment *w)
{
    aegis_deallocate(w->allocator, w->members, w->count, sizeof *w->members);
    aegis_deallocate(w->allocator, w->models, w->count, sizeof *w->models);
    aegis_deallocate(w->allocator, w->order, w->count, sizeof *w->order);
    aegis_deallocate(w->allocator, w->tasks, w->count, sizeof *w->tasks);
    aegis_deallocate(w->allocator, w->lane_of, w->count, sizeof *w->lane_of);
    aegis_deallocate(w->allocator, w->by_use, w->count, sizeof *w->by_use);
}

aegis_status aegis_assignment_init(aegis_assignment *w, aegis_error *err)
{
    w->members = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->members);
    w->models = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->models);
    w->order = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->order);
    w->tasks = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->tasks);
    w->lane_of = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->lane_of);
    w->by_use = aegis_allocate_zeroed(w->allocator, w->count, sizeof *w->by_use);
    if (w->members == NULL || w->models == NULL || w->order == NULL || w->tasks == NULL ||
        w->lane_of == NULL || w->by_use == NULL) {
        aegis_assignment_finish(w);
        return aegis_error_set(err, AEGIS_HERE(AEGIS_ASSIGNMENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to assign %zu models to lanes", w->count);
    }
    return AEGIS_OK;
}

aegis_task aegis_candidate_task(const aegis_candidate *candidate)
{
    return (aegis_task){.name = candidate->name,
                        .execution = (int64_t)candidate->enforceable_ns,
                        .period = (int64_t)candidate->policy.period_ns,
                        .deadline = (int64_t)candidate->policy.deadline_ns,
                        .jitter = (int64_t)candidate->jitter_ns,
                        .segments = candidate->segments,
                        .segment_count = candidate->segment_count};
}

int64_t aegis_assignment_longest(const aegis_candidate *candidate)
{
    int64_t longest = candidate->segments == NULL ? (int64_t)candidate->enforceable_ns : 0;
    for (size_t i = 0; candidate->segments != NULL && i < candidate->segment_count; i++) {
        longest = candidate->segments[i] > longest ? candidate->segments[i] : longest;
    }
    return longest;
}

/* The background model that blocks a lane longest, SIZE_MAX: it has none. */
static size_t longest_background(const aegis_assignment *w, uint16_t lane)
{
    size_t longest = SIZE_MAX;
    for (size_t i = 0; i < w->count; i++) {
        if (w->lane_of[i] == (int)lane && w->candidates[i].background &&
            (longest == SIZE_MAX || aegis_assignment_longest(&w->candidates[i]) >
                                        aegis_assignment_longest(&w->candidates[longest]))) {
            longest = i;
        }
    }
    return longest;
}

/* One more task behind the `count` of the foreground: what background models block. */
static size_t add_background(
    aegis_assignment *w, uint16_t lane, aegis_analysis analysis, size_t count, bool *ret_proof)
{
    size_t background = longest_background(w, lane);
    if (background == SIZE_MAX || count == 0 || !*ret_proof) {
        return count;
    }
    w->members[count] = background;
    w->order[count] = count;
    *ret_proof = aegis_policy_background_task(analysis, w->tasks, count,
                                              aegis_assignment_longest(&w->candidates[background]),
                                              &w->tasks[count]);
    w->tasks[count].name = w->candidates[background].name;
    return count + 1;
}

/* Collects the members of a lane in the order that the policy's proof wants. */
size_t aegis_lane_collect(aegis_assignment *w,
                          uint16_t lane,
                          aegis_analysis *ret_analysis,
                          bool *ret_proof)
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
        w->tasks[i] = aegis_candidate_task(&w->candidates[w->members[w->order[i]]]);
    }
    return add_background(w, lane, *ret_analysis, count, ret_proof);
}

/* What stands for background models of a lane: they have no response, and use what is left. */
static void keep_background(aegis_assignment *w, double utilisation, uint16_t lane)
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

static void keep_results(aegis_assignment *w, const aegis_admission_result *result, uint16_t lane)
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

static uint32_t id_at(const aegis_assignment *w, size_t task)
{
    return w->candidates[w->members[w->order[task]]].id;
}

static void explain_witness(const aegis_assignment *w,
                            const aegis_admission_result *result,
                            aegis_refusal *refusal)
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
static uint32_t longest_below(const aegis_assignment *w, size_t count, size_t i)
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

static void explain(const aegis_assignment *w,
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

/* ---- what stands ---- */

void aegis_lane_memory_finish(aegis_lane_memory *memory)
{
    for (size_t lane = 0; lane < AEGIS_MAX_LANES; lane++) {
        aegis_admission_set_destroy(memory->standing[lane]);
        aegis_admission_set_destroy(memory->proved[lane]);
    }
    *memory = (aegis_lane_memory){.first_fit = false};
}

void aegis_lane_memory_forget_proved(aegis_lane_memory *memory)
{
    for (size_t lane = 0; lane < AEGIS_MAX_LANES; lane++) {
        aegis_admission_set_destroy(memory->proved[lane]);
        memory->proved[lane] = NULL;
    }
    memory->proved_first_fit = false;
}

void aegis_lane_memory_take_over(aegis_lane_memory *memory)
{
    for (size_t lane = 0; lane < AEGIS_MAX_LANES; lane++) {
        if (memory->proved[lane] != NULL) {
            aegis_admission_set_destroy(memory->standing[lane]);
            memory->standing[lane] = memory->proved[lane];
            memory->proved[lane] = NULL;
        }
    }
    memory->first_fit = memory->proved_first_fit;
    memory->models = memory->proved_models;
}

bool aegis_lane_stands(aegis_assignment *w, uint16_t lane)
{
    const aegis_admission_set *standing = w->memory->standing[lane];
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    bool proof = false;
    size_t count = aegis_lane_collect(w, lane, &analysis, &proof);
    if (standing == NULL) {
        return count == 0;
    }
    return proof && aegis_admission_set_lacks(standing, analysis, w->tasks, count) == 0;
}

/* Of what is known about the lane the set that lacks the fewest of the tasks. */
static const aegis_admission_set *
nearest_set(const aegis_assignment *w, uint16_t lane, aegis_analysis analysis, size_t count)
{
    const aegis_admission_set *known[] = {w->memory->standing[lane], w->memory->proved[lane]};
    const aegis_admission_set *nearest = NULL;
    size_t fewest = SIZE_MAX;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(known); i++) {
        size_t lacks = known[i] == NULL
                           ? SIZE_MAX
                           : aegis_admission_set_lacks(known[i], analysis, w->tasks, count);
        if (lacks < fewest) {
            fewest = lacks;
            nearest = known[i];
        }
    }
    return nearest;
}

/* The lane's first `count` tasks, beginning where an earlier test ended; keeps what it found when
 * they fit. */
static aegis_status test_tasks(aegis_assignment *w,
                               uint16_t lane,
                               aegis_analysis analysis,
                               size_t count,
                               aegis_admission_result *ret_result,
                               aegis_error *err)
{
    aegis_admission_set *set = NULL;
    const aegis_admission_limits limits = {.steps = w->steps};
    aegis_status status = aegis_admission_set_derive(
        analysis, nearest_set(w, lane, analysis, count), w->tasks, count, w->allocator, &set, err);
    if (status == AEGIS_OK) {
        status = aegis_admission_set_test(set, &limits, ret_result, err);
    }
    if (status == AEGIS_OK && ret_result->verdict == AEGIS_SCHEDULABLE) {
        aegis_admission_set_destroy(w->memory->proved[lane]);
        w->memory->proved[lane] = set;
        set = NULL;
    }
    aegis_admission_set_destroy(set);
    return status;
}

aegis_status aegis_lane_test(
    aegis_assignment *w, uint16_t lane, bool *ret_fits, aegis_refusal *refusal, aegis_error *err)
{
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    aegis_admission_result result;
    bool proof = false;
    size_t count = aegis_lane_collect(w, lane, &analysis, &proof);
    *ret_fits = count == 0;
    if (count > 0 && !proof) {
        if (refusal != NULL) {
            *refusal = (aegis_refusal){.rationale = AEGIS_WHY_NO_PROOF,
                                       .lane = lane,
                                       .culprit = AEGIS_TRACE_NONE,
                                       .blocker = AEGIS_TRACE_NONE};
        }
        return AEGIS_OK;
    }
    aegis_status status = test_tasks(w, lane, analysis, count, &result, err);
    if (status != AEGIS_OK) {
        return status;
    }
    *ret_fits = result.verdict == AEGIS_SCHEDULABLE;
    w->undecided = w->undecided || result.verdict == AEGIS_ADMISSION_UNDECIDED;
    if (*ret_fits) { /* background alone delays nobody */
        keep_results(w, &result, lane);
    } else if (refusal != NULL) {
        explain(w, &result, lane, refusal);
    }
    aegis_admission_result_finish(&result, w->allocator);
    return AEGIS_OK;
}

aegis_status
aegis_lane_decide(aegis_assignment *w, uint16_t lane, bool *ret_holds, aegis_error *err)
{
    aegis_analysis analysis = AEGIS_ANALYSIS_NP_EDF;
    aegis_admission_verdict verdict = AEGIS_NOT_SCHEDULABLE;
    const aegis_admission_limits limits = {.steps = w->steps};
    bool proof = false;
    size_t count = aegis_lane_collect(w, lane, &analysis, &proof);
    *ret_holds = count == 0;
    if (count == 0 || !proof) {
        return AEGIS_OK;
    }
    aegis_status status =
        aegis_admission_decide(analysis, w->tasks, count, &limits, w->allocator, &verdict, err);
    w->undecided = w->undecided || verdict == AEGIS_ADMISSION_UNDECIDED;
    *ret_holds = status == AEGIS_OK && verdict == AEGIS_SCHEDULABLE;
    return status;
}
