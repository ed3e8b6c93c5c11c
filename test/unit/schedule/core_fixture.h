/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CORE_FIXTURE_H
#define AEGIS_TEST_CORE_FIXTURE_H

/*
 * A core, what it answered as readable text, and the records of both. Models are called a, b, ...
 * by their number. After every step the fixture checks that each job is accounted for once.
 */

#include <aegisrt/ext/core.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FIXTURE_TEXT_BYTES 16384
#define FIXTURE_ACTIONS 4096
#define FIXTURE_RECORDS 65536
#define FIXTURE_MODELS 8

typedef struct fixture {
    aegis_core *core;
    aegis_core_config config;
    aegis_core_action actions[FIXTURE_ACTIONS];
    size_t count;
    uint64_t now_ns;
    uint64_t dispatched_ns[64]; /* by lane */
    bool timers;                /* ARM_TIMER in the text too */
    char text[FIXTURE_TEXT_BYTES];
    size_t length;
    aegis_trace_record *records; /* NULL: not recorded */
    size_t record_count;
} fixture;

/* ---- text ---- */

__attribute__((format(printf, 2, 3))) static inline void say(fixture *f, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(f->text + f->length, sizeof f->text - f->length, format, arguments);
    va_end(arguments);
    assert_true(written >= 0 && (size_t)written < sizeof f->text - f->length);
    f->length += (size_t)written;
}

static inline char letter(int64_t model)
{
    return (char)('a' + model);
}

static inline void say_dispatch(fixture *f, const aegis_core_action *action)
{
    say(f, "lane%u dispatches %c#%" PRIu64, action->lane, letter(action->model), action->job);
    if (action->a > 0) {
        say(f, ".%" PRId64, action->a);
    }
    say(f, " (key %" PRId64, action->b);
    if (action->d >= 0) {
        const char *sign = action->b < action->c ? "<" : action->b == action->c ? "=" : ">";
        say(f, " %s %" PRId64 " of %c", sign, action->c, letter(action->d));
    }
    say(f, ": %s)\n", aegis_rationale_name(action->rationale));
}

static inline void say_instant(fixture *f, int64_t instant)
{
    if (instant == INT64_MAX) {
        say(f, "never");
    } else {
        say(f, "%" PRId64, instant);
    }
}

static inline void say_action(fixture *f, const aegis_core_action *action)
{
    const char *why = aegis_rationale_name(action->rationale);
    if (action->kind == AEGIS_TRACE_ARM_TIMER && !f->timers) {
        return;
    }
    say(f, "[%4" PRIu64 "] ", f->now_ns);
    if (action->kind == AEGIS_TRACE_DISPATCH) {
        say_dispatch(f, action);
        return;
    }
    if (action->kind == AEGIS_TRACE_ARM_TIMER) {
        say(f, "timer ");
        say_instant(f, action->a);
        say(f, "\n");
        return;
    }
    if (action->kind == AEGIS_TRACE_LANE_WHOLE || action->kind == AEGIS_TRACE_IDLE_UNTIL) {
        say(f, "lane%u %s ", action->lane,
            action->kind == AEGIS_TRACE_LANE_WHOLE ? "is whole since" : "idles until");
        say_instant(f, action->a);
        say(f, " (%s)\n", why);
        return;
    }
    say(f, "%c#%" PRIu64 " ", letter(action->model), action->job);
    if (action->kind == AEGIS_TRACE_COMPLETE || action->kind == AEGIS_TRACE_MISS) {
        say(f, "%s at %" PRId64 " (released %" PRId64 ", due ",
            action->kind == AEGIS_TRACE_COMPLETE ? "completes" : "misses", action->c, action->a);
        say_instant(f, action->b);
        say(f, ", response %" PRId64 ": %s)\n", action->d, why);
    } else if (action->kind == AEGIS_TRACE_REJECT) {
        say(f, "rejected (%s: %" PRId64 ")\n", why, action->b);
    } else if (action->kind == AEGIS_TRACE_ABORT) {
        say(f, "aborted (%s, %s)\n", why, aegis_status_name((aegis_status)action->d));
    } else if (action->kind == AEGIS_TRACE_OVERRUN) {
        say(f, "overruns %" PRId64 " > %" PRId64 " (%s)\n", action->b, action->a, why);
    } else if (action->kind == AEGIS_TRACE_TERMINATE) {
        say(f, "terminated past %" PRId64 " (%s)\n", action->a, why);
    } else if (action->kind == AEGIS_TRACE_COPY_IN) {
        say(f, "copied in (released %" PRId64 ")\n", action->a);
    } else if (action->kind == AEGIS_TRACE_SKIP) {
        say(f, "skipped at %" PRId64 " (%s)\n", action->a, why);
    } else {
        fail_msg("no text for action kind %d", (int)action->kind);
    }
}

/* Compares what was said since the last time. */
static inline void expect(fixture *f, const char *text)
{
    assert_string_equal(f->text, text);
    f->length = 0;
    f->text[0] = '\0';
}

/* ---- steps ---- */

static inline void check_accounts(const fixture *f)
{
    for (uint32_t model = 0; model < f->config.max_models && model < FIXTURE_MODELS; model++) {
        aegis_core_counters c;
        assert_int_equal(aegis_core_model_counters(f->core, model, &c, NULL), AEGIS_OK);
        assert_int_equal(c.jobs,
                         c.completed + c.missed + c.aborted + c.dropped + c.skipped + c.pending);
        assert_int_equal(c.missed, c.excused + c.unexcused);
    }
}

static inline void keep(fixture *f, const aegis_trace_record *record)
{
    assert_true(f->record_count < FIXTURE_RECORDS);
    f->records[f->record_count++] = *record;
}

static inline void keep_step(fixture *f, const aegis_core_event *event)
{
    aegis_trace_record records[AEGIS_CORE_EVENT_RECORDS];
    size_t count = aegis_core_event_to_records(event, f->now_ns, records);
    for (size_t i = 0; i < count; i++) {
        keep(f, &records[i]);
    }
    for (size_t i = 0; i < f->count; i++) {
        aegis_trace_record record = aegis_core_action_to_record(&f->actions[i], f->now_ns);
        keep(f, &record);
    }
}

static inline void step(fixture *f, uint64_t now_ns, const aegis_core_event *event)
{
    aegis_error err = {0};
    if (aegis_core_step(f->core, now_ns, event, f->actions, &f->count, &err) != AEGIS_OK) {
        fail_msg("step: %s", err.message);
    }
    assert_true(f->count <= aegis_core_max_actions(f->core));
    f->now_ns = now_ns;
    for (size_t i = 0; i < f->count; i++) {
        const aegis_core_action *action = &f->actions[i];
        if (action->kind == AEGIS_TRACE_DISPATCH) {
            f->dispatched_ns[action->lane] = now_ns;
        }
        say_action(f, action);
    }
    if (f->records != NULL) {
        keep_step(f, event);
    }
    check_accounts(f);
}

static inline void add(fixture *f, const aegis_core_model *model)
{
    step(f, f->now_ns, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = model});
}

static inline void submit(fixture *f, uint64_t now, uint32_t model, uint64_t job, uint64_t release)
{
    step(f, now,
         &(aegis_core_event){
             .kind = AEGIS_CORE_SUBMIT, .model = model, .job = job, .release_ns = release});
}

/* Submits without letting the core decide yet. */
static inline void
submit_more(fixture *f, uint64_t now, uint32_t model, uint64_t job, uint64_t release)
{
    step(f, now,
         &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                             .model = model,
                             .job = job,
                             .release_ns = release,
                             .more = true});
}

static inline void timer(fixture *f, uint64_t now)
{
    step(f, now, &(aegis_core_event){.kind = AEGIS_CORE_TIMER});
}

/* What runs on the lane reports `status`; it executed from its dispatch until now. */
static inline aegis_core_event done_event(const fixture *f, uint64_t now, uint16_t lane)
{
    aegis_core_event event = {.kind = AEGIS_CORE_SEGMENT_DONE,
                              .lane = lane,
                              .start_ns = f->dispatched_ns[lane],
                              .end_ns = now};
    assert_true(aegis_core_lane_running(f->core, lane, &event.model, &event.job, &event.segment));
    return event;
}

static inline void done_with(fixture *f, uint64_t now, uint16_t lane, aegis_status status)
{
    aegis_core_event event = done_event(f, now, lane);
    event.status = status;
    step(f, now, &event);
}

static inline void done(fixture *f, uint64_t now)
{
    done_with(f, now, 0, AEGIS_OK);
}

static inline aegis_core_counters counters(const fixture *f, uint32_t model)
{
    aegis_core_counters result;
    assert_int_equal(aegis_core_model_counters(f->core, model, &result, NULL), AEGIS_OK);
    return result;
}

/* ---- life ---- */

static inline void
begin_with(fixture *f, const aegis_policy *policy, const aegis_core_config *config)
{
    aegis_allocator allocator = aegis_allocator_default();
    memset(f, 0, sizeof *f);
    f->config = *config;
    assert_int_equal(aegis_core_create(config, policy, &allocator, &f->core, NULL), AEGIS_OK);
    assert_true(aegis_core_max_actions(f->core) <= FIXTURE_ACTIONS);
}

static inline void begin(fixture *f, const char *policy_name)
{
    aegis_policy policy;
    assert_int_equal(aegis_policy_find(policy_name, &policy, NULL), AEGIS_OK);
    begin_with(f, &policy,
               &(aegis_core_config){.lanes = 1, .max_models = FIXTURE_MODELS, .max_jobs = 64});
}

static inline void end(fixture *f)
{
    aegis_core_destroy(f->core);
    f->core = NULL;
}

/* A model with D = T, one segment, C^E = C and a queue of four. */
static inline aegis_core_model plain(uint32_t number, uint64_t period_ns, uint64_t bound_ns)
{
    return (aegis_core_model){.model = number,
                              .period_ns = period_ns,
                              .deadline_ns = period_ns,
                              .queue_depth = 4,
                              .weight = 1,
                              .segment_count = 1,
                              .segment_bound_ns = {bound_ns},
                              .segment_enforceable_ns = {bound_ns}};
}

/* The same in equal segments. */
static inline aegis_core_model
cut(uint32_t number, uint64_t period_ns, uint32_t segments, uint64_t segment_ns)
{
    aegis_core_model model = plain(number, period_ns, segment_ns);
    model.segment_count = segments;
    for (uint32_t i = 0; i < segments; i++) {
        model.segment_bound_ns[i] = model.segment_enforceable_ns[i] = segment_ns;
    }
    return model;
}

static inline aegis_core_model background(uint32_t number, uint32_t weight, uint64_t bound_ns)
{
    aegis_core_model model = plain(number, 0, bound_ns);
    model.background = true;
    model.weight = weight;
    return model;
}

#endif
