/* SPDX-License-Identifier: Apache-2.0 */
/* Time of one decision of the scheduler core with 64 and 1,024 ready jobs, and how many jobs a
 * second it simulates. A decision is the step that ends a segment: completion, choice, dispatch,
 * timer. Each sample contains one reading of the clock. */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/ext/simulator.h>

#define SAMPLES 100000
#define SIM_MODELS 24
#define SIM_NS UINT64_C(200000000)

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static aegis_policy find_policy(const char *name)
{
    aegis_policy policy;
    aegis_error err;
    must(aegis_policy_find(name, &policy, &err), &err);
    return policy;
}

static aegis_core_model make_model(uint32_t number, uint64_t period_ns, uint64_t bound_ns)
{
    return (aegis_core_model){.model = number,
                              .period_ns = period_ns,
                              .deadline_ns = period_ns,
                              .queue_depth = 4,
                              .segment_count = 1,
                              .segment_bound_ns = {bound_ns},
                              .segment_enforceable_ns = {bound_ns}};
}

typedef struct core_bed {
    aegis_core *core;
    aegis_core_action *actions;
    uint64_t now_ns, jobs;
} core_bed;

static void step(core_bed *bed, const aegis_core_event *event)
{
    size_t count = 0;
    aegis_error err;
    must(aegis_core_step(bed->core, bed->now_ns, event, bed->actions, &count, &err), &err);
    bench_keep(bed->actions);
}

static void submit(core_bed *bed, uint32_t model)
{
    step(bed, &(aegis_core_event){.kind = AEGIS_CORE_SUBMIT,
                                  .model = model,
                                  .job = ++bed->jobs,
                                  .release_ns = bed->now_ns});
}

/* One segment after the other; the model that ran is submitted again, so that `ready` jobs stay. */
static void measure_decisions(bench_report *report, uint32_t ready)
{
    static double done_ns[SAMPLES], submit_ns[SAMPLES];
    const aegis_core_config config = {
        .lanes = 1, .max_models = ready + 1, .max_jobs = 2 * ready + 2, .wake_bound_ns = 1};
    aegis_policy policy = find_policy("np-edf");
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error err;
    core_bed bed = {0};
    must(aegis_core_create(&config, &policy, &allocator, &bed.core, &err), &err);
    bed.actions = calloc(aegis_core_max_actions(bed.core), sizeof *bed.actions);
    if (bed.actions == NULL) {
        exit(1);
    }
    uint64_t seed = 1;
    for (uint32_t i = 0; i <= ready; i++) {
        aegis_core_model model = make_model(i, 1000 + aegis_random_next(&seed) % 1000000, 1000);
        model.period_ns = 1;
        step(&bed, &(aegis_core_event){.kind = AEGIS_CORE_MODEL_ADD, .add = &model});
        submit(&bed, i);
    }
    for (size_t i = 0; i < SAMPLES; i++) {
        aegis_core_event done = {.kind = AEGIS_CORE_SEGMENT_DONE, .start_ns = bed.now_ns};
        bed.now_ns += 1000;
        done.end_ns = bed.now_ns;
        if (!aegis_core_lane_running(bed.core, 0, &done.model, &done.job, &done.segment) ||
            aegis_core_ready_count(bed.core, 0) != ready) {
            fprintf(stderr, "sample %zu: not %u ready jobs\n", i, ready);
            exit(1);
        }
        uint64_t start = bench_now_ns();
        step(&bed, &done);
        uint64_t middle = bench_now_ns();
        submit(&bed, done.model);
        done_ns[i] = (double)(middle - start);
        submit_ns[i] = (double)(bench_now_ns() - middle);
    }
    char name[64];
    snprintf(name, sizeof name, "decision_%u_ready", ready);
    bench_report_samples(report, name, "ns", done_ns, SAMPLES);
    snprintf(name, sizeof name, "submit_%u_ready", ready);
    bench_report_samples(report, name, "ns", submit_ns, SAMPLES);
    aegis_core_destroy(bed.core);
    free(bed.actions);
}

static void measure_simulation(bench_report *report, const char *policy_name)
{
    const aegis_core_config config = {.lanes = 1, .max_models = SIM_MODELS, .max_jobs = 256};
    aegis_policy policy = find_policy(policy_name);
    aegis_allocator allocator = aegis_allocator_default();
    aegis_simulator_model models[SIM_MODELS];
    aegis_simulator_result results[SIM_MODELS];
    aegis_error err;
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        uint64_t period = 1000 + 137 * (uint64_t)i;
        models[i] = (aegis_simulator_model){.core = make_model(i, period, period / 40)};
    }
    uint64_t start = bench_now_ns(), jobs = 0;
    must(aegis_simulate(&config, &policy, models, SIM_MODELS, SIM_NS, 0, NULL, NULL, &allocator,
                        results, &err),
         &err);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        jobs += results[i].counters.jobs;
    }
    char name[64];
    snprintf(name, sizeof name, "simulation_%s", policy_name);
    bench_report_value(report, name, "jobs/s", (double)jobs / seconds);
}

int main(void)
{
    bench_report report = bench_report_begin("core");
    measure_decisions(&report, 64);
    measure_decisions(&report, 1024);
    measure_simulation(&report, "np-rm");
    measure_simulation(&report, "np-edf");
    bench_report_end(&report);
    return 0;
}
