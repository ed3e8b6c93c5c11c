/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGISRT_MONITOR_H
#define AEGISRT_MONITOR_H

/** @file monitor.h What the machine has left: processors, memory, pressure, heat. Read from procfs
 * and sysfs; nothing is changed, nothing is kept, nothing is allocated but for the time of a call.
 */

#include <aegisrt/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AEGIS_MONITOR_CPUS 64
#define AEGIS_MONITOR_ZONES 32
#define AEGIS_MONITOR_NAME_BYTES 32

/** One processor. Frequencies are 0 where the kernel does not say. */
typedef struct aegis_monitor_cpu {
    uint32_t number;
    uint64_t busy_ticks, total_ticks; /**< since boot, of /proc/stat; 0, 0 when it is offline */
    uint32_t current_khz;             /**< cpufreq's scaling_cur_freq */
    uint32_t allowed_khz;             /**< scaling_max_freq: lowered by policy or by heat */
    uint32_t hardware_khz;            /**< cpuinfo_max_freq */
} aegis_monitor_cpu;

/** One thermal zone. */
typedef struct aegis_monitor_zone {
    char type[AEGIS_MONITOR_NAME_BYTES]; /**< "cpu-thermal", "x86_pkg_temp" */
    int32_t millidegrees;                /**< Celsius / 1000 */
    bool has_limit;
    int32_t limit_millidegrees; /**< lowest passive, hot or critical trip point above 0 */
} aegis_monitor_zone;

/** Pressure stall information of one resource (kernel: accounting/psi.rst). */
typedef struct aegis_monitor_pressure {
    bool known;
    double some_percent_10s,
        full_percent_10s; /**< share of the last 10 s in which some or all waited */
    uint64_t some_total_us, full_total_us; /**< since boot */
} aegis_monitor_pressure;

/** What slows the processors now or has since boot. Flags. */
typedef enum aegis_monitor_throttle {
    AEGIS_THROTTLE_UNDER_VOLTAGE = 1 << 0, /**< Raspberry Pi: supply below 4.63 V */
    AEGIS_THROTTLE_CAPPED = 1 << 1,        /**< the firmware caps the frequency */
    AEGIS_THROTTLE_THROTTLED = 1 << 2,     /**< clocks are lowered because of heat or supply */
    AEGIS_THROTTLE_SOFT_LIMIT = 1 << 3, /**< Raspberry Pi: the soft temperature limit is reached */
    AEGIS_THROTTLE_COOLING = 1 << 4, /**< a cooling device of the kernel holds a processor back */
    AEGIS_THROTTLE_LOWERED = 1 << 5  /**< cpufreq allows less than the hardware can */
} aegis_monitor_throttle;

/** One look at the machine. What cannot be read is 0 and its flag false. */
typedef struct aegis_monitor_sample {
    bool has_cpu;
    uint64_t busy_ticks, total_ticks; /**< of all processors, since boot */
    uint32_t cpu_count;               /**< processors in `cpus`; further ones are left out */
    aegis_monitor_cpu cpus[AEGIS_MONITOR_CPUS];
    bool has_load;
    double load[3]; /**< tasks that run or wait: means of 1, 5 and 15 minutes */
    bool cpu_limited;
    double cpu_limit; /**< processors that the control groups of this process allow */

    bool has_memory;
    uint64_t memory_bytes;           /**< MemTotal */
    uint64_t memory_available_bytes; /**< MemAvailable */
    uint64_t swap_bytes, swap_free_bytes;
    bool memory_limited;         /**< by control groups, version 1 or 2 (memory.max, memory.high) */
    uint64_t memory_limit_bytes; /**< the tightest limit */
    uint64_t memory_limit_available_bytes; /**< what is left below it */
    uint64_t memory_usable_bytes;          /**< the smaller of both availables */

    aegis_monitor_pressure cpu_pressure, memory_pressure, io_pressure;

    uint32_t zone_count;
    aegis_monitor_zone zones[AEGIS_MONITOR_ZONES];
    bool has_throttle;       /**< some source of the flags below can be read */
    uint32_t throttle_now;   /**< flags of aegis_monitor_throttle */
    uint32_t throttle_ever;  /**< since boot, as far as sources tell; includes throttle_now */
    uint64_t throttle_count; /**< x86: thermal throttle events of the packages since boot */
} aegis_monitor_sample;

/**
 * Looks once.
 * @param root folder that holds `proc` and `sys`; NULL means "/".
 * @return INVALID_ARGUMENT (no sample), TELEMETRY_UNAVAILABLE (neither /proc/stat nor /proc/meminfo
 * can be read). Any thread.
 */
aegis_status
aegis_monitor_read(const char *root, aegis_monitor_sample *ret_sample, aegis_error *err);

/** Share of time, 0 to 1, that the processors were busy between two samples; 0 when no tick passed.
 */
double aegis_monitor_load(const aegis_monitor_sample *before, const aegis_monitor_sample *after);

/**
 * Looks at the thermal zones alone, and gives the hottest one.
 * @param root as for aegis_monitor_read, of which it needs `sys` only.
 * @return INVALID_ARGUMENT (no output), TELEMETRY_UNAVAILABLE (no zone can be read). Any thread.
 */
aegis_status
aegis_monitor_read_hottest(const char *root, aegis_monitor_zone *ret_zone, aegis_error *err);

/** The hottest zone, or NULL when there is none. Borrowed from the sample. */
const aegis_monitor_zone *aegis_monitor_hottest(const aegis_monitor_sample *sample);

/** Words of the flags, "under-voltage, throttled", into `buffer`, or "none". Returns `buffer`. */
const char *aegis_monitor_throttle_text(uint32_t flags, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
