/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_REHEARSAL_H
#define AEGIS_DEVICE_CUDA_REHEARSAL_H

/* When more graphs with copies are on a device at once than ever before, the launch takes a little
 * of the heap, which the driver keeps (driver 580.159: 200 bytes with the second stream, 520 and
 * 680 with the third and fourth, nothing from there on). In service that comes with the first
 * launch past a gate, and again when one more overlaps by chance: after 2 s and after 100. */

#include "device/cuda/cuda_gate.h"

/* Has such graphs wait in six streams at once, on the device that is current, so that no launch in
 * service is the first. (Of a lane. With two the driver took one piece more, once.) Uses the gate's
 * spare words. All that it makes is gone at return. It takes some 10 ms, in which whoever else
 * copies on the device may wait for 2. */
cudaError_t aegis_cuda_rehearse(const aegis_cuda_gate *gate);

#endif
