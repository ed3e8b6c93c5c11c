/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_KERNEL_SETS_H
#define AEGIS_TRANSFORMER_KERNEL_SETS_H

#include "backend/transformer/tensor/tensor.h"

extern const aegis_kernels aegis_kernels_scalar;
#if defined(__x86_64__)
extern const aegis_kernels aegis_kernels_avx2;
extern const aegis_kernels aegis_kernels_avx512;
#elif defined(__aarch64__)
extern const aegis_kernels aegis_kernels_neon;
#endif

#endif
