/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_CLI_MEMORY_PICTURE_H
#define AEGIS_CLI_MEMORY_PICTURE_H

#include <aegisrt/system.h>

/*
 * Draws the memory of an admitted system: above, what each model keeps for itself, over the whole
 * width, as it lives all the time; below, enlarged, the regions that the models of a lane share:
 * each model in a column of its own, its segments side by side, time across. IO.
 */
aegis_status
cli_memory_picture_write(const aegis_system *system, const char *path, aegis_error *err);

#endif
