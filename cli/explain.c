/* SPDX-License-Identifier: Apache-2.0 */
/* `explain`: the records of a trace that answer a question, as sentences in order of time. */
#include "commands.h"
#include "explain_story.h"

#include <aegisrt/trace.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXPLAIN_JOB,
    EXPLAIN_AT,
    EXPLAIN_MODEL,
    EXPLAIN_WINDOW,
    EXPLAIN_LIMIT,
    EXPLAIN_ALL
};

#define MAX_KIND 256

typedef struct explain_options {
    uint64_t job; /* 0: none */
    const char *model, *at_text;
    uint64_t window_ns, limit;
    bool all;
} explain_options;

/* What is looked for, resolved against the trace. */
typedef struct question {
    const aegis_trace_file *file;
    const aegis_trace_record *records;
    size_t count;
    const explain_options *options;
    bool timed;
    uint64_t at_ns, begin_ns;    /* begin: of the run, or of the trace when nothing ran */
    uint32_t model;              /* AEGIS_TRACE_NONE: any */
    uint64_t since_ns, until_ns; /* of the job, from release to its end */
    uint16_t lane;               /* of the job */
    uint64_t counts[MAX_KIND];
    uint64_t matching;
} question;

static const cli_option list[] = {
    [EXPLAIN_JOB] = {"job", "N", "the story of one job, and what its lane ran meanwhile"},
    [EXPLAIN_AT] = {"at", "TIME",
                    "what happened around a time: as in the sentences (seconds, or with a unit), "
                    "or +TIME since the run began"},
    [EXPLAIN_MODEL] = {"model", "NAME", "what happened to one model"},
    [EXPLAIN_WINDOW] = {"window", "TIME", "with --at: how far around; default 10ms"},
    [EXPLAIN_LIMIT] = {"limit", "N", "at most N sentences; default 200"},
    [EXPLAIN_ALL] = {"all", NULL, "also what is usual: submissions, timers, completions in time"},
};

static const cli_command command = {
    .name = "explain",
    .operands = "TRACE",
    .about =
        "Tells from TRACE what was decided and why: of a job, what blocked it, what went first "
        "and\n"
        "by which operands, and how it ended against its deadline and its proved bound; of a\n"
        "model, its admission and its longest job; of a time, what each lane did and what waited.\n"
        "The records follow in order of time. Without a question it sums the trace up and lists\n"
        "what was out of the ordinary.",
    .examples = "  aegisrt explain kiosk.trace\n"
                "  aegisrt explain kiosk.trace --job 1412\n"
                "  aegisrt explain kiosk.trace --at +2.5 --window 20ms\n"
                "  aegisrt explain kiosk.trace --model text-detector --json\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
};

static int take(void *self, size_t option, const char *argument)
{
    explain_options *options = self;
    switch (option) {
    case EXPLAIN_JOB:
        return cli_take_unsigned("job", argument, 1, UINT64_MAX, &options->job);
    case EXPLAIN_AT:
        options->at_text = argument;
        return 0;
    case EXPLAIN_MODEL:
        options->model = argument;
        return 0;
    case EXPLAIN_WINDOW:
        return cli_take_length("window", argument, &options->window_ns);
    case EXPLAIN_LIMIT:
        return cli_take_unsigned("limit", argument, 1, UINT64_MAX, &options->limit);
    default:
        options->all = true;
        return 0;
    }
}

/* Kinds that every healthy run is full of. */
static bool is_usual(const aegis_trace_record *record)
{
    static const aegis_trace_kind kinds[] = {AEGIS_TRACE_EVENT_SUBMIT,
                                             AEGIS_TRACE_EVENT_TIMER,
                                             AEGIS_TRACE_EVENT_SEGMENT_DONE,
                                             AEGIS_TRACE_EVENT_MODEL_LIMITS,
                                             AEGIS_TRACE_DISPATCH,
                                             AEGIS_TRACE_ARM_TIMER,
                                             AEGIS_TRACE_EVENT_MODEL_SEGMENT,
                                             AEGIS_TRACE_EVENT_MODEL_ADD,
                                             AEGIS_TRACE_COMPLETE,
                                             AEGIS_TRACE_EXECUTE,
                                             AEGIS_TRACE_ADMISSION_STEP,
                                             AEGIS_TRACE_BIND,
                                             AEGIS_TRACE_ALLOCATION,
                                             AEGIS_TRACE_SYNCHRONIZE,
                                             AEGIS_TRACE_COUNTER,
                                             AEGIS_TRACE_IDLE_UNTIL,
                                             AEGIS_TRACE_COPY_IN,
                                             AEGIS_TRACE_EVENT_INPUTS_READY,
                                             AEGIS_TRACE_EVENT_MODEL_JITTER};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (record->kind == (uint16_t)kinds[i]) {
            return true;
        }
    }
    return false;
}

static bool is_timer(const aegis_trace_record *record)
{
    return record->kind == AEGIS_TRACE_ARM_TIMER || record->kind == AEGIS_TRACE_EVENT_TIMER;
}

/* The core's record keeps its launch bound where others keep the job. */
static bool is_of_job(const question *q, const aegis_trace_record *record)
{
    return record->job == q->options->job && record->kind != AEGIS_TRACE_EVENT_CORE;
}

static bool runs_between(const aegis_trace_record *record, uint64_t since_ns, uint64_t until_ns)
{
    return record->kind == AEGIS_TRACE_EXECUTE && record->b < (int64_t)until_ns &&
           record->c > (int64_t)since_ns;
}

static bool answers(const question *q, const aegis_trace_record *record)
{
    const explain_options *options = q->options;
    if (options->job != 0) {
        bool meanwhile = record->lane == q->lane && runs_between(record, q->since_ns, q->until_ns);
        return is_of_job(q, record) || meanwhile;
    }
    if (q->timed) {
        uint64_t from = q->at_ns > options->window_ns ? q->at_ns - options->window_ns : 0;
        bool near = record->time_ns >= from && record->time_ns <= q->at_ns + options->window_ns;
        bool wanted = q->model == AEGIS_TRACE_NONE || record->model == q->model;
        return wanted && (runs_between(record, q->at_ns, q->at_ns + 1) ||
                          (near && (options->all || !is_timer(record))));
    }
    bool admission = record->kind == AEGIS_TRACE_ADMISSION_STEP && q->model != AEGIS_TRACE_NONE;
    return (q->model == AEGIS_TRACE_NONE || record->model == q->model) &&
           (options->all || admission || !is_usual(record));
}

static int find_job(question *q)
{
    bool found = false;
    q->lane = AEGIS_TRACE_NONE;
    q->since_ns = UINT64_MAX;
    for (size_t i = 0; i < q->count; i++) {
        const aegis_trace_record *record = &q->records[i];
        if (!is_of_job(q, record)) {
            continue;
        }
        found = true;
        uint64_t since = record->kind == AEGIS_TRACE_EVENT_SUBMIT && record->a > 0
                             ? (uint64_t)record->a
                             : record->time_ns;
        q->since_ns = since < q->since_ns ? since : q->since_ns;
        q->until_ns = record->time_ns > q->until_ns ? record->time_ns : q->until_ns;
        q->lane = record->lane != AEGIS_TRACE_NONE ? record->lane : q->lane;
    }
    return found ? 0 : cli_usage("--job %" PRIu64 ": the trace has no such job", q->options->job);
}

static int find_model(question *q)
{
    size_t count = aegis_trace_file_model_count(q->file);
    const char **names = calloc(count + 1, sizeof *names);
    const char *wanted = q->options->model;
    for (size_t i = 0; i < count; i++) {
        char buffer[32];
        const char *name = aegis_trace_file_model_name(q->file, (uint16_t)i, buffer, sizeof buffer);
        if (strcmp(name, wanted) == 0) {
            q->model = (uint32_t)i;
        }
        if (names != NULL) {
            names[i] = name == buffer ? "" : name;
        }
    }
    const char *nearest = names != NULL ? cli_nearest(wanted, names, count) : NULL;
    free(names);
    if (q->model != AEGIS_TRACE_NONE) {
        return 0;
    }
    return nearest != NULL
               ? cli_usage("--model %s: the trace has no such model; did you mean %s?", wanted,
                           nearest)
               : cli_usage("--model %s: the trace has no such model; aegisrt explain without a "
                           "question lists them",
                           wanted);
}

/* A trace of a task set counts in ticks, which have no unit. */
static bool has_ticks(const question *q)
{
    json_t *header = json_loads(aegis_trace_file_header(q->file), 0, NULL);
    const char *unit = json_string_value(json_object_get(header, "unit"));
    bool ticks = unit != NULL && strcmp(unit, "tick") == 0;
    json_decref(header);
    return ticks;
}

/* As the sentences write it: "20.500 ms", and where they count in ticks "20". */
static int find_time(question *q)
{
    const char *text = q->options->at_text;
    bool relative = text[0] == '+';
    char compact[64] = "";
    size_t length = 0;
    for (const char *c = text + relative; *c != '\0' && length + 1 < sizeof compact; c++) {
        if (*c != ' ') {
            compact[length++] = *c;
        }
    }
    bool ticks = length > 0 && strspn(compact, "0123456789") == length && has_ticks(q);
    int code = ticks ? cli_take_unsigned("at", compact, 0, INT64_MAX, &q->at_ns)
                     : cli_take_duration("at", compact, &q->at_ns);
    q->at_ns += relative ? q->begin_ns : 0;
    q->timed = true;
    return code;
}

/* The core is made when the run starts; what stands before is admission. */
static uint64_t find_begin(const question *q)
{
    for (size_t i = 0; i < q->count; i++) {
        if (q->records[i].kind == AEGIS_TRACE_EVENT_CORE) {
            return q->records[i].time_ns;
        }
    }
    return q->count > 0 ? q->records[0].time_ns : 0;
}

static int resolve(question *q)
{
    int code = 0;
    q->records = aegis_trace_file_records(q->file, &q->count);
    q->begin_ns = find_begin(q);
    q->model = AEGIS_TRACE_NONE;
    if (q->options->job != 0) {
        code = find_job(q);
    }
    if (code == 0 && q->options->model != NULL) {
        code = find_model(q);
    }
    if (code == 0 && q->options->at_text != NULL) {
        code = find_time(q);
    }
    for (size_t i = 0; i < q->count; i++) {
        if (q->model == AEGIS_TRACE_NONE || q->records[i].model == q->model) {
            q->counts[q->records[i].kind % MAX_KIND]++;
        }
        q->matching += answers(q, &q->records[i]);
    }
    return code;
}

static json_t *record_json(const question *q, const aegis_trace_record *record)
{
    char name[32], sentence[AEGIS_TRACE_SENTENCE_BYTES];
    json_t *object = json_object();
    cli_json_unsigned(object, "time_ns", record->time_ns);
    cli_json_text(object, "kind", aegis_trace_kind_name((aegis_trace_kind)record->kind));
    cli_json_text(object, "model",
                  record->model == AEGIS_TRACE_NONE
                      ? NULL
                      : aegis_trace_file_model_name(q->file, record->model, name, sizeof name));
    cli_json_set(object, "job",
                 record->job == 0 || record->kind == AEGIS_TRACE_EVENT_CORE
                     ? json_null()
                     : json_integer((json_int_t)record->job));
    cli_json_set(object, "lane",
                 record->lane == AEGIS_TRACE_NONE ? json_null() : json_integer(record->lane));
    cli_json_text(object, "rationale", aegis_rationale_name((aegis_rationale)record->rationale));
    cli_json_text(object, "sentence",
                  aegis_trace_file_describe(q->file, record, sentence, sizeof sentence));
    return object;
}

/* The question in our own words; an empty array without one. */
static json_t *told(const question *q)
{
    if (q->options->job != 0) {
        return explain_job(q->file, q->options->job);
    }
    if (q->timed) {
        return explain_instant(q->file, q->at_ns);
    }
    return q->model != AEGIS_TRACE_NONE ? explain_model(q->file, (uint16_t)q->model) : json_array();
}

static void print_told(const question *q)
{
    size_t i;
    json_t *line, *lines = told(q);
    json_array_foreach(lines, i, line)
    {
        printf("%s\n", json_string_value(line));
    }
    if (json_array_size(lines) > 0) {
        printf("\n%sThe records:%s\n", cli_begin(CLI_DIM), cli_end());
    }
    json_decref(lines);
}

static json_t *answer_json(const question *q)
{
    json_t *root = cli_json_object(), *story = json_array(), *counts = json_object();
    json_t *models = json_array();
    char buffer[32];
    cli_json_unsigned(root, "records", q->count);
    cli_json_unsigned(root, "dropped", aegis_trace_file_dropped(q->file));
    cli_json_bool(root, "complete", aegis_trace_file_complete(q->file));
    cli_json_unsigned(root, "begin_ns", q->begin_ns);
    for (size_t i = 0; i < aegis_trace_file_model_count(q->file); i++) {
        json_array_append_new(models, json_string(aegis_trace_file_model_name(
                                          q->file, (uint16_t)i, buffer, sizeof buffer)));
    }
    for (int kind = 1; kind < MAX_KIND; kind++) {
        if (q->counts[kind] > 0) {
            cli_json_unsigned(counts, aegis_trace_kind_name((aegis_trace_kind)kind),
                              q->counts[kind]);
        }
    }
    uint64_t shown = 0;
    for (size_t i = 0; i < q->count && shown < q->options->limit; i++) {
        if (answers(q, &q->records[i])) {
            json_array_append_new(story, record_json(q, &q->records[i]));
            shown++;
        }
    }
    cli_json_set(root, "models", models);
    cli_json_set(root, "summary", counts);
    cli_json_set(root, "told", told(q));
    cli_json_unsigned(root, "matching", q->matching);
    cli_json_set(root, "story", story);
    return root;
}

static void print_summary(const question *q)
{
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    uint64_t length = q->count > 0 ? q->records[q->count - 1].time_ns - q->begin_ns : 0;
    const char *begin = aegis_trace_format_instant(q->begin_ns, b, sizeof b);
    printf("%zu records, %" PRIu64 " dropped%s; the run began at %s and went on for %s.\n",
           q->count, aegis_trace_file_dropped(q->file),
           aegis_trace_file_complete(q->file) ? "" : " at least, the writer did not finish", begin,
           cli_duration((int64_t)length, a));
    printf("Models:");
    for (size_t i = 0; i < aegis_trace_file_model_count(q->file); i++) {
        char buffer[32];
        printf(" %s", aegis_trace_file_model_name(q->file, (uint16_t)i, buffer, sizeof buffer));
    }
    putchar('\n');
}

static void print_counts(const question *q)
{
    const char *separator = "";
    for (int kind = 1; kind < MAX_KIND; kind++) {
        if (q->counts[kind] > 0) {
            printf("%s%" PRIu64 " %s", separator, q->counts[kind],
                   aegis_trace_kind_name((aegis_trace_kind)kind));
            separator = ", ";
        }
    }
    printf("\n\n");
}

static cli_colour colour_of(const aegis_trace_record *record)
{
    switch (record->kind) {
    case AEGIS_TRACE_MISS:
        return record->rationale == AEGIS_WHY_UNEXCUSED ? CLI_RED : CLI_YELLOW;
    case AEGIS_TRACE_ABORT:
    case AEGIS_TRACE_OVERRUN:
    case AEGIS_TRACE_TERMINATE:
    case AEGIS_TRACE_REJECT:
    case AEGIS_TRACE_SKIP:
    case AEGIS_TRACE_SPILL:
        return CLI_YELLOW;
    case AEGIS_TRACE_FAULT:
    case AEGIS_TRACE_REFUSED:
        return CLI_RED;
    default:
        return CLI_PLAIN;
    }
}

static void print_answer(const question *q)
{
    uint64_t shown = 0;
    print_told(q);
    if (q->options->job == 0 && !q->timed) {
        print_summary(q);
        print_counts(q);
    }
    for (size_t i = 0; i < q->count && shown < q->options->limit; i++) {
        char sentence[AEGIS_TRACE_SENTENCE_BYTES];
        if (answers(q, &q->records[i])) {
            cli_colour colour = colour_of(&q->records[i]);
            printf("%s%s%s\n", cli_begin(colour),
                   aegis_trace_file_describe(q->file, &q->records[i], sentence, sizeof sentence),
                   colour == CLI_PLAIN ? "" : cli_end());
            shown++;
        }
    }
    if (q->matching == 0) {
        printf("Nothing %s.\n", q->timed ? "happened then; --window looks further"
                                         : "out of the ordinary; --all tells everything");
    } else if (shown < q->matching) {
        printf("... and %" PRIu64 " more; --limit %" PRIu64 " tells all.\n", q->matching - shown,
               q->matching);
    }
}

int aegisrt_command_explain(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_trace_file *file = NULL;
    aegis_error error = {0};
    explain_options options = {.limit = 200};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &options, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    if (options.job != 0 && (options.at_text != NULL || options.model != NULL)) {
        return cli_usage("explain: --job does not go with --at or --model");
    }
    if (options.window_ns > 0 && options.at_text == NULL) {
        return cli_usage("explain: --window is how far around --at; write --at TIME as well");
    }
    options.window_ns = options.window_ns > 0 ? options.window_ns : 10000000;
    if (aegis_trace_file_open(argv[first], &allocator, &file, &error) != AEGIS_OK) {
        return cli_fail(&common, &error);
    }
    question q = {.file = file, .options = &options};
    code = resolve(&q);
    if (code == 0 && common.format == CLI_TABLE) {
        print_answer(&q);
    } else if (code == 0) {
        code = cli_json_print(answer_json(&q), "story", common.format);
    }
    aegis_trace_file_close(file);
    return code;
}
