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
    bool in_memory;                    /* the orchestrator has it */
    bool prepack;                      /* as it is opened */
    bool early_copies;                 /* likewise */
    uint32_t cuts[AEGIS_MAX_SEGMENTS]; /* where it is opened cut */
    size_t cut_count;
    bool cuts_failed;    /* the last attempt to open it cut */
    aegis_profile whole; /* uncut */
    aegis_cut_candidate *candidates;
    size_t candidate_count;
    uint64_t elapsed_ns; /* of a whole run, by the clock of the candidates */
    /* Learned from measured segments: what each of them takes beyond its operators' share, and the
     * factor (0: 1) on that share. */
    uint64_t excess_ns;
    uint32_t scale_ppm;
    uint32_t measured; /* trials with cuts that were not in the cache */
} aegis_system_entry;

/* A model as it was opened, recorded and measured with some cuts. */
typedef struct aegis_system_trial {
    uint32_t cuts[AEGIS_MAX_SEGMENTS];
    size_t cut_count;
    aegis_profile profile;
    bool from_cache;
    uint64_t stale_bound_ns; /* of the profile that this one replaces as stale; 0: of none */
    aegis_tensor_lifetime *lifetimes; /* owned */
    size_t lifetime_count;
    uint64_t expected_ns; /* longest segment, as chosen */
    uint64_t tolerance_ns;
    uint32_t limited_by;
} aegis_system_trial;

/* Cuts that were tried for the sake of one admission: nothing of it counts until it is adopted. */
typedef struct aegis_system_cutting {
    aegis_system_trial **trials; /* by model, NULL: as it stands */
    uint32_t *tries;             /* by model; UINT32_MAX: no further cut helps */
    aegis_admission_change *changes;
    aegis_cut_advice *advice;
    char note[256]; /* what was tried, for a refusal */
} aegis_system_cutting;

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
    aegis_stream *copy_stream; /* NULL: no model copies early */
    aegis_backend *backends[AEGIS_SYSTEM_BACKENDS];
    size_t backend_count;
    aegis_scheduler *scheduler;
    aegis_profiler *profiler;
    aegis_memory_orchestrator *memory;
    aegis_buffer arena;
    aegis_buffer scratch, pinned_scratch;           /* of a GPU, for the profiler */
    const void *paged_resident[AEGIS_SYSTEM_LANES]; /* whose weights lie in the paged region */
    aegis_system_model *models;                     /* as reported */
    aegis_system_entry *entries;
    const char *progress_model;
    uint64_t process_missing; /* bytes, when the last open failed for want of them */
    uint64_t process_need;    /* that it wanted then */
    bool placing;             /* the open that is going on is a model's second */
    bool started, stopped;
};

/* process.c: what the process may hold, all of it. Both: BUDGET_EXCEEDED, and process_missing is
 * set. Whether it holds no more than the workload says; `when` completes the sentence. */
aegis_status aegis_system_check_held(aegis_system *system, const char *when, aegis_error *err);
/* An aegis_model_reserve of the system. */
aegis_status aegis_system_reserve(void *self, uint64_t bytes, aegis_error *err);

/* models.c: steps 1 to 6 for every model of the workload. */
aegis_status aegis_system_admit_models(aegis_system *system, aegis_error *err);
/* Opens a model, cut as its entry says, and records its allocations. */
aegis_status aegis_system_open_model(aegis_system *system, size_t index, aegis_error *err);
/* The lane that was proved for the model; before that, the one on which it is measured. */
size_t aegis_system_lane_of(const aegis_system *system, size_t index);
aegis_admission_request aegis_system_request(const aegis_system *system, size_t index);
/* Step 6. */
aegis_status aegis_system_create_context(aegis_system *system, size_t index, aegis_error *err);

/* trial.c: a model opened, recorded, measured and closed again. */
aegis_status aegis_system_trial_run(aegis_system *system,
                                    size_t index,
                                    const uint32_t *cuts,
                                    size_t cut_count,
                                    aegis_system_trial **ret_trial,
                                    aegis_error *err);
/* Enforceable bound of the longest segment. */
uint64_t
aegis_system_longest_ns(const aegis_system *system, size_t index, const aegis_profile *profile);
void aegis_system_trial_free(const aegis_system *system, aegis_system_trial *trial);
/* The model is as in the trial from now on; takes the trial. */
void aegis_system_trial_adopt(aegis_system *system, size_t index, aegis_system_trial *trial);
/* Where the model can be cut, into its entry. UNSUPPORTED when it cannot. */
aegis_status aegis_system_find_candidates(aegis_system *system, size_t index, aegis_error *err);

/* copies.c: of a model that was just measured inline, whether it copies early; as it was measured
 * so then. Nothing for models that say which. */
aegis_status aegis_system_choose_copies(aegis_system *system, size_t index, aegis_error *err);

/* cuts.c */
const aegis_workload_cuts *aegis_system_wanted_cuts(const aegis_system *system, size_t index);
/* Cuts a model that is to be cut whatever the others need (EVEN, AT). */
aegis_status aegis_system_cut_as_told(aegis_system *system, size_t index, aegis_error *err);
/* Looks for cuts with which the request is admitted. When there are some, the request brings them
 * with it; when not, it is as it was and the cutting's note says what was tried. */
aegis_status aegis_system_cutting_find(aegis_system *system,
                                       size_t index,
                                       aegis_admission_request *request,
                                       aegis_system_cutting *ret_cutting,
                                       aegis_error *err);
/* After the admission: its cuts hold, and are remembered. */
aegis_status
aegis_system_cutting_adopt(aegis_system *system, aegis_system_cutting *cutting, aegis_error *err);
void aegis_system_cutting_finish(const aegis_system *system, aegis_system_cutting *cutting);

/* remember.c: the cuts found last time for the same model measured alike; false when there are
 * none, or they shall not be used. */
bool aegis_system_recall_cuts(const aegis_system *system,
                              size_t index,
                              uint32_t *ret_positions,
                              size_t *ret_count);
aegis_status aegis_system_remember_cuts(const aegis_system *system,
                                        size_t index,
                                        const uint32_t *positions,
                                        size_t count,
                                        aegis_error *err);

/* memory.c: steps 7 and 8: one plan over all, then every model into the arena. */
aegis_status aegis_system_place_models(aegis_system *system, aegis_error *err);
/* Step 7: bytes beside those that are planned. False in `ret_fits` when it is refused, with the
 * reason in its row. */
aegis_status aegis_system_plan_memory(
    aegis_system *system, size_t index, uint16_t lane, bool *ret_fits, aegis_error *err);
aegis_status aegis_system_place_model(aegis_system *system, size_t index, aegis_error *err);
/* Why memory refused a model, in numbers: those of its memory_refusal. */
void aegis_system_trace_refusal(aegis_system *system, size_t index);
void aegis_system_trace_plan(aegis_system *system);

/* header.c: the trace header, JSON text to be freed with free(); NULL when memory is short. */
char *aegis_system_trace_header(const aegis_system *system);

/* trial.c: measured anew without packed copies, when they are what it may give up. False in
 * `ret_done` when it has none, or was told to keep them. */
aegis_status
aegis_system_unpack(aegis_system *system, size_t index, bool *ret_done, aegis_error *err);

/* Marks a model as refused. */
void aegis_system_refuse(aegis_system *system,
                         size_t index,
                         aegis_rationale rationale,
                         const char *format,
                         ...) AEGIS_PRINTF(4, 5);
/* Where a profile with this key is kept. */
void aegis_system_profile_path(const aegis_system *system,
                               const char *key,
                               char *path,
                               size_t size);
/* Where a profile is put aside that was found to be stale. */
void aegis_system_stale_path(const aegis_system *system, const char *key, char *path, size_t size);
/* The same for a model past its own memory limit: says which key of the workload that is. */
void aegis_system_refuse_budget(aegis_system *system, size_t index, const char *reason);
void aegis_system_report(
    aegis_system *system, const char *phase, const char *model, uint32_t done, uint32_t total);
/* Step `step` (1..9) of a model took `since_ns` until now and ended with `status`. */
void aegis_system_trace_step(
    aegis_system *system, size_t index, int step, uint64_t since_ns, aegis_status status);

#endif
