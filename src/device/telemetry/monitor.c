/* SPDX-License-Identifier: Apache-2.0 */
#include <aegisrt/monitor.h>

#include "base/base.h"
#include "device/cgroup.h"
#include "device/system_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPONENT "device.monitor"
#define STAT_BYTES 65536
#define CPU "sys/devices/system/cpu"
#define THERMAL "sys/class/thermal"
#define MAX_COOLING 64
#define MAX_TRIPS 16
#define HWMON "sys/class/hwmon"
#define MAX_HWMON 32
#define FIRMWARE_MASK UINT32_C(0xf)

/* "user nice system idle iowait irq softirq steal guest guest_nice"; guest is in user already. */
static bool parse_ticks(const char *text, uint64_t *ret_busy, uint64_t *ret_total)
{
    uint64_t ticks[8] = {0};
    size_t count = aegis_tree_numbers(text, ticks, AEGIS_ARRAY_LENGTH(ticks));
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += ticks[i];
    }
    *ret_busy = total - ticks[3] - ticks[4];
    *ret_total = total;
    return count >= 4;
}

/* One line of /proc/stat, "cpu ..." or "cpuN ...". */
static void parse_stat_line(const char *line, aegis_monitor_sample *sample)
{
    uint64_t busy, total;
    char *end;
    if (strncmp(line, "cpu", 3) != 0) {
        return;
    }
    line += 3;
    if (*line == ' ') {
        if (parse_ticks(line, &busy, &total)) {
            sample->busy_ticks = busy;
            sample->total_ticks = total;
            sample->has_cpu = true;
        }
        return;
    }
    unsigned long number = strtoul(line, &end, 10);
    if (end != line && number < UINT32_MAX && sample->cpu_count < AEGIS_MONITOR_CPUS &&
        parse_ticks(end, &busy, &total)) {
        sample->cpus[sample->cpu_count++] = (aegis_monitor_cpu){
            .number = (uint32_t)number, .busy_ticks = busy, .total_ticks = total};
    }
}

static void read_stat(const char *root, aegis_monitor_sample *sample)
{
    char *text = malloc(STAT_BYTES), *rest = NULL;
    if (text != NULL && aegis_tree_read(root, "proc/stat", text, STAT_BYTES)) {
        for (char *line = strtok_r(text, "\n", &rest); line != NULL;
             line = strtok_r(NULL, "\n", &rest)) {
            parse_stat_line(line, sample);
        }
    }
    free(text);
}

/* A number of kHz, 0 when there is none. */
static uint32_t read_khz(const char *root, uint32_t cpu, const char *name)
{
    char path[128];
    int64_t khz;
    snprintf(path, sizeof path, CPU "/cpu%u/cpufreq/%s", cpu, name);
    return aegis_tree_number(root, path, &khz) && khz > 0 && khz < UINT32_MAX ? (uint32_t)khz : 0;
}

static void read_frequencies(const char *root, aegis_monitor_sample *sample)
{
    for (uint32_t i = 0; i < sample->cpu_count; i++) {
        aegis_monitor_cpu *cpu = &sample->cpus[i];
        cpu->current_khz = read_khz(root, cpu->number, "scaling_cur_freq");
        cpu->allowed_khz = read_khz(root, cpu->number, "scaling_max_freq");
        cpu->hardware_khz = read_khz(root, cpu->number, "cpuinfo_max_freq");
        if (cpu->allowed_khz != 0 && cpu->hardware_khz != 0) {
            sample->has_throttle = true;
            sample->throttle_now |=
                cpu->allowed_khz < cpu->hardware_khz ? AEGIS_THROTTLE_LOWERED : 0;
        }
    }
}

static void read_load(const char *root, aegis_monitor_sample *sample)
{
    char text[128], *at = text, *end;
    sample->has_load = aegis_tree_read(root, "proc/loadavg", text, sizeof text);
    for (int i = 0; i < 3 && sample->has_load; i++, at = end) {
        sample->load[i] = strtod(at, &end);
        sample->has_load = end != at;
    }
}

static void read_memory(const char *root, aegis_monitor_sample *sample)
{
    static const char info[] = "proc/meminfo";
    aegis_cgroup_limits limits;
    sample->has_memory =
        aegis_tree_field_number(root, info, "MemTotal", &sample->memory_bytes) &&
        aegis_tree_field_number(root, info, "MemAvailable", &sample->memory_available_bytes);
    aegis_tree_field_number(root, info, "SwapTotal", &sample->swap_bytes);
    aegis_tree_field_number(root, info, "SwapFree", &sample->swap_free_bytes);
    aegis_cgroup_read(root, &limits);
    sample->memory_limited = limits.memory_limited;
    sample->memory_limit_bytes = limits.memory_limit_bytes;
    sample->memory_limit_available_bytes = limits.memory_available_bytes;
    sample->memory_usable_bytes = sample->memory_available_bytes;
    if (limits.memory_limited && limits.memory_available_bytes < sample->memory_usable_bytes) {
        sample->memory_usable_bytes = limits.memory_available_bytes;
    }
    sample->cpu_limited = limits.cpu_limited;
    if (limits.cpu_limited) {
        sample->cpu_limit = (double)limits.cpu_quota_us / (double)limits.cpu_period_us;
    }
}

/* "avg10=0.12 avg60=0.00 avg300=0.00 total=12345" */
static bool parse_pressure(const char *text, double *ret_percent, uint64_t *ret_total_us)
{
    static const char average[] = "avg10=", sum[] = " total=";
    const char *total_text = strstr(text, sum);
    char *percent_end, *total_end;
    if (strncmp(text, average, sizeof average - 1) != 0 || total_text == NULL) {
        return false;
    }
    double percent = strtod(text + sizeof average - 1, &percent_end);
    unsigned long long total = strtoull(total_text + sizeof sum - 1, &total_end, 10);
    if (*percent_end != ' ' || *total_end != '\0' || total_end == total_text + sizeof sum - 1) {
        return false;
    }
    *ret_percent = percent;
    *ret_total_us = total;
    return true;
}

/* "full" is absent for the CPU on older kernels. */
static void read_pressure(const char *root, const char *name, aegis_monitor_pressure *pressure)
{
    char path[64], text[160];
    snprintf(path, sizeof path, "proc/pressure/%s", name);
    pressure->known = aegis_tree_field(root, path, "some", text, sizeof text) &&
                      parse_pressure(text, &pressure->some_percent_10s, &pressure->some_total_us);
    if (pressure->known && aegis_tree_field(root, path, "full", text, sizeof text)) {
        parse_pressure(text, &pressure->full_percent_10s, &pressure->full_total_us);
    }
}

/* The lowest trip point at which the kernel slows or stops the machine. */
static void read_limit(const char *root, unsigned index, aegis_monitor_zone *zone)
{
    for (int trip = 0; trip < MAX_TRIPS; trip++) {
        char type[32], path[128];
        int64_t limit;
        snprintf(path, sizeof path, THERMAL "/thermal_zone%u/trip_point_%d_temp", index, trip);
        if (!aegis_tree_number(root, path, &limit)) {
            break;
        }
        bool counts =
            aegis_tree_read_at(root, type, sizeof type,
                               THERMAL "/thermal_zone%u/trip_point_%d_type", index, trip) &&
            strcmp(type, "active") != 0;
        if (counts && limit > 0 && limit < INT32_MAX &&
            (!zone->has_limit || limit < zone->limit_millidegrees)) {
            zone->has_limit = true;
            zone->limit_millidegrees = (int32_t)limit;
        }
    }
}

/* Zones are numbered, with gaps where drivers were unloaded. */
static void read_zones(const char *root, aegis_monitor_sample *sample)
{
    for (unsigned i = 0; i < 2 * AEGIS_MONITOR_ZONES; i++) {
        aegis_monitor_zone zone = {0};
        char path[64];
        int64_t temperature;
        snprintf(path, sizeof path, THERMAL "/thermal_zone%u/temp", i);
        if (sample->zone_count == AEGIS_MONITOR_ZONES ||
            !aegis_tree_number(root, path, &temperature) || temperature <= -274000 ||
            temperature >= INT32_MAX) {
            continue;
        }
        zone.millidegrees = (int32_t)temperature;
        if (!aegis_tree_read_at(root, zone.type, sizeof zone.type, THERMAL "/thermal_zone%u/type",
                                i)) {
            snprintf(zone.type, sizeof zone.type, "thermal_zone%u", i);
        }
        read_limit(root, i, &zone);
        sample->zones[sample->zone_count++] = zone;
    }
}

/* Cooling devices that are processors: "Processor" (ACPI), "cpufreq-cpu0", "intel_powerclamp". */
static void read_cooling(const char *root, aegis_monitor_sample *sample)
{
    for (int i = 0; i < MAX_COOLING; i++) {
        char type[64], path[64];
        int64_t state;
        if (!aegis_tree_read_at(root, type, sizeof type, THERMAL "/cooling_device%d/type", i)) {
            break;
        }
        snprintf(path, sizeof path, THERMAL "/cooling_device%d/cur_state", i);
        bool processor = strcmp(type, "Processor") == 0 || strstr(type, "cpufreq") != NULL ||
                         strcmp(type, "intel_powerclamp") == 0;
        if (processor && aegis_tree_number(root, path, &state)) {
            sample->has_throttle = true;
            sample->throttle_now |= state > 0 ? AEGIS_THROTTLE_COOLING : 0;
        }
    }
}

/* The word of the Raspberry Pi's firmware, without vcgencmd: bits 0 to 3 are now, 16 to 19 since
 * boot (documentation of vcgencmd get_throttled). Where it stands follows the name of the
 * firmware's node in the device tree, which is another on the Raspberry Pi 5. */
static bool read_firmware_word(const char *root, char *ret_text, size_t size)
{
    static const char *const nodes[] = {"soc/soc:firmware",
                                        "soc@107c000000/soc@107c000000:firmware", "soc:firmware"};
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(nodes); i++) {
        if (aegis_tree_read_at(root, ret_text, size, "sys/devices/platform/%s/get_throttled",
                               nodes[i])) {
            return true;
        }
    }
    return false;
}

static void read_firmware(const char *root, aegis_monitor_sample *sample)
{
    char text[32], *end;
    if (!read_firmware_word(root, text, sizeof text)) {
        return;
    }
    errno = 0;
    unsigned long bits = strtoul(text, &end, 16);
    if (end == text || *end != '\0' || errno != 0 || bits > UINT32_MAX) {
        return;
    }
    sample->has_throttle = true;
    sample->throttle_now |= (uint32_t)bits & FIRMWARE_MASK;
    sample->throttle_ever |= (uint32_t)(bits >> 16) & FIRMWARE_MASK;
}

/* Kernels without the Raspberry Pi's own patches have no such word, and an alarm of the supply
 * instead: its driver asks the firmware every two seconds (kernel: hwmon/raspberrypi-hwmon.rst). */
static void read_supply(const char *root, aegis_monitor_sample *sample)
{
    for (int i = 0; i < MAX_HWMON; i++) {
        char name[64], path[64];
        int64_t alarm;
        if (!aegis_tree_read_at(root, name, sizeof name, HWMON "/hwmon%d/name", i)) {
            continue;
        }
        snprintf(path, sizeof path, HWMON "/hwmon%d/in0_lcrit_alarm", i);
        if (strcmp(name, "rpi_volt") == 0 && aegis_tree_number(root, path, &alarm)) {
            sample->has_throttle = true;
            sample->throttle_now |= alarm > 0 ? AEGIS_THROTTLE_UNDER_VOLTAGE : 0;
        }
    }
}

/* x86 counts the events of each package; the cores of one package say the same number. */
static void read_throttle_counts(const char *root, aegis_monitor_sample *sample)
{
    uint64_t packages = 0;
    for (uint32_t i = 0; i < sample->cpu_count; i++) {
        char path[128];
        int64_t count, package = 0;
        uint32_t number = sample->cpus[i].number;
        snprintf(path, sizeof path, CPU "/cpu%u/thermal_throttle/package_throttle_count", number);
        if (!aegis_tree_number(root, path, &count) || count < 0) {
            continue;
        }
        snprintf(path, sizeof path, CPU "/cpu%u/topology/physical_package_id", number);
        if (!aegis_tree_number(root, path, &package) || package < 0 || package > 63) {
            package = 0;
        }
        sample->has_throttle = true;
        if ((packages >> package & 1) == 0) {
            packages |= UINT64_C(1) << package;
            sample->throttle_count += (uint64_t)count;
        }
    }
    sample->throttle_ever |= sample->throttle_count > 0 ? AEGIS_THROTTLE_THROTTLED : 0;
}

aegis_status
aegis_monitor_read(const char *root, aegis_monitor_sample *ret_sample, aegis_error *err)
{
    aegis_monitor_sample sample = {0};
    if (ret_sample == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is nowhere to put the sample");
    }
    root = root == NULL ? "/" : root;
    read_stat(root, &sample);
    read_load(root, &sample);
    read_memory(root, &sample);
    if (!sample.has_cpu && !sample.has_memory) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TELEMETRY_UNAVAILABLE,
                               "neither proc/stat nor proc/meminfo can be read below %s; is /proc "
                               "mounted?",
                               root);
    }
    read_frequencies(root, &sample);
    read_pressure(root, "cpu", &sample.cpu_pressure);
    read_pressure(root, "memory", &sample.memory_pressure);
    read_pressure(root, "io", &sample.io_pressure);
    read_zones(root, &sample);
    read_cooling(root, &sample);
    read_firmware(root, &sample);
    read_supply(root, &sample);
    read_throttle_counts(root, &sample);
    sample.throttle_ever |= sample.throttle_now;
    *ret_sample = sample;
    return AEGIS_OK;
}

double aegis_monitor_load(const aegis_monitor_sample *before, const aegis_monitor_sample *after)
{
    /* iowait may go back, so busy may seem to: the kernel says so itself (proc_stat(5)). */
    if (after->total_ticks <= before->total_ticks || after->busy_ticks <= before->busy_ticks) {
        return 0;
    }
    double share = (double)(after->busy_ticks - before->busy_ticks) /
                   (double)(after->total_ticks - before->total_ticks);
    return share < 1 ? share : 1;
}

const aegis_monitor_zone *aegis_monitor_hottest(const aegis_monitor_sample *sample)
{
    const aegis_monitor_zone *hottest = NULL;
    for (uint32_t i = 0; i < sample->zone_count; i++) {
        if (hottest == NULL || sample->zones[i].millidegrees > hottest->millidegrees) {
            hottest = &sample->zones[i];
        }
    }
    return hottest;
}

aegis_status
aegis_monitor_read_hottest(const char *root, aegis_monitor_zone *ret_zone, aegis_error *err)
{
    aegis_monitor_sample sample = {0};
    if (ret_zone == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_INVALID_ARGUMENT,
                               "there is nowhere to put the zone");
    }
    root = root == NULL ? "/" : root;
    read_zones(root, &sample);
    const aegis_monitor_zone *hottest = aegis_monitor_hottest(&sample);
    if (hottest == NULL) {
        return aegis_error_set(err, AEGIS_HERE(COMPONENT), AEGIS_ERROR_TELEMETRY_UNAVAILABLE,
                               "no thermal zone can be read below %s; load the sensors' driver",
                               root);
    }
    *ret_zone = *hottest;
    return AEGIS_OK;
}

const char *aegis_monitor_throttle_text(uint32_t flags, char *buffer, size_t size)
{
    static const char *const words[] = {
        "under-voltage",          "frequency capped",      "throttled",
        "soft temperature limit", "cooling device active", "maximum frequency lowered"};
    size_t at = 0;
    snprintf(buffer, size, "none");
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(words) && at < size; i++) {
        if ((flags >> i & 1) != 0) {
            int more = snprintf(buffer + at, size - at, "%s%s", at == 0 ? "" : ", ", words[i]);
            at += more > 0 ? (size_t)more : 0;
        }
    }
    return buffer;
}
