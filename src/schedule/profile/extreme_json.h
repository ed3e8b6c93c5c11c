/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_EXTREME_JSON_H
#define AEGIS_SCHEDULE_EXTREME_JSON_H

/* The extreme-value fit in profile files. */

#include <aegisrt/profile.h>

#include <jansson.h>

/* NULL when memory is short. */
json_t *aegis_extreme_to_json(const aegis_extreme_fit *fit);
/* NULL: no fit was asked for. False when it is malformed. */
bool aegis_extreme_from_json(const json_t *node, aegis_extreme_fit *ret_fit);

#endif
