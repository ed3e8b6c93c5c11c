/* SPDX-License-Identifier: Apache-2.0 */
/* `status`: what the machine has left. */
#include "edge_rt.h"

#include <aegisrt/monitor.h>

#include <stdio.h>
#include <time.h>

static const cli_option list[] = {
    {"root", "FOLDER", "look at the proc and sys of this folder"},
};

static const cli_command command = {
    .name = "status",
    .operands = "",
    .about =
        "Looks twice, a fifth of a second apart, for the load. What the kernel does not say is\n"
        "left out.",
    .examples = "  edge-rt status\n  edge-rt status --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    return edge_take(self, list[option].name, argument);
}

static json_t *pressure_json(const aegis_monitor_pressure *pressure)
{
    if (!pressure->known) {
        return json_null();
    }
    json_t *object = json_object();
    cli_json_real(object, "some_percent_10s", pressure->some_percent_10s);
    cli_json_real(object, "full_percent_10s", pressure->full_percent_10s);
    return object;
}

static json_t *status_json(const aegis_monitor_sample *now, double load)
{
    char words[256];
    json_t *root = cli_json_object(), *zones = json_array();
    cli_json_unsigned(root, "cpus", now->cpu_count);
    cli_json_set(root, "cpu_load", now->has_cpu ? json_real(load) : json_null());
    cli_json_set(root, "cpu_limit", now->cpu_limited ? json_real(now->cpu_limit) : json_null());
    cli_json_unsigned(root, "cpu_khz", now->cpu_count > 0 ? now->cpus[0].current_khz : 0);
    cli_json_unsigned(root, "memory_bytes", now->memory_bytes);
    cli_json_unsigned(root, "memory_available_bytes", now->memory_available_bytes);
    cli_json_set(root, "memory_limit_bytes",
                 now->memory_limited ? json_integer((json_int_t)now->memory_limit_bytes)
                                     : json_null());
    cli_json_unsigned(root, "memory_usable_bytes", now->memory_usable_bytes);
    cli_json_unsigned(root, "swap_bytes", now->swap_bytes);
    cli_json_set(root, "cpu_pressure", pressure_json(&now->cpu_pressure));
    cli_json_set(root, "memory_pressure", pressure_json(&now->memory_pressure));
    cli_json_set(root, "io_pressure", pressure_json(&now->io_pressure));
    for (uint32_t z = 0; z < now->zone_count; z++) {
        json_t *zone = json_object();
        cli_json_text(zone, "type", now->zones[z].type);
        cli_json_real(zone, "celsius", (double)now->zones[z].millidegrees / 1000.0);
        cli_json_set(zone, "limit_celsius",
                     now->zones[z].has_limit
                         ? json_real((double)now->zones[z].limit_millidegrees / 1000.0)
                         : json_null());
        json_array_append_new(zones, zone);
    }
    cli_json_set(root, "zones", zones);
    cli_json_text(root, "throttle_now",
                  now->has_throttle
                      ? aegis_monitor_throttle_text(now->throttle_now, words, sizeof words)
                      : NULL);
    cli_json_text(root, "throttle_ever",
                  now->has_throttle
                      ? aegis_monitor_throttle_text(now->throttle_ever, words, sizeof words)
                      : NULL);
    return root;
}

static void pressure_row(cli_table *table, const char *name, const aegis_monitor_pressure *pressure)
{
    if (pressure->known) {
        cli_table_cell(table, CLI_PLAIN, "%s pressure", name);
        cli_table_cell(table, CLI_PLAIN, "%.1f %% of the last 10 s some waited, %.1f %% all",
                       pressure->some_percent_10s, pressure->full_percent_10s);
    }
}

static void clock_row(cli_table *table, const aegis_monitor_cpu *cpu)
{
    if (cpu->current_khz > 0 && cpu->hardware_khz > 0) {
        cli_table_cell(table, CLI_PLAIN, "clock");
        cli_table_cell(table, CLI_PLAIN, "%u MHz; %u allowed, %u possible", cpu->current_khz / 1000,
                       cpu->allowed_khz / 1000, cpu->hardware_khz / 1000);
    }
}

static void zone_row(cli_table *table, const aegis_monitor_zone *zone)
{
    const double celsius = (double)zone->millidegrees / 1000.0;
    cli_table_cell(table, CLI_PLAIN, "%s", zone->type);
    if (zone->has_limit) {
        cli_table_cell(table, CLI_PLAIN, "%.1f C; slowed or stopped at %.1f C", celsius,
                       (double)zone->limit_millidegrees / 1000.0);
    } else {
        cli_table_cell(table, CLI_PLAIN, "%.1f C", celsius);
    }
}

static int print_status(const aegis_monitor_sample *now, double load)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES], words[256];
    cli_table *table = cli_table_create("what|now");
    cli_table_cell(table, CLI_PLAIN, "processors");
    cli_table_cell(table, CLI_PLAIN, "%u, busy %.0f %%", now->cpu_count, load * 100);
    if (now->cpu_count > 0) {
        clock_row(table, &now->cpus[0]);
    }
    if (now->cpu_limited) {
        cli_table_cell(table, CLI_PLAIN, "control group");
        cli_table_cell(table, CLI_PLAIN, "%.2f processors", now->cpu_limit);
    }
    cli_table_cell(table, CLI_PLAIN, "memory");
    cli_table_cell(table, CLI_PLAIN, "%s, %s available", cli_size(now->memory_bytes, a),
                   cli_size(now->memory_available_bytes, b));
    if (now->memory_limited) {
        cli_table_cell(table, CLI_PLAIN, "control group");
        cli_table_cell(table, CLI_PLAIN, "%s, %s left", cli_size(now->memory_limit_bytes, a),
                       cli_size(now->memory_limit_available_bytes, b));
    }
    pressure_row(table, "processor", &now->cpu_pressure);
    pressure_row(table, "memory", &now->memory_pressure);
    pressure_row(table, "disk", &now->io_pressure);
    for (uint32_t z = 0; z < now->zone_count; z++) {
        zone_row(table, &now->zones[z]);
    }
    if (now->has_throttle) {
        cli_table_cell(table, CLI_PLAIN, "throttled");
        cli_table_cell(table, now->throttle_now != 0 ? CLI_YELLOW : CLI_PLAIN, "%s",
                       aegis_monitor_throttle_text(now->throttle_now, words, sizeof words));
        cli_table_cell(table, CLI_PLAIN, "since boot");
        cli_table_cell(table, CLI_PLAIN, "%s",
                       aegis_monitor_throttle_text(now->throttle_ever, words, sizeof words));
    }
    return cli_table_finish(table);
}

/* One row of lines and of CSV is the machine. */
static int print_machine(const aegis_monitor_sample *now, double load, cli_format format)
{
    json_t *machine = status_json(now, load);
    if (format == CLI_JSON) {
        return cli_json_print(machine, NULL, format);
    }
    json_t *root = cli_json_object(), *rows = json_array();
    json_array_append_new(rows, machine);
    cli_json_set(root, "machines", rows);
    return cli_json_print(root, "machines", format);
}

int edge_rt_command_status(int argc, char **argv)
{
    edge_options options = {0};
    cli_common common;
    aegis_error error = {0};
    static const struct timespec moment = {.tv_nsec = 200000000};
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &options, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    aegis_monitor_sample before, now;
    const char *root = options.root != NULL ? options.root : "/";
    if (aegis_monitor_read(root, &before, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    nanosleep(&moment, NULL);
    if (aegis_monitor_read(root, &now, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    const double load = aegis_monitor_load(&before, &now);
    return common.format == CLI_TABLE ? print_status(&now, load)
                                      : print_machine(&now, load, common.format);
}
