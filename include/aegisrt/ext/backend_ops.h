/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_BACKEND_OPS_H
#define AEGISRT_EXT_BACKEND_OPS_H

/** @file backend_ops.h For people who write a backend. Semantics and statuses are those of the
 * public calls of the same name in backend.h, which validate their arguments first. */

#include <aegisrt/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_BACKEND_OPS_VERSION 1u

/** `self` is the backend, `model` the backend's own model object. All entries are required unless
 * said otherwise. */
typedef struct aegis_backend_ops {
    uint32_t version;
    const char *name;
    void (*destroy)(void *self);
    const char *(*runtime_version)(void *self);

    aegis_status (*open)(void *self,
                         const aegis_model_config *config,
                         void **ret_model,
                         aegis_error *err);
    void (*close)(void *model);
    const char *(*hash)(void *model);
    const char *(*label)(void *model);
    bool (*is_valid)(void *model);
    const aegis_tensor_info *(*inputs)(void *model, size_t *ret_count);
    const aegis_tensor_info *(*outputs)(void *model, size_t *ret_count);
    uint32_t (*segment_count)(void *model);
    aegis_status (*record)(void *model, aegis_stream *stream, aegis_error *err);
    aegis_status (*lifetimes)(void *model,
                              const aegis_tensor_lifetime **ret_lifetimes,
                              size_t *ret_count,
                              aegis_error *err);
    uint64_t (*overhead_bytes)(void *model);
    uint64_t (*loading_peak_bytes)(void *model);
    aegis_status (*place)(void *model, const aegis_model_placement *placement, aegis_error *err);
    bool (*is_placed)(void *model);
    aegis_status (*reset)(void *model, aegis_error *err);
    aegis_status (*input)(void *model,
                          uint32_t slot,
                          const char *name,
                          void **ret_data,
                          uint64_t *ret_size,
                          aegis_error *err);
    aegis_status (*output)(void *model,
                           uint32_t slot,
                           const char *name,
                           void **ret_data,
                           uint64_t *ret_size,
                           aegis_error *err);
    aegis_status (*execute)(
        void *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
    /** Optional (NULL): a segment cannot be ended part-way. */
    void (*terminate)(void *model);
    void (*commit)(void *model);
    void (*last_spill)(void *model, aegis_model_spill *ret_spill);
    /** Optional (NULL): models of this backend cannot be cut. */
    aegis_status (*cut_candidates)(void *model,
                                   aegis_stream *stream,
                                   const aegis_cut_candidate **ret_candidates,
                                   size_t *ret_count,
                                   aegis_error *err);
    /** Optional (NULL): models of this backend cannot be paged. */
    uint64_t (*last_paged_bytes)(void *model);
    /** Optional (NULL, all three): no segment ever waits. */
    uint64_t (*awaited_segments)(void *model);
    bool (*is_ready)(void *model, uint32_t segment);
    void (*watch)(void *model, aegis_model_wake wake, void *self);
    /** Optional (NULL): "". */
    const char *(*note)(void *model);
    /** Optional (NULL): not told. Host memory only. */
    void (*visit_touched)(void *model, aegis_model_visit visit, void *self);
    /** Optional (NULL, both): nothing of these models is put ahead. */
    aegis_status (*enqueue_ahead)(
        void *model, uint32_t segment, uint32_t slot, aegis_stream *stream, aegis_error *err);
    aegis_status (*take_ahead)(void *model, uint32_t segment, uint32_t slot, aegis_error *err);
    /** Optional (NULL): true of all. */
    bool (*ahead_has_halves)(void *model);
    /** Optional (NULL): models of this backend cannot be opened with early_copies. */
    aegis_status (*enqueue_inputs)(void *model,
                                   uint32_t slot,
                                   aegis_stream *stream,
                                   aegis_error *err);
} aegis_backend_ops;

/** Wraps an implementation. Takes `self`, which is destroyed when this fails, unless the table has
 * another version. INVALID_ARGUMENT when version or entries are missing; NO_MEMORY. */
aegis_status aegis_backend_wrap(const aegis_backend_ops *ops,
                                void *self,
                                const aegis_allocator *allocator,
                                aegis_backend **ret_backend,
                                aegis_error *err);
/** The implementation's own object behind a public one. */
void *aegis_model_self(aegis_model *model);

#ifdef __cplusplus
}
#endif
#endif
