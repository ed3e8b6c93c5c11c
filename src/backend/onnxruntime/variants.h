/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BACKEND_ORT_VARIANTS_H
#define AEGIS_BACKEND_ORT_VARIANTS_H

/*
 * Other forms of an optimised graph that compute the same bits in less memory: operators folded
 * into the convolution before them, branches in another order. What a form is worth is measured:
 * each is loaded and run over two sets of inputs. One whose results differ in a bit, or which needs
 * more bytes at once, is dropped.
 */

#include "backend/onnxruntime/compile.h"

/* Rewrites `folder`/optimised.onnx (its initialisers lie in optimised.data beside it) when a better
 * form is found. `inputs` have fixed shapes; with `fixed` the model declares them so, and the order
 * of branches may be chosen by them. `config` says what fills the inputs. A graph that cannot be
 * run over them stays as it is. NO_MEMORY, IO. */
aegis_status aegis_ort_variants_choose(const aegis_ort *ort,
                                       const char *folder,
                                       const aegis_model_config *config,
                                       const aegis_tensor_info *inputs,
                                       size_t input_count,
                                       bool fixed,
                                       const aegis_allocator *allocator,
                                       aegis_error *err);

#endif
