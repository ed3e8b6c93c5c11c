/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__aarch64__)
#include "backend/transformer/tensor/kernel_sets.h"
#include "backend/transformer/tensor/lanes_neon.h"

/* The body needs the lanes above it. */
#include "backend/transformer/tensor/kernels.inc"
#else
typedef int aegis_no_such_set;
#endif
