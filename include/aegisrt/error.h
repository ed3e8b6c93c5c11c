/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_ERROR_H
#define AEGISRT_ERROR_H

/**
 * @file error.h The record that a failing call fills in.
 *
 * Every call that can fail takes a last parameter `aegis_error *err`, owned by the caller, which
 * may be NULL. On success it is not touched. There is no per-thread "last error".
 */

#include <aegisrt/status.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_ERROR_MESSAGE_BYTES 512

/** A failure with its category, component and place. The strings are static. */
typedef struct aegis_error {
    aegis_status status;
    aegis_error_category category;
    const char *component; /**< for example "device.host" */
    const char *file;      /**< source file, relative */
    const char *function;
    int line;
    int64_t native_code; /**< errno, cudaError_t or the runtime's own code; 0 when there is none */
    char message[AEGIS_ERROR_MESSAGE_BYTES];
} aegis_error;

/** Where an error was found; made by AEGIS_HERE. */
typedef struct aegis_place {
    const char *component, *file, *function;
    int line;
} aegis_place;

#ifdef __cplusplus
#define AEGIS_HERE(component) (aegis_place{(component), __FILE__, __func__, __LINE__})
#else
#define AEGIS_HERE(component) ((aegis_place){(component), __FILE__, __func__, __LINE__})
#endif

#if defined(__GNUC__)
#define AEGIS_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define AEGIS_PRINTF(text, first)
#endif

/**
 * Fills `err` (when not NULL) and returns `status`, so that `return aegis_error_set(...)` reads
 * well. The category is the status's default one.
 */
aegis_status
aegis_error_set(aegis_error *err, aegis_place place, aegis_status status, const char *format, ...)
    AEGIS_PRINTF(4, 5);

/** As aegis_error_set, with the native code of the call that failed (errno and the like). */
aegis_status aegis_error_set_native(aegis_error *err,
                                    aegis_place place,
                                    aegis_status status,
                                    int64_t native_code,
                                    const char *format,
                                    ...) AEGIS_PRINTF(5, 6);

/** Puts "text: " in front of the message of a failure on its way up. No-op when `err` is NULL. */
void aegis_error_prefix(aegis_error *err, const char *format, ...) AEGIS_PRINTF(2, 3);

/** Makes `err` say "no failure". */
void aegis_error_clear(aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
