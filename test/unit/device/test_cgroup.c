/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of control groups, in the layouts that kernels and containers make: nested, delegated and
 * deleted groups, namespaces, both versions at once. */
#include "device/cgroup.h"
#include "support/device/tree_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MOUNT "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define GROUPS "sys/fs/cgroup/"
#define MOST_FILES 16

static aegis_cgroup_limits
limits_of(const char *cgroup, const char *mounts, const tree_file *files, size_t count)
{
    tree_fixture tree;
    aegis_cgroup_limits limits;
    tree_file all[MOST_FILES] = {{"proc/self/cgroup", cgroup}, {"proc/self/mountinfo", mounts}};
    assert_true(count + 3 <= MOST_FILES);
    for (size_t i = 0; i < count; i++) {
        all[i + 2] = files[i];
    }
    assert_true(tree_make(&tree, all));
    aegis_cgroup_read(tree.root, &limits);
    tree_remove(&tree);
    return limits;
}

#define LIMITS(cgroup, mounts, files) \
    limits_of(cgroup, mounts, files, sizeof(files) / sizeof *(files))

static void expect(aegis_cgroup_limits limits, uint64_t limit, uint64_t available)
{
    assert_true(limits.memory_limited);
    assert_int_equal(limits.memory_limit_bytes, limit);
    assert_int_equal(limits.memory_available_bytes, available);
}

/* The smallest limit is at the top, the least room in the middle, where a neighbour holds much. */
static void every_ancestor_counts(void **state)
{
    (void)state;
    static const tree_file files[] = {{GROUPS "a/memory.max", "1000000\n"},
                                      {GROUPS "a/memory.current", "100000\n"},
                                      {GROUPS "a/b/memory.max", "2000000\n"},
                                      {GROUPS "a/b/memory.current", "1900000\n"},
                                      {GROUPS "a/b/memory.stat", "anon 7\ninactive_file 50000\n"},
                                      {GROUPS "a/b/c/memory.max", "3000000\n"},
                                      {GROUPS "a/b/c/memory.current", "10000\n"},
                                      {GROUPS "memory.current", "9\n"}}; /* the root has no limit */
    expect(LIMITS("0::/a/b/c\n", MOUNT, files), 1000000, 150000);
}

static void max_is_no_limit(void **state)
{
    (void)state;
    static const tree_file files[] = {{GROUPS "a/memory.max", "max\n"},
                                      {GROUPS "a/memory.high", "max\n"},
                                      {GROUPS "a/memory.current", "100000\n"},
                                      {GROUPS "a/cpu.max", "max 100000\n"},
                                      {GROUPS "a/b/memory.max", "max\n"}};
    const aegis_cgroup_limits limits = LIMITS("0::/a/b\n", MOUNT, files);
    assert_false(limits.memory_limited || limits.cpu_limited);
}

/* Beyond memory.high the kernel throttles, so it bounds a budget as memory.max does. */
static void high_is_a_limit(void **state)
{
    (void)state;
    static const tree_file below[] = {{GROUPS "a/memory.max", "1000000\n"},
                                      {GROUPS "a/memory.high", "700000\n"},
                                      {GROUPS "a/memory.current", "200000\n"}};
    static const tree_file alone[] = {
        {GROUPS "a/memory.max", "max\n"},
        {GROUPS "a/memory.high", "700000\n"},
        {GROUPS "a/memory.current", "800000\n"}}; /* may be breached */
    static const tree_file above[] = {{GROUPS "a/memory.max", "600000\n"},
                                      {GROUPS "a/memory.high", "700000\n"},
                                      {GROUPS "a/b/memory.high", "650000\n"}};
    expect(LIMITS("0::/a\n", MOUNT, below), 700000, 500000);
    expect(LIMITS("0::/a\n", MOUNT, alone), 700000, 0);
    expect(LIMITS("0::/a/b\n", MOUNT, above), 600000, 600000); /* usage unknown: 0 */
}

/* Nobody enabled the controller below the user's service: the leaf has no files of it. */
static void a_delegated_leaf_has_no_files(void **state)
{
    (void)state;
    static const tree_file files[] = {
        {GROUPS "user.slice/user-1000.slice/user@1000.service/memory.max", "500000\n"},
        {GROUPS "user.slice/user-1000.slice/user@1000.service/memory.current", "100000\n"},
        {GROUPS "user.slice/user-1000.slice/user@1000.service/app.slice/run.scope/cgroup.procs",
         "1\n"},
        {GROUPS "user.slice/cpu.max", "50000 100000\n"}};
    const aegis_cgroup_limits limits = LIMITS(
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run.scope\n", MOUNT, files);
    expect(limits, 500000, 400000);
    assert_true(limits.cpu_limited);
    assert_int_equal(limits.cpu_quota_us, 50000);
}

/* The root of a namespace is a group like others: its limits stand in the mount's own folder. */
static void the_root_of_a_namespace_is_limited(void **state)
{
    (void)state;
    static const tree_file files[] = {{GROUPS "memory.max", "400000\n"},
                                      {GROUPS "memory.current", "100000\n"},
                                      {GROUPS "inner/memory.max", "900000\n"}};
    expect(LIMITS("0::/\n", MOUNT, files), 400000, 300000);
    expect(LIMITS("0::/inner\n", MOUNT, files), 400000, 300000);
}

/* Seen from a namespace below or beside it, a group has a path that leads out. */
static void a_group_outside_of_the_namespace(void **state)
{
    (void)state;
    static const tree_file files[] = {{GROUPS "memory.max", "400000\n"},
                                      {GROUPS "memory.current", "100000\n"},
                                      {"sys/fs/other/memory.max", "5\n"}};
    static const char above[] = "29 23 0:26 /.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    expect(LIMITS("0::/../other\n", MOUNT, files), 400000, 300000);
    expect(LIMITS("0::/\n", above, files), 400000, 300000);
}

/* A container without a namespace of its own: paths are the host's, the mount shows its part. */
static void a_container_sees_its_part(void **state)
{
    (void)state;
    static const char part[] =
        "29 23 0:26 /system.slice/docker-1.scope /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    static const tree_file files[] = {{GROUPS "memory.max", "400000\n"},
                                      {GROUPS "memory.current", "100000\n"},
                                      {GROUPS "job/memory.max", "300000\n"},
                                      {GROUPS "job/memory.current", "50000\n"}};
    expect(LIMITS("0::/system.slice/docker-1.scope\n", part, files), 400000, 300000);
    expect(LIMITS("0::/system.slice/docker-1.scope/job\n", part, files), 300000, 250000);
    /* A name that only begins alike is another group. */
    expect(LIMITS("0::/system.slice/docker-1.scope2/job\n", part, files), 400000, 300000);
}

static void a_deleted_group_leaves_its_ancestors(void **state)
{
    (void)state;
    static const tree_file files[] = {{GROUPS "a/memory.max", "400000\n"},
                                      {GROUPS "a/memory.current", "1\n"}};
    expect(LIMITS("0::/a/gone (deleted)\n", MOUNT, files), 400000, 399999);
}

/* systemd's hybrid: version 2 without controllers beside the hierarchies of version 1. */
static void both_versions_at_once(void **state)
{
    (void)state;
    static const char mounts[] =
        "29 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    static const tree_file files[] = {
        {GROUPS "unified/a/cgroup.procs", "1\n"},
        {GROUPS "memory/a/memory.limit_in_bytes", "9223372036854771712\n"}, /* none */
        {GROUPS "memory/memory.limit_in_bytes", "9223372036854771712\n"},
        {GROUPS "memory/a/b/memory.limit_in_bytes", "800000\n"},
        {GROUPS "memory/a/b/memory.usage_in_bytes", "300000\n"},
        {GROUPS "memory/a/b/memory.soft_limit_in_bytes", "10\n"}, /* of reclaim alone */
        {GROUPS "memory/a/b/memory.stat", "inactive_file 5\ntotal_inactive_file 100000\n"}};
    expect(LIMITS("9:memory:/a/b\n0::/a\n", mounts, files), 800000, 600000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_ancestor_counts),
        cmocka_unit_test(max_is_no_limit),
        cmocka_unit_test(high_is_a_limit),
        cmocka_unit_test(a_delegated_leaf_has_no_files),
        cmocka_unit_test(the_root_of_a_namespace_is_limited),
        cmocka_unit_test(a_group_outside_of_the_namespace),
        cmocka_unit_test(a_container_sees_its_part),
        cmocka_unit_test(a_deleted_group_leaves_its_ancestors),
        cmocka_unit_test(both_versions_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
