/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_INJECT_H
#define AEGIS_BACKEND_ORT_INJECT_H

/* For tests: what a misbehaving model would do, and what the router has seen. */

#include <aegisrt/backend.h>

/* In placed runs the allocation with this index (-1: none) counts as asking for `more` bytes. */
void aegis_onnxruntime_inject(aegis_model *model, int64_t allocation, uint64_t more);
/* The same in a segment of a cut model; without it, in the first. */
void aegis_onnxruntime_inject_segment(aegis_model *model,
                                      uint32_t segment,
                                      int64_t allocation,
                                      uint64_t more);
/* Requests of one run, and loading requests that stayed; of all segments, or of one. */
void aegis_onnxruntime_counts(aegis_model *model,
                              uint64_t *ret_requests,
                              uint64_t *ret_events,
                              uint64_t *ret_kept);
void aegis_onnxruntime_counts_segment(aegis_model *model,
                                      uint32_t segment,
                                      uint64_t *ret_requests,
                                      uint64_t *ret_events,
                                      uint64_t *ret_kept);
/* Requests of threads that had no context, in this process. */
uint64_t aegis_onnxruntime_strays(void);
/* True when the graph is optimised whenever it is loaded. */
bool aegis_onnxruntime_optimises_at_load(aegis_model *model);

#endif
