/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_SIMULATE_H
#define AEGISRT_CLI_SIMULATE_H

/* The parts of `simulate`: what is simulated, how it behaves in one run, the search over runs, and
 * what is said, drawn and kept of them. */

#include "output.h"

#include <aegisrt/admission.h>
#include <aegisrt/ext/policy_ops.h>
#include <aegisrt/ext/simulator.h>
#include <aegisrt/system.h>

typedef enum sim_execution {
    SIM_WORST = 0,
    SIM_RANDOM,
    SIM_PROFILE
} sim_execution;

typedef enum sim_offsets {
    SIM_DECLARED = 0, /* of the workload; 0 in a task set */
    SIM_SYNCHRONOUS,
    SIM_SCATTERED,
    SIM_CRITICAL /* a blocker one tick before all others of its lane */
} sim_offsets;

typedef struct sim_options {
    const char *input, *policy, *gantt, *trace, *duration;
    uint64_t duration_ns /* read by sim_set_load */, jobs, search, seed, lanes; /* 0: not given */
    sim_execution execution;
    sim_offsets offsets;
    bool sporadic, refused;
} sim_options;

typedef struct sim_task {
    const char *name;
    aegis_policy_model policy;
    int64_t segments[AEGIS_MAX_SEGMENTS];
    uint64_t execution, jitter; /* of all segments; of the release as the lane sees it */
    uint64_t offset;
    bool background, refused;
    const aegis_profile *profile; /* NULL in a task set */
    int64_t bound;                /* proved worst response; negative: none */
} sim_task;

/* What is simulated. Times are ns, or the ticks of a task set. */
typedef struct sim_set {
    sim_task *tasks;
    aegis_simulator_model *models; /* as many; number = index */
    size_t count;
    uint16_t lanes;
    uint64_t wake_bound, overhead_bound;
    aegis_policy policy;
    const char *policy_name; /* fpp of a task set is np-fp of cut models to the core */
    bool ticks;
    int schedulable; /* by the policy's proof; -1: there is none */
    aegis_taskset *taskset;
    aegis_workload *workload;
    aegis_system *system;
} sim_set;

/* How one run behaves: a pure function of its seed. */
typedef struct sim_run {
    const sim_set *set;
    const sim_options *options;
    uint64_t number, seed, duration;
    sim_offsets offsets;
    size_t blocker; /* CRITICAL */
    uint64_t latest_jitter;
    uint64_t *last; /* per task: its last release */
    bool *blocks;   /* per task: CRITICAL */
    /* sees each record; NULL: none */
    void (*record)(void *self, const aegis_trace_record *record);
    void *record_self;
} sim_run;

/* The worst that was seen of one task, over all runs. */
typedef struct sim_worst {
    aegis_core_counters counters;
    uint64_t response, release, run, executed;
} sim_worst;

typedef struct sim_outcome {
    sim_worst *tasks;
    uint64_t runs, duration; /* duration of one run */
    double seconds;
    size_t worst_task; /* SIZE_MAX: no foreground job ended */
} sim_outcome;

/* simulate_set.c: 0 or an exit code. A set is finished in any case. */
int sim_set_load(sim_set *set, sim_options *options, const cli_common *common);
void sim_set_finish(sim_set *set);

/* simulate_run.c */
int sim_search(const sim_set *set,
               const sim_options *options,
               const cli_common *common,
               sim_outcome *ret_outcome);
void sim_outcome_finish(sim_outcome *outcome);
/* The run of that number again, with its records; `until` cuts it short (0: whole). */
int sim_repeat(const sim_set *set,
               const sim_options *options,
               const cli_common *common,
               const sim_outcome *outcome,
               uint64_t number,
               uint64_t until,
               void (*record)(void *self, const aegis_trace_record *record),
               void *self);
const char *sim_run_name(const sim_set *set, const sim_options *options, uint64_t number);
uint64_t sim_total_jobs(const sim_set *set, const sim_outcome *outcome);
/* Response over deadline; 0 for background. */
double sim_severity(const sim_set *set, const sim_outcome *outcome, size_t task);

/* simulate_report.c */
int sim_report(const sim_set *set,
               const sim_options *options,
               const sim_outcome *outcome,
               cli_format format);

/* simulate_gantt.c, simulate_trace.c: of the worst run */
int sim_gantt(const sim_set *set,
              const sim_options *options,
              const cli_common *common,
              const sim_outcome *outcome);
int sim_trace(const sim_set *set,
              const sim_options *options,
              const cli_common *common,
              const sim_outcome *outcome);

/* "12" in ticks, "1.2 ms" in ns. */
const char *sim_time(const sim_set *set, int64_t time, char buffer[CLI_TEXT_BYTES]);

#endif
