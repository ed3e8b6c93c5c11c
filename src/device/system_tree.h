/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_DEVICE_SYSTEM_TREE_H
#define AEGIS_DEVICE_SYSTEM_TREE_H

/* Reading of procfs and sysfs below a root, which is "/" on a machine and a folder in tests. All
 * functions return false when a file is absent, unreadable or not of the form asked for. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for any path below the root. */
#define AEGIS_TREE_PATH_BYTES 1024

/* Reads at most size - 1 bytes of root/path, ends them with NUL and cuts white space at the end.
 * What does not fit is left out. */
bool aegis_tree_read(const char *root, const char *path, char *ret_text, size_t size);

/* As above with a printf path. */
bool aegis_tree_read_at(const char *root, char *ret_text, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A file that holds one decimal number (sign allowed). */
bool aegis_tree_number(const char *root, const char *path, int64_t *ret_number);

/* A size as sysfs writes it: "48K", "32M" or plain bytes. */
bool aegis_tree_size(const char *root, const char *path, uint64_t *ret_bytes);

bool aegis_tree_exists(const char *root, const char *path);

/* The rest of the first line of root/path that starts with `key`, without blanks and ':' or '=' in
 * between. */
bool aegis_tree_field(
    const char *root, const char *path, const char *key, char *ret_text, size_t size);

/* The number in such a line. "kB" behind it multiplies by 1024. */
bool aegis_tree_field_number(const char *root,
                             const char *path,
                             const char *key,
                             uint64_t *ret_number);

/* Reads unsigned numbers separated by blanks until `capacity` or something else; returns how many.
 */
size_t aegis_tree_numbers(const char *text, uint64_t *ret_numbers, size_t capacity);

/* A list of CPUs as the kernel writes it, "0-3,8,10-11". */
#define AEGIS_CPU_LIMIT 4096
typedef struct aegis_cpu_list {
    uint64_t bits[AEGIS_CPU_LIMIT / 64];
} aegis_cpu_list;

/* False for malformed text and for CPUs from AEGIS_CPU_LIMIT on. Empty text is an empty list. */
bool aegis_cpu_list_parse(const char *text, aegis_cpu_list *ret_list);
bool aegis_cpu_list_has(const aegis_cpu_list *list, int cpu);
int aegis_cpu_list_count(const aegis_cpu_list *list);

#endif
