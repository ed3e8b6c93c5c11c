/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the core foresees comes: in made runs of every policy, with foreground and background, cuts,
 * shares, budgets, segments that wait for bytes, removals and overruns, each end of a segment is
 * asked about before it is handed in. Where the question is about the end that comes, at the time
 * of the dispatch or later with nothing between, the next dispatch is the one that was said.
 *
 * AEGISRT_PROPERTY_SCALE multiplies the number of runs; a failure prints the seed of its run.
 */
#include <aegisrt/ext/core.h>
#include <aegisrt/ext/policy_ops.h>

#include "base/base.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LANES 2
#define MODELS 7
#define JOBS 24
#define EVENTS 400
#define RUNS 400
#define ACTIONS 128

typedef struct bed {
    uint64_t seed, random, now_ns, next_job;
    aegis_core *core;
    aegis_core_action actions[ACTIONS];
    size_t count;
    uint64_t dispatched_ns[LANES];
    uint32_t segments[MODELS]; /* 0: not there */
    uint64_t awaited[MODELS];
    bool early_asked[LANES]; /* at the dispatch, about the end that was drawn then */
    uint64_t end_ns[LANES];
    aegis_core_next early[LANES];
    uint64_t asked, known, early_known, nothing;
} bed;

static uint64_t pick(bed *b, uint64_t low, uint64_t high)
{
    return low + aegis_random_next(&b->random) % (high - low + 1);
}

static bool one_in(bed *b, uint64_t n)
{
    return pick(b, 1, n) == 1;
}

/* ---- what was said, and what came ---- */

static const aegis_core_action *dispatch_of(const bed *b, uint16_t lane)
{
    for (size_t i = 0; i < b->count; i++) {
        if (b->actions[i].kind == AEGIS_TRACE_DISPATCH && b->actions[i].lane == lane) {
            return &b->actions[i];
        }
    }
    return NULL;
}

static void compare(const bed *b, uint16_t lane, const aegis_core_next *said)
{
    const aegis_core_action *got = dispatch_of(b, lane);
    bool same = got == NULL ? said->model == AEGIS_TRACE_NONE
                            : said->model == got->model && said->job == got->job &&
                                  said->segment == got->segment && said->slot == got->slot;
    if (!same) {
        fail_msg("seed %" PRIu64 ", instant %" PRIu64 ": model %" PRIu32 ", job %" PRIu64
                 ", segment %" PRIu32 " was foreseen, not %s %" PRIu64,
                 b->seed, b->now_ns, said->model, said->job, said->segment,
                 got == NULL ? "nothing" : "job", got == NULL ? 0 : got->job);
    }
}

/* Anything that happens may change what was said of lanes at their dispatch. False: refused, as the
 * addition of a model is while its last segment still runs. */
static bool step(bed *b, const aegis_core_event *event)
{
    aegis_error err = {0};
    memset(b->early_asked, 0, sizeof b->early_asked);
    if (aegis_core_step(b->core, b->now_ns, event, b->actions, &b->count, &err) != AEGIS_OK) {
        assert_int_equal(event->kind, AEGIS_CORE_MODEL_ADD);
        return false;
    }
    for (size_t i = 0; i < b->count; i++) {
        uint16_t lane = b->actions[i].lane;
        if (b->actions[i].kind == AEGIS_TRACE_DISPATCH) {
            b->dispatched_ns[lane] = b->now_ns;
            b->end_ns[lane] = b->now_ns + pick(b, 0, 12);
            b->early_asked[lane] = aegis_core_foresee(b->core, lane, b->end_ns[lane],
                                                      b->end_ns[lane] - b->now_ns, &b->early[lane]);
        }
    }
    return true;
}

/* ---- events ---- */

static void add_model(bed *b)
{
    uint32_t number = (uint32_t)pick(b, 0, MODELS - 1);
    if (b->segments[number] > 0) {
        return;
    }
    aegis_core_model model = {.model = number,
                              .lane = (uint16_t)pick(b, 0, LANES - 1),
                              .period_ns = pick(b, 1, 30),
                              .deadline_ns = pick(b, 1, 60),
                              .priority = (int32_t)pick(b, 0, 2),
                              .queue_depth = (uint32_t)pick(b, 1, 4),
                              .overrun = (aegis_overrun_rule)pick(b, 0, 2),
                              .early = AEGIS_EARLY_DELAY,
                              .background = one_in(b, 2),
                              .weight = (uint32_t)pick(b, 1, 3),
                              .segment_count = (uint32_t)pick(b, 1, 3)};
    if (model.background) {
        model.period_ns = one_in(b, 2) ? 0 : model.period_ns;
        model.deadline_ns = 0;
        model.share_ppm = one_in(b, 3) ? (uint32_t)pick(b, 1, 10) * 100000 : 0;
        model.awaited_segments = one_in(b, 4) ? pick(b, 0, 7) : 0;
        model.awaited_segments &= (UINT64_C(1) << model.segment_count) - 1;
    }
    for (uint32_t i = 0; i < model.segment_count; i++) {
        model.segment_bound_ns[i] = pick(b, 4, 12);
        model.segment_enforceable_ns[i] = model.segment_bound_ns[i] + pick(b, 0, 3);
        model.compute_budget_ns += model.segment_enforceable_ns[i];
    }
    model.compute_budget_ns = one_in(b, 4) ? pick(b, 1, model.compute_budget_ns) : 0;
    if (step(b, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model})) {
        b->segments[number] = model.segment_count;
        b->awaited[number] = model.awaited_segments;
    }
}

static void submit(bed *b)
{
    uint32_t number = (uint32_t)pick(b, 0, MODELS - 1);
    uint64_t ago = pick(b, 0, 4), ahead = one_in(b, 4) ? pick(b, 1, 20) : 0;
    step(b, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                .model = number,
                                .job = ++b->next_job,
                                .job_priority = (int32_t)pick(b, 0, 1),
                                .release_ns = b->now_ns - ago + ahead,
                                .more = one_in(b, 6)});
}

static void end_segment(bed *b, uint16_t lane)
{
    aegis_core_event event = {.kind = AEGIS_CORE_SEGMENT_DONE, .lane = lane};
    aegis_core_next said;
    if (!aegis_core_lane_running(b->core, lane, &event.model, &event.job, &event.segment)) {
        return;
    }
    bool early = b->early_asked[lane] && b->end_ns[lane] >= b->now_ns;
    if (early) {
        b->now_ns = b->end_ns[lane];
    }
    event.start_ns = b->dispatched_ns[lane];
    event.end_ns = b->now_ns;
    event.status = one_in(b, 12) ? AEGIS_ERROR_INFERENCE : AEGIS_OK;
    bool known = aegis_core_foresee(b->core, lane, b->now_ns, event.end_ns - event.start_ns, &said);
    if (early) { /* nothing came between */
        assert_true(known && said.job == b->early[lane].job &&
                    said.segment == b->early[lane].segment);
    }
    step(b, &event);
    if (event.status == AEGIS_OK) {
        b->asked++;
        b->known += known;
        b->early_known += early;
        b->nothing += known && said.model == AEGIS_TRACE_NONE;
        if (known) {
            compare(b, lane, &said);
        }
    }
}

static void one_event(bed *b)
{
    uint32_t number = (uint32_t)pick(b, 0, MODELS - 1);
    switch (pick(b, 0, 19)) {
    case 0:
    case 1:
        add_model(b);
        break;
    case 2:
        if (b->segments[number] > 0 && one_in(b, 3)) {
            b->segments[number] = 0;
            step(b, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_REMOVE, .model = number});
        }
        break;
    case 3:
        b->now_ns += pick(b, 0, 9);
        step(b, &(aegis_core_event){.kind = AEGIS_CORE_TIMER});
        break;
    case 4:
        if (b->segments[number] > 0) {
            step(b, &(aegis_core_event){.kind = AEGIS_CORE_CLEAR_FAULT, .model = number});
        }
        break;
    case 5:
    case 6:
        if (b->segments[number] > 0 && b->awaited[number] != 0) {
            step(b, &(aegis_core_event){.kind = AEGIS_CORE_SEGMENT_READY,
                                        .model = number,
                                        .segment = (uint32_t)__builtin_ctzll(b->awaited[number])});
        }
        break;
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
        submit(b);
        break;
    default:
        b->now_ns += one_in(b, 3) ? pick(b, 0, 6) : 0;
        end_segment(b, (uint16_t)pick(b, 0, LANES - 1));
        break;
    }
}

static int64_t by_segment(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    return (int64_t)job->deadline_ns - (int64_t)(5 * job->segment) - model->priority;
}

static void run(bed *b, const aegis_policy *policy, uint64_t seed)
{
    const aegis_core_config config = {
        .lanes = LANES, .max_models = MODELS, .max_jobs = JOBS, .launch_bound_ns = 2};
    aegis_allocator allocator = aegis_allocator_default();
    b->seed = b->random = seed;
    b->now_ns = 100;
    memset(b->segments, 0, sizeof b->segments);
    memset(b->early_asked, 0, sizeof b->early_asked);
    assert_int_equal(aegis_core_create(&config, policy, &allocator, &b->core, NULL), AEGIS_OK);
    assert_true(aegis_core_max_actions(b->core) <= ACTIONS);
    for (int i = 0; i < EVENTS; i++) {
        one_event(b);
    }
    aegis_core_destroy(b->core);
}

static void run_all(const aegis_policy *policy, bed *b)
{
    const char *scale = getenv("AEGISRT_PROPERTY_SCALE");
    uint64_t runs = RUNS * (scale == NULL ? 1 : strtoull(scale, NULL, 10));
    for (uint64_t seed = 1; seed <= runs; seed++) {
        run(b, policy, seed);
    }
    print_message("%s: %" PRIu64 " ends, %" PRIu64 " foreseen (%" PRIu64 " idle), %" PRIu64
                  " at the dispatch\n",
                  policy->ops->name, b->asked, b->known, b->nothing, b->early_known);
}

static void what_is_foreseen_comes(void **state)
{
    (void)state;
    size_t count;
    const char *const *names = aegis_policy_names(&count);
    for (size_t i = 0; i < count; i++) {
        bed b = {0};
        aegis_policy policy;
        assert_int_equal(aegis_policy_find(names[i], &policy, NULL), AEGIS_OK);
        run_all(&policy, &b);
        if (policy.ops->idle_until == NULL) { /* else nothing was shown */
            assert_true(b.known * 10 > b.asked * 8 && b.nothing * 2 < b.known);
            assert_true(b.early_known * 10 > b.asked);
        } else {
            assert_int_equal(b.known, 0);
        }
    }
}

static void keys_of_segments_are_not_guessed(void **state)
{
    (void)state;
    bed b = {0};
    const aegis_policy_ops ops = {
        .version = AEGIS_POLICY_OPS_VERSION, .name = "by-segment", .key = by_segment};
    run_all(&(aegis_policy){.ops = &ops}, &b);
    assert_true(b.known * 2 > b.asked && b.known < b.asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_foreseen_comes),
        cmocka_unit_test(keys_of_segments_are_not_guessed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
