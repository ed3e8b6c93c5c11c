/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_SYSTEM_H
#define AEGISRT_SYSTEM_H

/**
 * @file system.h From a workload to a running system: the nine admission steps, then start.
 *
 * load -> wrap in a backend -> profile alone and under load -> build the request -> analyse ->
 * create the context -> plan memory -> enter the pool -> record with rationale.
 */

#include <aegisrt/memory_plan.h>
#include <aegisrt/scheduler.h>
#include <aegisrt/trace.h>
#include <aegisrt/workload.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_system aegis_system;

/** Progress of long work: `model` may be NULL; done of total. Any of the system's calls. */
typedef void (*aegis_system_progress)(
    void *self, const char *phase, const char *model, uint32_t done, uint32_t total);

typedef struct aegis_system_options {
    const char *trace_path;       /**< native trace; NULL: records are kept in memory only */
    size_t trace_ring_records;    /**< 0: default */
    bool fresh_profiles;          /**< measure again even when the cache has an equal key */
    const aegis_planner *planner; /**< NULL: the default solver */
    const aegis_policy *policy;   /**< NULL: the workload's */
    const aegis_workload_cuts
        *cuts; /**< of every model, NONE, AUTO or EVEN; NULL: the workload's */
    aegis_system_progress progress;
    void *progress_self;
} aegis_system_options;

/** How and why a model was cut. */
typedef struct aegis_system_cuts {
    aegis_cuts_mode mode;
    uint32_t count; /**< cuts; 0: it is whole */
    aegis_cut_candidate at[AEGIS_MAX_SEGMENTS - 1];
    uint64_t tolerance_ns;   /**< AUTO: longest segment that the others bore when it was cut */
    uint32_t limited_by;     /**< AUTO: the model whose slack that is, AEGIS_TRACE_NONE: none */
    uint64_t whole_bound_ns; /**< C before */
    uint64_t longest_before_ns, longest_after_ns; /**< enforceable bounds of the longest segment */
    int64_t overhead_ns; /**< C after less C before, both measured: what the cuts cost */
    uint32_t tries;      /**< AUTO: choices that were opened and measured */
} aegis_system_cuts;

/** What became of one model of the workload, in the workload's order. */
typedef struct aegis_system_model {
    const char *name;
    uint32_t model; /**< its number in scheduler and traces: index in the workload */
    bool admitted;
    bool expect_refuse;
    aegis_rationale rationale;
    char reason[768]; /**< on refusal: why, and what would fit */
    aegis_admission_answer answer;
    aegis_profile profile;
    bool profile_from_cache;
    uint64_t memory_bytes;         /**< planned, all classes, alone */
    uint64_t memory_missing_bytes; /**< on refusal for memory */
    uint64_t permanent_bytes, activation_bytes;
    uint64_t paged_bytes;    /**< of memory_bytes: shared with the lane's other paged models */
    uint64_t overhead_bytes; /**< what the runtime took from malloc for it */
    uint32_t segments;
    aegis_system_cuts cuts;
} aegis_system_model;

/**
 * Builds everything up to, not including, start: device, lanes, runtimes, trial loads, profiles,
 * admission, memory plan, placement. Refused models are no failure of this call. The workload is
 * borrowed until destroy.
 */
aegis_status aegis_system_create(const aegis_workload *workload,
                                 const aegis_system_options *options,
                                 const aegis_allocator *allocator,
                                 aegis_system **ret_system,
                                 aegis_error *err);
void aegis_system_destroy(aegis_system *system);

const aegis_system_model *aegis_system_models(const aegis_system *system, size_t *ret_count);
const aegis_device_capabilities *aegis_system_device(const aegis_system *system);
void aegis_system_memory(const aegis_system *system,
                         aegis_memory_totals *ret_totals,
                         uint64_t *ret_peak);
/** Where a placed model lives, and its lifetimes in the order of the binding's placements. Borrowed
 * until the model leaves. NOT_FOUND when it has no place. */
aegis_status aegis_system_binding(const aegis_system *system,
                                  uint32_t model,
                                  const aegis_memory_binding **ret_binding,
                                  const aegis_tensor_lifetime **ret_lifetimes,
                                  size_t *ret_count,
                                  aegis_error *err);
aegis_scheduler *aegis_system_scheduler(aegis_system *system);
aegis_trace_collector *aegis_system_collector(aegis_system *system);
/** Removes the kept profile of a model, so that the next start measures again. OK also when there
 * is none; NOT_FOUND for a foreign number; IO. */
aegis_status
aegis_system_forget_profile(const aegis_system *system, uint32_t model, aegis_error *err);
/** The backend model behind a model number, NULL when it is not admitted. */
aegis_model *aegis_system_backend_model(aegis_system *system, uint32_t model);
aegis_context *aegis_system_context(aegis_system *system, uint32_t model);

aegis_status aegis_system_start(aegis_system *system, aegis_error *err);
/** Stops, finishes the trace. */
aegis_status aegis_system_stop(aegis_system *system, aegis_error *err);

/** Sum of the models that were refused though not expected, or admitted though expected refused. */
size_t aegis_system_surprises(const aegis_system *system);

#ifdef __cplusplus
}
#endif
#endif
