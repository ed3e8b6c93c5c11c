/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_END_H
#define AEGIS_DEVICE_CUDA_END_H

/* How the end of work on the device is seen, and waited for. */

#include <aegisrt/device.h>

#include <cuda_runtime_api.h>
#include <stdatomic.h>

/* Adaptive completion: the end is caught by polling where it is near; else the CPU sleeps. */
#define AEGIS_CUDA_POLL_NS UINT64_C(50000)

/* What the thread that polls for an end does when that is near, and then when it is asked to. */
typedef struct aegis_cuda_meanwhile {
    aegis_stream_function function; /* NULL: nothing */
    void *argument;
    uint64_t near_ns; /* from this instant on; the thread's own */
    _Atomic bool asked;
} aegis_cuda_meanwhile;

/* What is waited for from now on is not expected to end before this instant; 0: nothing is known.
 */
static inline void aegis_cuda_meanwhile_expect(aegis_cuda_meanwhile *meanwhile,
                                               uint64_t expected_ns)
{
    meanwhile->near_ns =
        expected_ns > AEGIS_STREAM_NEAR_NS ? expected_ns - AEGIS_STREAM_NEAR_NS : 1; /* at once */
}

typedef struct aegis_cuda_end {
    cudaStream_t handle;             /* where the work is */
    cudaEvent_t event;               /* recorded behind it; NULL: it can only be polled for */
    const _Atomic uint32_t *word;    /* which the device writes behind it; NULL: none */
    uint32_t value;                  /* what the word has then */
    aegis_cuda_meanwhile *meanwhile; /* NULL: nothing to be done */
} aegis_cuda_end;

/* Waits as the mode says; `expected_ns`: it will not come before this instant. Returns the failure
 * of the work. Without an event only AEGIS_COMPLETION_POLL. */
cudaError_t
aegis_cuda_end_wait(const aegis_cuda_end *end, aegis_completion completion, uint64_t expected_ns);
/* cudaErrorNotReady at `until_ns`. cudaEventSynchronize could not be ended. */
cudaError_t aegis_cuda_end_wait_until(const aegis_cuda_end *end, uint64_t until_ns);

#endif
