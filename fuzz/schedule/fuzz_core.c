/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a sequence of events, malformed ones among them. A shadow of the jobs checks what the
 * core answers: each job ends once, a lane runs one segment, none that waits for bytes, none whose
 * inputs have not come, slots are not shared, counts add up, what was foreseen comes, and the
 * recorded run replays bit for bit.
 */
#include <aegisrt/ext/core.h>
#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/replay.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LANES 3
#define MODELS 6
#define JOBS 16
#define NUMBERS 32 /* job numbers in play */
#define MAX_RECORDS 60000
#define NONE_READY UINT32_MAX

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

typedef enum shadow_state {
    SHADOW_NONE = 0,
    SHADOW_WAITS,
    SHADOW_COPIES, /* its inputs were asked for */
    SHADOW_LOADED, /* they came */
    SHADOW_RUNS
} shadow_state;

typedef struct shadow_job {
    shadow_state state;
    uint32_t model, segment;
} shadow_job;

typedef struct fuzz {
    const uint8_t *data;
    size_t size, at;
    aegis_core *core;
    aegis_core_action *actions;
    uint64_t now_ns;
    shadow_job jobs[NUMBERS + 1];
    uint64_t running[LANES]; /* job; 0: none */
    uint32_t segment_count[MODELS];
    uint64_t awaited[MODELS];
    bool copies[MODELS];         /* its jobs wait for their inputs */
    uint32_t ready[MODELS];      /* awaited segment that may be dispatched; NONE_READY: none */
    aegis_trace_record *records; /* kept between runs: not cleared each time */
    size_t record_count;
} fuzz;

static uint8_t byte(fuzz *f)
{
    return f->at < f->size ? f->data[f->at++] : 0;
}

/* ---- what the core answered ---- */

static void check_dispatch(fuzz *f, const aegis_core_action *action)
{
    CHECK(action->lane < LANES && f->running[action->lane] == 0);
    shadow_job *job = &f->jobs[action->job];
    CHECK(job->state == (f->copies[action->model] ? SHADOW_LOADED : SHADOW_WAITS));
    CHECK(job->model == action->model);
    CHECK(action->segment == job->segment && action->segment < f->segment_count[action->model]);
    CHECK((f->awaited[action->model] >> action->segment & 1) == 0 ||
          f->ready[action->model] == action->segment);
    f->ready[action->model] = NONE_READY;
    job->state = SHADOW_RUNS;
    f->running[action->lane] = action->job;
}

/* One job of a model has its inputs on the device, from here to its end. */
static void check_copy(fuzz *f, const aegis_core_action *action)
{
    CHECK(f->copies[action->model] && f->jobs[action->job].state == SHADOW_WAITS);
    for (uint64_t i = 1; i <= NUMBERS; i++) {
        CHECK(f->jobs[i].model != action->model || f->jobs[i].state <= SHADOW_WAITS);
    }
    f->jobs[action->job].state = SHADOW_COPIES;
}

static void check_action(fuzz *f, const aegis_core_action *action)
{
    CHECK(action->kind >= AEGIS_TRACE_DISPATCH && action->kind <= AEGIS_TRACE_COPY_IN);
    if (action->kind == AEGIS_TRACE_ARM_TIMER || action->kind == AEGIS_TRACE_LANE_WHOLE ||
        action->kind == AEGIS_TRACE_IDLE_UNTIL) {
        return;
    }
    CHECK(action->job >= 1 && action->job <= NUMBERS && action->model < MODELS);
    if (action->kind == AEGIS_TRACE_DISPATCH) {
        check_dispatch(f, action);
    } else if (action->kind == AEGIS_TRACE_COPY_IN) {
        check_copy(f, action);
    } else if (action->kind == AEGIS_TRACE_TERMINATE) {
        CHECK(f->running[action->lane] == action->job);
    } else if (action->kind == AEGIS_TRACE_OVERRUN) {
        CHECK(f->jobs[action->job].state != SHADOW_NONE);
    } else { /* an end */
        shadow_state was = f->jobs[action->job].state;
        CHECK(was != SHADOW_NONE && was != SHADOW_RUNS);
        CHECK(f->jobs[action->job].model == action->model);
        f->jobs[action->job].state = SHADOW_NONE;
    }
}

static void check_state(const fuzz *f)
{
    uint64_t waiting[MODELS] = {0};
    for (uint64_t i = 1; i <= NUMBERS; i++) {
        if (f->jobs[i].state != SHADOW_NONE) {
            waiting[f->jobs[i].model]++;
        }
    }
    for (uint32_t i = 0; i < MODELS; i++) {
        aegis_core_counters c;
        CHECK(aegis_core_model_counters(f->core, i, &c, NULL) == AEGIS_OK);
        CHECK(c.jobs == c.completed + c.missed + c.aborted + c.dropped + c.skipped + c.pending);
        CHECK(c.missed == c.excused + c.unexcused);
        CHECK(c.pending == waiting[i]);
    }
    for (uint16_t lane = 0; lane < LANES; lane++) {
        uint32_t model = 0, segment = 0;
        uint64_t job = 0;
        bool runs = aegis_core_lane_running(f->core, lane, &model, &job, &segment);
        CHECK(runs == (f->running[lane] != 0) && job == f->running[lane]);
    }
    CHECK(aegis_core_next_timer(f->core) > f->now_ns || f->record_count == 0);
}

/* ---- events ---- */

static void keep_records(fuzz *f, const aegis_core_event *event, size_t count)
{
    f->record_count += aegis_core_event_to_records(event, f->now_ns, &f->records[f->record_count]);
    for (size_t i = 0; i < count; i++) {
        f->records[f->record_count++] = aegis_core_action_to_record(&f->actions[i], f->now_ns);
    }
}

static void expect_event(fuzz *f, const aegis_core_event *event)
{
    if (event->kind == AEGIS_CORE_SUBMIT) {
        CHECK(f->jobs[event->job].state == SHADOW_NONE);
        f->jobs[event->job] = (shadow_job){.state = SHADOW_WAITS, .model = event->model};
    } else if (event->kind == AEGIS_CORE_SEGMENT_DONE) {
        CHECK(f->running[event->lane] == event->job);
        f->running[event->lane] = 0;
        f->jobs[event->job].state = f->copies[event->model] ? SHADOW_LOADED : SHADOW_WAITS;
        f->jobs[event->job].segment++;
    } else if (event->kind == AEGIS_CORE_MODEL_ADD) {
        f->segment_count[event->add->model] = event->add->segment_count;
        f->awaited[event->add->model] = event->add->awaited_segments;
        f->ready[event->add->model] = NONE_READY;
        f->copies[event->add->model] = event->add->copies_early;
    } else if (event->kind == AEGIS_CORE_SEGMENT_READY) {
        f->ready[event->model] = event->segment;
    } else if (event->kind == AEGIS_CORE_INPUTS_READY) {
        CHECK(f->jobs[event->job].state == SHADOW_COPIES);
        f->jobs[event->job].state = SHADOW_LOADED;
    }
}

static void check_foreseen(const fuzz *f, uint16_t lane, const aegis_core_next *next, size_t count)
{
    const aegis_core_action *got = NULL;
    for (size_t i = 0; i < count; i++) {
        if (f->actions[i].kind == AEGIS_TRACE_DISPATCH && f->actions[i].lane == lane) {
            got = &f->actions[i];
        }
    }
    CHECK((got != NULL) == (next->model != AEGIS_TRACE_NONE));
    CHECK(got == NULL || (got->model == next->model && got->job == next->job &&
                          got->segment == next->segment && got->slot == next->slot));
}

static void take(fuzz *f, const aegis_core_event *event)
{
    size_t count = SIZE_MAX;
    aegis_core_next next = {0};
    bool foreseen = event->kind == AEGIS_CORE_SEGMENT_DONE && event->status == AEGIS_OK &&
                    event->end_ns == f->now_ns &&
                    aegis_core_foresee(f->core, event->lane, event->end_ns,
                                       event->end_ns - event->start_ns, &next);
    if (aegis_core_step(f->core, f->now_ns, event, f->actions, &count, NULL) != AEGIS_OK) {
        CHECK(count == SIZE_MAX);
        return;
    }
    if (foreseen) {
        check_foreseen(f, event->lane, &next, count);
    }
    CHECK(count <= aegis_core_max_actions(f->core));
    expect_event(f, event);
    keep_records(f, event, count);
    for (size_t i = 0; i < count; i++) {
        check_action(f, &f->actions[i]);
    }
    if (event->kind != AEGIS_CORE_SUBMIT || !event->more) {
        check_state(f);
    }
}

static void add_model(fuzz *f)
{
    uint8_t flags = byte(f), jitter;
    aegis_core_model model = {.model = byte(f) % (MODELS + 1),
                              .lane = byte(f) % (LANES + 1),
                              .period_ns = byte(f),
                              .deadline_ns = byte(f),
                              .priority = (int8_t)byte(f),
                              .jitter_ns = (jitter = byte(f)) % 8,
                              .queue_depth = byte(f) % 8,
                              .overrun = (aegis_overrun_rule)(flags % 4),
                              .early = (aegis_early_rule)(flags / 4 % 2),
                              .background = flags / 8 % 4 == 0,
                              .weight = byte(f) % 4,
                              .compute_budget_ns = byte(f) % 64,
                              .segment_count = flags / 32 % 5};
    model.copies_early = jitter >= 192;
    for (uint32_t i = 0; i < model.segment_count; i++) {
        model.segment_bound_ns[i] = byte(f) % 32;
        const uint8_t more = byte(f);
        model.segment_enforceable_ns[i] = model.segment_bound_ns[i] + more % 4;
        model.awaited_segments |= (uint64_t)(more >> 6 == 3) << i;
    }
    take(f, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model});
}

static void submit(fuzz *f)
{
    uint8_t flags = byte(f);
    aegis_core_event event = {.kind = AEGIS_CORE_SUBMIT,
                              .model = byte(f) % (MODELS + 1),
                              .job = byte(f) % (NUMBERS + 1),
                              .job_priority = (int8_t)byte(f),
                              .more = flags % 4 == 0};
    uint64_t offset = byte(f);
    event.release_ns =
        flags % 8 < 3 && f->now_ns > offset ? f->now_ns - offset : f->now_ns + offset;
    if (flags & 16) {
        event.deadline_ns = event.release_ns + byte(f);
    }
    if ((flags & 0xe0) == 0xe0) {
        event.release_ns = INT64_MAX - offset;
    }
    if (flags & 8) { /* also later than now, which is refused */
        event.seen_ns = f->now_ns + 4 > offset ? f->now_ns + 4 - offset : 0;
    }
    take(f, &event);
}

static void finish_segment(fuzz *f)
{
    uint8_t flags = byte(f);
    uint64_t early = byte(f) % 16, length = byte(f) % 64;
    aegis_core_event event = {.kind = AEGIS_CORE_SEGMENT_DONE, .lane = flags % (LANES + 1)};
    (void)aegis_core_lane_running(f->core, event.lane, &event.model, &event.job, &event.segment);
    if (flags & 128) {
        event.status = (aegis_status)(byte(f) % (AEGIS_ERROR_INTERNAL + 1));
    }
    if ((flags & 0x70) == 0x70) {
        event.job = byte(f);
        event.segment = byte(f);
    }
    event.end_ns = f->now_ns > early ? f->now_ns - early : f->now_ns;
    event.start_ns = event.end_ns > length ? event.end_ns - length : 0;
    take(f, &event);
}

static void clear_or_ready(fuzz *f, uint8_t what)
{
    const aegis_core_event_kind kind =
        (what & 128) != 0 ? AEGIS_CORE_SEGMENT_READY : AEGIS_CORE_CLEAR_FAULT;
    take(f, &(aegis_core_event){.kind = kind, .model = what % 8, .segment = what / 8 % 8});
}

static void end_copy(fuzz *f)
{
    const uint8_t flags = byte(f);
    aegis_core_event event = {.kind = AEGIS_CORE_INPUTS_READY,
                              .job = flags % (NUMBERS + 1),
                              .start_ns = f->now_ns,
                              .end_ns = f->now_ns};
    for (uint64_t i = 1; i <= NUMBERS && flags < 224; i++) {
        event.job = f->jobs[i].state == SHADOW_COPIES ? i : event.job;
    }
    event.model = f->jobs[event.job].model;
    if (flags % 8 == 7) {
        event.status = (aegis_status)(byte(f) % (AEGIS_ERROR_INTERNAL + 1));
    }
    take(f, &event);
}

static void one_event(fuzz *f)
{
    uint8_t what = byte(f);
    f->now_ns += what / 16;
    switch (what % 16) {
    case 0:
    case 1:
        add_model(f);
        break;
    case 2:
        take(f, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = byte(f) % 8});
        break;
    case 3:
        clear_or_ready(f, byte(f));
        break;
    case 4:
        take(f, &(aegis_core_event){.kind = byte(f) == 255 ? AEGIS_CORE_STOP : AEGIS_CORE_TIMER});
        break;
    case 5:
        f->now_ns += byte(f);
        take(f, &(aegis_core_event){.kind = AEGIS_CORE_TIMER});
        break;
    case 6:
        take(f, &(aegis_core_event){.kind = (aegis_core_event_kind)byte(f), .job = 0});
        break;
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
        submit(f);
        break;
    case 12:
        end_copy(f);
        break;
    default:
        finish_segment(f);
        break;
    }
}

static void check_replay(const fuzz *f, const aegis_policy *policy)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_replay_result result;
    CHECK(aegis_replay_verify_records(f->records, f->record_count, true, policy, &allocator,
                                      &result, NULL) == AEGIS_OK);
    CHECK(result.identical == result.decisions && !result.first_difference.found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    static aegis_trace_record records[MAX_RECORDS];
    fuzz f = {.data = data, .size = size, .records = records};
    size_t names = 0;
    const char *const *name = aegis_policy_names(&names);
    aegis_policy policy;
    CHECK(aegis_policy_find(name[byte(&f) % names], &policy, NULL) == AEGIS_OK);
    const aegis_core_config config = {.lanes = LANES,
                                      .max_models = MODELS,
                                      .max_jobs = JOBS,
                                      .wake_bound_ns = byte(&f),
                                      .launch_bound_ns = byte(&f) % 4};
    CHECK(aegis_core_create(&config, &policy, &allocator, &f.core, NULL) == AEGIS_OK);
    size_t largest = AEGIS_CORE_EVENT_RECORDS + aegis_core_max_actions(f.core);
    f.actions = calloc(aegis_core_max_actions(f.core), sizeof *f.actions);
    CHECK(f.actions != NULL);
    f.records[f.record_count++] = aegis_core_config_to_record(&config, 0);
    while (f.at < f.size && f.record_count + largest < MAX_RECORDS) {
        one_event(&f);
    }
    check_replay(&f, &policy);
    aegis_core_destroy(f.core);
    free(f.actions);
    return 0;
}
