/* SPDX-License-Identifier: Apache-2.0 */
#include "plan_picture.h"

#include "output.h"
#include "svg.h"

#include <inttypes.h>

#define WIDTH 1280.0
#define HEIGHT 860.0
#define LEFT 90.0
#define RIGHT 150.0
#define TOP 40.0
#define BOTTOM 50.0
#define LABEL_WIDTH_EM 7.0 /* of a digit, in pixels */

typedef struct frame {
    cli_svg svg;
    double first, span; /* of time */
    double most;        /* bytes at the upper edge */
} frame;

static double x_of(const frame *f, int64_t at)
{
    return LEFT + ((double)at - f->first) / f->span * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame *f, double bytes)
{
    return HEIGHT - BOTTOM - bytes / f->most * (HEIGHT - TOP - BOTTOM);
}

static void measure(const cli_plan_picture *p, frame *f)
{
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t i = 0; i < p->count; i++) {
        first = p->buffers[i].lower < first ? p->buffers[i].lower : first;
        last = p->buffers[i].upper > last ? p->buffers[i].upper : last;
    }
    uint64_t most = p->height_bytes > p->lower_bound_bytes ? p->height_bytes : p->lower_bound_bytes;
    most = p->capacity_bytes > most && p->capacity_bytes / 4 < most ? p->capacity_bytes : most;
    f->first = p->count == 0 ? 0 : (double)first;
    f->span = p->count == 0 ? 1 : (double)last - (double)first;
    f->most = most == 0 ? 1 : (double)most * 1.02;
}

static void draw_axes(frame *f)
{
    double left = LEFT, right = WIDTH - RIGHT, bottom = HEIGHT - BOTTOM;
    char text[CLI_TEXT_BYTES];
    double step = 1;
    while (step * 10 < f->most) { /* ticks at powers of two read well as KiB and MiB */
        step *= 2;
    }
    for (unsigned i = 0; step * i <= f->most; i++) {
        double bytes = step * i;
        cli_svg_line(&f->svg, left - 4, y_of(f, bytes), right, y_of(f, bytes), "grid");
        cli_svg_text(&f->svg, left - 8, y_of(f, bytes) + 4, "end", "note",
                     cli_size((uint64_t)bytes, text));
    }
    step = cli_svg_step(f->span, 12);
    for (unsigned i = 0; i <= 12 && step * i <= f->span; i++) {
        double x = left + step * i / f->span * (right - left);
        snprintf(text, sizeof text, "%.15g", f->first + step * i);
        cli_svg_line(&f->svg, x, bottom, x, bottom + 5, "axis");
        cli_svg_text(&f->svg, x, bottom + 19, "middle", "note", text);
    }
    cli_svg_line(&f->svg, left, TOP, left, bottom, "axis");
    cli_svg_line(&f->svg, left, bottom, right, bottom, "axis");
    cli_svg_text(&f->svg, (left + right) / 2, HEIGHT - 10, "middle", "note", "time");
}

static void draw_buffer(frame *f, const aegis_plan_buffer *b, uint64_t offset)
{
    char text[256], size[CLI_TEXT_BYTES];
    double top = y_of(f, (double)offset + (double)b->size_bytes);
    cli_svg_box box = {x_of(f, b->lower), top, x_of(f, b->upper) - x_of(f, b->lower),
                       y_of(f, (double)offset) - top};
    snprintf(text, sizeof text,
             "buffer %" PRIu32 "%s\nbytes [%" PRIu64 ", %" PRIu64 "), %s\nlive [%" PRId64
             ", %" PRId64 ")",
             b->id, b->fixed ? " (fixed)" : "", offset, offset + b->size_bytes,
             cli_size(b->size_bytes, size), b->lower, b->upper);
    cli_svg_rect(&f->svg, box, b->id, b->fixed ? "b f" : "b", text);
    snprintf(text, sizeof text, "%" PRIu32, b->id);
    int digits = snprintf(text, sizeof text, "%" PRIu32, b->id);
    if (box.height >= 11 && box.width >= LABEL_WIDTH_EM * digits + 4) {
        cli_svg_text(&f->svg, box.x + box.width / 2, box.y + box.height / 2 + 4, "middle", "l",
                     text);
    }
}

static void draw_mark(frame *f, double bytes, double shift, const char *style, const char *name)
{
    char text[64 + CLI_TEXT_BYTES], size[CLI_TEXT_BYTES];
    double y = y_of(f, bytes);
    if (y < TOP - 20) {
        return; /* far above the picture */
    }
    cli_svg_line(&f->svg, LEFT, y, WIDTH - RIGHT + 6, y, style);
    snprintf(text, sizeof text, "%s %s", name, cli_size((uint64_t)bytes, size));
    cli_svg_text(&f->svg, WIDTH - RIGHT + 8, y + shift, "start", "note", text);
}

aegis_status cli_plan_picture_write(const cli_plan_picture *p, const char *path, aegis_error *err)
{
    frame f = {0};
    measure(p, &f);
    aegis_status status =
        cli_svg_begin(&f.svg, path, WIDTH, HEIGHT, p->title,
                      ".b{stroke:#fff;stroke-width:.4}.b:hover{stroke:#000;stroke-width:1.5}"
                      ".f{stroke:#000;stroke-dasharray:3 2}"
                      ".l{font-size:10px;pointer-events:none}.capacity{stroke:#c00}"
                      ".bound{stroke:#06c}.height{stroke:#222}",
                      err);
    if (status != AEGIS_OK) {
        return status;
    }
    cli_svg_text(&f.svg, LEFT, 24, "start", "note", p->title);
    draw_axes(&f);
    for (size_t i = 0; i < p->count; i++) {
        draw_buffer(&f, &p->buffers[i], p->offsets[i]);
    }
    if (p->capacity_bytes > 0) {
        draw_mark(&f, (double)p->capacity_bytes, -10, "mark capacity", "capacity");
    }
    draw_mark(&f, (double)p->height_bytes, 4, "mark height", "height");
    draw_mark(&f, (double)p->lower_bound_bytes, 18, "mark bound", "lower bound");
    return cli_svg_end(&f.svg, err);
}
