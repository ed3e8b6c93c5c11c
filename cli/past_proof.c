/* SPDX-License-Identifier: Apache-2.0 */
#include "past_proof.h"

#include <aegisrt/trace.h>

#include <inttypes.h>
#include <stdio.h>

/* What was allowed, after "where ...". */
static const char *allowance(aegis_premise premise)
{
    return premise == AEGIS_PREMISE_EXECUTION ? "its execution bound and the time to end it allow"
           : premise == AEGIS_PREMISE_OVERHEAD
               ? "its execution bound, which it kept, and the overhead counted to launch, detect "
                 "and decide allow"
               : "the wake bound and its jitter allow";
}

static void print_cause(const aegis_past_proof *past, cli_name_of name_of, const void *self)
{
    char allowed[CLI_TEXT_BYTES], measured[CLI_TEXT_BYTES], since[CLI_TEXT_BYTES];
    if (past->premise == AEGIS_PREMISE_ORDER) {
        printf("Priorities given at submission let jobs of the model overtake each other, which no "
               "proof contains.\n");
        return;
    }
    bool wake = past->premise == AEGIS_PREMISE_WAKE;
    printf("The premise that broke (%s): %s job %" PRIu64 " %s %s where %s %s. That voided the "
           "proofs of lane %u from %s on, until the lane was idle.\n",
           aegis_premise_name(past->premise), name_of(self, past->cause_model), past->cause_job,
           wake ? "was seen late by" : "held the lane for",
           cli_duration((int64_t)past->measured_ns, measured),
           cli_duration((int64_t)past->allowed_ns, allowed), allowance(past->premise), past->lane,
           aegis_trace_format_instant(past->since_ns, since, sizeof since));
}

void cli_past_proof_print(const aegis_past_proof *past,
                          const char *name,
                          cli_name_of name_of,
                          const void *self)
{
    char response[CLI_TEXT_BYTES], proved[CLI_TEXT_BYTES];
    if (past->jobs == 0) {
        return;
    }
    cli_duration((int64_t)past->response_ns, response);
    cli_duration((int64_t)past->proved_ns, proved);
    printf("%s: %" PRIu64 " job%s responded later than was proved, job %" PRIu64
           " after %s where %s was proved. ",
           name, past->jobs, past->jobs == 1 ? "" : "s", past->job, response, proved);
    if (past->unexplained == 0) {
        print_cause(past, name_of, self);
        return;
    }
    printf("%sNO PREMISE BROKE FOR %" PRIu64 " OF THEM: THIS IS A DEFECT OF AEGISRT. PLEASE REPORT "
           "IT, WITH THE TRACE OF --trace FILE.%s\n",
           cli_begin(CLI_RED), past->unexplained, cli_end());
}

static void
add_cause(json_t *object, const aegis_past_proof *past, cli_name_of name_of, const void *self)
{
    json_t *cause = json_object();
    cli_json_text(cause, "model", name_of(self, past->cause_model));
    cli_json_unsigned(cause, "job", past->cause_job);
    cli_json_unsigned(cause, "lane", past->lane);
    cli_json_unsigned(cause, "allowed_ns", past->allowed_ns);
    cli_json_unsigned(cause, "measured_ns", past->measured_ns);
    cli_json_unsigned(cause, "void_since_ns", past->since_ns);
    cli_json_set(object, "cause", cause);
}

json_t *cli_past_proof_json(const aegis_past_proof *past, cli_name_of name_of, const void *self)
{
    json_t *object = json_object();
    cli_json_unsigned(object, "jobs", past->jobs);
    cli_json_unsigned(object, "unexplained", past->unexplained);
    if (past->jobs > 0) {
        cli_json_unsigned(object, "job", past->job);
        cli_json_unsigned(object, "response_ns", past->response_ns);
        cli_json_unsigned(object, "proved_ns", past->proved_ns);
        cli_json_text(object, "premise", aegis_premise_name(past->premise));
    }
    if (past->jobs > 0 && past->premise != AEGIS_PREMISE_NONE &&
        past->premise != AEGIS_PREMISE_ORDER) {
        add_cause(object, past, name_of, self);
    }
    return object;
}

static uint64_t times_voided(const aegis_lane_proofs *proofs)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < AEGIS_PREMISE_COUNT; i++) {
        sum += proofs->voided[i];
    }
    return sum;
}

static void print_lane(const aegis_lane_proofs *proofs, unsigned lane, uint64_t elapsed_ns)
{
    static const char *const what[AEGIS_PREMISE_COUNT] = {
        [AEGIS_PREMISE_EXECUTION] = "by a segment that passed its bound",
        [AEGIS_PREMISE_OVERHEAD] = "by a launch or an end that took longer than is counted",
        [AEGIS_PREMISE_WAKE] = "by a release that was seen later than the wake bound"};
    char time[CLI_TEXT_BYTES], times[CLI_TEXT_BYTES] = "once";
    const char *comma = "";
    if (times_voided(proofs) > 1) {
        snprintf(times, sizeof times, "%" PRIu64 " times", times_voided(proofs));
    }
    printf("The proofs of lane %u were void %s, for %s in all (%.2g %% of the time): ", lane, times,
           cli_duration((int64_t)proofs->void_ns, time),
           elapsed_ns == 0 ? 0 : 100 * (double)proofs->void_ns / (double)elapsed_ns);
    for (size_t i = 0; i < AEGIS_PREMISE_COUNT; i++) {
        if (proofs->voided[i] > 0 && what[i] != NULL) {
            printf("%s%" PRIu64 " %s", comma, proofs->voided[i], what[i]);
            comma = ", ";
        }
    }
    printf(".\n");
}

void cli_lane_proofs_print(const aegis_scheduler_metrics *metrics)
{
    for (uint16_t i = 0; i < metrics->lane_count; i++) {
        if (times_voided(&metrics->lane_proofs[i]) > 0) {
            print_lane(&metrics->lane_proofs[i], i, metrics->elapsed_ns);
        }
    }
}

json_t *cli_lane_proofs_json(const aegis_scheduler_metrics *metrics)
{
    json_t *list = json_array();
    for (uint16_t i = 0; i < metrics->lane_count; i++) {
        const aegis_lane_proofs *proofs = &metrics->lane_proofs[i];
        json_t *object = json_object(), *voided = json_object();
        for (size_t k = AEGIS_PREMISE_EXECUTION; k <= AEGIS_PREMISE_WAKE; k++) {
            cli_json_unsigned(voided, aegis_premise_name((aegis_premise)k), proofs->voided[k]);
        }
        cli_json_set(object, "voided", voided);
        cli_json_unsigned(object, "void_ns", proofs->void_ns);
        json_array_append_new(list, object);
    }
    return list;
}
