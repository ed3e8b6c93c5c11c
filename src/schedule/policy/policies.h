/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_POLICY_POLICIES_H
#define AEGIS_SCHEDULE_POLICY_POLICIES_H

/* What the built-in policies share. */

#include <aegisrt/ext/policy_ops.h>

/* critical_window.c: idle_until of cw-edf */
uint64_t aegis_policy_critical_window(void *self, const aegis_policy_view *view);

#endif
