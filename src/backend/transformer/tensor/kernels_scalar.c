/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/transformer/tensor/kernel_sets.h"
#include "backend/transformer/tensor/lanes_scalar.h"

/* The body needs the lanes above it. */
#include "backend/transformer/tensor/kernels.inc"
