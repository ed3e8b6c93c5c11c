/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_DOCTOR_H
#define AEGISRT_DOCTOR_H

/** @file doctor.h Is this machine set up for real time? Read-only probes with what was found and
 * the cure; nothing is changed. */

#include <aegisrt/allocator.h>
#include <aegisrt/error.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum aegis_doctor_state {
    AEGIS_DOCTOR_OK = 0,
    AEGIS_DOCTOR_WARN,   /**< works, with more jitter or less room than it could */
    AEGIS_DOCTOR_FAIL,   /**< a bound cannot be kept as long as this stands */
    AEGIS_DOCTOR_UNKNOWN /**< cannot be read here */
} aegis_doctor_state;

#define AEGIS_DOCTOR_FOUND_BYTES 192
#define AEGIS_DOCTOR_CURE_BYTES 384

/** One finding. `id` and `title` are static; `cure` is empty when nothing is to be done. */
typedef struct aegis_doctor_check {
    const char *id;    /**< stable, for example "rt-throttling" */
    const char *title; /**< for people */
    aegis_doctor_state state;
    char found[AEGIS_DOCTOR_FOUND_BYTES];
    char cure[AEGIS_DOCTOR_CURE_BYTES];
} aegis_doctor_check;

/**
 * Probes, always the same ones in the same order: cpu-governor, turbo, smt, isolated-cpus,
 * preemption, clocksource, steal; rt-throttling, rt-permission, memlock, timer-slack,
 * cgroup-memory, cgroup-cpu; swap, huge-pages, thermal-zones, cuda-driver. What cannot be read is a
 * finding (UNKNOWN), not a failure of the call.
 * @param root folder that holds `proc` and `sys`; NULL means "/".
 * @param ret_checks owned by the caller, freed by aegis_doctor_free with the same allocator.
 * @return NO_MEMORY; INVALID_ARGUMENT (an output or the allocator is NULL). Any thread.
 */
aegis_status aegis_doctor_run(const char *root,
                              const aegis_allocator *allocator,
                              aegis_doctor_check **ret_checks,
                              size_t *ret_count,
                              aegis_error *err);

/** NULL is fine. */
void aegis_doctor_free(const aegis_allocator *allocator, aegis_doctor_check *checks, size_t count);

/** "ok", "warn", "fail" or "unknown". Static. */
const char *aegis_doctor_state_name(aegis_doctor_state state);

/**
 * Resident memory of this process now and at its peak, in bytes (VmRSS and VmHWM of
 * /proc/self/status).
 * @param root as for aegis_doctor_run.
 * @return TELEMETRY_UNAVAILABLE when it cannot be read; INVALID_ARGUMENT (an output is NULL). Any
 * thread.
 */
aegis_status aegis_process_memory(const char *root,
                                  uint64_t *ret_resident_bytes,
                                  uint64_t *ret_peak_bytes,
                                  aegis_error *err);

#ifdef __cplusplus
}
#endif
#endif
