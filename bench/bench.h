/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_BENCH_H
#define AEGIS_BENCH_BENCH_H

/* What benchmarks share: samples, percentiles, and a report as one JSON object on stdout:
 *
 *   {"schema_version":1,"benchmark":"trace_record",
 *    "machine":{"cpu":..,"cores":..,"kernel":..,"governor":..,"clock_source":..,"build":..},
 *    "results":[{"name":..,"unit":"ns","samples":N,"mean":x,"median":x,"p99":x,"p999":x,"max":x}]}
 *
 *   bench_report report = bench_report_begin("trace_record");
 *   bench_report_samples(&report, "write", "ns", samples, count);   // sorts the samples
 *   bench_report_value(&report, "dropped", "records", 0);
 *   bench_report_end(&report);
 */

#include <aegisrt/clock.h>

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

typedef struct bench_report {
    json_t *root, *results;
} bench_report;

static inline uint64_t bench_now_ns(void)
{
    aegis_clock clock = aegis_clock_monotonic();
    return aegis_clock_now_ns(&clock);
}

/* Keeps the compiler from removing the work that made `*value`. */
static inline void bench_keep(const void *value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static inline void bench_sort(double *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, bench_compare);
}

/* Nearest rank: the smallest sample that at least `fraction` of all do not exceed. Sorted samples,
 * at least one. */
static inline double bench_percentile(const double *sorted, size_t count, double fraction)
{
    double rank = fraction * (double)count;
    size_t index = (size_t)rank;
    index -= index > 0 && (double)index >= rank;
    return sorted[index < count ? index : count - 1];
}

/* Coefficient of variation. */
static inline double bench_variation(const double *samples, size_t count)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += samples[i];
    }
    double mean = sum / (double)count;
    for (size_t i = 0; i < count; i++) {
        squares += (samples[i] - mean) * (samples[i] - mean);
    }
    return sqrt(squares / (double)count) / mean;
}

/* The first line of a file, or "unknown". */
static inline json_t *bench_first_line(const char *path)
{
    char line[256] = "unknown";
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL) {
            snprintf(line, sizeof line, "unknown");
        }
        fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
    return json_string(line);
}

/* "model name" of /proc/cpuinfo, or the device tree's model where there is none (Arm boards). */
static inline json_t *bench_cpu_name(void)
{
    char line[512];
    json_t *name = NULL;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file != NULL && name == NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL) {
            line[strcspn(line, "\n")] = '\0';
            name = json_string(colon + 1 + strspn(colon + 1, " "));
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return name != NULL ? name : bench_first_line("/proc/device-tree/model");
}

static inline json_t *bench_machine(void)
{
    struct utsname system = {0};
    uname(&system);
#ifdef __OPTIMIZE__
    const char *build = "optimised";
#else
    const char *build = "not optimised";
#endif
    const char *clock_source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    json_t *machine = json_object();
    json_object_set_new(machine, "cpu", bench_cpu_name());
    json_object_set_new(machine, "architecture", json_string(system.machine));
    json_object_set_new(machine, "cores", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(machine, "kernel", json_string(system.release));
    json_object_set_new(machine, "governor",
                        bench_first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    json_object_set_new(machine, "clock_source", bench_first_line(clock_source));
    json_object_set_new(machine, "compiler", json_string(__VERSION__));
    json_object_set_new(machine, "build", json_string(build));
    return machine;
}

static inline bench_report bench_report_begin(const char *benchmark)
{
    bench_report report = {.root = json_object(), .results = json_array()};
    json_object_set_new(report.root, "schema_version", json_integer(1));
    json_object_set_new(report.root, "benchmark", json_string(benchmark));
    json_object_set_new(report.root, "machine", bench_machine());
    json_object_set_new(report.root, "results", report.results);
    return report;
}

static inline json_t *bench_result(bench_report *report, const char *name, const char *unit)
{
    json_t *result = json_object();
    json_object_set_new(result, "name", json_string(name));
    json_object_set_new(result, "unit", json_string(unit));
    json_array_append_new(report->results, result);
    return result;
}

/* Sorts the samples. Without samples only their number is reported. */
static inline void bench_report_samples(
    bench_report *report, const char *name, const char *unit, double *samples, size_t count)
{
    json_t *result = bench_result(report, name, unit);
    json_object_set_new(result, "samples", json_integer((json_int_t)count));
    if (count == 0) {
        return;
    }
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += samples[i];
    }
    bench_sort(samples, count);
    json_object_set_new(result, "mean", json_real(sum / (double)count));
    json_object_set_new(result, "median", json_real(bench_percentile(samples, count, 0.5)));
    json_object_set_new(result, "p99", json_real(bench_percentile(samples, count, 0.99)));
    json_object_set_new(result, "p999", json_real(bench_percentile(samples, count, 0.999)));
    json_object_set_new(result, "max", json_real(samples[count - 1]));
}

/* One number that is no sample. */
static inline void
bench_report_value(bench_report *report, const char *name, const char *unit, double value)
{
    json_object_set_new(bench_result(report, name, unit), "value", json_real(value));
}

/* Prints and frees. */
static inline void bench_report_end(bench_report *report)
{
    json_dumpf(report->root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(report->root);
    *report = (bench_report){0};
}

#endif
