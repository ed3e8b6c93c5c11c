/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_TEXT_H
#define AEGIS_TRACE_TEXT_H

/* Removes a UTF-8 sequence that the end of a buffer has cut from the end of `text`. */
void aegis_trace_trim_text(char *text);

#endif
