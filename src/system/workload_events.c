/* SPDX-License-Identifier: Apache-2.0 */
/* The [[event]] tables: models that come and go while a workload runs. */
#include "system/workload_reader.h"

#include "base/base.h"

#include <stdio.h>
#include <string.h>

#define MAX_EVENTS 4096

static const char *const changes[] = {"add", "remove", "compact", "pressure"};

static uint32_t find_model(const aegis_workload *workload, const char *name)
{
    uint32_t i = 0;
    while (i < workload->model_count && strcmp(workload->models[i].name, name) != 0) {
        i++;
    }
    return i;
}

static void read_name(const aegis_workload_section *section,
                      const aegis_workload *workload,
                      const char *key,
                      aegis_workload_event *event)
{
    const char *name = NULL;
    const aegis_toml_node *node =
        aegis_workload_text(section, key, "the name of a model of this workload", &name);
    if (node == NULL) {
        return;
    }
    event->model = find_model(workload, name);
    if (event->model == workload->model_count) {
        aegis_workload_fail(section, node, key, AEGIS_ERROR_CONFIG,
                            "there is no model \"%.64s\"; write the name of a [[model]]", name);
    }
}

static void read_pressure(const aegis_workload_section *section, aegis_workload_event *event)
{
    static const char *const policies[] = {"newest", "largest", "smallest-enough"};
    int choice = 0;
    aegis_workload_size(section, "pressure", 1, &event->needed_bytes);
    if (aegis_workload_choice(section, "policy", policies, AEGIS_ARRAY_LENGTH(policies), &choice) ==
        NULL) {
        aegis_workload_fail(section, NULL, "policy", AEGIS_ERROR_CONFIG,
                            "is missing; write who is to leave: \"newest\", \"largest\" or "
                            "\"smallest-enough\"");
    }
    event->policy = (aegis_pressure_policy)(AEGIS_PRESSURE_NEWEST + choice);
}

/* Which one of the keys there is, and what it says. */
static void read_change(const aegis_workload_section *section,
                        const aegis_workload *workload,
                        aegis_workload_event *event)
{
    const aegis_toml_node *found = NULL;
    for (size_t i = 0; i < AEGIS_ARRAY_LENGTH(changes); i++) {
        const aegis_toml_node *node = aegis_toml_find(section->table, changes[i]);
        if (node != NULL && found != NULL) {
            aegis_workload_fail(section, node, changes[i], AEGIS_ERROR_CONFIG,
                                "is a second change; write an [[event]] for each");
            return;
        }
        if (node != NULL) {
            found = node;
            event->change = (aegis_workload_change)i;
        }
    }
    if (found == NULL) {
        aegis_workload_fail(section, NULL, "at", AEGIS_ERROR_CONFIG,
                            "says when, but not what: add = \"NAME\", remove = \"NAME\", compact = "
                            "true, compact = \"NAME\" or pressure = SIZE");
        return;
    }
    bool compacts = event->change == AEGIS_CHANGE_COMPACT;
    event->model = AEGIS_CHANGE_OF_NOBODY;
    if (event->change == AEGIS_CHANGE_PRESSURE) {
        read_pressure(section, event);
        return;
    }
    if (!compacts || found->kind == AEGIS_TOML_STRING) {
        read_name(section, workload, changes[event->change], event);
        return;
    }
    bool wanted = true;
    aegis_workload_boolean(section, "compact", &wanted);
    if (!wanted) {
        aegis_workload_fail(section, found, "compact", AEGIS_ERROR_CONFIG,
                            "false is no change; write true, the name of a model that comes in "
                            "with it, or remove the [[event]]");
    }
}

static void read_event(const aegis_workload_section *section,
                       const aegis_workload *workload,
                       aegis_workload_event *event)
{
    static const char *const keys[] = {"at",       "add",    "remove", "compact",
                                       "pressure", "policy", "expect"};
    static const char *const expectations[] = {"refuse"};
    int choice;
    event->place = (aegis_workload_place){section->table->line, section->table->column};
    aegis_workload_check_keys(section, keys, AEGIS_ARRAY_LENGTH(keys), NULL);
    if (aegis_workload_duration(section, "at", true, &event->at_ns) == NULL) {
        aegis_workload_fail(section, NULL, "at", AEGIS_ERROR_CONFIG,
                            "is missing; write the time since the start, such as \"5s\"");
    }
    read_change(section, workload, event);
    const aegis_toml_node *node =
        aegis_workload_choice(section, "expect", expectations, 1, &choice);
    event->expect_refuse = node != NULL;
    const aegis_toml_node *policy = aegis_toml_find(section->table, "policy");
    if (policy != NULL && event->change != AEGIS_CHANGE_PRESSURE) {
        aegis_workload_fail(section, policy, "policy", AEGIS_ERROR_CONFIG,
                            "says who leaves under pressure; remove it");
    }
    if (node != NULL &&
        (event->change == AEGIS_CHANGE_REMOVE || event->model == AEGIS_CHANGE_OF_NOBODY)) {
        aegis_workload_fail(section, node, "expect", AEGIS_ERROR_CONFIG,
                            "only a model that is to come in can be refused; remove it");
    }
}

/* By time; those of one time as they stand in the file. */
static void insert(aegis_workload_event *events, size_t count, const aegis_workload_event *event)
{
    for (; count > 0 && events[count - 1].at_ns > event->at_ns; count--) {
        events[count] = events[count - 1];
    }
    events[count] = *event;
}

/* A model that is out at the start needs somebody to bring it in. */
static void check_absent(const aegis_workload_section *top, const aegis_workload *workload)
{
    const aegis_workload_event *events = workload->events;
    for (uint32_t m = 0; m < workload->model_count; m++) {
        bool comes = !workload->models[m].absent;
        for (size_t i = 0; events != NULL && i < workload->event_count && !comes; i++) {
            comes = events[i].model == m && events[i].change != AEGIS_CHANGE_REMOVE;
        }
        if (!comes) {
            const aegis_toml_node at = {.line = workload->models[m].place.line,
                                        .column = workload->models[m].place.column};
            aegis_workload_fail(top, &at, "start", AEGIS_ERROR_CONFIG,
                                "\"%s\" is not there at the start and no [[event]] adds it; write "
                                "one with add = \"%s\", or remove start = false",
                                workload->models[m].name, workload->models[m].name);
            return;
        }
    }
}

void aegis_workload_read_events(const aegis_workload_section *top, aegis_workload *workload)
{
    const aegis_toml_node *list =
        aegis_workload_get(top, "event", AEGIS_TOML_ARRAY,
                           "an array of tables: write [[event]] with two pairs of brackets");
    size_t count = list != NULL ? list->child_count : 0;
    if (count > MAX_EVENTS) {
        aegis_workload_fail(top, list, "event", AEGIS_ERROR_CONFIG,
                            "%zu events; at most %d are possible", count, MAX_EVENTS);
        return;
    }
    aegis_workload_event *events =
        count == 0 ? NULL : aegis_workload_take(top, count, sizeof *events);
    workload->events = events;
    for (size_t i = 0; events != NULL && i < count && top->reader->status == AEGIS_OK; i++) {
        aegis_workload_event event = {0};
        aegis_workload_section section = {.reader = top->reader, .table = &list->children[i]};
        snprintf(section.label, sizeof section.label, "[[event]] number %zu", i + 1);
        if (list->children[i].kind != AEGIS_TOML_TABLE) {
            aegis_workload_fail(top, &list->children[i], "event", AEGIS_ERROR_CONFIG,
                                "expected a table, got %s; write [[event]]",
                                aegis_toml_kind_name(list->children[i].kind));
            return;
        }
        read_event(&section, workload, &event);
        insert(events, i, &event);
        workload->event_count = i + 1;
    }
    if (top->reader->status == AEGIS_OK) {
        check_absent(top, workload);
    }
}
