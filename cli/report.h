/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_REPORT_H
#define AEGISRT_CLI_REPORT_H

/* What `run` and `check` say about a system. */

#include "events.h"
#include "json.h"

#include <aegisrt/system.h>

typedef struct cli_report {
    const aegis_workload *workload;
    aegis_system *system;
    bool ran;                        /* metrics are there */
    aegis_scheduler_metrics metrics; /* when it ran */
    /* When it had started: what was there then and later, nothing was taken for since. */
    uint64_t beside_arena_at_start, resident_at_start;
    const char *trace_path, *perfetto_path;
    bool reprofiles;     /* puts stale profiles aside */
    bool explains_bytes; /* why bytes are shared: all of them, or one */
    const uint64_t *explained_byte;
    size_t surprises;  /* when it was made: before the first event */
    cli_events events; /* of the workload */
} cli_report;

/* The answer as it stands: the lane and the response change as other models come. */
aegis_admission_answer cli_report_answer(const cli_report *report, const aegis_system_model *model);
/* Largest of a lane, by enforceable bounds; measured share of time of a lane. */
double cli_report_utilisation(const cli_report *report);
double cli_report_lane_busy(const cli_report *report, size_t lane);
/* Promises that did not hold: jobs that were late although every bound held, and those that
 * responded later than was proved while every premise did. */
uint64_t cli_report_broken(const cli_report *report);
/* The name of a model by its number; `self` is a cli_report. */
const char *cli_report_name_of(const void *self, uint32_t model);
/* Refused though not expected, or the other way round, at the start or by an event. */
size_t cli_report_surprises(const cli_report *report);
size_t cli_report_admitted(const cli_report *report);

/* What a background model got: jobs a second, and its execution as a share of its lane's time and
 * of that of all background models of the lane. Zeros without a run. */
typedef struct cli_background {
    double throughput, lane_share, background_share;
} cli_background;
cli_background cli_report_background(const cli_report *report, const aegis_system_model *model);

/* The contract of `run`; without metrics the parts that only a run gives are left out. */
json_t *cli_report_json(const cli_report *report);

/* report_cuts.c: what was cut, where and why. The table is left out when nothing was cut. */
json_t *cli_report_cuts_json(const cli_report *report);
int cli_report_cuts(const cli_report *report);

/* report_text.c: tables. Return an exit code. */
int cli_report_admission(const cli_report *report);
int cli_report_run(const cli_report *report);

#endif
