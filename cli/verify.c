/* SPDX-License-Identifier: Apache-2.0 */
/* `verify`: checks a certificate of `admit`. */
#include "commands.h"
#include "json.h"

#include <aegisrt/certificate.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const cli_option list[] = {
    {"limit", "N", "give up after so many looks at a task, with exit code 6; default 2000000000"},
};

static const cli_command command = {
    .name = "verify",
    .operands = "CERTIFICATE",
    .about =
        "Checks what `aegisrt admit --certificate FILE` wrote, with none of its analysis: the\n"
        "numbers in the file are put into the inequalities, every instant is enumerated again and\n"
        "the jobs that refute a set are simulated. So are the worst responses beside the verdict.\n"
        "A look is one task considered at one instant.\n"
        "Exits 0 when the verdict is proved, whichever it is, 1 when the certificate does not\n"
        "hold, 2 when it cannot be read, 6 when the limit ended the check.",
    .examples = "  aegisrt verify proof.json\n"
                "  aegisrt verify --json --limit 1000000 proof.json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    uint64_t *limit = self;
    (void)option;
    return cli_take_unsigned("limit", argument, 1, UINT64_MAX, limit);
}

/* What a proof of this kind shows. */
static const char *meaning(const char *kind)
{
    static const char *const meanings[][2] = {
        {"responses", "every response meets its deadline"},
        {"demand", "the demand fits at every instant up to the horizon"},
        {"queue", "no job waits too long in the queue"},
        {"miss", "the jobs, simulated under the policy, miss a deadline"},
        {"overload", "the utilisation is above 1: some deadline is missed"},
        {"no-end", "U = 1 with jitter: no busy period ends, the test gives no bound (no miss is "
                   "claimed)"},
        {"bound", "the bound of the test passes the deadline (no miss is claimed)"},
        {"reached", "the jobs, simulated under the policy, respond so late"}};
    size_t n = 0;
    while (strcmp(meanings[n][0], kind) != 0) {
        n++;
    }
    return meanings[n][1];
}

static const char *statement(const aegis_certificate_report *report)
{
    return report->holds ? meaning(report->kind) : report->statement;
}

static const char *verdict(const aegis_certificate_report *report)
{
    bool bound = strcmp(report->kind, "no-end") == 0 || strcmp(report->kind, "bound") == 0;
    return report->schedulable                    ? "schedulable"
           : bound                                ? "refused, NOT proved to miss"
           : strcmp(report->kind, "reached") == 0 ? "none"
                                                  : "NOT schedulable";
}

static void print_table(const aegis_certificate_report *report)
{
    printf("Policy %s, %zu task%s, verdict %s, proof \"%s\": %s%s%s.\n",
           aegis_analysis_name(report->policy), report->task_count,
           report->task_count == 1 ? "" : "s", verdict(report), report->kind,
           cli_begin(report->holds ? CLI_GREEN : CLI_RED),
           report->holds ? "verified" : "does NOT hold", cli_end());
    printf("%s; %" PRIu64 " points checked in %" PRIu64 " looks.\n", statement(report),
           report->points, report->steps);
    if (report->holds && report->responses > 0) {
        printf("Of %zu task%s no job responds later than said; jobs that do respond so late, "
               "simulated, for %zu.\n",
               report->responses, report->responses == 1 ? "" : "s", report->reached);
    }
}

static int print_json(const aegis_certificate_report *report, cli_format format)
{
    json_t *root = cli_json_object(), *rows = json_array(), *row = json_object();
    cli_json_bool(row, "verified", report->holds);
    cli_json_bool(row, "schedulable", report->schedulable);
    cli_json_text(row, "policy", aegis_analysis_name(report->policy));
    cli_json_unsigned(row, "task_count", report->task_count);
    cli_json_text(row, "proof", report->kind);
    cli_json_text(row, "statement", statement(report));
    cli_json_unsigned(row, "points", report->points);
    cli_json_unsigned(row, "steps", report->steps);
    cli_json_unsigned(row, "responses", report->responses);
    cli_json_unsigned(row, "responses_reached", report->reached);
    json_array_append_new(rows, row);
    cli_json_set(root, "certificates", rows);
    return cli_json_print(root, "certificates", format);
}

int aegisrt_command_verify(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_certificate_report report;
    aegis_error err = {0};
    uint64_t limit = AEGIS_CERTIFICATE_STEPS;
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &limit, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (aegis_certificate_verify_file(argv[first], limit, &allocator, &report, &err) != AEGIS_OK) {
        return cli_fail(&common, &err);
    }
    if (common.format == CLI_TABLE) {
        print_table(&report);
    } else {
        code = print_json(&report, common.format);
    }
    return code == CLI_CONTINUE || code == CLI_EXIT_OK
               ? report.holds ? CLI_EXIT_OK : CLI_EXIT_BROKEN
               : code;
}
