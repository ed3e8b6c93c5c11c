/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_CLI_ADMIT_H
#define AEGISRT_CLI_ADMIT_H

/* The parts of `admit`: how each worst response comes about (--explain), and what is printed. */

#include "json.h"

#include <aegisrt/admission.h>

typedef struct admit_explanation {
    aegis_analysis policy;
    const aegis_task *tasks;
    size_t count;
    aegis_derivation *derivations; /* one a task; not found where there is none within the limits */
} admit_explanation;

/* Derives every task's response, until limits->cancel. What the limits leave open is merely not
 * found; NULL derivations when memory is short. */
admit_explanation admit_explain(aegis_analysis policy,
                                const aegis_task *tasks,
                                size_t count,
                                const aegis_admission_limits *limits);
void admit_explanation_finish(admit_explanation *explanation);

/* A paragraph a task on stdout. */
void admit_explanation_print(const admit_explanation *explanation,
                             const aegis_admission_result *result);
/* {"release":..,"completion":..,"blocker":..,"interference":[{"task":..,"jobs":..,"time":..}],
 * "slack":..}, or null. completion = blocking + the times. */
json_t *admit_explanation_json(const admit_explanation *explanation, size_t task);

typedef struct admit_report {
    aegis_analysis policy;
    const aegis_task *tasks;
    size_t count;
    const aegis_admission_result *result;
    aegis_fit *fits; /* one a task, or NULL */
    bool *fit_known; /* as many */
    admit_explanation explanation;
    const aegis_priority_assignment *assignment; /* NULL: the order is the given one */
    bool timed_out;                              /* --timeout ended something */
} admit_report;

/* np-fp, fpp and fp. */
bool admit_has_priorities(aegis_analysis policy);
/* On stdout; an exit code. */
int admit_report_print(const admit_report *r, cli_format format);

#endif
