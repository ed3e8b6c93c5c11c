/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_CUDA_H
#define AEGISRT_EXT_CUDA_H

/** @file cuda.h The one typed way from a stream to its CUDA stream, for backends that enqueue
 * kernels. Needs no CUDA header: cudaStream_t is a `struct CUstream_st *`. */

#include <aegisrt/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct CUstream_st;

/**
 * The cudaStream_t of a stream of a CUDA device. Borrowed: valid until the stream is destroyed, not
 * to be destroyed by the caller. Enqueue into it only from a function that runs on the stream's own
 * thread (aegis_stream_call), which has made the right device current. Between
 * aegis_stream_ahead_begin and _end it is another one, for that long: ask again there.
 * @return UNSUPPORTED when the stream's device is not a CUDA device; INVALID_ARGUMENT (no stream or
 * output). Any thread.
 */
aegis_status
aegis_cuda_stream_handle(aegis_stream *stream, struct CUstream_st **ret_handle, aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
