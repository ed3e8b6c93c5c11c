/* SPDX-License-Identifier: Apache-2.0 */
/* Life of a core, the step, and what can be asked of it. */
#include "state.h"

#include <inttypes.h>
#include <string.h>

#define HERE AEGIS_HERE("schedule.core")

static uint32_t table_size(uint32_t max_jobs)
{
    uint32_t size = 2;
    while (size < 2 * max_jobs) {
        size *= 2;
    }
    return size;
}

/* Items of one lane's heaps: models and releases, foreground and background, and resting models. */
static size_t lane_items(const aegis_core_config *config)
{
    return 3 * (size_t)config->max_models + 2 * (size_t)config->max_jobs;
}

static aegis_status check_config(const aegis_core_config *config, aegis_error *err)
{
    if (config->lanes < 1 || config->lanes > AEGIS_CORE_MAX_LANES) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT, "lanes is %u; give 1 to %u",
                               config->lanes, AEGIS_CORE_MAX_LANES);
    }
    if (config->max_models < 1 || config->max_models > AEGIS_CORE_MAX_MODELS) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "max_models is %" PRIu32 "; give 1 to %u", config->max_models,
                               AEGIS_CORE_MAX_MODELS);
    }
    if (config->max_jobs < 1 || config->max_jobs > UINT32_C(1) << 24) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "max_jobs is %" PRIu32 "; give 1 to 16,777,216", config->max_jobs);
    }
    if (config->wake_bound_ns > AEGIS_CORE_MAX_DURATION_NS ||
        config->launch_bound_ns > AEGIS_CORE_MAX_DURATION_NS) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "wake_bound_ns %" PRIu64 " or launch_bound_ns %" PRIu64
                               " is above 73 years",
                               config->wake_bound_ns, config->launch_bound_ns);
    }
    return AEGIS_OK;
}

static aegis_status check_policy(const aegis_policy *policy, aegis_error *err)
{
    if (policy == NULL || policy->ops == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "no policy; find one with aegis_policy_find");
    }
    if (policy->ops->version < 1 || policy->ops->version > AEGIS_POLICY_OPS_VERSION) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "policy ops are of version %" PRIu32 ", this core wants at most %u",
                               policy->ops->version, AEGIS_POLICY_OPS_VERSION);
    }
    if (policy->ops->name == NULL || policy->ops->key == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "policy \"%s\" lacks the required op %s",
                               policy->ops->name == NULL ? "" : policy->ops->name,
                               policy->ops->name == NULL ? "name" : "key");
    }
    return AEGIS_OK;
}

static aegis_core_heap lay_out_heap(aegis_core *core,
                                    uint32_t **items,
                                    uint32_t capacity,
                                    uint32_t *positions,
                                    aegis_core_before before)
{
    aegis_core_heap heap = {
        .items = *items, .positions = positions, .before = before, .context = core};
    *items += capacity;
    return heap;
}

static void lay_out_lanes(aegis_core *core)
{
    uint32_t *items = core->heap_items, *jobs = core->job_positions;
    uint32_t max_models = core->config.max_models, max_jobs = core->config.max_jobs;
    for (uint16_t i = 0; i < core->config.lanes; i++) {
        core_lane *lane = &core->lanes[i];
        lane->foreground = lay_out_heap(core, &items, max_models, core->model_positions,
                                        aegis_core_foreground_before);
        lane->background = lay_out_heap(core, &items, max_models, core->model_positions,
                                        aegis_core_background_before);
        /* A model stands in one of the three at most, so they share its position. */
        lane->resting =
            lay_out_heap(core, &items, max_models, core->model_positions, aegis_core_rest_before);
        lane->releases = lay_out_heap(core, &items, max_jobs, jobs, aegis_core_release_before);
        lane->background_releases =
            lay_out_heap(core, &items, max_jobs, jobs, aegis_core_release_before);
        lane->running = NO_JOB;
        lane->whole = true;
    }
}

static void fill_pool(aegis_core *core)
{
    for (uint32_t i = 0; i < core->config.max_jobs; i++) {
        core->jobs[i].next = i + 1 < core->config.max_jobs ? i + 1 : NO_JOB;
    }
    core->free_job = 0;
}

aegis_status aegis_core_create(const aegis_core_config *config,
                               const aegis_policy *policy,
                               const aegis_allocator *allocator,
                               aegis_core **ret_core,
                               aegis_error *err)
{
    aegis_status status = check_config(config, err);
    if (status == AEGIS_OK) {
        status = check_policy(policy, err);
    }
    if (status != AEGIS_OK) {
        return status;
    }
    aegis_core *core = aegis_allocate_zeroed(allocator, 1, sizeof *core);
    if (core == NULL) {
        goto fail;
    }
    *core = (aegis_core){.config = *config,
                         .policy = *policy,
                         .allocator = *allocator,
                         .table_mask = table_size(config->max_jobs) - 1,
                         .armed_ns = NEVER};
    core->lanes = aegis_allocate_zeroed(allocator, config->lanes, sizeof *core->lanes);
    core->models = aegis_allocate_zeroed(allocator, config->max_models, sizeof *core->models);
    core->jobs = aegis_allocate_zeroed(allocator, config->max_jobs, sizeof *core->jobs);
    core->heap_items = aegis_allocate_zeroed(allocator, config->lanes * lane_items(config),
                                             sizeof *core->heap_items);
    core->job_positions =
        aegis_allocate_zeroed(allocator, config->max_jobs, sizeof *core->job_positions);
    core->model_positions =
        aegis_allocate_zeroed(allocator, config->max_models, sizeof *core->model_positions);
    core->job_table =
        aegis_allocate_zeroed(allocator, core->table_mask + 1, sizeof *core->job_table);
    if (policy->ops->idle_until != NULL) {
        core->peers = aegis_allocate_zeroed(allocator, config->max_models, sizeof *core->peers);
        if (core->peers == NULL) {
            goto fail;
        }
    }
    if (core->lanes == NULL || core->models == NULL || core->jobs == NULL ||
        core->heap_items == NULL || core->job_positions == NULL || core->model_positions == NULL ||
        core->job_table == NULL) {
        goto fail;
    }
    lay_out_lanes(core);
    fill_pool(core);
    *ret_core = core;
    return AEGIS_OK;
fail:
    aegis_core_destroy(core);
    return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                           "no memory for a core of %u lanes, %" PRIu32 " models and %" PRIu32
                           " jobs",
                           config->lanes, config->max_models, config->max_jobs);
}

void aegis_core_destroy(aegis_core *core)
{
    if (core == NULL) {
        return;
    }
    const aegis_allocator allocator = core->allocator;
    const aegis_core_config config = core->config;
    aegis_deallocate(&allocator, core->lanes, config.lanes, sizeof *core->lanes);
    aegis_deallocate(&allocator, core->models, config.max_models, sizeof *core->models);
    aegis_deallocate(&allocator, core->jobs, config.max_jobs, sizeof *core->jobs);
    aegis_deallocate(&allocator, core->heap_items, config.lanes * lane_items(&config),
                     sizeof *core->heap_items);
    aegis_deallocate(&allocator, core->job_positions, config.max_jobs, sizeof *core->job_positions);
    aegis_deallocate(&allocator, core->model_positions, config.max_models,
                     sizeof *core->model_positions);
    aegis_deallocate(&allocator, core->peers, config.max_models, sizeof *core->peers);
    aegis_deallocate(&allocator, core->job_table, core->table_mask + 1, sizeof *core->job_table);
    aegis_deallocate(&allocator, core, 1, sizeof *core);
}

size_t aegis_core_max_actions(const aegis_core *core)
{
    /* Each job ends once at most; a model asks for the inputs of one job; a lane has at most two
     * overruns, two breaks of its proof, one termination, one whole, one dispatch; one action about
     * the event itself, one timer. */
    return (size_t)core->config.max_jobs + (size_t)core->config.max_models +
           8 * (size_t)core->config.lanes + 4;
}

aegis_core_action *
aegis_core_emit(aegis_core *core, aegis_trace_kind kind, aegis_rationale rationale, uint32_t job)
{
    aegis_core_action *action = &core->actions[core->action_count++];
    *action = (aegis_core_action){
        .kind = kind, .rationale = rationale, .model = AEGIS_TRACE_NONE, .lane = AEGIS_TRACE_NONE};
    if (job != NO_JOB) {
        const core_job *of = &core->jobs[job];
        action->model = of->model;
        action->lane = core->models[of->model].limits.lane;
        action->segment = of->segment;
        action->slot = of->slot;
        action->job = of->id;
    }
    return action;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t first_release(const aegis_core *core, const aegis_core_heap *releases)
{
    return releases->count == 0 ? NEVER : core->jobs[releases->items[0]].release_ns;
}

static uint64_t next_instant(const aegis_core *core)
{
    uint64_t next = NEVER;
    for (uint16_t i = 0; i < core->config.lanes; i++) {
        const core_lane *lane = &core->lanes[i];
        if (lane->running != NO_JOB) {
            next = earlier(next, lane->overrun_at_ns);
            next = earlier(next, lane->budget_at_ns);
            next = earlier(next, lane->void_at_ns);
        }
        if (core->stopping) {
            continue;
        }
        next = earlier(next, first_release(core, &lane->releases));
        next = earlier(next, first_release(core, &lane->background_releases));
        next = earlier(next, lane->waits_until_ns > 0 ? lane->waits_until_ns : NEVER);
        if (lane->running == NO_JOB &&
            lane->resting.count > 0) { /* a busy lane looks when it ends */
            next = earlier(next, core->models[lane->resting.items[0]].rests_until_ns);
        }
    }
    return next >= LAST_INSTANT ? NEVER : next;
}

static void arm_timer(aegis_core *core)
{
    uint64_t next = next_instant(core);
    if (next != core->armed_ns) {
        core->armed_ns = next;
        aegis_core_emit(core, AEGIS_TRACE_ARM_TIMER, AEGIS_WHY_NONE, NO_JOB)->a =
            next == NEVER ? INT64_MAX : (int64_t)next;
    }
}

static void settle(aegis_core *core)
{
    for (uint16_t lane = 0; lane < core->config.lanes && !core->stopping; lane++) {
        aegis_core_release_due(core, lane);
        aegis_core_ready_wake(core, lane);
    }
    for (uint16_t lane = 0; lane < core->config.lanes; lane++) {
        aegis_core_enforce(core, lane);
    }
    for (uint16_t lane = 0; lane < core->config.lanes; lane++) {
        aegis_core_fill_lane(core, lane);
    }
    arm_timer(core);
}

aegis_status aegis_core_step(aegis_core *core,
                             uint64_t now_ns,
                             const aegis_core_event *event,
                             aegis_core_action *ret_actions,
                             size_t *ret_count,
                             aegis_error *err)
{
    aegis_status status = aegis_core_check_event(core, now_ns, event, err);
    if (status != AEGIS_OK) {
        return status;
    }
    core->now_ns = now_ns;
    core->seen_ns = event->seen_ns > 0 ? event->seen_ns : now_ns;
    core->actions = ret_actions;
    core->action_count = 0;
    aegis_core_apply(core, event);
    if (event->kind != AEGIS_CORE_SUBMIT || !event->more) {
        settle(core);
    }
    *ret_count = core->action_count;
    return AEGIS_OK;
}

/* ---- questions ---- */

aegis_status aegis_core_model_counters(const aegis_core *core,
                                       uint32_t model,
                                       aegis_core_counters *ret_counters,
                                       aegis_error *err)
{
    if (model >= core->config.max_models) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 " is not below max_models %" PRIu32, model,
                               core->config.max_models);
    }
    const void *counters = &core->models[model].counters;
    const uint64_t *from = counters;
    uint64_t *to = (uint64_t *)(void *)ret_counters;
    for (size_t i = 0; i < sizeof *ret_counters / sizeof *to; i++) {
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    }
    return AEGIS_OK;
}

uint64_t aegis_core_next_timer(const aegis_core *core)
{
    return core->armed_ns;
}

bool aegis_core_lane_idle(const aegis_core *core, uint16_t lane)
{
    return lane >= core->config.lanes ||
           (core->lanes[lane].running == NO_JOB && aegis_core_ready_count(core, lane) == 0);
}

bool aegis_core_lane_whole(const aegis_core *core, uint16_t lane)
{
    return lane >= core->config.lanes || core->lanes[lane].whole;
}

size_t aegis_core_ready_count(const aegis_core *core, uint16_t lane)
{
    return lane >= core->config.lanes
               ? 0
               : core->lanes[lane].ready_count + core->lanes[lane].background_ready_count;
}

bool aegis_core_lane_running(const aegis_core *core,
                             uint16_t lane,
                             uint32_t *ret_model,
                             uint64_t *ret_job,
                             uint32_t *ret_segment)
{
    if (lane >= core->config.lanes || core->lanes[lane].running == NO_JOB) {
        return false;
    }
    const core_job *job = &core->jobs[core->lanes[lane].running];
    *ret_model = job->model;
    *ret_job = job->id;
    *ret_segment = job->segment;
    return true;
}
