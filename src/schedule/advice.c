/* SPDX-License-Identifier: Apache-2.0 */
/* What the models of a lane tolerate of each other: the ground for cutting one of them. */
#include "schedule/driver/internal.h"

#define COMPONENT "schedule.advice"
#define ADVICE_STEPS UINT64_C(20000000)

/* One lane under analysis; the arrays are as long as the set. */
typedef struct lane_view {
    const aegis_scheduler *scheduler;
    const aegis_candidate_set *set;
    size_t *members, *order;
    aegis_policy_model *models;
    aegis_task *tasks;
    aegis_cut_tolerance *tolerances;
    size_t count;
    aegis_analysis analysis;
} lane_view;

static void view_finish(lane_view *view)
{
    const aegis_allocator *allocator = &view->scheduler->allocator;
    size_t room = view->set->count;
    aegis_deallocate(allocator, view->members, room, sizeof *view->members);
    aegis_deallocate(allocator, view->order, room, sizeof *view->order);
    aegis_deallocate(allocator, view->models, room, sizeof *view->models);
    aegis_deallocate(allocator, view->tasks, room, sizeof *view->tasks);
    aegis_deallocate(allocator, view->tolerances, room, sizeof *view->tolerances);
}

static aegis_status view_init(lane_view *view, aegis_error *err)
{
    const aegis_allocator *allocator = &view->scheduler->allocator;
    size_t room = view->set->count;
    view->members = aegis_allocate_zeroed(allocator, room, sizeof *view->members);
    view->order = aegis_allocate_zeroed(allocator, room, sizeof *view->order);
    view->models = aegis_allocate_zeroed(allocator, room, sizeof *view->models);
    view->tasks = aegis_allocate_zeroed(allocator, room, sizeof *view->tasks);
    view->tolerances = aegis_allocate_zeroed(allocator, room, sizeof *view->tolerances);
    if (view->members == NULL || view->order == NULL || view->models == NULL ||
        view->tasks == NULL || view->tolerances == NULL) {
        view_finish(view);
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_NO_MEMORY,
                               "no host memory to analyse %zu models", room);
    }
    return AEGIS_OK;
}

static bool on_lane(const lane_view *view, size_t candidate, uint16_t lane)
{
    return candidate + 1 == view->set->count ||
           view->set->candidates[candidate].policy.lane == lane;
}

/* Behind the foreground: the background model that blocks longest. False when the test has no place
 * for one. */
static bool add_background(lane_view *view, uint16_t lane)
{
    const aegis_candidate *candidates = view->set->candidates, *longest = NULL;
    size_t count = view->count;
    for (size_t i = 0; i < view->set->count; i++) {
        if (on_lane(view, i, lane) && candidates[i].background &&
            (longest == NULL ||
             aegis_candidate_longest_ns(&candidates[i]) > aegis_candidate_longest_ns(longest))) {
            longest = &candidates[i];
            view->members[count] = i;
        }
    }
    if (longest == NULL) {
        return true;
    }
    view->order[count] = count;
    view->count++;
    return aegis_policy_background_task(view->analysis, view->tasks, count,
                                        (int64_t)aegis_candidate_longest_ns(longest),
                                        &view->tasks[count]);
}

/* The members of the lane, the new model among them, in the order that the proof wants. False
 * without a proof. */
static bool view_lane(lane_view *view, uint16_t lane)
{
    const aegis_policy *policy = &view->scheduler->config.policy;
    const aegis_candidate *candidates = view->set->candidates;
    for (size_t i = 0; i < view->set->count; i++) {
        if (on_lane(view, i, lane) && !candidates[i].background) {
            view->members[view->count] = i;
            view->models[view->count] = candidates[i].policy;
            view->models[view->count++].lane = lane;
        }
    }
    if (policy->ops->proof == NULL || !policy->ops->proof(policy->self, view->models, view->count,
                                                          &view->analysis, view->order)) {
        return false;
    }
    bool ordered = view->analysis == AEGIS_ANALYSIS_NP_FP || view->analysis == AEGIS_ANALYSIS_FPP;
    for (size_t i = 0; i < view->count; i++) {
        view->order[i] = ordered ? view->order[i] : i;
        view->tasks[i] = aegis_candidate_task(&candidates[view->members[view->order[i]]]);
    }
    return view->count == 0 || add_background(view, lane);
}

static const aegis_candidate *member(const lane_view *view, size_t task)
{
    return &view->set->candidates[view->members[view->order[task]]];
}

static void fill(const lane_view *view, aegis_cut_advice *ret_advice)
{
    for (size_t i = 0; i < view->count; i++) {
        const aegis_cut_tolerance *one = &view->tolerances[i];
        bool any = one->segment == AEGIS_CUT_ANY_LENGTH;
        ret_advice[i] = (aegis_cut_advice){
            .model = member(view, i)->id,
            .longest_ns = aegis_candidate_longest_ns(member(view, i)),
            .tolerance_ns = any ? UINT64_MAX : (uint64_t)one->segment,
            .limited_by =
                one->limited_by == SIZE_MAX ? AEGIS_TRACE_NONE : member(view, one->limited_by)->id,
            .at_ns = one->at > 0 ? (uint64_t)one->at : 0};
    }
}

static aegis_status advise(const aegis_scheduler *scheduler,
                           const aegis_candidate_set *set,
                           uint16_t lane,
                           aegis_cut_advice *ret_advice,
                           size_t *ret_count,
                           aegis_error *err)
{
    const aegis_admission_limits limits = {.steps = ADVICE_STEPS};
    lane_view view = {.scheduler = scheduler, .set = set, .analysis = AEGIS_ANALYSIS_NP_EDF};
    aegis_status status = view_init(&view, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (view_lane(&view, lane)) {
        status = aegis_cut_tolerances(view.analysis, view.tasks, view.count, &limits,
                                      &scheduler->allocator, view.tolerances, err);
    } else {
        view.count = 0;
    }
    if (status == AEGIS_OK) {
        fill(&view, ret_advice);
        *ret_count = view.count;
    }
    view_finish(&view);
    return status;
}

aegis_status aegis_scheduler_cut_advice(aegis_scheduler *scheduler,
                                        const char *name,
                                        uint32_t model,
                                        const aegis_admission_request *request,
                                        uint16_t lane,
                                        aegis_cut_advice *ret_advice,
                                        size_t *ret_count,
                                        aegis_error *err)
{
    aegis_candidate_set set;
    aegis_admission_request wanted = *request;
    aegis_status status = aegis_admit_check(scheduler, name, &wanted, err);
    if (status != AEGIS_OK) {
        return status;
    }
    pthread_mutex_lock(&scheduler->admin);
    status = aegis_admit_collect(scheduler, name, model, &wanted, &set, err);
    if (status == AEGIS_OK) {
        status = advise(scheduler, &set, lane, ret_advice, ret_count, err);
        aegis_admit_finish(scheduler, &set);
    }
    pthread_mutex_unlock(&scheduler->admin);
    return status;
}
