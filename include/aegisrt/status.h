/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_STATUS_H
#define AEGISRT_STATUS_H

/** @file status.h What every call that can fail returns. */

#ifdef __cplusplus
extern "C" {
#endif

/** Outcome of a call. Zero is success; every other value is a failure. */
typedef enum aegis_status {
    AEGIS_OK = 0,
    AEGIS_ERROR_INVALID_ARGUMENT,      /**< the caller broke the call's contract */
    AEGIS_ERROR_CONFIG,                /**< a configuration says something impossible */
    AEGIS_ERROR_PARSE,                 /**< bytes from outside are malformed */
    AEGIS_ERROR_IO,                    /**< the operating system failed a read or write */
    AEGIS_ERROR_NOT_FOUND,             /**< a named thing does not exist */
    AEGIS_ERROR_EXISTS,                /**< a name is taken */
    AEGIS_ERROR_STATE,                 /**< called in the wrong state of the object */
    AEGIS_ERROR_UNSUPPORTED,           /**< this implementation cannot do that */
    AEGIS_ERROR_NO_MEMORY,             /**< host memory or the device arena is exhausted */
    AEGIS_ERROR_BUDGET_EXCEEDED,       /**< a model asked for more than its own budget */
    AEGIS_ERROR_OVERFLOW,              /**< an exact result does not fit its integer type */
    AEGIS_ERROR_NOT_ADMITTED,          /**< admission refused, or the model is not admitted */
    AEGIS_ERROR_UNDECIDED,             /**< no answer within the limits given */
    AEGIS_ERROR_QUEUE_FULL,            /**< a bounded queue is full; try later */
    AEGIS_ERROR_STREAMS_EXHAUSTED,     /**< the stream limit is reached; try later */
    AEGIS_ERROR_TOO_EARLY,             /**< submitted earlier than the arrival curve allows */
    AEGIS_ERROR_BUSY,                  /**< in use; try later */
    AEGIS_ERROR_TIMEOUT,               /**< a bounded wait ended */
    AEGIS_ERROR_RUNTIME_NOT_AVAILABLE, /**< a runtime was not built or cannot be loaded */
    AEGIS_ERROR_DEVICE_NOT_AVAILABLE,  /**< no such device, or no driver */
    AEGIS_ERROR_ENGINE_BUILD,          /**< a model could not be compiled */
    AEGIS_ERROR_ENGINE_DESERIALIZE,    /**< a compiled model could not be loaded */
    AEGIS_ERROR_CALIBRATION_CACHE,     /**< a calibration cache is stale or damaged */
    AEGIS_ERROR_INFERENCE,             /**< a run failed */
    AEGIS_ERROR_DEPARTURE,             /**< a run departed from its recorded allocations */
    AEGIS_ERROR_TERMINATED,            /**< a run was ended by enforcement */
    AEGIS_ERROR_TELEMETRY_UNAVAILABLE, /**< a sensor cannot be read */
    AEGIS_ERROR_PERMISSION,            /**< the operating system does not permit it */
    AEGIS_ERROR_DEVICE,                /**< a device call failed */
    AEGIS_ERROR_DEVICE_LOST,           /**< the device is gone; the process should end */
    AEGIS_ERROR_INTERNAL               /**< a defect of AegisRT itself */
} aegis_status;

/** What a caller can do about a failure. */
typedef enum aegis_error_category {
    AEGIS_CATEGORY_NONE = 0,
    AEGIS_CATEGORY_TRANSIENT, /**< retry later */
    AEGIS_CATEGORY_PERMANENT, /**< the same call will fail again: change something */
    AEGIS_CATEGORY_FATAL      /**< end the process after reporting */
} aegis_error_category;

/** Short lower-case name of a status ("queue_full"); "unknown" for a foreign value. Static. */
const char *aegis_status_name(aegis_status status);

/** Default category of a status. Any thread. */
aegis_error_category aegis_status_category(aegis_status status);

/** "none", "transient", "permanent" or "fatal". Static. */
const char *aegis_error_category_name(aegis_error_category category);

#ifdef __cplusplus
}
#endif
#endif
