/* SPDX-License-Identifier: Apache-2.0 */
/* The form of a certificate: which keys it has, and what stands there. Nothing is proved by it; it
 * can only refuse. */
#include "schedule/certificate/checker.h"

#include <string.h>

/* Which certificates have a key. */
#define ALL 1
#define DEMAND 2
#define QUEUE 4
#define MISS 8
#define OVERLOAD 16
#define NO_END 32
#define BOUND 64
#define REACHED 128   /* as the proof, or beside one */
#define RESPONSES 256 /* responses are said */
#define LEVELS 512    /* and proved, under fixed priorities */
#define SETTLED 1024  /* or under another policy */

/* A form is s, a text, or i, a number; in + a list of any length, * one with an entry a task, j
 * jobs to be simulated, three numbers each. */
static const struct {
    const char *name;
    int with;
    const char *form, *meaning;
} keys[] = {
    {"schema_version", ALL, "i", "a number"},
    {"what", ALL, "s", "a text"},
    {"policy", ALL, "s", "a text"},
    {"C", ALL, "*+i", "a list of one list of numbers a task"},
    {"names", ALL, "*s", "a list of one text a task"},
    {"T", ALL, "*i", "a list of one number a task"},
    {"D", ALL, "*i", "a list of one number a task"},
    {"J", ALL, "*i", "a list of one number a task"},
    {"verdict", ALL, "s", "a text"},
    {"proof", ALL, "s", "a text"},
    {"horizon", DEMAND | QUEUE, "i", "a number"},
    {"instants", DEMAND | QUEUE, "i", "a number"},
    {"multiple", OVERLOAD | NO_END, "i", "a number"},
    {"demand", DEMAND, "+i", "a list of numbers, none or two an instant"},
    {"miss", MISS, "ji", "a list of jobs: task, nominal release, instant when ready"},
    {"tasks", NO_END, "i", "a number"},
    {"task", BOUND, "i", "a number"},
    {"at", BOUND, "i", "a number"},
    {"bound", BOUND, "i", "a number"},
    {"response", RESPONSES, "*i", "a list of one number a task"},
    {"busy", LEVELS, "*i", "a list of one number a task"},
    {"fixed_points", LEVELS, "i", "a number"},
    {"points", LEVELS, "+i", "a list of numbers, none or \"fixed_points\""},
    {"end", SETTLED, "i", "a number"},
    {"reached", REACHED, "*ji", "a list of one list of jobs a task"},
};

/* Of each proof, and of those of responses. */
static const struct {
    const char *proof;
    int has;
} proofs[] = {{"responses", RESPONSES | LEVELS},
              {"demand", DEMAND},
              {"queue", QUEUE},
              {"miss", MISS},
              {"overload", OVERLOAD},
              {"no-end", NO_END},
              {"bound", BOUND},
              {"reached", RESPONSES | REACHED}};

static bool is_form(const checker *k, const char *form, const json_t *in)
{
    if (*form == 's') {
        return json_is_string(in);
    }
    if (*form == 'i') {
        return json_is_integer(in) && json_integer_value(in) >= 0;
    }
    const bool is_array = json_is_array(in);
    bool right = is_array && (*form != '*' || json_array_size(in) == (wide)k->count) &&
                 (*form != 'j' || json_array_size(in) % 3 == 0);
    for (wide n = 0; right && n < json_array_size(in); n++) {
        right = is_form(k, form + 1, json_array_get(in, (size_t)n)) &&
                (*form != 'j' || n % 3 != 0 || number(in, n) < (wide)k->count);
    }
    return right;
}

/* What this certificate has. Responses may stand beside each verdict but those of preemptive EDF,
 * whose analysis has none, and jobs that reach them beside those. */
static int has(const checker *k)
{
    int all = ALL;
    for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(proofs); n++) {
        all |= strcmp(text(k, "proof"), proofs[n].proof) == 0 ? proofs[n].has : 0;
    }
    if ((all & RESPONSES) == 0 && list(k, "response") != NULL && !(k->edf && k->preemptive)) {
        all |= RESPONSES | (k->edf || k->fifo ? SETTLED : LEVELS);
    }
    return (all & RESPONSES) != 0 && list(k, "reached") != NULL ? all | REACHED : all;
}

/* No key is unknown. */
static bool check_keys(checker *k)
{
    void *at = json_object_iter(k->file);
    bool known = true;
    for (; at != NULL && known; at = json_object_iter_next(k->file, at)) {
        const char *name = json_object_iter_key(at);
        size_t n = 0;
        while (n < AEGIS_ARRAY_LENGTH(keys) && strcmp(name, keys[n].name) != 0) {
            n++;
        }
        known = that(k, n < AEGIS_ARRAY_LENGTH(keys), "there is no key \"%s\"", name);
    }
    return known;
}

bool aegis_checker_form(checker *k)
{
    const int with = has(k);
    bool version =
        value(k, "schema_version") == 4 && strcmp(text(k, "what"), "aegisrt-certificate") == 0;
    bool right =
        that(k, version, "\"schema_version\" must be 4, \"what\" \"aegisrt-certificate\"") &&
        check_keys(k);
    for (size_t n = 0; n < AEGIS_ARRAY_LENGTH(keys) && right; n++) {
        const json_t *found = list(k, keys[n].name);
        bool wanted = (keys[n].with & with) != 0;
        right = that(k, wanted || found == NULL, "\"%s\" has no place in a proof of \"%s\"",
                     keys[n].name, text(k, "proof")) &&
                that(k, !wanted || is_form(k, keys[n].form, found), "\"%s\" must be %s",
                     keys[n].name, keys[n].meaning);
    }
    size_t demands = json_array_size(list(k, "demand")),
           points = json_array_size(list(k, "points"));
    return right && that(k, k->count > 0, "\"C\" must have a task") &&
           that(k, demands == 0 || demands == 2 * value(k, "instants"),
                "\"demand\" must list none or all of the \"instants\"") &&
           that(k, points == 0 || points == value(k, "fixed_points"),
                "\"points\" must list none or all of the \"fixed_points\"");
}
