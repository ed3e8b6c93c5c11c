/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SYSTEM_INTERNAL_H
#define AEGIS_SYSTEM_INTERNAL_H

#include <aegisrt/system.h>

#include "base/base.h"

#define AEGIS_SYSTEM "system"
#define AEGIS_SYSTEM_LANES 64u
#define AEGIS_SYSTEM_BACKENDS 8u

/* One model of the workload on its way into the pool. */
typedef struct aegis_system_entry {
    aegis_model *model; /* open, or NULL */
    aegis_context *context;
    aegis_tensor_lifetime *lifetimes; /* copied from the trial */
    size_t lifetime_count;
    bool in_memory; /* the orchestrator has it */
} aegis_system_entry;

struct aegis_system {
    aegis_allocator allocator;
    const aegis_workload *workload;
    aegis_system_options options;
    aegis_clock clock;
    aegis_planner planner;
    aegis_policy policy;
    aegis_trace_collector *collector;
    aegis_device *device;
    aegis_device_capabilities capabilities;
    aegis_stream *lanes[AEGIS_SYSTEM_LANES];
    aegis_backend *backends[AEGIS_SYSTEM_BACKENDS];
    size_t backend_count;
    aegis_scheduler *scheduler;
    aegis_profiler *profiler;
    aegis_memory_orchestrator *memory;
    aegis_buffer arena;
    aegis_system_model *models; /* as reported */
    aegis_system_entry *entries;
    const char *progress_model;
    bool started, stopped;
};

/* models.c: steps 1 to 6 for every model of the workload. */
aegis_status aegis_system_admit_models(aegis_system *system, aegis_error *err);
/* Opens a model and records its allocations. */
aegis_status aegis_system_open_model(aegis_system *system, size_t index, aegis_error *err);

/* memory.c: steps 7 and 8: one plan over all, then every model into the arena. */
aegis_status aegis_system_place_models(aegis_system *system, aegis_error *err);

/* header.c: the trace header, JSON text to be freed with free(); NULL when memory is short. */
char *aegis_system_trace_header(const aegis_system *system);

/* Marks a model as refused. */
void aegis_system_refuse(aegis_system *system,
                         size_t index,
                         aegis_rationale rationale,
                         const char *format,
                         ...) AEGIS_PRINTF(4, 5);
/* The same for a model past its own memory limit: says which key of the workload that is. */
void aegis_system_refuse_budget(aegis_system *system, size_t index, const char *reason);
void aegis_system_report(
    aegis_system *system, const char *phase, const char *model, uint32_t done, uint32_t total);
/* Step `step` (1..9) of a model took `since_ns` until now and ended with `status`. */
void aegis_system_trace_step(
    aegis_system *system, size_t index, int step, uint64_t since_ns, aegis_status status);

#endif
