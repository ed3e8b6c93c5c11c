/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_JSON_H
#define AEGISRT_CLI_JSON_H

/* Results as JSON, as JSON lines or as CSV, all from one tree. */

#include "output.h"

#include <aegisrt/admission.h>
#include <aegisrt/device.h>
#include <aegisrt/profile.h>
#include <aegisrt/scheduler.h>

#include <jansson.h>

/* {"schema_version": 1}; NULL when memory is short, which cli_json_print reports. */
json_t *cli_json_object(void);

/* Puts `value` (taken, may be NULL when memory is short) under `key` and remembers failures by
 * marking the object: cli_json_print then fails. Either may be NULL. */
void cli_json_set(json_t *object, const char *key, json_t *value);
void cli_json_text(json_t *object, const char *key, const char *value);
void cli_json_bool(json_t *object, const char *key, bool value);
void cli_json_unsigned(json_t *object, const char *key, uint64_t value);
void cli_json_signed(json_t *object, const char *key, int64_t value);
/* null when the value is not finite. */
void cli_json_real(json_t *object, const char *key, double value);
/* null when `value` is negative (AEGIS_RESPONSE_...). */
void cli_json_response(json_t *object, const char *key, int64_t value);

json_t *cli_json_device(const aegis_device_capabilities *capabilities);
json_t *cli_json_distribution(const aegis_distribution *distribution);
json_t *cli_json_series(const aegis_profile_series *series);
/* null when no fit was asked for. */
json_t *cli_json_extreme(const aegis_extreme_fit *fit);
json_t *cli_json_drift(const aegis_drift *drift);
json_t *cli_json_fit(const aegis_fit *fit);

/*
 * Prints and frees `root`. JSON: the object; JSON lines: each element of its array `rows`, with the
 * schema version; CSV: the same as lines with a header, inner objects as "outer.inner". Returns 0,
 * or 4 after saying that memory was short.
 */
int cli_json_print(json_t *root, const char *rows, cli_format format);

/* Members for what became of a model's jobs. */
void cli_json_counters(json_t *object, const aegis_core_counters *counters);

#endif
