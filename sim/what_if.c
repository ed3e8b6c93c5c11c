/* SPDX-License-Identifier: Apache-2.0 */
/* Recorded releases and executions under another policy. */
#include <aegisrt/allocator.h>
#include <aegisrt/ext/simulator.h>
#include <aegisrt/replay.h>

#include <stdlib.h>
#include <string.h>

#define HERE AEGIS_HERE("sim.what_if")
#define NO_INDEX SIZE_MAX
/* Submissions between that of a job and its inputs, at most, that are looked through. */
#define MOST_WAITING_JOBS 4096
#define MOST_CONTINUOUS_JOBS UINT64_C(20000000)

/* One submission, and where its job stands among those of its model. */
typedef struct taken_job {
    uint64_t job, release_ns, seen_ns, deadline_ns;
    uint32_t model;
    int32_t priority;
    uint64_t order; /* in the trace */
} taken_job;

typedef struct taken_run {
    uint64_t job, time_ns;
    uint32_t segment;
    aegis_status status;
} taken_run;

typedef struct taken_response {
    uint64_t ns;
    size_t model; /* index */
} taken_response;

typedef struct what_if {
    const aegis_trace_record *records;
    size_t record_count;
    const aegis_allocator *allocator;
    aegis_core_config config;
    uint64_t start_ns, end_ns;
    aegis_simulator_model *models;
    aegis_replay_model *results;
    size_t *index_of;     /* by model number */
    size_t *first_job;    /* by model index: in `jobs`; one more at the end */
    uint64_t *ran, *runs; /* by model index: sum of executions, and how many */
    size_t model_count, job_count, run_count;
    taken_job *jobs; /* by model, release, order */
    taken_run *executions;
    taken_response *responses; /* of the recording, then of the simulation */
    size_t response_count, response_room;
} what_if;

/* ---- reading ---- */

static size_t count_kind(const what_if *w, aegis_trace_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        count += w->records[i].kind == (uint16_t)kind;
    }
    return count;
}

static void *take(const what_if *w, size_t count, size_t size)
{
    return aegis_allocate_zeroed(w->allocator, count + 1, size);
}

static aegis_status allocate(what_if *w, aegis_error *err)
{
    size_t adds = count_kind(w, AEGIS_TRACE_EVENT_MODEL_ADD);
    w->job_count = count_kind(w, AEGIS_TRACE_EVENT_SUBMIT);
    w->run_count = count_kind(w, AEGIS_TRACE_EVENT_SEGMENT_DONE);
    w->response_room = w->job_count;
    w->model_count = adds;
    w->models = take(w, adds, sizeof *w->models);
    w->results = take(w, adds, sizeof *w->results);
    w->first_job = take(w, adds, sizeof *w->first_job);
    w->ran = take(w, adds, sizeof *w->ran);
    w->runs = take(w, adds, sizeof *w->runs);
    w->index_of = take(w, AEGIS_TRACE_NONE, sizeof *w->index_of);
    w->jobs = take(w, w->job_count, sizeof *w->jobs);
    w->executions = take(w, w->run_count, sizeof *w->executions);
    w->responses = take(w, w->response_room, sizeof *w->responses);
    if (w->models == NULL || w->results == NULL || w->first_job == NULL || w->ran == NULL ||
        w->runs == NULL || w->index_of == NULL || w->jobs == NULL || w->executions == NULL ||
        w->responses == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY,
                               "no memory to simulate %zu recorded jobs", w->job_count);
    }
    for (size_t i = 0; i < AEGIS_TRACE_NONE; i++) {
        w->index_of[i] = NO_INDEX;
    }
    return AEGIS_OK;
}

static void give(const what_if *w, void *block, size_t count, size_t size)
{
    aegis_deallocate(w->allocator, block, count + 1, size);
}

/* All but the results. */
static void finish(what_if *w, size_t room)
{
    give(w, w->models, room, sizeof *w->models);
    give(w, w->first_job, room, sizeof *w->first_job);
    give(w, w->ran, room, sizeof *w->ran);
    give(w, w->runs, room, sizeof *w->runs);
    give(w, w->index_of, AEGIS_TRACE_NONE, sizeof *w->index_of);
    give(w, w->jobs, w->job_count, sizeof *w->jobs);
    give(w, w->executions, w->run_count, sizeof *w->executions);
    give(w, w->responses, w->response_room, sizeof *w->responses);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const aegis_simulator_model *)a)->core.model;
    uint32_t y = ((const aegis_simulator_model *)b)->core.model;
    return (x > y) - (x < y);
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_release(const void *a, const void *b)
{
    const taken_job *x = a, *y = b;
    int order = compare(x->model, y->model);
    order = order != 0 ? order : compare(x->release_ns, y->release_ns);
    return order != 0 ? order : compare(x->order, y->order);
}

static int by_segment(const void *a, const void *b)
{
    const taken_run *x = a, *y = b;
    int order = compare(x->job, y->job);
    return order != 0 ? order : compare(x->segment, y->segment);
}

static int by_response(const void *a, const void *b)
{
    const taken_response *x = a, *y = b;
    int order = compare(x->model, y->model);
    return order != 0 ? order : compare(x->ns, y->ns);
}

/* The first admission of each number; launches are part of executions here, so bounds grow. */
static aegis_status read_models(what_if *w, aegis_error *err)
{
    aegis_core_model add = {0};
    w->model_count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        const aegis_trace_record *record = &w->records[i];
        aegis_core_event event;
        bool whole;
        if (record->kind != AEGIS_TRACE_EVENT_MODEL_LIMITS &&
            record->kind != AEGIS_TRACE_EVENT_MODEL_SEGMENT &&
            record->kind != AEGIS_TRACE_EVENT_MODEL_ADD) {
            continue;
        }
        const char *wrong = aegis_core_event_from_record(record, &add, &event, &whole);
        if (wrong != NULL || record->model >= w->config.max_models) {
            return aegis_error_set(err, HERE, AEGIS_ERROR_PARSE,
                                   "record %zu cannot be simulated: %s", i,
                                   wrong != NULL ? wrong : "a model above the core's limit");
        }
        if (!whole || w->index_of[record->model] != NO_INDEX) {
            continue;
        }
        for (uint32_t k = 0; k < add.segment_count; k++) {
            uint64_t bound = add.segment_bound_ns[k] + w->config.launch_bound_ns;
            add.segment_bound_ns[k] = bound;
            if (add.segment_enforceable_ns[k] < bound) {
                add.segment_enforceable_ns[k] = bound;
            }
        }
        add.copies_early = false; /* a job is seen when its inputs have come */
        add.awaited_segments = 0; /* when bytes would have come is not known under another policy */
        w->index_of[record->model] = w->model_count;
        w->models[w->model_count++].core = add;
    }
    qsort(w->models, w->model_count, sizeof *w->models, by_number);
    for (size_t i = 0; i < w->model_count; i++) {
        const aegis_core_model *core = &w->models[i].core;
        w->index_of[core->model] = i;
        w->results[i] = (aegis_replay_model){.model = core->model, .background = core->background};
        w->models[i].continuous = core->background && core->period_ns == 0;
    }
    return AEGIS_OK;
}

static uint64_t since_start(const what_if *w, uint64_t instant_ns)
{
    return instant_ns > w->start_ns ? instant_ns - w->start_ns : 0;
}

/* When the driver had it: what it saw together is together here too. */
static uint64_t seen_at(const aegis_trace_record *submission)
{
    const uint64_t known_ns = (uint64_t)submission->d >> 1;
    return submission->time_ns - (known_ns <= submission->time_ns ? known_ns : 0);
}

/* A job with early copies is there when its inputs are, whatever the policy. */
static void see_inputs(what_if *w, const aegis_trace_record *record, size_t count)
{
    const size_t first = count > MOST_WAITING_JOBS ? count - MOST_WAITING_JOBS : 0;
    for (size_t i = count; i-- > first;) {
        if (w->jobs[i].job == record->job && w->jobs[i].model == record->model) {
            w->jobs[i].seen_ns = since_start(w, record->time_ns);
            return;
        }
    }
}

static void read_jobs(what_if *w)
{
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        const aegis_trace_record *record = &w->records[i];
        size_t index = record->model < AEGIS_TRACE_NONE ? w->index_of[record->model] : NO_INDEX;
        if (record->kind == AEGIS_TRACE_EVENT_INPUTS_READY && record->c == AEGIS_OK) {
            see_inputs(w, record, count);
        }
        if (record->kind != AEGIS_TRACE_EVENT_SUBMIT || index == NO_INDEX) {
            continue;
        }
        w->jobs[count] = (taken_job){.job = record->job,
                                     .release_ns = since_start(w, (uint64_t)record->a),
                                     .seen_ns = since_start(w, seen_at(record)),
                                     .model = record->model,
                                     .priority = (int32_t)record->c,
                                     .order = count};
        if (record->b != 0) {
            w->jobs[count].deadline_ns = since_start(w, (uint64_t)record->b);
        }
        /* The driver marks the jobs of continuous models: due at their release. */
        w->models[index].continuous = w->models[index].continuous && record->b == record->a;
        count++;
    }
    qsort(w->jobs, count, sizeof *w->jobs, by_release);
    for (size_t i = 0, job = 0; i <= w->model_count; i++) {
        while (job < count && i < w->model_count && w->jobs[job].model < w->models[i].core.model) {
            job++;
        }
        w->first_job[i] = i < w->model_count ? job : count;
    }
}

static void read_executions(what_if *w)
{
    uint64_t dispatched[AEGIS_CORE_MAX_LANES] = {0};
    size_t count = 0;
    for (size_t i = 0; i < w->record_count; i++) {
        const aegis_trace_record *record = &w->records[i];
        if (record->lane >= w->config.lanes) {
            continue;
        }
        if (record->kind == AEGIS_TRACE_DISPATCH) {
            dispatched[record->lane] = record->time_ns;
        } else if (record->kind == AEGIS_TRACE_EVENT_SEGMENT_DONE) {
            uint64_t end = (uint64_t)record->c, begin = dispatched[record->lane];
            size_t index = record->model < AEGIS_TRACE_NONE ? w->index_of[record->model] : NO_INDEX;
            w->executions[count] = (taken_run){.job = record->job,
                                               .time_ns = end > begin ? end - begin : 1,
                                               .segment = (uint32_t)record->a,
                                               .status = (aegis_status)record->d};
            if (index != NO_INDEX) {
                w->ran[index] += w->executions[count].time_ns;
                w->runs[index]++;
            }
            count++;
        }
    }
    w->end_ns = w->records[w->record_count - 1].time_ns;
    for (size_t i = w->record_count; i-- > 0;) {
        if (w->records[i].kind == AEGIS_TRACE_EVENT_STOP) {
            w->end_ns = w->records[i].time_ns;
        }
    }
    qsort(w->executions, count, sizeof *w->executions, by_segment);
    memset(w->executions + count, 0xff, (w->run_count - count) * sizeof *w->executions);
}

/* ---- ends of jobs ---- */

static void count_end(what_if *w, const aegis_trace_record *record, bool recorded)
{
    size_t index = record->model < AEGIS_TRACE_NONE ? w->index_of[record->model] : NO_INDEX;
    if (index == NO_INDEX) {
        return;
    }
    aegis_replay_ends *ends = recorded ? &w->results[index].recorded : &w->results[index].simulated;
    bool finished = record->kind == AEGIS_TRACE_COMPLETE || record->kind == AEGIS_TRACE_MISS;
    ends->jobs += record->kind == AEGIS_TRACE_EVENT_SUBMIT;
    ends->completed += record->kind == AEGIS_TRACE_COMPLETE;
    ends->missed += record->kind == AEGIS_TRACE_MISS;
    ends->aborted += record->kind == AEGIS_TRACE_ABORT;
    ends->dropped += record->kind == AEGIS_TRACE_REJECT;
    ends->skipped += record->kind == AEGIS_TRACE_SKIP;
    /* Continuous models may finish more jobs than they did: those count, their responses do not. */
    if (finished && w->response_count < w->response_room) {
        w->responses[w->response_count++] =
            (taken_response){.ns = (uint64_t)record->d, .model = index};
    }
}

static void close_ends(what_if *w, bool recorded)
{
    qsort(w->responses, w->response_count, sizeof *w->responses, by_response);
    for (size_t i = 0; i < w->response_count;) {
        size_t model = w->responses[i].model, end = i;
        while (end < w->response_count && w->responses[end].model == model) {
            end++;
        }
        aegis_replay_ends *ends =
            recorded ? &w->results[model].recorded : &w->results[model].simulated;
        size_t rank = ((end - i) * 99 + 99) / 100;
        ends->p99_response_ns = w->responses[i + rank - 1].ns;
        ends->max_response_ns = w->responses[end - 1].ns;
        i = end;
    }
    w->response_count = 0;
}

static void count_recorded(what_if *w)
{
    for (size_t i = 0; i < w->record_count; i++) {
        count_end(w, &w->records[i], true);
    }
    close_ends(w, true);
}

/* ---- the simulation ---- */

/* The k-th job of a model; NULL when the recording has no such. */
static const taken_job *job_of(const what_if *w, uint32_t model, uint64_t k)
{
    size_t index = w->index_of[model];
    size_t count = w->first_job[index + 1] - w->first_job[index];
    return k < count ? &w->jobs[w->first_job[index] + k] : NULL;
}

static uint64_t release_of(void *self, uint32_t model, uint64_t k)
{
    const taken_job *job = job_of(self, model, k);
    return job == NULL ? (uint64_t)INT64_MAX : job->release_ns;
}

static uint64_t delay_of(void *self, uint32_t model, uint64_t k)
{
    const taken_job *job = job_of(self, model, k);
    return job == NULL || job->seen_ns < job->release_ns ? 0 : job->seen_ns - job->release_ns;
}

static void submission_of(void *self, uint32_t model, uint64_t k, aegis_core_event *event)
{
    const what_if *w = self;
    const taken_job *job = job_of(w, model, k);
    if (job != NULL && !w->models[w->index_of[model]].continuous) {
        event->deadline_ns = job->deadline_ns;
        event->job_priority = job->priority;
    }
}

static const taken_run *run_of(const what_if *w, uint32_t model, uint64_t k, uint32_t segment)
{
    const taken_job *job = job_of(w, model, k);
    const taken_run wanted = {.job = job == NULL ? 0 : job->job, .segment = segment};
    return job == NULL
               ? NULL
               : bsearch(&wanted, w->executions, w->run_count, sizeof *w->executions, by_segment);
}

static uint64_t execution_of(void *self, uint32_t model, uint64_t k, uint32_t segment)
{
    const what_if *w = self;
    const taken_run *run = run_of(w, model, k, segment);
    size_t index = w->index_of[model];
    if (run != NULL) {
        return run->time_ns;
    }
    return w->runs[index] > 0 ? w->ran[index] / w->runs[index]
                              : w->models[index].core.segment_bound_ns[segment];
}

static aegis_status status_of(void *self, uint32_t model, uint64_t k, uint32_t segment)
{
    const taken_run *run = run_of(self, model, k, segment);
    return run == NULL ? AEGIS_OK : run->status;
}

static void on_record(void *self, const aegis_trace_record *record)
{
    count_end(self, record, false);
}

/* A model whose recorded runs are next to nothing would release without end: it keeps to the
 * recorded releases instead. */
static void bound_continuous(what_if *w)
{
    uint64_t length = w->end_ns - w->start_ns;
    for (size_t i = 0; i < w->model_count; i++) {
        uint64_t mean = w->runs[i] > 0 ? w->ran[i] / w->runs[i] : 0;
        bool endless = length / (mean + 1) > MOST_CONTINUOUS_JOBS;
        w->models[i].continuous = w->models[i].continuous && !endless;
        /* Without a second place in its queue it cannot be. */
        w->models[i].continuous = w->models[i].continuous && w->models[i].core.queue_depth > 1;
    }
}

static aegis_status simulate(what_if *w, const aegis_policy *policy, aegis_error *err)
{
    const aegis_simulator_source source = {.self = w,
                                           .execution_ns = execution_of,
                                           .release_ns = release_of,
                                           .delay_ns = delay_of,
                                           .record = on_record,
                                           .submission = submission_of,
                                           .status = status_of};
    bound_continuous(w);
    aegis_core_config config = w->config;
    config.launch_bound_ns = 0;
    aegis_simulator_result *results = take(w, w->model_count, sizeof *results);
    if (results == NULL) {
        return aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu results",
                               w->model_count);
    }
    /* What is told to end does so when it did: a stretch that nothing reaches. */
    aegis_status status =
        aegis_simulate(&config, policy, w->models, w->model_count, w->end_ns - w->start_ns,
                       INT64_MAX, &source, NULL, w->allocator, results, err);
    give(w, results, w->model_count, sizeof *results);
    close_ends(w, false);
    return status;
}

static aegis_status open_records(what_if *w, const aegis_trace_file *file, aegis_error *err)
{
    aegis_status status = aegis_replay_records(file, &w->records, &w->record_count, err);
    if (status != AEGIS_OK) {
        return status;
    }
    for (size_t i = 0; i < w->record_count; i++) {
        if (w->records[i].kind != AEGIS_TRACE_EVENT_CORE) {
            continue;
        }
        w->start_ns = w->records[i].time_ns;
        if (aegis_core_config_from_record(&w->records[i], &w->config)) {
            return AEGIS_OK;
        }
        break;
    }
    return aegis_error_set(err, HERE, AEGIS_ERROR_PARSE, "the core's limits are out of range");
}

aegis_status aegis_replay_what_if(const aegis_trace_file *file,
                                  const aegis_policy *policy,
                                  const aegis_allocator *allocator,
                                  aegis_replay_model **ret_models,
                                  size_t *ret_count,
                                  aegis_error *err)
{
    what_if w = {.allocator = allocator};
    aegis_status status = open_records(&w, file, err);
    if (status != AEGIS_OK) {
        return status;
    }
    size_t room = count_kind(&w, AEGIS_TRACE_EVENT_MODEL_ADD);
    status = allocate(&w, err);
    if (status == AEGIS_OK) {
        status = read_models(&w, err);
    }
    if (status == AEGIS_OK) {
        read_jobs(&w);
        read_executions(&w);
        count_recorded(&w);
        status = simulate(&w, policy, err);
    }
    aegis_replay_model *models =
        status == AEGIS_OK ? take(&w, w.model_count, sizeof *models) : NULL;
    if (models != NULL) {
        memcpy(models, w.results, w.model_count * sizeof *models);
    } else if (status == AEGIS_OK) {
        status = aegis_error_set(err, HERE, AEGIS_ERROR_NO_MEMORY, "no memory for %zu models",
                                 w.model_count);
    }
    give(&w, w.results, room, sizeof *w.results);
    finish(&w, room);
    if (status != AEGIS_OK) {
        /* What a file says and no core takes is the file's fault. */
        if (status == AEGIS_ERROR_INVALID_ARGUMENT && err != NULL) {
            err->status = AEGIS_ERROR_PARSE;
        }
        return status == AEGIS_ERROR_INVALID_ARGUMENT ? AEGIS_ERROR_PARSE : status;
    }
    *ret_models = models;
    *ret_count = w.model_count;
    return AEGIS_OK;
}

void aegis_replay_models_free(aegis_replay_model *models,
                              size_t count,
                              const aegis_allocator *allocator)
{
    aegis_deallocate(allocator, models, count + 1, sizeof *models);
}
