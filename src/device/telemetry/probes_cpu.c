/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks and cores. */
#include "device/telemetry/probe.h"

#include "device/system_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU_FOLDER "sys/devices/system/cpu"
#define LIST_BYTES 4096

static bool read_list(const char *root, const char *path, aegis_cpu_list *ret_list)
{
    char text[LIST_BYTES];
    return aegis_tree_read(root, path, text, sizeof text) && aegis_cpu_list_parse(text, ret_list);
}

static void probe_governor(const char *root, aegis_doctor_check *check)
{
    aegis_cpu_list online;
    char other[32] = "", text[32];
    int seen = 0, others = 0;
    if (!read_list(root, CPU_FOLDER "/online", &online)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "the list of CPUs cannot be read");
        return;
    }
    for (int cpu = 0; cpu < AEGIS_CPU_LIMIT; cpu++) {
        if (!aegis_cpu_list_has(&online, cpu) ||
            !aegis_tree_read_at(root, text, sizeof text,
                                CPU_FOLDER "/cpu%d/cpufreq/scaling_governor", cpu)) {
            continue;
        }
        seen++;
        if (strcmp(text, "performance") != 0) {
            others++;
            snprintf(other, sizeof other, "%s", text);
        }
    }
    if (seen == 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN,
                        "no cpufreq here (a virtual machine, or the firmware sets the clocks)");
        aegis_probe_cure(check, "set the clocks in the firmware or on the host machine; on a "
                                "Jetson: jetson_clocks");
    } else if (others > 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "%d of %d CPUs have the governor '%s'", others,
                        seen, other);
        aegis_probe_cure(check, "cpupower frequency-set -g performance (on a Jetson: nvpmodel, "
                                "then jetson_clocks); profiles taken at other clocks are void");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "performance on %d CPUs", seen);
    }
}

static void probe_turbo(const char *root, aegis_doctor_check *check)
{
    int64_t value;
    bool on;
    if (aegis_tree_number(root, CPU_FOLDER "/intel_pstate/no_turbo", &value)) {
        on = value == 0;
    } else if (aegis_tree_number(root, CPU_FOLDER "/cpufreq/boost", &value)) {
        on = value != 0;
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "no turbo switch here");
        return;
    }
    if (on) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "on: clocks depend on load and temperature");
        aegis_probe_cure(check, "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or echo 0 "
                                "> /sys/devices/system/cpu/cpufreq/boost, before profiling");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "off");
    }
}

static void probe_smt(const char *root, aegis_doctor_check *check)
{
    int64_t active;
    if (!aegis_tree_number(root, CPU_FOLDER "/smt/active", &active)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "not told by this kernel");
    } else if (active != 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "on: two lanes on one core slow each other");
        aegis_probe_cure(check, "echo off > /sys/devices/system/cpu/smt/control, or give lanes "
                                "CPUs of different cores");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "off");
    }
}

static void probe_isolated(const char *root, aegis_doctor_check *check)
{
    char isolated[LIST_BYTES], tickless[LIST_BYTES] = "";
    if (!aegis_tree_read(root, CPU_FOLDER "/isolated", isolated, sizeof isolated)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "not told by this kernel");
        return;
    }
    aegis_tree_read(root, CPU_FOLDER "/nohz_full", tickless, sizeof tickless);
    if (strcmp(tickless, "(null)") == 0) {
        tickless[0] = '\0';
    }
    if (isolated[0] == '\0') {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "none: other threads run on the lanes' CPUs");
        aegis_probe_cure(check,
                         "boot with isolcpus=managed_irq,domain,LIST nohz_full=LIST "
                         "rcu_nocbs=LIST and pin the lanes there ([device] lane_cpu); LIST is "
                         "such as 2-3 and leaves CPU 0 to the system");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "isolated %.64s, without tick %.64s", isolated,
                        tickless[0] != '\0' ? tickless : "none");
    }
}

static void probe_preemption(const char *root, aegis_doctor_check *check)
{
    char version[512];
    int64_t realtime = 0;
    aegis_tree_number(root, "sys/kernel/realtime", &realtime);
    if (!aegis_tree_read(root, "proc/version", version, sizeof version)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "proc/version cannot be read");
        return;
    }
    /* PREEMPT_RT first: it contains the others' names. */
    if (realtime == 1 || strstr(version, "PREEMPT_RT") != NULL ||
        strstr(version, "PREEMPT RT") != NULL) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "PREEMPT_RT");
        return;
    }
    const char *model = strstr(version, "PREEMPT_DYNAMIC") != NULL ? "PREEMPT_DYNAMIC"
                        : strstr(version, "PREEMPT") != NULL       ? "PREEMPT"
                                                                   : "voluntary or none";
    aegis_probe_set(check, AEGIS_DOCTOR_WARN, "%s: a wake-up may wait behind the kernel", model);
    aegis_probe_cure(check, "use a PREEMPT_RT kernel (Debian: linux-image-rt; Jetson: the RT "
                            "kernel of JetPack), or at least boot with preempt=full");
}

static void probe_clocksource(const char *root, aegis_doctor_check *check)
{
    static const char *const good[] = {"tsc", "arch_sys_counter", "kvm-clock",
                                       "hyperv_clocksource_tsc_page", "riscv_clocksource"};
    char name[64];
    if (!aegis_tree_read(root, "sys/devices/system/clocksource/clocksource0/current_clocksource",
                         name, sizeof name)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "cannot be read");
        return;
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (strcmp(name, good[i]) == 0) {
            aegis_probe_set(check, AEGIS_DOCTOR_OK, "%s", name);
            return;
        }
    }
    aegis_probe_set(check, AEGIS_DOCTOR_WARN, "%s: reading the time is a slow system call", name);
    aegis_probe_cure(check, "find out why the kernel distrusts the CPU's counter (dmesg | grep -i "
                            "clocksource); tsc=reliable where it is known to be good");
}

/* Columns of the first line of /proc/stat. */
enum {
    USER,
    NICE,
    SYSTEM,
    IDLE,
    IOWAIT,
    IRQ,
    SOFTIRQ,
    STEAL,
    COLUMNS
};

static void probe_steal(const char *root, aegis_doctor_check *check)
{
    char text[256];
    uint64_t ticks[COLUMNS];
    if (!aegis_tree_field(root, "proc/stat", "cpu", text, sizeof text) ||
        aegis_tree_numbers(text, ticks, COLUMNS) != COLUMNS) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "cannot be read from proc/stat");
        return;
    }
    uint64_t steal = ticks[STEAL];
    double busy = -(double)ticks[IDLE] - (double)ticks[IOWAIT];
    for (int i = 0; i < COLUMNS; i++) {
        busy += (double)ticks[i];
    }
    double share = busy > 0 ? 100.0 * (double)steal / busy : 0.0;
    if (share > 1.0) {
        aegis_probe_set(check, AEGIS_DOCTOR_FAIL,
                        "the host machine took %.1f %% of the CPU time wanted since boot", share);
        aegis_probe_cure(check, "no bound holds on a virtual CPU that is taken away: pin the "
                                "virtual CPUs on the host machine or use dedicated ones");
    } else if (steal > 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "%.2f %% of the CPU time wanted since boot",
                        share);
        aegis_probe_cure(check, "pin the virtual CPUs on the host machine or use dedicated ones");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "none since boot");
    }
}

const aegis_probe aegis_probes_cpu[] = {
    {"cpu-governor", "CPU frequency governor", probe_governor},
    {"turbo", "Turbo clocks", probe_turbo},
    {"smt", "Simultaneous multithreading", probe_smt},
    {"isolated-cpus", "CPUs kept free for lanes", probe_isolated},
    {"preemption", "Kernel preemption", probe_preemption},
    {"clocksource", "Clock source", probe_clocksource},
    {"steal", "CPU time taken by the hypervisor", probe_steal},
    {NULL, NULL, NULL},
};
