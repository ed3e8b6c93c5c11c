/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_EVENTS_H
#define AEGISRT_CLI_EVENTS_H

/* The [[event]] tables of a workload: made when their time has come, and told afterwards. */

#include "json.h"

#include <aegisrt/system.h>

/* Jobs of models until a change took them out: a scheduler forgets who leaves. */
typedef struct cli_left {
    uint32_t model;
    aegis_core_counters counters;
    uint64_t unexplained; /* responses beyond what was proved, while every premise held */
} cli_left;

/* What became of one event. */
typedef struct cli_change {
    bool made; /* false: the run ended before */
    aegis_status status;
    char reason[768]; /* when it failed */
    bool fits_after_moving;
    uint64_t started_ns, took_ns; /* since the start of the run */
    uint64_t planned_bytes;       /* afterwards */
    cli_left *left;
    size_t left_count;
} cli_change;

typedef struct cli_events {
    const aegis_workload *workload;
    cli_change *changes; /* one an event */
    size_t next;
} cli_events;

/* False when there is no host memory. */
bool cli_events_init(cli_events *events, const aegis_workload *workload);
void cli_events_finish(cli_events *events);

/* Nanoseconds from `now_ns` to the next event; UINT64_MAX: there is none. */
uint64_t cli_events_wait_ns(const cli_events *events, uint64_t now_ns);
/* Makes all that are due; `now_ns` tells the time since the start. */
void cli_events_make(cli_events *events,
                     aegis_system *system,
                     uint64_t (*now_ns)(void *),
                     void *of);

/* Refused though not expected, or the other way round. */
size_t cli_events_surprises(const cli_events *events);
/* Late although every bound held, of models that have left since. */
uint64_t cli_events_broken(const cli_events *events);

/* Nothing without events. */
int cli_events_print(const cli_events *events);
json_t *cli_events_json(const cli_events *events);

#endif
