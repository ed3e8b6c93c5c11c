/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_HOST_MEASURE_H
#define AEGIS_DEVICE_HOST_MEASURE_H

#include "device/host/host_capabilities.h"

/* Fills the two measured figures of `facts`: a triad over arrays of four times the caches and
 * chains of multiply-adds in registers, one thread per usable CPU, medians of five. A figure stays
 * 0 when memory or threads do not suffice to measure it. */
void aegis_host_measure(aegis_host_facts *facts);

#endif
