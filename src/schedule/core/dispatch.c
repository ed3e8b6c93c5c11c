/* SPDX-License-Identifier: Apache-2.0 */
/* Releases that are due, and what an idle lane runs next. */
#include "state.h"

/* ---- releases ---- */

static void skip(aegis_core *core, uint32_t job)
{
    core_model *model = &core->models[core->jobs[job].model];
    model->skip_next = false;
    aegis_core_count(&model->counters.skipped, 1);
    aegis_core_emit(core, AEGIS_TRACE_SKIP, AEGIS_WHY_AFTER_OVERRUN, job)->a =
        (int64_t)core->jobs[job].release_ns;
    aegis_core_job_give(core, job);
}

/* Releases later than the proof's jitter void it. Background jobs are in no proof. */
static void judge_wake(aegis_core *core, uint32_t index)
{
    const core_job *job = &core->jobs[index];
    const aegis_core_model *limits = &core->models[job->model].limits;
    uint64_t late = core->seen_ns > job->release_ns ? core->seen_ns - job->release_ns : 0;
    uint64_t allowed = core->config.wake_bound_ns + limits->jitter_ns;
    if (!limits->background && late > allowed) {
        aegis_core_break_proof(core, index, AEGIS_WHY_EXCUSED_WAKE, allowed, late);
    }
}

void aegis_core_become_ready(aegis_core *core, uint32_t job)
{
    judge_wake(core, job);
    aegis_core_ready_push(core, job);
}

void aegis_core_copy_next(aegis_core *core, uint32_t number)
{
    core_model *model = &core->models[number];
    uint32_t job = model->first_job;
    if (!model->limits.copies_early || model->loaded != NO_JOB || core->stopping ||
        model->state != MODEL_ADMITTED) {
        return;
    }
    while (job != NO_JOB && core->jobs[job].state != JOB_RELEASED) {
        job = core->jobs[job].next;
    }
    if (job != NO_JOB) {
        model->loaded = job;
        core->jobs[job].state = JOB_COPYING;
        aegis_core_emit(core, AEGIS_TRACE_COPY_IN, AEGIS_WHY_NONE, job)->a =
            (int64_t)core->jobs[job].release_ns;
    }
}

static void release_from(aegis_core *core, aegis_core_heap *releases)
{
    while (releases->count > 0 && core->jobs[releases->items[0]].release_ns <= core->now_ns) {
        uint32_t job = releases->items[0];
        aegis_core_heap_remove(releases, job);
        const core_model *model = &core->models[core->jobs[job].model];
        if (model->skip_next) {
            skip(core, job);
        } else if (model->limits.copies_early) {
            core->jobs[job].state = JOB_RELEASED;
            aegis_core_copy_next(core, core->jobs[job].model);
        } else {
            aegis_core_become_ready(core, job);
        }
    }
}

void aegis_core_release_due(aegis_core *core, uint16_t lane)
{
    release_from(core, &core->lanes[lane].releases);
    release_from(core, &core->lanes[lane].background_releases);
}

/* ---- choice ---- */

static int64_t rank_of(const aegis_core *core, uint32_t job)
{
    const core_model *model = &core->models[core->jobs[job].model];
    return model->limits.background ? (int64_t)model->virtual_ns : core->jobs[job].key;
}

static aegis_rationale
why_chosen(const aegis_core *core, const core_lane *lane, uint32_t chosen, uint32_t second)
{
    const core_job *job = &core->jobs[chosen];
    if (job->segment > 0 && job->id == lane->last_id) {
        return AEGIS_WHY_NEXT_SEGMENT;
    }
    if (core->models[job->model].limits.background) {
        return AEGIS_WHY_BACKGROUND;
    }
    if (second == NO_JOB) {
        return AEGIS_WHY_ONLY_READY;
    }
    const core_job *other = &core->jobs[second];
    if (job->key < other->key) {
        return AEGIS_WHY_SMALLER_KEY;
    }
    if (job->key > other->key) {
        return AEGIS_WHY_NEXT_SEGMENT; /* a model's job between its segments goes first */
    }
    return job->model != other->model ? AEGIS_WHY_TIE_MODEL : AEGIS_WHY_TIE_SEQUENCE;
}

/* The earliest release to come of a foreground model: what a policy may wait for. */
static void next_release(const aegis_core *core, const core_lane *lane, aegis_policy_view *view)
{
    view->next_release_ns = UINT64_MAX;
    view->next_release_model = AEGIS_TRACE_NONE;
    if (lane->releases.count > 0) {
        const core_job *job = &core->jobs[lane->releases.items[0]];
        view->next_release_ns = job->release_ns;
        view->next_release_model = job->model;
    }
}

/* The next job of a model; false when nothing is known of it. */
static bool next_of(const aegis_core *core, const core_model *model, aegis_policy_peer *ret_peer)
{
    const aegis_core_model *limits = &model->limits;
    uint32_t segment = 0;
    uint64_t release = core_add_ns(model->last_release_ns, limits->period_ns);
    if (!model->has_released) {
        return false;
    }
    if (model->ready_root != NO_JOB) {
        segment = core->jobs[model->ready_root].segment;
        release = core->jobs[model->ready_root].release_ns;
    } else if (release < core->now_ns) {
        release = core->now_ns; /* sporadic: it may come at any time */
    }
    /* A release that is known and to come stands before one that is only possible. */
    for (uint32_t job = model->first_job; model->ready_root == NO_JOB && job != NO_JOB;
         job = core->jobs[job].next) {
        if (core->jobs[job].state == JOB_PENDING) {
            release = core->jobs[job].release_ns;
            break;
        }
    }
    *ret_peer = (aegis_policy_peer){.model = limits->model,
                                    .release_ns = release,
                                    .deadline_ns = core_add_ns(release, limits->deadline_ns),
                                    .segment_ns = limits->segment_bound_ns[segment]};
    for (uint32_t i = segment; i < limits->segment_count; i++) {
        ret_peer->left_ns = core_add_ns(ret_peer->left_ns, limits->segment_bound_ns[i]);
    }
    return true;
}

static bool peer_before(const aegis_policy_peer *a, const aegis_policy_peer *b)
{
    return a->deadline_ns != b->deadline_ns ? a->deadline_ns < b->deadline_ns : a->model < b->model;
}

static void sink_peer(aegis_policy_peer *peers, size_t at, size_t count)
{
    aegis_policy_peer peer = peers[at];
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && peer_before(&peers[child], &peers[child + 1])) {
            child++;
        }
        if (!peer_before(&peer, &peers[child])) {
            break;
        }
        peers[at] = peers[child];
        at = child;
    }
    peers[at] = peer;
}

/* Heap sort: no memory and no recursion. */
static void sort_peers(aegis_policy_peer *peers, size_t count)
{
    for (size_t i = count / 2; i-- > 0;) {
        sink_peer(peers, i, count);
    }
    for (size_t end = count; end-- > 1;) {
        aegis_policy_peer last = peers[0];
        peers[0] = peers[end];
        peers[end] = last;
        sink_peer(peers, 0, end);
    }
}

static const aegis_policy_peer *peers_of(const aegis_policy_view *view, size_t *ret_count)
{
    const aegis_core *core = view->context;
    size_t count = 0;
    for (uint32_t i = 0; i < core->config.max_models; i++) {
        const core_model *model = &core->models[i];
        if (model->state == MODEL_ADMITTED && model->limits.lane == view->lane &&
            !model->limits.background && next_of(core, model, &core->peers[count])) {
            count++;
        }
    }
    sort_peers(core->peers, count);
    *ret_count = count;
    return core->peers;
}

static bool policy_waits(aegis_core *core, uint16_t lane_number, uint32_t chosen, uint32_t second)
{
    core_lane *lane = &core->lanes[lane_number];
    if (core->policy.ops->idle_until == NULL) {
        return false;
    }
    aegis_policy_job head, runner_up;
    aegis_policy_view view = {.now_ns = core->now_ns,
                              .lane = lane_number,
                              .ready_count = lane->ready_count,
                              .head = &head,
                              .peers = peers_of,
                              .context = core};
    aegis_core_policy_job(core, chosen, &head);
    if (second != NO_JOB) {
        aegis_core_policy_job(core, second, &runner_up);
        view.runner_up = &runner_up;
    }
    next_release(core, lane, &view);
    uint64_t until = core->policy.ops->idle_until(core->policy.self, &view);
    until = until > LAST_INSTANT ? LAST_INSTANT : until;
    if (until <= core->now_ns) {
        return false;
    }
    if (until != lane->waits_until_ns) {
        lane->waits_until_ns = until;
        aegis_core_action *action =
            aegis_core_emit(core, AEGIS_TRACE_IDLE_UNTIL, AEGIS_WHY_POLICY_WAITS, NO_JOB);
        action->lane = lane_number;
        action->a = (int64_t)until;
    }
    return true;
}

static void start(aegis_core *core, core_lane *lane, uint32_t index)
{
    core_job *job = &core->jobs[index];
    const aegis_core_model *limits = &core->models[job->model].limits;
    uint64_t ready = core_add_ns(core->now_ns, core->config.launch_bound_ns);
    job->state = JOB_RUNNING;
    lane->running = index;
    lane->dispatched_ns = core->now_ns;
    lane->held_from_ns = core->seen_ns;
    lane->terminated = false;
    lane->terminated_why = AEGIS_WHY_NONE;
    /* A bound is kept when the segment ends at that very instant: one ns later it is broken. */
    lane->overrun_at_ns = core_add_ns(ready, limits->segment_bound_ns[job->segment] + 1);
    lane->void_at_ns = core_add_ns(core->seen_ns, limits->segment_enforceable_ns[job->segment] + 1);
    if (lane->void_at_ns <= core->now_ns) { /* the driver alone took that long */
        lane->void_at_ns = core_add_ns(core->now_ns, 1);
    }
    lane->budget_at_ns = NEVER;
    if (limits->compute_budget_ns > 0) {
        lane->budget_at_ns = core_add_ns(ready, limits->compute_budget_ns - job->executed_ns + 1);
    }
}

void aegis_core_fill_lane(aegis_core *core, uint16_t lane_number)
{
    core_lane *lane = &core->lanes[lane_number];
    if (lane->running != NO_JOB) {
        return;
    }
    if (!lane->whole && lane->foreground.count == 0) {
        lane->whole = true;
        aegis_core_action *action =
            aegis_core_emit(core, AEGIS_TRACE_LANE_WHOLE, lane->broken_why, NO_JOB);
        action->lane = lane_number;
        action->a = (int64_t)core->now_ns;
    }
    bool foreground = lane->foreground.count > 0;
    const aegis_core_heap *heap = foreground ? &lane->foreground : &lane->background;
    if (heap->count == 0 || core->stopping) {
        lane->waits_until_ns = 0;
        return;
    }
    core_model *model = &core->models[heap->items[0]];
    uint32_t chosen = model->ready_root;
    uint32_t second = aegis_core_ready_second(core, heap, heap->items[0]);
    if (foreground && policy_waits(core, lane_number, chosen, second)) {
        return;
    }
    lane->waits_until_ns = 0;
    aegis_core_action *action =
        aegis_core_emit(core, AEGIS_TRACE_DISPATCH, why_chosen(core, lane, chosen, second), chosen);
    action->a = core->jobs[chosen].segment;
    action->b = rank_of(core, chosen);
    action->c = second == NO_JOB ? 0 : rank_of(core, second);
    action->d = second == NO_JOB ? -1 : (int64_t)core->jobs[second].model;
    if (!foreground) {
        lane->virtual_ns = model->virtual_ns;
    }
    aegis_core_ready_pop(core, core->jobs[chosen].model);
    start(core, lane, chosen);
}
