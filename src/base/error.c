/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(aegis_error *err,
                 aegis_place place,
                 aegis_status status,
                 int64_t native_code,
                 const char *format,
                 va_list arguments) AEGIS_PRINTF(5, 0);

static void fill(aegis_error *err,
                 aegis_place place,
                 aegis_status status,
                 int64_t native_code,
                 const char *format,
                 va_list arguments)
{
    /* Formatted aside first: an argument may be err->message itself. */
    char message[AEGIS_ERROR_MESSAGE_BYTES];
    vsnprintf(message, sizeof message, format, arguments);
    *err = (aegis_error){.status = status,
                         .category = aegis_status_category(status),
                         .component = place.component,
                         .file = place.file,
                         .function = place.function,
                         .line = place.line,
                         .native_code = native_code};
    memcpy(err->message, message, sizeof message);
}

aegis_status
aegis_error_set(aegis_error *err, aegis_place place, aegis_status status, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, place, status, 0, format, arguments);
        va_end(arguments);
    }
    return status;
}

aegis_status aegis_error_set_native(aegis_error *err,
                                    aegis_place place,
                                    aegis_status status,
                                    int64_t native_code,
                                    const char *format,
                                    ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, place, status, native_code, format, arguments);
        va_end(arguments);
    }
    return status;
}

void aegis_error_prefix(aegis_error *err, const char *format, ...)
{
    if (err == NULL) {
        return;
    }
    char prefix[AEGIS_ERROR_MESSAGE_BYTES], joined[2 * AEGIS_ERROR_MESSAGE_BYTES + 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    snprintf(joined, sizeof joined, "%s: %s", prefix, err->message);
    memcpy(err->message, joined, sizeof err->message - 1);
    err->message[sizeof err->message - 1] = '\0';
}

void aegis_error_clear(aegis_error *err)
{
    if (err != NULL) {
        memset(err, 0, sizeof *err);
    }
}
