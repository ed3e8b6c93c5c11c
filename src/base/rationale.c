/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/rationale.h>

#include <stddef.h>

typedef struct rationale_text {
    aegis_rationale code;
    const char *name, *sentence;
} rationale_text;

static const rationale_text texts[] = {
    {AEGIS_WHY_NONE, "none", "no reason was recorded"},
    {AEGIS_WHY_ONLY_READY, "only-ready", "no other job was ready on this lane"},
    {AEGIS_WHY_SMALLER_KEY, "smaller-key", "its key was smaller than the runner-up's"},
    {AEGIS_WHY_TIE_MODEL, "tie-model", "keys were equal and its model comes first"},
    {AEGIS_WHY_TIE_SEQUENCE, "tie-sequence",
     "key and model were equal and it was submitted earlier"},
    {AEGIS_WHY_NEXT_SEGMENT, "next-segment", "it continues the job that had just run"},
    {AEGIS_WHY_POLICY_WAITS, "policy-waits", "the policy prefers to wait for a coming release"},
    {AEGIS_WHY_BACKGROUND, "background", "no job with a deadline was ready"},
    {AEGIS_WHY_QUEUE_FULL, "queue-full", "the model's queue was full"},
    {AEGIS_WHY_TOO_EARLY, "too-early", "it came earlier than the arrival curve allows"},
    {AEGIS_WHY_NOT_ADMITTED, "not-admitted", "the model is not admitted"},
    {AEGIS_WHY_MODEL_FAULTED, "model-faulted", "the model has an error that was not cleared"},
    {AEGIS_WHY_OVERRUN, "overrun", "it passed its execution bound"},
    {AEGIS_WHY_COMPUTE_BUDGET, "compute-budget", "the compute budget of this period is used up"},
    {AEGIS_WHY_STREAM_LIMIT, "stream-limit", "the model's stream limit is reached"},
    {AEGIS_WHY_RUN_FAILED, "run-failed", "the backend reported an error"},
    {AEGIS_WHY_DEPARTURE, "departure", "its allocations departed from the recording"},
    {AEGIS_WHY_MEMORY_BUDGET, "memory-budget", "it asked for more memory than its budget"},
    {AEGIS_WHY_REMOVED, "removed", "the model was removed"},
    {AEGIS_WHY_STOPPING, "stopping", "the scheduler was stopping"},
    {AEGIS_WHY_AFTER_OVERRUN, "after-overrun", "the job before it overran and the model says skip"},
    {AEGIS_WHY_DEADLINE_EARLIER, "deadline-earlier",
     "a deadline earlier than the admitted one was asked for"},
    {AEGIS_WHY_IN_TIME, "in-time", "it finished by its deadline"},
    {AEGIS_WHY_EXCUSED_OVERRUN, "excused-overrun",
     "a bound was broken in the same busy period of the lane"},
    {AEGIS_WHY_UNEXCUSED, "unexcused", "every bound held and yet it was late"},
    {AEGIS_WHY_EXCUSED_WAKE, "excused-wake",
     "the driver woke, or early inputs came, later than proved in the same busy period"},
    {AEGIS_WHY_ADMITTED, "admitted", "every test passed"},
    {AEGIS_WHY_UTILISATION, "utilisation", "the lane would be used for more than all of its time"},
    {AEGIS_WHY_RESPONSE, "response", "a worst response would pass its deadline"},
    {AEGIS_WHY_DEMAND, "demand", "at one instant more work would be due than time has passed"},
    {AEGIS_WHY_MEMORY, "memory", "the plan does not fit the device's memory"},
    {AEGIS_WHY_MODEL_BUDGET, "model-budget", "it needs more memory than its own budget"},
    {AEGIS_WHY_NO_PROOF, "no-proof", "no proof exists for this combination"},
    {AEGIS_WHY_COMPUTE_LIMIT, "compute-limit", "its bound is above its compute budget"},
    {AEGIS_WHY_ANALYSIS_OVERFLOW, "analysis-overflow", "the numbers of the analysis do not fit"},
    {AEGIS_WHY_ANALYSIS_UNDECIDED, "analysis-undecided",
     "the analysis ended undecided at its limit"},
    {AEGIS_WHY_LINK, "link",
     "early copies would use the link to the device for all of its time or more"},
};

static const rationale_text *find(aegis_rationale code)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i].code == code) {
            return &texts[i];
        }
    }
    return NULL;
}

const char *aegis_rationale_name(aegis_rationale rationale)
{
    const rationale_text *text = find(rationale);
    return text == NULL ? "unknown" : text->name;
}

const char *aegis_rationale_sentence(aegis_rationale rationale)
{
    const rationale_text *text = find(rationale);
    return text == NULL ? "unknown reason" : text->sentence;
}
