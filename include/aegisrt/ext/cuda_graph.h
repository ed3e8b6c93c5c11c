/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_EXT_CUDA_GRAPH_H
#define AEGISRT_EXT_CUDA_GRAPH_H

/** @file cuda_graph.h Work of a stream of a CUDA device that is captured once and launched often,
 * and device memory beside the arena for set-up. For backends; needs no CUDA header. Without CUDA
 * in the build every call says DEVICE_NOT_AVAILABLE. */

#include <aegisrt/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aegis_cuda_graph aegis_cuda_graph;

/** What a graph holds. */
typedef struct aegis_cuda_graph_info {
    uint32_t nodes, kernels, copies, memsets;
    uint32_t host_calls;  /**< functions on the CPU between its kernels */
    uint32_t allocations; /**< memory that it takes from CUDA's own pool whenever it runs */
} aegis_cuda_graph_info;

/**
 * From here on, what the calling thread puts into the stream is not run but kept, until
 * capture_end. Only from a function on the stream's own thread. Calls that would wait for the
 * stream or allocate device memory fail meanwhile on this thread, and void the capture.
 * @return STATE on another thread; UNSUPPORTED when the device is none of CUDA;
 * DEVICE_NOT_AVAILABLE; and what the device returned.
 */
aegis_status aegis_cuda_capture_begin(aegis_stream *stream, aegis_error *err);

/**
 * Ends the capture, also of one that failed: the stream runs its work again. The graph is made
 * ready to be launched, with its memory on the device. Addresses are those of the capture; what
 * lies behind them is read when the graph runs.
 * @return owned by the caller; UNSUPPORTED, with CUDA's reason, when something could not be
 * captured or calls functions on the CPU, or when the device is none of CUDA; STATE on another
 * thread; NO_MEMORY; DEVICE_NOT_AVAILABLE; and what the device returned. `ret_info` may be NULL; it
 * is filled in whenever there was something to count.
 */
aegis_status aegis_cuda_capture_end(aegis_stream *stream,
                                    const aegis_allocator *allocator,
                                    aegis_cuda_graph **ret_graph,
                                    aegis_cuda_graph_info *ret_info,
                                    aegis_error *err);

/** Puts the graph into the stream of its capture. Only from that stream's own thread; allocates
 * nothing. STATE on another thread; DEVICE_NOT_AVAILABLE; and what the device returned. */
aegis_status aegis_cuda_graph_launch(const aegis_cuda_graph *graph, aegis_error *err);
/** When it does not run. Any thread; NULL is fine. */
void aegis_cuda_graph_destroy(aegis_cuda_graph *graph);

/** Device memory beside the arena: for set-up, before start. Any thread. NO_MEMORY; UNSUPPORTED
 * when the device is none of CUDA; DEVICE_NOT_AVAILABLE; and what the device returned. */
aegis_status aegis_cuda_memory_alloc(aegis_device *device,
                                     uint64_t size_bytes,
                                     void **ret_memory,
                                     aegis_error *err);
/** NULL is fine. Waits for the device. */
void aegis_cuda_memory_free(aegis_device *device, void *memory);
/** Bytes of the device that are in use, by all programs on it: arena, contexts, kernels, what
 * libraries took for themselves. UNSUPPORTED when the device is none of CUDA; DEVICE_NOT_AVAILABLE;
 * and what the device returned. */
aegis_status
aegis_cuda_memory_in_use(const aegis_device *device, uint64_t *ret_bytes, aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
