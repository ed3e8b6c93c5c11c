/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_GATE_H
#define AEGIS_DEVICE_CUDA_GATE_H

/* Words in pinned memory between a stream and the host. The device writes one when work has ended,
 * which the host sees some 2 us earlier than an event. And the device waits for one before it
 * begins the work behind it: a gate, which the host opens with a store instead of a launch.
 *
 * What waits at a gate stands in a stream of its own beside the main one, so that it holds nothing
 * else up. One at a time: each further stream that waits at a gate makes every launch on the device
 * about 2 us later, from CUDA_DEVICE_MAX_CONNECTIONS (8) on they hold up everybody's work, and from
 * half of that on everybody's copies when there are copies in what waits: lanes would wait for each
 * other without end. (H200, driver 580.159, copies of 64 bytes to 2 MB: past three gates all come
 * through, past four none does.)
 *
 * All calls but _open come from the stream's own thread, or when that is gone. */

#include "device/cuda/cuda_end.h"

#include <cudaTypedefs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of the words, the first that no gate uses; they are a page. */
#define AEGIS_CUDA_GATE_SPARE_WORD 512u

typedef struct aegis_cuda_gate {
    PFN_cuStreamWaitValue32_v11070 wait;
    PFN_cuStreamWriteValue32_v11070 write;
    _Atomic uint32_t *words; /* NULL: device or driver cannot */
    CUdeviceptr address;     /* of the words, for the device */
    cudaStream_t handle;     /* of what waits; NULL: nothing may */
    cudaEvent_t ends[2];     /* of what waits, by the parity of its number */
    _Atomic int *reserved;   /* the count of the device's gates, with this one; NULL: none */
    uint32_t told;           /* ends of the main stream that were put into it */
    uint32_t put;            /* what was put behind the gate */
} aegis_cuda_gate;

/* Tries the words out on `main_stream`, which is idle; what cannot be leaves `words` NULL. The
 * device is current. */
void aegis_cuda_gate_init(aegis_cuda_gate *gate, cudaStream_t main_stream);
/* Counts it among the `gates` of the device, until it is finished. False when it cannot be one, or
 * there are as many as may be: less than half as many as the device has connections. */
bool aegis_cuda_gate_reserve(aegis_cuda_gate *gate, _Atomic int *gates);
/* `beside`, which the gate takes, is the stream of what waits. */
cudaError_t aegis_cuda_gate_take_stream(aegis_cuda_gate *gate, cudaStream_t beside);
/* Opens the gate, waits for what was behind it, and gives all back. Fine on zeroes. */
void aegis_cuda_gate_finish(aegis_cuda_gate *gate);

/* Puts the end of what the main stream holds so far into it. */
cudaError_t
aegis_cuda_gate_tell(aegis_cuda_gate *gate, cudaStream_t main_stream, aegis_cuda_end *ret_end);

static inline bool aegis_cuda_gate_is_taken(const aegis_cuda_gate *gate)
{
    return gate->handle != NULL && atomic_load(&gate->words[0]) != gate->put;
}

/* What is enqueued into `handle` between these two stands behind the gate, which nothing else may
 * be. With `event` its end can be slept for. */
cudaError_t aegis_cuda_gate_begin(aegis_cuda_gate *gate);
cudaError_t aegis_cuda_gate_end(aegis_cuda_gate *gate, bool event);

/* Lets it begin. Whichever thread decides; also again. */
static inline void aegis_cuda_gate_open(aegis_cuda_gate *gate)
{
    atomic_store_explicit(&gate->words[0], gate->put, memory_order_release);
}

/* The end of what was put behind the gate last. */
aegis_cuda_end aegis_cuda_gate_last(const aegis_cuda_gate *gate, bool event);

#endif
