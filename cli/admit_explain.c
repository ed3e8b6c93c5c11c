/* SPDX-License-Identifier: Apache-2.0 */
#include "admit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

admit_explanation admit_explain(aegis_analysis policy,
                                const aegis_task *tasks,
                                size_t count,
                                const aegis_admission_limits *limits)
{
    aegis_allocator allocator = aegis_allocator_default();
    admit_explanation e = {.policy = policy, .tasks = tasks, .count = count};
    e.derivations = calloc(count, sizeof *e.derivations);
    for (size_t i = 0; i < count && e.derivations != NULL && !*limits->cancel; i++) {
        aegis_derivation derivation;
        if (aegis_admission_derive(policy, tasks, count, i, limits, &allocator, &derivation,
                                   NULL) == AEGIS_OK) {
            e.derivations[i] = derivation;
        }
    }
    return e;
}

void admit_explanation_finish(admit_explanation *explanation)
{
    aegis_allocator allocator = aegis_allocator_default();
    for (size_t i = 0; i < explanation->count && explanation->derivations != NULL; i++) {
        aegis_derivation_finish(&explanation->derivations[i], &allocator);
    }
    free(explanation->derivations);
    *explanation = (admit_explanation){.count = 0};
}

static const aegis_derivation *found(const admit_explanation *e, size_t task)
{
    return e->derivations != NULL && e->derivations[task].found ? &e->derivations[task] : NULL;
}

/* What is left between the work and the deadline; negative by how much it is missed. */
static int64_t slack_of(const admit_explanation *e, size_t task)
{
    const aegis_derivation *d = &e->derivations[task];
    return e->tasks[task].deadline - (d->completion - d->release);
}

static int64_t time_of(const admit_explanation *e, const aegis_derivation *d, size_t j)
{
    return (int64_t)d->jobs[j] * e->tasks[j].execution; /* part of the completion */
}

/* ---- words ---- */

static void print_head(const admit_explanation *e, const aegis_admission_result *result, size_t i)
{
    const aegis_task *task = &e->tasks[i];
    const aegis_derivation *d = found(e, i);
    int64_t response = result->tasks[i].response;
    printf("  %s", task->name);
    if (d == NULL) {
        printf(response == AEGIS_RESPONSE_DIVERGES || response == AEGIS_RESPONSE_OMITTED
                   ? ": the work comes faster than it can be done, no response is bounded.\n"
                   : ": not derived within the limits.\n");
    } else if (e->policy == AEGIS_ANALYSIS_EDF) {
        printf(": tightest at %" PRId64 " of a busy period, where a job of it is due; %" PRId64
               " of work must be done by then, ",
               d->release + task->deadline, d->completion);
    } else {
        printf(": worst response %" PRId64 " of %" PRId64 " allowed, ", response, task->deadline);
    }
    if (d != NULL && slack_of(e, i) >= 0) {
        printf("slack %" PRId64 ".\n", slack_of(e, i));
    } else if (d != NULL) {
        printf("late by %" PRId64 ".\n", -slack_of(e, i));
    }
}

static void print_blocking(const admit_explanation *e, const aegis_derivation *d, size_t i)
{
    if (d->blocker != SIZE_MAX) {
        printf("    blocked for %" PRId64 ": %s started a segment of %" PRId64 " one tick before\n",
               d->blocking, e->tasks[d->blocker].name, d->blocking + 1);
    } else if (e->policy == AEGIS_ANALYSIS_NP_FP || e->policy == AEGIS_ANALYSIS_FPP ||
               e->policy == AEGIS_ANALYSIS_NP_EDF) {
        printf("    nothing blocks%s\n", i + 1 == e->count && e->policy != AEGIS_ANALYSIS_NP_EDF
                                             ? ": nothing is below it"
                                             : "");
    }
}

static void print_work(const admit_explanation *e, const aegis_derivation *d, size_t i)
{
    for (size_t j = 0; j < e->count; j++) {
        if (d->jobs[j] > 0) {
            printf("    %s %s %" PRIu64 " time%s: %" PRIu64 " x %" PRId64 " = %" PRId64 "\n",
                   e->tasks[j].name, j == i ? "itself runs" : "runs", d->jobs[j],
                   d->jobs[j] == 1 ? "" : "s", d->jobs[j], e->tasks[j].execution, time_of(e, d, j));
        }
    }
}

static void print_sum(const admit_explanation *e, const aegis_derivation *d, size_t i)
{
    const char *plus = "";
    printf("    ");
    if (d->blocking > 0) {
        printf("%" PRId64, d->blocking);
        plus = " + ";
    }
    for (size_t j = 0; j < e->count; j++) {
        if (d->jobs[j] > 0) {
            printf("%s%" PRId64, plus, time_of(e, d, j));
            plus = " + ";
        }
    }
    printf(" = %" PRId64, d->completion);
    if (e->policy == AEGIS_ANALYSIS_EDF) {
        printf(" due by %" PRId64 "\n", d->release + e->tasks[i].deadline);
    } else {
        printf(" after the start of the busy period; released at %" PRId64 "\n", d->release);
    }
}

void admit_explanation_print(const admit_explanation *explanation,
                             const aegis_admission_result *result)
{
    printf("\nHow the worst case of each task comes about:\n");
    for (size_t i = 0; i < explanation->count; i++) {
        const aegis_derivation *d = found(explanation, i);
        print_head(explanation, result, i);
        if (d != NULL) {
            print_blocking(explanation, d, i);
            print_work(explanation, d, i);
            print_sum(explanation, d, i);
        }
    }
}

/* ---- JSON ---- */

json_t *admit_explanation_json(const admit_explanation *explanation, size_t task)
{
    const aegis_derivation *d = found(explanation, task);
    if (d == NULL) {
        return json_null();
    }
    json_t *object = json_object(), *interference = json_array();
    for (size_t j = 0; j < explanation->count; j++) {
        if (d->jobs[j] > 0) {
            json_t *entry = json_object();
            cli_json_text(entry, "task", explanation->tasks[j].name);
            cli_json_unsigned(entry, "jobs", d->jobs[j]);
            cli_json_signed(entry, "time", time_of(explanation, d, j));
            json_array_append_new(interference, entry);
        }
    }
    cli_json_signed(object, "release", d->release);
    cli_json_signed(object, "completion", d->completion);
    cli_json_signed(object, "blocking", d->blocking);
    cli_json_text(object, "blocker",
                  d->blocker == SIZE_MAX ? NULL : explanation->tasks[d->blocker].name);
    cli_json_set(object, "interference", interference);
    cli_json_signed(object, "slack", slack_of(explanation, task));
    return object;
}
