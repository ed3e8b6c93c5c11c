/* SPDX-License-Identifier: Apache-2.0 */
/* Why a model is refused and what would fit, in a sentence. */
#include "schedule/driver/internal.h"

#include <stdio.h>

static const char *name_of(const aegis_candidate *candidates, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].id == id) {
            return candidates[i].name;
        }
    }
    return "?";
}

/* "VGG", or "a segment of VGG" when it is cut. */
static const char *
blocker_text(const aegis_candidate *candidates, size_t count, uint32_t id, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].id == id) {
            snprintf(text, size, "%s%.64s", candidates[i].segments != NULL ? "a segment of " : "",
                     candidates[i].name);
        }
    }
    return text;
}

static const char *search_text(aegis_lane_search search)
{
    switch (search) {
    case AEGIS_LANE_SEARCH_ALL:
        return "; every other assignment of the models to lanes fails too";
    case AEGIS_LANE_SEARCH_LIMIT:
        return "; the search for another assignment to lanes ended at its limit";
    case AEGIS_LANE_SEARCH_NONE:
        break;
    }
    return "";
}

/* One way that would fit, behind those before it; nothing when there is none. */
static size_t
add_way(char *text, size_t size, size_t used, const char *what, int64_t value, const char *behind)
{
    char length[32];
    if (value <= 0 || used >= size) {
        return used;
    }
    int written = snprintf(text + used, size - used, "%s%s %s%s", used > 0 ? ", or " : "", what,
                           aegis_format_duration(value, length, sizeof length), behind);
    return used + (size_t)written;
}

static void describe_fit(const aegis_fit *fit, uint64_t enforceable_ns, char *text, size_t size)
{
    char ways[160] = "", has[64], bound[32];
    size_t used = 0;
    snprintf(has, sizeof has, " (it has %s)",
             aegis_format_duration((int64_t)enforceable_ns, bound, sizeof bound));
    used = add_way(ways, sizeof ways, used, "period from", fit->smallest_period, "");
    used = add_way(ways, sizeof ways, used, "deadline from", fit->smallest_deadline, "");
    used = add_way(ways, sizeof ways, used, "an enforceable bound of", fit->largest_execution, has);
    if (used == 0) {
        snprintf(text, size, "nothing of it alone would fit");
    } else {
        snprintf(text, size, "what would fit: %s", ways);
    }
}

static void describe_link(const aegis_refusal *refusal, char *text, size_t size)
{
    snprintf(text, size,
             "the early copies would use the link for %.1f %% of its time, and the queue for it "
             "would not end; give this model, or another that copies early, smaller inputs, a "
             "longer period or copies = \"inline\"",
             100 * refusal->utilisation);
}

void aegis_refusal_describe(const aegis_refusal *refusal,
                            const aegis_candidate *candidates,
                            size_t count,
                            char *text,
                            size_t size)
{
    char a[32], b[32], c[32], who[96], blocked[160] = "", what[400] = "", fit[220] = "";
    const char *culprit = name_of(candidates, count, refusal->culprit);
    switch ((int)refusal->rationale) {
    case AEGIS_WHY_UTILISATION:
        snprintf(what, sizeof what, "lane %u would be used for %.1f %% of its time", refusal->lane,
                 100 * refusal->utilisation);
        break;
    case AEGIS_WHY_DEMAND:
        if (refusal->at_ns <= 0) {
            snprintf(
                what, sizeof what,
                "lane %u: the deadline of %s is not above its release jitter (%s: how late the "
                "driver may wake, and its own)",
                refusal->lane, culprit,
                aegis_format_duration((int64_t)candidates[count - 1].jitter_ns, a, sizeof a));
            break;
        }
        if (refusal->blocker != AEGIS_TRACE_NONE) {
            snprintf(blocked, sizeof blocked, ", %s of it behind %s",
                     aegis_format_duration(refusal->blocking_ns, c, sizeof c),
                     blocker_text(candidates, count, refusal->blocker, who, sizeof who));
        }
        snprintf(what, sizeof what,
                 "lane %u (used %.1f %%): %s after the start of a busy period %s of work would be "
                 "due%s",
                 refusal->lane, 100 * refusal->utilisation,
                 aegis_format_duration(refusal->at_ns, a, sizeof a),
                 aegis_format_duration(refusal->demand_ns, b, sizeof b), blocked);
        break;
    case AEGIS_WHY_RESPONSE:
        snprintf(what, sizeof what,
                 "lane %u (used %.1f %%): the worst response of %s would be %s, its deadline is %s,"
                 " %s of it blocking%s%s",
                 refusal->lane, 100 * refusal->utilisation, culprit,
                 refusal->response_ns < 0
                     ? "without end"
                     : aegis_format_duration(refusal->response_ns, a, sizeof a),
                 aegis_format_duration(refusal->deadline_ns, b, sizeof b),
                 aegis_format_duration(refusal->blocking_ns, c, sizeof c),
                 refusal->blocker == AEGIS_TRACE_NONE ? "" : " by ",
                 blocker_text(candidates, count, refusal->blocker, who, sizeof who));
        break;
    case AEGIS_WHY_LINK:
        describe_link(refusal, text, size);
        return;
    default:
        snprintf(what, sizeof what, "lane %u: %s", refusal->lane,
                 aegis_rationale_sentence(refusal->rationale));
        break;
    }
    const aegis_candidate *asked = &candidates[count - 1];
    if (refusal->beside) {
        snprintf(fit, sizeof fit,
                 "its copies make inputs come later there; copies = \"inline\" would not");
    } else if (asked->background && refusal->rationale != AEGIS_WHY_NO_PROOF) {
        snprintf(fit, sizeof fit, "it would block for %s, and at most %s is left to be blocked",
                 aegis_format_duration((int64_t)aegis_candidate_longest_ns(asked), a, sizeof a),
                 refusal->fit.largest_execution > 0
                     ? aegis_format_duration(refusal->fit.largest_execution, b, sizeof b)
                     : "nothing");
    } else if (refusal->rationale != AEGIS_WHY_NO_PROOF) {
        describe_fit(&refusal->fit, candidates[count - 1].enforceable_ns, fit, sizeof fit);
    }
    snprintf(text, size, "%s%s%s%s", what, search_text(refusal->search), fit[0] != '\0' ? "; " : "",
             fit);
}
