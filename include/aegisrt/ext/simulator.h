/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_SIMULATOR_H
#define AEGISRT_EXT_SIMULATOR_H

/** @file simulator.h The scheduler core in virtual time: hours of schedule in milliseconds. */

#include <aegisrt/clock.h>
#include <aegisrt/ext/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Where execution times and release delays come from. Called in deterministic order. */
typedef struct aegis_simulator_source {
    void *self;
    /** Execution time of a segment; NULL: its bound. */
    uint64_t (*execution_ns)(void *self, uint32_t model, uint64_t job_index, uint32_t segment);
    /** Nominal release of the k-th job of a model; NULL: offset + k * period. Must not decrease. */
    uint64_t (*release_ns)(void *self, uint32_t model, uint64_t job_index);
    /** How late the driver sees that release (jitter); NULL: 0. Releases of one model are seen in
     * their order. */
    uint64_t (*delay_ns)(void *self, uint32_t model, uint64_t job_index);
    /** NULL, or sees every record in order, with or without a ring. */
    void (*record)(void *self, const aegis_trace_record *record);
    /** May set deadline_ns and job_priority of a submission; NULL: as admitted. */
    void (*submission)(void *self, uint32_t model, uint64_t job_index, aegis_core_event *event);
    /** Status that a segment ends with when nobody ends it before; NULL: OK. */
    aegis_status (*status)(void *self, uint32_t model, uint64_t job_index, uint32_t segment);
} aegis_simulator_source;

typedef struct aegis_simulator_model {
    aegis_core_model core;
    uint64_t offset_ns;
    /** Of background models without a period: from the offset on two of its jobs exist, and when
     * one ends the next is released, as the driver does. Its queue has room for two; no source is
     * asked for its releases. */
    bool continuous;
} aegis_simulator_model;

typedef struct aegis_simulator_result {
    aegis_core_counters counters;
    uint64_t max_response_ns; /**< from nominal release; 0: no job finished */
    uint64_t max_release_ns;  /**< nominal release of the first job with that response */
    uint64_t executed_ns;     /**< time on the lane, of segments that ended */
} aegis_simulator_result;

/**
 * A clock that always reads 0, for the collector of a simulation's trace: a ring puts its clock's
 * time into records that have none, and instant 0 of a simulation must stay 0.
 */
aegis_clock aegis_simulator_clock(void);

/** The number of the k-th job of the i-th of `count` models in events and records. */
uint64_t aegis_simulator_job(size_t count, size_t i, uint64_t k);

/**
 * Runs models for `duration_ns` of virtual time, from 0. Jobs with a release before that are
 * submitted; then no more is dispatched and what runs ends. At one instant the core first sees all
 * releases, then segments that ended, in lane order, then timers: an instant's releases compete
 * from that instant on, as the proofs assume. Execution starts at the dispatch; an execution time
 * of 0 counts as 1. When one passes the bound, the model's overrun rule applies; a terminated
 * segment ends `stretch_ns` later, or by itself before. `source` and `ring` may be NULL; with a
 * ring all events and decisions are written to it as the real driver does, and it drops what it
 * cannot hold. `ret_results` has one entry per model. Deterministic; allocates before it starts.
 *
 * @return INVALID_ARGUMENT as aegis_core_create and MODEL_ADD, for releases that decrease, and for
 * a model with neither period, source of releases nor `continuous`, or with segments that wait for
 * bytes, or jobs that wait for copies; NO_MEMORY.
 */
aegis_status aegis_simulate(const aegis_core_config *config,
                            const aegis_policy *policy,
                            const aegis_simulator_model *models,
                            size_t count,
                            uint64_t duration_ns,
                            uint64_t stretch_ns,
                            const aegis_simulator_source *source,
                            aegis_trace_ring *ring,
                            const aegis_allocator *allocator,
                            aegis_simulator_result *ret_results,
                            aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
