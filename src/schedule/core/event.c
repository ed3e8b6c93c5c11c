/* SPDX-License-Identifier: Apache-2.0 */
/* What each event does, and how jobs end. */
#include "state.h"

#include <string.h>

/* ---- ends of jobs ---- */

static void abort_job(aegis_core *core, uint32_t index, aegis_rationale why, aegis_status status)
{
    const core_job *job = &core->jobs[index];
    aegis_core_count(&core->models[job->model].counters.aborted, 1);
    aegis_core_action *action = aegis_core_emit(core, AEGIS_TRACE_ABORT, why, index);
    action->a = (int64_t)job->release_ns;
    action->b = (int64_t)job->deadline_ns;
    action->c = (int64_t)core->now_ns;
    action->d = status;
    aegis_core_job_give(core, index);
}

static void complete(aegis_core *core, const core_lane *lane, uint32_t index, uint64_t end_ns)
{
    const core_job *job = &core->jobs[index];
    core_model *model = &core->models[job->model];
    bool late = !model->limits.background && end_ns > job->deadline_ns;
    aegis_rationale why = AEGIS_WHY_IN_TIME;
    if (!late) {
        aegis_core_count(&model->counters.completed, 1);
    } else {
        why = lane->whole ? AEGIS_WHY_UNEXCUSED : lane->broken_why;
        aegis_core_count(&model->counters.missed, 1);
        if (lane->whole) {
            aegis_core_count(&model->counters.unexcused, 1);
        } else {
            aegis_core_count(&model->counters.excused, 1);
        }
    }
    aegis_core_action *action =
        aegis_core_emit(core, late ? AEGIS_TRACE_MISS : AEGIS_TRACE_COMPLETE, why, index);
    action->a = (int64_t)job->release_ns;
    action->b = (int64_t)job->deadline_ns;
    action->c = (int64_t)end_ns;
    action->d = (int64_t)end_ns - (int64_t)job->release_ns;
    aegis_core_job_give(core, index);
}

/* Ends all jobs of a model, none of which runs, in the order in which they were accepted. */
static void abort_all(aegis_core *core, uint32_t number, aegis_rationale why, aegis_status status)
{
    core_model *model = &core->models[number];
    aegis_core_ready_clear(core, number);
    while (model->first_job != NO_JOB) {
        uint32_t job = model->first_job;
        if (core->jobs[job].state == JOB_PENDING) {
            aegis_core_heap_remove(aegis_core_releases_of(core, model), job);
        }
        abort_job(core, job, why, status);
    }
}

/* ---- models ---- */

static void add_model(aegis_core *core, const aegis_core_model *add)
{
    core_model *model = &core->models[add->model];
    *model = (core_model){.limits = *add,
                          .state = MODEL_ADMITTED,
                          .ready_segment = NO_SEGMENT,
                          .loaded = NO_JOB,
                          .ready_root = NO_JOB,
                          .first_job = NO_JOB,
                          .last_job = NO_JOB};
    for (uint32_t slot = add->queue_depth; slot < AEGIS_CORE_MAX_QUEUE_DEPTH; slot++) {
        model->slots[slot / 64] |= UINT64_C(1) << (slot % 64);
    }
    uint64_t bound = 0;
    for (uint32_t i = 0; i < add->segment_count; i++) {
        bound = core_add_ns(bound, add->segment_bound_ns[i]);
    }
    model->policy = (aegis_policy_model){.model = add->model,
                                         .lane = add->lane,
                                         .period_ns = add->period_ns,
                                         .deadline_ns = add->deadline_ns,
                                         .priority = add->priority,
                                         .bound_ns = bound,
                                         .segment_count = add->segment_count};
    if (!add->background && core->policy.ops->add_model != NULL) {
        core->policy.ops->add_model(core->policy.self, &model->policy);
    }
}

static void finish_removal(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    abort_all(core, number, AEGIS_WHY_REMOVED, AEGIS_OK);
    model->state = MODEL_ABSENT;
    if (!model->limits.background && core->policy.ops->remove_model != NULL) {
        core->policy.ops->remove_model(core->policy.self, number);
    }
}

static void remove_model(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    uint32_t running = core->lanes[model->limits.lane].running;
    if (running != NO_JOB && core->jobs[running].model == number) {
        model->state = MODEL_REMOVING;
    } else {
        finish_removal(core, number);
    }
}

/* ---- submissions ---- */

static void reject(aegis_core *core,
                   const aegis_core_event *event,
                   aegis_rationale why,
                   uint64_t release_ns,
                   uint64_t accepted)
{
    core_model *model = &core->models[event->model];
    if (why == AEGIS_WHY_QUEUE_FULL) {
        aegis_core_count(&model->counters.jobs, 1);
        aegis_core_count(&model->counters.dropped, 1);
    } else {
        aegis_core_count(&model->counters.refused, 1);
    }
    aegis_core_action *action = aegis_core_emit(core, AEGIS_TRACE_REJECT, why, NO_JOB);
    action->model = event->model;
    action->lane = model->state == MODEL_ABSENT ? AEGIS_TRACE_NONE : model->limits.lane;
    action->job = event->job;
    action->a = (int64_t)release_ns;
    action->b = (int64_t)accepted;
}

static void
accept(aegis_core *core, const aegis_core_event *event, uint64_t release_ns, uint64_t deadline_ns)
{
    core_model *model = &core->models[event->model];
    uint32_t index = aegis_core_job_take(core, event->model, event->job);
    core_job *job = &core->jobs[index];
    job->release_ns = release_ns;
    job->deadline_ns = deadline_ns;
    job->priority = event->job_priority;
    job->state = JOB_PENDING;
    aegis_core_heap_push(aegis_core_releases_of(core, model), index);
    aegis_core_count(&model->counters.jobs, 1);
    model->has_released = true;
    model->last_release_ns = release_ns;
}

static void submit(aegis_core *core, const aegis_core_event *event)
{
    const core_model *model = &core->models[event->model];
    const aegis_core_model *limits = &model->limits;
    uint64_t release = event->release_ns;
    if (core->stopping) {
        reject(core, event, AEGIS_WHY_STOPPING, release, 0);
        return;
    }
    if (model->state != MODEL_ADMITTED) {
        reject(core, event, AEGIS_WHY_NOT_ADMITTED, release, 0);
        return;
    }
    if (model->faulted) {
        reject(core, event, AEGIS_WHY_MODEL_FAULTED, release, model->fault);
        return;
    }
    uint64_t deadline = core_add_ns(release, limits->deadline_ns);
    if (limits->background) {
        deadline = LAST_INSTANT;
    } else if (event->deadline_ns != 0 && event->deadline_ns < deadline) {
        reject(core, event, AEGIS_WHY_DEADLINE_EARLIER, release, deadline);
        return;
    } else if (event->deadline_ns != 0) {
        deadline = event->deadline_ns;
    }
    uint64_t earliest = core_add_ns(model->last_release_ns, limits->period_ns);
    if (model->has_released && release < earliest) {
        if (limits->early == AEGIS_EARLY_REFUSE) {
            reject(core, event, AEGIS_WHY_TOO_EARLY, release, earliest);
            return;
        }
        deadline = core_add_ns(deadline, earliest - release);
        release = earliest;
    }
    if (model->counters.pending >= limits->queue_depth || core->free_job == NO_JOB) {
        reject(core, event, AEGIS_WHY_QUEUE_FULL, release, limits->queue_depth);
        return;
    }
    accept(core, event, release, deadline);
}

/* ---- ends of segments ---- */

static aegis_rationale why_failed(aegis_status status)
{
    if (status == AEGIS_ERROR_DEPARTURE) {
        return AEGIS_WHY_DEPARTURE;
    }
    return status == AEGIS_ERROR_BUDGET_EXCEEDED ? AEGIS_WHY_MEMORY_BUDGET : AEGIS_WHY_RUN_FAILED;
}

static bool is_lasting(aegis_status status)
{
    aegis_error_category category = aegis_status_category(status);
    return category == AEGIS_CATEGORY_PERMANENT || category == AEGIS_CATEGORY_FATAL;
}

/* Background models share by execution over weight; the remainder is carried, so it is exact. */
static void charge(core_model *model, uint64_t execution_ns)
{
    uint64_t total = core_add_ns(execution_ns, model->virtual_rest);
    model->virtual_ns = core_add_ns(model->virtual_ns, total / model->limits.weight);
    model->virtual_rest = total % model->limits.weight;
}

/* After executing e a model with the share s rests e (1 - s) / s, rounded up: then no stretch of
 * time from the start of one of its segments to the start of another holds more than s of it. */
uint64_t aegis_core_rest_ns(uint64_t execution_ns, uint32_t share_ppm)
{
    aegis_u128 rest = (aegis_u128)execution_ns * (AEGIS_SHARE_WHOLE - share_ppm);
    rest = (rest + share_ppm - 1) / share_ppm;
    return rest > LAST_INSTANT ? LAST_INSTANT : (uint64_t)rest;
}

/* Bounds that the finished segment broke and no timer had seen. */
static void judge_segment(aegis_core *core, uint16_t lane_number, uint64_t execution_ns)
{
    core_lane *lane = &core->lanes[lane_number];
    const core_job *job = &core->jobs[lane->running];
    const aegis_core_model *limits = &core->models[job->model].limits;
    uint64_t occupied = core->now_ns - lane->held_from_ns;
    if (lane->overrun_at_ns != NEVER && execution_ns > limits->segment_bound_ns[job->segment]) {
        aegis_core_overrun(core, lane_number, execution_ns);
    }
    if (lane->void_at_ns != NEVER && occupied > limits->segment_enforceable_ns[job->segment]) {
        aegis_core_break_proof(core, lane->running, AEGIS_WHY_EXCUSED_OVERRUN,
                               limits->segment_enforceable_ns[job->segment], occupied);
    }
}

static void fail(aegis_core *core, uint32_t index, aegis_status status)
{
    uint32_t number = core->jobs[index].model;
    core_model *model = &core->models[number];
    abort_job(core, index, why_failed(status), status);
    if (is_lasting(status)) {
        model->faulted = true;
        model->fault = status;
        abort_all(core, number, AEGIS_WHY_MODEL_FAULTED, status);
    }
}

static void
fail_segment(aegis_core *core, const core_lane *lane, uint32_t index, aegis_status status)
{
    if (lane->terminated && status == AEGIS_ERROR_TERMINATED) {
        abort_job(core, index, lane->terminated_why, status);
    } else {
        fail(core, index, status);
    }
}

static void take_inputs(aegis_core *core, const aegis_core_event *event)
{
    uint32_t index = aegis_core_job_find(core, event->job);
    if (event->status == AEGIS_OK) {
        aegis_core_become_ready(core, index);
    } else {
        fail(core, index, event->status);
        aegis_core_copy_next(core, event->model);
    }
}

static void end_segment(aegis_core *core, const aegis_core_event *event)
{
    core_lane *lane = &core->lanes[event->lane];
    uint32_t index = lane->running;
    core_job *job = &core->jobs[index];
    uint32_t number = job->model;
    core_model *model = &core->models[number];
    const aegis_core_model *limits = &model->limits;
    uint64_t execution = event->end_ns - event->start_ns;

    judge_segment(core, event->lane, execution);
    job->executed_ns = core_add_ns(job->executed_ns, execution);
    if (limits->background) {
        charge(model, execution);
        if (limits->share_ppm > 0) {
            aegis_core_ready_rest(
                core, number,
                core_add_ns(event->end_ns, aegis_core_rest_ns(execution, limits->share_ppm)));
        } else if (model->listed) {
            aegis_core_heap_update(&lane->background, number);
        }
    }
    lane->last_id = job->id;
    lane->running = NO_JOB;
    bool last = job->segment + 1 == limits->segment_count;
    bool spent = limits->compute_budget_ns > 0 && job->executed_ns >= limits->compute_budget_ns;
    if (event->status != AEGIS_OK) {
        fail_segment(core, lane, index, event->status);
    } else if (last) {
        complete(core, lane, index, event->end_ns);
    } else if (model->state == MODEL_REMOVING) {
        abort_job(core, index, AEGIS_WHY_REMOVED, AEGIS_OK);
    } else if (lane->terminated) {
        abort_job(core, index, lane->terminated_why, AEGIS_ERROR_TERMINATED);
    } else if (spent) {
        abort_job(core, index, AEGIS_WHY_COMPUTE_BUDGET, AEGIS_ERROR_TERMINATED);
    } else {
        job->segment++;
        aegis_core_ready_push(core, index);
    }
    if (model->state == MODEL_REMOVING) {
        finish_removal(core, number);
    }
    aegis_core_copy_next(core, number);
}

void aegis_core_apply(aegis_core *core, const aegis_core_event *event)
{
    switch (event->kind) {
    case AEGIS_CORE_MODEL_ADD:
        add_model(core, event->add);
        break;
    case AEGIS_CORE_MODEL_REMOVE:
        remove_model(core, event->model);
        break;
    case AEGIS_CORE_SUBMIT:
        submit(core, event);
        break;
    case AEGIS_CORE_SEGMENT_DONE:
        end_segment(core, event);
        break;
    case AEGIS_CORE_CLEAR_FAULT:
        core->models[event->model].faulted = false;
        break;
    case AEGIS_CORE_SEGMENT_READY:
        core->models[event->model].ready_segment = event->segment;
        aegis_core_ready_list(core, event->model);
        break;
    case AEGIS_CORE_INPUTS_READY:
        take_inputs(core, event);
        break;
    case AEGIS_CORE_MODEL_JITTER:
        core->models[event->model].limits.jitter_ns = event->jitter_ns;
        break;
    case AEGIS_CORE_STOP:
        core->stopping = true;
        break;
    case AEGIS_CORE_TIMER:
        break;
    }
}
