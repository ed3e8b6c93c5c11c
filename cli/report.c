/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"
#include "byte_story.h"
#include "past_proof.h"

#include <aegisrt/doctor.h>

aegis_admission_answer cli_report_answer(const cli_report *report, const aegis_system_model *model)
{
    aegis_admission_answer answer = model->answer;
    if (model->admitted) {
        aegis_scheduler_answer(aegis_system_scheduler(report->system), model->model, &answer, NULL);
    }
    return answer;
}

double cli_report_utilisation(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        if (models[i].admitted) {
            aegis_admission_answer answer = cli_report_answer(report, &models[i]);
            largest = answer.utilisation > largest ? answer.utilisation : largest;
        }
    }
    return largest;
}

double cli_report_lane_busy(const cli_report *report, size_t lane)
{
    const aegis_scheduler_metrics *metrics = &report->metrics;
    return metrics->elapsed_ns == 0
               ? 0
               : (double)metrics->lane_busy_ns[lane] / (double)metrics->elapsed_ns;
}

static double busiest(const cli_report *report)
{
    double largest = 0;
    for (size_t i = 0; i < report->metrics.lane_count; i++) {
        double busy = cli_report_lane_busy(report, i);
        largest = busy > largest ? busy : largest;
    }
    return largest;
}

static json_t *lanes_busy_json(const cli_report *report)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->metrics.lane_count; i++) {
        json_array_append_new(list, json_real(cli_report_lane_busy(report, i)));
    }
    return list;
}

const char *cli_report_name_of(const void *self, uint32_t model)
{
    const cli_report *report = self;
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    return model < count ? models[model].name : "?";
}

uint64_t cli_report_broken(const cli_report *report)
{
    size_t count;
    uint64_t sum = 0;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; report->ran && i < count; i++) {
        aegis_model_metrics metrics;
        if (models[i].admitted &&
            aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), models[i].model,
                                          &metrics, NULL) == AEGIS_OK) {
            sum += metrics.counters.unexcused + metrics.past_proof.unexplained;
        }
    }
    return sum + cli_events_broken(&report->events);
}

size_t cli_report_surprises(const cli_report *report)
{
    return report->surprises + cli_events_surprises(&report->events);
}

size_t cli_report_admitted(const cli_report *report)
{
    size_t count, admitted = 0;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        admitted += models[i].admitted;
    }
    return admitted;
}

/* Execution time of the runs that ended by themselves. */
static double executed_ns(const cli_report *report, const aegis_system_model *model)
{
    aegis_model_metrics metrics = {0};
    aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), model->model, &metrics,
                                  NULL);
    return (double)metrics.busy_ns;
}

cli_background cli_report_background(const cli_report *report, const aegis_system_model *model)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    cli_background background = {0};
    double elapsed = (double)report->metrics.elapsed_ns, sum = 0;
    if (!report->ran || elapsed <= 0) {
        return background;
    }
    for (size_t i = 0; i < count; i++) {
        if (models[i].admitted && report->workload->models[i].background &&
            cli_report_answer(report, &models[i]).lane == cli_report_answer(report, model).lane) {
            sum += executed_ns(report, &models[i]);
        }
    }
    aegis_model_metrics metrics = {0};
    aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), model->model, &metrics,
                                  NULL);
    background.throughput = (double)metrics.counters.completed / elapsed * 1e9;
    background.lane_share = executed_ns(report, model) / elapsed;
    background.background_share = sum > 0 ? executed_ns(report, model) / sum : 0;
    return background;
}

static json_t *background_json(const cli_report *report, const aegis_system_model *model)
{
    cli_background background = cli_report_background(report, model);
    json_t *object = json_object();
    cli_json_unsigned(object, "weight", report->workload->models[model->model].weight);
    if (report->workload->models[model->model].share_ppm > 0) {
        cli_json_real(object, "share_limit",
                      report->workload->models[model->model].share_ppm / 1e6);
    }
    if (report->ran) {
        cli_json_real(object, "jobs_per_second", background.throughput);
        cli_json_real(object, "lane_share", background.lane_share);
        cli_json_real(object, "share", background.background_share);
    }
    return object;
}

/* What the reason says of memory. */
static json_t *memory_refusal_json(const aegis_system_model *models,
                                   const aegis_system_model *model)
{
    const aegis_memory_refusal *r = &model->memory_refusal;
    json_t *object = json_object(), *peak = json_object(), *tensors = json_array();
    cli_json_unsigned(object, "need_bytes", r->need_bytes);
    cli_json_unsigned(object, "free_bytes", r->free_bytes);
    cli_json_unsigned(object, "missing_bytes", r->missing_bytes);
    cli_json_unsigned(object, "capacity_bytes", r->capacity_bytes);
    cli_json_bool(object, "fits_after_moving", r->fits_after_moving);
    cli_json_text(object, "fits_without",
                  r->has_model_to_remove ? models[r->model_to_remove].name : NULL);
    cli_json_unsigned(peak, "segment", r->peak_segment);
    cli_json_unsigned(peak, "event", (uint64_t)r->peak_at);
    cli_json_unsigned(peak, "bytes", r->peak_bytes);
    for (size_t i = 0; i < r->peak_count; i++) {
        json_t *tensor = json_object();
        cli_json_unsigned(tensor, "tensor", r->peak_tensors[i]);
        cli_json_unsigned(tensor, "bytes", r->peak_tensor_bytes[i]);
        json_array_append_new(tensors, tensor);
    }
    cli_json_set(peak, "largest", tensors);
    cli_json_set(object, "activations_peak", peak);
    return object;
}

static json_t *rejected_json(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        const aegis_system_model *model = &models[i];
        const aegis_workload_model *wanted = &report->workload->models[i];
        if (model->admitted) {
            continue;
        }
        json_t *object = json_object();
        cli_json_text(object, "model", model->name);
        cli_json_text(object, "reason", model->reason);
        cli_json_text(object, "rationale", aegis_rationale_name(model->rationale));
        cli_json_bool(object, "expected", model->expect_refuse || wanted->absent);
        cli_json_unsigned(object, "memory_bytes", model->memory_bytes);
        cli_json_unsigned(object, "memory_missing_bytes", model->memory_refusal.missing_bytes);
        if (model->memory_refusal.status != AEGIS_OK) {
            cli_json_set(object, "memory_refusal", memory_refusal_json(models, model));
        }
        cli_json_unsigned(object, "execution_bound_ns", model->answer.bound_ns);
        cli_json_set(object, "fit", cli_json_fit(&model->answer.fit));
        json_array_append_new(array, object);
    }
    return array;
}

/* A run that is on a GPU goes on to its end, whatever it is told. */
static bool can_end(const cli_report *report, const aegis_system_model *model)
{
    const aegis_model *placed = aegis_system_backend_model(report->system, model->model);
    return placed != NULL && aegis_model_can_terminate(placed);
}

static json_t *memory_json(const cli_report *report)
{
    aegis_memory_totals totals;
    uint64_t planned_peak = 0, resident = 0, peak = 0, overhead = 0;
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    json_t *object = json_object(), *classes = json_object();
    aegis_system_memory(report->system, &totals, &planned_peak);
    for (size_t i = 0; i < count; i++) {
        overhead += models[i].admitted ? models[i].overhead_bytes : 0;
    }
    for (int i = 0; i < AEGIS_MEMORY_CLASS_COUNT; i++) {
        cli_json_unsigned(classes, aegis_memory_class_name((aegis_memory_class)i),
                          totals.by_class[i]);
    }
    cli_json_unsigned(object, "budget", report->workload->memory_bytes);
    cli_json_unsigned(object, "planned", totals.planned_bytes);
    cli_json_unsigned(object, "peak", planned_peak);
    cli_json_unsigned(object, "sum_of_models", totals.sum_of_models);
    cli_json_unsigned(object, "activations_planned", totals.activations_planned);
    cli_json_unsigned(object, "activations_sum", totals.activations_sum);
    cli_json_unsigned(object, "shared", totals.shared_bytes);
    cli_json_unsigned(object, "shared_saved", totals.shared_saved);
    cli_json_unsigned(object, "paged", totals.by_class[AEGIS_MEMORY_PAGED]);
    cli_json_unsigned(object, "paged_sum", totals.paged_sum);
    cli_json_unsigned(object, "process_overhead", overhead);
    cli_json_unsigned(object, "beside_arena", aegis_system_beside_arena(report->system));
    if (report->ran) {
        cli_json_unsigned(object, "beside_arena_at_start", report->beside_arena_at_start);
        cli_json_unsigned(object, "process_resident_at_start", report->resident_at_start);
    }
    if (report->workload->process_bytes > 0) {
        cli_json_unsigned(object, "process_budget", report->workload->process_bytes);
    }
    if (aegis_process_memory(NULL, &resident, &peak, NULL) == AEGIS_OK) {
        cli_json_unsigned(object, "process_resident", resident);
        cli_json_unsigned(object, "process_peak", peak);
    }
    cli_json_set(object, "by_class", classes);
    return object;
}

static double ratio(uint64_t bound, uint64_t median)
{
    return median == 0 ? 0.0 : (double)bound / (double)median;
}

static void add_metrics(json_t *object,
                        const cli_report *report,
                        const aegis_system_model *model,
                        const aegis_admission_answer *answer)
{
    aegis_model_metrics metrics = {0};
    aegis_scheduler_model_metrics(aegis_system_scheduler(report->system), model->model, &metrics,
                                  NULL);
    cli_json_counters(object, &metrics.counters);
    cli_json_set(object, "response_ns", cli_json_distribution(&metrics.response_ns));
    json_t *execution = cli_json_distribution(&metrics.execution_ns);
    uint64_t bound = aegis_profile_longest_ns(&model->profile); /* a segment is one execution */
    cli_json_unsigned(execution, "bound", bound);
    cli_json_unsigned(execution, "enforceable", answer->enforceable_ns);
    cli_json_real(execution, "bound_over_median", ratio(bound, metrics.execution_ns.p50));
    cli_json_set(object, "execution_ns", execution);
    cli_json_set(object, "start_ns", cli_json_distribution(&metrics.start_ns));
    cli_json_set(object, "drift", cli_json_drift(&metrics.drift));
    cli_json_set(object, "past_proof",
                 cli_past_proof_json(&metrics.past_proof, cli_report_name_of, report));
    cli_json_unsigned(object, "page_ins", metrics.page_ins);
    cli_json_unsigned(object, "paged_in_bytes", metrics.paged_in_bytes);
}

static json_t *profile_json(const aegis_system_model *model)
{
    const aegis_profile *profile = &model->profile;
    json_t *object = json_object();
    cli_json_bool(object, "cached", model->profile_from_cache);
    if (model->profile_stale_bound_ns > 0) {
        cli_json_unsigned(object, "stale_bound_ns", model->profile_stale_bound_ns);
    }
    cli_json_unsigned(object, "samples", profile->loaded.samples);
    cli_json_unsigned(object, "median_ns", profile->loaded.median_ns);
    cli_json_unsigned(object, "worst_ns", profile->loaded.worst_ns);
    cli_json_real(object, "contention_factor", profile->contention_factor);
    cli_json_real(object, "quantile", profile->quantile);
    cli_json_real(object, "assurance", profile->assurance);
    cli_json_real(object, "margin", profile->margin);
    cli_json_text(object, "method", aegis_bound_method_name(profile->method));
    cli_json_unsigned(object, "cold_ns", profile->cold_ns);
    cli_json_unsigned(object, "warm_median_ns", profile->alone.median_ns);
    cli_json_set(object, "extreme_value", cli_json_extreme(&profile->extreme));
    return object;
}

/* The first stage of a model with early copies, and where the jitter of the second comes from. */
static json_t *copies_json(const cli_report *report,
                           const aegis_system_model *model,
                           const aegis_admission_answer *answer)
{
    aegis_model_metrics metrics = {0};
    json_t *object = json_object();
    cli_json_text(object, "mode", model->early_copies ? "early" : "inline");
    cli_json_text(object, "reason", model->copies_reason[0] == '\0' ? NULL : model->copies_reason);
    if (!model->early_copies) {
        return object;
    }
    cli_json_unsigned(object, "bound_ns", answer->copy_bound_ns);
    cli_json_unsigned(object, "median_ns", model->profile.copy.median_ns);
    cli_json_unsigned(object, "response_ns", answer->copy_response_ns);
    cli_json_unsigned(object, "jitter_ns", answer->jitter_ns);
    if (report->ran && aegis_scheduler_model_metrics(aegis_system_scheduler(report->system),
                                                     model->model, &metrics, NULL) == AEGIS_OK) {
        cli_json_set(object, "arrival_ns", cli_json_distribution(&metrics.arrival_ns));
    }
    return object;
}

static json_t *model_json(const cli_report *report, const aegis_system_model *model)
{
    static const char *const residencies[] = {"resident", "paged", "streamed"};
    const aegis_workload_model *wanted = &report->workload->models[model->model];
    aegis_admission_answer answer = cli_report_answer(report, model);
    json_t *object = json_object();
    cli_json_text(object, "name", model->name);
    cli_json_unsigned(object, "lane", answer.lane);
    cli_json_unsigned(object, "segments", model->segments);
    bool continuous = wanted->period_ns == 0;
    cli_json_response(object, "period_ns", continuous ? -1 : (int64_t)wanted->period_ns);
    cli_json_response(object, "deadline_ns",
                      wanted->background ? -1 : (int64_t)wanted->deadline_ns);
    cli_json_bool(object, "background", wanted->background);
    if (wanted->background) {
        cli_json_set(object, "slack", background_json(report, model));
    }
    if (report->ran) {
        add_metrics(object, report, model, &answer);
    }
    cli_json_response(object, "bound_ns", wanted->background ? -1 : answer.response_ns);
    cli_json_response(object, "blocking_ns", wanted->background ? -1 : answer.blocking_ns);
    cli_json_unsigned(object, "execution_bound_ns", answer.bound_ns);
    cli_json_unsigned(object, "enforceable_bound_ns", answer.enforceable_ns);
    if (model->early_copies || wanted->copies_auto) {
        cli_json_set(object, "copies", copies_json(report, model, &answer));
    }
    cli_json_bool(object, "enforced",
                  wanted->overrun == AEGIS_OVERRUN_ABORT && can_end(report, model));
    cli_json_unsigned(object, "memory_bytes", model->memory_bytes);
    cli_json_unsigned(object, "activation_bytes", model->activation_bytes);
    cli_json_unsigned(object, "overhead_bytes", model->overhead_bytes);
    cli_json_bool(object, "prepacked", model->prepacked);
    if (model->unpacked_for_memory) {
        json_object_set_new(object, "unpacking_price_ns",
                            json_integer((json_int_t)model->unpacking_price_ns));
    }
    cli_json_text(object, "residency", residencies[wanted->config.residency]);
    cli_json_unsigned(object, "paged_bytes", model->paged_bytes);
    cli_json_text(object, "note", model->note);
    cli_json_set(object, "profile", profile_json(model));
    return object;
}

static void add_run(json_t *root, const cli_report *report)
{
    uint64_t records = 0, dropped = 0;
    json_t *trace = json_object(), *scheduler = json_object();
    aegis_trace_collector_totals(aegis_system_collector(report->system), &records, &dropped);
    cli_json_unsigned(trace, "records", records);
    cli_json_unsigned(trace, "dropped", dropped);
    cli_json_text(trace, "path", report->trace_path);
    cli_json_set(root, "trace", trace);
    cli_json_unsigned(scheduler, "decisions", report->metrics.decisions);
    cli_json_unsigned(scheduler, "lane_turns", report->metrics.lane_turns);
    cli_json_unsigned(scheduler, "opened", report->metrics.opened);
    cli_json_unsigned(scheduler, "elapsed_ns", report->metrics.elapsed_ns);
    cli_json_set(scheduler, "wake_ns", cli_json_distribution(&report->metrics.wake_ns));
    cli_json_set(scheduler, "decision_ns", cli_json_distribution(&report->metrics.decision_ns));
    cli_json_set(root, "scheduler", scheduler);
}

json_t *cli_report_json(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    const aegis_scheduler *scheduler = aegis_system_scheduler(report->system);
    json_t *root = cli_json_object(), *rows = json_array();
    cli_json_text(root, "workload", report->workload->path);
    cli_json_text(root, "policy", report->workload->policy);
    cli_json_set(root, "device", cli_json_device(aegis_system_device(report->system)));
    cli_json_unsigned(root, "admitted", cli_report_admitted(report));
    cli_json_set(root, "rejected", rejected_json(report));
    cli_json_unsigned(root, "surprises", cli_report_surprises(report));
    cli_json_unsigned(root, "lanes", report->workload->lanes);
    cli_json_real(root, "utilisation", cli_report_utilisation(report));
    if (report->ran) {
        cli_json_real(root, "busy", busiest(report));
        cli_json_set(root, "lanes_busy", lanes_busy_json(report));
        cli_json_set(root, "lanes_proofs", cli_lane_proofs_json(&report->metrics));
    }
    cli_json_unsigned(root, "wake_bound_ns", aegis_scheduler_wake_bound_ns(scheduler));
    cli_json_unsigned(root, "overhead_bound_ns", aegis_scheduler_overhead_bound_ns(scheduler));
    cli_json_set(root, "memory", memory_json(report));
    if (report->explains_bytes) {
        cli_json_set(root, "shared_bytes",
                     cli_byte_story_json(report->system, report->explained_byte));
    }
    for (size_t i = 0; i < count; i++) {
        if (models[i].admitted) {
            json_array_append_new(rows, model_json(report, &models[i]));
        }
    }
    cli_json_set(root, "models", rows);
    cli_json_set(root, "cuts", cli_report_cuts_json(report));
    if (report->workload->event_count > 0) {
        cli_json_set(root, "events", cli_events_json(&report->events));
    }
    if (report->ran) {
        add_run(root, report);
    }
    return root;
}
