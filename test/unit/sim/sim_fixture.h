/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_SIM_FIXTURE_H
#define AEGIS_TEST_SIM_FIXTURE_H

/* A simulation that keeps its records, and a seeded source of executions and releases. */

#include "base/base.h"

#include <aegisrt/ext/simulator.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIM_RECORDS 100000

typedef struct sim_tape {
    aegis_trace_record *records;
    size_t count;
    uint64_t seed;
    uint64_t execution_ns; /* of every segment; 0: random */
} sim_tape;

static inline void sim_keep(void *self, const aegis_trace_record *record)
{
    sim_tape *tape = self;
    assert_true(tape->count < SIM_RECORDS);
    tape->records[tape->count++] = *record;
}

/* A pure function of its arguments, so that the order of calls does not matter. */
static inline uint64_t sim_dice(uint64_t seed, uint64_t model, uint64_t index, uint64_t salt)
{
    uint64_t state = seed + model * 1000003 + index * 7919 + salt * 104729;
    return aegis_random_next(&state);
}

static inline uint64_t sim_execution(void *self, uint32_t model, uint64_t index, uint32_t segment)
{
    const sim_tape *tape = self;
    return tape->execution_ns != 0 ? tape->execution_ns
                                   : 1 + sim_dice(tape->seed, model, index, segment) % 14;
}

static inline aegis_simulator_model
sim_model(uint32_t number, uint64_t period_ns, uint32_t segments, uint64_t bound_ns)
{
    aegis_simulator_model model = {.core = {.model = number,
                                            .period_ns = period_ns,
                                            .deadline_ns = period_ns,
                                            .priority = (int32_t)number,
                                            .queue_depth = 8,
                                            .weight = 1,
                                            .segment_count = segments}};
    for (uint32_t i = 0; i < segments; i++) {
        model.core.segment_bound_ns[i] = model.core.segment_enforceable_ns[i] = bound_ns;
    }
    return model;
}

static inline sim_tape sim_tape_make(uint64_t seed)
{
    sim_tape tape = {.records = calloc(SIM_RECORDS, sizeof(aegis_trace_record)), .seed = seed};
    assert_non_null(tape.records);
    return tape;
}

/* Four models on two lanes, with overruns of each rule, cut models and background. */
static inline void sim_mixture(const char *policy_name, sim_tape *tape, aegis_trace_ring *ring)
{
    aegis_simulator_model models[5] = {
        sim_model(0, 50, 1, 10), sim_model(1, 70, 3, 10), sim_model(2, 40, 1, 12),
        sim_model(3, 90, 2, 9),  sim_model(4, 30, 1, 8),
    };
    models[1].core.overrun = AEGIS_OVERRUN_SKIP;
    models[2].core.overrun = AEGIS_OVERRUN_REPORT;
    models[2].core.early = AEGIS_EARLY_DELAY;
    models[3].core.lane = 1;
    models[3].core.compute_budget_ns = 15;
    models[4].core.lane = 1;
    models[4].core.background = true;
    models[2].core.deadline_ns = 80;
    models[3].offset_ns = 7;
    aegis_simulator_source source = {
        .self = tape, .execution_ns = sim_execution, .record = sim_keep};
    aegis_core_config config = {.lanes = 2, .max_models = 8, .max_jobs = 64};
    aegis_policy policy;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_simulator_result results[5];
    assert_int_equal(aegis_policy_find(policy_name, &policy, NULL), AEGIS_OK);
    assert_int_equal(aegis_simulate(&config, &policy, models, 5, 10000, 2, &source, ring,
                                    &allocator, results, NULL),
                     AEGIS_OK);
    for (size_t i = 0; i < 5; i++) {
        const aegis_core_counters *c = &results[i].counters;
        assert_int_equal(c->jobs, c->completed + c->missed + c->aborted + c->dropped + c->skipped +
                                      c->pending);
        assert_true(c->completed > 0);
    }
}

#endif
