/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_PAST_PROOF_H
#define AEGISRT_CLI_PAST_PROOF_H

/* Responses beyond what was proved, the premises that broke, and how far the proofs of lanes held.
 */

#include "json.h"

#include <aegisrt/scheduler.h>

/* `name_of` tells the name of a model by its number. */
typedef const char *(*cli_name_of)(const void *self, uint32_t model);

/* Sentences about model `name`; nothing when no response was beyond. */
void cli_past_proof_print(const aegis_past_proof *past,
                          const char *name,
                          cli_name_of name_of,
                          const void *self);
/* A sentence about each lane whose proofs did not always hold. */
void cli_lane_proofs_print(const aegis_scheduler_metrics *metrics);
json_t *cli_lane_proofs_json(const aegis_scheduler_metrics *metrics);
json_t *cli_past_proof_json(const aegis_past_proof *past, cli_name_of name_of, const void *self);

#endif
