/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_OPS_H
#define AEGIS_BACKEND_ORT_OPS_H

#include <aegisrt/ext/backend_ops.h>

/* onnxruntime.c */
extern const aegis_backend_ops aegis_ort_host_ops;
/* cuda_ops.c: made from those of the host. */
aegis_backend_ops aegis_ort_cuda_ops(void);

#endif
