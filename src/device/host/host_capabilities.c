/* SPDX-License-Identifier: Apache-2.0 */
#include "device/host/host_capabilities.h"

#include "base/base.h"
#include "device/cgroup.h"
#include "device/factories.h"
#include "device/host/measure.h"
#include "device/system_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU_FOLDER "sys/devices/system/cpu"
#define MAXIMUM_CACHES 16

/* CPUs that are online and in this process's cpuset and affinity. */
static bool read_usable(const char *root, aegis_cpu_list *ret_list)
{
    char text[4096];
    aegis_cpu_list allowed, online;
    if (!aegis_tree_field(root, "proc/self/status", "Cpus_allowed_list", text, sizeof text) ||
        !aegis_cpu_list_parse(text, &allowed)) {
        return false;
    }
    if (aegis_tree_read(root, CPU_FOLDER "/online", text, sizeof text) &&
        aegis_cpu_list_parse(text, &online)) {
        for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(allowed.bits); i++) {
            allowed.bits[i] &= online.bits[i];
        }
    }
    *ret_list = allowed;
    return aegis_cpu_list_count(&allowed) > 0;
}

static int first_of(const aegis_cpu_list *list)
{
    int cpu = 0;
    while (!aegis_cpu_list_has(list, cpu)) {
        cpu++;
    }
    return cpu;
}

/* True when no usable CPU below `cpu` is in the list that the file of `cpu` holds: each group of
 * CPUs that share something is thus counted once. */
static bool leads_group(const char *root, const aegis_cpu_list *usable, int cpu, const char *file)
{
    char text[4096];
    aegis_cpu_list group;
    if (!aegis_tree_read_at(root, text, sizeof text, CPU_FOLDER "/cpu%d/%s", cpu, file) ||
        !aegis_cpu_list_parse(text, &group)) {
        return true;
    }
    for (int other = 0; other < cpu; other++) {
        if (aegis_cpu_list_has(usable, other) && aegis_cpu_list_has(&group, other)) {
            return false;
        }
    }
    return true;
}

static int count_groups(const char *root, const aegis_cpu_list *usable, const char *file)
{
    int count = 0;
    for (int cpu = 0; cpu < AEGIS_CPU_LIMIT; cpu++) {
        if (aegis_cpu_list_has(usable, cpu) && leads_group(root, usable, cpu, file)) {
            count++;
        }
    }
    return count;
}

static int threads_of_core(const char *root, int cpu)
{
    char text[4096];
    aegis_cpu_list siblings;
    if (!aegis_tree_read_at(root, text, sizeof text,
                            CPU_FOLDER "/cpu%d/topology/thread_siblings_list", cpu) ||
        !aegis_cpu_list_parse(text, &siblings)) {
        return 0;
    }
    return aegis_cpu_list_count(&siblings);
}

/* A quota of 2.5 CPUs keeps two cores busy without a pause. */
static int limit_by_quota(int count, const aegis_cgroup_limits *limits)
{
    if (!limits->cpu_limited) {
        return count;
    }
    uint64_t whole = limits->cpu_quota_us / limits->cpu_period_us;
    whole = whole < 1 ? 1 : whole;
    return whole < (uint64_t)count ? (int)whole : count;
}

static void read_caches(const char *root, const aegis_cpu_list *usable, aegis_host_facts *facts)
{
    int cpu = first_of(usable), last_level = 0;
    for (int i = 0; i < MAXIMUM_CACHES; i++) {
        char path[128], shared[128], type[32];
        int64_t level;
        uint64_t size;
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cache/index%d/level", cpu, i);
        if (!aegis_tree_number(root, path, &level)) {
            return;
        }
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cache/index%d/size", cpu, i);
        if (!aegis_tree_read_at(root, type, sizeof type, CPU_FOLDER "/cpu%d/cache/index%d/type",
                                cpu, i) ||
            strcmp(type, "Instruction") == 0 || !aegis_tree_size(root, path, &size)) {
            continue;
        }
        if (level == 1) {
            facts->capabilities.shared_memory_per_block_bytes = size;
        }
        if (level > last_level) {
            last_level = (int)level;
            snprintf(shared, sizeof shared, "cache/index%d/shared_cpu_list", i);
            facts->capabilities.l2_cache_bytes = size;
            facts->cache_bytes = size * (uint64_t)count_groups(root, usable, shared);
        }
    }
}

/* The highest maximum of a usable CPU; without cpufreq the clock that /proc/cpuinfo shows. */
static int read_clock(const char *root, const aegis_cpu_list *usable)
{
    int64_t highest = 0;
    for (int cpu = 0; cpu < AEGIS_CPU_LIMIT; cpu++) {
        char path[128];
        int64_t khz;
        snprintf(path, sizeof path, CPU_FOLDER "/cpu%d/cpufreq/cpuinfo_max_freq", cpu);
        if (aegis_cpu_list_has(usable, cpu) && aegis_tree_number(root, path, &khz) &&
            khz > highest) {
            highest = khz;
        }
    }
    char text[64];
    if (highest == 0 && aegis_tree_field(root, "proc/cpuinfo", "cpu MHz", text, sizeof text)) {
        highest = (int64_t)(strtod(text, NULL) * 1000.0);
    }
    return highest > 0 && highest < INT32_MAX ? (int)highest : 0;
}

static void read_name(const char *root, char *ret_name, size_t size)
{
    static const char *const keys[] = {"model name", "Model", "Hardware", "cpu model"};
    if (aegis_tree_read(root, "proc/device-tree/model", ret_name, size) && ret_name[0] != '\0') {
        return;
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(keys); i++) {
        if (aegis_tree_field(root, "proc/cpuinfo", keys[i], ret_name, size) &&
            ret_name[0] != '\0') {
            return;
        }
    }
    snprintf(ret_name, size, "host CPU");
}

static bool
read_memory(const char *root, const aegis_cgroup_limits *limits, aegis_host_facts *facts)
{
    uint64_t total, available;
    if (!aegis_tree_field_number(root, "proc/meminfo", "MemTotal", &total)) {
        return false;
    }
    if (!aegis_tree_field_number(root, "proc/meminfo", "MemAvailable", &available) &&
        !aegis_tree_field_number(root, "proc/meminfo", "MemFree", &available)) {
        return false;
    }
    if (limits->memory_limited && limits->memory_limit_bytes < total) {
        total = limits->memory_limit_bytes;
    }
    if (limits->memory_limited && limits->memory_available_bytes < available) {
        available = limits->memory_available_bytes;
        facts->limited_by_cgroup = true;
    }
    facts->capabilities.total_memory_bytes = total;
    facts->capabilities.free_memory_bytes = available;
    facts->available_bytes = available;
    return true;
}

aegis_status aegis_host_facts_read(const char *root, aegis_host_facts *ret_facts, aegis_error *err)
{
    aegis_host_facts facts = {
        .capabilities = {.kind = AEGIS_DEVICE_HOST, .integrated = true, .stream_priorities = 1}};
    aegis_cgroup_limits limits;
    aegis_cpu_list usable;
    aegis_cgroup_read(root, &limits);
    if (!read_usable(root, &usable) || !read_memory(root, &limits, &facts)) {
        return aegis_error_set(err, AEGIS_HERE("device.host"), AEGIS_ERROR_DEVICE_NOT_AVAILABLE,
                               "the host's CPUs (proc/self/status) or memory (proc/meminfo) cannot "
                               "be read below %s: is procfs mounted?",
                               root);
    }
    aegis_device_capabilities *capabilities = &facts.capabilities;
    read_name(root, capabilities->name, sizeof capabilities->name);
    capabilities->multiprocessor_count =
        limit_by_quota(count_groups(root, &usable, "topology/thread_siblings_list"), &limits);
    facts.usable_cpus = limit_by_quota(aegis_cpu_list_count(&usable), &limits);
    capabilities->max_threads_per_block = threads_of_core(root, first_of(&usable));
    capabilities->core_clock_khz = read_clock(root, &usable);
    capabilities->fp32_lanes_per_multiprocessor = aegis_host_fp32_lanes(root);
    read_caches(root, &usable, &facts);
    *ret_facts = facts;
    return AEGIS_OK;
}

aegis_status aegis_host_query(const char *root,
                              bool measure,
                              aegis_device_capabilities *ret_capabilities,
                              aegis_error *err)
{
    aegis_host_facts facts;
    aegis_status status = aegis_host_facts_read(root, &facts, err);
    if (status != AEGIS_OK) {
        return status;
    }
    if (measure) {
        aegis_host_measure(&facts);
    }
    *ret_capabilities = facts.capabilities;
    return AEGIS_OK;
}
