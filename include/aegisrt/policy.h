/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_POLICY_H
#define AEGISRT_POLICY_H

/** @file policy.h The order in which ready jobs run. Write your own with ext/policy_ops.h. */

#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct aegis_policy_ops;

/** A policy: an ops table and its state. Copied by value, borrows `self`. */
typedef struct aegis_policy {
    const struct aegis_policy_ops *ops;
    void *self;
} aegis_policy;

/** The built-in policies: "fifo", "np-rm", "np-dm", "np-fp", "np-edf", and "cw-edf" (critical
 * window EDF, which may leave a lane idle for a job to come; no proof). Stateless. NOT_FOUND lists
 * the names and suggests the nearest. */
aegis_status aegis_policy_find(const char *name, aegis_policy *ret_policy, aegis_error *err);
/** Names of the built-in policies. */
const char *const *aegis_policy_names(size_t *ret_count);
/** Whether there is a test for it; without one nothing is admitted under it. */
bool aegis_policy_has_proof(const aegis_policy *policy);
const char *aegis_policy_name(const aegis_policy *policy);

#ifdef __cplusplus
}
#endif
#endif
