/* SPDX-License-Identifier: Apache-2.0 */
/* `trace export`: a native trace in formats that other programs read. */
#include "commands.h"
#include "output.h"

#include <aegisrt/trace.h>

#include <stdio.h>
#include <string.h>

enum {
    EXPORT_FORMAT,
    EXPORT_OUTPUT
};

typedef struct export_options {
    bool perfetto, chosen;
    const char *output;
} export_options;

static const cli_option list[] = {
    [EXPORT_FORMAT] = {"format", "FORMAT", "jsonl (default) or perfetto"},
    [EXPORT_OUTPUT] = {"output", "FILE", "where to; default and \"-\": stdout"},
};

static const cli_command command = {
    .name = "trace export",
    .operands = "TRACE",
    .about = "Writes TRACE as JSON lines, one object for each record with its sentence, or as a\n"
             "protobuf that ui.perfetto.dev opens: a track for each lane and model, flows from\n"
             "submission to completion.",
    .examples = "  aegisrt trace export kiosk.trace | grep '\"miss\"'\n"
                "  aegisrt trace export kiosk.trace --format perfetto -o kiosk.perfetto-trace\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
    .output_is_file = true,
    .writes = " output ",
};

static int take(void *self, size_t option, const char *argument)
{
    export_options *options = self;
    if (option == EXPORT_OUTPUT) {
        options->output = argument;
        return 0;
    }
    options->perfetto = strcmp(argument, "perfetto") == 0;
    if (!options->perfetto && strcmp(argument, "jsonl") != 0) {
        return cli_usage("--format %s: write jsonl or perfetto", argument);
    }
    return 0;
}

static int export_trace(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error error = {0};
    export_options options = {.output = "-"};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &options, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    aegis_status status = aegis_trace_file_open(argv[first], &allocator, &file, &error);
    if (status == AEGIS_OK) {
        status = options.perfetto ? aegis_trace_export_perfetto(file, options.output, &error)
                                  : aegis_trace_export_json(file, options.output, &error);
    }
    aegis_trace_file_close(file);
    return status == AEGIS_OK ? CLI_EXIT_OK : cli_fail(&common, &error);
}

int aegisrt_command_trace(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "export") == 0) {
        return export_trace(argc - 1, argv + 1);
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("Usage: aegisrt trace export [OPTIONS] TRACE\n\naegisrt trace export --help says "
               "more.\n");
        return CLI_EXIT_OK;
    }
    return cli_usage("trace: write aegisrt trace export TRACE");
}
