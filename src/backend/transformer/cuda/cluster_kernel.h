/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CUDA_CLUSTER_KERNEL_H
#define AEGIS_TRANSFORMER_CUDA_CLUSTER_KERNEL_H

/* The form in clusters of the step's kernel: for step.cu, which chooses among forms. */

#include "backend/transformer/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As aegis_decode_prepare; fills in `clusters` and what follows from them. */
aegis_status aegis_clusters_prepare(aegis_decode_step *step,
                                    uint32_t type,
                                    uint32_t *ret_blocks,
                                    aegis_error *err);
/* As aegis_decode_launch. */
aegis_status aegis_clusters_launch(const aegis_decode_step *step,
                                   uint32_t type,
                                   struct CUstream_st *stream,
                                   aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
