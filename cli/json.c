/* SPDX-License-Identifier: Apache-2.0 */
#include "json.h"

#include "options.h"

#include <aegisrt/version.h>

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_COLUMNS 128
/* A key that no result has: says that a part of the tree could not be made. */
#define BROKEN "\x01"

json_t *cli_json_object(void)
{
    json_t *object = json_object();
    cli_json_unsigned(object, "schema_version", AEGIS_JSON_SCHEMA_VERSION);
    return object;
}

void cli_json_set(json_t *object, const char *key, json_t *value)
{
    if (object == NULL) {
        json_decref(value);
    } else if (value == NULL || json_object_set_new(object, key, value) != 0) {
        json_object_set_new(object, BROKEN, json_null());
    }
}

/* Jansson refuses text that is no UTF-8; such bytes become question marks. */
static json_t *safe_text(const char *value)
{
    json_t *text = json_string(value);
    if (text != NULL) {
        return text;
    }
    char *copy = strdup(value);
    for (char *at = copy; at != NULL && *at != '\0'; at++) {
        if ((unsigned char)*at >= 0x80) {
            *at = '?';
        }
    }
    text = copy != NULL ? json_string(copy) : NULL;
    free(copy);
    return text;
}

void cli_json_text(json_t *object, const char *key, const char *value)
{
    cli_json_set(object, key, value == NULL ? json_null() : safe_text(value));
}

void cli_json_bool(json_t *object, const char *key, bool value)
{
    cli_json_set(object, key, json_boolean(value));
}

void cli_json_unsigned(json_t *object, const char *key, uint64_t value)
{
    cli_json_set(object, key, json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value));
}

void cli_json_signed(json_t *object, const char *key, int64_t value)
{
    cli_json_set(object, key, json_integer(value));
}

void cli_json_real(json_t *object, const char *key, double value)
{
    cli_json_set(object, key, isfinite(value) ? json_real(value) : json_null());
}

void cli_json_response(json_t *object, const char *key, int64_t value)
{
    cli_json_set(object, key, value >= 0 ? json_integer(value) : json_null());
}

json_t *cli_json_device(const aegis_device_capabilities *c)
{
    json_t *object = json_object();
    char capability[24];
    snprintf(capability, sizeof capability, "%d.%d", c->compute_capability_major,
             c->compute_capability_minor);
    cli_json_text(object, "kind", aegis_device_kind_name(c->kind));
    cli_json_signed(object, "index", c->index);
    cli_json_text(object, "name", c->name);
    cli_json_signed(object, "multiprocessors", c->multiprocessor_count);
    cli_json_unsigned(object, "memory_bytes", c->total_memory_bytes);
    cli_json_unsigned(object, "free_memory_bytes", c->free_memory_bytes);
    cli_json_unsigned(object, "shared_memory_per_block_bytes", c->shared_memory_per_block_bytes);
    cli_json_unsigned(object, "last_level_cache_bytes", c->l2_cache_bytes);
    cli_json_signed(object, "max_threads_per_block", c->max_threads_per_block);
    cli_json_text(object, "compute_capability", c->kind == AEGIS_DEVICE_CUDA ? capability : NULL);
    cli_json_signed(object, "core_clock_khz", c->core_clock_khz);
    cli_json_signed(object, "memory_clock_khz", c->memory_clock_khz);
    cli_json_signed(object, "memory_bus_width_bits", c->memory_bus_width_bits);
    cli_json_bool(object, "integrated", c->integrated);
    cli_json_signed(object, "copy_engines", c->copy_engines);
    cli_json_signed(object, "partition_granularity", c->partition_granularity);
    return object;
}

json_t *cli_json_distribution(const aegis_distribution *distribution)
{
    json_t *object = json_object();
    cli_json_unsigned(object, "count", distribution->count);
    cli_json_unsigned(object, "max", distribution->max);
    cli_json_unsigned(object, "p50", distribution->p50);
    cli_json_unsigned(object, "p99", distribution->p99);
    cli_json_unsigned(object, "p999", distribution->p999);
    cli_json_real(object, "mean", distribution->mean);
    cli_json_real(object, "cv", distribution->cv);
    return object;
}

json_t *cli_json_series(const aegis_profile_series *series)
{
    json_t *object = json_object();
    cli_json_unsigned(object, "samples", series->samples);
    cli_json_unsigned(object, "best", series->best_ns);
    cli_json_unsigned(object, "median", series->median_ns);
    cli_json_unsigned(object, "average", series->average_ns);
    cli_json_unsigned(object, "quantile", series->quantile_ns);
    cli_json_unsigned(object, "worst", series->worst_ns);
    cli_json_real(object, "cv", series->cv);
    return object;
}

/* 0 stands for "no value would do". */
static void set_fit(json_t *object, const char *key, int64_t value)
{
    cli_json_set(object, key, value > 0 ? json_integer(value) : json_null());
}

json_t *cli_json_extreme(const aegis_extreme_fit *fit)
{
    const aegis_independence *tests = &fit->tests;
    json_t *object = json_object();
    if (fit->outcome == AEGIS_EXTREME_NOT_ASKED) {
        json_decref(object);
        return json_null();
    }
    cli_json_text(object, "outcome", aegis_extreme_outcome_name(fit->outcome));
    cli_json_text(object, "reason", aegis_extreme_outcome_text(fit->outcome));
    cli_json_unsigned(object, "samples", tests->samples);
    cli_json_unsigned(object, "lags", tests->lags);
    cli_json_real(object, "ljung_box", tests->ljung_box);
    cli_json_real(object, "ljung_box_p", tests->ljung_box_p);
    cli_json_real(object, "kpss", tests->kpss);
    cli_json_real(object, "kpss_critical", tests->kpss_critical);
    cli_json_real(object, "smirnov", tests->smirnov);
    cli_json_real(object, "smirnov_critical", tests->smirnov_critical);
    cli_json_real(object, "exceedance", fit->exceedance);
    cli_json_unsigned(object, "exceedances", fit->exceedances);
    cli_json_real(object, "threshold_ns", fit->threshold_ns);
    cli_json_real(object, "shape", fit->shape);
    cli_json_real(object, "shape_error", fit->shape_error);
    cli_json_real(object, "scale_ns", fit->scale_ns);
    cli_json_real(object, "anderson_darling", fit->anderson_darling);
    cli_json_real(object, "anderson_darling_p", fit->anderson_darling_p);
    cli_json_real(object, "quantile_ns", fit->quantile_ns);
    cli_json_real(object, "upper_ns", fit->upper_ns);
    return object;
}

json_t *cli_json_drift(const aegis_drift *drift)
{
    json_t *object = json_object();
    if (drift->level_ns == 0) {
        json_decref(object);
        return json_null();
    }
    cli_json_unsigned(object, "level_ns", drift->level_ns);
    cli_json_real(object, "allowed_share", drift->share);
    cli_json_unsigned(object, "executions", drift->executions);
    cli_json_unsigned(object, "past", drift->past);
    cli_json_real(object, "evidence", drift->evidence);
    cli_json_bool(object, "stale", drift->stale);
    return object;
}

json_t *cli_json_fit(const aegis_fit *fit)
{
    json_t *object = json_object();
    set_fit(object, "smallest_period_ns", fit->smallest_period);
    set_fit(object, "smallest_deadline_ns", fit->smallest_deadline);
    set_fit(object, "largest_execution_ns", fit->largest_execution);
    return object;
}

static bool is_broken(json_t *value)
{
    const char *key;
    json_t *child;
    size_t i;
    bool broken = json_is_object(value) && json_object_get(value, BROKEN) != NULL;
    if (json_is_object(value)) {
        json_object_foreach(value, key, child)
        {
            broken = broken || is_broken(child);
        }
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, child)
        {
            broken = broken || is_broken(child);
        }
    }
    return broken;
}

static void print_lines(json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (json_is_object(row)) {
            cli_json_unsigned(row, "schema_version", AEGIS_JSON_SCHEMA_VERSION);
        }
        json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
        putchar('\n');
    }
}

static void print_csv_text(const char *text)
{
    if (strpbrk(text, ",\"\n\r") == NULL) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            putchar('"');
        }
        putchar(*text);
    }
    putchar('"');
}

static void print_csv_value(const json_t *value)
{
    if (json_is_string(value)) {
        print_csv_text(json_string_value(value));
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%.12g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        fputs(json_is_true(value) ? "true" : "false", stdout);
    }
}

/* A column is a key, or a key within the object under another one. */
typedef struct column {
    const char *outer, *inner;
} column;

static size_t find_columns(json_t *row, column *columns)
{
    const char *outer, *inner;
    json_t *child, *value;
    size_t count = 0;
    json_object_foreach(row, outer, child)
    {
        if (json_is_object(child)) {
            json_object_foreach(child, inner, value)
            {
                if (count < MAX_COLUMNS && !json_is_object(value) && !json_is_array(value)) {
                    columns[count++] = (column){.outer = outer, .inner = inner};
                }
            }
        } else if (count < MAX_COLUMNS && !json_is_array(child)) {
            columns[count++] = (column){.outer = outer};
        }
    }
    return count;
}

static void print_csv(json_t *rows)
{
    column columns[MAX_COLUMNS];
    size_t count = find_columns(json_array_get(rows, 0), columns), i;
    json_t *row;
    for (i = 0; i < count; i++) {
        printf("%s%s%s%s", i > 0 ? "," : "", columns[i].outer, columns[i].inner != NULL ? "." : "",
               columns[i].inner != NULL ? columns[i].inner : "");
    }
    if (count > 0) {
        putchar('\n');
    }
    json_array_foreach(rows, i, row)
    {
        for (size_t k = 0; k < count; k++) {
            const json_t *value = json_object_get(row, columns[k].outer);
            fputs(k > 0 ? "," : "", stdout);
            print_csv_value(columns[k].inner != NULL ? json_object_get(value, columns[k].inner)
                                                     : value);
        }
        putchar('\n');
    }
}

int cli_json_print(json_t *root, const char *rows, cli_format format)
{
    if (root == NULL || is_broken(root)) {
        json_decref(root);
        fputs(CLI_PROGRAM ": error: no host memory for the result\n", stderr);
        return CLI_EXIT_UNAVAILABLE;
    }
    if (format == CLI_JSONL) {
        print_lines(json_object_get(root, rows));
    } else if (format == CLI_CSV) {
        print_csv(json_object_get(root, rows));
    } else {
        size_t layout = isatty(STDOUT_FILENO) ? JSON_INDENT(2) : 0;
        json_dumpf(root, stdout, layout | JSON_REAL_PRECISION(12));
        putchar('\n');
    }
    json_decref(root);
    return CLI_EXIT_OK;
}

void cli_json_counters(json_t *object, const aegis_core_counters *counters)
{
    cli_json_unsigned(object, "jobs", counters->jobs);
    cli_json_unsigned(object, "completed", counters->completed);
    cli_json_unsigned(object, "missed", counters->missed);
    cli_json_unsigned(object, "aborted", counters->aborted);
    cli_json_unsigned(object, "dropped", counters->dropped);
    cli_json_unsigned(object, "skipped", counters->skipped);
    cli_json_unsigned(object, "pending", counters->pending);
    cli_json_unsigned(object, "overruns", counters->overruns);
    cli_json_unsigned(object, "refused", counters->refused);
    cli_json_unsigned(object, "excused", counters->excused);
    cli_json_unsigned(object, "unexcused", counters->unexcused);
}
