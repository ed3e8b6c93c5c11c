/* SPDX-License-Identifier: Apache-2.0 */
/* copies = "auto": a model is measured both ways, and copies early where the analysis says that it
 * pays. Given the models that were admitted before it, in the order of the file: those that come
 * later find the link as it is then, and are admitted or refused by it. */
#include "system/internal.h"

#include <stdio.h>

static aegis_status analyse(const aegis_system *system,
                            size_t index,
                            const aegis_profile *profile,
                            bool early,
                            aegis_admission_answer *ret_answer,
                            aegis_error *err)
{
    aegis_admission_request request = aegis_system_request(system, index);
    request.profile = profile;
    request.early_copies = early;
    return aegis_scheduler_analyse(system->scheduler, system->workload->models[index].name,
                                   &request, ret_answer, err);
}

/* No decision uses floating point. */
static bool pays(const aegis_admission_answer *inlined, const aegis_admission_answer *early)
{
    return early->admitted &&
           (!inlined->admitted || early->enforceable_ns < inlined->enforceable_ns);
}

static void explain(aegis_system_model *model,
                    const aegis_admission_answer *inlined,
                    const aegis_admission_answer *early)
{
    char *text = model->copies_reason;
    const size_t size = sizeof model->copies_reason;
    if (!early->admitted) {
        snprintf(text, size, "inline: early it %s",
                 inlined->admitted ? "would be refused" : "is refused too");
    } else if (!inlined->admitted) {
        snprintf(text, size, "early: inline it would be refused");
    } else {
        snprintf(text, size,
                 "%s: lane %u is used to %.2f %% by the bounds with its copies early, lane %u to "
                 "%.2f %% with them inline",
                 pays(inlined, early) ? "early" : "inline", early->lane, 100 * early->utilisation,
                 inlined->lane, 100 * inlined->utilisation);
    }
}

aegis_status aegis_system_choose_copies(aegis_system *system, size_t index, aegis_error *err)
{
    aegis_system_entry *entry = &system->entries[index];
    aegis_system_model *model = &system->models[index];
    aegis_system_trial *trial = NULL;
    aegis_admission_answer inlined, early;
    if (!system->workload->models[index].copies_auto) {
        return AEGIS_OK;
    }
    aegis_status status = analyse(system, index, &model->profile, false, &inlined, err);
    if (status != AEGIS_OK) {
        return status;
    }
    entry->early_copies = true;
    status = aegis_system_trial_run(system, index, entry->cuts, entry->cut_count, &trial, err);
    if (status == AEGIS_ERROR_UNSUPPORTED) { /* it opened before, so it is that */
        entry->early_copies = false;
        snprintf(model->copies_reason, sizeof model->copies_reason,
                 "inline: its runtime does not copy inputs apart from execution here");
        return AEGIS_OK;
    }
    if (status != AEGIS_OK) {
        return status;
    }
    status = analyse(system, index, &trial->profile, true, &early, err);
    entry->early_copies = status == AEGIS_OK && pays(&inlined, &early);
    if (status == AEGIS_OK) {
        explain(model, &inlined, &early);
    }
    if (entry->early_copies) {
        entry->whole = entry->cut_count == 0 ? trial->profile : entry->whole;
        aegis_system_trial_adopt(system, index, trial);
    } else {
        aegis_system_trial_free(system, trial);
    }
    return status;
}
