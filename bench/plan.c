/* SPDX-License-Identifier: Apache-2.0 */
/* The planner on buffers from CSV files: bench_plan [--capacity BYTES] [--repeat N] FILE...
 * For each file the seconds to fit the capacity with one and with two threads, in turn, and the
 * nodes. Without files: planted perfect packings of 400 to 1,000 buffers, where the height that
 * can be reached is known. bench_plan --write FOLDER writes those as CSV files, for
 * plan_peer.py. */
#include "bench/bench.h"

#include "base/base.h"

#include <aegisrt/memory_plan.h>

#include <inttypes.h>

#define MOST_REPEATS 100u
#define MOST_BUFFERS 1000u
#define PLANTED_HEIGHT (UINT64_C(1) << 20)

typedef struct instance {
    const char *name;
    aegis_plan_buffer *buffers;
    size_t count;
    uint64_t capacity;
} instance;

static void must(aegis_status status, const aegis_error *err)
{
    if (status != AEGIS_OK) {
        fprintf(stderr, "%s\n", err->message);
        exit(1);
    }
}

static aegis_plan_result solve(const instance *in, unsigned threads, double *ret_seconds)
{
    aegis_planner planner = aegis_planner_default();
    aegis_allocator allocator = aegis_allocator_default();
    aegis_plan_limits limits = {.capacity_bytes = in->capacity, .threads = threads};
    aegis_plan_result result;
    aegis_error err;
    uint64_t *offsets = calloc(in->count + 1, sizeof *offsets);
    if (offsets == NULL) {
        exit(1);
    }
    uint64_t start = bench_now_ns();
    must(aegis_planner_solve(&planner, in->buffers, in->count, &limits, &allocator, offsets,
                             &result, &err),
         &err);
    *ret_seconds = (double)(bench_now_ns() - start) / 1e9;
    free(offsets);
    return result;
}

static void measure(bench_report *report, const instance *in, size_t repeats)
{
    static double seconds[2][MOST_REPEATS];
    aegis_plan_result result = {0};
    for (size_t i = 0; i < repeats; i++) {
        for (unsigned k = 0; k < 2; k++) {
            result = solve(in, k + 1, &seconds[k][i]);
        }
    }
    char name[256];
    for (unsigned k = 0; k < 2; k++) {
        snprintf(name, sizeof name, "%s_%u_threads", in->name, k + 1);
        bench_report_samples(report, name, "s", seconds[k], repeats);
    }
    snprintf(name, sizeof name, "%s_nodes", in->name);
    bench_report_value(report, name, "nodes", (double)result.nodes);
    snprintf(name, sizeof name, "%s_fits", in->name);
    bench_report_value(report, name, "bool", result.verdict == AEGIS_PLAN_FEASIBLE ? 1 : 0);
    snprintf(name, sizeof name, "%s_height", in->name);
    bench_report_value(report, name, "bytes", (double)result.height_bytes);
}

/* ---- planted packings ---- */

typedef struct rectangle {
    int64_t from, to;
    uint64_t low, high;
} rectangle;

static double area(const rectangle *r)
{
    return (double)(r->to - r->from) * (double)(r->high - r->low);
}

/* Cuts a full rectangle until it has `count` pieces: three are drawn, the largest is cut, across
 * time or across space. Every height is a multiple of `grain`. */
static void plant(instance *in, size_t count, int64_t horizon, uint64_t grain, uint64_t seed)
{
    static rectangle pieces[MOST_BUFFERS];
    size_t made = 1;
    pieces[0] = (rectangle){0, horizon, 0, PLANTED_HEIGHT};
    while (made < count) {
        size_t best = (size_t)(aegis_random_next(&seed) % made);
        for (int i = 0; i < 2; i++) {
            size_t other = (size_t)(aegis_random_next(&seed) % made);
            best = area(&pieces[other]) > area(&pieces[best]) ? other : best;
        }
        rectangle *r = &pieces[best], *rest = &pieces[made];
        uint64_t life = (uint64_t)(r->to - r->from), grains = (r->high - r->low) / grain;
        bool across_time = life > 1 && (grains < 2 || aegis_random_next(&seed) % 2 == 0);
        if (!across_time && grains < 2) {
            continue;
        }
        *rest = *r;
        if (across_time) {
            rest->from = r->to = r->from + 1 + (int64_t)(aegis_random_next(&seed) % (life - 1));
        } else {
            rest->low = r->high = r->low + grain * (1 + aegis_random_next(&seed) % (grains - 1));
        }
        made++;
    }
    for (size_t i = 0; i < count; i++) {
        in->buffers[i] = (aegis_plan_buffer){.id = (uint32_t)i,
                                             .lower = pieces[i].from,
                                             .upper = pieces[i].to,
                                             .size_bytes = pieces[i].high - pieces[i].low};
    }
    in->count = count;
    in->capacity = PLANTED_HEIGHT;
}

/* For other programs: NAME.csv in that folder. */
static void write_list(const instance *in, const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.csv", folder, in->name);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    fputs("id,lower,upper,size\n", file);
    for (size_t i = 0; i < in->count; i++) {
        const aegis_plan_buffer *b = &in->buffers[i];
        fprintf(file, "%" PRIu32 ",%" PRId64 ",%" PRId64 ",%" PRIu64 "\n", b->id, b->lower,
                b->upper, b->size_bytes);
    }
    if (fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

/* Measures them, or writes them to `folder`. */
static void all_planted(bench_report *report, size_t repeats, const char *folder)
{
    static const struct {
        size_t count;
        int64_t horizon;
        uint64_t grain;
    } kinds[] = {{400, 1000, 1}, {400, 2000, 64}, {450, 5000, 64}, {600, 4000, 1}, {1000, 8000, 1}};
    static aegis_plan_buffer buffers[MOST_BUFFERS];
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "planted_%zu_%zu", i, kinds[i].count);
        instance in = {.name = name, .buffers = buffers};
        plant(&in, kinds[i].count, kinds[i].horizon, kinds[i].grain, i);
        if (folder != NULL) {
            write_list(&in, folder);
        } else {
            measure(report, &in, repeats);
        }
    }
}

int main(int argc, char **argv)
{
    aegis_allocator allocator = aegis_allocator_default();
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        all_planted(NULL, 0, argv[2]);
        return 0;
    }
    bench_report report = bench_report_begin("plan");
    uint64_t capacity = UINT64_MAX;
    size_t repeats = 3, files = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--capacity") == 0 && i + 1 < argc) {
            capacity = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) {
            repeats = strtoull(argv[++i], NULL, 10);
            repeats = repeats == 0 ? 1 : repeats < MOST_REPEATS ? repeats : MOST_REPEATS;
        } else {
            aegis_error err;
            const char *slash = strrchr(argv[i], '/');
            instance in = {.name = slash == NULL ? argv[i] : slash + 1, .capacity = capacity};
            must(aegis_plan_csv_load(argv[i], &allocator, &in.buffers, &in.count, &err), &err);
            measure(&report, &in, repeats);
            aegis_plan_buffers_free(&allocator, in.buffers, in.count);
            files++;
        }
    }
    if (files == 0) {
        all_planted(&report, repeats, NULL);
    }
    bench_report_end(&report);
    return 0;
}
