/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRANSFORMER_JSON_PULL_INTERNAL_H
#define AEGIS_TRANSFORMER_JSON_PULL_INTERNAL_H

/* What the parts of the reader have in common: json_bytes.c, json_string.c, json_number.c and
 * json_pull.c, which joins them. Statuses are those of json_pull.h. */

#include "backend/transformer/model/json_pull.h"

/* The place of a failure becomes where the reader stands. */
void aegis_json_mark(aegis_json_pull *pull);
/* A failure there: PARSE. */
aegis_status aegis_json_fail_here(aegis_json_pull *pull, aegis_error *err, const char *what);

/* The next byte without consuming it, -1 at the end. */
aegis_status aegis_json_look(aegis_json_pull *pull, int *ret_byte, aegis_error *err);
/* The next byte that is not white space, not consumed. */
aegis_status aegis_json_look_past_space(aegis_json_pull *pull, int *ret_byte, aegis_error *err);
/* The next byte, consumed unless it is the end. */
aegis_status aegis_json_take(aegis_json_pull *pull, int *ret_byte, aegis_error *err);

/* The next value, which is not consumed, is of this kind. */
aegis_status aegis_json_expect(aegis_json_pull *pull, aegis_json_kind kind, aegis_error *err);

/* A string, whose opening quote comes next, into pull->text. */
aegis_status aegis_json_read_string(aegis_json_pull *pull, aegis_error *err);
/* A number, checked and passed over. */
aegis_status aegis_json_skip_number(aegis_json_pull *pull, aegis_error *err);

#endif
