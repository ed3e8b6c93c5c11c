/* SPDX-License-Identifier: Apache-2.0 */
#include "svg.h"

#include <errno.h>
#include <string.h>

void cli_svg_escape(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", file);
            break;
        case '>':
            fputs("&gt;", file);
            break;
        case '&':
            fputs("&amp;", file);
            break;
        case '"':
            fputs("&quot;", file);
            break;
        default:
            /* XML has no place for other control characters. */
            fputc((unsigned char)*text < ' ' && *text != '\n' && *text != '\t' ? ' ' : *text, file);
            break;
        }
    }
}

aegis_status cli_svg_begin(cli_svg *svg,
                           const char *path,
                           double width,
                           double height,
                           const char *title,
                           const char *style,
                           aegis_error *err)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return aegis_error_set_native(err, AEGIS_HERE("cli.svg"), AEGIS_ERROR_IO, errno,
                                      "cannot write %s: %s", path, strerror(errno));
    }
    *svg = (cli_svg){.file = file, .path = path};
    fprintf(file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
            "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n<title>",
            width, height, width, height);
    cli_svg_escape(file, title);
    fprintf(file,
            "</title>\n<style>.axis{stroke:#444}.grid{stroke:#ddd}.mark{stroke-width:1.5;"
            "stroke-dasharray:6 3}.note{fill:#333}%s</style>\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            style);
    return AEGIS_OK;
}

aegis_status cli_svg_end(cli_svg *svg, aegis_error *err)
{
    fputs("</svg>\n", svg->file);
    bool failed = ferror(svg->file) != 0;
    failed |= fclose(svg->file) != 0;
    svg->file = NULL;
    return failed ? aegis_error_set_native(err, AEGIS_HERE("cli.svg"), AEGIS_ERROR_IO, errno,
                                           "cannot write all of %s", svg->path)
                  : AEGIS_OK;
}

/* One channel of a colour (CSS Color 4, section 7.1), of 255. */
static unsigned channel(unsigned angle, double saturation, double lightness, double shift)
{
    double k = shift + angle / 30.0;
    k = k < 12 ? k : k - 12;
    double a = saturation * (lightness < 0.5 ? lightness : 1 - lightness);
    double slope = k - 3 < 9 - k ? k - 3 : 9 - k;
    slope = slope < -1 ? -1 : slope > 1 ? 1 : slope;
    return (unsigned)((lightness - a * slope) * 255 + 0.5);
}

void cli_svg_colour(unsigned angle, unsigned saturation, unsigned light, char ret_colour[8])
{
    double s = saturation / 100.0, l = light / 100.0;
    snprintf(ret_colour, 8, "#%02x%02x%02x", channel(angle, s, l, 0), channel(angle, s, l, 8),
             channel(angle, s, l, 4));
}

/* Steps of the golden angle keep the hues of near numbers apart. */
void cli_svg_rect(
    cli_svg *svg, cli_svg_box box, unsigned hue, const char *style_class, const char *hover)
{
    unsigned angle = (unsigned)((double)hue * 137.508) % 360, light = 62 + hue / 3 % 3 * 8;
    char colour[8];
    cli_svg_colour(angle, 65, light, colour);
    fprintf(svg->file,
            "<rect class=\"%s\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" "
            "fill=\"%s\"><title>",
            style_class, box.x, box.y, box.width, box.height, colour);
    cli_svg_escape(svg->file, hover);
    fputs("</title></rect>\n", svg->file);
}

void cli_svg_line(cli_svg *svg, double x1, double y1, double x2, double y2, const char *style_class)
{
    fprintf(svg->file, "<line class=\"%s\" x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\"/>\n",
            style_class, x1, y1, x2, y2);
}

void cli_svg_text(
    cli_svg *svg, double x, double y, const char *anchor, const char *style_class, const char *text)
{
    fprintf(svg->file, "<text class=\"%s\" x=\"%.2f\" y=\"%.2f\" text-anchor=\"%s\">", style_class,
            x, y, anchor);
    cli_svg_escape(svg->file, text);
    fputs("</text>\n", svg->file);
}

double cli_svg_step(double span, unsigned most)
{
    double step = 1;
    while (step * 10 * most <= span) {
        step *= 10;
    }
    while (step > span && step > 1e-9) {
        step /= 10;
    }
    static const double factors[] = {1, 2, 5, 10, 20, 50};
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        if (step * factors[i] * most >= span) {
            return step * factors[i];
        }
    }
    return step * 100;
}
