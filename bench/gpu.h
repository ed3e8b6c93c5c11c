/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_BENCH_GPU_H
#define AEGIS_BENCH_GPU_H

/* What benchmarks on a GPU share: which GPU it was, and raw samples for
 * bench/determinism_report.py beside the percentiles. */

#include "bench.h"

#include "support/cuda/gpu_bed.h"

#include <sys/resource.h>

/* The first line of what nvidia-smi answers, "unknown" where it is not there. */
static inline json_t *gpu_smi(const char *query)
{
    char command[256], line[256] = "";
    snprintf(command, sizeof command,
             "nvidia-smi --query-gpu=%s --format=csv,noheader 2> /dev/null", query);
    FILE *pipe = popen(command, "re");
    if (pipe != NULL) {
        if (fgets(line, sizeof line, pipe) == NULL) {
            line[0] = '\0';
        }
        pclose(pipe);
    }
    line[strcspn(line, "\n")] = '\0';
    return json_string(line[0] != '\0' ? line : "unknown");
}

/* Call while the GPU works or has just worked: the clocks are those of the moment. */
static inline void gpu_report_device(bench_report *report)
{
    aegis_device_capabilities is;
    aegis_error error;
    gpu_check(aegis_device_query(AEGIS_DEVICE_CUDA, 0, false, &is, &error), &error);
    json_t *gpu = json_object();
    json_object_set_new(gpu, "name", json_string(is.name));
    json_object_set_new(gpu, "multiprocessors", json_integer(is.multiprocessor_count));
    json_object_set_new(gpu, "maximum_core_clock_khz", json_integer(is.core_clock_khz));
    json_object_set_new(gpu, "maximum_memory_clock_khz", json_integer(is.memory_clock_khz));
    json_object_set_new(gpu, "driver", gpu_smi("driver_version"));
    json_object_set_new(gpu, "clocks_now", gpu_smi("clocks.sm,clocks.mem"));
    json_object_set_new(gpu, "throttle_reasons", gpu_smi("clocks_event_reasons.active"));
    json_object_set_new(report->root, "gpu", gpu);
}

/* CPU time of the whole process so far. */
static inline double gpu_cpu_ns(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return 1e9 * ((double)used.ru_utime.tv_sec + (double)used.ru_stime.tv_sec) +
           1e3 * ((double)used.ru_utime.tv_usec + (double)used.ru_stime.tv_usec);
}

static inline double *gpu_samples(size_t count)
{
    double *samples = calloc(count, sizeof *samples);
    if (samples == NULL) {
        fprintf(stderr, "no memory\n");
        exit(4);
    }
    return samples;
}

static inline void gpu_must(int code, const char *what)
{
    if (code != 0) {
        fprintf(stderr, "%s: CUDA error %d\n", what, code);
        exit(4);
    }
}

#endif
