/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_ERROR_H
#define AEGIS_DEVICE_CUDA_ERROR_H

#include <aegisrt/error.h>

#include <cuda_runtime_api.h>

/* The status of a CUDA error; its category follows from it (DEVICE_LOST is fatal). */
aegis_status aegis_cuda_status(cudaError_t code);

/* OK for cudaSuccess. Else fills `err` with the call's name, CUDA's name and text and a cure where
 * one is known, and clears the thread's last error, which other users of CUDA would stumble on. */
aegis_status
aegis_cuda_check(cudaError_t code, const char *call, aegis_place place, aegis_error *err);

#endif
