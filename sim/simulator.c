/* SPDX-License-Identifier: Apache-2.0 */
/* Drives the scheduler core in virtual time. */
#include <aegisrt/ext/clock_ops.h>
#include <aegisrt/ext/simulator.h>

#include <inttypes.h>

#define HERE AEGIS_HERE("sim.simulator")
#define NEVER UINT64_MAX
#define LAST_INSTANT ((uint64_t)INT64_MAX)
#define CONTINUOUS_JOBS 2 /* as in the driver */

/* What is to come of one model. */
typedef struct sim_arrival {
    uint64_t index;      /* of the next job */
    uint64_t release_ns; /* its nominal release */
    uint32_t alive;      /* of a continuous model: jobs that exist */
    uint64_t seen_ns;    /* when the core gets it; NEVER: no more */
} sim_arrival;

typedef struct sim_lane {
    bool busy, terminated;
    size_t model; /* index, not number */
    uint64_t job;
    uint32_t segment;
    uint64_t start_ns, end_ns;
} sim_lane;

typedef struct simulation {
    const aegis_core_config *config;
    const aegis_simulator_model *models;
    size_t count;
    uint64_t duration_ns, stretch_ns;
    aegis_simulator_source source;
    aegis_trace_ring *ring;
    const aegis_allocator *allocator;
    aegis_core *core;
    aegis_core_action *actions;
    size_t action_capacity;
    sim_arrival *arrivals;
    uint32_t *queue; /* binary heap of models by (seen, index); `queued` of them */
    size_t queued;
    size_t *index_of; /* by model number */
    sim_lane *lanes;
    aegis_simulator_result *results;
    uint64_t now_ns;
    bool stopped;
} simulation;

uint64_t aegis_simulator_job(size_t count, size_t i, uint64_t k)
{
    return k * count + i + 1;
}

static uint64_t add_ns(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum < a || sum > LAST_INSTANT ? LAST_INSTANT : sum;
}

/* ---- records ---- */

static void write_record(const simulation *sim, const aegis_trace_record *record)
{
    aegis_trace_record_write(sim->ring, record);
    if (sim->source.record != NULL) {
        sim->source.record(sim->source.self, record);
    }
}

static bool recording(const simulation *sim)
{
    return sim->ring != NULL || sim->source.record != NULL;
}

static void write_event(const simulation *sim, const aegis_core_event *event)
{
    aegis_trace_record records[AEGIS_CORE_EVENT_RECORDS];
    size_t count = aegis_core_event_to_records(event, sim->now_ns, records);
    for (size_t i = 0; i < count; i++) {
        write_record(sim, &records[i]);
    }
}

/* ---- arrivals: a heap by (seen, index) ---- */

static bool seen_before(const simulation *sim, uint32_t a, uint32_t b)
{
    uint64_t seen_a = sim->arrivals[a].seen_ns, seen_b = sim->arrivals[b].seen_ns;
    return seen_a != seen_b ? seen_a < seen_b : a < b;
}

static void sink(simulation *sim, size_t at)
{
    uint32_t item = sim->queue[at];
    for (size_t child = 2 * at + 1; child < sim->queued; child = 2 * at + 1) {
        if (child + 1 < sim->queued && seen_before(sim, sim->queue[child + 1], sim->queue[child])) {
            child++;
        }
        if (!seen_before(sim, sim->queue[child], item)) {
            break;
        }
        sim->queue[at] = sim->queue[child];
        at = child;
    }
    sim->queue[at] = item;
}

/* The model's next arrival came earlier. Continuous models only: a walk over the heap. */
static void rise(simulation *sim, size_t model)
{
    size_t at = 0;
    while (sim->queue[at] != model) {
        at++;
    }
    for (; at > 0 && seen_before(sim, sim->queue[at], sim->queue[(at - 1) / 2]);
         at = (at - 1) / 2) {
        uint32_t parent = sim->queue[(at - 1) / 2];
        sim->queue[(at - 1) / 2] = sim->queue[at];
        sim->queue[at] = parent;
    }
}

/* ---- actions ---- */

static uint64_t execution_ns(const simulation *sim, size_t model, uint64_t job, uint32_t segment)
{
    const aegis_core_model *limits = &sim->models[model].core;
    uint64_t time = limits->segment_bound_ns[segment];
    if (sim->source.execution_ns != NULL) {
        time = sim->source.execution_ns(sim->source.self, limits->model, (job - 1) / sim->count,
                                        segment);
    }
    return time == 0 ? 1 : time;
}

/* A continuous model that lost a job releases the next one now. */
static void job_ended(simulation *sim, size_t model)
{
    sim_arrival *arrival = &sim->arrivals[model];
    if (!sim->models[model].continuous) {
        return;
    }
    arrival->alive--;
    if (arrival->seen_ns == NEVER && sim->now_ns < sim->duration_ns) {
        arrival->release_ns = arrival->seen_ns = sim->now_ns;
        rise(sim, model);
    }
}

static void note_response(simulation *sim, size_t model, const aegis_core_action *action)
{
    aegis_simulator_result *result = &sim->results[model];
    uint64_t response = (uint64_t)action->d;
    if (response > result->max_response_ns) {
        result->max_response_ns = response;
        result->max_release_ns = (uint64_t)action->a;
    }
}

static void act(simulation *sim, const aegis_core_action *action)
{
    if (action->kind == AEGIS_TRACE_DISPATCH) {
        size_t model = sim->index_of[action->model];
        sim->lanes[action->lane] = (sim_lane){
            .busy = true,
            .model = model,
            .job = action->job,
            .segment = action->segment,
            .start_ns = sim->now_ns,
            .end_ns = add_ns(sim->now_ns, execution_ns(sim, model, action->job, action->segment)),
        };
    } else if (action->kind == AEGIS_TRACE_TERMINATE) {
        sim_lane *lane = &sim->lanes[action->lane];
        uint64_t end = add_ns(sim->now_ns, sim->stretch_ns);
        if (end < lane->end_ns) {
            lane->end_ns = end;
            lane->terminated = true;
        }
    } else if (action->kind == AEGIS_TRACE_COMPLETE || action->kind == AEGIS_TRACE_MISS) {
        note_response(sim, sim->index_of[action->model], action);
        job_ended(sim, sim->index_of[action->model]);
    } else if (action->kind == AEGIS_TRACE_ABORT || action->kind == AEGIS_TRACE_SKIP) {
        job_ended(sim, sim->index_of[action->model]);
    } /* A continuous model that is rejected (faulted, or no room in the core) ends there. */
}

static aegis_status step(simulation *sim, const aegis_core_event *event, aegis_error *err)
{
    size_t count = 0;
    aegis_status status = aegis_core_step(sim->core, sim->now_ns, event, sim->actions, &count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    bool record = recording(sim);
    if (record) {
        write_event(sim, event);
    }
    for (size_t i = 0; i < count; i++) {
        if (record) {
            aegis_trace_record written = aegis_core_action_to_record(&sim->actions[i], sim->now_ns);
            write_record(sim, &written);
        }
        act(sim, &sim->actions[i]);
    }
    return AEGIS_OK;
}

/* ---- releases ---- */

/* Finds the release of the job `arrival->index`. */
static aegis_status plan_arrival(simulation *sim, uint32_t model, aegis_error *err)
{
    const aegis_simulator_model *of = &sim->models[model];
    sim_arrival *arrival = &sim->arrivals[model];
    uint64_t release = of->offset_ns;
    if (of->continuous && arrival->alive == CONTINUOUS_JOBS) {
        arrival->seen_ns = NEVER; /* until one of its jobs ends */
        return AEGIS_OK;
    }
    if (sim->source.release_ns != NULL && !of->continuous) {
        release = sim->source.release_ns(sim->source.self, of->core.model, arrival->index);
    } else if (arrival->index > 0) {
        release = add_ns(arrival->release_ns, of->core.period_ns);
    }
    if (release < arrival->release_ns) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "release %" PRIu64 " of model %" PRIu32 " is at %" PRIu64
                               ", before the one at %" PRIu64,
                               arrival->index, of->core.model, release, arrival->release_ns);
    }
    arrival->release_ns = release;
    if (release >= sim->duration_ns) {
        arrival->seen_ns = NEVER;
        return AEGIS_OK;
    }
    uint64_t delay = sim->source.delay_ns == NULL
                         ? 0
                         : sim->source.delay_ns(sim->source.self, of->core.model, arrival->index);
    uint64_t seen = add_ns(release, delay);
    arrival->seen_ns = seen > arrival->seen_ns ? seen : arrival->seen_ns;
    return AEGIS_OK;
}

static aegis_status plan_arrivals(simulation *sim, aegis_error *err)
{
    for (uint32_t i = 0; i < sim->count; i++) {
        aegis_status status = plan_arrival(sim, i, err);
        if (status != AEGIS_OK) {
            return status;
        }
        sim->queue[i] = i;
    }
    sim->queued = sim->count;
    for (size_t i = sim->queued / 2; i-- > 0;) {
        sink(sim, i);
    }
    return AEGIS_OK;
}

static uint64_t next_seen(const simulation *sim)
{
    return sim->queued == 0 ? NEVER : sim->arrivals[sim->queue[0]].seen_ns;
}

static bool segment_ends(const simulation *sim, uint64_t at_ns)
{
    for (uint16_t i = 0; i < sim->config->lanes; i++) {
        if (sim->lanes[i].busy && sim->lanes[i].end_ns == at_ns) {
            return true;
        }
    }
    return false;
}

static aegis_status submit_seen(simulation *sim, aegis_error *err)
{
    while (next_seen(sim) == sim->now_ns) {
        uint32_t model = sim->queue[0];
        sim_arrival *arrival = &sim->arrivals[model];
        aegis_core_event event = {.kind = AEGIS_CORE_SUBMIT,
                                  .model = sim->models[model].core.model,
                                  .job = aegis_simulator_job(sim->count, model, arrival->index),
                                  .release_ns = arrival->release_ns};
        if (sim->models[model].continuous) {
            event.deadline_ns = event.release_ns; /* as the driver marks them */
        }
        arrival->index++;
        arrival->alive++;
        if (sim->source.submission != NULL) {
            sim->source.submission(sim->source.self, event.model, arrival->index - 1, &event);
        }
        aegis_status status = plan_arrival(sim, model, err);
        if (status != AEGIS_OK) {
            return status;
        }
        sink(sim, 0);
        event.more = next_seen(sim) == sim->now_ns || segment_ends(sim, sim->now_ns);
        status = step(sim, &event, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

/* ---- the run ---- */

static aegis_status end_status(const simulation *sim, const sim_lane *lane)
{
    if (lane->terminated) {
        return AEGIS_ERROR_TERMINATED;
    }
    return sim->source.status == NULL
               ? AEGIS_OK
               : sim->source.status(sim->source.self, sim->models[lane->model].core.model,
                                    (lane->job - 1) / sim->count, lane->segment);
}

static aegis_status end_segments(simulation *sim, aegis_error *err)
{
    for (uint16_t i = 0; i < sim->config->lanes; i++) {
        sim_lane lane = sim->lanes[i];
        if (!lane.busy || lane.end_ns != sim->now_ns) {
            continue;
        }
        sim->lanes[i].busy = false;
        sim->results[lane.model].executed_ns += lane.end_ns - lane.start_ns;
        aegis_core_event event = {
            .kind = AEGIS_CORE_SEGMENT_DONE,
            .model = sim->models[lane.model].core.model,
            .lane = i,
            .job = lane.job,
            .segment = lane.segment,
            .start_ns = lane.start_ns,
            .end_ns = lane.end_ns,
            .status = end_status(sim, &lane),
        };
        aegis_status status = step(sim, &event, err);
        if (status != AEGIS_OK) {
            return status;
        }
    }
    return AEGIS_OK;
}

static uint64_t next_instant(const simulation *sim)
{
    uint64_t next = aegis_core_next_timer(sim->core);
    for (uint16_t i = 0; i < sim->config->lanes; i++) {
        if (sim->lanes[i].busy && sim->lanes[i].end_ns < next) {
            next = sim->lanes[i].end_ns;
        }
    }
    if (!sim->stopped) {
        next = next_seen(sim) < next ? next_seen(sim) : next;
        next = sim->duration_ns < next ? sim->duration_ns : next;
    }
    return next;
}

static aegis_status advance(simulation *sim, aegis_error *err)
{
    aegis_status status = AEGIS_OK;
    if (!sim->stopped && sim->now_ns >= sim->duration_ns) {
        sim->stopped = true;
        status = step(sim, &(aegis_core_event){.kind = AEGIS_CORE_STOP}, err);
    }
    if (status == AEGIS_OK && !sim->stopped) {
        status = submit_seen(sim, err);
    }
    if (status == AEGIS_OK) {
        status = end_segments(sim, err);
    }
    if (status == AEGIS_OK && aegis_core_next_timer(sim->core) <= sim->now_ns) {
        status = step(sim, &(aegis_core_event){.kind = AEGIS_CORE_TIMER}, err);
    }
    return status;
}

static aegis_status run(simulation *sim, aegis_error *err)
{
    if (recording(sim)) {
        aegis_trace_record record = aegis_core_config_to_record(sim->config, 0);
        write_record(sim, &record);
    }
    for (size_t i = 0; i < sim->count; i++) {
        aegis_core_event event = {.kind = AEGIS_CORE_MODEL_ADD, .add = &sim->models[i].core};
        aegis_status status = step(sim, &event, err);
        if (status != AEGIS_OK) {
            return status;
        }
        sim->index_of[sim->models[i].core.model] = i;
    }
    aegis_status status = plan_arrivals(sim, err);
    while (status == AEGIS_OK) {
        uint64_t next = next_instant(sim);
        if (next == NEVER) {
            break;
        }
        sim->now_ns = next;
        status = advance(sim, err);
    }
    for (size_t i = 0; i < sim->count && status == AEGIS_OK; i++) {
        status = aegis_core_model_counters(sim->core, sim->models[i].core.model,
                                           &sim->results[i].counters, err);
    }
    return status;
}

/* ---- life ---- */

static aegis_status check_models(const simulation *sim, aegis_error *err)
{
    for (size_t i = 0; i < sim->count; i++) {
        const aegis_simulator_model *model = &sim->models[i];
        bool paced = model->core.period_ns > 0 || sim->source.release_ns != NULL;
        if ((!paced && !model->continuous) ||
            (model->continuous && (!model->core.background || model->core.queue_depth < 2))) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                   "model %" PRIu32 " needs a period, a source of releases, or, "
                                   "background with a queue of two, to be continuous",
                                   model->core.model);
        }
        if (model->core.copies_early) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                   "model %" PRIu32 " waits for copies, which are not simulated; "
                                   "set copies_early to false and delay its releases",
                                   model->core.model);
        }
        if (model->core.awaited_segments != 0) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                                   "model %" PRIu32 " waits for bytes from a disk, which are not "
                                   "simulated; set awaited_segments to 0",
                                   model->core.model);
        }
    }
    return AEGIS_OK;
}

static aegis_status prepare(simulation *sim, const aegis_policy *policy, aegis_error *err)
{
    aegis_status status = aegis_core_create(sim->config, policy, sim->allocator, &sim->core, err);
    if (status != AEGIS_OK) {
        return status;
    }
    sim->action_capacity = aegis_core_max_actions(sim->core);
    sim->actions =
        aegis_allocate_zeroed(sim->allocator, sim->action_capacity, sizeof *sim->actions);
    sim->arrivals = aegis_allocate_zeroed(sim->allocator, sim->count, sizeof *sim->arrivals);
    sim->queue = aegis_allocate_zeroed(sim->allocator, sim->count, sizeof *sim->queue);
    sim->index_of =
        aegis_allocate_zeroed(sim->allocator, sim->config->max_models, sizeof *sim->index_of);
    sim->lanes = aegis_allocate_zeroed(sim->allocator, sim->config->lanes, sizeof *sim->lanes);
    sim->results = aegis_allocate_zeroed(sim->allocator, sim->count, sizeof *sim->results);
    if (sim->actions == NULL || sim->arrivals == NULL || sim->queue == NULL ||
        sim->index_of == NULL || sim->lanes == NULL || sim->results == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory to simulate %zu models",
                               sim->count);
    }
    return AEGIS_OK;
}

static void finish(simulation *sim)
{
    const aegis_allocator *allocator = sim->allocator;
    aegis_deallocate(allocator, sim->actions, sim->action_capacity, sizeof *sim->actions);
    aegis_deallocate(allocator, sim->arrivals, sim->count, sizeof *sim->arrivals);
    aegis_deallocate(allocator, sim->queue, sim->count, sizeof *sim->queue);
    aegis_deallocate(allocator, sim->index_of, sim->config->max_models, sizeof *sim->index_of);
    aegis_deallocate(allocator, sim->lanes, sim->config->lanes, sizeof *sim->lanes);
    aegis_deallocate(allocator, sim->results, sim->count, sizeof *sim->results);
    aegis_core_destroy(sim->core);
}

aegis_status aegis_simulate(const aegis_core_config *config,
                            const aegis_policy *policy,
                            const aegis_simulator_model *models,
                            size_t count,
                            uint64_t duration_ns,
                            uint64_t stretch_ns,
                            const aegis_simulator_source *source,
                            aegis_trace_ring *ring,
                            const aegis_allocator *allocator,
                            aegis_simulator_result *ret_results,
                            aegis_error *err)
{
    if (duration_ns > LAST_INSTANT / 2 || count > AEGIS_CORE_MAX_MODELS) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_INVALID_ARGUMENT,
                               "%zu models for %" PRIu64 " ns are out of range", count,
                               duration_ns);
    }
    simulation sim = {.config = config,
                      .models = models,
                      .count = count,
                      .duration_ns = duration_ns,
                      .stretch_ns = stretch_ns,
                      .source = source == NULL ? (aegis_simulator_source){0} : *source,
                      .ring = ring,
                      .allocator = allocator};
    aegis_status status = check_models(&sim, err);
    if (status == AEGIS_OK) {
        status = prepare(&sim, policy, err);
    }
    if (status == AEGIS_OK) {
        status = run(&sim, err);
    }
    for (size_t i = 0; i < count && status == AEGIS_OK; i++) {
        ret_results[i] = sim.results[i];
    }
    finish(&sim);
    return status;
}

/* ---- the clock of its traces ---- */

static uint64_t read_zero(void *self)
{
    (void)self;
    return 0;
}

aegis_clock aegis_simulator_clock(void)
{
    static const aegis_clock_ops ops = {
        .version = AEGIS_CLOCK_OPS_VERSION, .name = "simulator", .now_ns = read_zero};
    return (aegis_clock){.ops = &ops};
}
