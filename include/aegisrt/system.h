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
    /** Of the driver, as in aegis_scheduler_config, where they are known from before; 0: measured
     * when the system is created, which takes a second or two. */
    uint64_t wake_bound_ns, overhead_bound_ns;
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
    char reason[768]; /**< on refusal: why, and what would fit; of one that is out: why it is */
    aegis_admission_answer answer;
    aegis_profile profile;
    bool profile_from_cache;
    /** Bound of the kept profile that was stale and is replaced by a new measurement; 0: none was.
     */
    uint64_t profile_stale_bound_ns;
    uint64_t memory_bytes; /**< planned, all classes, alone */
    /** When memory refused it last: why; otherwise zeroed. With `fits_after_moving`
     * aegis_system_compact would take it in. */
    aegis_memory_refusal memory_refusal;
    uint64_t permanent_bytes, activation_bytes;
    bool prepacked;             /**< it has packed copies of weights */
    bool unpacked_for_memory;   /**< prepack = "auto": it had none to spare */
    int64_t unpacking_price_ns; /**< then: C without them less C with them, both measured */
    uint64_t paged_bytes;       /**< of memory_bytes: shared with the lane's other paged models */
    uint64_t overhead_bytes;    /**< what the runtime took from malloc for it */
    char note[384];          /**< what is worth knowing about how it runs (aegis_model_note); "" */
    bool early_copies;       /**< it copies its inputs early */
    char copies_reason[160]; /**< copies = "auto": what it came to, and why; else "" */
    uint32_t segments;
    aegis_system_cuts cuts;
} aegis_system_model;

/**
 * Builds everything up to, not including, start: device, lanes, runtimes, trial loads, profiles,
 * admission, memory plan, placement. Refused models are no failure of this call. The workload is
 * borrowed until destroy.
 * @return OK; INVALID_ARGUMENT (no workload, no models, too many lanes); CONFIG, NOT_FOUND and
 * PARSE with file, line, column and key of what the workload says and of the model's file; IO (of
 * the trace); NO_MEMORY (of the host, or for the arena); and what a device or backend returned.
 */
aegis_status aegis_system_create(const aegis_workload *workload,
                                 const aegis_system_options *options,
                                 const aegis_allocator *allocator,
                                 aegis_system **ret_system,
                                 aegis_error *err);
/** NULL is fine. Frees nothing when a lane hangs (aegis_scheduler_destroy): end the process. */
void aegis_system_destroy(aegis_system *system);

const aegis_system_model *aegis_system_models(const aegis_system *system, size_t *ret_count);
const aegis_device_capabilities *aegis_system_device(const aegis_system *system);
void aegis_system_memory(const aegis_system *system,
                         aegis_memory_totals *ret_totals,
                         uint64_t *ret_peak);
/** Bytes in use on a CUDA device beside the arena, by all programs on it (contexts, kernels, what
 * libraries took); 0 on a host. */
uint64_t aegis_system_beside_arena(const aegis_system *system);
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
/** Puts the kept profile of a model aside as stale: the next start measures again and says so
 * (profile_stale_bound_ns). OK also when there
 * is none; NOT_FOUND for a foreign number; IO. */
aegis_status
aegis_system_forget_profile(const aegis_system *system, uint32_t model, aegis_error *err);
/** The backend model behind a model number, NULL when it is not admitted. */
aegis_model *aegis_system_backend_model(aegis_system *system, uint32_t model);
aegis_context *aegis_system_context(aegis_system *system, uint32_t model);

/**
 * Records the temperature of the hottest thermal zone as a counter of the trace. For whoever waits
 * for the run to end, about once a second: it reads files of sysfs, so not on the dispatch path.
 * @param root folder that holds `sys`; NULL means "/"
 * @return TELEMETRY_UNAVAILABLE when no zone can be read: nothing was recorded. Any thread.
 */
aegis_status
aegis_system_record_temperature(aegis_system *system, const char *root, aegis_error *err);

/** Writes the header of the trace and starts the jobs. STATE when it was started before; IO when
 * the trace's file failed; NO_MEMORY. */
aegis_status aegis_system_start(aegis_system *system, aegis_error *err);
/** Stops, finishes the trace. @return what aegis_scheduler_stop returns, or else what
 * aegis_trace_collector_finish does. */
aegis_status aegis_system_stop(aegis_system *system, aegis_error *err);

/*
 * Changes before the start or while it runs. One thread at a time calls them. Models that stay keep
 * their addresses, their lanes and their jobs.
 */

/** Takes a model out: its jobs end, its bytes are free for others. Its row says so. NOT_FOUND when
 * it is not in; DEVICE_LOST when a lane hangs: it stays. */
aegis_status aegis_system_remove(aegis_system *system, uint32_t model, aegis_error *err);

/**
 * Takes in a model of the workload that is out: refused before, removed, or out at the start. What
 * was measured of it stands. It is admitted beside the others, finds bytes in the holes between
 * them (the regions of the lanes are as they were at the start), is loaded on the calling thread,
 * and released from then on. NOT_ADMITTED with the reason in its row, which says when it would fit
 * after moving
 * (`fits_after_moving`); nothing has changed then. EXISTS; NOT_FOUND; STATE: it was never measured,
 * or it is paged and others of its lane are, which run in the region that loading would overwrite;
 * NO_MEMORY, of the host; and what its backend returned.
 */
aegis_status aegis_system_add(aegis_system *system, uint32_t model, aegis_error *err);

#define AEGIS_SYSTEM_NOBODY UINT32_MAX

/**
 * Closes the holes that removed models left, and fits the regions of the lanes to who is there: a
 * change of mode, at a moment that the caller chooses. All models leave, are laid out anew and
 * loaded again, and come back to their lanes when the last is loaded (packed copies that several
 * read are written until then); jobs that are under way end first, submissions are refused
 * meanwhile, states begin anew. Costs the loading of everything. `newcomer` is a model that
 * comes in with them as by aegis_system_add, or AEGIS_SYSTEM_NOBODY. NOT_ADMITTED: the newcomer
 * does not fit so either, or not in time; all others are back. EXISTS, NOT_FOUND, STATE: no such
 * newcomer, nothing has changed. NO_MEMORY, and what a backend returned: models whose row says so
 * could not be loaded again and are out, all others are back. DEVICE_LOST when a lane hangs: who
 * runs there stays.
 */
aegis_status aegis_system_compact(aegis_system *system, uint32_t newcomer, aegis_error *err);

/**
 * Frees bytes of the plan: removes the model that the policy names, one after the other, until
 * `needed_bytes` are free that were not. With SMALLEST_ENOUGH that is one model. REPORT removes
 * none. `ret_freed_bytes` (may be NULL) says what was freed, of REPORT what removing all would
 * free, also when it fails. NO_MEMORY, and nobody has left: no model alone frees as much
 * (SMALLEST_ENOUGH), or all together do not. DEVICE_LOST when a lane hangs.
 */
aegis_status aegis_system_handle_pressure(aegis_system *system,
                                          aegis_pressure_policy policy,
                                          uint64_t needed_bytes,
                                          uint64_t *ret_freed_bytes,
                                          aegis_error *err);

/**
 * Makes the change of an event now, whatever its time.
 * @return what aegis_system_add, what aegis_system_remove, what aegis_system_compact or what
 * aegis_system_handle_pressure returns; INVALID_ARGUMENT for a change that is none of these.
 */
aegis_status
aegis_system_apply(aegis_system *system, const aegis_workload_event *event, aegis_error *err);

/** Sum of the models that were refused though not expected, or admitted though expected refused.
 * Those that are out at the start are neither. Ask before the first change. */
size_t aegis_system_surprises(const aegis_system *system);

#ifdef __cplusplus
}
#endif
#endif
