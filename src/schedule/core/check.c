/* SPDX-License-Identifier: Apache-2.0 */
/* Refuses malformed events before anything changes. */
#include "state.h"

#include <inttypes.h>

#define HERE AEGIS_HERE("schedule.core")
#define LONGEST ((uint64_t)AEGIS_CORE_MAX_DURATION_NS)

static aegis_status
check_limits(const aegis_core *core, const aegis_core_model *add, aegis_error *err)
{
    const char *wrong = NULL;
    uint64_t value = 0;
#define REQUIRE(condition, name, of)     \
    if (wrong == NULL && !(condition)) { \
        wrong = (name);                  \
        value = (uint64_t)(of);          \
    }
    REQUIRE(add->lane < core->config.lanes, "lane", add->lane)
    REQUIRE(add->period_ns <= AEGIS_CORE_MAX_DURATION_NS, "period_ns", add->period_ns)
    REQUIRE(add->deadline_ns <= AEGIS_CORE_MAX_DURATION_NS, "deadline_ns", add->deadline_ns)
    REQUIRE(add->background || add->period_ns > 0, "period_ns", 0)
    REQUIRE(add->background || add->deadline_ns > 0, "deadline_ns", 0)
    REQUIRE(!add->background || add->weight > 0, "weight", 0)
    REQUIRE(add->share_ppm <= AEGIS_SHARE_WHOLE && (add->background || add->share_ppm == 0),
            "share_ppm", add->share_ppm)
    REQUIRE(add->jitter_ns <= AEGIS_CORE_MAX_DURATION_NS, "jitter_ns", add->jitter_ns)
    REQUIRE(add->queue_depth >= 1 && add->queue_depth <= AEGIS_CORE_MAX_QUEUE_DEPTH, "queue_depth",
            add->queue_depth)
    REQUIRE((unsigned)add->overrun <= AEGIS_OVERRUN_REPORT, "overrun", add->overrun)
    REQUIRE((unsigned)add->early <= AEGIS_EARLY_DELAY, "early", add->early)
    REQUIRE(add->compute_budget_ns <= AEGIS_CORE_MAX_DURATION_NS, "compute_budget_ns",
            add->compute_budget_ns)
    REQUIRE(!add->background || !add->copies_early, "copies_early", 1)
    REQUIRE(add->background || add->awaited_segments == 0, "awaited_segments",
            add->awaited_segments)
    REQUIRE(add->segment_count >= 1 && add->segment_count <= AEGIS_MAX_SEGMENTS, "segment_count",
            add->segment_count)
    for (uint32_t i = 0; wrong == NULL && i < add->segment_count; i++) {
        uint64_t bound = add->segment_bound_ns[i], enforceable = add->segment_enforceable_ns[i];
        REQUIRE(bound >= 1 && bound <= AEGIS_CORE_MAX_DURATION_NS, "segment_bound_ns", bound)
        REQUIRE(enforceable >= bound && enforceable <= AEGIS_CORE_MAX_DURATION_NS,
                "segment_enforceable_ns", enforceable)
    }
    const bool all = add->segment_count == AEGIS_MAX_SEGMENTS;
    REQUIRE(all || add->awaited_segments >> add->segment_count == 0, "awaited_segments",
            add->awaited_segments)
#undef REQUIRE
    if (wrong != NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 ": %s %" PRIu64 " is out of range", add->model,
                               wrong, value);
    }
    return AEGIS_OK;
}

static aegis_status check_add(const aegis_core *core, const aegis_core_model *add, aegis_error *err)
{
    if (add == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "a model is added without its limits");
    }
    if (add->model >= core->config.max_models) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 " is not below max_models %" PRIu32, add->model,
                               core->config.max_models);
    }
    if (core->models[add->model].state != MODEL_ABSENT) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 " is already there; remove it first", add->model);
    }
    return check_limits(core, add, err);
}

static aegis_status check_admitted(const aegis_core *core, uint32_t model, aegis_error *err)
{
    if (model >= core->config.max_models || core->models[model].state != MODEL_ADMITTED) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 " is not admitted", model);
    }
    return AEGIS_OK;
}

static aegis_status
check_jitter(const aegis_core *core, const aegis_core_event *event, aegis_error *err)
{
    aegis_status status = check_admitted(core, event->model, err);
    if (status == AEGIS_OK && event->jitter_ns > AEGIS_CORE_MAX_DURATION_NS) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                 "model %" PRIu32 ": jitter_ns %" PRIu64 " is out of range",
                                 event->model, event->jitter_ns);
    }
    return status;
}

static aegis_status
check_ready(const aegis_core *core, const aegis_core_event *event, aegis_error *err)
{
    aegis_status status = check_admitted(core, event->model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    const aegis_core_model *limits = &core->models[event->model].limits;
    if (event->segment >= limits->segment_count ||
        (limits->awaited_segments >> event->segment & 1) == 0) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "segment %" PRIu32 " of model %" PRIu32 " waits for nothing",
                               event->segment, event->model);
    }
    return AEGIS_OK;
}

static aegis_status check_times(uint64_t now_ns, const aegis_core_event *event, aegis_error *err)
{
    if (event->start_ns > event->end_ns || event->end_ns > now_ns) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "job %" PRIu64 ": start %" PRIu64 " <= end %" PRIu64
                               " <= now %" PRIu64 " does not hold",
                               event->job, event->start_ns, event->end_ns, now_ns);
    }
    return AEGIS_OK;
}

static aegis_status check_inputs(const aegis_core *core,
                                 uint64_t now_ns,
                                 const aegis_core_event *event,
                                 aegis_error *err)
{
    aegis_status status = check_admitted(core, event->model, err);
    if (status != AEGIS_OK) {
        return status;
    }
    uint32_t job = event->job == 0 ? NO_JOB : aegis_core_job_find(core, event->job);
    if (job == NO_JOB || core->jobs[job].model != event->model ||
        core->jobs[job].state != JOB_COPYING) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "job %" PRIu64 " of model %" PRIu32 " waits for no inputs",
                               event->job, event->model);
    }
    return check_times(now_ns, event, err);
}

static aegis_status
check_submit(const aegis_core *core, const aegis_core_event *event, aegis_error *err)
{
    if (event->model >= core->config.max_models) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "model %" PRIu32 " is not below max_models %" PRIu32, event->model,
                               core->config.max_models);
    }
    if (event->job == 0 || aegis_core_job_find(core, event->job) != NO_JOB) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "job number %" PRIu64 " of model %" PRIu32 " is %s", event->job,
                               event->model, event->job == 0 ? "reserved" : "in use");
    }
    if (event->release_ns > LAST_INSTANT || event->deadline_ns > LAST_INSTANT) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "release %" PRIu64 " or deadline %" PRIu64 " of job %" PRIu64
                               " is above INT64_MAX",
                               event->release_ns, event->deadline_ns, event->job);
    }
    return AEGIS_OK;
}

static aegis_status
check_done(const aegis_core *core, uint64_t now_ns, const aegis_core_event *event, aegis_error *err)
{
    if (event->lane >= core->config.lanes) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "lane %u is not below lanes %u", event->lane, core->config.lanes);
    }
    uint32_t running = core->lanes[event->lane].running;
    const core_job *job = running == NO_JOB ? NULL : &core->jobs[running];
    if (job == NULL || job->id != event->job || job->model != event->model ||
        job->segment != event->segment) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "lane %u does not run segment %" PRIu32 " of job %" PRIu64
                               " of model %" PRIu32,
                               event->lane, event->segment, event->job, event->model);
    }
    return check_times(now_ns, event, err);
}

aegis_status aegis_core_check_event(const aegis_core *core,
                                    uint64_t now_ns,
                                    const aegis_core_event *event,
                                    aegis_error *err)
{
    if (now_ns < core->now_ns || now_ns > LAST_INSTANT) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "time goes from %" PRIu64 " to %" PRIu64
                               "; it never goes back and stays below 2^63",
                               core->now_ns, now_ns);
    }
    if (event->seen_ns > now_ns || (event->seen_ns > 0 && now_ns - event->seen_ns > LONGEST)) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "an event handled at %" PRIu64 " was seen at %" PRIu64
                               "; it is seen before, by at most %" PRIu64 " ns",
                               now_ns, event->seen_ns, LONGEST);
    }
    switch (event->kind) {
    case AEGIS_CORE_MODEL_ADD:
        return check_add(core, event->add, err);
    case AEGIS_CORE_MODEL_REMOVE:
    case AEGIS_CORE_CLEAR_FAULT:
        return check_admitted(core, event->model, err);
    case AEGIS_CORE_MODEL_JITTER:
        return check_jitter(core, event, err);
    case AEGIS_CORE_SEGMENT_READY:
        return check_ready(core, event, err);
    case AEGIS_CORE_INPUTS_READY:
        return check_inputs(core, now_ns, event, err);
    case AEGIS_CORE_SUBMIT:
        return check_submit(core, event, err);
    case AEGIS_CORE_SEGMENT_DONE:
        return check_done(core, now_ns, event, err);
    case AEGIS_CORE_TIMER:
    case AEGIS_CORE_STOP:
        return AEGIS_OK;
    }
    return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT, "event kind %d does not exist",
                           (int)event->kind);
}
