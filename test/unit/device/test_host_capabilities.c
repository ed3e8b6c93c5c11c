/* SPDX-License-Identifier: Apache-2.0 */
#include "device/factories.h"
#include "device/host/host_capabilities.h"
#include "support/device/tree_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CPU "sys/devices/system/cpu/"

/* Two cores with two threads each, one L3; CPU 3 is offline; 2.5 CPUs of quota do not bind. */
static const tree_file server[] = {
    {"proc/self/status", "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n"},
    {"proc/meminfo", "MemTotal:       1000000 kB\nMemFree: 10 kB\nMemAvailable:    800000 kB\n"},
    {"proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\n"
                     "model name\t: Xeon Example\ncpu MHz\t\t: 2000.5\n"
                     "flags\t\t: fpu sse2 avx avx2 fma avx512f avx512vl\n"},
    {CPU "online", "0-2\n"},
    {CPU "cpu0/topology/thread_siblings_list", "0,2\n"},
    {CPU "cpu1/topology/thread_siblings_list", "1,3\n"},
    {CPU "cpu2/topology/thread_siblings_list", "0,2\n"},
    {CPU "cpu0/cpufreq/cpuinfo_max_freq", "3500000\n"},
    {CPU "cpu1/cpufreq/cpuinfo_max_freq", "3600000\n"},
    {CPU "cpu0/cache/index0/level", "1\n"},
    {CPU "cpu0/cache/index0/type", "Data\n"},
    {CPU "cpu0/cache/index0/size", "48K\n"},
    {CPU "cpu0/cache/index1/level", "1\n"},
    {CPU "cpu0/cache/index1/type", "Instruction\n"},
    {CPU "cpu0/cache/index1/size", "32K\n"},
    {CPU "cpu0/cache/index2/level", "2\n"},
    {CPU "cpu0/cache/index2/type", "Unified\n"},
    {CPU "cpu0/cache/index2/size", "1280K\n"},
    {CPU "cpu0/cache/index3/level", "3\n"},
    {CPU "cpu0/cache/index3/type", "Unified\n"},
    {CPU "cpu0/cache/index3/size", "24M\n"},
    {CPU "cpu0/cache/index3/shared_cpu_list", "0-1\n"},
    {CPU "cpu1/cache/index3/shared_cpu_list", "0-1\n"},
    {CPU "cpu2/cache/index3/shared_cpu_list", "2-3\n"},
    {"proc/self/cgroup", "0::/s\n"},
    {"proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
    {"sys/fs/cgroup/s/cpu.max", "250000 100000\n"},
    {NULL, NULL}};

/* Two of the twelve cores of a Jetson are allowed; no x86 files. */
static const tree_file jetson[] = {
    {"proc/self/status", "Cpus_allowed_list:\t4-5\n"},
    {"proc/meminfo", "MemTotal: 64000000 kB\nMemAvailable: 60000000 kB\n"},
    {"proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd fphp\n"
                     "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd42\n"},
    {"proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit"},
    {CPU "online", "0-11\n"},
    {CPU "cpu4/cpufreq/cpuinfo_max_freq", "2201600\n"},
    {NULL, NULL}};

static aegis_host_facts facts_of(tree_fixture *tree, const tree_file *files)
{
    aegis_host_facts facts;
    assert_true(tree_make(tree, files));
    assert_int_equal(aegis_host_facts_read(tree->root, &facts, NULL), AEGIS_OK);
    return facts;
}

static void server_is_described(void **state)
{
    (void)state;
    tree_fixture tree;
    aegis_host_facts facts = facts_of(&tree, server);
    const aegis_device_capabilities *is = &facts.capabilities;
    assert_string_equal(is->name, "Xeon Example");
    assert_int_equal(is->kind, AEGIS_DEVICE_HOST);
    assert_int_equal(is->multiprocessor_count, 2);
    assert_int_equal(facts.usable_cpus, 2); /* three online, quota for two and a half */
    assert_int_equal(is->max_threads_per_block, 2);
    assert_int_equal(is->core_clock_khz, 3600000);
    assert_int_equal(is->fp32_lanes_per_multiprocessor, 32);
    assert_int_equal(is->shared_memory_per_block_bytes, 48 * 1024);
    assert_int_equal(is->l2_cache_bytes, 24 << 20);
    assert_int_equal(facts.cache_bytes, 48 << 20);
    assert_int_equal(is->total_memory_bytes, UINT64_C(1000000) * 1024);
    assert_int_equal(facts.available_bytes, UINT64_C(800000) * 1024);
    assert_int_equal(is->memory_clock_khz, 0);
    assert_int_equal(is->memory_bus_width_bits, 0);
    assert_false(facts.limited_by_cgroup);
    assert_true(is->integrated);
    aegis_figure_source source;
    assert_int_equal(aegis_device_theoretical_flops(is, &source),
                     UINT64_C(2) * 32 * 2 * 3600000 * 1000);
    assert_int_equal(source, AEGIS_FIGURE_DERIVED);
    assert_int_equal(aegis_device_theoretical_bandwidth(is, &source), 0);
    assert_int_equal(source, AEGIS_FIGURE_UNKNOWN);
    tree_remove(&tree);
}

static void quota_below_the_cores_counts(void **state)
{
    (void)state;
    tree_fixture tree;
    facts_of(&tree, server);
    assert_true(tree_put(&tree, "sys/fs/cgroup/s/cpu.max", "50000 100000\n"));
    assert_true(tree_put(&tree, "sys/fs/cgroup/s/memory.max", "1000\n"));
    assert_true(tree_put(&tree, "sys/fs/cgroup/s/memory.current", "900\n"));
    aegis_host_facts facts;
    assert_int_equal(aegis_host_facts_read(tree.root, &facts, NULL), AEGIS_OK);
    assert_int_equal(facts.capabilities.multiprocessor_count, 1);
    assert_int_equal(facts.capabilities.total_memory_bytes, 1000);
    assert_int_equal(facts.available_bytes, 100);
    assert_true(facts.limited_by_cgroup);
    tree_remove(&tree);
}

static void jetson_is_described(void **state)
{
    (void)state;
    tree_fixture tree;
    aegis_host_facts facts = facts_of(&tree, jetson);
    const aegis_device_capabilities *is = &facts.capabilities;
    assert_string_equal(is->name, "NVIDIA Jetson AGX Orin Developer Kit");
    assert_int_equal(is->multiprocessor_count, 2);
    assert_int_equal(is->core_clock_khz, 2201600);
    assert_int_equal(is->fp32_lanes_per_multiprocessor, 8);
    assert_int_equal(is->shared_memory_per_block_bytes, 0);
    assert_int_equal(is->max_threads_per_block, 0);
    tree_remove(&tree);
}

static void lanes_follow_flags_and_design(void **state)
{
    (void)state;
    static const struct {
        const char *cpuinfo;
        int lanes;
    } cases[] = {
        {"vendor_id : AuthenticAMD\ncpu family : 25\nmodel : 97\nflags : sse2 fma avx2 avx512f\n",
         16},
        {"vendor_id : AuthenticAMD\ncpu family : 23\nmodel : 1\nflags : sse2 fma avx2\n", 8},
        {"vendor_id : GenuineIntel\ncpu family : 6\nmodel : 85\nflags : sse2 avx512f\n", 16},
        {"vendor_id : Other\nflags : sse2 fma avx2\n", 8},
        {"vendor_id : Other\nflags : sse2 avx2\n", 4},
        {"flags : fpu\n", 0},
        {"Features : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd08\n", 4},
        {"Features : fp asimd\nCPU implementer : 0x61\nCPU part : 0xd42\n", 4},
        {"isa : rv64imafdc\n", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tree_file files[] = {{"proc/cpuinfo", cases[i].cpuinfo}, {NULL, NULL}};
        tree_fixture tree;
        assert_true(tree_make(&tree, files));
        assert_int_equal(aegis_host_fp32_lanes(tree.root), cases[i].lanes);
        tree_remove(&tree);
    }
}

static void machine_without_procfs_is_no_device(void **state)
{
    (void)state;
    aegis_error err;
    aegis_host_facts facts = {.usable_cpus = 42};
    assert_int_equal(aegis_host_facts_read("/nonexistent", &facts, &err),
                     AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
    assert_int_equal(facts.usable_cpus, 42);
    assert_non_null(strstr(err.message, "/nonexistent"));
    aegis_device_capabilities is;
    assert_int_equal(aegis_host_query("/nonexistent", false, &is, NULL),
                     AEGIS_ERROR_DEVICE_NOT_AVAILABLE);
}

static void theory_uses_the_larger_figure(void **state)
{
    (void)state;
    aegis_figure_source source;
    aegis_device_capabilities is = {.memory_clock_khz = 3201000, .memory_bus_width_bits = 6144};
    assert_int_equal(aegis_device_theoretical_bandwidth(&is, &source),
                     UINT64_C(3201000) * 1000 * 2 * 6144 / 8);
    assert_int_equal(source, AEGIS_FIGURE_DERIVED);
    is.measured_bandwidth_bytes_per_second = 4000;
    aegis_device_theoretical_bandwidth(&is, &source);
    assert_int_equal(source, AEGIS_FIGURE_DERIVED);
    is.memory_clock_khz = 0;
    assert_int_equal(aegis_device_theoretical_bandwidth(&is, &source), 4000);
    assert_int_equal(source, AEGIS_FIGURE_MEASURED);
    is = (aegis_device_capabilities){.fp32_lanes_per_multiprocessor = 8,
                                     .multiprocessor_count = 1,
                                     .core_clock_khz = 1000,
                                     .measured_flops = 20000000};
    assert_int_equal(aegis_device_theoretical_flops(&is, &source), 20000000);
    assert_int_equal(source, AEGIS_FIGURE_MEASURED);
    assert_int_equal(aegis_device_theoretical_flops(&is, NULL), 20000000);
}

static void this_machine_is_measured(void **state)
{
    (void)state;
    aegis_device_capabilities is;
    assert_int_equal(aegis_device_query(AEGIS_DEVICE_HOST, 0, true, &is, NULL), AEGIS_OK);
    assert_true(is.measured_flops > 0);
    /* 0 when memory is too short for arrays that leave the caches. */
    assert_true(is.measured_bandwidth_bytes_per_second > 0 ||
                is.free_memory_bytes < UINT64_C(2) << 30 || is.l2_cache_bytes > UINT64_C(64) << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_is_described),
        cmocka_unit_test(quota_below_the_cores_counts),
        cmocka_unit_test(jetson_is_described),
        cmocka_unit_test(lanes_follow_flags_and_design),
        cmocka_unit_test(machine_without_procfs_is_no_device),
        cmocka_unit_test(theory_uses_the_larger_figure),
        cmocka_unit_test(this_machine_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
