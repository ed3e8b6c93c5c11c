/* SPDX-License-Identifier: Apache-2.0 */
#include "backend/code.h"

#include <link.h>
#include <stdbool.h>

typedef struct code_visit {
    uintptr_t inside; /* an address of the library */
    aegis_model_visit visit;
    void *self;
} code_visit;

static bool is_loaded(const ElfW(Phdr) * segment)
{
    return segment->p_type == PT_LOAD && (segment->p_flags & PF_R) != 0;
}

static bool holds(const struct dl_phdr_info *object, uintptr_t address)
{
    bool found = false;
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        found = found || (is_loaded(segment) &&
                          address - (object->dlpi_addr + segment->p_vaddr) < segment->p_memsz);
    }
    return found;
}

static int visit_object(struct dl_phdr_info *object, size_t size, void *argument)
{
    const code_visit *wanted = argument;
    (void)size;
    if (!holds(object, wanted->inside)) {
        return 0;
    }
    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (is_loaded(segment)) {
            wanted->visit(wanted->self, (const void *)(object->dlpi_addr + segment->p_vaddr),
                          segment->p_memsz);
        }
    }
    return 1;
}

void aegis_code_visit(uintptr_t inside, aegis_model_visit visit, void *self)
{
    code_visit wanted = {.inside = inside, .visit = visit, .self = self};
    dl_iterate_phdr(visit_object, &wanted);
}
