/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_PLANNER_OPS_H
#define AEGISRT_EXT_PLANNER_OPS_H

/** @file planner_ops.h For people who write a solver of dynamic storage allocation. */

#include <aegisrt/memory_plan.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_PLANNER_OPS_VERSION 1u

struct aegis_planner_ops {
    uint32_t version;
    const char *name;
    /** Required. The instance is validated and not empty; limits have no zero meaning "default"
     * left but nodes and timeout. Deterministic for equal inputs when timeout_ns is 0. The result
     * is verified by the caller of the op. */
    aegis_status (*solve)(void *self,
                          const aegis_plan_buffer *buffers,
                          size_t count,
                          const aegis_plan_limits *limits,
                          const aegis_allocator *allocator,
                          uint64_t *ret_offsets,
                          aegis_plan_result *ret_result,
                          aegis_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
