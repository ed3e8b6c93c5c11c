/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models with early copies are analysed in two stages, the link and then the lane. Here the core
 * runs random sets that both tests accept, with a queue for the link in front of it: no inputs come
 * later than the first stage says, no job responds later than the second, and none misses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/admission.h>
#include <aegisrt/ext/core.h>
#include <aegisrt/ext/policy_ops.h>

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETS 6000
#define MOST 5
#define LANES 2
#define TICKS 3000
#define NONE SIZE_MAX

typedef struct model {
    bool early;
    uint16_t lane;
    int64_t copy, execution, period, deadline, jitter, bound;
    uint64_t own_jitter;    /* of its releases, whatever the copies add */
    uint64_t nominal, seen; /* of the next release */
} model;

typedef struct copy {
    size_t model;
    uint64_t job, begun, seen;
} copy;

typedef struct two_stages {
    uint64_t random, wake, now;
    aegis_policy policy;
    model models[MOST];
    size_t count;
    aegis_core *core;
    aegis_core_action *actions;
    copy copies[MOST]; /* first come first served */
    size_t copy_count;
    uint64_t link_free_at;
    struct {
        size_t model; /* NONE: it rests */
        uint64_t job, start, end;
    } lanes[LANES];
    uint64_t next_job, done, copied;
} two_stages;

static uint64_t below(two_stages *s, uint64_t limit)
{
    return aegis_random_next(&s->random) % limit;
}

/* Mostly all of it. */
static uint64_t within(two_stages *s, int64_t bound)
{
    return below(s, 4) > 0 ? (uint64_t)bound : 1 + below(s, (uint64_t)bound);
}

static uint64_t delay(two_stages *s, uint64_t most)
{
    return below(s, 2) > 0 ? most : below(s, most + 1);
}

/* ---- the set ---- */

static void make_set(two_stages *s)
{
    static const char *const policies[] = {"np-edf", "np-fp", "np-dm", "fifo"};
    assert_int_equal(aegis_policy_find(policies[below(s, 4)], &s->policy, NULL), AEGIS_OK);
    s->count = 2 + below(s, MOST - 1);
    s->wake = below(s, 4);
    for (size_t i = 0; i < s->count; i++) {
        model *one = &s->models[i];
        *one = (model){.early = below(s, 3) > 0,
                       .lane = (uint16_t)below(s, LANES),
                       .execution = 1 + (int64_t)below(s, 12),
                       .period = 25 + (int64_t)below(s, 80),
                       .jitter = (int64_t)below(s, 6)};
        one->own_jitter = (uint64_t)one->jitter;
        one->copy = one->early ? 1 + (int64_t)below(s, 8) : 0;
        one->deadline = one->period - (int64_t)below(s, 12);
    }
}

static aegis_task task_of(const model *of, int64_t execution, int64_t jitter)
{
    return (aegis_task){
        .execution = execution, .period = of->period, .deadline = of->deadline, .jitter = jitter};
}

/* The first stage: the jitter of early models becomes how late their inputs may come. */
static bool test_link(two_stages *s)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_task tasks[MOST];
    size_t of[MOST], count = 0;
    aegis_admission_result result;
    for (size_t i = 0; i < s->count; i++) {
        const model *one = &s->models[i];
        if (one->early) {
            tasks[count] = task_of(one, one->copy, one->jitter + (int64_t)s->wake);
            of[count++] = i;
        }
    }
    assert_int_equal(
        aegis_admission_test(AEGIS_ANALYSIS_FIFO, tasks, count, NULL, &allocator, &result, NULL),
        AEGIS_OK);
    bool ends = true;
    for (size_t i = 0; i < count; i++) {
        ends = ends && result.tasks[i].response >= 0;
    }
    for (size_t i = 0; i < count && ends; i++) {
        s->models[of[i]].jitter = result.tasks[i].response;
    }
    aegis_admission_result_finish(&result, &allocator);
    return ends;
}

static bool test_lane(two_stages *s, uint16_t lane)
{
    const aegis_allocator allocator = aegis_allocator_default();
    aegis_policy_model models[MOST];
    aegis_task tasks[MOST];
    size_t of[MOST], order[MOST], count = 0;
    aegis_analysis analysis;
    aegis_admission_result result;
    for (size_t i = 0; i < s->count; i++) {
        if (s->models[i].lane == lane) {
            models[count] = (aegis_policy_model){.model = (uint32_t)i,
                                                 .period_ns = (uint64_t)s->models[i].period,
                                                 .deadline_ns = (uint64_t)s->models[i].deadline,
                                                 .priority = (int32_t)i,
                                                 .segment_count = 1};
            of[count++] = i;
        }
    }
    if (count == 0) {
        return true;
    }
    assert_true(s->policy.ops->proof(s->policy.self, models, count, &analysis, order));
    for (size_t i = 0; i < count; i++) {
        const model *one = &s->models[of[order[i]]];
        tasks[i] = task_of(one, one->execution, one->jitter + (int64_t)s->wake);
    }
    assert_int_equal(aegis_admission_test(analysis, tasks, count, NULL, &allocator, &result, NULL),
                     AEGIS_OK);
    const bool holds = result.verdict == AEGIS_SCHEDULABLE;
    for (size_t i = 0; i < count && holds; i++) {
        s->models[of[order[i]]].bound = result.tasks[i].response;
    }
    aegis_admission_result_finish(&result, &allocator);
    return holds;
}

/* ---- the run ---- */

static void act(two_stages *s, const aegis_core_action *action)
{
    model *of = action->model < s->count ? &s->models[action->model] : NULL;
    if (action->kind == AEGIS_TRACE_DISPATCH) {
        assert_int_equal(s->lanes[action->lane].model, NONE);
        s->lanes[action->lane].model = action->model;
        s->lanes[action->lane].job = action->job;
        s->lanes[action->lane].start = s->now;
        s->lanes[action->lane].end = s->now + within(s, of->execution);
    } else if (action->kind == AEGIS_TRACE_COPY_IN) {
        copy *next = &s->copies[s->copy_count++];
        const uint64_t from = s->link_free_at > s->now ? s->link_free_at : s->now;
        assert_true(s->copy_count <= s->count);
        s->link_free_at = from + within(s, of->copy);
        *next = (copy){.model = action->model, .job = action->job, .begun = s->now};
        next->seen = s->link_free_at + delay(s, s->wake);
        if (s->copy_count > 1 && next->seen < s->copies[s->copy_count - 2].seen) {
            next->seen = s->copies[s->copy_count - 2].seen;
        }
        s->copied++;
    } else if (action->kind == AEGIS_TRACE_COMPLETE) {
        assert_true(action->d <= of->bound);
        s->done++;
    } else if (action->kind != AEGIS_TRACE_ARM_TIMER) {
        fail_msg("%s of model %u: %s, a %lld, b %lld", aegis_trace_kind_name(action->kind),
                 action->model, aegis_rationale_name(action->rationale), (long long)action->a,
                 (long long)action->b);
    }
}

static void step(two_stages *s, const aegis_core_event *event)
{
    size_t count = 0;
    aegis_error err;
    if (aegis_core_step(s->core, s->now, event, s->actions, &count, &err) != AEGIS_OK) {
        fail_msg("%s", err.message);
    }
    for (size_t i = 0; i < count; i++) {
        act(s, &s->actions[i]);
    }
}

static bool ends_now(const two_stages *s, bool copies)
{
    bool any = copies && s->copy_count > 0 && s->copies[0].seen == s->now;
    for (int i = 0; i < LANES; i++) {
        any = any || (s->lanes[i].model != NONE && s->lanes[i].end == s->now);
    }
    return any;
}

static void plan_release(two_stages *s, model *one, bool first)
{
    const uint64_t jitter = one->own_jitter;
    const uint64_t slack = below(s, 3) == 0 ? below(s, 20) : 0;
    /* The first ones are seen as late as can be and together, the second ones early. */
    one->nominal = first ? 100 - jitter - s->wake : one->nominal + (uint64_t)one->period + slack;
    const uint64_t late = first ? jitter + s->wake : delay(s, jitter + s->wake);
    one->seen = one->nominal + (first || below(s, 2) > 0 ? late : 0);
}

static void submit_seen(two_stages *s)
{
    size_t left = 0;
    for (size_t i = 0; i < s->count; i++) {
        left += s->models[i].seen == s->now;
    }
    for (size_t i = 0; i < s->count; i++) {
        model *one = &s->models[i];
        if (one->seen != s->now) {
            continue;
        }
        left--;
        const aegis_core_event event = {.kind = AEGIS_CORE_SUBMIT,
                                        .model = (uint32_t)i,
                                        .job = ++s->next_job,
                                        .release_ns = one->nominal,
                                        .more = left > 0 || ends_now(s, true)};
        plan_release(s, one, false);
        one->seen = one->seen > s->now ? one->seen : s->now + 1;
        step(s, &event);
    }
}

static void end_copies(two_stages *s)
{
    while (s->copy_count > 0 && s->copies[0].seen == s->now) {
        const copy first = s->copies[0];
        memmove(s->copies, s->copies + 1, --s->copy_count * sizeof *s->copies);
        step(s, &(aegis_core_event){.kind = AEGIS_CORE_INPUTS_READY,
                                    .model = (uint32_t)first.model,
                                    .job = first.job,
                                    .start_ns = first.begun,
                                    .end_ns = s->now});
    }
}

static void end_segments(two_stages *s)
{
    for (uint16_t i = 0; i < LANES; i++) {
        const size_t which = s->lanes[i].model;
        if (which == NONE || s->lanes[i].end != s->now) {
            continue;
        }
        s->lanes[i].model = NONE;
        step(s, &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_DONE,
                                    .model = (uint32_t)which,
                                    .lane = i,
                                    .job = s->lanes[i].job,
                                    .start_ns = s->lanes[i].start,
                                    .end_ns = s->now});
    }
}

static void run_set(two_stages *s)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_core_config config = {
        .lanes = LANES, .max_models = MOST, .max_jobs = 64, .wake_bound_ns = s->wake};
    assert_int_equal(aegis_core_create(&config, &s->policy, &allocator, &s->core, NULL), AEGIS_OK);
    s->actions = calloc(aegis_core_max_actions(s->core), sizeof *s->actions);
    for (int i = 0; i < LANES; i++) {
        s->lanes[i].model = NONE;
    }
    for (size_t i = 0; i < s->count; i++) {
        model *one = &s->models[i];
        const aegis_core_model limits = {.model = (uint32_t)i,
                                         .lane = one->lane,
                                         .period_ns = (uint64_t)one->period,
                                         .deadline_ns = (uint64_t)one->deadline,
                                         .priority = (int32_t)i,
                                         .jitter_ns = (uint64_t)one->jitter,
                                         .queue_depth = 8,
                                         .copies_early = one->early,
                                         .segment_count = 1,
                                         .segment_bound_ns = {(uint64_t)one->execution},
                                         .segment_enforceable_ns = {(uint64_t)one->execution}};
        step(s, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &limits});
        plan_release(s, one, true);
    }
    for (s->now = 1; s->now < TICKS; s->now++) {
        submit_seen(s);
        end_copies(s);
        end_segments(s);
        if (aegis_core_next_timer(s->core) <= s->now) {
            step(s, &(aegis_core_event){.kind = AEGIS_CORE_TIMER});
        }
    }
    aegis_core_destroy(s->core);
    free(s->actions);
}

static void what_both_stages_accept_keeps_its_bounds(void **state)
{
    (void)state;
    const char *given = getenv("AEGISRT_TEST_SEED");
    const uint64_t seed = given == NULL ? 20261129 : strtoull(given, NULL, 0);
    uint64_t random = seed, accepted = 0, done = 0, copied = 0;
    printf("seed %llu\n", (unsigned long long)seed);
    for (int set = 0; set < SETS; set++) {
        static two_stages s;
        memset(&s, 0, sizeof s);
        s.random = aegis_random_next(&random);
        make_set(&s);
        bool holds = test_link(&s);
        for (uint16_t lane = 0; lane < LANES && holds; lane++) {
            holds = test_lane(&s, lane);
        }
        if (holds) {
            run_set(&s);
            accepted++;
            done += s.done;
            copied += s.copied;
        }
    }
    printf("%llu of %d sets accepted, %llu jobs, %llu copies\n", (unsigned long long)accepted, SETS,
           (unsigned long long)done, (unsigned long long)copied);
    assert_true(accepted > SETS / 10 && copied > 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_both_stages_accept_keeps_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
