/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_HOST_CAPABILITIES_H
#define AEGIS_DEVICE_HOST_CAPABILITIES_H

/* What the host is, read from procfs and sysfs below `root`. */

#include <aegisrt/device.h>

typedef struct aegis_host_facts {
    aegis_device_capabilities capabilities;
    uint64_t available_bytes; /* the least of MemAvailable and the control groups' room */
    bool limited_by_cgroup;   /* available_bytes is a control group's */
    uint64_t cache_bytes;     /* last level caches of all usable cores together */
    int usable_cpus;          /* hardware threads: affinity and quota */
} aegis_host_facts;

/* DEVICE_NOT_AVAILABLE when not even the CPUs and the memory can be read. */
aegis_status aegis_host_facts_read(const char *root, aegis_host_facts *ret_facts, aegis_error *err);

/* FP32 multiply-adds a clock of one core from lines of /proc/cpuinfo; 0 when not known. */
int aegis_host_fp32_lanes(const char *root);

#endif
