/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base.h"
#include "device/system_tree.h"
#include "device/telemetry/probe.h"

#include <stdarg.h>
#include <stdio.h>

void aegis_probe_set(aegis_doctor_check *check, aegis_doctor_state state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check->found, sizeof check->found, format, arguments);
    va_end(arguments);
    check->state = state;
}

void aegis_probe_cure(aegis_doctor_check *check, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(check->cure, sizeof check->cure, format, arguments);
    va_end(arguments);
}

static const aegis_probe *const groups[] = {aegis_probes_cpu, aegis_probes_process,
                                            aegis_probes_machine};

static size_t count_probes(void)
{
    size_t count = 0;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(groups); i++) {
        for (const aegis_probe *probe = groups[i]; probe->id != NULL; probe++) {
            count++;
        }
    }
    return count;
}

aegis_status aegis_doctor_run(const char *root,
                              const aegis_allocator *allocator,
                              aegis_doctor_check **ret_checks,
                              size_t *ret_count,
                              aegis_error *err)
{
    if (allocator == NULL || ret_checks == NULL || ret_count == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.doctor"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "allocator, ret_checks or ret_count is NULL");
    }
    size_t count = count_probes(), done = 0;
    aegis_doctor_check *checks = aegis_allocate_zeroed(allocator, count, sizeof *checks);
    if (checks == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.doctor"), AEGIS_ERROR_NO_MEMORY,
                               "no host memory for %zu checks", count);
    }
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(groups); i++) {
        for (const aegis_probe *probe = groups[i]; probe->id != NULL; probe++) {
            aegis_doctor_check *check = &checks[done++];
            check->id = probe->id;
            check->title = probe->title;
            check->state = AEGIS_DOCTOR_UNKNOWN;
            probe->run(root != NULL ? root : "/", check);
        }
    }
    *ret_checks = checks;
    *ret_count = count;
    return AEGIS_OK;
}

void aegis_doctor_free(const aegis_allocator *allocator, aegis_doctor_check *checks, size_t count)
{
    aegis_deallocate(allocator, checks, count, sizeof *checks);
}

const char *aegis_doctor_state_name(aegis_doctor_state state)
{
    switch (state) {
    case AEGIS_DOCTOR_OK:
        return "ok";
    case AEGIS_DOCTOR_WARN:
        return "warn";
    case AEGIS_DOCTOR_FAIL:
        return "fail";
    case AEGIS_DOCTOR_UNKNOWN:
        return "unknown";
    }
    return "unknown";
}

aegis_status aegis_process_memory(const char *root,
                                  uint64_t *ret_resident_bytes,
                                  uint64_t *ret_peak_bytes,
                                  aegis_error *err)
{
    uint64_t resident, peak;
    if (ret_resident_bytes == NULL || ret_peak_bytes == NULL) {
        return aegis_error_set(err, AEGIS_HERE("device.telemetry"), AEGIS_ERROR_INVALID_ARGUMENT,
                               "ret_resident_bytes or ret_peak_bytes is NULL");
    }
    const char *from = root != NULL ? root : "/";
    if (!aegis_tree_field_number(from, "proc/self/status", "VmRSS", &resident) ||
        !aegis_tree_field_number(from, "proc/self/status", "VmHWM", &peak)) {
        return aegis_error_set(
            err, AEGIS_HERE("device.telemetry"), AEGIS_ERROR_TELEMETRY_UNAVAILABLE,
            "VmRSS and VmHWM cannot be read from proc/self/status below %s", from);
    }
    *ret_resident_bytes = resident;
    /* The kernel updates the two at different times. */
    *ret_peak_bytes = peak > resident ? peak : resident;
    return AEGIS_OK;
}
