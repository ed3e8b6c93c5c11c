/* SPDX-License-Identifier: Apache-2.0 */

/* Weights and packed copies told by content: one copy for all models that hold them. */

#include "orchestrator_internal.h"

#include <string.h>

bool aegis_share_has_content(const aegis_tensor_lifetime *lifetime)
{
    static const uint8_t none[AEGIS_CONTENT_BYTES];
    return lifetime->size_bytes > 0 && memcmp(lifetime->content, none, sizeof none) != 0;
}

bool aegis_share_wanted(const aegis_memory_orchestrator *o, const aegis_tensor_lifetime *lifetime)
{
    return aegis_share_has_content(lifetime) &&
           (lifetime->memory_class == AEGIS_MEMORY_WEIGHTS || !o->sealed);
}

uint64_t aegis_share_size(const aegis_memory_share *share)
{
    return aegis_align_up(share->size, AEGIS_MEMORY_GRAIN);
}

static aegis_memory_share *find(aegis_memory_share *const *shares,
                                size_t count,
                                const aegis_tensor_lifetime *lifetime,
                                uint64_t alignment)
{
    for (size_t i = 0; i < count; i++) {
        aegis_memory_share *s = shares[i];
        if (s->memory_class == lifetime->memory_class &&
            memcmp(s->content, lifetime->content, sizeof s->content) == 0 &&
            s->size == lifetime->size_bytes && s->alignment >= alignment) {
            return s;
        }
    }
    return NULL;
}

static uint64_t share_alignment(const aegis_tensor_lifetime *lifetime)
{
    return lifetime->alignment > AEGIS_MEMORY_GRAIN ? lifetime->alignment : AEGIS_MEMORY_GRAIN;
}

uint64_t aegis_share_unjoined(const aegis_memory_orchestrator *o,
                              const aegis_tensor_lifetime *lifetime)
{
    const aegis_memory_share *s =
        aegis_share_has_content(lifetime)
            ? find(o->shares, o->share_count, lifetime, share_alignment(lifetime))
            : NULL;
    return s == NULL ? 0 : aegis_share_size(s);
}

aegis_status aegis_share_join(const aegis_memory_orchestrator *o,
                              aegis_model_plan *m,
                              size_t index,
                              const aegis_tensor_lifetime *lifetime,
                              aegis_error *err)
{
    uint64_t alignment = share_alignment(lifetime);
    aegis_memory_share *s = find(m->shares, m->share_count, lifetime, alignment);
    if (s == NULL) {
        s = find(o->shares, o->share_count, lifetime, alignment);
        if (s == NULL) {
            s = aegis_allocate_zeroed(&o->allocator, 1, sizeof *s);
            if (s == NULL) {
                return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"),
                                       AEGIS_ERROR_NO_MEMORY,
                                       "no host memory for shared weights of model '%s'", m->name);
            }
            s->memory_class = lifetime->memory_class;
            memcpy(s->content, lifetime->content, sizeof s->content);
            s->size = lifetime->size_bytes;
            s->alignment = alignment;
        }
        m->shares[m->share_count++] = s;
        m->by_class[s->memory_class] += s->size;
        m->binding.shared_bytes += aegis_share_size(s);
    }
    m->share_of[index] = s;
    return AEGIS_OK;
}

static aegis_status no_room(aegis_error *err)
{
    return aegis_error_set(err, AEGIS_HERE("resource.orchestrator"), AEGIS_ERROR_NO_MEMORY,
                           "no host memory for the table of shared weights");
}

aegis_status
aegis_share_reserve(aegis_memory_orchestrator *o, const aegis_model_plan *m, aegis_error *err)
{
    size_t shares = o->share_count + m->share_count;
    if (shares > o->share_room) {
        size_t room = 2 * shares;
        aegis_memory_share **list =
            aegis_allocate_zeroed(&o->allocator, room, sizeof(aegis_memory_share *));
        if (list == NULL) {
            return no_room(err);
        }
        if (o->share_count > 0) {
            memcpy(list, o->shares, o->share_count * sizeof(aegis_memory_share *));
        }
        aegis_deallocate(&o->allocator, o->shares, o->share_room, sizeof(aegis_memory_share *));
        o->shares = list;
        o->share_room = room;
    }
    size_t extents = o->room + o->share_room + 1;
    if (extents > o->extent_room) {
        aegis_extent *list = aegis_allocate_zeroed(&o->allocator, extents, sizeof *list);
        if (list == NULL) {
            return no_room(err);
        }
        aegis_deallocate(&o->allocator, o->extents, o->extent_room, sizeof *list);
        o->extents = list;
        o->extent_room = extents;
    }
    return AEGIS_OK;
}

void aegis_share_enter(aegis_memory_orchestrator *o, aegis_model_plan *m)
{
    for (size_t i = 0; i < m->share_count; i++) {
        aegis_memory_share *s = m->shares[i];
        if (s->holders == 0) {
            o->shares[o->share_count++] = s;
        }
        s->holders++;
        s->holder_mix ^= (uintptr_t)m;
    }
    m->entered = true;
}

/* Out of the orchestrator's list, which keeps its order. */
static void remove_unheld(aegis_memory_orchestrator *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->share_count; i++) {
        aegis_memory_share *s = o->shares[i];
        if (s->holders > 0) {
            o->shares[kept++] = s;
        } else {
            aegis_deallocate(&o->allocator, s, 1, sizeof *s);
        }
    }
    o->share_count = kept;
}

void aegis_share_leave(aegis_memory_orchestrator *o, aegis_model_plan *m)
{
    for (size_t i = 0; i < m->share_count; i++) {
        aegis_memory_share *s = m->shares[i];
        if (m->entered) {
            s->holders--;
            s->holder_mix ^= (uintptr_t)m;
        } else if (s->holders == 0) {
            aegis_deallocate(&o->allocator, s, 1, sizeof *s);
        }
    }
    if (m->entered) {
        remove_unheld(o);
    }
    m->share_count = 0;
}

static bool holds(const aegis_model_plan *m, const aegis_memory_share *share)
{
    for (size_t i = 0; i < m->share_count; i++) {
        if (m->shares[i] == share) {
            return true;
        }
    }
    return false;
}

bool aegis_share_stays(const aegis_memory_share *share,
                       const aegis_model_plan *without,
                       const aegis_model_plan *with)
{
    bool goes = without != NULL && share->holders == 1 && share->holder_mix == (uintptr_t)without;
    return !goes || (with != NULL && holds(with, share));
}

uint64_t aegis_share_bytes(const aegis_memory_orchestrator *o,
                           const aegis_model_plan *without,
                           const aegis_model_plan *with)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < o->share_count; i++) {
        bytes +=
            aegis_share_stays(o->shares[i], without, with) ? aegis_share_size(o->shares[i]) : 0;
    }
    for (size_t i = 0; with != NULL && i < with->share_count; i++) {
        bytes += with->shares[i]->holders == 0 ? aegis_share_size(with->shares[i]) : 0;
    }
    return bytes;
}
