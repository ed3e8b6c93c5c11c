/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_SIMULATOR_H
#define AEGISRT_EXT_SIMULATOR_H

/** @file simulator.h The scheduler core in virtual time: hours of schedule in milliseconds. */

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
    /** How late the driver sees that release (jitter); NULL: 0. */
    uint64_t (*delay_ns)(void *self, uint32_t model, uint64_t job_index);
} aegis_simulator_source;

typedef struct aegis_simulator_model {
    aegis_core_model core;
    uint64_t offset_ns;
} aegis_simulator_model;

typedef struct aegis_simulator_result {
    aegis_core_counters counters;
    uint64_t max_response_ns; /**< from nominal release; 0: no job ended */
} aegis_simulator_result;

/**
 * Runs models for `duration_ns` of virtual time. When an execution time passes the bound, the
 * model's overrun rule applies; a terminated segment ends `stretch_ns` later. `ring` may be
 * NULL, else all events and decisions are written to it as the real driver does. `ret_results` has
 * one entry per model.
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
