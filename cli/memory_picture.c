/* SPDX-License-Identifier: Apache-2.0 */
#include "memory_picture.h"

#include "output.h"
#include "svg.h"

#include <inttypes.h>
#include <stdlib.h>

#define WIDTH 1280.0
#define LEFT 90.0
#define RIGHT 70.0
#define TOP 60.0
#define PERMANENT_HEIGHT 420.0
#define BETWEEN 70.0
#define SHARED_HEIGHT 420.0
#define BOTTOM 90.0
#define HEIGHT (TOP + PERMANENT_HEIGHT + BETWEEN + SHARED_HEIGHT + BOTTOM)
#define LEAST_LABEL_HEIGHT 12.0

/* A rectangle of the picture over a range of the arena. */
typedef struct panel {
    double top, height;
    uint64_t first, end; /* bytes */
} panel;

typedef struct placed {
    const aegis_system_model *model;
    const aegis_memory_binding *binding;
    const aegis_tensor_lifetime *lifetimes;
    double left, width; /* of its column below */
} placed;

typedef struct picture {
    cli_svg svg;
    panel permanent, shared;
    placed *models; /* by lane */
    size_t count;
} picture;

static double y_of(const panel *p, uint64_t at)
{
    double part = (double)(at - p->first) / (double)(p->end - p->first);
    return p->top + p->height * (1 - part);
}

static bool is_shared(const aegis_memory_placement *one)
{
    return one->memory_class == AEGIS_MEMORY_ACTIVATION;
}

static void widen(panel *p, const aegis_memory_placement *one)
{
    uint64_t end = one->offset_bytes + one->size_bytes;
    p->first = p->end == 0 || one->offset_bytes < p->first ? one->offset_bytes : p->first;
    p->end = end > p->end ? end : p->end;
}

/* Lane by lane, so that what shares bytes stands together. */
static void collect(const aegis_system *system, picture *p)
{
    size_t count;
    const aegis_system_model *models = aegis_system_models(system, &count);
    uint16_t lanes = 0;
    for (uint16_t lane = 0; lane <= lanes; lane++) {
        for (size_t i = 0; i < count; i++) {
            placed one = {.model = &models[i]};
            size_t lifetimes;
            if (aegis_system_binding(system, models[i].model, &one.binding, &one.lifetimes,
                                     &lifetimes, NULL) != AEGIS_OK) {
                continue;
            }
            lanes = one.binding->lane > lanes ? one.binding->lane : lanes;
            if (one.binding->lane == lane) {
                p->models[p->count++] = one;
            }
        }
    }
    for (size_t i = 0; i < p->count; i++) {
        placed *one = &p->models[i];
        one->width = (WIDTH - LEFT - RIGHT) / (double)p->count;
        one->left = LEFT + one->width * (double)i;
        for (size_t k = 0; k < one->binding->placement_count; k++) {
            const aegis_memory_placement *placement = &one->binding->placements[k];
            if (placement->size_bytes > 0) {
                widen(is_shared(placement) ? &p->shared : &p->permanent, placement);
            }
        }
    }
}

static void draw_scale(picture *p, const panel *area, const char *name)
{
    char text[CLI_TEXT_BYTES];
    double span = (double)(area->end - area->first), step = 1;
    while (step * 10 < span) {
        step *= 2;
    }
    cli_svg_text(&p->svg, LEFT, area->top - 12, "start", "note", name);
    uint64_t at = (area->first + (uint64_t)step - 1) / (uint64_t)step * (uint64_t)step;
    for (; at <= area->end; at += (uint64_t)step) {
        double y = y_of(area, at);
        cli_svg_line(&p->svg, LEFT - 4, y, WIDTH - RIGHT, y, "grid");
        cli_svg_text(&p->svg, LEFT - 8, y + 4, "end", "note", cli_size(at, text));
    }
    cli_svg_line(&p->svg, LEFT, area->top, LEFT, area->top + area->height, "axis");
    cli_svg_line(&p->svg, LEFT, area->top + area->height, WIDTH - RIGHT, area->top + area->height,
                 "axis");
}

static void draw_tensor(picture *p, const placed *one, size_t index, cli_svg_box box)
{
    const aegis_memory_placement *placement = &one->binding->placements[index];
    const aegis_tensor_lifetime *lifetime = &one->lifetimes[index];
    char text[320], size[CLI_TEXT_BYTES], live[96] = "";
    if (is_shared(placement)) {
        snprintf(live, sizeof live,
                 "\nlane %u, segment %u, live in its events [%" PRId64 ", %" PRId64 ")",
                 one->binding->lane, lifetime->segment, lifetime->start, lifetime->end);
    }
    snprintf(text, sizeof text, "%s: %s %" PRIu32 "\nbytes [%" PRIu64 ", %" PRIu64 "), %s%s",
             one->model->name, aegis_memory_class_name(placement->memory_class), placement->tensor,
             placement->offset_bytes, placement->offset_bytes + placement->size_bytes,
             cli_size(placement->size_bytes, size), live);
    cli_svg_rect(&p->svg, box, one->model->model, "b", text);
}

static void draw_permanent(picture *p, const placed *one)
{
    uint64_t first = UINT64_MAX, end = 0;
    for (size_t i = 0; i < one->binding->placement_count; i++) {
        const aegis_memory_placement *at = &one->binding->placements[i];
        if (is_shared(at) || at->size_bytes == 0) {
            continue;
        }
        double top = y_of(&p->permanent, at->offset_bytes + at->size_bytes);
        draw_tensor(p, one, i,
                    (cli_svg_box){LEFT, top, WIDTH - LEFT - RIGHT,
                                  y_of(&p->permanent, at->offset_bytes) - top});
        first = at->offset_bytes < first ? at->offset_bytes : first;
        end = at->offset_bytes + at->size_bytes > end ? at->offset_bytes + at->size_bytes : end;
    }
    if (end > first &&
        y_of(&p->permanent, first) - y_of(&p->permanent, end) >= LEAST_LABEL_HEIGHT) {
        double y = (y_of(&p->permanent, first) + y_of(&p->permanent, end)) / 2;
        cli_svg_text(&p->svg, (WIDTH + LEFT) / 2, y + 4, "middle", "l", one->model->name);
    }
}

/* Steps of a segment, and of all before it. */
static int64_t steps_before(const placed *one, uint32_t segment)
{
    int64_t sum = 0;
    for (uint32_t s = 0; s < segment; s++) {
        int64_t last = 0;
        for (size_t i = 0; i < one->binding->placement_count; i++) {
            if (is_shared(&one->binding->placements[i]) && one->lifetimes[i].segment == s &&
                one->lifetimes[i].end > last) {
                last = one->lifetimes[i].end;
            }
        }
        sum += last + 1;
    }
    return sum;
}

static void draw_shared(picture *p, const placed *one)
{
    uint32_t segments = one->model->segments > 0 ? one->model->segments : 1;
    int64_t begins[AEGIS_MAX_SEGMENTS + 1] = {0};
    for (uint32_t s = 0; s <= segments && s <= AEGIS_MAX_SEGMENTS; s++) {
        begins[s] = steps_before(one, s);
    }
    double room = one->width - 4, steps = (double)begins[segments];
    for (size_t i = 0; i < one->binding->placement_count; i++) {
        const aegis_memory_placement *at = &one->binding->placements[i];
        const aegis_tensor_lifetime *live = &one->lifetimes[i];
        if (is_shared(at) && at->size_bytes > 0 && live->segment < segments) {
            double left = (double)(begins[live->segment] + live->start) / steps * room;
            double right = (double)(begins[live->segment] + live->end) / steps * room;
            double top = y_of(&p->shared, at->offset_bytes + at->size_bytes);
            draw_tensor(p, one, i,
                        (cli_svg_box){one->left + 2 + left, top, right - left,
                                      y_of(&p->shared, at->offset_bytes) - top});
        }
    }
    for (uint32_t s = 1; s < segments; s++) {
        double x = one->left + 2 + (double)begins[s] / steps * room;
        cli_svg_line(&p->svg, x, p->shared.top, x, p->shared.top + p->shared.height, "mark cut");
    }
    fprintf(p->svg.file, "<g transform=\"translate(%.1f %.1f) rotate(35)\">",
            one->left + one->width / 2 - 4, p->shared.top + p->shared.height + 12);
    cli_svg_text(&p->svg, 0, 0, "start", "note", one->model->name);
    fputs("</g>\n", p->svg.file);
}

static void draw_lane_edges(picture *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const placed *one = &p->models[i];
        if (i == 0 || p->models[i - 1].binding->lane != one->binding->lane) {
            char text[32];
            snprintf(text, sizeof text, "lane %u", one->binding->lane);
            cli_svg_line(&p->svg, one->left, p->shared.top - 4, one->left,
                         p->shared.top + p->shared.height, "axis");
            cli_svg_text(&p->svg, one->left + 4, p->shared.top + 4, "start", "note", text);
        }
    }
}

static void draw(picture *p)
{
    if (p->permanent.end > p->permanent.first) {
        draw_scale(p, &p->permanent,
                   "for the model alone, all the time: weights, state, inputs, outputs");
        for (size_t i = 0; i < p->count; i++) {
            draw_permanent(p, &p->models[i]);
        }
    }
    if (p->shared.end > p->shared.first) {
        draw_scale(
            p, &p->shared,
            "shared by the models of a lane, enlarged: activations; time across within a job");
        for (size_t i = 0; i < p->count; i++) {
            draw_shared(p, &p->models[i]);
        }
        draw_lane_edges(p);
    }
}

aegis_status
cli_memory_picture_write(const aegis_system *system, const char *path, aegis_error *err)
{
    size_t count;
    char title[160], planned[CLI_TEXT_BYTES], budget[CLI_TEXT_BYTES];
    aegis_memory_totals totals;
    uint64_t peak;
    aegis_system_models(system, &count);
    picture p = {
        .permanent = {.top = TOP, .height = PERMANENT_HEIGHT},
        .shared = {.top = TOP + PERMANENT_HEIGHT + BETWEEN, .height = SHARED_HEIGHT},
        .models = calloc(count + 1, sizeof *p.models),
    };
    if (p.models == NULL) {
        return aegis_error_set(err, AEGIS_HERE("cli.picture"), AEGIS_ERROR_NO_MEMORY,
                               "no memory to draw %zu models", count);
    }
    collect(system, &p);
    aegis_system_memory(system, &totals, &peak);
    snprintf(title, sizeof title, "%zu models in %s of %s", p.count,
             cli_size(totals.planned_bytes, planned), cli_size(totals.capacity_bytes, budget));
    aegis_status status =
        cli_svg_begin(&p.svg, path, WIDTH, HEIGHT, title,
                      ".b{stroke:#fff;stroke-width:.3}.b:hover{stroke:#000;stroke-width:1.5}"
                      ".l{font-size:11px;pointer-events:none}.cut{stroke:#c00;stroke-width:.8}",
                      err);
    if (status == AEGIS_OK) {
        cli_svg_text(&p.svg, LEFT, 24, "start", "note", title);
        draw(&p);
        status = cli_svg_end(&p.svg, err);
    }
    free(p.models);
    return status;
}
