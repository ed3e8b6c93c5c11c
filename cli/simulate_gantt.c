/* SPDX-License-Identifier: Apache-2.0 */
/* An SVG picture of the window around the worst response found: a row for each task, its releases
 * (arrows up), deadlines (arrows down), segments, and what each job waited for. Waiting behind a
 * segment that had started before the job was released is blocking and is hatched. */
#include "simulate.h"
#include "svg.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEFT 190
#define WIDTH 1100
#define TOP 96
#define ROW 46
#define BAR 22
#define TICKS 10
#define MOST_JOBS 4000
#define MOST_SEGMENTS 8000

typedef struct gantt_job {
    uint64_t job, release, deadline, seen, start, end; /* start, end: 0 = not yet */
    uint32_t model;
    bool missed, ended;
    char fate[16];
} gantt_job;

typedef struct gantt_segment {
    uint64_t job, start, end;
    uint32_t model, index;
    uint16_t lane;
} gantt_segment;

typedef struct gantt {
    const sim_set *set;
    FILE *file;
    uint64_t from, to;
    gantt_job *jobs;
    size_t job_count;
    gantt_segment *segments;
    size_t segment_count;
    bool cut; /* more than fits */
} gantt;

/* ---- records of the window ---- */

static gantt_job *find_job(gantt *g, uint64_t job)
{
    for (size_t i = g->job_count; i-- > 0;) {
        if (g->jobs[i].job == job) {
            return &g->jobs[i];
        }
    }
    return NULL;
}

static void keep_job(gantt *g, const aegis_trace_record *record)
{
    const sim_task *task = &g->set->tasks[record->model];
    uint64_t deadline = (uint64_t)record->a + task->policy.deadline_ns;
    if (g->job_count == MOST_JOBS) {
        g->cut = true;
        return;
    }
    g->jobs[g->job_count++] = (gantt_job){.job = record->job,
                                          .model = record->model,
                                          .release = (uint64_t)record->a,
                                          .seen = record->time_ns,
                                          .deadline = deadline};
}

/* Jobs that ended before the window are forgotten, so that long runs fit. */
static void forget_job(gantt *g, gantt_job *job)
{
    if (job->end < g->from) {
        *job = g->jobs[--g->job_count];
    }
}

static void keep_segment(gantt *g, const aegis_trace_record *record)
{
    gantt_job *job = find_job(g, record->job);
    if (job != NULL && record->a == 0) {
        job->start = (uint64_t)record->b;
    }
    if ((uint64_t)record->c <= g->from || (uint64_t)record->b >= g->to) {
        return;
    }
    if (g->segment_count == MOST_SEGMENTS) {
        g->cut = true;
        return;
    }
    g->segments[g->segment_count++] = (gantt_segment){.job = record->job,
                                                      .model = record->model,
                                                      .lane = record->lane,
                                                      .index = (uint32_t)record->a,
                                                      .start = (uint64_t)record->b,
                                                      .end = (uint64_t)record->c};
}

static void end_job(gantt *g, const aegis_trace_record *record, const char *fate)
{
    gantt_job *job = find_job(g, record->job);
    if (job == NULL) {
        return;
    }
    job->ended = true;
    job->missed = record->kind == AEGIS_TRACE_MISS;
    job->end = record->kind == AEGIS_TRACE_REJECT || record->kind == AEGIS_TRACE_SKIP
                   ? record->time_ns
                   : (uint64_t)record->c;
    snprintf(job->fate, sizeof job->fate, "%s", fate);
    forget_job(g, job);
}

static void on_record(void *self, const aegis_trace_record *record)
{
    gantt *g = self;
    switch ((int)record->kind) {
    case AEGIS_TRACE_EVENT_SUBMIT:
        keep_job(g, record);
        break;
    case AEGIS_TRACE_EVENT_SEGMENT_DONE:
        keep_segment(g, record);
        break;
    case AEGIS_TRACE_COMPLETE:
        end_job(g, record, "in time");
        break;
    case AEGIS_TRACE_MISS:
        end_job(g, record, "missed");
        break;
    case AEGIS_TRACE_ABORT:
        end_job(g, record, "aborted");
        break;
    case AEGIS_TRACE_REJECT:
        end_job(g, record, "rejected");
        break;
    case AEGIS_TRACE_SKIP:
        end_job(g, record, "skipped");
        break;
    default:
        break;
    }
}

/* ---- drawing ---- */

static double x_of(const gantt *g, uint64_t time)
{
    double span = (double)(g->to - g->from);
    double at = time < g->from ? 0 : time > g->to ? span : (double)(time - g->from);
    return LEFT + at / span * WIDTH;
}

static double y_of(size_t row)
{
    return TOP + (double)row * ROW;
}

static bool visible(const gantt *g, uint64_t time)
{
    return time >= g->from && time <= g->to;
}

static unsigned hue_of(uint32_t model)
{
    return model * 137u % 360u; /* neighbours differ */
}

static const char *time_text(const gantt *g, uint64_t time, char buffer[CLI_TEXT_BYTES])
{
    return sim_time(g->set, (int64_t)time, buffer);
}

/* 1, 2 or 5 times a power of ten, so that there are about TICKS of them. */
static uint64_t grid_step(const gantt *g)
{
    uint64_t least = (g->to - g->from) / TICKS + 1, step = 1;
    while (step < least) {
        uint64_t lead = step;
        while (lead >= 10) {
            lead /= 10;
        }
        step = lead == 2 ? step / 2 * 5 : step * 2;
    }
    return step;
}

static void draw_grid(const gantt *g)
{
    uint64_t step = grid_step(g);
    double bottom = y_of(g->set->count) + 6;
    char text[CLI_TEXT_BYTES];
    for (uint64_t at = (g->from + step - 1) / step * step; at <= g->to; at += step) {
        fprintf(g->file,
                "<line x1='%.2f' y1='%d' x2='%.2f' y2='%.1f' class='grid'/>"
                "<text x='%.2f' y='%.1f' class='tick'>%s</text>\n",
                x_of(g, at), TOP - 8, x_of(g, at), bottom, x_of(g, at), bottom + 14,
                time_text(g, at, text));
    }
}

static void draw_rows(const gantt *g)
{
    for (size_t i = 0; i < g->set->count; i++) {
        const sim_task *task = &g->set->tasks[i];
        double base = y_of(i) + ROW - 8;
        fprintf(g->file,
                "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' class='base'/>"
                "<text x='%d' y='%.1f' class='name'>",
                LEFT, base, LEFT + WIDTH, base, LEFT - 10, base - 6);
        cli_svg_escape(g->file, task->name);
        fprintf(g->file, "</text><text x='%d' y='%.1f' class='lane'>lane %u%s</text>\n", LEFT - 10,
                base + 6, task->policy.lane, task->background ? ", background" : "");
    }
}

static void draw_wait(const gantt *g,
                      const gantt_job *job,
                      uint64_t from,
                      uint64_t to,
                      const gantt_segment *behind,
                      bool blocked)
{
    char text[CLI_TEXT_BYTES];
    from = from < job->seen ? job->seen : from;
    if (to <= from || from >= g->to || to <= g->from) {
        return;
    }
    double base = y_of(job->model) + ROW - 8;
    fprintf(g->file, "<rect x='%.2f' y='%.1f' width='%.2f' height='10' class='%s'><title>",
            x_of(g, from), base - 10, x_of(g, to) - x_of(g, from), blocked ? "blocked" : "waits");
    cli_svg_escape(g->file, g->set->tasks[job->model].name);
    fprintf(g->file, " job %" PRIu64 " %s %s for ", job->job, blocked ? "blocked: waits" : "waits",
            time_text(g, to - from, text));
    cli_svg_escape(g->file, g->set->tasks[behind->model].name);
    fprintf(g->file, " job %" PRIu64 "%s</title></rect>\n", behind->job,
            blocked ? ", which had started before and is not preempted" : "");
}

static void draw_waits(const gantt *g)
{
    for (size_t k = 0; k < g->job_count; k++) {
        const gantt_job *job = &g->jobs[k];
        uint16_t lane = g->set->tasks[job->model].policy.lane;
        uint64_t until = job->start > 0 || job->ended ? job->start : g->to;
        for (size_t i = 0; i < g->segment_count && !g->set->tasks[job->model].background; i++) {
            const gantt_segment *segment = &g->segments[i];
            if (segment->lane != lane || segment->job == job->job || segment->end <= job->seen ||
                segment->start >= until) {
                continue;
            }
            draw_wait(g, job, segment->start, segment->end < until ? segment->end : until, segment,
                      segment->start < job->seen);
        }
    }
}

static void draw_segment(const gantt *g, const gantt_segment *segment)
{
    gantt_job *job = find_job((gantt *)(uintptr_t)g, segment->job);
    double base = y_of(segment->model) + ROW - 8, left = x_of(g, segment->start);
    char from[CLI_TEXT_BYTES], to[CLI_TEXT_BYTES], length[CLI_TEXT_BYTES], colour[8];
    cli_svg_colour(hue_of(segment->model), 60, 62, colour);
    fprintf(g->file,
            "<rect x='%.2f' y='%.1f' width='%.2f' height='%d' fill='%s' "
            "class='%s'><title>",
            left, base - BAR, x_of(g, segment->end) - left, BAR, colour,
            job != NULL && job->missed ? "run miss" : "run");
    cli_svg_escape(g->file, g->set->tasks[segment->model].name);
    fprintf(g->file, " job %" PRIu64 " segment %" PRIu32 ": %s to %s (%s)", segment->job,
            segment->index, time_text(g, segment->start, from), time_text(g, segment->end, to),
            time_text(g, segment->end - segment->start, length));
    if (job != NULL && job->ended) {
        fprintf(g->file, ", %s, response %s", job->fate,
                time_text(g, job->end - job->release, length));
    }
    fputs("</title></rect>\n", g->file);
}

static void draw_arrow(const gantt *g, const gantt_job *job, uint64_t at, bool up)
{
    char text[CLI_TEXT_BYTES];
    double x = x_of(g, at) + (up ? 1.5 : -1.5), base = y_of(job->model) + ROW - 8,
           top = base - BAR - 10;
    double tip = up ? top : base, wing = up ? top + 6 : base - 6;
    bool late = !up && job->missed;
    fprintf(g->file, "<g class='%s'><title>", up ? "release" : late ? "deadline late" : "deadline");
    cli_svg_escape(g->file, g->set->tasks[job->model].name);
    fprintf(g->file,
            " job %" PRIu64 " %s %s%s</title><path d='M%.2f %.1fV%.1fM%.2f %.1fL%.2f %.1fL%.2f "
            "%.1f'/></g>\n",
            job->job, up ? "released at" : "due at", time_text(g, at, text), late ? ", missed" : "",
            x, base, top, x - 3.5, wing, x, tip, x + 3.5, wing);
}

static void draw_jobs(const gantt *g)
{
    char text[CLI_TEXT_BYTES];
    for (size_t i = 0; i < g->job_count; i++) {
        const gantt_job *job = &g->jobs[i];
        bool background = g->set->tasks[job->model].background;
        if (visible(g, job->release) && !background) {
            draw_arrow(g, job, job->release, true);
        }
        if (visible(g, job->deadline) && !background) {
            draw_arrow(g, job, job->deadline, false);
        }
        if (job->missed && visible(g, job->end)) {
            fprintf(g->file, "<text x='%.2f' y='%.1f' class='late'>%s late</text>\n",
                    x_of(g, job->end) + 3, y_of(job->model) + ROW - 14,
                    time_text(g, job->end - job->deadline, text));
        }
    }
}

static const char style[] =
    "<style>text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}"
    ".name{text-anchor:end;font-size:13px}.lane{text-anchor:end;font-size:9px;fill:#777}"
    ".tick{text-anchor:middle;font-size:10px;fill:#555}.late{font-size:10px;fill:#b00}"
    ".grid{stroke:#e4e4e4}.base{stroke:#999}.run{stroke:#333;stroke-width:.6}"
    ".miss{stroke:#c00;stroke-width:2}.waits{fill:#ddd}"
    ".blocked{fill:url(#hatch);stroke:#a60;stroke-width:.5}"
    ".release path{stroke:#157;stroke-width:1.4;fill:none}"
    ".deadline path{stroke:#555;stroke-width:1.4;fill:none}"
    ".late path{stroke:#c00;stroke-width:2}</style>"
    "<defs><pattern id='hatch' width='5' height='5' patternUnits='userSpaceOnUse' "
    "patternTransform='rotate(45)'><rect width='5' height='5' fill='#fd9'/>"
    "<line x1='0' y1='0' x2='0' y2='5' stroke='#c70' stroke-width='2'/></pattern></defs>\n";

static void draw_head(const gantt *g, const sim_options *options, const sim_outcome *outcome)
{
    char response[CLI_TEXT_BYTES], deadline[CLI_TEXT_BYTES], at[CLI_TEXT_BYTES];
    const sim_worst *worst = &outcome->tasks[outcome->worst_task];
    const sim_task *task = &g->set->tasks[outcome->worst_task];
    int width = LEFT + WIDTH + 30;
    double height = y_of(g->set->count) + 34;
    fprintf(g->file,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%.0f' "
            "viewBox='0 0 %d %.0f'>\n",
            width, height, width, height);
    fputs(style, g->file);
    fprintf(g->file, "<rect width='100%%' height='100%%' fill='#fff'/><text x='16' y='24' "
                     "class='title'>");
    cli_svg_escape(g->file, task->name);
    fprintf(g->file, ": response %s, deadline %s</text><text x='16' y='44'>",
            time_text(g, worst->response, response),
            time_text(g, task->policy.deadline_ns, deadline));
    cli_svg_escape(g->file, options->input);
    fprintf(g->file, ", %s, run %" PRIu64 " (%s), released at %s</text>\n", g->set->policy_name,
            worst->run, sim_run_name(g->set, options, worst->run),
            time_text(g, worst->release, at));
    fprintf(g->file,
            "<g transform='translate(16,56)'><g class='release'><path d='M6 14V0M2.5 6L6 0L9.5 6'/>"
            "</g><text x='16' y='11'>release</text><g class='deadline' "
            "transform='translate(70,0)'><path d='M6 14V0M2.5 8L6 14L9.5 8'/></g>"
            "<text x='86' y='11'>deadline</text><rect x='150' y='2' width='22' height='10' "
            "class='blocked'/><text x='178' y='11'>blocked by what had started</text>"
            "<rect x='370' y='2' width='22' height='10' class='waits'/><text x='398' y='11'>waits "
            "for what goes first</text><rect x='560' y='0' width='22' height='14' fill='#eee' "
            "class='run miss'/><text x='588' y='11'>missed%s</text></g>\n",
            g->cut ? " (more jobs than fit are left out)" : "");
}

static void draw(const gantt *g, const sim_options *options, const sim_outcome *outcome)
{
    draw_head(g, options, outcome);
    draw_grid(g);
    draw_rows(g);
    draw_waits(g);
    for (size_t i = 0; i < g->segment_count; i++) {
        draw_segment(g, &g->segments[i]);
    }
    draw_jobs(g);
    fputs("</svg>\n", g->file);
}

/* Half a response before the release, to show what blocks, and up to the deadline or the end. */
static void choose_window(gantt *g, const sim_outcome *outcome)
{
    const sim_worst *worst = &outcome->tasks[outcome->worst_task];
    uint64_t deadline = g->set->tasks[outcome->worst_task].policy.deadline_ns;
    uint64_t length = worst->response > deadline && deadline > worst->response / 8
                          ? worst->response
                          : (deadline < 4 * worst->response ? deadline : 4 * worst->response);
    length = length < worst->response ? worst->response : length;
    uint64_t margin = length / 4 + 1, before = worst->response / 2 + margin;
    g->from = worst->release > before ? worst->release - before : 0;
    g->to = worst->release + length + margin;
}

int sim_gantt(const sim_set *set,
              const sim_options *options,
              const cli_common *common,
              const sim_outcome *outcome)
{
    gantt g = {.set = set,
               .jobs = calloc(MOST_JOBS, sizeof *g.jobs),
               .segments = calloc(MOST_SEGMENTS, sizeof *g.segments)};
    aegis_error error = {0};
    int code = CLI_EXIT_OK;
    if (g.jobs == NULL || g.segments == NULL) {
        aegis_error_set(&error, AEGIS_HERE("cli.simulate"), AEGIS_ERROR_NO_MEMORY,
                        "no memory for a picture");
        code = cli_fail(common, &error);
    } else if (outcome->worst_task == SIZE_MAX) {
        code = cli_usage("--gantt: no job ended, so there is nothing to draw; --duration longer");
    } else {
        choose_window(&g, outcome);
        code = sim_repeat(set, options, common, outcome, outcome->tasks[outcome->worst_task].run,
                          g.to, on_record, &g);
    }
    if (code == CLI_EXIT_OK) {
        g.file = fopen(options->gantt, "w");
        bool bad = g.file == NULL;
        if (!bad) {
            draw(&g, options, outcome);
            bad = ferror(g.file) != 0;
            bad = fclose(g.file) != 0 || bad;
        }
        if (bad) {
            aegis_error_set(&error, AEGIS_HERE("cli.simulate"), AEGIS_ERROR_IO,
                            "cannot write the picture %s: %s", options->gantt, strerror(errno));
            code = cli_fail(common, &error);
        }
    }
    free(g.jobs);
    free(g.segments);
    return code;
}
