/* SPDX-License-Identifier: Apache-2.0 */
/* Which models were cut into segments, where, why, and what it costs. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

static const char *mode_name(aegis_cuts_mode mode)
{
    switch (mode) {
    case AEGIS_CUTS_NONE:
        return "none";
    case AEGIS_CUTS_AUTO:
        return "auto";
    case AEGIS_CUTS_EVEN:
        return "even";
    case AEGIS_CUTS_AT:
        return "at";
    }
    return "none";
}

static bool has_reason(const cli_report *report, const aegis_system_cuts *cuts)
{
    size_t count;
    aegis_system_models(report->system, &count);
    return cuts->mode == AEGIS_CUTS_AUTO && cuts->limited_by < count;
}

static json_t *positions_json(const aegis_system_cuts *cuts)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < cuts->count; i++) {
        json_t *one = json_object();
        cli_json_unsigned(one, "position", cuts->at[i].position);
        cli_json_unsigned(one, "live_tensors", cuts->at[i].live_tensors);
        cli_json_unsigned(one, "live_bytes", cuts->at[i].live_bytes);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *segments_json(const aegis_profile *profile)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < aegis_profile_segments(profile); i++) {
        aegis_profile_segment segment = aegis_profile_segment_at(profile, i);
        json_t *one = json_object();
        cli_json_unsigned(one, "median_ns", segment.series.median_ns);
        cli_json_unsigned(one, "worst_ns", segment.series.worst_ns);
        cli_json_unsigned(one, "bound_ns", segment.bound_ns);
        cli_json_unsigned(one, "stretch_ns", segment.stretch_ns);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *cuts_json(const cli_report *report, const aegis_system_model *model)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    const aegis_system_cuts *cuts = &model->cuts;
    json_t *object = json_object(), *because = json_null();
    cli_json_text(object, "model", model->name);
    cli_json_text(object, "mode", mode_name(cuts->mode));
    cli_json_bool(object, "admitted", model->admitted);
    cli_json_set(object, "positions", positions_json(cuts));
    cli_json_set(object, "segments", segments_json(&model->profile));
    if (has_reason(report, cuts)) {
        because = json_object();
        cli_json_text(because, "model", models[cuts->limited_by].name);
        cli_json_unsigned(because, "tolerance_ns", cuts->tolerance_ns);
    }
    cli_json_set(object, "because", because);
    cli_json_unsigned(object, "longest_before_ns", cuts->longest_before_ns);
    cli_json_unsigned(object, "longest_after_ns", cuts->longest_after_ns);
    cli_json_unsigned(object, "bound_before_ns", cuts->whole_bound_ns);
    cli_json_unsigned(object, "bound_after_ns", model->profile.bound_ns);
    cli_json_set(object, "overhead_ns", json_integer(cuts->overhead_ns));
    cli_json_unsigned(object, "tries", cuts->tries);
    return object;
}

json_t *cli_report_cuts_json(const cli_report *report)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (models[i].cuts.count > 0) {
            json_array_append_new(list, cuts_json(report, &models[i]));
        }
    }
    return list;
}

/* "12, 40, 77 and 9 more", each with what crosses it. */
static void add_positions(cli_table *table, const aegis_system_cuts *cuts)
{
    char text[256] = "", size[CLI_TEXT_BYTES];
    size_t at = 0;
    uint32_t shown = cuts->count <= 4 ? cuts->count : 3;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < cuts->count; i++) {
        bytes += cuts->at[i].live_bytes;
        if (i < shown) {
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%" PRIu32, i == 0 ? "" : ", ",
                                   cuts->at[i].position);
        }
    }
    if (shown < cuts->count) {
        snprintf(text + at, sizeof text - at, " and %" PRIu32 " more", cuts->count - shown);
    }
    cli_table_cell(table, CLI_PLAIN, "%s", text);
    cli_table_cell(table, CLI_PLAIN, "%s", bytes == 0 ? "-" : cli_size(bytes, size));
}

static void add_row(cli_table *table, const cli_report *report, const aegis_system_model *model)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    const aegis_system_cuts *cuts = &model->cuts;
    char a[CLI_TEXT_BYTES];
    cli_table_cell(table, CLI_PLAIN, "%s", model->name);
    cli_table_cell(table, CLI_PLAIN, "%" PRIu32, cuts->count + 1);
    add_positions(table, cuts);
    cli_table_cell(table, CLI_PLAIN, "%s", cli_duration((int64_t)cuts->longest_before_ns, a));
    cli_table_cell(table, CLI_PLAIN, "%s", cli_duration((int64_t)cuts->longest_after_ns, a));
    cli_table_cell(table, CLI_PLAIN, "%+.1f %%",
                   cuts->whole_bound_ns == 0
                       ? 0.0
                       : 100.0 * (double)cuts->overhead_ns / (double)cuts->whole_bound_ns);
    if (has_reason(report, cuts)) {
        cli_table_cell(table, CLI_PLAIN, "%s bears %s", models[cuts->limited_by].name,
                       cli_duration((int64_t)cuts->tolerance_ns, a));
    } else {
        cli_table_cell(table, CLI_PLAIN, "as told");
    }
}

int cli_report_cuts(const cli_report *report)
{
    size_t count, cut = 0;
    const aegis_system_model *models = aegis_system_models(report->system, &count);
    for (size_t i = 0; i < count; i++) {
        cut += models[i].cuts.count > 0;
    }
    if (cut == 0) {
        return CLI_EXIT_OK;
    }
    putchar('\n');
    cli_table *table = cli_table_create(
        "cut model|>segments|at operators|>crossing|>longest before|>after|>cost in C|why");
    for (size_t i = 0; i < count; i++) {
        if (models[i].cuts.count > 0) {
            add_row(table, report, &models[i]);
        }
    }
    return cli_table_finish(table);
}
