/* SPDX-License-Identifier: Apache-2.0 */
/* The trace header: configuration, profiles and plan, so that a trace alone is enough. */
#include "system/internal.h"

#include <aegisrt/version.h>

#include <jansson.h>

static json_t *profile_json(const aegis_profile *profile)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:s}", "bound_ns",
                     (json_int_t)profile->bound_ns, "stretch_ns", (json_int_t)profile->stretch_ns,
                     "median_ns", (json_int_t)profile->loaded.median_ns, "samples",
                     (json_int_t)profile->loaded.samples, "quantile", profile->quantile,
                     "assurance", profile->assurance, "margin", profile->margin,
                     "contention_factor", profile->contention_factor, "key", profile->key);
}

/* Where the model is cut, so that the trace alone says what a segment was. */
static json_t *cuts_json(const aegis_system_cuts *cuts)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < cuts->count; i++) {
        json_array_append_new(list, json_pack("{s:I, s:I, s:I}", "position",
                                              (json_int_t)cuts->at[i].position, "live_tensors",
                                              (json_int_t)cuts->at[i].live_tensors, "live_bytes",
                                              (json_int_t)cuts->at[i].live_bytes));
    }
    return list;
}

static json_t *segments_json(const aegis_profile *profile)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < aegis_profile_segments(profile); i++) {
        aegis_profile_segment one = aegis_profile_segment_at(profile, i);
        json_array_append_new(list, json_pack("{s:I, s:I}", "bound_ns", (json_int_t)one.bound_ns,
                                              "stretch_ns", (json_int_t)one.stretch_ns));
    }
    return list;
}

static json_t *model_json(const aegis_system *system, size_t index)
{
    const aegis_system_model *model = &system->models[index];
    const aegis_workload_model *wanted = &system->workload->models[index];
    json_t *object =
        json_pack("{s:s, s:b, s:s, s:s, s:I, s:I, s:I}", "name", model->name, "admitted",
                  model->admitted, "rationale", aegis_rationale_name(model->rationale), "reason",
                  model->reason, "period_ns", (json_int_t)wanted->period_ns, "deadline_ns",
                  (json_int_t)wanted->deadline_ns, "memory_bytes", (json_int_t)model->memory_bytes);
    if (object != NULL && wanted->background) { /* no deadline */
        json_object_set_new(object, "deadline_ns", json_null());
        json_object_set_new(object, "background", json_true());
        json_object_set_new(object, "weight", json_integer(wanted->weight));
        json_object_set_new(object, "share_ppm", json_integer(wanted->share_ppm));
    }
    if (object != NULL && model->admitted) {
        json_object_set_new(object, "lane", json_integer(model->answer.lane));
        json_object_set_new(object, "enforceable_ns",
                            json_integer((json_int_t)model->answer.enforceable_ns));
        json_object_set_new(object, "response_ns",
                            model->answer.response_ns < 0
                                ? json_null()
                                : json_integer((json_int_t)model->answer.response_ns));
        if (model->answer.copy_bound_ns > 0) {
            json_object_set_new(object, "copies",
                                json_pack("{s:I, s:I, s:I}", "bound_ns",
                                          (json_int_t)model->answer.copy_bound_ns, "response_ns",
                                          (json_int_t)model->answer.copy_response_ns, "jitter_ns",
                                          (json_int_t)model->answer.jitter_ns));
        }
        json_object_set_new(object, "profile", profile_json(&model->profile));
        json_object_set_new(object, "segments", segments_json(&model->profile));
        json_object_set_new(object, "cuts", cuts_json(&model->cuts));
    }
    return object;
}

char *aegis_system_trace_header(const aegis_system *system)
{
    aegis_memory_totals totals;
    aegis_memory_orchestrator_totals(system->memory, &totals);
    json_t *models = json_array();
    for (size_t i = 0; i < system->workload->model_count; i++) {
        json_array_append_new(models, model_json(system, i));
    }
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:s, s:i, s:{s:s, s:s}, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I}, s:o}",
        "schema_version", AEGIS_JSON_SCHEMA_VERSION, "aegisrt", AEGIS_VERSION_STRING, "workload",
        system->workload->path, "policy", aegis_policy_name(&system->policy), "lanes",
        (int)system->workload->lanes, "device", "kind",
        aegis_device_kind_name(system->capabilities.kind), "name", system->capabilities.name,
        "wake_bound_ns", (json_int_t)aegis_scheduler_wake_bound_ns(system->scheduler),
        "overhead_bound_ns", (json_int_t)aegis_scheduler_overhead_bound_ns(system->scheduler),
        "memory", "budget", (json_int_t)system->workload->memory_bytes, "planned",
        (json_int_t)totals.planned_bytes, "activations_planned",
        (json_int_t)totals.activations_planned, "activations_sum",
        (json_int_t)totals.activations_sum, "sum_of_models", (json_int_t)totals.sum_of_models,
        "models", models);
    if (root != NULL && system->workload->lane_multiprocessors[0] > 0) {
        json_t *each = json_array();
        for (size_t i = 0; i < system->workload->lanes; i++) {
            json_array_append_new(each, json_integer(system->workload->lane_multiprocessors[i]));
        }
        json_object_set_new(root, "multiprocessors", each);
    }
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}
