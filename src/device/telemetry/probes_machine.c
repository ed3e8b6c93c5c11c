/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, sensors and the GPU's driver. */
#include "device/telemetry/probe.h"

#include "device/system_tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAXIMUM_ZONES 64

static void probe_swap(const char *root, aegis_doctor_check *check)
{
    uint64_t total;
    if (!aegis_tree_field_number(root, "proc/meminfo", "SwapTotal", &total)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "cannot be read from proc/meminfo");
    } else if (total > 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN,
                        "%" PRIu64 " bytes: pages that are not locked may leave memory", total);
        aegis_probe_cure(check, "swapoff -a (on a Jetson also: systemctl disable nvzramconfig), or "
                                "lock the memory");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "none");
    }
}

/* The word in brackets of "always [madvise] never". */
static void probe_huge_pages(const char *root, aegis_doctor_check *check)
{
    char text[128];
    if (!aegis_tree_read(root, "sys/kernel/mm/transparent_hugepage/enabled", text, sizeof text)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "not in this kernel");
        return;
    }
    char *open = strchr(text, '['), *close = open != NULL ? strchr(open, ']') : NULL;
    if (close == NULL) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "not understood: %.64s", text);
        return;
    }
    *close = '\0';
    const char *mode = open + 1;
    if (strcmp(mode, "always") == 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN,
                        "always: the kernel may stop a thread to join its pages");
        aegis_probe_cure(check, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled; the "
                                "arena asks for huge pages by itself where configured");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "%s", mode);
    }
}

static void probe_thermal(const char *root, aegis_doctor_check *check)
{
    int zones = 0;
    int64_t hottest = INT64_MIN;
    char hottest_type[64] = "", path[128];
    for (int i = 0; i < MAXIMUM_ZONES; i++) {
        int64_t temperature;
        snprintf(path, sizeof path, "sys/class/thermal/thermal_zone%d/temp", i);
        if (!aegis_tree_number(root, path, &temperature)) {
            continue; /* zones of parts that are off cannot be read */
        }
        zones++;
        if (temperature > hottest) {
            hottest = temperature;
            hottest_type[0] = '\0';
            aegis_tree_read_at(root, hottest_type, sizeof hottest_type,
                               "sys/class/thermal/thermal_zone%d/type", i);
        }
    }
    if (zones == 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "no thermal zone can be read");
        aegis_probe_cure(check,
                         "load the sensors' driver; without one a throttled clock shows only "
                         "in runs that pass their bound");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "%d zones, hottest %s at %.1f degrees C", zones,
                        hottest_type[0] != '\0' ? hottest_type : "unnamed",
                        (double)hottest / 1000.0);
    }
}

static void probe_cuda(const char *root, aegis_doctor_check *check)
{
    char text[256];
    if (aegis_tree_read(root, "sys/module/nvidia/version", text, sizeof text)) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "NVIDIA driver %.64s", text);
    } else if (aegis_tree_field(root, "proc/driver/nvidia/version", "NVRM version", text,
                                sizeof text)) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "%.150s", text);
    } else if (aegis_tree_read(root, "etc/nv_tegra_release", text, sizeof text)) {
        text[strcspn(text, "\n")] = '\0';
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "Jetson: %.120s", text);
    } else if (aegis_tree_exists(root, "sys/module/nvgpu")) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "Jetson: module nvgpu is loaded");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "no NVIDIA driver is loaded");
        aegis_probe_cure(check, "needed only for device kind = \"cuda\": install the NVIDIA driver "
                                "and check with nvidia-smi");
    }
}

const aegis_probe aegis_probes_machine[] = {
    {"swap", "Swap space", probe_swap},
    {"huge-pages", "Transparent huge pages", probe_huge_pages},
    {"thermal-zones", "Thermal sensors", probe_thermal},
    {"cuda-driver", "CUDA driver", probe_cuda},
    {NULL, NULL, NULL},
};
