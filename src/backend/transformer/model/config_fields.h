/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_CONFIG_FIELDS_H
#define AEGIS_TRANSFORMER_CONFIG_FIELDS_H

/* The keys of a config.json with their values and places, before the architecture is known. */

#include "backend/transformer/model/config.h"
#include "backend/transformer/model/json_pull.h"
#include "base/bump.h"

typedef struct aegis_config_field {
    const char *key;
    aegis_json_kind kind;
    uint64_t line, column; /* of the key */
    double number;
    const char *text;
} aegis_config_field;

typedef struct aegis_config_fields {
    aegis_json_pull pull;
    aegis_bump bump;
    aegis_config_field *items;
    size_t count, capacity;
    uint32_t eos_count; /* eos_token_id, a number or a list of them */
    double eos[AEGIS_CONFIG_MAX_EOS];
} aegis_config_fields;

/* Finish also after a failure. */
aegis_status aegis_config_fields_read(aegis_config_fields *fields,
                                      const char *text,
                                      size_t size,
                                      const char *origin,
                                      const aegis_allocator *allocator,
                                      aegis_error *err);
void aegis_config_fields_finish(aegis_config_fields *fields);

/* There, and not null. */
bool aegis_config_has(const aegis_config_fields *fields, const char *key);
/* A failure at the place of the key, "origin:line:column: key: ...". */
aegis_status aegis_config_fail(aegis_config_fields *fields,
                               const char *key,
                               aegis_status status,
                               aegis_error *err,
                               const char *format,
                               ...) AEGIS_PRINTF(5, 6);

/* Values. An absent or null key gives `fallback`; where that is NULL or below `least`, CONFIG. */
aegis_status aegis_config_text(aegis_config_fields *fields,
                               const char *key,
                               const char *fallback,
                               const char **ret,
                               aegis_error *err);
aegis_status aegis_config_whole(aegis_config_fields *fields,
                                const char *key,
                                double least,
                                double most,
                                double fallback,
                                double *ret,
                                aegis_error *err);
aegis_status aegis_config_number(aegis_config_fields *fields,
                                 const char *key,
                                 double least,
                                 double most,
                                 double fallback,
                                 double *ret,
                                 aegis_error *err);
aegis_status aegis_config_boolean(
    aegis_config_fields *fields, const char *key, bool fallback, bool *ret, aegis_error *err);

/* Keys of which one value is supported. Null and absence are always good. */
typedef enum aegis_config_only {
    AEGIS_CONFIG_NULL,
    AEGIS_CONFIG_FALSE,
    AEGIS_CONFIG_TRUE,
    AEGIS_CONFIG_ONE,
    AEGIS_CONFIG_DEFAULT /* the string "default" */
} aegis_config_only;

typedef struct aegis_config_fixed {
    const char *key;
    aegis_config_only only;
} aegis_config_fixed;

aegis_status aegis_config_check_fixed(aegis_config_fields *fields,
                                      const aegis_config_fixed *fixed,
                                      size_t count,
                                      aegis_error *err);

#endif
