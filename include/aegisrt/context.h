/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CONTEXT_H
#define AEGISRT_CONTEXT_H

/**
 * @file context.h One model's budget, its usage and its fault state.
 *
 * Each model has exactly one context. Budgets are hard: a charge that would pass a limit is
 * refused and changes nothing. Counters are atomic and read without locks.
 */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aegis_model;

typedef struct aegis_resource_budget {
    uint64_t memory_limit_bytes; /**< device memory, all classes; 0: none of its own */
    uint32_t stream_limit;       /**< segments of this model that may execute at once; 0: 1 */
    uint64_t compute_budget_ns;  /**< execution time per period; 0: none */
    uint64_t period_ns;          /**< of the compute budget; required when that is set */
} aegis_resource_budget;

typedef struct aegis_context aegis_context;

/** Name and budget are copied; `model` (backend.h) is borrowed, may be NULL, and outlives the
 * context. INVALID_ARGUMENT (also for a compute budget longer than its period), NO_MEMORY. */
aegis_status aegis_context_create(uint32_t id,
                                  const char *name,
                                  const aegis_resource_budget *budget,
                                  struct aegis_model *model,
                                  const aegis_allocator *allocator,
                                  aegis_context **ret_context,
                                  aegis_error *err);
void aegis_context_destroy(aegis_context *context);

uint32_t aegis_context_id(const aegis_context *context);
const char *aegis_context_name(const aegis_context *context);
const aegis_resource_budget *aegis_context_budget(const aegis_context *context);
struct aegis_model *aegis_context_model(const aegis_context *context);

/** Ties the model to its context when it is placed after admission. Borrowed, outlives the context.
 * Set-up only: before the model's first job. */
void aegis_context_set_model(aegis_context *context, struct aegis_model *model);

/** Charges device memory. BUDGET_EXCEEDED: nothing was charged. Any thread, lock-free. */
aegis_status
aegis_context_charge_memory(aegis_context *context, uint64_t size_bytes, aegis_error *err);
/** Gives back what was charged; more than that leaves 0. Any thread, lock-free. */
void aegis_context_release_memory(aegis_context *context, uint64_t size_bytes);
/** Bytes charged now, the most at any time, and whether a charge would be within the limit at this
 * moment. Any thread, lock-free. */
uint64_t aegis_context_memory_used(const aegis_context *context);
uint64_t aegis_context_memory_peak(const aegis_context *context);
bool aegis_context_can_allocate(const aegis_context *context, uint64_t size_bytes);

/** Takes one of the model's streams. STREAMS_EXHAUSTED (transient). Any thread, lock-free. */
aegis_status aegis_context_acquire_stream(aegis_context *context, aegis_error *err);
/** Gives back a stream; without one in use nothing happens. Any thread, lock-free. */
void aegis_context_release_stream(aegis_context *context);
uint32_t aegis_context_streams_in_use(const aegis_context *context);

/** Adds `used_ns` to the execution time of the budget period that holds `now_ns` (periods are
 * [k * period_ns, (k + 1) * period_ns)). Returns false when the budget of that period is passed;
 * always true without a budget. One thread at a time: the scheduler charges each segment when it
 * has ended, to the period in which it ended. What ends runs is the scheduler's own count, by jobs.
 */
bool aegis_context_charge_compute(aegis_context *context, uint64_t now_ns, uint64_t used_ns);
/** What is left of this period's compute budget; UINT64_MAX without a budget. Any thread. */
uint64_t aegis_context_compute_left_ns(const aegis_context *context, uint64_t now_ns);

/** Fault state: the first error since the last clear is kept. Any thread. */
void aegis_context_set_error(aegis_context *context, const aegis_error *error);
bool aegis_context_has_error(const aegis_context *context);
/** Copies the error and returns true when there is one. */
bool aegis_context_last_error(const aegis_context *context, aegis_error *ret_error);
void aegis_context_clear_error(aegis_context *context);

#ifdef __cplusplus
}
#endif
#endif
