/* SPDX-License-Identifier: Apache-2.0 */
#include "device/cgroup.h"

#include "device/system_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_BYTES 65536
/* Version 1 writes "no limit" as the largest multiple of a page. */
#define UNLIMITED (UINT64_C(1) << 60)

/* Where one controller's groups of this process are. */
typedef struct place {
    bool found, unified; /* unified: version 2 */
    char mount[AEGIS_TREE_PATH_BYTES];
    char group[AEGIS_TREE_PATH_BYTES]; /* below the mount, "" for its root */
} place;

/* "a,b,c" names `word`. */
static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t span = strcspn(at, ",");
        if (span == length && strncmp(at, word, length) == 0) {
            return true;
        }
        at += span;
        at += *at == ',' ? 1 : 0;
    }
    return false;
}

/* The group of this process from lines "id:controllers:path"; version 2 has no controllers. */
static bool find_group(char *table, const char *controller, char *ret_group, size_t size)
{
    char *rest = NULL;
    for (char *line = strtok_r(table, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':');
        char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (path == NULL) {
            continue;
        }
        *path++ = '\0';
        controllers++;
        bool matches =
            controller == NULL ? *controllers == '\0' : list_has(controllers, controller);
        if (matches) {
            snprintf(ret_group, size, "%s", path);
            return true;
        }
    }
    return false;
}

/* mountinfo: id parent dev root mount options [tags] - type source super-options. */
static bool find_mount(char *table, const char *controller, char **ret_root, char **ret_mount)
{
    char *rest = NULL;
    for (char *line = strtok_r(table, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *tail = strstr(line, " - ");
        char type[32], super[512];
        if (tail == NULL || sscanf(tail, " - %31s %*s %511s", type, super) != 2) {
            continue;
        }
        bool matches = controller == NULL
                           ? strcmp(type, "cgroup2") == 0
                           : strcmp(type, "cgroup") == 0 && list_has(super, controller);
        if (!matches) {
            continue;
        }
        char *fields = NULL;
        strtok_r(line, " ", &fields);
        strtok_r(NULL, " ", &fields);
        strtok_r(NULL, " ", &fields);
        *ret_root = strtok_r(NULL, " ", &fields);
        *ret_mount = strtok_r(NULL, " ", &fields);
        return *ret_root != NULL && *ret_mount != NULL;
    }
    return false;
}

/* In a container the mount shows only the part of the hierarchy below its root. A group outside of
 * it, or outside of the control group namespace ("/../name", cgroup_namespaces(7)), is not to be
 * seen: what the root of the mount says is all that can be known. */
static const char *below_root(const char *group, const char *mount_root)
{
    size_t length = strlen(mount_root);
    if (strncmp(group, "/..", 3) == 0) {
        return "";
    }
    if (strcmp(mount_root, "/") == 0) {
        return group;
    }
    bool inside =
        strncmp(group, mount_root, length) == 0 && (group[length] == '/' || group[length] == '\0');
    return inside ? group + length : "";
}

static place locate(const char *root, const char *controller)
{
    place found = {.unified = controller == NULL};
    char group[AEGIS_TREE_PATH_BYTES], *mount_root, *mount;
    char *table = malloc(TABLE_BYTES);
    if (table != NULL && aegis_tree_read(root, "proc/self/cgroup", table, TABLE_BYTES) &&
        find_group(table, controller, group, sizeof group) &&
        aegis_tree_read(root, "proc/self/mountinfo", table, TABLE_BYTES) &&
        find_mount(table, controller, &mount_root, &mount)) {
        snprintf(found.mount, sizeof found.mount, "%s", mount);
        snprintf(found.group, sizeof found.group, "%s", below_root(group, mount_root));
        if (strcmp(found.group, "/") == 0) {
            found.group[0] = '\0';
        }
        found.found = true;
    }
    free(table);
    return found;
}

static bool path_of(const place *at, const char *file, char *ret_path, size_t size)
{
    int written = snprintf(ret_path, size, "%s%s/%s", at->mount, at->group, file);
    return written > 0 && (size_t)written < size;
}

static bool read_number(const char *root, const place *at, const char *file, uint64_t *ret_number)
{
    char path[3 * AEGIS_TREE_PATH_BYTES];
    int64_t number;
    if (!path_of(at, file, path, sizeof path) || !aegis_tree_number(root, path, &number) ||
        number < 0) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return true;
}

/* Past memory.max a group's processes are killed, past memory.high they are throttled and their
 * pages taken away, which no bound of an execution survives (kernel: admin-guide/cgroup-v2.rst,
 * "Memory Interface Files"). Either may be absent or "max". */
static bool read_limit(const char *root, const place *at, uint64_t *ret_limit)
{
    uint64_t limit = UNLIMITED, high = UNLIMITED;
    (void)read_number(root, at, at->unified ? "memory.max" : "memory.limit_in_bytes", &limit);
    if (at->unified) {
        (void)read_number(root, at, "memory.high", &high);
    }
    *ret_limit = limit < high ? limit : high;
    return *ret_limit < UNLIMITED;
}

static void read_memory(const char *root, const place *at, aegis_cgroup_limits *limits)
{
    char path[3 * AEGIS_TREE_PATH_BYTES];
    uint64_t limit, usage, cache = 0;
    if (!read_limit(root, at, &limit)) {
        return;
    }
    if (!read_number(root, at, at->unified ? "memory.current" : "memory.usage_in_bytes", &usage)) {
        usage = 0;
    }
    if (path_of(at, "memory.stat", path, sizeof path)) {
        aegis_tree_field_number(root, path, at->unified ? "inactive_file" : "total_inactive_file",
                                &cache);
    }
    uint64_t held = usage > cache ? usage - cache : 0;
    uint64_t available = limit > held ? limit - held : 0;
    if (!limits->memory_limited || limit < limits->memory_limit_bytes) {
        limits->memory_limit_bytes = limit;
    }
    if (!limits->memory_limited || available < limits->memory_available_bytes) {
        limits->memory_available_bytes = available;
    }
    limits->memory_limited = true;
}

static bool read_quota(const char *root, const place *at, uint64_t *ret_quota, uint64_t *ret_period)
{
    char path[3 * AEGIS_TREE_PATH_BYTES], text[64];
    uint64_t numbers[2];
    if (!at->unified) {
        return read_number(root, at, "cpu.cfs_quota_us", ret_quota) &&
               read_number(root, at, "cpu.cfs_period_us", ret_period);
    }
    if (!path_of(at, "cpu.max", path, sizeof path) ||
        !aegis_tree_read(root, path, text, sizeof text) ||
        aegis_tree_numbers(text, numbers, 2) != 2) { /* "max 100000" when there is none */
        return false;
    }
    *ret_quota = numbers[0];
    *ret_period = numbers[1];
    return true;
}

static void read_cpu(const char *root, const place *at, aegis_cgroup_limits *limits)
{
    uint64_t quota, period;
    if (!read_quota(root, at, &quota, &period) || period == 0 || quota >= UNLIMITED / period) {
        return;
    }
    if (!limits->cpu_limited || (double)quota / (double)period <
                                    (double)limits->cpu_quota_us / (double)limits->cpu_period_us) {
        limits->cpu_quota_us = quota;
        limits->cpu_period_us = period;
    }
    limits->cpu_limited = true;
}

typedef void (*reader)(const char *root, const place *at, aegis_cgroup_limits *limits);

static void walk_up(const char *root, place at, reader read_one, aegis_cgroup_limits *limits)
{
    if (!at.found) {
        return;
    }
    for (;;) {
        read_one(root, &at, limits);
        char *slash = strrchr(at.group, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

void aegis_cgroup_read(const char *root, aegis_cgroup_limits *ret_limits)
{
    *ret_limits = (aegis_cgroup_limits){0};
    /* A controller is in one hierarchy only; asking in both finds it in either. */
    place unified = locate(root, NULL);
    walk_up(root, unified, read_memory, ret_limits);
    walk_up(root, locate(root, "memory"), read_memory, ret_limits);
    walk_up(root, unified, read_cpu, ret_limits);
    walk_up(root, locate(root, "cpu"), read_cpu, ret_limits);
}
