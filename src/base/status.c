/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/rationale.h>
#include <aegisrt/status.h>
#include <aegisrt/version.h>

#include <stddef.h>

const char *aegis_version(void)
{
    return AEGIS_VERSION_STRING;
}

const char *aegis_status_name(aegis_status status)
{
    switch (status) {
    case AEGIS_OK:
        return "ok";
    case AEGIS_ERROR_INVALID_ARGUMENT:
        return "invalid_argument";
    case AEGIS_ERROR_CONFIG:
        return "config";
    case AEGIS_ERROR_PARSE:
        return "parse";
    case AEGIS_ERROR_IO:
        return "io";
    case AEGIS_ERROR_NOT_FOUND:
        return "not_found";
    case AEGIS_ERROR_EXISTS:
        return "exists";
    case AEGIS_ERROR_STATE:
        return "state";
    case AEGIS_ERROR_UNSUPPORTED:
        return "unsupported";
    case AEGIS_ERROR_NO_MEMORY:
        return "no_memory";
    case AEGIS_ERROR_BUDGET_EXCEEDED:
        return "budget_exceeded";
    case AEGIS_ERROR_OVERFLOW:
        return "overflow";
    case AEGIS_ERROR_NOT_ADMITTED:
        return "not_admitted";
    case AEGIS_ERROR_UNDECIDED:
        return "undecided";
    case AEGIS_ERROR_QUEUE_FULL:
        return "queue_full";
    case AEGIS_ERROR_STREAMS_EXHAUSTED:
        return "streams_exhausted";
    case AEGIS_ERROR_TOO_EARLY:
        return "too_early";
    case AEGIS_ERROR_BUSY:
        return "busy";
    case AEGIS_ERROR_TIMEOUT:
        return "timeout";
    case AEGIS_ERROR_RUNTIME_NOT_AVAILABLE:
        return "runtime_not_available";
    case AEGIS_ERROR_DEVICE_NOT_AVAILABLE:
        return "device_not_available";
    case AEGIS_ERROR_ENGINE_BUILD:
        return "engine_build";
    case AEGIS_ERROR_ENGINE_DESERIALIZE:
        return "engine_deserialize";
    case AEGIS_ERROR_CALIBRATION_CACHE:
        return "calibration_cache";
    case AEGIS_ERROR_INFERENCE:
        return "inference";
    case AEGIS_ERROR_DEPARTURE:
        return "departure";
    case AEGIS_ERROR_TERMINATED:
        return "terminated";
    case AEGIS_ERROR_TELEMETRY_UNAVAILABLE:
        return "telemetry_unavailable";
    case AEGIS_ERROR_PERMISSION:
        return "permission";
    case AEGIS_ERROR_DEVICE:
        return "device";
    case AEGIS_ERROR_DEVICE_LOST:
        return "device_lost";
    case AEGIS_ERROR_INTERNAL:
        return "internal";
    }
    return "unknown";
}

aegis_error_category aegis_status_category(aegis_status status)
{
    switch (status) {
    case AEGIS_OK:
        return AEGIS_CATEGORY_NONE;
    case AEGIS_ERROR_QUEUE_FULL:
    case AEGIS_ERROR_STREAMS_EXHAUSTED:
    case AEGIS_ERROR_TOO_EARLY:
    case AEGIS_ERROR_BUSY:
    case AEGIS_ERROR_TIMEOUT:
    case AEGIS_ERROR_TERMINATED:
    case AEGIS_ERROR_TELEMETRY_UNAVAILABLE:
        return AEGIS_CATEGORY_TRANSIENT;
    case AEGIS_ERROR_DEVICE_LOST:
    case AEGIS_ERROR_INTERNAL:
        return AEGIS_CATEGORY_FATAL;
    case AEGIS_ERROR_INVALID_ARGUMENT:
    case AEGIS_ERROR_CONFIG:
    case AEGIS_ERROR_PARSE:
    case AEGIS_ERROR_IO:
    case AEGIS_ERROR_NOT_FOUND:
    case AEGIS_ERROR_EXISTS:
    case AEGIS_ERROR_STATE:
    case AEGIS_ERROR_UNSUPPORTED:
    case AEGIS_ERROR_NO_MEMORY:
    case AEGIS_ERROR_BUDGET_EXCEEDED:
    case AEGIS_ERROR_OVERFLOW:
    case AEGIS_ERROR_NOT_ADMITTED:
    case AEGIS_ERROR_UNDECIDED:
    case AEGIS_ERROR_RUNTIME_NOT_AVAILABLE:
    case AEGIS_ERROR_DEVICE_NOT_AVAILABLE:
    case AEGIS_ERROR_ENGINE_BUILD:
    case AEGIS_ERROR_ENGINE_DESERIALIZE:
    case AEGIS_ERROR_CALIBRATION_CACHE:
    case AEGIS_ERROR_INFERENCE:
    case AEGIS_ERROR_DEPARTURE:
    case AEGIS_ERROR_PERMISSION:
    case AEGIS_ERROR_DEVICE:
        return AEGIS_CATEGORY_PERMANENT;
    }
    return AEGIS_CATEGORY_PERMANENT;
}

const char *aegis_error_category_name(aegis_error_category category)
{
    switch (category) {
    case AEGIS_CATEGORY_NONE:
        return "none";
    case AEGIS_CATEGORY_TRANSIENT:
        return "transient";
    case AEGIS_CATEGORY_PERMANENT:
        return "permanent";
    case AEGIS_CATEGORY_FATAL:
        return "fatal";
    }
    return "unknown";
}
