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
    uint64_t index; /**< of the decision, from 0 */
    aegis_trace_record recorded, derived; /**< kind INVALID: that side has no decision here */
} aegis_replay_difference;

typedef struct aegis_replay_result {
    uint64_t decisions; /**< in the trace */
    uint64_t identical;
    aegis_replay_difference first_difference;
} aegis_replay_result;

/**
 * Feeds the recorded events to a new core and compares every decision, operand by operand. The
 * trace's own policy is found by the name in its header unless `policy` is given. PARSE when the
 * trace lacks what a replay needs (records dropped, no core record), and says which.
 */
aegis_status aegis_replay_verify(const aegis_trace_file *file,
                                 const aegis_policy *policy,
                                 const aegis_allocator *allocator,
                                 aegis_replay_result *ret_result,
                                 aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
