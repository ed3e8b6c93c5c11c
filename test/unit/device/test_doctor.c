/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/doctor.h>

#include "support/device/tree_fixture.h"
#include "support/test_allocator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CPU "sys/devices/system/cpu/"
#define LIMITS(rtprio, memlock)                                                            \
    "Limit                     Soft Limit           Hard Limit           Units     \n"     \
    "Max locked memory         " memlock "              8388608              bytes     \n" \
    "Max realtime priority     " rtprio "                    0                    \n"

/* A server as it comes: everything is left at its default. */
static const tree_file server[] = {
    {"proc/version", "Linux version 6.1.0 (x) #1 SMP PREEMPT_DYNAMIC Debian\n"},
    {"proc/self/status", "VmHWM:\t    2000 kB\nVmRSS:\t    1000 kB\nCapEff:\t0000000000000000\n"},
    {"proc/self/limits", LIMITS("0", "8388608")},
    {"proc/self/timerslack_ns", "50000\n"},
    {"proc/self/cgroup", "0::/s\n"},
    {"proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"},
    {"sys/fs/cgroup/s/memory.max", "1000000\n"},
    {"sys/fs/cgroup/s/memory.current", "950000\n"},
    {"sys/fs/cgroup/s/cpu.max", "50000 100000\n"},
    {"proc/sys/kernel/sched_rt_runtime_us", "950000\n"},
    {"proc/sys/kernel/sched_rt_period_us", "1000000\n"},
    {"proc/meminfo", "MemTotal: 100 kB\nSwapTotal:  2048 kB\n"},
    {"proc/stat", "cpu  900 0 50 5000 0 0 0 50 0 0\ncpu0 1 2\n"},
    {CPU "online", "0-1\n"},
    {CPU "isolated", "\n"},
    {CPU "nohz_full", "(null)\n"},
    {CPU "smt/active", "1\n"},
    {CPU "intel_pstate/no_turbo", "0\n"},
    {CPU "cpu0/cpufreq/scaling_governor", "performance\n"},
    {CPU "cpu1/cpufreq/scaling_governor", "powersave\n"},
    {"sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"},
    {"sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"},
    {"sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n"},
    {"sys/class/thermal/thermal_zone0/temp", "41000\n"},
    {"sys/module/nvidia/version", "580.95.05\n"},
    {NULL, NULL}};

/* A Jetson that someone has set up. */
static const tree_file jetson[] = {
    {"proc/version", "Linux version 5.15.148-rt-tegra (x) #1 SMP PREEMPT_RT Mon\n"},
    {"proc/self/status", "VmHWM:\t  900 kB\nVmRSS:\t 1000 kB\nCapEff:\t0000000000804000\n"},
    {"proc/self/limits", LIMITS("0", "65536")},
    {"proc/self/timerslack_ns", "1\n"},
    {"proc/self/cgroup", "0::/\n"},
    {"proc/sys/kernel/sched_rt_runtime_us", "-1\n"},
    {"proc/sys/kernel/sched_rt_period_us", "1000000\n"},
    {"proc/meminfo", "SwapTotal:  0 kB\n"},
    {"proc/stat", "cpu  900 0 50 5000 0 0 0 0 0 0\n"},
    {CPU "online", "0-11\n"},
    {CPU "isolated", "8-11\n"},
    {CPU "nohz_full", "8-11\n"},
    {CPU "cpu0/cpufreq/scaling_governor", "performance\n"},
    {CPU "cpu11/cpufreq/scaling_governor", "performance\n"},
    {"sys/kernel/realtime", "1\n"},
    {"sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"},
    {"sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n"},
    {"sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"},
    {"sys/class/thermal/thermal_zone0/temp", "48500\n"},
    {"sys/class/thermal/thermal_zone8/type", "tj-thermal\n"},
    {"sys/class/thermal/thermal_zone8/temp", "51250\n"},
    {"etc/nv_tegra_release", "# R36 (release), REVISION: 4.3\n# KERNEL\n"},
    {NULL, NULL}};

/* A Raspberry Pi knows less. */
static const tree_file raspberry[] = {
    {"proc/version", "Linux version 6.6.51+rpt-rpi-v8 (x) #1 SMP PREEMPT Debian\n"},
    {"proc/self/limits", LIMITS("95", "unlimited")},
    {"proc/self/status", "CapEff:\t0000000000000000\n"},
    {"proc/sys/kernel/sched_rt_runtime_us", "950000\n"},
    {"proc/sys/kernel/sched_rt_period_us", "1000000\n"},
    {CPU "online", "0-3\n"},
    {CPU "cpu0/cpufreq/scaling_governor", "ondemand\n"},
    {"sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"},
    {"sys/class/thermal/thermal_zone0/temp", "52582\n"},
    {NULL, NULL}};

typedef struct expectation {
    const char *id;
    aegis_doctor_state state;
    const char *found; /* a part of the text, or NULL */
} expectation;

static const aegis_doctor_check *
find(const aegis_doctor_check *checks, size_t count, const char *id)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(checks[i].id, id) == 0) {
            return &checks[i];
        }
    }
    fail_msg("no check '%s'", id);
    return NULL;
}

static void expect(const tree_file *files, const expectation *wanted)
{
    tree_fixture tree;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_doctor_check *checks;
    size_t count, seen = 0;
    assert_true(tree_make(&tree, files));
    assert_int_equal(aegis_doctor_run(tree.root, &allocator, &checks, &count, NULL), AEGIS_OK);
    for (; wanted->id != NULL; wanted++, seen++) {
        const aegis_doctor_check *check = find(checks, count, wanted->id);
        if (check->state != wanted->state ||
            (wanted->found != NULL && strstr(check->found, wanted->found) == NULL)) {
            fail_msg("%s is %s: %s", check->id, aegis_doctor_state_name(check->state),
                     check->found);
        }
    }
    assert_int_equal(seen, count); /* each check is expected */
    for (size_t i = 0; i < count; i++) {
        assert_true(checks[i].title[0] != '\0' && checks[i].found[0] != '\0');
        if (checks[i].state == AEGIS_DOCTOR_WARN || checks[i].state == AEGIS_DOCTOR_FAIL) {
            assert_true(checks[i].cure[0] != '\0');
        }
    }
    aegis_doctor_free(&allocator, checks, count);
    tree_remove(&tree);
}

static void server_with_defaults(void **state)
{
    (void)state;
    static const expectation wanted[] = {
        {"cpu-governor", AEGIS_DOCTOR_WARN, "1 of 2 CPUs have the governor 'powersave'"},
        {"turbo", AEGIS_DOCTOR_WARN, NULL},
        {"smt", AEGIS_DOCTOR_WARN, NULL},
        {"isolated-cpus", AEGIS_DOCTOR_WARN, "none"},
        {"preemption", AEGIS_DOCTOR_WARN, "PREEMPT_DYNAMIC"},
        {"clocksource", AEGIS_DOCTOR_WARN, "hpet"},
        {"steal", AEGIS_DOCTOR_FAIL, "5.0 %"},
        {"rt-throttling", AEGIS_DOCTOR_WARN, "50.0 ms"},
        {"rt-permission", AEGIS_DOCTOR_WARN, NULL},
        {"memlock", AEGIS_DOCTOR_WARN, "8388608"},
        {"timer-slack", AEGIS_DOCTOR_OK, "50000 ns for ordinary threads; AegisRT's driver sets 1"},
        {"cgroup-memory", AEGIS_DOCTOR_WARN, "1000000 bytes, of which 50000"},
        {"cgroup-cpu", AEGIS_DOCTOR_FAIL, "50000 us"},
        {"swap", AEGIS_DOCTOR_WARN, "2097152"},
        {"huge-pages", AEGIS_DOCTOR_WARN, "always"},
        {"thermal-zones", AEGIS_DOCTOR_OK, "1 zones, hottest x86_pkg_temp at 41.0"},
        {"cuda-driver", AEGIS_DOCTOR_OK, "580.95.05"},
        {NULL, AEGIS_DOCTOR_OK, NULL}};
    expect(server, wanted);
}

static void jetson_set_up(void **state)
{
    (void)state;
    static const expectation wanted[] = {
        {"cpu-governor", AEGIS_DOCTOR_OK, "performance on 2 CPUs"},
        {"turbo", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"smt", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"isolated-cpus", AEGIS_DOCTOR_OK, "isolated 8-11, without tick 8-11"},
        {"preemption", AEGIS_DOCTOR_OK, "PREEMPT_RT"},
        {"clocksource", AEGIS_DOCTOR_OK, "arch_sys_counter"},
        {"steal", AEGIS_DOCTOR_OK, NULL},
        {"rt-throttling", AEGIS_DOCTOR_OK, "off"},
        {"rt-permission", AEGIS_DOCTOR_OK, "CAP_SYS_NICE"},
        {"memlock", AEGIS_DOCTOR_OK, "CAP_IPC_LOCK"},
        {"timer-slack", AEGIS_DOCTOR_OK, "1 ns"},
        {"cgroup-memory", AEGIS_DOCTOR_OK, "no limit"},
        {"cgroup-cpu", AEGIS_DOCTOR_OK, "no quota"},
        {"swap", AEGIS_DOCTOR_OK, "none"},
        {"huge-pages", AEGIS_DOCTOR_OK, "madvise"},
        {"thermal-zones", AEGIS_DOCTOR_OK, "2 zones, hottest tj-thermal at 51.2"},
        {"cuda-driver", AEGIS_DOCTOR_OK, "R36"},
        {NULL, AEGIS_DOCTOR_OK, NULL}};
    expect(jetson, wanted);
}

static void raspberry_knows_less(void **state)
{
    (void)state;
    static const expectation wanted[] = {
        {"cpu-governor", AEGIS_DOCTOR_WARN, "1 of 1 CPUs have the governor 'ondemand'"},
        {"turbo", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"smt", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"isolated-cpus", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"preemption", AEGIS_DOCTOR_WARN, "PREEMPT:"},
        {"clocksource", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"steal", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"rt-throttling", AEGIS_DOCTOR_WARN, NULL},
        {"rt-permission", AEGIS_DOCTOR_OK, "priorities up to 95"},
        {"memlock", AEGIS_DOCTOR_OK, "unlimited"},
        {"timer-slack", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"cgroup-memory", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"cgroup-cpu", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"swap", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"huge-pages", AEGIS_DOCTOR_UNKNOWN, NULL},
        {"thermal-zones", AEGIS_DOCTOR_OK, "52.6"},
        {"cuda-driver", AEGIS_DOCTOR_UNKNOWN, NULL},
        {NULL, AEGIS_DOCTOR_OK, NULL}};
    expect(raspberry, wanted);
}

static void nothing_readable_is_unknown(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_doctor_check *checks;
    size_t count;
    assert_int_equal(aegis_doctor_run("/nonexistent", &allocator, &checks, &count, NULL), AEGIS_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(checks[i].state, AEGIS_DOCTOR_UNKNOWN);
    }
    aegis_doctor_free(&allocator, checks, count);
}

static void this_machine_is_probed(void **state)
{
    (void)state;
    aegis_allocator allocator = aegis_allocator_default();
    aegis_doctor_check *checks;
    size_t count;
    assert_int_equal(aegis_doctor_run(NULL, &allocator, &checks, &count, NULL), AEGIS_OK);
    assert_int_not_equal(find(checks, count, "preemption")->state, AEGIS_DOCTOR_UNKNOWN);
    aegis_doctor_free(&allocator, checks, count);
    assert_int_equal(aegis_doctor_run(NULL, NULL, &checks, &count, NULL),
                     AEGIS_ERROR_INVALID_ARGUMENT);
    test_allocator none = {.fail_at = 1};
    const aegis_allocator failing = test_allocator_make(&none);
    aegis_doctor_check *untouched = NULL;
    assert_int_equal(aegis_doctor_run(NULL, &failing, &untouched, &count, NULL),
                     AEGIS_ERROR_NO_MEMORY);
    assert_null(untouched);
}

static void process_memory_is_read(void **state)
{
    (void)state;
    tree_fixture tree;
    uint64_t resident = 7, peak = 7;
    assert_true(tree_make(&tree, server));
    assert_int_equal(aegis_process_memory(tree.root, &resident, &peak, NULL), AEGIS_OK);
    assert_int_equal(resident, 1000 * 1024);
    assert_int_equal(peak, 2000 * 1024);
    tree_remove(&tree);
    assert_true(tree_make(&tree, jetson)); /* the peak was not updated yet */
    assert_int_equal(aegis_process_memory(tree.root, &resident, &peak, NULL), AEGIS_OK);
    assert_int_equal(peak, 1000 * 1024);
    tree_remove(&tree);
    assert_int_equal(aegis_process_memory("/nonexistent", &resident, &peak, NULL),
                     AEGIS_ERROR_TELEMETRY_UNAVAILABLE);
    assert_int_equal(aegis_process_memory(NULL, NULL, &peak, NULL), AEGIS_ERROR_INVALID_ARGUMENT);
    assert_int_equal(aegis_process_memory(NULL, &resident, &peak, NULL), AEGIS_OK);
    assert_true(resident > 0 && peak >= resident);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_with_defaults),   cmocka_unit_test(jetson_set_up),
        cmocka_unit_test(raspberry_knows_less),   cmocka_unit_test(nothing_readable_is_unknown),
        cmocka_unit_test(this_machine_is_probed), cmocka_unit_test(process_memory_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
