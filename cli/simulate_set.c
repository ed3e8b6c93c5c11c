/* SPDX-License-Identifier: Apache-2.0 */
/* What is simulated: tasks of a task set file, or the models that admission takes of a workload. */
#include "simulate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_DEPTH 64
#define ANALYSIS_STEPS UINT64_C(20000000)
#define LONGEST_TIME (INT64_MAX / 8) /* what the core takes */

const char *sim_time(const sim_set *set, int64_t time, char buffer[CLI_TEXT_BYTES])
{
    if (!set->ticks) {
        return cli_duration(time, buffer);
    }
    snprintf(buffer, CLI_TEXT_BYTES, "%" PRId64, time);
    return buffer;
}

static bool make_room(sim_set *set, size_t count)
{
    set->tasks = calloc(count + 1, sizeof *set->tasks);
    set->models = calloc(count + 1, sizeof *set->models);
    set->count = count;
    return set->tasks != NULL && set->models != NULL;
}

static int no_memory(const cli_common *common)
{
    aegis_error error = {0};
    aegis_error_set(&error, AEGIS_HERE("cli.simulate"), AEGIS_ERROR_NO_MEMORY,
                    "no memory to simulate");
    return cli_fail(common, &error);
}

/* ---- policy ---- */

static int find_policy(const char *name, const char *option, aegis_policy *ret_policy)
{
    aegis_error error = {0};
    if (aegis_policy_find(name, ret_policy, &error) != AEGIS_OK) {
        return cli_usage("%s%s: %s", option, name, error.message);
    }
    return CLI_EXIT_OK;
}

static int policy_of_taskset(sim_set *set, const sim_options *options)
{
    aegis_analysis analysis = aegis_taskset_policy(set->taskset);
    set->policy_name = options->policy != NULL ? options->policy : aegis_analysis_name(analysis);
    if (options->policy == NULL &&
        (analysis == AEGIS_ANALYSIS_FP || analysis == AEGIS_ANALYSIS_EDF)) {
        return cli_usage("%s: policy %s is preemptive, which is analysed and not simulated; give "
                         "--policy np-fp, np-edf or another",
                         options->input, set->policy_name);
    }
    bool fpp = strcmp(set->policy_name, "fpp") == 0;
    return find_policy(fpp ? "np-fp" : set->policy_name, options->policy != NULL ? "--policy " : "",
                       &set->policy);
}

/* ---- models of the core ---- */

static void make_model(sim_set *set, size_t i, const aegis_core_model *rules)
{
    sim_task *task = &set->tasks[i];
    aegis_core_model *core = &set->models[i].core;
    *core = *rules;
    core->model = (uint32_t)i;
    core->lane = task->policy.lane;
    core->period_ns = task->policy.period_ns;
    core->deadline_ns = task->policy.deadline_ns;
    core->priority = task->policy.priority;
    core->jitter_ns = task->jitter - set->wake_bound;
    core->queue_depth = QUEUE_DEPTH;
    core->background = task->background;
    core->segment_count = task->policy.segment_count;
    task->policy.model = (uint32_t)i;
    task->policy.bound_ns = task->execution;
    for (uint32_t k = 0; k < core->segment_count; k++) {
        core->segment_bound_ns[k] = core->segment_enforceable_ns[k] = (uint64_t)task->segments[k];
    }
    set->models[i].offset_ns = task->offset;
    set->models[i].continuous = task->background && core->period_ns == 0;
}

/* ---- task sets ---- */

static int take_task(sim_set *set, size_t i, const aegis_task *from, const sim_options *options)
{
    sim_task *task = &set->tasks[i];
    /* As in the analysis, np-fp runs tasks whole. */
    bool cut = from->segments != NULL && strcmp(set->policy_name, "np-fp") != 0;
    size_t segments = cut ? from->segment_count : 1;
    if (segments > AEGIS_MAX_SEGMENTS || from->period > LONGEST_TIME ||
        from->deadline > LONGEST_TIME || from->jitter > LONGEST_TIME ||
        from->execution > LONGEST_TIME / 2) {
        return cli_usage("%s: task %s has more than %d segments or a time above 2^60 ticks",
                         options->input, from->name, AEGIS_MAX_SEGMENTS);
    }
    *task = (sim_task){.name = from->name,
                       .execution = (uint64_t)from->execution,
                       .jitter = (uint64_t)from->jitter,
                       .bound = -1};
    task->policy = (aegis_policy_model){.period_ns = (uint64_t)from->period,
                                        .deadline_ns = (uint64_t)from->deadline,
                                        .priority = (int32_t)i,
                                        .segment_count = (uint32_t)segments};
    for (size_t k = 0; k < segments; k++) {
        task->segments[k] = cut ? from->segments[k] : from->execution;
    }
    return CLI_EXIT_OK;
}

static double use_of(const sim_task *task)
{
    return (double)task->execution / (double)task->policy.period_ns;
}

/* The task that uses most goes where least is used, and so on. */
static void assign_lanes(sim_set *set)
{
    double used[AEGIS_CORE_MAX_LANES] = {0};
    bool *placed = calloc(set->count + 1, sizeof *placed);
    for (size_t done = 0; placed != NULL && done < set->count; done++) {
        size_t next = SIZE_MAX;
        uint16_t lane = 0;
        for (size_t i = 0; i < set->count; i++) {
            if (!placed[i] &&
                (next == SIZE_MAX || use_of(&set->tasks[i]) > use_of(&set->tasks[next]))) {
                next = i;
            }
        }
        for (uint16_t k = 1; k < set->lanes; k++) {
            lane = used[k] < used[lane] ? k : lane;
        }
        used[lane] += use_of(&set->tasks[next]);
        set->tasks[next].policy.lane = lane;
        placed[next] = true;
    }
    free(placed);
}

static int load_taskset(sim_set *set, const sim_options *options, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    set->ticks = true;
    if (aegis_taskset_load(options->input, &allocator, &set->taskset, &error) != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    if (options->execution == SIM_PROFILE) {
        return cli_usage("--execution profile: a task set has no profiles; give a workload, or "
                         "write random");
    }
    if (options->refused) {
        return cli_usage("--refused: a task set is simulated whole; it is for workloads");
    }
    size_t count;
    const aegis_task *tasks = aegis_taskset_tasks(set->taskset, &count);
    if (!make_room(set, count)) {
        return no_memory(common);
    }
    if (count > AEGIS_CORE_MAX_MODELS) {
        return cli_usage("%s: more than %u tasks", options->input, AEGIS_CORE_MAX_MODELS);
    }
    set->lanes = options->lanes > 0 ? (uint16_t)options->lanes : 1;
    int code = policy_of_taskset(set, options);
    for (size_t i = 0; i < count && code == CLI_EXIT_OK; i++) {
        code = take_task(set, i, &tasks[i], options);
    }
    if (code != CLI_EXIT_OK) {
        return code;
    }
    assign_lanes(set);
    for (size_t i = 0; i < count; i++) {
        make_model(set, i, &(aegis_core_model){.early = AEGIS_EARLY_REFUSE});
    }
    return CLI_EXIT_OK;
}

/* ---- workloads ---- */

static bool refused_for_time(const aegis_system_model *model)
{
    return !model->admitted &&
           (model->rationale == AEGIS_WHY_UTILISATION || model->rationale == AEGIS_WHY_RESPONSE ||
            model->rationale == AEGIS_WHY_DEMAND);
}

static void take_model(sim_set *set, size_t i, const aegis_system_model *model)
{
    const aegis_workload_model *wanted = &set->workload->models[model->model];
    const aegis_admission_answer *answer = &model->answer;
    sim_task *task = &set->tasks[i];
    *task = (sim_task){.name = model->name,
                       .execution = answer->enforceable_ns,
                       .jitter = answer->copy_response_ns > 0
                                     ? answer->jitter_ns /* when its inputs have come */
                                     : set->wake_bound + wanted->jitter_ns,
                       .offset = wanted->offset_ns,
                       .background = wanted->background,
                       .refused = !model->admitted,
                       .profile = &model->profile,
                       .bound = -1,
                       .segments = {(int64_t)answer->enforceable_ns}};
    uint32_t segments = aegis_profile_segments(&model->profile);
    for (uint32_t k = 0; segments > 1 && k < segments; k++) {
        /* C^E of a segment, as admission counts it. */
        aegis_profile_segment one = aegis_profile_segment_at(&model->profile, k);
        uint64_t stretch = wanted->overrun == AEGIS_OVERRUN_ABORT ? one.stretch_ns : 0;
        task->segments[k] = (int64_t)(one.bound_ns + stretch + set->overhead_bound);
    }
    task->policy = (aegis_policy_model){.lane = answer->lane,
                                        .period_ns = wanted->period_ns,
                                        .deadline_ns = wanted->deadline_ns,
                                        .priority = wanted->priority,
                                        .segment_count = segments};
    aegis_core_model rules = {.overrun = wanted->overrun, .early = wanted->early, .weight = 1};
    rules.weight = wanted->background ? wanted->weight : 1;
    rules.share_ppm = wanted->share_ppm;
    make_model(set, i, &rules);
}

static int load_models(sim_set *set, const sim_options *options, const cli_common *common)
{
    size_t count, taken = 0;
    const aegis_system_model *models = aegis_system_models(set->system, &count);
    const aegis_scheduler *scheduler = aegis_system_scheduler(set->system);
    if (!make_room(set, count)) {
        return no_memory(common);
    }
    set->wake_bound = aegis_scheduler_wake_bound_ns(scheduler);
    set->overhead_bound = aegis_scheduler_overhead_bound_ns(scheduler);
    for (size_t i = 0; i < count; i++) {
        if (models[i].admitted || (options->refused && refused_for_time(&models[i]))) {
            take_model(set, taken++, &models[i]);
        } else {
            cli_remark(common, "%s is left out: %s", models[i].name, models[i].reason);
        }
    }
    set->count = taken;
    return taken > 0 ? CLI_EXIT_OK
                     : cli_usage("%s: no model was admitted: nothing to simulate", options->input);
}

static int load_workload(sim_set *set, const sim_options *options, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    cli_progress progress;
    if (options->lanes > 0) {
        return cli_usage("--lanes: a workload says itself how many it has, and admission assigns "
                         "them; it is for task sets");
    }
    if (aegis_workload_load(options->input, &allocator, &set->workload, &error) != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    cli_progress_init(&progress, common);
    const aegis_system_options system_options = {.progress = cli_progress_step,
                                                 .progress_self = &progress};
    const char *policy = options->policy != NULL ? options->policy : set->workload->policy;
    int code = find_policy(policy, "--policy ", &set->policy);
    set->policy_name = policy;
    if (code != CLI_EXIT_OK) {
        return code;
    }
    /* Lanes come from a proof: of the wanted policy, or else of EDF. */
    set->workload->policy = aegis_policy_has_proof(&set->policy) ? policy : "np-edf";
    aegis_status status =
        aegis_system_create(set->workload, &system_options, &allocator, &set->system, &error);
    cli_progress_clear(&progress);
    if (status != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    set->lanes = set->workload->lanes;
    return load_models(set, options, common);
}

/* ---- bounds ---- */

/* The tasks of a lane in proof order; what background models block comes last. */
static size_t
lane_tasks(const sim_set *set, uint16_t lane, size_t *members, aegis_policy_model *models)
{
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->tasks[i].policy.lane == lane && !set->tasks[i].background) {
            members[count] = i;
            models[count++] = set->tasks[i].policy;
        }
    }
    return count;
}

static int64_t longest_background(const sim_set *set, uint16_t lane)
{
    int64_t longest = 0;
    for (size_t i = 0; i < set->count; i++) {
        const sim_task *task = &set->tasks[i];
        for (uint32_t k = 0; k < task->policy.segment_count; k++) {
            if (task->background && task->policy.lane == lane && task->segments[k] > longest) {
                longest = task->segments[k];
            }
        }
    }
    return longest;
}

typedef struct lane_proof {
    size_t *members, *order;
    aegis_policy_model *models;
    aegis_task *tasks;
} lane_proof;

/* Responses of one lane; false: without a proof, or it was not settled. */
static bool prove_lane(sim_set *set, uint16_t lane, const lane_proof *room, bool *ret_schedulable)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_admission_limits limits = {.steps = ANALYSIS_STEPS};
    aegis_admission_result result;
    aegis_analysis analysis;
    const aegis_policy *policy = &set->policy;
    size_t count = lane_tasks(set, lane, room->members, room->models);
    if (policy->ops->proof == NULL ||
        !policy->ops->proof(policy->self, room->models, count, &analysis, room->order)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const sim_task *task = &set->tasks[room->members[room->order[i]]];
        room->tasks[i] = (aegis_task){.name = task->name,
                                      .execution = (int64_t)task->execution,
                                      .period = (int64_t)task->policy.period_ns,
                                      .deadline = (int64_t)task->policy.deadline_ns,
                                      .jitter = (int64_t)task->jitter,
                                      .segments = task->segments,
                                      .segment_count = task->policy.segment_count};
    }
    int64_t background = longest_background(set, lane);
    size_t tested = count;
    if (background > 0 && count > 0) {
        if (!aegis_policy_background_task(analysis, room->tasks, count, background,
                                          &room->tasks[count])) {
            return false;
        }
        tested++;
    }
    if (aegis_admission_test(analysis, room->tasks, tested, &limits, &allocator, &result, NULL) !=
        AEGIS_OK) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        set->tasks[room->members[room->order[i]]].bound = result.tasks[i].response;
    }
    bool settled = result.verdict != AEGIS_ADMISSION_UNDECIDED;
    *ret_schedulable = *ret_schedulable && result.verdict == AEGIS_SCHEDULABLE;
    aegis_admission_result_finish(&result, &allocator);
    return settled;
}

static void prove(sim_set *set)
{
    lane_proof room = {.members = calloc(set->count + 1, sizeof *room.members),
                       .order = calloc(set->count + 1, sizeof *room.order),
                       .models = calloc(set->count + 1, sizeof *room.models),
                       .tasks = calloc(set->count + 1, sizeof *room.tasks)};
    bool proved =
        room.members != NULL && room.order != NULL && room.models != NULL && room.tasks != NULL;
    bool schedulable = true;
    for (uint16_t lane = 0; lane < set->lanes && proved; lane++) {
        proved = prove_lane(set, lane, &room, &schedulable);
    }
    set->schedulable = proved ? schedulable : -1;
    free(room.members);
    free(room.order);
    free(room.models);
    free(room.tasks);
}

/* ---- both ---- */

/* Of a task set ticks, of a workload time. */
static int read_duration(bool ticks, sim_options *options)
{
    if (options->duration == NULL) {
        return CLI_EXIT_OK;
    }
    if (ticks) {
        return cli_take_unsigned("duration", options->duration, 1, (uint64_t)LONGEST_TIME,
                                 &options->duration_ns);
    }
    return cli_take_length("duration", options->duration, &options->duration_ns);
}

int sim_set_load(sim_set *set, sim_options *options, const cli_common *common)
{
    size_t length = strlen(options->input);
    bool toml = length > 5 && strcmp(options->input + length - 5, ".toml") == 0;
    int code = read_duration(!toml, options);
    if (code == CLI_EXIT_OK) {
        code = toml ? load_workload(set, options, common) : load_taskset(set, options, common);
    }
    if (code == CLI_EXIT_OK) {
        prove(set);
    }
    return code;
}

void sim_set_finish(sim_set *set)
{
    aegis_system_destroy(set->system);
    aegis_workload_free(set->workload);
    aegis_taskset_destroy(set->taskset);
    free(set->tasks);
    free(set->models);
}
