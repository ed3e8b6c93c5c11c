/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_REPLAY_H
#define AEGISRT_REPLAY_H

/** @file replay.h The same core over a recorded trace. */

#include <aegisrt/policy.h>
#include <aegisrt/trace.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_replay_difference {
    bool found;
    uint64_t index;                       /**< of the decision, from 0 */
    aegis_trace_record recorded, derived; /**< kind INVALID: that side has no decision here */
} aegis_replay_difference;

typedef struct aegis_replay_result {
    uint64_t decisions; /**< in the trace */
    uint64_t identical; /**< decisions that were derived too, at the same event and place */
    aegis_replay_difference first_difference;
} aegis_replay_result;

/**
 * Feeds the recorded events to a new core and compares every decision, operand by operand: time,
 * kind, rationale, model, lane, job and a..d. The trace's own policy is found by the name in its
 * header (the member "policy", or that of "schedule") unless `policy` is given. The records are
 * those of the ring that holds the EVENT_CORE record.
 *
 * A wrong decision does not end the replay. An event that the core of the replay cannot take does
 * (a segment that ended, but under the other policy never ran): what follows counts as not
 * identical. A trace whose writer died is compared up to its last whole event.
 *
 * @return OK whatever is found; PARSE when the trace lacks what a replay needs (no core record,
 * records dropped or unordered, an event that no core could have taken although all was identical
 * so far), saying which; NOT_FOUND when the header names no policy that exists; NO_MEMORY.
 */
aegis_status aegis_replay_verify(const aegis_trace_file *file,
                                 const aegis_policy *policy,
                                 const aegis_allocator *allocator,
                                 aegis_replay_result *ret_result,
                                 aegis_error *err);

/** The same over the records of one orchestration ring in the order in which they were written;
 * those that are neither events nor decisions are passed over. `complete` is false when the last
 * event's decisions may be cut short. `policy` is required. PARSE, NO_MEMORY. */
aegis_status aegis_replay_verify_records(const aegis_trace_record *records,
                                         size_t count,
                                         bool complete,
                                         const aegis_policy *policy,
                                         const aegis_allocator *allocator,
                                         aegis_replay_result *ret_result,
                                         aegis_error *err);

/** The records that a replay follows: those of the ring with the EVENT_CORE record, borrowed. PARSE
 * when there is none or the ring dropped records. */
aegis_status aegis_replay_records(const aegis_trace_file *file,
                                  const aegis_trace_record **ret_records,
                                  size_t *ret_count,
                                  aegis_error *err);
/** The policy that the trace's header names. NOT_FOUND when it names none that exists. */
aegis_status
aegis_replay_policy(const aegis_trace_file *file, aegis_policy *ret_policy, aegis_error *err);

/* ---- what if: the recorded releases and executions under another policy ---- */

/** How the jobs of one model ended. */
typedef struct aegis_replay_ends {
    uint64_t jobs, completed, missed, aborted, dropped, skipped;
    /** Of jobs that finished; 0: none did. p99 is the ceil(0.99 n)-th smallest. */
    uint64_t max_response_ns, p99_response_ns;
} aegis_replay_ends;

typedef struct aegis_replay_model {
    uint32_t model; /**< its number */
    bool background;
    aegis_replay_ends recorded, simulated;
} aegis_replay_model;

/**
 * Simulates the recorded releases, each seen by the core when it was, and the recorded execution
 * times, job by job and segment by segment, under `policy`: what follows a decision moves with it.
 * An execution counts from its dispatch to its end, so that what a launch cost is in it; the time
 * that the driver took to see an end is not. A job that never ran in the recording takes the mean
 * of its model, or its bound when none ran. Continuous background models release by themselves, as
 * the driver does. Lanes stay as recorded. Models that joined late are there from the start,
 * removals, cleared faults and waits for bytes from a disk are left out.
 *
 * @return OK with an array of `ret_count` models in the order of their numbers, to be freed with
 * aegis_replay_models_free; PARSE for a trace that aegis_replay_verify would refuse, or with models
 * or limits that no core takes; NO_MEMORY.
 */
aegis_status aegis_replay_what_if(const aegis_trace_file *file,
                                  const aegis_policy *policy,
                                  const aegis_allocator *allocator,
                                  aegis_replay_model **ret_models,
                                  size_t *ret_count,
                                  aegis_error *err);
/** NULL is fine. */
void aegis_replay_models_free(aegis_replay_model *models,
                              size_t count,
                              const aegis_allocator *allocator);

#ifdef __cplusplus
}
#endif
#endif
