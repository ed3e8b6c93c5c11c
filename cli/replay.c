/* SPDX-License-Identifier: Apache-2.0 */
#include "commands.h"
#include "json.h"

#include <aegisrt/replay.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    REPLAY_POLICY
};

static const cli_option list[] = {
    [REPLAY_POLICY] = {"policy", "NAME", "what would have happened under this policy"},
};

static const cli_command command = {
    .name = "replay",
    .operands = "TRACE",
    .summary = "derive every decision of a trace again",
    .about =
        "Feeds the recorded events of TRACE to the scheduler core and compares every decision\n"
        "that comes out with the recorded one. Exits 1 when one differs. With --policy it\n"
        "answers what another policy would have decided, and a difference is no failure.",
    .examples = "  aegisrt replay kiosk.trace\n"
                "  aegisrt replay kiosk.trace --policy np-dm --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    (void)option;
    *(const char **)self = argument;
    return 0;
}

static json_t *decision_json(const aegis_trace_file *file, const aegis_trace_record *record)
{
    char name[32], sentence[AEGIS_TRACE_SENTENCE_BYTES];
    if (record->kind == AEGIS_TRACE_INVALID) {
        return json_null();
    }
    json_t *object = json_object();
    cli_json_text(object, "kind", aegis_trace_kind_name((aegis_trace_kind)record->kind));
    cli_json_text(object, "rationale", aegis_rationale_name((aegis_rationale)record->rationale));
    cli_json_unsigned(object, "time_ns", record->time_ns);
    cli_json_text(object, "model",
                  record->model == AEGIS_TRACE_NONE
                      ? NULL
                      : aegis_trace_file_model_name(file, record->model, name, sizeof name));
    cli_json_set(object, "lane",
                 record->lane == AEGIS_TRACE_NONE ? json_null() : json_integer(record->lane));
    cli_json_unsigned(object, "job", record->job);
    cli_json_set(object, "operands",
                 json_pack("[I, I, I, I]", (json_int_t)record->a, (json_int_t)record->b,
                           (json_int_t)record->c, (json_int_t)record->d));
    cli_json_text(object, "sentence",
                  aegis_trace_file_describe(file, record, sentence, sizeof sentence));
    return object;
}

static json_t *result_json(const aegis_trace_file *file,
                           const aegis_replay_result *result,
                           const char *policy,
                           cli_format format)
{
    json_t *root = cli_json_object(), *difference = json_null();
    cli_json_unsigned(root, "decisions", result->decisions);
    cli_json_unsigned(root, "identical", result->identical);
    if (result->first_difference.found) {
        difference = json_object();
        cli_json_unsigned(difference, "index", result->first_difference.index);
        cli_json_set(difference, "recorded",
                     decision_json(file, &result->first_difference.recorded));
        cli_json_set(difference, "derived", decision_json(file, &result->first_difference.derived));
    }
    cli_json_set(root, "first_difference", difference);
    cli_json_text(root, "policy", policy);
    cli_json_bool(root, "complete", aegis_trace_file_complete(file));
    if (format != CLI_JSON) { /* lines and CSV: one row */
        cli_json_set(root, "rows",
                     json_pack("[{s:I, s:I}]", "decisions", (json_int_t)result->decisions,
                               "identical", (json_int_t)result->identical));
    }
    return root;
}

static void print_side(const aegis_trace_file *file, const char *side, const aegis_trace_record *r)
{
    char sentence[AEGIS_TRACE_SENTENCE_BYTES];
    if (r->kind == AEGIS_TRACE_INVALID) {
        printf("  %s: no decision\n", side);
        return;
    }
    /* The operands too: sentences leave out those that seldom matter. */
    printf("  %s: %s\n            (%s, operands %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 ")\n",
           side, aegis_trace_file_describe(file, r, sentence, sizeof sentence),
           aegis_rationale_name((aegis_rationale)r->rationale), r->a, r->b, r->c, r->d);
}

static void
print_result(const aegis_trace_file *file, const aegis_replay_result *result, const char *policy)
{
    const aegis_replay_difference *first = &result->first_difference;
    bool same = !first->found && result->identical == result->decisions;
    printf("%s%" PRIu64 " of %" PRIu64 " decisions are %s%s.%s\n",
           cli_begin(same             ? CLI_GREEN
                     : policy == NULL ? CLI_RED
                                      : CLI_YELLOW),
           result->identical, result->decisions,
           policy == NULL ? "derived again" : "the same under ", policy == NULL ? "" : policy,
           cli_end());
    if (first->found) {
        printf("The first that differs is number %" PRIu64 ":\n", first->index);
        print_side(file, "recorded", &first->recorded);
        print_side(file, "derived ", &first->derived);
    }
}

static int replay(const aegis_trace_file *file, const char *policy_name, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_replay_result result;
    aegis_policy policy;
    aegis_error error = {0};
    if (policy_name != NULL && aegis_policy_find(policy_name, &policy, &error) != AEGIS_OK) {
        return cli_usage("--policy %s: %s", policy_name, error.message);
    }
    aegis_status status = aegis_replay_verify(file, policy_name != NULL ? &policy : NULL,
                                              &allocator, &result, &error);
    if (status != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    int code = CLI_EXIT_OK;
    if (common->format == CLI_TABLE) {
        print_result(file, &result, policy_name);
    } else {
        code = cli_json_print(result_json(file, &result, policy_name, common->format), "rows",
                              common->format);
    }
    bool differs = result.first_difference.found || result.identical != result.decisions;
    return code == CLI_EXIT_OK && differs && policy_name == NULL ? CLI_EXIT_BROKEN : code;
}

int aegisrt_command_replay(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error error = {0};
    const char *policy = NULL;
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &policy, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (aegis_trace_file_open(argv[first], &allocator, &file, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    if (!aegis_trace_file_complete(file)) {
        cli_remark(&common, "%s was not finished by its writer; its last event may be cut short",
                   argv[first]);
    }
    code = replay(file, policy, &common);
    aegis_trace_file_close(file);
    return code;
}
