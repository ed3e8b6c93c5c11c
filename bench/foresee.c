/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launching ahead without a GPU: what the question costs that the driver asks the core, and how
 * often its answers hold. The models of the kiosk of examples/kiosk-gpu.toml run for two minutes of
 * virtual time, as long as they took on an H200 (docs/results/kiosk-gpu-h200.json) and up to a
 * tenth more, on one lane with one gate, by the rules of src/schedule/driver/ahead.c. Of what
 * follows another segment at once, the shares that
 *   through   begins through the gate;
 *   passed    is launched past another one that stands there;
 *   successor is the next segment of the job that ran before: all that could be, were nothing else
 *             put there;
 *   at_once   would begin through the gate, were things put there as soon as they are foreseen and
 *             not shortly before the end of what runs;
 * and how many were put there and never taken. `heavy` is the same set, periods divided by two.
 */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/device.h>
#include <aegisrt/ext/core.h>

#define MODELS 25u
#define SAMPLES 100000
#define END_NS (UINT64_C(120) * 1000000000)
#define LEAST_NS UINT64_C(15000)
#define NEAR_NS ((uint64_t)AEGIS_STREAM_NEAR_NS)

static const uint64_t kiosk_us[MODELS - 1][2] = {
    {32000, 146},   {32000, 146},  {64000, 134},   {50000, 257},   {33000, 548},  {50000, 678},
    {50000, 587},   {33000, 350},  {33000, 630},   {33000, 513},   {33000, 1124}, {66000, 848},
    {50000, 997},   {50000, 932},  {66000, 773},   {100000, 1109}, {100000, 630}, {100000, 389},
    {100000, 2091}, {100000, 929}, {100000, 1052}, {100000, 925},  {100000, 379}, {33000, 353}};

typedef struct set {
    const char *name;
    uint64_t divisor; /* of the periods */
    uint32_t segments;
    bool background; /* one more model, of segments of 1 ms, never idle */
} set;

static const set sets[] = {{"kiosk", 1, 1, false},
                           {"kiosk_cut", 1, 4, false},
                           {"kiosk_background", 1, 1, true},
                           {"heavy", 2, 1, false},
                           {"heavy_cut", 2, 4, false}};

typedef struct bed {
    const set *is;
    aegis_core *core;
    aegis_core_action *actions;
    uint64_t now_ns, jobs, seed;
    uint64_t releases[MODELS];
    bool runs, has_put, at_once;
    aegis_core_next running, stands, put;
    uint64_t start_ns, end_ns;
    uint64_t followed, through, passed, successor, puts, in_vain;
} bed;

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static uint64_t length_ns(const bed *b, uint32_t model)
{
    return model + 1 == MODELS ? 1000000 : kiosk_us[model][1] * 1000 / b->is->segments;
}

/* Slots are what is put there for, not jobs. */
static bool same(const aegis_core_next *a, const aegis_core_next *b)
{
    return a->model == b->model && a->segment == b->segment && a->slot == b->slot;
}

static uint64_t least_end_ns(const bed *b)
{
    return b->start_ns + length_ns(b, b->running.model);
}

static void want(bed *b)
{
    uint64_t least = least_end_ns(b);
    uint64_t end = least > b->now_ns ? least : b->now_ns;
    aegis_core_next next;
    if (!b->runs || b->has_put || b->stands.job != 0 || least < b->now_ns + LEAST_NS ||
        (!b->at_once && least > b->now_ns + NEAR_NS) ||
        !aegis_core_foresee(b->core, 0, end, end - b->start_ns, &next) ||
        next.model == AEGIS_TRACE_NONE) {
        return;
    }
    b->has_put = true;
    b->put = next;
    b->puts++;
}

static void dispatch(bed *b, const aegis_core_action *action, bool follows)
{
    const aegis_core_next next = {
        .model = action->model, .job = action->job, .segment = action->segment, .slot = 0};
    bool takes = b->stands.job != 0 && same(&next, &b->stands);
    b->followed += follows;
    b->through += follows && takes;
    b->passed += follows && !takes && b->stands.job != 0;
    b->successor += follows && action->segment > 0 && action->job == b->running.job;
    b->stands.job = takes ? 0 : b->stands.job;
    b->running = next;
    b->runs = true;
    b->start_ns = b->now_ns;
    uint64_t length = length_ns(b, next.model);
    b->end_ns = b->now_ns + length + aegis_random_next(&b->seed) % (length / 10);
}

static void step(bed *b, const aegis_core_event *event)
{
    size_t count = 0;
    aegis_error err;
    must(aegis_core_step(b->core, b->now_ns, event, b->actions, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        if (b->actions[i].kind == AEGIS_TRACE_DISPATCH) {
            dispatch(b, &b->actions[i], event->kind == AEGIS_CORE_SEGMENT_DONE);
        }
    }
    if (event->kind != AEGIS_CORE_SUBMIT || !event->more) {
        want(b);
    }
}

static void end_segment(bed *b)
{
    aegis_core_event done = {.kind = AEGIS_CORE_SEGMENT_DONE,
                             .start_ns = b->start_ns,
                             .end_ns = b->now_ns,
                             .model = b->running.model,
                             .job = b->running.job,
                             .segment = b->running.segment};
    b->runs = false;
    if (b->has_put) {
        b->stands = b->put;
        b->stands.slot = 0; /* the driver's own releases all have the first */
        b->has_put = false;
    }
    step(b, &done);
}

static void release(bed *b, uint32_t model)
{
    uint64_t release = b->releases[model];
    bool more = false;
    b->releases[model] +=
        model + 1 == MODELS ? 1000000 : kiosk_us[model][0] * 1000 / b->is->divisor;
    for (uint32_t i = 0; i < MODELS; i++) {
        more = more || b->releases[i] <= b->now_ns;
    }
    step(b, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                .model = model,
                                .job = ++b->jobs,
                                .release_ns = release,
                                .more = more});
}

static void run(bed *b)
{
    while (b->now_ns < END_NS) {
        uint32_t first = 0;
        for (uint32_t i = 1; i < MODELS; i++) {
            first = b->releases[i] < b->releases[first] ? i : first;
        }
        uint64_t next = b->releases[first], least = least_end_ns(b);
        if (b->runs && least > b->now_ns + NEAR_NS && least - NEAR_NS < next) {
            b->now_ns = least - NEAR_NS;
            want(b);
        } else if (b->runs && b->end_ns < next) {
            b->now_ns = b->end_ns;
            end_segment(b);
        } else {
            b->now_ns = next > b->now_ns ? next : b->now_ns;
            release(b, first);
        }
    }
}

static void add_models(bed *b)
{
    for (uint32_t i = 0; i < MODELS; i++) {
        bool background = i + 1 == MODELS;
        aegis_core_model model = {.model = i,
                                  .background = background,
                                  .weight = 1,
                                  .queue_depth = background ? 2 : 8,
                                  .overrun = AEGIS_OVERRUN_REPORT,
                                  .segment_count = background ? 1 : b->is->segments};
        if (!background) {
            model.period_ns = kiosk_us[i][0] * 1000 / b->is->divisor;
            model.deadline_ns = model.period_ns;
        }
        for (uint32_t s = 0; s < model.segment_count; s++) {
            model.segment_bound_ns[s] = model.segment_enforceable_ns[s] = 2 * length_ns(b, i);
        }
        b->releases[i] = background && !b->is->background ? UINT64_MAX : 0;
        step(b, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model});
    }
}

static void measure_cost(bench_report *report, bed *b)
{
    static double cost_ns[SAMPLES];
    aegis_core_next next;
    for (size_t i = 0; i < SAMPLES; i++) {
        uint64_t start = bench_now_ns();
        for (int k = 0; k < 10; k++) {
            (void)aegis_core_foresee(b->core, 0, b->now_ns, 1000, &next);
            bench_keep(&next);
        }
        cost_ns[i] = (double)(bench_now_ns() - start) / 10;
    }
    bench_report_samples(report, "foresee", "ns", cost_ns, SAMPLES);
}

static void
report_share(bench_report *report, const set *is, const char *what, uint64_t n, uint64_t of)
{
    char name[64];
    snprintf(name, sizeof name, "%s_%s", is->name, what);
    bench_report_value(report, name, "of those that follow", (double)n / (double)of);
}

static void measure(bench_report *report, const set *is, const char *policy_name, bool at_once)
{
    const aegis_core_config config = {.lanes = 1, .max_models = MODELS, .max_jobs = 256};
    aegis_allocator allocator = aegis_allocator_default();
    aegis_policy policy;
    aegis_error err;
    char name[64];
    bed b = {.is = is, .seed = 1, .at_once = at_once};
    must(aegis_policy_find(policy_name, &policy, &err), &err);
    must(aegis_core_create(&config, &policy, &allocator, &b.core, &err), &err);
    b.actions = calloc(aegis_core_max_actions(b.core), sizeof *b.actions);
    if (b.actions == NULL) {
        exit(1);
    }
    add_models(&b);
    run(&b);
    if (at_once) {
        report_share(report, is, "at_once", b.through, b.followed);
        goto done;
    }
    snprintf(name, sizeof name, "%s_followed", is->name);
    bench_report_value(report, name, "segments a second", (double)b.followed / 120.0);
    report_share(report, is, "through", b.through, b.followed);
    report_share(report, is, "passed", b.passed, b.followed);
    report_share(report, is, "successor", b.successor, b.followed);
    snprintf(name, sizeof name, "%s_never_taken", is->name);
    bench_report_value(report, name, "of those put", 1 - (double)b.through / (double)b.puts);
    if (is == &sets[0]) {
        measure_cost(report, &b);
    }
done:
    aegis_core_destroy(b.core);
    free(b.actions);
}

int main(void)
{
    bench_report report = bench_report_begin("foresee");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        measure(&report, &sets[i], "np-edf", false);
        measure(&report, &sets[i], "np-edf", true);
    }
    bench_report_end(&report);
    return 0;
}
