/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_PROFILE_H
#define AEGISRT_CLI_PROFILE_H

/* What `profile` found, and how it is printed. */

#include "json.h"

#include <aegisrt/memory_plan.h>

/* One row of the result. */
typedef struct cli_measured {
    const char *name;
    aegis_profile profile;
    uint64_t by_class[AEGIS_MEMORY_CLASS_COUNT];
    uint64_t overhead_bytes, loading_bytes;
    char label[96], hash[65];
} cli_measured;

/* profile_report.c: prints all rows; returns an exit code. */
int cli_print_measured(const cli_measured *rows, size_t count, cli_format format);

#endif
