/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that lie on one byte of the arena, and for each two of them the reason for which the
 * last use of one happens before the first use of the other. */
#include "byte_story.h"

#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct user {
    uint32_t model;
    uint16_t lane;
    const char *name;
    const aegis_memory_placement *placement;
    const aegis_tensor_lifetime *lifetime;
} user;

typedef struct story {
    user *users;
    size_t count;
} story;

static bool lies_there(const aegis_memory_placement *p, uint64_t offset)
{
    return p->size_bytes > 0 && p->offset_bytes <= offset &&
           offset - p->offset_bytes < p->size_bytes;
}

/* All of them; a second pass fills the list. `offset` NULL: on any byte. */
static size_t gather(const aegis_system *system, const uint64_t *offset, user *users)
{
    size_t models, used = 0;
    const aegis_system_model *rows = aegis_system_models(system, &models);
    for (size_t m = 0; m < models; m++) {
        const aegis_memory_binding *binding;
        const aegis_tensor_lifetime *lifetimes;
        size_t count;
        if (aegis_system_binding(system, (uint32_t)m, &binding, &lifetimes, &count, NULL) !=
            AEGIS_OK) {
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            const aegis_memory_placement *p = &binding->placements[i];
            if (p->size_bytes > 0 && (offset == NULL || lies_there(p, *offset))) {
                if (users != NULL) {
                    users[used] = (user){.model = (uint32_t)m,
                                         .lane = binding->lane,
                                         .name = rows[m].name,
                                         .placement = p,
                                         .lifetime = &lifetimes[i]};
                }
                used++;
            }
        }
    }
    return used;
}

static story make(const aegis_system *system, const uint64_t *offset)
{
    story s = {.count = gather(system, offset, NULL)};
    s.users = calloc(s.count + 1, sizeof *s.users);
    s.count = s.users == NULL ? 0 : gather(system, offset, s.users);
    return s;
}

static bool overlap(const user *a, const user *b)
{
    const aegis_memory_placement *x = a->placement, *y = b->placement;
    return x->offset_bytes < y->offset_bytes + y->size_bytes &&
           y->offset_bytes < x->offset_bytes + x->size_bytes;
}

/* Why two users of the byte cannot meet there; NULL: they could, and the plan would be wrong. */
static const char *reason(const user *a, const user *b)
{
    bool both_die = a->lifetime->memory_class == AEGIS_MEMORY_ACTIVATION &&
                    b->lifetime->memory_class == AEGIS_MEMORY_ACTIVATION;
    if (a->placement->shared && b->placement->shared) {
        return a->lifetime->memory_class == AEGIS_MEMORY_PREPACKED
                   ? "equal packed copies: written while none of their models runs, then only read"
                   : "equal weights: written once before either model runs, then only read";
    }
    if (a->lane != b->lane) {
        return NULL;
    }
    if (a->lifetime->memory_class == AEGIS_MEMORY_PAGED &&
        b->lifetime->memory_class == AEGIS_MEMORY_PAGED && a->model != b->model) {
        return "one thread executes the lane's segments one after the other, and a paged segment "
               "reads its weights in before its first operator unless they are there";
    }
    if (both_die && (a->model != b->model || a->lifetime->segment != b->lifetime->segment)) {
        return "one thread executes the lane's segments one after the other, and both die within "
               "theirs";
    }
    bool apart = a->lifetime->end <= b->lifetime->start || b->lifetime->end <= a->lifetime->start;
    if (both_die && apart) {
        return "within one segment, on one thread: the last use of one comes before the first of "
               "the other";
    }
    if (a->lifetime->memory_class == AEGIS_MEMORY_BOUNDARY &&
        b->lifetime->memory_class == AEGIS_MEMORY_BOUNDARY && a->model == b->model && apart) {
        return "segments of one job run in order, and no other job of the model is between them";
    }
    return NULL;
}

static void print_user(const user *u)
{
    printf("  %s, lane %u: %s %" PRIu32, u->name, u->lane,
           aegis_memory_class_name(u->lifetime->memory_class), u->lifetime->tensor);
    if (u->lifetime->memory_class == AEGIS_MEMORY_ACTIVATION) {
        printf(" of segment %" PRIu32 ", events %" PRId64 " to %" PRId64, u->lifetime->segment,
               u->lifetime->start, u->lifetime->end);
    }
    printf(", bytes [%" PRIu64 ", %" PRIu64 ")\n", u->placement->offset_bytes,
           u->placement->offset_bytes + u->placement->size_bytes);
}

/* Reasons are few: each is told once, with how many pairs it holds for. NULL counts those for which
 * there is none. */
typedef struct tally {
    const char *why[8];
    uint64_t pairs[8];
    size_t count;
} tally;

static void count_pair(tally *t, const char *why)
{
    size_t i = 0;
    while (i < t->count && t->why[i] != why) {
        i++;
    }
    if (i == t->count) {
        t->why[t->count++] = why;
    }
    t->pairs[i]++;
}

static tally count_pairs(const story *s)
{
    tally t = {.count = 0};
    for (size_t i = 0; i < s->count; i++) {
        for (size_t k = i + 1; k < s->count; k++) {
            if (overlap(&s->users[i], &s->users[k])) {
                count_pair(&t, reason(&s->users[i], &s->users[k]));
            }
        }
    }
    return t;
}

bool cli_byte_story_is_sound(const aegis_system *system)
{
    story s = make(system, NULL);
    tally t = count_pairs(&s);
    bool sound = true;
    for (size_t i = 0; i < t.count; i++) {
        sound = sound && t.why[i] != NULL;
    }
    free(s.users);
    return sound;
}

void cli_byte_story_print(const aegis_system *system, const uint64_t *offset)
{
    story s = make(system, offset);
    tally t = count_pairs(&s);
    if (offset != NULL) {
        printf("Byte %" PRIu64 " of the arena: %zu tensor%s.\n", *offset, s.count,
               s.count == 1 ? "" : "s");
    } else {
        printf("All bytes of the arena: %zu tensors.\n", s.count);
    }
    for (size_t i = 0; offset != NULL && i < s.count; i++) {
        print_user(&s.users[i]);
    }
    for (size_t i = 0; i < t.count; i++) {
        printf("%" PRIu64 " pair%s share%s bytes: %s.\n", t.pairs[i], t.pairs[i] == 1 ? "" : "s",
               t.pairs[i] == 1 ? "s" : "",
               t.why[i] != NULL ? t.why[i] : "NOTHING keeps them apart");
    }
    free(s.users);
}

static json_t *tensor_json(const user *u)
{
    json_t *one = json_object();
    cli_json_text(one, "model", u->name);
    cli_json_unsigned(one, "lane", u->lane);
    cli_json_text(one, "class", aegis_memory_class_name(u->lifetime->memory_class));
    cli_json_unsigned(one, "tensor", u->lifetime->tensor);
    cli_json_unsigned(one, "segment", u->lifetime->segment);
    json_object_set_new(one, "start", json_integer((json_int_t)u->lifetime->start));
    json_object_set_new(one, "end", json_integer((json_int_t)u->lifetime->end));
    return one;
}

json_t *cli_byte_story_json(const aegis_system *system, const uint64_t *offset)
{
    story s = make(system, offset);
    tally t = count_pairs(&s);
    json_t *object = json_object(), *tensors = json_array(), *edges = json_array();
    for (size_t i = 0; offset != NULL && i < s.count; i++) {
        json_array_append_new(tensors, tensor_json(&s.users[i]));
    }
    for (size_t i = 0; i < t.count; i++) {
        json_t *edge = json_object();
        cli_json_unsigned(edge, "pairs", t.pairs[i]);
        cli_json_text(edge, "because", t.why[i]);
        json_array_append_new(edges, edge);
    }
    if (offset != NULL) {
        cli_json_unsigned(object, "offset", *offset);
        cli_json_set(object, "tensors", tensors);
    } else {
        json_decref(tensors);
        cli_json_unsigned(object, "tensors", s.count);
    }
    cli_json_set(object, "edges", edges);
    free(s.users);
    return object;
}
