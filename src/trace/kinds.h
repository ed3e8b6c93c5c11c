/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_KINDS_H
#define AEGIS_TRACE_KINDS_H

/* What the operands of each kind are called and what they are. */

#include <aegisrt/trace.h>

typedef enum trace_operand_type {
    TRACE_OPERAND_ABSENT = 0,
    TRACE_OPERAND_NUMBER,
    TRACE_OPERAND_OPTIONAL,  /* a number, none when negative */
    TRACE_OPERAND_RUNNER_UP, /* the key of operand d's model, none when d is negative */
    TRACE_OPERAND_MODEL,     /* a model number, none when negative */
    TRACE_OPERAND_STATUS,    /* aegis_status */
    TRACE_OPERAND_CATEGORY,  /* aegis_error_category */
    TRACE_OPERAND_COUNTER    /* aegis_trace_counter */
} trace_operand_type;

typedef struct trace_operand {
    const char *name;
    trace_operand_type type;
} trace_operand;

#define TRACE_OPERANDS 4

/* Operands a to d of a record; a refusal's depend on its rationale. A foreign kind has the names a
 * to d. Static. */
const trace_operand *aegis_trace_operands(const aegis_trace_record *record);

/* "memory", "queue-depth", ...; "counter" for a foreign value. Static. */
const char *aegis_trace_counter_name(int64_t counter);

static inline int64_t aegis_trace_operand_value(const aegis_trace_record *record, unsigned index)
{
    const int64_t values[TRACE_OPERANDS] = {record->a, record->b, record->c, record->d};
    return values[index];
}

#endif
