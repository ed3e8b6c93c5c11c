/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_CLI_SVG_H
#define AEGIS_CLI_SVG_H

/* A picture as one SVG file that stands alone. Coordinates are pixels from the top left. */

#include <aegisrt/error.h>

#include <stdbool.h>
#include <stdio.h>

typedef struct cli_svg {
    FILE *file;
    const char *path;
} cli_svg;

typedef struct cli_svg_box {
    double x, y, width, height;
} cli_svg_box;

/* Text as XML takes it: names come from files. */
void cli_svg_escape(FILE *file, const char *text);

/* Begins the file; `style` are rules of CSS beside the common ones (classes: axis, grid, note,
 * mark). Errors go to `err`: IO. */
aegis_status cli_svg_begin(cli_svg *svg,
                           const char *path,
                           double width,
                           double height,
                           const char *title,
                           const char *style,
                           aegis_error *err);

/* Ends and closes the file; IO when any write failed. */
aegis_status cli_svg_end(cli_svg *svg, aegis_error *err);

/* "#rrggbb" of a hue in degrees below 360, a saturation and a lightness in percent: not all that
 * draw SVG know hsl(). */
void cli_svg_colour(unsigned angle, unsigned saturation, unsigned light, char ret_colour[8]);
/* A rectangle in colour number `hue` (any; neighbours differ) with hover text. */
void cli_svg_rect(
    cli_svg *svg, cli_svg_box box, unsigned hue, const char *style_class, const char *hover);
void cli_svg_line(
    cli_svg *svg, double x1, double y1, double x2, double y2, const char *style_class);
/* `anchor`: start, middle or end. */
void cli_svg_text(cli_svg *svg,
                  double x,
                  double y,
                  const char *anchor,
                  const char *style_class,
                  const char *text);

/* A step of 1, 2 or 5 times a power of ten that cuts `span` (> 0) into at most `most` parts. */
double cli_svg_step(double span, unsigned most);

#endif
