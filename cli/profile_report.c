/* SPDX-License-Identifier: Apache-2.0 */
#include "profile.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *measured_json(const cli_measured *row)
{
    const aegis_profile *profile = &row->profile;
    json_t *object = json_object(), *memory = json_object();
    for (int i = 0; i < AEGIS_MEMORY_CLASS_COUNT; i++) {
        cli_json_unsigned(memory, aegis_memory_class_name((aegis_memory_class)i), row->by_class[i]);
    }
    cli_json_text(object, "name", row->name);
    cli_json_text(object, "runtime", row->label);
    cli_json_text(object, "hash", row->hash);
    cli_json_set(object, "alone_ns", cli_json_series(&profile->alone));
    cli_json_set(object, "loaded_ns", cli_json_series(&profile->loaded));
    cli_json_unsigned(object, "cold_ns", profile->cold_ns);
    cli_json_real(object, "contention_factor", profile->contention_factor);
    cli_json_real(object, "quantile", profile->quantile);
    cli_json_real(object, "assurance", profile->assurance);
    cli_json_real(object, "margin", profile->margin);
    cli_json_text(object, "method", aegis_bound_method_name(profile->method));
    cli_json_set(object, "extreme_value", cli_json_extreme(&profile->extreme));
    cli_json_unsigned(object, "bound_ns", profile->bound_ns);
    cli_json_unsigned(object, "stretch_ns", profile->stretch_ns);
    cli_json_set(object, "memory_bytes", memory);
    cli_json_unsigned(object, "overhead_bytes", row->overhead_bytes);
    cli_json_unsigned(object, "loading_peak_bytes", row->loading_bytes);
    return object;
}

/* What was found about the tail, and which bound counts. */
static void print_extreme(const cli_measured *row)
{
    const aegis_extreme_fit *fit = &row->profile.extreme;
    const aegis_independence *tests = &fit->tests;
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    if (fit->outcome == AEGIS_EXTREME_NOT_ASKED) {
        return;
    }
    if (fit->outcome == AEGIS_EXTREME_ACCEPTED) {
        printf("%s: method evt; at most %.3g of the runs pass %s, with confidence %.4g %s.\n",
               row->name, fit->exceedance, cli_duration((int64_t)fit->quantile_ns, a),
               row->profile.assurance, cli_duration((int64_t)fit->upper_ns, b));
    } else {
        printf("%s: method %s; the extreme-value fit is refused: %s.\n", row->name,
               aegis_bound_method_name(row->profile.method),
               aegis_extreme_outcome_text(fit->outcome));
    }
    if (tests->lags > 0) {
        printf("  Ljung-Box %.3g (p %.3g), KPSS %.3g (at most %.3g), Kolmogorov-Smirnov %.3g (at "
               "most %.3g)",
               tests->ljung_box, tests->ljung_box_p, tests->kpss, tests->kpss_critical,
               tests->smirnov, tests->smirnov_critical);
        if (fit->scale_ns > 0) {
            printf(", xi %.3g +- %.2g, Anderson-Darling %.3g (p %.3g)", fit->shape,
                   fit->shape_error, fit->anderson_darling, fit->anderson_darling_p);
        }
        puts(".");
    }
}

static int print_rows(const cli_measured *rows, size_t count)
{
    char text[CLI_TEXT_BYTES];
    cli_table *table =
        cli_table_create("model|>samples|>median alone|>loaded|>contention|>cv|>quantile|>worst|>"
                         "cold|>bound C|>to end|>weights|>activations|>overhead");
    for (size_t i = 0; i < count; i++) {
        const aegis_profile *profile = &rows[i].profile;
        const aegis_profile_series *loaded = &profile->loaded;
        const uint64_t times[] = {loaded->quantile_ns, loaded->worst_ns, profile->cold_ns,
                                  profile->bound_ns, profile->stretch_ns};
        cli_table_cell(table, CLI_PLAIN, "%s", rows[i].name);
        cli_table_cell(table, CLI_PLAIN, "%" PRIu32, loaded->samples);
        cli_table_cell(table, CLI_PLAIN, "%s",
                       cli_duration((int64_t)profile->alone.median_ns, text));
        cli_table_cell(table, CLI_PLAIN, "%s", cli_duration((int64_t)loaded->median_ns, text));
        cli_table_cell(table, CLI_PLAIN, "%.2f", profile->contention_factor);
        cli_table_cell(table, CLI_PLAIN, "%.1f %%", 100 * loaded->cv);
        for (size_t k = 0; k < sizeof times / sizeof times[0]; k++) {
            cli_table_cell(table, CLI_PLAIN, "%s", cli_duration((int64_t)times[k], text));
        }
        cli_table_cell(table, CLI_PLAIN, "%s",
                       cli_size(rows[i].by_class[AEGIS_MEMORY_WEIGHTS] +
                                    rows[i].by_class[AEGIS_MEMORY_PREPACKED],
                                text));
        cli_table_cell(table, CLI_PLAIN, "%s",
                       cli_size(rows[i].by_class[AEGIS_MEMORY_ACTIVATION], text));
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(rows[i].overhead_bytes, text));
    }
    int code = cli_table_finish(table);
    for (size_t i = 0; i < count; i++) {
        const aegis_profile *profile = &rows[i].profile;
        if (profile->method == AEGIS_BOUND_TOO_FEW_SAMPLES) {
            printf("%s: too few samples for the %.4g quantile at %.4g; the bound is the maximum "
                   "times %.3g.\n",
                   rows[i].name, profile->quantile, profile->assurance, profile->margin);
        }
    }
    for (size_t i = 0; i < count; i++) {
        print_extreme(&rows[i]);
    }
    if (count > 0 && code == CLI_EXIT_OK) {
        printf(
            "A bound%s is the order statistic that covers %.4g of the runs with confidence %.4g, "
            "times %.3g.\n",
            rows[0].profile.extreme.outcome == AEGIS_EXTREME_NOT_ASKED ? "" : " that is not evt",
            rows[0].profile.quantile, rows[0].profile.assurance, rows[0].profile.margin);
    }
    return code;
}

int cli_print_measured(const cli_measured *rows, size_t count, cli_format format)
{
    if (format == CLI_TABLE) {
        return print_rows(rows, count);
    }
    json_t *root = cli_json_object(), *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, measured_json(&rows[i]));
    }
    cli_json_set(root, "models", array);
    return cli_json_print(root, "models", format);
}
