/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TRACE_OUTPUT_H
#define AEGIS_TRACE_OUTPUT_H

/* Where an export goes: a file, or standard output for "-". */

#include <aegisrt/error.h>

#include <stdio.h>

typedef struct trace_output {
    const char *path;
    FILE *stream;
} trace_output;

aegis_status aegis_trace_output_open(trace_output *output, const char *path, aegis_error *err);
/* Flushes, and closes what open opened. IO when anything that was written did not arrive. */
aegis_status aegis_trace_output_close(trace_output *output, aegis_error *err);

#endif
