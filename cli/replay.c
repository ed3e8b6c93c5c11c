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
    .about =
        "Feeds the recorded events of TRACE to the scheduler core and compares every decision\n"
        "that comes out with the recorded one. Exits 1 when one differs. With --policy it\n"
        "answers what another policy would have done to the recorded releases and execution\n"
        "times: misses and responses under both, side by side. A difference is no failure.",
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

/* The recording, simulated under another policy and, as a measure of the simulation, its own. */
typedef struct what_if {
    const char *policy, *recorded_policy; /* recorded: NULL when no such policy is known */
    aegis_replay_model *other, *own;      /* by model number; own: NULL without a known policy */
    size_t count, own_count;
} what_if;

static const char *model_name(const aegis_trace_file *file, uint32_t model, char buffer[32])
{
    return aegis_trace_file_model_name(file, (uint16_t)model, buffer, 32);
}

static json_t *ends_json(const aegis_replay_ends *ends)
{
    json_t *object = json_object(), *response = json_object();
    cli_json_unsigned(object, "jobs", ends->jobs);
    cli_json_unsigned(object, "completed", ends->completed);
    cli_json_unsigned(object, "missed", ends->missed);
    cli_json_unsigned(object, "aborted", ends->aborted);
    cli_json_unsigned(object, "dropped", ends->dropped);
    cli_json_unsigned(object, "skipped", ends->skipped);
    cli_json_unsigned(response, "max", ends->max_response_ns);
    cli_json_unsigned(response, "p99", ends->p99_response_ns);
    cli_json_set(object, "response_ns", response);
    return object;
}

static json_t *what_if_json(const aegis_trace_file *file, const what_if *answer)
{
    json_t *root = json_object(), *models = json_array();
    char name[32];
    cli_json_text(root, "policy", answer->policy);
    cli_json_text(root, "recorded_policy", answer->recorded_policy);
    for (size_t i = 0; i < answer->count; i++) {
        const aegis_replay_model *model = &answer->other[i];
        json_t *object = json_object();
        cli_json_text(object, "name", model_name(file, model->model, name));
        cli_json_bool(object, "background", model->background);
        cli_json_set(object, "recorded", ends_json(&model->recorded));
        cli_json_set(object, "recorded_policy_simulated",
                     answer->own == NULL ? json_null() : ends_json(&answer->own[i].simulated));
        cli_json_set(object, "simulated", ends_json(&model->simulated));
        json_array_append_new(models, object);
    }
    cli_json_set(root, "models", models);
    return root;
}

static json_t *result_json(const aegis_trace_file *file,
                           const aegis_replay_result *result,
                           const char *policy,
                           const what_if *answer,
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
    if (policy != NULL) {
        cli_json_set(root, "what_if", what_if_json(file, answer));
    }
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

static void cell(cli_table *table, uint64_t value, uint64_t recorded, bool time)
{
    char text[CLI_TEXT_BYTES];
    cli_colour colour = value > recorded ? CLI_RED : value < recorded ? CLI_GREEN : CLI_PLAIN;
    if (time) {
        cli_table_cell(table, colour, "%s", cli_duration((int64_t)value, text));
    } else {
        cli_table_cell(table, colour, "%" PRIu64, value);
    }
}

static int print_what_if(const aegis_trace_file *file, const what_if *answer)
{
    char name[32], text[CLI_TEXT_BYTES];
    uint64_t error = 0;
    cli_table *table = cli_table_create("model|>jobs|>missed|>max|>p99|>missed then|>max|>p99");
    printf("\nThe recorded releases and executions under %s, beside what happened%s%s:\n",
           answer->policy, answer->recorded_policy != NULL ? " under " : "",
           answer->recorded_policy != NULL ? answer->recorded_policy : "");
    for (size_t i = 0; i < answer->count; i++) {
        const aegis_replay_ends *was = &answer->other[i].recorded;
        const aegis_replay_ends *would = &answer->other[i].simulated;
        cli_table_cell(table, CLI_PLAIN, "%s", model_name(file, answer->other[i].model, name));
        cli_table_cell(table, CLI_PLAIN, "%" PRIu64, was->jobs);
        cell(table, was->missed, was->missed, false);
        cell(table, was->max_response_ns, was->max_response_ns, true);
        cell(table, was->p99_response_ns, was->p99_response_ns, true);
        cell(table, would->missed, was->missed, false);
        cell(table, would->max_response_ns, was->max_response_ns, true);
        cell(table, would->p99_response_ns, was->p99_response_ns, true);
        if (answer->own != NULL && !answer->other[i].background) {
            uint64_t again = answer->own[i].simulated.max_response_ns, max = was->max_response_ns;
            uint64_t apart = again > max ? again - max : max - again;
            error = apart > error ? apart : error;
        }
    }
    int code = cli_table_finish(table);
    if (answer->own != NULL) {
        printf("Simulated under the recorded policy itself, the largest responses are within %s of "
               "the recorded ones.\n",
               cli_duration((int64_t)error, text));
    }
    return code;
}

static void free_what_if(what_if *answer, const aegis_allocator *allocator)
{
    aegis_replay_models_free(answer->other, answer->count, allocator);
    aegis_replay_models_free(answer->own, answer->own_count, allocator);
}

static aegis_status ask_what_if(const aegis_trace_file *file,
                                const aegis_policy *policy,
                                const aegis_allocator *allocator,
                                what_if *ret_answer,
                                aegis_error *err)
{
    aegis_policy recorded;
    ret_answer->policy = aegis_policy_name(policy);
    aegis_status status =
        aegis_replay_what_if(file, policy, allocator, &ret_answer->other, &ret_answer->count, err);
    if (status == AEGIS_OK && aegis_replay_policy(file, &recorded, NULL) == AEGIS_OK) {
        ret_answer->recorded_policy = aegis_policy_name(&recorded);
        status = aegis_replay_what_if(file, &recorded, allocator, &ret_answer->own,
                                      &ret_answer->own_count, err);
    }
    return status;
}

static int print_all(const aegis_trace_file *file,
                     const aegis_replay_result *result,
                     const char *policy_name,
                     const what_if *answer,
                     const cli_common *common)
{
    if (common->format != CLI_TABLE) {
        return cli_json_print(result_json(file, result, policy_name, answer, common->format),
                              "rows", common->format);
    }
    print_result(file, result, policy_name);
    return policy_name == NULL ? CLI_EXIT_OK : print_what_if(file, answer);
}

static int replay(const aegis_trace_file *file, const char *policy_name, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_replay_result result = {0};
    aegis_policy policy;
    aegis_error error = {0};
    what_if answer = {0};
    if (policy_name != NULL && aegis_policy_find(policy_name, &policy, &error) != AEGIS_OK) {
        return cli_usage("--policy %s: %s", policy_name, error.message);
    }
    aegis_status status = aegis_replay_verify(file, policy_name != NULL ? &policy : NULL,
                                              &allocator, &result, &error);
    if (status == AEGIS_OK && policy_name != NULL) {
        status = ask_what_if(file, &policy, &allocator, &answer, &error);
    }
    int code = status == AEGIS_OK ? print_all(file, &result, policy_name, &answer, common)
                                  : cli_fail(common, &error);
    free_what_if(&answer, &allocator);
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
