/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_CUDA_MEASURE_H
#define AEGIS_DEVICE_CUDA_MEASURE_H

/* What a GPU reaches. The device is current; 0 when something does not work. */

#include <aegisrt/device.h>

/* Bytes read and written per second by copies inside the device; 0 too when memory is too short to
 * leave the L2 cache behind. */
uint64_t aegis_cuda_measure_bandwidth(const aegis_device_capabilities *capabilities);

/* Single-precision operations per second, a multiply-add being two; 0 too when the driver cannot
 * compile the kernel, and in builds with a toolkit before 12.8. */
uint64_t aegis_cuda_measure_flops(const aegis_device_capabilities *capabilities);

#endif
