/* SPDX-License-Identifier: Apache-2.0 */
/* How many FP32 multiply-adds a core starts in a clock. The feature flags give the width of one
 * vector unit; how many units there are is a property of the core's design, which the makers'
 * optimisation manuals give and no file of the system does. Designs not listed count one unit, a
 * lower bound that a measurement corrects (see aegis_device_theoretical_flops). */
#include "device/host/host_capabilities.h"

#include "base/base.h"
#include "device/system_tree.h"

#include <stdlib.h>
#include <string.h>

typedef struct design {
    const char *vendor;
    int family;
    int first_model, last_model;
    int lanes;
} design;

/* Intel 64 and IA-32 Optimization Reference Manual: two 512-bit units (ports 0+1 and 5) on these
 * server designs, two 256-bit ones on clients. Software Optimization Guides of AMD families 17h,
 * 19h, 1Ah: two 128-bit (Zen), two 256-bit (Zen 2 to 4). 0x55 (Skylake-SP and after) is left out:
 * it has one or two 512-bit units by product. */
static const design x86_designs[] = {
    {"GenuineIntel", 6, 0x6a, 0x6a, 32}, /* Ice Lake-SP */
    {"GenuineIntel", 6, 0x6c, 0x6c, 32}, /* Ice Lake-D */
    {"GenuineIntel", 6, 0x8f, 0x8f, 32}, /* Sapphire Rapids */
    {"GenuineIntel", 6, 0xcf, 0xcf, 32}, /* Emerald Rapids */
    {"GenuineIntel", 6, 0xad, 0xad, 32}, /* Granite Rapids */
    {"GenuineIntel", 6, 0x3c, 0x3c, 16}, /* Haswell */
    {"GenuineIntel", 6, 0x3f, 0x3f, 16}, /* Haswell-E */
    {"GenuineIntel", 6, 0x4e, 0x4e, 16}, /* Skylake */
    {"GenuineIntel", 6, 0x5e, 0x5e, 16}, /* Skylake */
    {"GenuineIntel", 6, 0x8c, 0x8d, 16}, /* Tiger Lake */
    {"GenuineIntel", 6, 0x8e, 0x8e, 16}, /* Kaby Lake */
    {"GenuineIntel", 6, 0x9e, 0x9e, 16}, /* Coffee Lake */
    {"AuthenticAMD", 0x17, 0x00, 0x2f, 8},  {"AuthenticAMD", 0x17, 0x30, 0xff, 16},
    {"AuthenticAMD", 0x19, 0x00, 0xff, 16},
};

/* Arm Software Optimization Guides: 128-bit pipes that take FMLA, times 4 lanes. */
static const struct {
    int part, lanes;
} arm_designs[] = {
    {0xd03, 4},  /* Cortex-A53 */
    {0xd05, 4},  /* Cortex-A55 */
    {0xd08, 4},  /* Cortex-A72: two pipes, 64 bits a clock each */
    {0xd0b, 8},  /* Cortex-A76 */
    {0xd0c, 8},  /* Neoverse N1 */
    {0xd41, 8},  /* Cortex-A78 */
    {0xd42, 8},  /* Cortex-A78AE (Jetson Orin) */
    {0xd40, 16}, /* Neoverse V1: four pipes */
    {0xd4f, 16}, /* Neoverse V2 */
};

#define ARM_IMPLEMENTER 0x41

static long field(const char *root, const char *key)
{
    char text[64];
    if (!aegis_tree_field(root, "proc/cpuinfo", key, text, sizeof text)) {
        return -1;
    }
    return strtol(text, NULL, 0);
}

static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; *at != '\0';) {
        at += strspn(at, " ");
        size_t span = strcspn(at, " ");
        if (span == length && strncmp(at, word, length) == 0) {
            return true;
        }
        at += span;
    }
    return false;
}

static int arm_lanes(const char *root)
{
    if (field(root, "CPU implementer") == ARM_IMPLEMENTER) {
        long part = field(root, "CPU part");
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(arm_designs); i++) {
            if (arm_designs[i].part == part) {
                return arm_designs[i].lanes;
            }
        }
    }
    return 4;
}

static int x86_lanes(const char *root, const char *flags)
{
    bool wide = has_word(flags, "avx512f");
    if (!wide && !(has_word(flags, "fma") && has_word(flags, "avx2"))) {
        return has_word(flags, "sse2") ? 4 : 0;
    }
    char vendor[32];
    long family = field(root, "cpu family"), model = field(root, "model");
    if (!aegis_tree_field(root, "proc/cpuinfo", "vendor_id", vendor, sizeof vendor)) {
        vendor[0] = '\0';
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(x86_designs); i++) {
        const design *entry = &x86_designs[i];
        if (strcmp(entry->vendor, vendor) == 0 && entry->family == family &&
            entry->first_model <= model && model <= entry->last_model) {
            return entry->lanes;
        }
    }
    return wide ? 16 : 8;
}

int aegis_host_fp32_lanes(const char *root)
{
    char flags[8192];
    if (aegis_tree_field(root, "proc/cpuinfo", "flags", flags, sizeof flags)) {
        return x86_lanes(root, flags);
    }
    if (aegis_tree_field(root, "proc/cpuinfo", "Features", flags, sizeof flags) &&
        (has_word(flags, "asimd") || has_word(flags, "neon"))) {
        return arm_lanes(root);
    }
    return 0;
}
