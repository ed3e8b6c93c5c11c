/* SPDX-License-Identifier: Apache-2.0 */
/* What this process may do. */
#include "device/telemetry/probe.h"

#include "device/cgroup.h"
#include "device/system_tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_IPC_LOCK 14
#define CAPABILITY_SYS_NICE 23

static bool has_capability(const char *root, unsigned number)
{
    char text[64];
    return aegis_tree_field(root, "proc/self/status", "CapEff", text, sizeof text) &&
           (strtoull(text, NULL, 16) >> number & 1) != 0;
}

/* The soft limit of a line of /proc/self/limits; UINT64_MAX when unlimited. */
static bool read_limit(const char *root, const char *name, uint64_t *ret_limit)
{
    char text[128], *end;
    if (!aegis_tree_field(root, "proc/self/limits", name, text, sizeof text)) {
        return false;
    }
    if (strncmp(text, "unlimited", 9) == 0) {
        *ret_limit = UINT64_MAX;
        return true;
    }
    *ret_limit = strtoull(text, &end, 10);
    return end != text;
}

static void probe_throttling(const char *root, aegis_doctor_check *check)
{
    int64_t runtime, period;
    if (!aegis_tree_number(root, "proc/sys/kernel/sched_rt_runtime_us", &runtime) ||
        !aegis_tree_number(root, "proc/sys/kernel/sched_rt_period_us", &period) || period <= 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN,
                        "sched_rt_runtime_us or sched_rt_period_us cannot be read");
    } else if (runtime < 0 || runtime >= period) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "off: SCHED_FIFO threads may use all of a CPU");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN,
                        "%" PRId64 " of each %" PRId64
                        " us: a SCHED_FIFO thread that stays busy is "
                        "stopped for %.1f ms of each period",
                        runtime, period, (double)(period - runtime) / 1000.0);
        aegis_probe_cure(check,
                         "lanes with fifo_priority must leave %.1f %% of each CPU idle, or "
                         "sysctl kernel.sched_rt_runtime_us=-1 (then a runaway thread can "
                         "lock the machine: keep one CPU without lanes)",
                         100.0 * (double)(period - runtime) / (double)period);
    }
}

static void probe_permission(const char *root, aegis_doctor_check *check)
{
    uint64_t limit;
    if (has_capability(root, CAPABILITY_SYS_NICE)) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "CAP_SYS_NICE is held");
    } else if (!read_limit(root, "Max realtime priority", &limit)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "proc/self/limits cannot be read");
    } else if (limit > 0) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "priorities up to %" PRIu64,
                        limit > 99 ? 99 : limit);
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "SCHED_FIFO is not permitted (limit 0)");
        aegis_probe_cure(check, "'* - rtprio 50' in /etc/security/limits.conf and log in anew "
                                "(ulimit -r shows it), LimitRTPRIO=50 in the systemd unit, or "
                                "setcap cap_sys_nice+ep on the program");
    }
}

static void probe_memlock(const char *root, aegis_doctor_check *check)
{
    uint64_t limit;
    if (has_capability(root, CAPABILITY_IPC_LOCK)) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "CAP_IPC_LOCK is held");
    } else if (!read_limit(root, "Max locked memory", &limit)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "proc/self/limits cannot be read");
    } else if (limit == UINT64_MAX) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "unlimited");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN, "at most %" PRIu64 " bytes may be locked", limit);
        aegis_probe_cure(check, "'* - memlock unlimited' in /etc/security/limits.conf and log in "
                                "anew (ulimit -l shows it), LimitMEMLOCK=infinity in the systemd "
                                "unit, or setcap cap_ipc_lock+ep on the program");
    }
}

static void probe_timer_slack(const char *root, aegis_doctor_check *check)
{
    int64_t slack;
    if (!aegis_tree_number(root, "proc/self/timerslack_ns", &slack)) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "cannot be read");
    } else if (slack > 1000) {
        /* The threads of the driver set their own (schedule/scheduler.c). */
        aegis_probe_set(
            check, AEGIS_DOCTOR_OK,
            "%" PRId64 " ns for ordinary threads; AegisRT's driver sets 1 ns for its own", slack);
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "%" PRId64 " ns", slack);
    }
}

static void probe_group_memory(const char *root, aegis_doctor_check *check)
{
    aegis_cgroup_limits limits;
    if (!aegis_tree_exists(root, "proc/self/cgroup")) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "no control groups here");
        return;
    }
    aegis_cgroup_read(root, &limits);
    if (!limits.memory_limited) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "no limit");
    } else if (limits.memory_available_bytes < limits.memory_limit_bytes / 10) {
        aegis_probe_set(check, AEGIS_DOCTOR_WARN,
                        "%" PRIu64 " bytes, of which %" PRIu64 " are left",
                        limits.memory_limit_bytes, limits.memory_available_bytes);
        aegis_probe_cure(
            check, "raise memory.max and memory.high of the group: a process that passes them is "
                   "killed or throttled; [device] memory must fit what is left");
    } else {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "%" PRIu64 " bytes, of which %" PRIu64 " are left",
                        limits.memory_limit_bytes, limits.memory_available_bytes);
    }
}

static void probe_group_cpu(const char *root, aegis_doctor_check *check)
{
    aegis_cgroup_limits limits;
    if (!aegis_tree_exists(root, "proc/self/cgroup")) {
        aegis_probe_set(check, AEGIS_DOCTOR_UNKNOWN, "no control groups here");
        return;
    }
    aegis_cgroup_read(root, &limits);
    if (!limits.cpu_limited) {
        aegis_probe_set(check, AEGIS_DOCTOR_OK, "no quota");
        return;
    }
    aegis_probe_set(check, AEGIS_DOCTOR_FAIL,
                    "%" PRIu64 " us of CPU time in each %" PRIu64 " us, then all threads stop",
                    limits.cpu_quota_us, limits.cpu_period_us);
    aegis_probe_cure(check, "remove the quota (cpu.max = max; docker without --cpus) and bind the "
                            "container to whole CPUs instead (cpuset, --cpuset-cpus)");
}

const aegis_probe aegis_probes_process[] = {
    {"rt-throttling", "Real-time throttling", probe_throttling},
    {"rt-permission", "SCHED_FIFO permitted", probe_permission},
    {"memlock", "Memory that may be locked", probe_memlock},
    {"timer-slack", "Timer slack", probe_timer_slack},
    {"cgroup-memory", "Memory limit of the control group", probe_group_memory},
    {"cgroup-cpu", "CPU quota of the control group", probe_group_cpu},
    {NULL, NULL, NULL},
};
