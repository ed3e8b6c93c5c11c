/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cgroup.h"
#include "device/system_tree.h"
#include "support/device/tree_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void cpu_lists_are_parsed(void **state)
{
    (void)state;
    aegis_cpu_list list;
    assert_true(aegis_cpu_list_parse("0-3,8,10-11", &list));
    assert_int_equal(aegis_cpu_list_count(&list), 7);
    assert_true(aegis_cpu_list_has(&list, 3) && aegis_cpu_list_has(&list, 11));
    assert_false(aegis_cpu_list_has(&list, 4));
    assert_false(aegis_cpu_list_has(&list, -1));
    assert_false(aegis_cpu_list_has(&list, AEGIS_CPU_LIMIT));
    assert_true(aegis_cpu_list_parse("", &list));
    assert_int_equal(aegis_cpu_list_count(&list), 0);
    assert_true(aegis_cpu_list_parse("4095", &list));
}

static void malformed_cpu_lists_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "a", "1,", ",1", "3-1", "1-", "-1", "4096", "0-99999999999999999999", "1 2", "1,,2", " 1"};
    aegis_cpu_list list = {{42}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(aegis_cpu_list_parse(bad[i], &list));
        assert_int_equal(list.bits[0], 42);
    }
}

static void numbers_sizes_and_fields_are_read(void **state)
{
    (void)state;
    static const tree_file files[] = {{"a/number", "-42\n"},
                                      {"a/bad", "12x\n"},
                                      {"a/empty", ""},
                                      {"a/size", "1280K\n"},
                                      {"a/plain", "77\n"},
                                      {"a/huge", "99999999999999999999G\n"},
                                      {"a/fields", "Mem: 1\nMemTotal:     16 kB\nmodel\t: 5\n"
                                                   "model name\t: A B\nCount 12 x\n"},
                                      {NULL, NULL}};
    tree_fixture tree;
    int64_t number = 7;
    uint64_t size = 7;
    char text[64];
    assert_true(tree_make(&tree, files));
    assert_true(aegis_tree_number(tree.root, "a/number", &number));
    assert_int_equal(number, -42);
    assert_false(aegis_tree_number(tree.root, "a/bad", &number));
    assert_false(aegis_tree_number(tree.root, "a/empty", &number));
    assert_false(aegis_tree_number(tree.root, "a/absent", &number));
    assert_true(aegis_tree_size(tree.root, "a/size", &size));
    assert_int_equal(size, 1280 * 1024);
    assert_true(aegis_tree_size(tree.root, "a/plain", &size));
    assert_int_equal(size, 77);
    assert_false(aegis_tree_size(tree.root, "a/huge", &size));
    assert_false(aegis_tree_size(tree.root, "a/bad", &size));
    assert_true(aegis_tree_field_number(tree.root, "a/fields", "MemTotal", &size));
    assert_int_equal(size, 16384);
    assert_true(aegis_tree_field_number(tree.root, "a/fields", "Count", &size));
    assert_int_equal(size, 12);
    assert_true(aegis_tree_field(tree.root, "a/fields", "model name", text, sizeof text));
    assert_string_equal(text, "A B");
    assert_false(aegis_tree_field(tree.root, "a/fields", "Mod", text, sizeof text));
    assert_false(aegis_tree_field_number(tree.root, "a/fields", "model name", &size));
    tree_remove(&tree);
}

/* A service in two nested groups of version 2: the outer one is tighter in memory, the inner in
 * CPU. */
static void version_2_takes_the_tightest_group(void **state)
{
    (void)state;
    static const tree_file files[] = {
        {"proc/self/cgroup", "0::/a.slice/b.service\n"},
        {"proc/self/mountinfo",
         "23 1 0:21 / /sys rw - sysfs sysfs rw\n"
         "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"},
        {"sys/fs/cgroup/a.slice/memory.max", "1000000\n"},
        {"sys/fs/cgroup/a.slice/memory.current", "900000\n"},
        {"sys/fs/cgroup/a.slice/memory.stat", "anon 1\ninactive_file 300000\n"},
        {"sys/fs/cgroup/a.slice/cpu.max", "max 100000\n"},
        {"sys/fs/cgroup/a.slice/b.service/memory.max", "2000000\n"},
        {"sys/fs/cgroup/a.slice/b.service/memory.current", "100000\n"},
        {"sys/fs/cgroup/a.slice/b.service/cpu.max", "150000 100000\n"},
        {NULL, NULL}};
    tree_fixture tree;
    aegis_cgroup_limits limits;
    assert_true(tree_make(&tree, files));
    aegis_cgroup_read(tree.root, &limits);
    assert_true(limits.memory_limited && limits.cpu_limited);
    assert_int_equal(limits.memory_limit_bytes, 1000000);
    assert_int_equal(limits.memory_available_bytes, 400000);
    assert_int_equal(limits.cpu_quota_us, 150000);
    assert_int_equal(limits.cpu_period_us, 100000);
    tree_remove(&tree);
}

/* A container of version 1 sees its own group as the root of the mount. */
static void version_1_in_a_container(void **state)
{
    (void)state;
    static const tree_file files[] = {
        {"proc/self/cgroup", "4:memory:/docker/abc\n3:cpuset:/docker/abc\n"
                             "2:cpuacct,cpu:/docker/abc\n0::/docker/abc\n"},
        {"proc/self/mountinfo",
         "30 29 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
         "31 29 0:28 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"},
        {"sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"},
        {"sys/fs/cgroup/memory/memory.usage_in_bytes", "36870912\n"},
        {"sys/fs/cgroup/memory/memory.stat", "inactive_file 5\ntotal_inactive_file 0\n"},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {NULL, NULL}};
    tree_fixture tree;
    aegis_cgroup_limits limits;
    assert_true(tree_make(&tree, files));
    aegis_cgroup_read(tree.root, &limits);
    assert_true(limits.memory_limited && limits.cpu_limited);
    assert_int_equal(limits.memory_limit_bytes, 536870912);
    assert_int_equal(limits.memory_available_bytes, 500000000);
    assert_int_equal(limits.cpu_quota_us, 50000);
    tree_remove(&tree);
}

static void no_limit_is_no_limit(void **state)
{
    (void)state;
    static const tree_file files[] = {
        {"proc/self/cgroup", "4:memory:/\n2:cpu:/\n0::/\nrubbish\n"},
        {"proc/self/mountinfo", "rubbish\n30 29 0:27 / /cg/memory rw - cgroup cgroup rw,memory\n"
                                "31 29 0:28 / /cg/cpu rw - cgroup cgroup rw,cpu\n"},
        {"cg/memory/memory.limit_in_bytes", "9223372036854771712\n"},
        {"cg/memory/memory.usage_in_bytes", "1\n"},
        {"cg/cpu/cpu.cfs_quota_us", "-1\n"},
        {"cg/cpu/cpu.cfs_period_us", "100000\n"},
        {NULL, NULL}};
    tree_fixture tree;
    aegis_cgroup_limits limits;
    assert_true(tree_make(&tree, files));
    aegis_cgroup_read(tree.root, &limits);
    assert_false(limits.memory_limited || limits.cpu_limited);
    tree_remove(&tree);
    aegis_cgroup_read("/nonexistent", &limits);
    assert_false(limits.memory_limited || limits.cpu_limited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_lists_are_parsed),
        cmocka_unit_test(malformed_cpu_lists_are_refused),
        cmocka_unit_test(numbers_sizes_and_fields_are_read),
        cmocka_unit_test(version_2_takes_the_tightest_group),
        cmocka_unit_test(version_1_in_a_container),
        cmocka_unit_test(no_limit_is_no_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
