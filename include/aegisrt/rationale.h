/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_RATIONALE_H
#define AEGISRT_RATIONALE_H

/** @file rationale.h Why a decision was made. Values are part of the trace format. */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum aegis_rationale {
    AEGIS_WHY_NONE = 0,
    /* dispatch */
    AEGIS_WHY_ONLY_READY = 1,   /**< no other job was ready on this lane */
    AEGIS_WHY_SMALLER_KEY = 2,  /**< its key is smaller than the runner-up's */
    AEGIS_WHY_TIE_MODEL = 3,    /**< keys equal; lower model number */
    AEGIS_WHY_TIE_SEQUENCE = 4, /**< key and model equal; earlier submission */
    AEGIS_WHY_NEXT_SEGMENT = 5, /**< continues the job it has just run */
    AEGIS_WHY_POLICY_WAITS = 6, /**< the policy prefers to wait for a release */
    AEGIS_WHY_BACKGROUND = 7,   /**< no foreground job was ready */
    /* reject, abort, skip */
    AEGIS_WHY_QUEUE_FULL = 16,
    AEGIS_WHY_TOO_EARLY = 17, /**< the arrival curve allows it later (early = refuse) */
    AEGIS_WHY_NOT_ADMITTED = 18,
    AEGIS_WHY_MODEL_FAULTED = 19,  /**< the context has an error that was not cleared */
    AEGIS_WHY_OVERRUN = 20,        /**< passed its bound */
    AEGIS_WHY_COMPUTE_BUDGET = 21, /**< compute time of this period is used up */
    AEGIS_WHY_STREAM_LIMIT = 22,   /**< not given today: one segment of a model runs at a time */
    AEGIS_WHY_RUN_FAILED = 23,     /**< the backend reported an error */
    AEGIS_WHY_DEPARTURE = 24,      /**< allocations departed from the recording */
    AEGIS_WHY_MEMORY_BUDGET = 25,
    AEGIS_WHY_REMOVED = 26,          /**< the model was evicted */
    AEGIS_WHY_STOPPING = 27,         /**< the scheduler is stopping */
    AEGIS_WHY_AFTER_OVERRUN = 28,    /**< release dropped because the last job overran (skip) */
    AEGIS_WHY_DEADLINE_EARLIER = 29, /**< a deadline earlier than the admitted one was asked for */
    /* completion */
    AEGIS_WHY_IN_TIME = 40,
    AEGIS_WHY_EXCUSED_OVERRUN = 41, /**< late; a bound was broken in this busy period of the lane */
    AEGIS_WHY_UNEXCUSED = 42,       /**< late although every bound held: a broken promise */
    /** late; the driver woke later than its measured bound, or early inputs came later than proved
     */
    AEGIS_WHY_EXCUSED_WAKE = 43,
    /* admission */
    AEGIS_WHY_ADMITTED = 64,
    AEGIS_WHY_UTILISATION = 65,       /**< a = ppm of the lane that would be used */
    AEGIS_WHY_RESPONSE = 66,          /**< a = response, b = deadline, c = model that misses */
    AEGIS_WHY_DEMAND = 67,            /**< a = instant, b = demand, c = model that blocks */
    AEGIS_WHY_MEMORY = 68,            /**< a = bytes needed, b = bytes free, c = capacity */
    AEGIS_WHY_MODEL_BUDGET = 69,      /**< a = bytes needed, b = the model's own limit */
    AEGIS_WHY_NO_PROOF = 70,          /**< no proof exists for this combination */
    AEGIS_WHY_COMPUTE_LIMIT = 71,     /**< a = bound, b = the model's compute budget */
    AEGIS_WHY_ANALYSIS_OVERFLOW = 72, /**< not given today: the call returns OVERFLOW */
    AEGIS_WHY_ANALYSIS_UNDECIDED = 73,
    AEGIS_WHY_LINK = 74 /**< a = ppm of the link to the device that early copies would use */
} aegis_rationale;

/** "smaller-key", "queue-full", ...; "unknown" for a foreign value. Static. */
const char *aegis_rationale_name(aegis_rationale rationale);

/** One English sentence without operands. Static. */
const char *aegis_rationale_sentence(aegis_rationale rationale);

#ifdef __cplusplus
}
#endif
#endif
