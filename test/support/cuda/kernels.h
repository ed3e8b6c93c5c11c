/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CUDA_KERNELS_H
#define AEGIS_TEST_CUDA_KERNELS_H

/* Kernels of tests and benchmarks: work of a known length, and work that goes wrong. Results are
 * CUDA's codes, 0 for success. Everything is enqueued into the stream given. */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct CUstream_st;

/* When a kernel began and ended, by the GPU's clock in ns. Lies in pinned memory. */
typedef struct kernel_stamp {
    uint64_t start_ns, end_ns;
} kernel_stamp;

/* Loads the module, so that no launch pays for it. The device is current. */
int kernel_load(void);
/* One thread that runs for `ns` by the GPU's clock. `stamp` may be NULL. */
int kernel_spin(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamp);
/* Blocks of 1,024 threads that each run for `ns`; sets in `bits` (pinned, 4 words) a bit for each
 * multiprocessor, of up to 256, that one of them ran on. */
int kernel_spread(struct CUstream_st *stream, uint64_t ns, int blocks, uint64_t *bits);
/* Adds 1 to each of `count` 32-bit values. */
int kernel_increment(struct CUstream_st *stream, uint32_t *values, size_t count);

/* Ends the context with a launch failure. */
int kernel_trap(struct CUstream_st *stream);
/* Writes where no memory is. */
int kernel_illegal_address(struct CUstream_st *stream);
/* Runs until `*flag` (pinned memory) is not 0, but no longer than `limit_ns`. */
int kernel_hang(struct CUstream_st *stream, const volatile int *flag, uint64_t limit_ns);

/* ---- peers of benchmarks: plain CUDA, no AegisRT ---- */

/* Launches `count` spin kernels back to back and waits for the last. */
int bare_loop(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamps, size_t count);
/* The same, waiting for each before the next by polling an event. */
int bare_waiting_loop(struct CUstream_st *stream, uint64_t ns, kernel_stamp *stamps, size_t count);
/* What a launch before the end could reach: each kernel stands in the stream behind a gate while
 * the one before it runs; the host sees the end in pinned memory and opens the gate with one store.
 * `words` are two zeroed 64-byte lines of pinned memory. -1: the driver has no such gates. */
int bare_gated_loop(struct CUstream_st *stream,
                    uint64_t ns,
                    kernel_stamp *stamps,
                    size_t count,
                    volatile uint32_t *words);
/* Host time of one launch call, median of many, and of a launch and wait, ns. */
int bare_launch(struct CUstream_st *stream, double *ret_launch_ns, double *ret_round_trip_ns);
/* `count` copies with cudaMemcpyAsync, then waits; the time between two events around them. */
int bare_copies(struct CUstream_st *stream,
                void *destination,
                const void *source,
                size_t size,
                size_t count,
                double *ret_ns);

#ifdef __cplusplus
}
#endif
#endif
