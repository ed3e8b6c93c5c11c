/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_BYTE_STORY_H
#define AEGISRT_CLI_BYTE_STORY_H

/* Who shares bytes of the arena, and the happens-before edge that keeps each two of them apart. */

#include "json.h"

#include <aegisrt/system.h>

/* Of one byte, or of all (`offset` NULL; then tensors are only counted). */
void cli_byte_story_print(const aegis_system *system, const uint64_t *offset);
/* {"tensors": [...] or a number, "edges": [{"pairs": N, "because": "..."}]} */
json_t *cli_byte_story_json(const aegis_system *system, const uint64_t *offset);
/* Every two tensors that share a byte have such an edge. */
bool cli_byte_story_is_sound(const aegis_system *system);

#endif
