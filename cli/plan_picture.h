/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_CLI_PLAN_PICTURE_H
#define AEGIS_CLI_PLAN_PICTURE_H

#include <aegisrt/memory_plan.h>

typedef struct cli_plan_picture {
    const aegis_plan_buffer *buffers;
    const uint64_t *offsets;
    size_t count;
    uint64_t height_bytes, lower_bound_bytes;
    uint64_t capacity_bytes; /* 0: none was given */
    const char *title;
} cli_plan_picture;

/* Draws a plan: time across, bytes up. IO. */
aegis_status
cli_plan_picture_write(const cli_plan_picture *picture, const char *path, aegis_error *err);

#endif
