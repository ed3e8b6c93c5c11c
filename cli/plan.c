/* SPDX-License-Identifier: Apache-2.0 */
/* `plan`: the memory planner alone, over buffers from a file. */
#include "commands.h"
#include "json.h"
#include "plan_picture.h"

#include <aegisrt/clock.h>
#include <aegisrt/memory_plan.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLAN_CAPACITY,
    PLAN_NODES,
    PLAN_TIMEOUT,
    PLAN_THREADS,
    PLAN_SVG,
    PLAN_EXPLAIN
};

#define MOST_NAMED 12

typedef struct plan_run {
    aegis_plan_limits limits;
    bool bounded; /* a capacity was given */
    aegis_plan_buffer *buffers;
    size_t count;
    uint64_t *offsets;
    aegis_plan_result result;
    double seconds;
    const char *name, *svg_path; /* of the file read and of the picture; NULL: none */
    const char *explain;         /* as written; NULL: nothing */
    const char *solver_option;   /* one that is for lists alone; NULL: none was given */
    uint32_t pair[2];            /* ids */
} plan_run;

static const cli_option list[] = {
    [PLAN_CAPACITY] = {"capacity", "BYTES", "must fit in this; default: minimise the height"},
    [PLAN_NODES] = {"nodes", "N", "search at most this many nodes: plans repeat exactly"},
    [PLAN_TIMEOUT] = {"timeout", "SECONDS", "search at most this long"},
    [PLAN_THREADS] = {"threads", "N", "threads of the search, up to 16; never change the plan"},
    [PLAN_SVG] = {"svg", "FILE", "draw the best plan found: time across, bytes up"},
    [PLAN_EXPLAIN] =
        {"explain", "WHICH",
         "say why bytes are shared: ID,ID of a list; all, or an offset in the arena, of "
         "a workload"},
};

static const cli_command command = {
    .name = "plan",
    .operands = "BUFFERS.csv|WORKLOAD.toml",
    .about =
        "Reads id,lower,upper,size (live in [lower, upper)) and gives every buffer an offset.\n"
        "Columns alignment and offset may follow: a buffer with an offset stays where it is.\n"
        "Exits 3 when it is proved that they do not fit, 6 when the limits ended the search.\n"
        "Of a workload (a name that ends in .toml) it plans what admission lets in, as `check`.",
    .examples = "  aegisrt plan buffers.csv\n"
                "  aegisrt plan --json --capacity 1048576 --nodes 1000000 buffers.csv\n"
                "  aegisrt plan --svg plan.svg --explain 3,17 buffers.csv\n"
                "  aegisrt plan --svg plan.svg --explain all kiosk.toml\n",
    .options = list,
    .option_count = sizeof list / sizeof list[0],
    .writes = " svg ",
};

static int take_pair(plan_run *run)
{
    const char *text = run->explain;
    char *end;
    unsigned long long ids[2] = {0};
    bool good = true;
    for (int i = 0; i < 2 && good; i++) {
        good = *text >= '0' && *text <= '9';
        ids[i] = strtoull(text, &end, 10);
        good = good && ids[i] <= UINT32_MAX && *end == (i == 0 ? ',' : '\0');
        text = end + 1;
    }
    if (!good) {
        return cli_usage("--explain %s: two ids of buffers are wanted, such as 3,17", run->explain);
    }
    run->pair[0] = (uint32_t)ids[0];
    run->pair[1] = (uint32_t)ids[1];
    return 0;
}

static int take(void *self, size_t option, const char *argument)
{
    plan_run *run = self;
    uint64_t threads = 0;
    int code;
    run->solver_option =
        option == PLAN_SVG || option == PLAN_EXPLAIN ? run->solver_option : list[option].name;
    switch (option) {
    case PLAN_CAPACITY:
        run->bounded = true;
        return cli_take_size("capacity", argument, &run->limits.capacity_bytes);
    case PLAN_NODES:
        return cli_take_unsigned("nodes", argument, 1, UINT64_MAX, &run->limits.nodes);
    case PLAN_TIMEOUT:
        return cli_take_duration("timeout", argument, &run->limits.timeout_ns);
    case PLAN_SVG:
        run->svg_path = argument;
        return 0;
    case PLAN_EXPLAIN:
        run->explain = argument;
        return 0;
    default:
        code = cli_take_unsigned("threads", argument, 1, 1024, &threads);
        run->limits.threads = (unsigned)threads;
        return code;
    }
}

static bool is_live(const aegis_plan_buffer *buffer, int64_t at)
{
    return buffer->lower <= at && at < buffer->upper;
}

/* What is live at the peak: what would have to go. */
static json_t *peak_json(const plan_run *run)
{
    json_t *object = json_object(), *ids = json_array();
    uint64_t bytes = 0;
    for (size_t i = 0; i < run->count; i++) {
        if (is_live(&run->buffers[i], run->result.peak_at)) {
            json_array_append_new(ids, json_integer(run->buffers[i].id));
            bytes += run->buffers[i].size_bytes;
        }
    }
    cli_json_signed(object, "at", run->result.peak_at);
    cli_json_unsigned(object, "bytes", bytes);
    cli_json_set(object, "buffers", ids);
    return object;
}

static json_t *offsets_json(const plan_run *run, json_t *rows)
{
    json_t *object = json_object();
    for (size_t i = 0; i < run->count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%" PRIu32, run->buffers[i].id);
        cli_json_unsigned(object, key, run->offsets[i]);
        json_array_append_new(rows, json_pack("{s:I, s:I, s:I, s:I, s:I}", "id",
                                              (json_int_t)run->buffers[i].id, "lower",
                                              (json_int_t)run->buffers[i].lower, "upper",
                                              (json_int_t)run->buffers[i].upper, "size",
                                              (json_int_t)run->buffers[i].size_bytes, "offset",
                                              (json_int_t)run->offsets[i]));
    }
    return object;
}

/* ---- why two buffers may share ---- */

typedef struct sharing {
    const aegis_plan_buffer *a, *b; /* by start */
    uint64_t a_offset, b_offset;
    bool together;       /* live at the same instant */
    uint64_t begin, end; /* bytes that both have; equal: none */
} sharing;

static size_t find_id(const plan_run *run, uint32_t id)
{
    size_t i = 0;
    while (i < run->count && run->buffers[i].id != id) {
        i++;
    }
    return i;
}

/* False when an id is missing. */
static bool find_sharing(const plan_run *run, sharing *ret_sharing)
{
    size_t i = find_id(run, run->pair[0]), j = find_id(run, run->pair[1]);
    if (i == run->count || j == run->count) {
        return false;
    }
    if (run->buffers[j].lower < run->buffers[i].lower) {
        size_t k = i;
        i = j;
        j = k;
    }
    sharing s = {.a = &run->buffers[i],
                 .b = &run->buffers[j],
                 .a_offset = run->offsets[i],
                 .b_offset = run->offsets[j]};
    uint64_t a_top = s.a_offset + s.a->size_bytes, b_top = s.b_offset + s.b->size_bytes;
    s.together = s.b->lower < s.a->upper;
    s.begin = s.a_offset > s.b_offset ? s.a_offset : s.b_offset;
    s.end = a_top < b_top ? a_top : b_top;
    s.end = s.end > s.begin ? s.end : s.begin;
    *ret_sharing = s;
    return true;
}

static json_t *sharing_json(const sharing *s)
{
    json_t *object = json_object(), *pair = json_array();
    json_array_append_new(pair, json_integer(s->a->id));
    json_array_append_new(pair, json_integer(s->b->id));
    cli_json_set(object, "buffers", pair);
    cli_json_bool(object, "live_together", s->together);
    cli_json_unsigned(object, "shared_bytes", s->end - s->begin);
    cli_json_unsigned(object, "begin", s->begin);
    cli_json_unsigned(object, "end", s->end);
    if (!s->together) {
        json_t *edge = json_object();
        cli_json_unsigned(edge, "before", s->a->id);
        cli_json_signed(edge, "last_use_before", s->a->upper);
        cli_json_unsigned(edge, "after", s->b->id);
        cli_json_signed(edge, "first_use", s->b->lower);
        cli_json_set(object, "happens_before", edge);
    }
    return object;
}

static void print_sharing(const sharing *s)
{
    if (s->together) {
        printf("Buffers %" PRIu32 " and %" PRIu32 " are both live in [%" PRId64 ", %" PRId64
               "): they may not share, and have no byte in common.\n",
               s->a->id, s->b->id, s->b->lower,
               s->a->upper < s->b->upper ? s->a->upper : s->b->upper);
        return;
    }
    if (s->begin == s->end) {
        printf("Buffers %" PRIu32 " and %" PRIu32 " have no byte in common", s->a->id, s->b->id);
    } else {
        printf("Buffers %" PRIu32 " and %" PRIu32 " share the bytes [%" PRIu64 ", %" PRIu64 ")",
               s->a->id, s->b->id, s->begin, s->end);
    }
    printf("; they may: %" PRIu32 " is used before %" PRId64 ", %" PRIu32 " from %" PRId64 " on.\n",
           s->a->id, s->a->upper, s->b->id, s->b->lower);
}

/* ---- results ---- */

/* Of the capacity, at least; 0 when the bound is within it and only no plan was found. */
static uint64_t missing_bytes(const plan_run *run)
{
    uint64_t least = run->result.lower_bound_bytes, capacity = run->limits.capacity_bytes;
    return least > capacity ? least - capacity : 0;
}

static int print_json(const plan_run *run, cli_format format)
{
    const aegis_plan_result *result = &run->result;
    bool feasible = result->verdict == AEGIS_PLAN_FEASIBLE;
    json_t *root = cli_json_object(), *rows = json_array();
    cli_json_bool(root, "feasible", feasible);
    cli_json_set(root, "capacity",
                 run->bounded ? json_integer((json_int_t)run->limits.capacity_bytes)
                              : json_integer((json_int_t)result->height_bytes));
    cli_json_unsigned(root, "height", result->height_bytes);
    cli_json_unsigned(root, "lower_bound", result->lower_bound_bytes);
    cli_json_bool(root, "optimal", result->optimal);
    cli_json_real(root, "seconds", run->seconds);
    cli_json_unsigned(root, "nodes", result->nodes);
    cli_json_text(root, "verdict",
                  feasible                                   ? "feasible"
                  : result->verdict == AEGIS_PLAN_INFEASIBLE ? "infeasible"
                                                             : "undecided");
    cli_json_set(root, "offsets", feasible ? offsets_json(run, rows) : json_object());
    if (!feasible) {
        cli_json_set(root, "peak", peak_json(run));
        cli_json_unsigned(root, "missing_bytes", missing_bytes(run));
    }
    sharing pair;
    if (run->explain != NULL && find_sharing(run, &pair)) {
        cli_json_set(root, "explain", sharing_json(&pair));
    }
    if (format == CLI_JSON) {
        json_decref(rows);
    } else {
        cli_json_set(root, "rows", rows);
    }
    return cli_json_print(root, "rows", format);
}

static void print_peak(const plan_run *run)
{
    uint64_t bytes = 0;
    size_t live = 0;
    char text[CLI_TEXT_BYTES];
    printf("Most is live at %" PRId64 ": buffers", run->result.peak_at);
    for (size_t i = 0; i < run->count; i++) {
        if (is_live(&run->buffers[i], run->result.peak_at)) {
            bytes += run->buffers[i].size_bytes;
            if (live++ < MOST_NAMED) {
                printf(" %" PRIu32, run->buffers[i].id);
            }
        }
    }
    printf("%s, %zu of them with %" PRIu64 " bytes (%s).\n", live > MOST_NAMED ? " ..." : "", live,
           bytes, cli_size(bytes, text));
}

static int print_table(const plan_run *run)
{
    const aegis_plan_result *result = &run->result;
    char a[CLI_TEXT_BYTES], b[CLI_TEXT_BYTES];
    bool feasible = result->verdict == AEGIS_PLAN_FEASIBLE;
    int code = CLI_EXIT_OK;
    if (feasible) {
        cli_table *table = cli_table_create(">id|>lower|>upper|>size|>offset");
        for (size_t i = 0; i < run->count; i++) {
            const aegis_plan_buffer *buffer = &run->buffers[i];
            cli_table_cell(table, CLI_PLAIN, "%" PRIu32, buffer->id);
            cli_table_cell(table, CLI_PLAIN, "%" PRId64, buffer->lower);
            cli_table_cell(table, CLI_PLAIN, "%" PRId64, buffer->upper);
            cli_table_cell(table, CLI_PLAIN, "%" PRIu64, buffer->size_bytes);
            cli_table_cell(table, CLI_PLAIN, "%" PRIu64, run->offsets[i]);
        }
        code = cli_table_finish(table);
        putchar('\n');
    }
    printf("%s: height %" PRIu64 " bytes (%s), at least %" PRIu64 " (%s) are needed%s; %" PRIu64
           " nodes in %.3f s.\n",
           feasible                                   ? "Feasible"
           : result->verdict == AEGIS_PLAN_INFEASIBLE ? "Infeasible"
                                                      : "Undecided within the limits",
           result->height_bytes, cli_size(result->height_bytes, a), result->lower_bound_bytes,
           cli_size(result->lower_bound_bytes, b), result->optimal ? ", the height is optimal" : "",
           result->nodes, run->seconds);
    if (!feasible && missing_bytes(run) > 0) {
        printf("The capacity of %" PRIu64 " bytes (%s) is %" PRIu64 " too few.\n",
               run->limits.capacity_bytes, cli_size(run->limits.capacity_bytes, a),
               missing_bytes(run));
    }
    if (!feasible) {
        print_peak(run);
    }
    sharing pair;
    if (run->explain != NULL && find_sharing(run, &pair)) {
        print_sharing(&pair);
    }
    return code;
}

static aegis_status draw(const plan_run *run, aegis_error *err)
{
    char title[512];
    snprintf(title, sizeof title, "%s: %zu buffers, height %" PRIu64 ", lower bound %" PRIu64 "%s",
             run->name, run->count, run->result.height_bytes, run->result.lower_bound_bytes,
             run->result.optimal ? ", optimal" : "");
    const cli_plan_picture picture = {
        .buffers = run->buffers,
        .offsets = run->offsets,
        .count = run->count,
        .height_bytes = run->result.height_bytes,
        .lower_bound_bytes = run->result.lower_bound_bytes,
        .capacity_bytes = run->bounded ? run->limits.capacity_bytes : 0,
        .title = title,
    };
    return cli_plan_picture_write(&picture, run->svg_path, err);
}

static int solve(plan_run *run, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_planner planner = aegis_planner_default();
    aegis_clock clock = aegis_clock_monotonic();
    aegis_error error = {0};
    uint64_t start = aegis_clock_now_ns(&clock);
    aegis_status status = aegis_planner_solve(&planner, run->buffers, run->count, &run->limits,
                                              &allocator, run->offsets, &run->result, &error);
    run->seconds = (double)(aegis_clock_now_ns(&clock) - start) / 1e9;
    if (status != AEGIS_OK) {
        aegis_error_prefix(&error, "%s", run->name);
    }
    if (status == AEGIS_OK && run->svg_path != NULL) {
        status = draw(run, &error);
    }
    if (status != AEGIS_OK) {
        return cli_fail(common, &error);
    }
    int code = common->format == CLI_TABLE ? print_table(run) : print_json(run, common->format);
    if (code != CLI_EXIT_OK) {
        return code;
    }
    switch (run->result.verdict) {
    case AEGIS_PLAN_INFEASIBLE:
        return CLI_EXIT_REFUSED;
    case AEGIS_PLAN_UNDECIDED:
        return CLI_EXIT_UNDECIDED;
    case AEGIS_PLAN_FEASIBLE:
        break;
    }
    return CLI_EXIT_OK;
}

static int plan_list(plan_run *run, const cli_common *common)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_error error = {0};
    int code = run->explain != NULL ? take_pair(run) : 0;
    if (code != 0) {
        return code;
    }
    if (aegis_plan_csv_load(run->name, &allocator, &run->buffers, &run->count, &error) !=
        AEGIS_OK) {
        return cli_fail(common, &error);
    }
    for (int i = 0; i < 2 && run->explain != NULL; i++) {
        if (find_id(run, run->pair[i]) == run->count) {
            code = cli_usage("--explain: %s has no buffer %" PRIu32, run->name, run->pair[i]);
            aegis_plan_buffers_free(&allocator, run->buffers, run->count);
            return code;
        }
    }
    run->offsets = calloc(run->count + 1, sizeof *run->offsets);
    if (run->offsets == NULL) {
        fputs("aegisrt: error: no host memory for the offsets\n", stderr);
        code = CLI_EXIT_UNAVAILABLE;
    } else {
        code = solve(run, common);
    }
    free(run->offsets);
    aegis_plan_buffers_free(&allocator, run->buffers, run->count);
    return code;
}

static bool is_workload(const char *path)
{
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".toml") == 0;
}

int aegisrt_command_plan(int argc, char **argv)
{
    plan_run run = {.limits.capacity_bytes = UINT64_MAX};
    cli_common common;
    int first = 0;
    int code = cli_parse(&command, argc, argv, 1, 1, take, &run, &common, &first);
    if (code != CLI_CONTINUE) {
        return code;
    }
    run.name = argv[first];
    if (!is_workload(run.name)) {
        return plan_list(&run, &common);
    }
    if (run.solver_option != NULL) {
        return cli_usage("--%s is for lists of buffers; a workload says itself how much memory "
                         "there is, and its plans are searched with fixed limits",
                         run.solver_option);
    }
    return aegisrt_plan_workload(run.name, &common, run.svg_path, run.explain);
}
