/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SYSTEM_WORKLOAD_READER_H
#define AEGIS_SYSTEM_WORKLOAD_READER_H

/*
 * Typed reads from the tables of a workload. The first failure is kept and makes every later read
 * of the same reader a no-op, so that callers list their keys and look at `status` once.
 */

#include "base/bump.h"
#include "base/toml.h"

#include <aegisrt/workload.h>

/* Bounds that keep sums of a few thousand of these far inside 64 bits. */
#define AEGIS_WORKLOAD_MAX_DURATION_NS (UINT64_C(366) * 24 * 3600 * 1000000000)
#define AEGIS_WORKLOAD_MAX_SIZE_BYTES (UINT64_C(1) << 48)

typedef struct aegis_workload_reader {
    const char *origin; /* stands for the file in messages */
    const char *folder; /* of the file; NULL: file references are not followed */
    aegis_bump *bump;
    aegis_status status;
    aegis_error *err;
} aegis_workload_reader;

/* One table of the file. */
typedef struct aegis_workload_section {
    aegis_workload_reader *reader;
    const aegis_toml_node *table;
    char label[96]; /* "[device]", "[[model]] \"vad\"" */
} aegis_workload_section;

/* Keeps the first failure: "origin:line:column: label: key: text". `at` NULL: the section's place.
 */
void aegis_workload_fail(const aegis_workload_section *section,
                         const aegis_toml_node *at,
                         const char *key,
                         aegis_status status,
                         const char *format,
                         ...) AEGIS_PRINTF(5, 6);

/* Fails on keys outside `known`, with the nearest of them; keys in `later` (may be NULL, ends with
 * a pair of NULL) are UNSUPPORTED with their cure. */
typedef struct aegis_workload_later_key {
    const char *key, *cure;
} aegis_workload_later_key;
void aegis_workload_check_keys(const aegis_workload_section *section,
                               const char *const *known,
                               size_t count,
                               const aegis_workload_later_key *later);

/* Each leaves *ret_value as it is when the key is missing, and returns the node or NULL (missing or
 * failed). */
const aegis_toml_node *aegis_workload_get(const aegis_workload_section *section,
                                          const char *key,
                                          aegis_toml_kind kind,
                                          const char *wanted);
const aegis_toml_node *aegis_workload_text(const aegis_workload_section *section,
                                           const char *key,
                                           const char *wanted,
                                           const char **ret_value);
/* Index of the text in `names`. */
const aegis_toml_node *aegis_workload_choice(const aegis_workload_section *section,
                                             const char *key,
                                             const char *const *names,
                                             size_t count,
                                             int *ret_value);
const aegis_toml_node *aegis_workload_integer(const aegis_workload_section *section,
                                              const char *key,
                                              int64_t low,
                                              int64_t high,
                                              int64_t *ret_value);
/* Between `low` and `high`, both excluded when `open`. Integers are numbers too. */
const aegis_toml_node *aegis_workload_number(const aegis_workload_section *section,
                                             const char *key,
                                             double low,
                                             double high,
                                             bool open,
                                             double *ret_value);
const aegis_toml_node *
aegis_workload_boolean(const aegis_workload_section *section, const char *key, bool *ret_value);
const aegis_toml_node *aegis_workload_duration(const aegis_workload_section *section,
                                               const char *key,
                                               bool zero_allowed,
                                               uint64_t *ret_ns);
const aegis_toml_node *aegis_workload_size(const aegis_workload_section *section,
                                           const char *key,
                                           uint64_t least,
                                           uint64_t *ret_bytes);

/* The path of an existing file: as written when it is absolute or lies in the working directory,
 * else in the workload's folder. As written when references are not followed; NULL on failure. */
const char *aegis_workload_resolve(const aegis_workload_section *section,
                                   const aegis_toml_node *at,
                                   const char *key,
                                   const char *path);

/* Zeroed memory that lives as long as the workload; NULL after setting NO_MEMORY. */
void *aegis_workload_take(const aegis_workload_section *section, size_t count, size_t size);
const char *aegis_workload_copy(const aegis_workload_section *section, const char *text);

/* workload_cuts.c: the key "cuts"; `positions` says whether a list of them may stand there. */
void aegis_workload_read_cuts(const aegis_workload_section *section,
                              bool positions,
                              aegis_workload_cuts *ret_cuts);

/* workload_model.c */
void aegis_workload_read_model(aegis_workload_reader *reader,
                               const aegis_toml_node *table,
                               const aegis_workload *workload,
                               size_t index,
                               aegis_early_rule early,
                               aegis_workload_model *ret_model);
/* workload_events.c: needs the models. */
void aegis_workload_read_events(const aegis_workload_section *top, aegis_workload *workload);
/* workload_tensors.c: inputs, state and source of a model. */
void aegis_workload_read_tensors(const aegis_workload_section *section,
                                 aegis_workload_model *model);

#endif
