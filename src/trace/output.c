/* SPDX-License-Identifier: Apache-2.0 */
#include "trace/output.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static aegis_status failed(const char *what, const char *path, int code, aegis_error *err)
{
    char text[128];
    return aegis_error_set_native(
        err, AEGIS_HERE("trace.output"), AEGIS_ERROR_IO, code, "cannot %s %s: %s", what,
        strcmp(path, "-") == 0 ? "standard output" : path, strerror_r(code, text, sizeof text));
}

aegis_status aegis_trace_output_open(trace_output *output, const char *path, aegis_error *err)
{
    FILE *stream = strcmp(path, "-") == 0 ? stdout : fopen(path, "wbe");
    if (stream == NULL) {
        return failed("make", path, errno, err);
    }
    *output = (trace_output){.path = path, .stream = stream};
    return AEGIS_OK;
}

aegis_status aegis_trace_output_close(trace_output *output, aegis_error *err)
{
    bool had_error = ferror(output->stream) != 0;
    errno = 0;
    int rc = output->stream == stdout ? fflush(stdout) : fclose(output->stream);
    output->stream = NULL;
    if (had_error || rc != 0) {
        return failed("write all of", output->path, errno == 0 ? EIO : errno, err);
    }
    return AEGIS_OK;
}
