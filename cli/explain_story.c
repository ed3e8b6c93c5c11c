/* SPDX-License-Identifier: Apache-2.0 */
/* The story of a job, of an instant and of a model: what blocked, what went first and why, and how
 * it ended against deadline and proved bound. */
#include "explain_story.h"
#include "explain_tale.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOST_LANES 64
#define MOST_NAMED 6 /* others are summed up */
#define MOST_WAITING 1024

/* ---- a job ---- */

static bool is_background(const stay *at)
{
    return at->why == AEGIS_WHY_BACKGROUND;
}

static void tell_release(const story *s, const tale *t)
{
    char name[32], release[CLI_TEXT_BYTES], late[CLI_TEXT_BYTES] = "", due[CLI_TEXT_BYTES];
    uint64_t deadline = 0;
    const json_t *header = story_header(s, t->model);
    json_int_t relative = json_integer_value(json_object_get(header, "deadline_ns"));
    deadline = t->release + (uint64_t)relative;
    if (t->end != NULL && (t->end->kind == AEGIS_TRACE_COMPLETE ||
                           t->end->kind == AEGIS_TRACE_MISS || t->end->kind == AEGIS_TRACE_ABORT)) {
        deadline = (uint64_t)t->end->b;
    }
    bool endless = deadline >= (uint64_t)INT64_MAX || relative == 0;
    story_tell(s, "%s job %" PRIu64 " was released at %s%s%s.", story_name(s, t->model, name),
               t->job, story_instant(s, t->release, release),
               endless ? "; it is background and has no deadline" : ", due at ",
               endless ? "" : story_instant(s, deadline, due));
    if (t->seen > t->release) {
        story_tell(s, "The scheduler saw the release %s late.",
                   story_length(s, t->seen - t->release, late));
    }
}

/* What was on the lane when the job became ready. */
static void tell_blocker(const story *s, const tale *t, const stay *at, uint64_t until)
{
    char name[32], since[CLI_TEXT_BYTES], blocked[CLI_TEXT_BYTES];
    uint64_t end = at->to < until ? at->to : until;
    bool behind = is_background(at) ? !is_background(t->first)
                                    : !is_background(t->first) && at->key > t->first->key;
    story_tell(s, "%s job %" PRIu64 " had the lane since %s and is not preempted: it %s %s%s.",
               story_name(s, at->model, name), at->job, story_instant(s, at->from, since),
               behind ? "blocked for" : "went first, for another",
               story_length(s, end - t->seen, blocked), is_background(at) ? " (background)" : "");
}

static void tell_operands(const story *s, const stay *at, const stay *own)
{
    char name[32];
    int64_t own_key = own->key;
    if (is_background(at) || is_background(own)) {
        return; /* keys and virtual times do not compare */
    }
    story_tell(s, "  %s job %" PRIu64 ": key %" PRId64 " against its %" PRId64 "%s.",
               story_name(s, at->model, name), at->job, at->key, own_key,
               at->key == own_key ? " (a tie: the lower model number, then the earlier goes first)"
                                  : "");
}

/* Jobs that were dispatched while it waited, summed up by model, in order of the models. */
static void tell_interference(const story *s, const tale *t, uint64_t from, uint64_t until)
{
    char name[32], sum[CLI_TEXT_BYTES];
    size_t models = aegis_trace_file_model_count(s->file);
    for (size_t model = 0; model < models; model++) {
        uint64_t time = 0, times = 0;
        const stay *shown = NULL;
        for (size_t i = 0; i < s->stay_count; i++) {
            const stay *at = &s->stays[i];
            if (at->lane == t->first->lane && at->model == model && at->job != t->job &&
                at->from >= from && at->from < until) {
                time += (at->to < until ? at->to : until) - at->from;
                times++;
                shown = at;
            }
        }
        if (times > 0) {
            story_tell(s, "%s went first %" PRIu64 " time%s, for %s in all (%s).",
                       story_name(s, (uint16_t)model, name), times, times == 1 ? "" : "s",
                       story_length(s, time, sum),
                       aegis_rationale_name((aegis_rationale)shown->why));
            tell_operands(s, shown, t->first);
        }
    }
}

static void tell_idling(const story *s, const tale *t, uint64_t until)
{
    char from[CLI_TEXT_BYTES], to[CLI_TEXT_BYTES];
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->kind == AEGIS_TRACE_IDLE_UNTIL && record->lane == t->first->lane &&
            record->time_ns >= t->seen && record->time_ns < until) {
            story_tell(s, "The policy left the lane idle from %s until %s, for a job to come.",
                       story_instant(s, record->time_ns, from),
                       story_instant(s, (uint64_t)record->a, to));
        }
    }
}

static void tell_wait(const story *s, const tale *t)
{
    uint64_t until = t->first->from;
    for (size_t i = 0; i < s->stay_count; i++) {
        const stay *at = &s->stays[i];
        if (at->lane == t->first->lane && at->job != t->job && at->from < t->seen &&
            at->to > t->seen) {
            tell_blocker(s, t, at, until);
            tell_operands(s, at, t->first);
        }
    }
    tell_interference(s, t, t->seen, until);
    tell_idling(s, t, until);
}

static void tell_dispatch(const story *s, const tale *t)
{
    char name[32], at[CLI_TEXT_BYTES], waited[CLI_TEXT_BYTES], against[96] = "";
    const stay *first = t->first;
    if (first->other_model >= 0) {
        snprintf(against, sizeof against, ": %s %" PRId64 " against %" PRId64 " of %s",
                 is_background(first) ? "virtual time" : "key", first->key, first->other_key,
                 story_name(s, (uint16_t)first->other_model, name));
    }
    story_tell(s, "It was dispatched on lane %u at %s, %s after its release, because %s%s.",
               first->lane, story_instant(s, first->from, at),
               story_length(s, first->from - t->release, waited),
               aegis_rationale_sentence((aegis_rationale)first->why), against);
}

/* The bound of one segment, 0: not in the trace. */
static uint64_t segment_bound(const story *s, uint16_t model, int64_t segment)
{
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->kind == AEGIS_TRACE_EVENT_MODEL_SEGMENT && record->model == model &&
            record->a == segment) {
            return (uint64_t)record->b;
        }
    }
    return 0;
}

static void tell_run(const story *s, const tale *t)
{
    char ran[CLI_TEXT_BYTES], bound[CLI_TEXT_BYTES], between[CLI_TEXT_BYTES];
    uint64_t sum = 0, gaps = 0, previous = 0;
    size_t segments = 0;
    for (const stay *at = t->first; at <= t->last; at++) {
        if (at->job == t->job && at->done) {
            sum += segment_bound(s, t->model, at->segment);
            gaps += previous > 0 ? at->from - previous : 0;
            previous = at->to;
            segments++;
        }
    }
    if (segments == 0) {
        story_tell(s, "The trace ends while it runs.");
        return;
    }
    story_tell(s, "It ran for %s in %zu segment%s; bounded by %s.", story_length(s, t->ran, ran),
               segments, segments == 1 ? "" : "s", story_length(s, sum, bound));
    if (gaps > 0) {
        story_tell(s, "Between its segments others had the lane for %s.",
                   story_length(s, gaps, between));
    }
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->kind == AEGIS_TRACE_OVERRUN && record->job == t->job &&
            record->rationale != AEGIS_WHY_EXCUSED_WAKE) {
            story_tell(s, "It passed a bound: %s where %s was allowed.",
                       story_length(s, (uint64_t)record->b, ran),
                       story_length(s, (uint64_t)record->a, bound));
        }
    }
}

/* What had voided the lane's proofs when the job ended; NULL: they held. `ret_ran_long`: that
 * segment had passed its execution bound too. Records stand in the order of the decisions. */
static const aegis_trace_record *find_cause(const story *s, const tale *t, bool *ret_ran_long)
{
    const aegis_trace_record *cause = NULL, *overrun = NULL;
    *ret_ran_long = false;
    for (const aegis_trace_record *record = s->records; record < t->end; record++) {
        if (record->lane != t->end->lane) {
            continue;
        }
        if (record->kind == AEGIS_TRACE_LANE_WHOLE) {
            cause = NULL;
        } else if (record->kind == AEGIS_TRACE_OVERRUN && record->rationale == AEGIS_WHY_OVERRUN) {
            overrun = record;
        } else if (record->kind == AEGIS_TRACE_OVERRUN) {
            cause = record;
            *ret_ran_long =
                overrun != NULL && overrun->job == record->job && overrun->c == record->c;
        }
    }
    return cause;
}

static void tell_cause(const story *s, const aegis_trace_record *cause, bool ran_long)
{
    char name[32], at[CLI_TEXT_BYTES], was[CLI_TEXT_BYTES], allowed[CLI_TEXT_BYTES];
    bool wake = cause->rationale == AEGIS_WHY_EXCUSED_WAKE;
    story_tell(s,
               "What voided the proofs of lane %u: %s job %" PRIu64 " at %s, %s where %s was "
               "allowed (%s).",
               cause->lane, story_name(s, cause->model, name), cause->job,
               story_instant(s, cause->time_ns, at), story_length(s, (uint64_t)cause->b, was),
               story_length(s, (uint64_t)cause->a, allowed),
               wake ? "its release was seen, or its early inputs came, later than the wake bound "
                      "and its jitter"
               : ran_long ? "its execution bound"
                          : "it kept its execution bound; the overhead did not keep to what is "
                            "counted of it");
}

/* Other models that come may raise what was proved; the header knows the begin alone. */
static bool proof_may_have_changed(const story *s, const tale *t)
{
    bool ran = false, changed = false;
    for (const aegis_trace_record *record = s->records; record < t->end; record++) {
        ran = ran || record->kind == AEGIS_TRACE_DISPATCH;
        changed = changed || (ran && record->kind == AEGIS_TRACE_ADMITTED);
    }
    return changed;
}

static void tell_broken(const story *s, const tale *t, bool beyond)
{
    bool ran_long;
    const aegis_trace_record *cause = find_cause(s, t, &ran_long);
    if (!beyond && t->end->kind != AEGIS_TRACE_MISS) {
        return;
    }
    if (cause != NULL) {
        tell_cause(s, cause, ran_long);
    } else if (!beyond) {
        return; /* late, and nothing was proved of it */
    } else if (proof_may_have_changed(s, t)) {
        story_tell(s, "That was proved when the run began; models came since, and no bound was "
                      "broken.");
    } else {
        story_tell(s, "NO PREMISE BROKE THAT THE TRACE SHOWS. UNLESS SUBMISSIONS GAVE PRIORITIES, "
                      "THIS IS A DEFECT OF AEGISRT: PLEASE REPORT IT WITH THIS TRACE.");
    }
}

static void tell_bound(const story *s, const tale *t, uint64_t response)
{
    char bound[CLI_TEXT_BYTES];
    bool beyond = false;
    const json_t *proved = json_object_get(story_header(s, t->model), "response_ns");
    if (json_is_integer(proved) && json_integer_value(proved) > 0) {
        uint64_t worst = (uint64_t)json_integer_value(proved);
        story_tell(s, "The proved worst response is %s: this was %.0f %% of it%s.",
                   story_length(s, worst, bound), 100.0 * (double)response / (double)worst,
                   response > worst ? ", beyond what was proved" : "");
        beyond = response > worst;
    }
    tell_broken(s, t, beyond);
}

static void tell_end(const story *s, const tale *t)
{
    char at[CLI_TEXT_BYTES], response[CLI_TEXT_BYTES], slack[CLI_TEXT_BYTES];
    const aegis_trace_record *end = t->end;
    if (end == NULL) {
        story_tell(s, "The trace does not tell how it ended.");
        return;
    }
    if (end->kind != AEGIS_TRACE_COMPLETE && end->kind != AEGIS_TRACE_MISS) {
        story_tell(s, "It %s at %s because %s.",
                   end->kind == AEGIS_TRACE_ABORT    ? "was aborted"
                   : end->kind == AEGIS_TRACE_REJECT ? "was rejected"
                                                     : "was skipped",
                   story_instant(s, end->time_ns, at),
                   aegis_rationale_sentence((aegis_rationale)end->rationale));
        return;
    }
    uint64_t finish = (uint64_t)end->c, deadline = (uint64_t)end->b;
    if (deadline >= (uint64_t)INT64_MAX) {
        story_tell(s, "It ended at %s: a response of %s.", story_instant(s, finish, at),
                   story_length(s, (uint64_t)end->d, response));
        return;
    }
    bool late = end->kind == AEGIS_TRACE_MISS;
    story_tell(s, "It ended at %s: a response of %s, %s %s its deadline.",
               story_instant(s, finish, at), story_length(s, (uint64_t)end->d, response),
               story_length(s, late ? finish - deadline : deadline - finish, slack),
               late ? "after" : "before");
    if (late) {
        story_tell(s, "Late because %s.",
                   aegis_rationale_sentence((aegis_rationale)end->rationale));
    }
    tell_bound(s, t, (uint64_t)end->d);
}

static void tell_job(const story *s, uint64_t job)
{
    tale t = story_tale(s, job);
    if (t.model == AEGIS_TRACE_NONE) {
        story_tell(s, "The trace begins after job %" PRIu64 " was released.", job);
        return;
    }
    tell_release(s, &t);
    if (t.first != NULL) {
        tell_wait(s, &t);
        tell_dispatch(s, &t);
        tell_run(s, &t);
    } else {
        story_tell(s, "It never ran.");
    }
    tell_end(s, &t);
}

json_t *explain_job(const aegis_trace_file *file, uint64_t job)
{
    story s;
    if (!story_open(&s, file)) {
        return NULL;
    }
    tell_job(&s, job);
    return story_close(&s);
}

/* ---- an instant ---- */

static void tell_lane(const story *s, uint16_t lane, uint64_t at_ns)
{
    char name[32], at[CLI_TEXT_BYTES], since[CLI_TEXT_BYTES], to[CLI_TEXT_BYTES];
    for (size_t i = 0; i < s->stay_count; i++) {
        const stay *on = &s->stays[i];
        if (on->lane == lane && on->from <= at_ns && on->to > at_ns) {
            story_tell(s,
                       "At %s lane %u was with %s job %" PRIu64 " segment %" PRId64
                       ": since %s, until %s, because %s.",
                       story_instant(s, at_ns, at), lane, story_name(s, on->model, name), on->job,
                       on->segment, story_instant(s, on->from, since),
                       on->done ? story_instant(s, on->to, to) : "the end of the trace",
                       aegis_rationale_sentence((aegis_rationale)on->why));
            return;
        }
    }
    story_tell(s, "At %s lane %u was idle.", story_instant(s, at_ns, at), lane);
}

/* Jobs that had been submitted by then and neither dispatched nor ended, of all lanes: the numbers
 * of the first `room`, and how many there are. */
static size_t waiting_jobs(const story *s, uint64_t at_ns, uint64_t *jobs, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < s->count && s->records[i].time_ns <= at_ns; i++) {
        const aegis_trace_record *record = &s->records[i];
        bool leaves = record->kind == AEGIS_TRACE_DISPATCH || story_is_end(record);
        if (record->kind == AEGIS_TRACE_EVENT_SUBMIT && count < room) {
            jobs[count++] = record->job;
        }
        for (size_t k = 0; leaves && k < count; k++) {
            if (jobs[k] == record->job) {
                count--;
                memmove(&jobs[k], &jobs[k + 1], (count - k) * sizeof *jobs);
                break;
            }
        }
    }
    return count;
}

static void tell_waiting(const story *s, uint64_t at_ns)
{
    char name[32], since[CLI_TEXT_BYTES], to[CLI_TEXT_BYTES];
    uint64_t jobs[MOST_WAITING];
    size_t told = 0, count = waiting_jobs(s, at_ns, jobs, MOST_WAITING);
    for (size_t i = 0; i < count; i++) {
        tale t = story_tale(s, jobs[i]);
        if (t.release > at_ns) {
            continue; /* submitted ahead of its release */
        }
        if (told++ < MOST_NAMED) {
            story_tell(s, "%s job %" PRIu64 " had waited since %s%s%s.",
                       story_name(s, t.model, name), t.job, story_instant(s, t.release, since),
                       t.first != NULL ? " and was dispatched at " : " and never ran",
                       t.first != NULL ? story_instant(s, t.first->from, to) : "");
        }
    }
    if (told > MOST_NAMED) {
        story_tell(s, "%zu more jobs waited.", told - MOST_NAMED);
    }
}

/* An instant of which the trace knows nothing is not one at which nothing happened. */
static bool tell_outside(const story *s, uint64_t at_ns)
{
    char first[CLI_TEXT_BYTES], last[CLI_TEXT_BYTES], at[CLI_TEXT_BYTES];
    uint64_t begin = s->count > 0 ? s->records[0].time_ns : 0;
    uint64_t end = s->count > 0 ? s->records[s->count - 1].time_ns : 0;
    bool outside = at_ns < begin || at_ns > end;
    if (outside) {
        story_tell(s,
                   "%s is not in this trace, which goes from %s to %s: --at +TIME counts from its "
                   "begin.",
                   story_instant(s, at_ns, at), story_instant(s, begin, first),
                   story_instant(s, end, last));
    }
    return outside;
}

json_t *explain_instant(const aegis_trace_file *file, uint64_t at_ns)
{
    story s;
    if (!story_open(&s, file)) {
        return NULL;
    }
    json_int_t lanes = json_integer_value(json_object_get(s.header, "lanes"));
    if (!tell_outside(&s, at_ns)) {
        for (json_int_t lane = 0; lane < lanes && lane < MOST_LANES; lane++) {
            tell_lane(&s, (uint16_t)lane, at_ns);
        }
        tell_waiting(&s, at_ns);
    }
    return story_close(&s);
}

/* ---- a model ---- */

typedef struct tally {
    uint64_t submitted, completed, missed, aborted, rejected, skipped, worst;
    const aegis_trace_record *worst_end;
} tally;

static tally count_model(const story *s, uint16_t model)
{
    tally sum = {0};
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->model != model) {
            continue;
        }
        sum.submitted += record->kind == AEGIS_TRACE_EVENT_SUBMIT;
        sum.completed += record->kind == AEGIS_TRACE_COMPLETE;
        sum.missed += record->kind == AEGIS_TRACE_MISS;
        sum.aborted += record->kind == AEGIS_TRACE_ABORT;
        sum.rejected += record->kind == AEGIS_TRACE_REJECT;
        sum.skipped += record->kind == AEGIS_TRACE_SKIP;
        bool finished = record->kind == AEGIS_TRACE_COMPLETE || record->kind == AEGIS_TRACE_MISS;
        if (finished && (uint64_t)record->d > sum.worst) {
            sum.worst = (uint64_t)record->d;
            sum.worst_end = record;
        }
    }
    return sum;
}

static void tell_share(const story *s, uint16_t model)
{
    uint64_t ran = 0, all = 0, begin = UINT64_MAX, end = 0;
    uint16_t lane = AEGIS_TRACE_NONE;
    for (size_t i = 0; i < s->stay_count; i++) {
        lane = s->stays[i].model == model ? s->stays[i].lane : lane;
    }
    for (size_t i = 0; i < s->stay_count; i++) {
        const stay *at = &s->stays[i];
        if (at->lane != lane || !at->done) {
            continue;
        }
        begin = at->from < begin ? at->from : begin;
        end = at->to;
        ran += at->model == model ? at->end - at->start : 0;
        bool background = json_is_true(json_object_get(story_header(s, at->model), "background"));
        all += background ? at->end - at->start : 0;
    }
    if (all > 0 && end > begin) {
        story_tell(
            s,
            "It runs when nothing with a deadline is ready: it had the lane for %.1f %% of the "
            "time, %.1f %% of what background models got.",
            100.0 * (double)ran / (double)(end - begin), 100.0 * (double)ran / (double)all);
    }
    json_int_t share = json_integer_value(json_object_get(story_header(s, model), "share_ppm"));
    if (share > 0) {
        story_tell(s,
                   "Its share is at most %.4g %% of the time: after a segment it rests, whoever "
                   "runs meanwhile, until the segment was no more than that of the time since.",
                   (double)share / 1e4);
    }
}

static void tell_admission(const story *s, uint16_t model)
{
    char name[32], text[AEGIS_TRACE_SENTENCE_BYTES];
    const json_t *header = story_header(s, model);
    const char *reason = json_string_value(json_object_get(header, "reason"));
    if (json_is_false(json_object_get(header, "admitted"))) {
        story_tell(s, "%s was refused%s%s.", story_name(s, model, name),
                   reason != NULL && reason[0] != '\0' ? ": " : "", reason != NULL ? reason : "");
    }
    for (size_t i = 0; i < s->count; i++) {
        const aegis_trace_record *record = &s->records[i];
        if (record->model == model &&
            (record->kind == AEGIS_TRACE_ADMITTED || record->kind == AEGIS_TRACE_REFUSED)) {
            story_tell(s, "%s.", aegis_trace_file_describe(s->file, record, text, sizeof text));
        }
    }
}

json_t *explain_model(const aegis_trace_file *file, uint16_t model)
{
    story s;
    char name[32];
    if (!story_open(&s, file)) {
        return NULL;
    }
    tally sum = count_model(&s, model);
    tell_admission(&s, model);
    if (sum.submitted > 0) {
        story_tell(&s,
                   "%s had %" PRIu64 " jobs: %" PRIu64 " in time, %" PRIu64 " missed, %" PRIu64
                   " aborted, %" PRIu64 " rejected, %" PRIu64 " skipped.",
                   story_name(&s, model, name), sum.submitted, sum.completed, sum.missed,
                   sum.aborted, sum.rejected, sum.skipped);
    }
    if (json_is_true(json_object_get(story_header(&s, model), "background"))) {
        tell_share(&s, model);
    }
    if (sum.worst_end != NULL) {
        story_tell(&s, "The job that took longest:");
        tell_job(&s, sum.worst_end->job);
    }
    return story_close(&s);
}
