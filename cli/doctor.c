/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "json.h"

#include <aegisrt/doctor.h>

#include <stdio.h>
#include <unistd.h>

enum {
    DOCTOR_STRICT,
    DOCTOR_ROOT
};

typedef struct doctor_options {
    bool strict;
    const char *root;
} doctor_options;

static const cli_option list[] = {
    [DOCTOR_STRICT] = {"strict", NULL, "exit 1 when a check fails"},
    [DOCTOR_ROOT] = {"root", "FOLDER", "look at the proc and sys of this folder"},
};

static const cli_command command = {
    .name = "doctor",
    .operands = "",
    .about =
        "Looks at what moves latencies on this machine and says what was found and what would\n"
        "cure it. Reads only. \"fail\": a bound cannot be kept as long as this stands; \"warn\":\n"
        "works, with more jitter or less room than it could.",
    .examples = "  aegisrt doctor\n"
                "  aegisrt doctor --strict --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    doctor_options *options = self;
    if (option == DOCTOR_ROOT) {
        options->root = argument;
    } else {
        options->strict = true;
    }
    return 0;
}

static json_t *checks_json(const aegis_doctor_check *checks, size_t count, size_t failures)
{
    json_t *root = cli_json_object(), *rows = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *object = json_object();
        cli_json_text(object, "id", checks[i].id);
        cli_json_text(object, "title", checks[i].title);
        cli_json_text(object, "state", aegis_doctor_state_name(checks[i].state));
        cli_json_text(object, "found", checks[i].found);
        cli_json_text(object, "cure", checks[i].cure[0] != '\0' ? checks[i].cure : NULL);
        json_array_append_new(rows, object);
    }
    cli_json_unsigned(root, "failures", failures);
    cli_json_set(root, "checks", rows);
    return root;
}

static cli_colour colour_of(aegis_doctor_state state)
{
    switch (state) {
    case AEGIS_DOCTOR_OK:
        return CLI_GREEN;
    case AEGIS_DOCTOR_WARN:
        return CLI_YELLOW;
    case AEGIS_DOCTOR_FAIL:
        return CLI_RED;
    case AEGIS_DOCTOR_UNKNOWN:
        break;
    }
    return CLI_DIM;
}

static int print_checks(const aegis_doctor_check *checks, size_t count)
{
    cli_table *table = cli_table_create("state|check|found");
    bool cures = false;
    for (size_t i = 0; i < count; i++) {
        cli_table_cell(table, colour_of(checks[i].state), "%s",
                       aegis_doctor_state_name(checks[i].state));
        cli_table_cell(table, CLI_PLAIN, "%s", checks[i].title);
        cli_table_cell(table, CLI_PLAIN, "%s", checks[i].found);
        cures |= checks[i].cure[0] != '\0';
    }
    int code = cli_table_finish(table);
    if (cures) {
        printf("\nCures:\n");
    }
    for (size_t i = 0; i < count; i++) {
        if (checks[i].cure[0] != '\0') {
            printf("  %s: %s\n", checks[i].id, checks[i].cure);
        }
    }
    return code;
}

int aegisrt_command_doctor(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_doctor_check *checks = NULL;
    aegis_error error = {0};
    doctor_options options = {0};
    cli_common common;
    size_t count = 0, failures = 0;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 0, 0, take, &options, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (options.root != NULL && access(options.root, X_OK) != 0) {
        return cli_usage("--root %s: there is no such folder, or it cannot be entered",
                         options.root);
    }
    if (aegis_doctor_run(options.root, &allocator, &checks, &count, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    for (size_t i = 0; i < count; i++) {
        failures += checks[i].state == AEGIS_DOCTOR_FAIL;
    }
    code = common.format == CLI_TABLE
               ? print_checks(checks, count)
               : cli_json_print(checks_json(checks, count, failures), "checks", common.format);
    aegis_doctor_free(&allocator, checks, count);
    return code == CLI_EXIT_OK && options.strict && failures > 0 ? CLI_EXIT_BROKEN : code;
}
