/* SPDX-License-Identifier: Apache-2.0 */
#include "byte_story.h"
#include "past_proof.h"
#include "report.h"

#include <aegisrt/doctor.h>

#include <inttypes.h>
#include <stdio.h>

/* Buffers for one row; a dash stands for what does not exist. */
typedef struct texts {
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], c[CLI_TEXT_BYTES], d[CLI_TEXT_BYTES],
        e[CLI_TEXT_BYTES], f[CLI_TEXT_BYTES];
} texts;

static const char *response_text(int64_t response, char buffer[CLI_TEXT_BYTES])
{
    return response < 0 ? "-" : cli_duration(response, buffer);
}

static const char *deadline_text(uint64_t deadline_ns, char buffer[CLI_TEXT_BYTES])
{
    return deadline_ns == 0 ? "-" : cli_duration((int64_t)deadline_ns, buffer);
}

static const char *bytes_text(uint64_t bytes, char buffer[CLI_TEXT_BYTES])
{
    return bytes == 0 ? "-" : cli_size(bytes, buffer);
}

static void print_refusals(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        const aegis_system_model *model = &models[i];
        if (model->admitted && model->expect_refuse) {
            printf("%s%s was admitted, although the workload expects a refusal.%s\n",
                   cli_begin(CLI_RED), model->name, cli_end());
        } else if (!model->admitted && !report->workload->models[i].absent) {
            printf("%s%s refused%s%s: %s\n", cli_begin(model->expect_refuse ? CLI_YELLOW : CLI_RED),
                   model->name, model->expect_refuse ? " (as expected)" : "", cli_end(),
                   model->reason);
        }
    }
}

static void print_notes(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        if (models[i].admitted && models[i].note[0] != '\0') {
            printf("%s: %s.\n", models[i].name, models[i].note);
        }
    }
}

static void print_memory(const cli_report *report)
{
    aegis_memory_totals totals;
    uint64_t peak = 0, overhead = 0, resident = 0, resident_peak = 0;
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    texts t;
    aegis_system_memory(report->system, &totals, &peak);
    for (size_t i = 0; i < count; i++) {
        overhead += models[i].admitted ? models[i].overhead_bytes : 0;
    }
    char spill[CLI_TEXT_BYTES];
    printf(
        "Memory: %s planned of %s, %s of it for runs that depart from their plan; planned one by "
        "one the models would take %s. Activations: %s planned, %s one by one. Peak %s.\n",
        cli_size(totals.planned_bytes, t.a), cli_size(report->workload->memory_bytes, t.b),
        cli_size(totals.by_class[AEGIS_MEMORY_SPILL], spill), cli_size(totals.sum_of_models, t.c),
        cli_size(totals.activations_planned, t.d), cli_size(totals.activations_sum, t.e),
        cli_size(peak, t.f));
    if (totals.shared_saved > 0) {
        printf("Weights and packed copies that are equal are there once: %s less.\n",
               cli_size(totals.shared_saved, t.a));
    }
    if (totals.paged_sum > 0) {
        printf("Paged: weights of %s take turns in %s; reading them in is part of every bound.\n",
               cli_size(totals.paged_sum, t.a), cli_size(totals.by_class[AEGIS_MEMORY_PAGED], t.b));
    }
    if (aegis_process_memory(NULL, &resident, &resident_peak, NULL) == AEGIS_OK) {
        printf("Process: %s that the runtimes took beside the plan, %s resident, %s at its peak.\n",
               cli_size(overhead, t.a), cli_size(resident, t.b), cli_size(resident_peak, t.c));
    }
}

/* Models that were measured again because the last run had found their profiles stale. */
static void print_replaced(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        char before[CLI_TEXT_BYTES], now[CLI_TEXT_BYTES];
        if (models[i].profile_stale_bound_ns > 0) {
            printf("%s: measured again, for its profile was stale: bound %s before, %s now.\n",
                   models[i].name, cli_duration((int64_t)models[i].profile_stale_bound_ns, before),
                   cli_duration((int64_t)models[i].profile.bound_ns, now));
        }
    }
}

/* Models that gave up packed copies of their weights. */
static void print_unpacked(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        char text[CLI_TEXT_BYTES];
        if (models[i].admitted && models[i].unpacked_for_memory) {
            printf("%s has no packed copies of its weights: memory is short. That moves its bound "
                   "by %s.\n",
                   models[i].name, cli_duration(models[i].unpacking_price_ns, text));
        }
    }
}

/* Why inputs of early models may come as late as the proofs take it. */
static void print_copies(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        const aegis_admission_answer answer = cli_report_answer(report, &models[i]);
        texts t;
        if (models[i].copies_reason[0] != '\0') {
            printf("%s, copies %s.\n", models[i].name, models[i].copies_reason);
        }
        if (models[i].admitted && answer.copy_bound_ns > 0) {
            printf("%s copies early: one copy takes at most %s; behind those of the others its "
                   "inputs have come %s after a release, and its proof counts releases up to %s "
                   "late.\n",
                   models[i].name, cli_duration((int64_t)answer.copy_bound_ns, t.a),
                   cli_duration((int64_t)answer.copy_response_ns, t.b),
                   cli_duration((int64_t)answer.jitter_ns, t.c));
        }
    }
}

int cli_report_admission(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    const aegis_scheduler *scheduler = aegis_system_scheduler(report->system);
    texts t;
    cli_table *table = cli_table_create(
        "model|>lane|>period|>bound C|>enforceable|>worst response|>deadline|>memory|verdict");
    for (size_t i = 0; i < count; i++) {
        const aegis_system_model *model = &models[i];
        const aegis_workload_model *wanted = &report->workload->models[i];
        aegis_admission_answer answer = cli_report_answer(report, model);
        bool surprise = !wanted->absent && model->admitted == model->expect_refuse;
        cli_table_cell(table, CLI_PLAIN, "%s", model->name);
        if (model->admitted) {
            cli_table_cell(table, CLI_PLAIN, "%u", answer.lane);
        } else {
            cli_table_cell(table, CLI_PLAIN, "-");
        }
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(wanted->period_ns, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(answer.bound_ns, t.b));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(answer.enforceable_ns, t.c));
        cli_table_cell(
            table, CLI_PLAIN, "%s",
            model->admitted && !wanted->background ? response_text(answer.response_ns, t.d) : "-");
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(wanted->deadline_ns, t.e));
        cli_table_cell(table, CLI_PLAIN, "%s", bytes_text(model->memory_bytes, t.f));
        cli_table_cell(table,
                       surprise          ? CLI_RED
                       : model->admitted ? CLI_GREEN
                                         : CLI_YELLOW,
                       "%s",
                       !model->admitted     ? (wanted->absent ? "out" : "refused")
                       : wanted->background ? "admitted (background)"
                                            : "admitted");
    }
    int code = cli_table_finish(table);
    code = code == CLI_EXIT_OK ? cli_report_cuts(report) : code;
    putchar('\n');
    print_replaced(report);
    print_refusals(report);
    print_notes(report);
    printf("%zu of %zu models admitted by %s on %u lane%s; the fullest lane is used to %.1f %% by "
           "the bounds.\n",
           cli_report_admitted(report), count, report->workload->policy, report->workload->lanes,
           report->workload->lanes == 1 ? "" : "s", 100 * cli_report_utilisation(report));
    printf(
        "Counted in every proof: releases seen up to %s late, %s to launch, detect and decide.\n",
        cli_duration((int64_t)aegis_scheduler_wake_bound_ns(scheduler), t.a),
        cli_duration((int64_t)aegis_scheduler_overhead_bound_ns(scheduler), t.b));
    print_copies(report);
    print_unpacked(report);
    if (report->explains_bytes) {
        cli_byte_story_print(report->system, report->explained_byte);
    }
    print_memory(report);
    return code;
}

static void add_counter(cli_table *table, uint64_t value, cli_colour colour)
{
    cli_table_cell(table, value > 0 ? colour : CLI_PLAIN, "%" PRIu64, value);
}

static int print_jobs(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    cli_table *table = cli_table_create("model|>lane|>jobs|>completed|>missed|>aborted|>dropped|>"
                                        "skipped|>pending|>overruns|>past profile|>past proof");
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        if (!models[i].admitted) {
            continue;
        }
        aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                      &metrics, NULL);
        const aegis_core_counters *counters = &metrics.counters;
        cli_table_cell(table, CLI_PLAIN, "%s", models[i].name);
        cli_table_cell(table, CLI_PLAIN, "%u", cli_report_answer(report, &models[i]).lane);
        cli_table_cell(table, CLI_PLAIN, "%" PRIu64, counters->jobs);
        cli_table_cell(table, CLI_PLAIN, "%" PRIu64, counters->completed);
        add_counter(table, counters->missed, counters->unexcused > 0 ? CLI_RED : CLI_YELLOW);
        add_counter(table, counters->aborted, CLI_YELLOW);
        add_counter(table, counters->dropped, CLI_YELLOW);
        add_counter(table, counters->skipped, CLI_YELLOW);
        cli_table_cell(table, CLI_PLAIN, "%" PRIu64, counters->pending);
        add_counter(table, counters->overruns, CLI_YELLOW);
        if (metrics.drift.level_ns == 0) {
            cli_table_cell(table, CLI_DIM, "-");
        } else {
            cli_table_cell(table, metrics.drift.stale ? CLI_RED : CLI_PLAIN, "%" PRIu64 "%s",
                           metrics.drift.past, metrics.drift.stale ? " (stale)" : "");
        }
        add_counter(table, metrics.past_proof.jobs,
                    metrics.past_proof.unexplained > 0 ? CLI_RED : CLI_YELLOW);
    }
    return cli_table_finish(table);
}

static int print_times(const cli_report *report)
{
    size_t count;
    bool any_cut = false;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    cli_table *table =
        cli_table_create("model|>response p50|>p99|>max|>proved|>deadline|>execution p50|>p99|>"
                         "max|>bound|>bound/p50");
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        texts t;
        if (!models[i].admitted) {
            continue;
        }
        const aegis_workload_model *wanted = &report->workload->models[i];
        aegis_admission_answer answer = cli_report_answer(report, &models[i]);
        aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                      &metrics, NULL);
        const aegis_distribution *response = &metrics.response_ns, *run = &metrics.execution_ns;
        bool above = !wanted->background && answer.response_ns >= 0 &&
                     response->max > (uint64_t)answer.response_ns;
        cli_table_cell(table, CLI_PLAIN, "%s", models[i].name);
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(response->p50, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(response->p99, t.a));
        cli_table_cell(table, above ? CLI_YELLOW : CLI_PLAIN, "%s",
                       deadline_text(response->max, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s",
                       wanted->background ? "-" : response_text(answer.response_ns, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(wanted->deadline_ns, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(run->p50, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(run->p99, t.a));
        uint64_t bound = aegis_profile_longest_ns(&models[i].profile);
        cli_table_cell(table, run->max > bound ? CLI_YELLOW : CLI_PLAIN, "%s",
                       deadline_text(run->max, t.a));
        cli_table_cell(table, CLI_PLAIN, "%s", deadline_text(bound, t.a));
        if (run->p50 == 0) {
            cli_table_cell(table, CLI_PLAIN, "-");
        } else {
            cli_table_cell(table, CLI_PLAIN, "%.2f", (double)bound / (double)run->p50);
        }
        any_cut = any_cut || models[i].segments > 1;
    }
    int code = cli_table_finish(table);
    if (any_cut) {
        puts("Of a cut model every segment is an execution; the bound shown is that of its "
             "longest.");
    }
    return code;
}

/* Models that are slower than their profiles say, more often than chance allows. */
static void print_stale(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        char text[CLI_TEXT_BYTES];
        if (!models[i].admitted ||
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) != AEGIS_OK ||
            !metrics.drift.stale) {
            continue;
        }
        bool cut = models[i].segments > 1;
        printf("%s%s has a stale profile%s: %" PRIu64 " of %" PRIu64 " executions passed %s, where "
               "it allows %.3g %%. %s\n",
               cli_begin(CLI_RED), models[i].name, cli_end(), metrics.drift.past,
               metrics.drift.executions,
               cut ? "what the profile says of their segment"
                   : cli_duration((int64_t)metrics.drift.level_ns, text),
               100 * metrics.drift.share,
               report->reprofiles ? "It is put aside: the next run measures again."
                                  : "Measure again with --fresh-profiles, or let "
                                    "--reprofile-on-drift remove it.");
    }
}

static void print_past_proof(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        if (models[i].admitted &&
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) == AEGIS_OK) {
            cli_past_proof_print(&metrics.past_proof, models[i].name, cli_report_name_of, report);
        }
    }
}

/* What paged models read. */
static void print_paging(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        char text[CLI_TEXT_BYTES];
        if (models[i].admitted && models[i].paged_bytes > 0 &&
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) == AEGIS_OK) {
            printf("%s is paged: %" PRIu64 " of %" PRIu64 " executions read %s in all.\n",
                   models[i].name, metrics.page_ins, metrics.execution_ns.count,
                   cli_size(metrics.paged_in_bytes, text));
        }
    }
}

static void print_sums(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    aegis_core_counters sum = {0};
    texts t;
    for (size_t i = 0; i < count; i++) {
        aegis_model_metrics metrics = {0};
        if (models[i].admitted) {
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL);
            sum.jobs += metrics.counters.jobs;
            sum.missed += metrics.counters.missed;
            sum.unexcused += metrics.counters.unexcused;
            sum.overruns += metrics.counters.overruns;
        }
    }
    printf("%" PRIu64 " jobs in %s, %s%" PRIu64 " late%s (%" PRIu64 " of them although every bound "
           "held), %" PRIu64 " overruns.\n",
           sum.jobs, cli_duration((int64_t)report->metrics.elapsed_ns, t.a),
           cli_begin(sum.unexcused > 0 ? CLI_RED
                     : sum.missed > 0  ? CLI_YELLOW
                                       : CLI_GREEN),
           sum.missed, cli_end(), sum.unexcused, sum.overruns);
    for (size_t i = 0; i < report->metrics.lane_count; i++) {
        printf("%s %zu%s", i == 0 ? "Lane" : ", lane", i, i == 0 ? " executed" : "");
        printf(" %.1f %%%s", 100 * cli_report_lane_busy(report, i), i == 0 ? " of the time" : "");
    }
    printf(". Releases were seen after %s (p99 %s, max %s); a decision took %s (max %s).\n",
           cli_duration((int64_t)report->metrics.wake_ns.p50, t.a),
           cli_duration((int64_t)report->metrics.wake_ns.p99, t.b),
           cli_duration((int64_t)report->metrics.wake_ns.max, t.c),
           cli_duration((int64_t)report->metrics.decision_ns.p50, t.d),
           cli_duration((int64_t)report->metrics.decision_ns.max, t.e));
}

/* Background models: what each got of the slack. */
static void print_background(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        const aegis_workload_model *wanted = &report->workload->models[i];
        if (models[i].admitted && wanted->background) {
            cli_background got = cli_report_background(report, &models[i]);
            printf("Background: %s, weight %" PRIu32
                   ", %.1f jobs a second, %.1f %% of its lane's time",
                   models[i].name, wanted->weight, got.throughput, 100 * got.lane_share);
            if (wanted->share_ppm > 0) {
                printf(" (at most %.4g)", wanted->share_ppm / 1e4);
            }
            printf(", %.1f %% of the lane's background.\n", 100 * got.background_share);
        }
    }
}

int cli_report_run(const cli_report *report)
{
    uint64_t records = 0, dropped = 0;
    int code = cli_events_print(&report->events);
    code = code == CLI_EXIT_OK ? print_jobs(report) : code;
    putchar('\n');
    code = code == CLI_EXIT_OK ? print_times(report) : code;
    putchar('\n');
    print_sums(report);
    print_past_proof(report);
    cli_lane_proofs_print(&report->metrics);
    print_background(report);
    print_stale(report);
    print_paging(report);
    print_memory(report);
    aegis_trace_collector_totals(aegis_system_collector(report->system), &records, &dropped);
    printf("Trace: %" PRIu64 " records, %" PRIu64 " dropped%s%s%s%s.\n", records, dropped,
           report->trace_path != NULL ? "; in " : "; not kept (--trace FILE keeps it)",
           report->trace_path != NULL ? report->trace_path : "",
           report->perfetto_path != NULL ? "; for Perfetto in " : "",
           report->perfetto_path != NULL ? report->perfetto_path : "");
    return code;
}
