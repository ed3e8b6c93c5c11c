/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_RUNTIMES_H
#define AEGIS_BACKEND_RUNTIMES_H

/* Factories of the runtimes, called by the registry alone. */

#include <aegisrt/backend.h>

aegis_status aegis_null_backend_create(const aegis_backend_config *config,
                                       aegis_device *device,
                                       const aegis_allocator *allocator,
                                       aegis_backend **ret_backend,
                                       aegis_error *err);

aegis_status aegis_transformer_backend_create(const aegis_backend_config *config,
                                              aegis_device *device,
                                              const aegis_allocator *allocator,
                                              aegis_backend **ret_backend,
                                              aegis_error *err);

/* The same on a CUDA device. Only in builds with AEGISRT_BUILD_CUDA. */
aegis_status aegis_transformer_cuda_backend_create(const aegis_backend_config *config,
                                                   aegis_device *device,
                                                   const aegis_allocator *allocator,
                                                   aegis_backend **ret_backend,
                                                   aegis_error *err);

/* Only in builds with AEGISRT_BUILD_ONNXRUNTIME. */
aegis_status aegis_onnxruntime_backend_create(const aegis_backend_config *config,
                                              aegis_device *device,
                                              const aegis_allocator *allocator,
                                              aegis_backend **ret_backend,
                                              aegis_error *err);

#endif
