/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CUDA_KERNEL_BACKEND_H
#define AEGIS_TEST_CUDA_KERNEL_BACKEND_H

/* A backend of bare kernels, for tests and benchmarks of what lies around a backend: a segment is
 * one kernel. A model's path says what it is: "4x200000" is four segments of 200 us each,
 * "1x1000:trap" traps, ":illegal" writes where no memory is, ":hang" runs until its limit of 20 s.
 * It has no weights and no tensors but one input and one output of 4 bytes. */

#include <aegisrt/backend.h>

#include "support/cuda/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The device is a CUDA device with pinned memory for the stamps of STAMPS kernels of each model. */
#define KERNEL_BACKEND_STAMPS 65536u

aegis_status kernel_backend_create(aegis_device *device,
                                   const aegis_allocator *allocator,
                                   aegis_backend **ret_backend,
                                   aegis_error *err);

/* When the kernels of the model ran, in the order of their launches since the last clear. */
const kernel_stamp *kernel_model_stamps(aegis_model *model, size_t *ret_count);
/* Only while no job of the model exists. */
void kernel_model_clear(aegis_model *model);

#ifdef __cplusplus
}
#endif
#endif
