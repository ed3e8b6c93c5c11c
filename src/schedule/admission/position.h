/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_SCHEDULE_ADMISSION_POSITION_H
#define AEGIS_SCHEDULE_ADMISSION_POSITION_H

/* Where a value stands in a JSON text that has already been parsed without error: the parser keeps
 * no positions, and a message without one is of little use. Offsets into the text. A member
 * that is not found (its key is written with an escape) is answered with `container` itself. */

#include <stddef.h>

typedef struct aegis_json_text {
    const char *text;
    size_t size;
} aegis_json_text;

/* The value the text begins with, white space skipped. */
size_t aegis_json_root(aegis_json_text json);
/* The value (or the key itself) of a member of the object at `container`. */
size_t aegis_json_member(aegis_json_text json, size_t container, const char *key);
size_t aegis_json_key(aegis_json_text json, size_t container, const char *key);
/* The element `index` of the array at `container`, which has so many. */
size_t aegis_json_element(aegis_json_text json, size_t container, size_t index);
/* The element after the one at `element`; behind the end when there is none. */
size_t aegis_json_following(aegis_json_text json, size_t element);
/* Line and column of an offset, both from 1. */
void aegis_json_line_column(aegis_json_text json,
                            size_t offset,
                            size_t *ret_line,
                            size_t *ret_column);

#endif
