/* SPDX-License-Identifier: Apache-2.0 */
/* The key "cuts" of [schedule] and of a [[model]]. */
#include "system/workload_reader.h"

#include "base/base.h"

#include <inttypes.h>
#include <string.h>

static const char *forms(bool positions)
{
    return positions ? "\"auto\", \"none\", a number of segments or a list of positions such as "
                       "[12, 40]"
                     : "\"auto\", \"none\" or a number of segments";
}

static void read_text(const aegis_workload_section *section,
                      const aegis_toml_node *node,
                      bool positions,
                      aegis_workload_cuts *cuts)
{
    static const char *const words[] = {"auto", "none"};
    const char *text = node->value.text;
    if (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0) {
        cuts->mode = text[0] == 'a' ? AEGIS_CUTS_AUTO : AEGIS_CUTS_NONE;
        return;
    }
    const char *nearest = aegis_nearest_word(text, words, AEGIS_ARRAY_LENGTH(words));
    aegis_workload_fail(section, node, "cuts", AEGIS_ERROR_CONFIG,
                        "\"%.64s\" is no way to cut%s%s%s; write %s", text,
                        nearest != NULL ? " (did you mean \"" : "", nearest != NULL ? nearest : "",
                        nearest != NULL ? "\"?)" : "", forms(positions));
}

static void read_number(const aegis_workload_section *section,
                        const aegis_toml_node *node,
                        aegis_workload_cuts *cuts)
{
    int64_t segments = node->value.integer;
    if (segments < 1 || segments > AEGIS_MAX_SEGMENTS) {
        aegis_workload_fail(section, node, "cuts", AEGIS_ERROR_CONFIG,
                            "%" PRId64 " segments; write a number from 1 to %d", segments,
                            AEGIS_MAX_SEGMENTS);
        return;
    }
    cuts->mode = AEGIS_CUTS_EVEN;
    cuts->segments = (uint32_t)segments;
}

static void read_positions(const aegis_workload_section *section,
                           const aegis_toml_node *node,
                           aegis_workload_cuts *cuts)
{
    size_t count = node->child_count;
    uint32_t *positions = aegis_workload_take(section, count + 1, sizeof *positions);
    if (positions == NULL) {
        return;
    }
    if (count >= AEGIS_MAX_SEGMENTS) {
        aegis_workload_fail(section, node, "cuts", AEGIS_ERROR_CONFIG,
                            "has %zu positions; a model has at most %d segments", count,
                            AEGIS_MAX_SEGMENTS);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const aegis_toml_node *one = &node->children[i];
        int64_t least = i == 0 ? 1 : (int64_t)positions[i - 1] + 1;
        if (one->kind != AEGIS_TOML_INTEGER || one->value.integer < least ||
            one->value.integer > UINT32_MAX) {
            aegis_workload_fail(section, one, "cuts", AEGIS_ERROR_CONFIG,
                                "position %zu must be an integer of at least %" PRId64
                                ": positions count operators and ascend (aegisrt check --cuts auto "
                                "shows some)",
                                i + 1, least);
            return;
        }
        positions[i] = (uint32_t)one->value.integer;
    }
    cuts->mode = count > 0 ? AEGIS_CUTS_AT : AEGIS_CUTS_NONE;
    cuts->positions = positions;
    cuts->position_count = count;
}

void aegis_workload_read_cuts(const aegis_workload_section *section,
                              bool positions,
                              aegis_workload_cuts *ret_cuts)
{
    const aegis_toml_node *node = aegis_toml_find(section->table, "cuts");
    if (node == NULL || section->reader->status != AEGIS_OK) {
        return;
    }
    aegis_workload_cuts cuts = {.place = {.line = node->line, .column = node->column}};
    if (node->kind == AEGIS_TOML_STRING) {
        read_text(section, node, positions, &cuts);
    } else if (node->kind == AEGIS_TOML_INTEGER) {
        read_number(section, node, &cuts);
    } else if (node->kind == AEGIS_TOML_ARRAY && positions) {
        read_positions(section, node, &cuts);
    } else {
        aegis_workload_fail(section, node, "cuts", AEGIS_ERROR_CONFIG, "expected %s, got %s",
                            forms(positions), aegis_toml_kind_name(node->kind));
    }
    *ret_cuts = cuts;
}
