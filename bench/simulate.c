/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs a second of the simulator: by policy, by the number of models, with what a search adds
 * (releases and executions from a source, records), and with background. Each figure is a sample of
 * runs of about 200,000 jobs. */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/ext/simulator.h>

#define RUNS 7
#define JOBS 200000
#define MOST_MODELS 256

typedef struct sim_bed {
    aegis_simulator_model models[MOST_MODELS];
    aegis_simulator_result results[MOST_MODELS];
    uint32_t count;
    uint64_t last[MOST_MODELS], seed, records;
} sim_bed;

static sim_bed bed;

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

/* Utilisation 0.6 whatever the number; periods that do not divide each other. */
static void fill(uint32_t count)
{
    bed.count = count;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t period = 100000 + 13700 * (uint64_t)i, bound = period * 6 / 10 / count;
        bed.models[i] = (aegis_simulator_model){.core = {.model = i,
                                                         .period_ns = period,
                                                         .deadline_ns = period,
                                                         .priority = (int32_t)i,
                                                         .queue_depth = 16,
                                                         .segment_count = 1,
                                                         .segment_bound_ns = {bound},
                                                         .segment_enforceable_ns = {bound}}};
    }
}

static uint64_t duration(void)
{
    double rate = 0;
    for (uint32_t i = 0; i < bed.count; i++) {
        uint64_t period = bed.models[i].core.period_ns;
        rate += period == 0 ? 0 : 1.0 / (double)period;
    }
    return (uint64_t)(JOBS / rate);
}

static uint64_t sporadic(void *self, uint32_t model, uint64_t index)
{
    sim_bed *b = self;
    uint64_t period = b->models[model].core.period_ns;
    uint64_t gap = index == 0 ? 0 : period + aegis_random_next(&b->seed) % (period / 4);
    b->last[model] = index == 0 ? 0 : b->last[model] + gap;
    return b->last[model];
}

static uint64_t random_execution(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    sim_bed *b = self;
    (void)index;
    return 1 + aegis_random_next(&b->seed) % b->models[model].core.segment_bound_ns[segment];
}

static void count_record(void *self, const aegis_trace_record *record)
{
    sim_bed *b = self;
    b->records += record->kind != AEGIS_TRACE_INVALID;
}

static void measure(bench_report *report,
                    const char *name,
                    const char *policy_name,
                    const aegis_simulator_source *source)
{
    const aegis_core_config config = {.lanes = 1, .max_models = MOST_MODELS, .max_jobs = 4096};
    aegis_allocator allocator = aegis_allocator_default();
    double rates[RUNS];
    aegis_policy policy;
    aegis_error err;
    must(aegis_policy_find(policy_name, &policy, &err), &err);
    for (size_t run = 0; run < RUNS; run++) {
        uint64_t jobs = 0, start = bench_now_ns();
        must(aegis_simulate(&config, &policy, bed.models, bed.count, duration(), 0, source, NULL,
                            &allocator, bed.results, &err),
             &err);
        double seconds = (double)(bench_now_ns() - start) / 1e9;
        for (uint32_t i = 0; i < bed.count; i++) {
            jobs += bed.results[i].counters.jobs;
        }
        rates[run] = (double)jobs / seconds;
    }
    bench_report_samples(report, name, "jobs/s", rates, RUNS);
}

static void add_background(void)
{
    aegis_core_model *core = &bed.models[bed.count].core;
    bed.models[bed.count].continuous = true;
    *core = (aegis_core_model){.model = bed.count,
                               .background = true,
                               .weight = 1,
                               .queue_depth = 2,
                               .segment_count = 1,
                               .segment_bound_ns = {2000},
                               .segment_enforceable_ns = {2000}};
    bed.count++;
}

int main(void)
{
    static const char *const names[] = {"fifo", "np-rm", "np-fp", "np-edf", "cw-edf"};
    const aegis_simulator_source all = {.self = &bed,
                                        .release_ns = sporadic,
                                        .execution_ns = random_execution,
                                        .record = count_record};
    bench_report report = bench_report_begin("simulate");
    char name[64];
    fill(24);
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(names); i++) {
        snprintf(name, sizeof name, "24_models_%s", names[i]);
        measure(&report, name, names[i], NULL);
    }
    measure(&report, "24_models_sporadic_random_recorded", "np-edf", &all);
    add_background();
    measure(&report, "24_models_and_background", "np-edf", NULL);
    fill(4);
    measure(&report, "4_models_np-edf", "np-edf", NULL);
    fill(MOST_MODELS);
    measure(&report, "256_models_np-edf", "np-edf", NULL);
    bench_report_end(&report);
    return 0;
}
