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
 * event's decisions may be cut short. `policy` is required. */
aegis_status aegis_replay_verify_records(const aegis_trace_record *records,
                                         size_t count,
                                         bool complete,
                                         const aegis_policy *policy,
                                         const aegis_allocator *allocator,
                                         aegis_replay_result *ret_result,
                                         aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
