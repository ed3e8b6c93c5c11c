/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "json.h"

#include <aegisrt/backend.h>

#include <inttypes.h>
#include <stdio.h>

#define MAX_DEVICES 64

static const cli_option list[] = {
    {"measure", NULL, "time memory bandwidth and FLOP rate (under a second each)"},
};

static const cli_command command = {
    .name = "devices",
    .operands = "",
    .about = "Prints the devices and the runtimes of this build. Figures that are not known are\n"
             "left out, never guessed.",
    .examples = "  aegisrt devices\n"
                "  aegisrt devices --measure --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    (void)option;
    (void)argument;
    *(bool *)self = true;
    return 0;
}

static const char *source_name(aegis_figure_source source)
{
    switch (source) {
    case AEGIS_FIGURE_READ:
        return "read";
    case AEGIS_FIGURE_DERIVED:
        return "derived";
    case AEGIS_FIGURE_MEASURED:
        return "measured";
    case AEGIS_FIGURE_UNKNOWN:
        break;
    }
    return "unknown";
}

static json_t *figure_json(uint64_t value, aegis_figure_source source)
{
    json_t *object = json_object();
    cli_json_set(object, "value",
                 source == AEGIS_FIGURE_UNKNOWN ? json_null() : json_integer((json_int_t)value));
    cli_json_text(object, "source", source_name(source));
    return object;
}

/* What was timed, also where a derived figure is larger and stands in front. */
static json_t *measured_json(const aegis_device_capabilities *device)
{
    json_t *object = json_object();
    uint64_t bandwidth = device->measured_bandwidth_bytes_per_second;
    cli_json_set(object, "bandwidth_bytes_per_second",
                 bandwidth > 0 ? json_integer((json_int_t)bandwidth) : json_null());
    cli_json_set(object, "flops",
                 device->measured_flops > 0 ? json_integer((json_int_t)device->measured_flops)
                                            : json_null());
    return object;
}

typedef struct loaded_runtime {
    bool available;
    char version[64];
    aegis_error error; /* why not */
} loaded_runtime;

/* That it was built says nothing about a library that is opened when it is wanted. No folder is
 * made: nothing is compiled. */
static loaded_runtime load_runtime(const aegis_runtime_info *info)
{
    const aegis_allocator allocator = aegis_allocator_default();
    const aegis_backend_config config = {
        .runtime = info->name, .cache_dir = ".aegisrt-cache", .consumer = "aegisrt devices"};
    loaded_runtime runtime = {0};
    aegis_backend *backend = NULL;
    if (aegis_backend_create(&config, NULL, &allocator, &backend, &runtime.error) == AEGIS_OK) {
        runtime.available = true;
        snprintf(runtime.version, sizeof runtime.version, "%s", aegis_backend_version(backend));
    }
    aegis_backend_destroy(backend);
    return runtime;
}

static json_t *devices_json(const aegis_device_capabilities *devices, size_t count)
{
    json_t *root = cli_json_object(), *rows = json_array(), *runtimes = json_array();
    size_t runtime_count = 0;
    const aegis_runtime_info *infos = aegis_runtime_list(&runtime_count);
    for (size_t i = 0; i < count; i++) {
        aegis_figure_source source = AEGIS_FIGURE_UNKNOWN;
        json_t *object = cli_json_device(&devices[i]);
        uint64_t value = aegis_device_theoretical_bandwidth(&devices[i], &source);
        cli_json_set(object, "bandwidth_bytes_per_second", figure_json(value, source));
        value = aegis_device_theoretical_flops(&devices[i], &source);
        cli_json_set(object, "flops", figure_json(value, source));
        cli_json_set(object, "measured", measured_json(&devices[i]));
        json_array_append_new(rows, object);
    }
    for (size_t i = 0; i < runtime_count; i++) {
        if (infos[i].production) {
            loaded_runtime runtime = load_runtime(&infos[i]);
            json_t *object = json_object();
            cli_json_text(object, "name", infos[i].name);
            cli_json_bool(object, "built", infos[i].built);
            cli_json_bool(object, "available", runtime.available);
            cli_json_set(object, "version",
                         runtime.available ? json_string(runtime.version) : json_null());
            cli_json_set(object, "reason",
                         runtime.available ? json_null() : json_string(runtime.error.message));
            json_array_append_new(runtimes, object);
        }
    }
    cli_json_set(root, "devices", rows);
    cli_json_set(root, "runtimes", runtimes);
    return root;
}

static void rate_cell(cli_table *table, uint64_t value, aegis_figure_source source)
{
    if (source == AEGIS_FIGURE_UNKNOWN) {
        cli_table_cell(table, CLI_PLAIN, "-");
    } else {
        cli_table_cell(table, CLI_PLAIN, "%.1f G/s, %s", (double)value / 1e9, source_name(source));
    }
}

static int print_devices(const aegis_device_capabilities *devices, size_t count)
{
    cli_table *table =
        cli_table_create("device|name|>cores or SMs|>memory|>free|>clock|>bandwidth|>FLOP");
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    size_t runtime_count = 0;
    const aegis_runtime_info *infos = aegis_runtime_list(&runtime_count);
    for (size_t i = 0; i < count; i++) {
        const aegis_device_capabilities *d = &devices[i];
        aegis_figure_source source = AEGIS_FIGURE_UNKNOWN;
        cli_table_cell(table, CLI_PLAIN, "%s %d", aegis_device_kind_name(d->kind), d->index);
        cli_table_cell(table, CLI_PLAIN, "%s", d->name);
        cli_table_cell(table, CLI_PLAIN, "%d", d->multiprocessor_count);
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(d->total_memory_bytes, a));
        cli_table_cell(table, CLI_PLAIN, "%s", cli_size(d->free_memory_bytes, b));
        if (d->core_clock_khz > 0) {
            cli_table_cell(table, CLI_PLAIN, "%.0f MHz", (double)d->core_clock_khz / 1e3);
        } else {
            cli_table_cell(table, CLI_PLAIN, "-");
        }
        uint64_t value = aegis_device_theoretical_bandwidth(d, &source);
        rate_cell(table, value, source);
        value = aegis_device_theoretical_flops(d, &source);
        rate_cell(table, value, source);
    }
    int code = cli_table_finish(table);
    for (size_t i = 0; i < runtime_count; i++) {
        if (!infos[i].production) {
            continue;
        }
        loaded_runtime runtime = load_runtime(&infos[i]);
        if (runtime.available) {
            printf("Runtime: %s %s\n", infos[i].name, runtime.version);
        } else {
            printf("Runtime: %s cannot be used: %s\n", infos[i].name, runtime.error.message);
        }
    }
    return code;
}

int aegisrt_command_devices(int argc, char **argv)
{
    aegis_device_capabilities devices[MAX_DEVICES];
    aegis_error error = {0};
    cli_common common;
    bool measure = false;
    size_t count = 0;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &measure, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (aegis_device_query_all(devices, MAX_DEVICES, &count, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    count = count > MAX_DEVICES ? MAX_DEVICES : count;
    for (size_t i = 0; measure && i < count; i++) {
        if (aegis_device_query(devices[i].kind, devices[i].index, true, &devices[i], &error) !=
            AEGIS_OK) {
            return cli_fail(&common, &error);
        }
    }
    return common.format == CLI_TABLE
               ? print_devices(devices, count)
               : cli_json_print(devices_json(devices, count), "devices", common.format);
}
