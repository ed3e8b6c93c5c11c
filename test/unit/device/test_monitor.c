/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/monitor.h>

#include "support/device/tree_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void fixture(const char *name, aegis_monitor_sample *sample)
{
    char root[512];
    aegis_error error = {0};
    const char *source = getenv("AEGISRT_SOURCE_DIR");
    snprintf(root, sizeof root, "%s/test/fixtures/%s", source == NULL ? "." : source, name);
    if (aegis_monitor_read(root, sample, &error) != AEGIS_OK) {
        fail_msg("%s: %s", root, error.message);
    }
}

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static void x86_is_read(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    fixture("x86", &s);
    assert_true(s.has_cpu);
    assert_int_equal(s.total_ticks, 9600); /* guest is in user */
    assert_int_equal(s.busy_ticks, 1500);
    assert_int_equal(s.cpu_count, 2);
    assert_int_equal(s.cpus[1].number, 1);
    assert_int_equal(s.cpus[0].busy_ticks, 850);
    assert_int_equal(s.cpus[1].current_khz, 2500000);
    assert_int_equal(s.cpus[1].allowed_khz, 3000000);
    assert_int_equal(s.cpus[1].hardware_khz, 4200000);
    assert_true(s.has_load && near(s.load[0], 0.52) && near(s.load[2], 0.59));
    assert_true(s.cpu_limited && near(s.cpu_limit, 1.5));
}

static void x86_memory_is_that_of_the_control_group(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    fixture("x86", &s);
    assert_true(s.has_memory && s.memory_limited);
    assert_int_equal(s.memory_bytes, UINT64_C(16303428) * 1024);
    assert_int_equal(s.memory_available_bytes, UINT64_C(9000000) * 1024);
    assert_int_equal(s.swap_bytes - s.swap_free_bytes, UINT64_C(97148) * 1024);
    assert_int_equal(s.memory_limit_bytes, 536870912);
    /* usage less inactive page cache */
    assert_int_equal(s.memory_limit_available_bytes, 536870912 - 134217728 + 33554432);
    assert_int_equal(s.memory_usable_bytes, s.memory_limit_available_bytes);
}

static void x86_pressure_and_heat(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    char text[128];
    fixture("x86", &s);
    assert_true(s.cpu_pressure.known && near(s.cpu_pressure.some_percent_10s, 1.5));
    assert_true(near(s.memory_pressure.full_percent_10s, 0.12));
    assert_int_equal(s.io_pressure.some_total_us, 777777);
    assert_int_equal(s.io_pressure.full_total_us, 666666);
    assert_int_equal(s.zone_count, 2); /* zone 1 is a gap */
    assert_string_equal(aegis_monitor_hottest(&s)->type, "x86_pkg_temp");
    assert_int_equal(aegis_monitor_hottest(&s)->millidegrees, 61000);
    assert_false(s.zones[1].has_limit); /* a trip point of 0 is none */
    assert_true(s.zones[0].has_limit);
    assert_int_equal(s.zones[0].limit_millidegrees, 119000);
    assert_true(s.has_throttle);
    assert_int_equal(s.throttle_count, 7); /* two cores of one package */
    assert_int_equal(s.throttle_now, AEGIS_THROTTLE_LOWERED);
    assert_int_equal(s.throttle_ever, AEGIS_THROTTLE_LOWERED | AEGIS_THROTTLE_THROTTLED);
    assert_string_equal(aegis_monitor_throttle_text(s.throttle_ever, text, sizeof text),
                        "throttled, maximum frequency lowered");
}

static void raspberry_pi_is_read(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    char text[128];
    fixture("rpi4", &s);
    assert_int_equal(s.cpu_count, 4);
    assert_int_equal(s.cpus[3].current_khz, 1000000);
    assert_false(s.memory_limited); /* version 1 writes "none" as a huge number */
    assert_false(s.cpu_limited);
    assert_int_equal(s.memory_usable_bytes, UINT64_C(3100000) * 1024);
    assert_false(s.cpu_pressure.known || s.memory_pressure.known || s.io_pressure.known);
    assert_int_equal(s.zone_count, 1);
    assert_int_equal(s.zones[0].millidegrees, 82764);
    /* 0x5000e: capped, throttled, soft limit now; under-voltage and throttled since boot */
    assert_int_equal(s.throttle_now, AEGIS_THROTTLE_CAPPED | AEGIS_THROTTLE_THROTTLED |
                                         AEGIS_THROTTLE_SOFT_LIMIT | AEGIS_THROTTLE_COOLING);
    assert_int_equal(s.throttle_ever, s.throttle_now | AEGIS_THROTTLE_UNDER_VOLTAGE);
    assert_string_equal(
        aegis_monitor_throttle_text(s.throttle_now, text, sizeof text),
        "frequency capped, throttled, soft temperature limit, cooling device active");
    assert_string_equal(aegis_monitor_throttle_text(0, text, sizeof text), "none");
    assert_string_equal(aegis_monitor_throttle_text(s.throttle_now, text, 5), "freq");
}

/* Another node of the device tree, a fan, and control groups without the memory controller. */
static void raspberry_pi_5_is_read(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    fixture("rpi5", &s);
    assert_int_equal(s.cpu_count, 4);
    assert_int_equal(s.cpus[2].hardware_khz, 2400000);
    assert_false(s.memory_limited || s.cpu_limited);
    assert_int_equal(s.memory_usable_bytes, UINT64_C(7200000) * 1024);
    assert_int_equal(s.zones[0].millidegrees, 56150);
    assert_int_equal(s.zones[0].limit_millidegrees, 110000); /* active trips turn fans on */
    assert_true(s.has_throttle);
    assert_int_equal(s.throttle_now, 0);
    assert_int_equal(s.throttle_ever, 0);
}

/* No word of the firmware: the supply's alarm, the cooling device and the lowered clock say it. */
static void raspberry_pi_with_a_mainline_kernel_is_read(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    fixture("rpi4-mainline", &s);
    assert_true(s.memory_limited && s.cpu_limited && near(s.cpu_limit, 2));
    assert_int_equal(s.memory_limit_bytes, 536870912); /* memory.high */
    assert_int_equal(s.memory_usable_bytes, 536870912 - 134217728 + 33554432);
    assert_true(s.memory_pressure.known && near(s.memory_pressure.some_percent_10s, 0.5));
    assert_int_equal(s.zones[0].limit_millidegrees, 80000);
    assert_int_equal(s.throttle_now, AEGIS_THROTTLE_UNDER_VOLTAGE | AEGIS_THROTTLE_COOLING |
                                         AEGIS_THROTTLE_LOWERED);
}

static void load_is_the_share_between_two_samples(void **state)
{
    (void)state;
    aegis_monitor_sample before = {.busy_ticks = 100, .total_ticks = 1000};
    aegis_monitor_sample after = {.busy_ticks = 150, .total_ticks = 1200};
    assert_true(near(aegis_monitor_load(&before, &after), 0.25));
    assert_true(near(aegis_monitor_load(&before, &before), 0));
    assert_true(near(aegis_monitor_load(&after, &before), 0));
    assert_null(aegis_monitor_hottest(&before));
}

/* Files that are there but say something else count as absent. */
static void nonsense_is_left_out(void **state)
{
    (void)state;
    static const tree_file files[] = {
        {"proc/stat", "cpu  1 2\ncpuX 1 2 3 4\ncpu5 1 2 3 4\n"},
        {"proc/meminfo", "MemTotal: 100 kB\nMemAvailable: 50 kB\n"},
        {"proc/loadavg", "much\n"},
        {"proc/pressure/cpu", "some things\n"},
        {"sys/class/thermal/thermal_zone0/temp", "hot\n"},
        {"sys/class/thermal/thermal_zone1/temp", "-274000\n"},
        {"sys/class/thermal/thermal_zone3/temp", "1000\n"},
        {"sys/devices/platform/soc/soc:firmware/get_throttled", "zz\n"},
        {NULL, NULL}};
    tree_fixture tree;
    aegis_monitor_sample s;
    assert_true(tree_make(&tree, files));
    aegis_status status = aegis_monitor_read(tree.root, &s, NULL);
    tree_remove(&tree);
    assert_int_equal(status, AEGIS_OK);
    assert_false(s.has_cpu || s.has_load || s.has_throttle || s.cpu_pressure.known);
    assert_int_equal(s.cpu_count, 1);
    assert_int_equal(s.cpus[0].number, 5);
    assert_true(s.has_memory);
    assert_int_equal(s.zone_count, 1);
    assert_string_equal(s.zones[0].type, "thermal_zone3"); /* it has no type of its own */
}

static void an_empty_machine_is_an_error(void **state)
{
    (void)state;
    static const tree_file files[] = {{"proc/version", "Linux\n"}, {NULL, NULL}};
    tree_fixture tree;
    aegis_error error = {0};
    aegis_monitor_sample s = {.zone_count = 77};
    assert_true(tree_make(&tree, files));
    aegis_status status = aegis_monitor_read(tree.root, &s, &error);
    tree_remove(&tree);
    assert_int_equal(status, AEGIS_ERROR_TELEMETRY_UNAVAILABLE);
    assert_int_equal(error.status, status);
    assert_int_equal(s.zone_count, 77); /* untouched */
    assert_int_equal(aegis_monitor_read("/", NULL, &error), AEGIS_ERROR_INVALID_ARGUMENT);
}

/* As without a thermal driver: there is no such zone then, and nothing is made up. */
static void the_hottest_zone_can_be_read_alone(void **state)
{
    (void)state;
    static const tree_file hot[] = {{"sys/class/thermal/thermal_zone0/temp", "41000\n"},
                                    {"sys/class/thermal/thermal_zone2/temp", "61500\n"},
                                    {"sys/class/thermal/thermal_zone2/type", "gpu-thermal\n"},
                                    {NULL, NULL}};
    static const tree_file cold[] = {{"proc/stat", "cpu  1 2 3 4\n"}, {NULL, NULL}};
    tree_fixture tree;
    aegis_monitor_zone zone;
    aegis_error error = {0};
    assert_true(tree_make(&tree, hot));
    aegis_status status = aegis_monitor_read_hottest(tree.root, &zone, NULL);
    tree_remove(&tree);
    assert_int_equal(status, AEGIS_OK);
    assert_string_equal(zone.type, "gpu-thermal");
    assert_int_equal(zone.millidegrees, 61500);
    assert_true(tree_make(&tree, cold));
    status = aegis_monitor_read_hottest(tree.root, &zone, &error);
    tree_remove(&tree);
    assert_int_equal(status, AEGIS_ERROR_TELEMETRY_UNAVAILABLE);
    assert_non_null(strstr(error.message, "driver"));
    assert_int_equal(zone.millidegrees, 61500); /* untouched */
    assert_int_equal(aegis_monitor_read_hottest("/", NULL, &error), AEGIS_ERROR_INVALID_ARGUMENT);
}

static void this_machine_can_be_read(void **state)
{
    (void)state;
    aegis_monitor_sample s;
    assert_int_equal(aegis_monitor_read(NULL, &s, NULL), AEGIS_OK);
    assert_true(s.has_cpu && s.has_memory && s.cpu_count > 0);
    assert_true(s.total_ticks >= s.busy_ticks && s.memory_usable_bytes <= s.memory_bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(x86_is_read),
        cmocka_unit_test(x86_memory_is_that_of_the_control_group),
        cmocka_unit_test(x86_pressure_and_heat),
        cmocka_unit_test(raspberry_pi_is_read),
        cmocka_unit_test(raspberry_pi_5_is_read),
        cmocka_unit_test(raspberry_pi_with_a_mainline_kernel_is_read),
        cmocka_unit_test(load_is_the_share_between_two_samples),
        cmocka_unit_test(nonsense_is_left_out),
        cmocka_unit_test(an_empty_machine_is_an_error),
        cmocka_unit_test(the_hottest_zone_can_be_read_alone),
        cmocka_unit_test(this_machine_can_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
