/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The built-in policies. None has state, and but for cw-edf none waits: a key is all that they are.
 * Each key repeats the order that its proof assumes, ties included (lower model number first).
 */
#include "base/base.h"
#include "schedule/policy/policies.h"

#include <aegisrt/ext/policy_ops.h>

#include <stdio.h>
#include <string.h>

static int64_t to_key(uint64_t value)
{
    return value > INT64_MAX ? INT64_MAX : (int64_t)value;
}

/* ---- keys ---- */

static int64_t fifo_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)model;
    return to_key(job->release_ns);
}

static int64_t rm_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)job;
    return to_key(model->period_ns);
}

static int64_t dm_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)job;
    return to_key(model->deadline_ns);
}

static int64_t fp_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)job;
    return model->priority;
}

static int64_t edf_key(void *self, const aegis_policy_model *model, const aegis_policy_job *job)
{
    (void)self;
    (void)model;
    return to_key(job->deadline_ns);
}

/* ---- proofs ---- */

typedef int64_t (*policy_key)(void *self,
                              const aegis_policy_model *model,
                              const aegis_policy_job *job);

/* Fixed priorities are keys that look at the model alone: its order is the order of keys. Cut
 * models need the test with fixed preemption points (Bril, Lukkien, Verhaegh 2009). */
static bool fixed_priority_proof(policy_key key,
                                 const aegis_policy_model *models,
                                 size_t count,
                                 aegis_analysis *ret_analysis,
                                 size_t *ret_order)
{
    *ret_analysis = AEGIS_ANALYSIS_NP_FP;
    for (size_t i = 0; i < count; i++) {
        if (models[i].segment_count > 1) {
            *ret_analysis = AEGIS_ANALYSIS_FPP;
        }
        int64_t own = key(NULL, &models[i], NULL);
        size_t at = i;
        while (at > 0) {
            const aegis_policy_model *other = &models[ret_order[at - 1]];
            int64_t theirs = key(NULL, other, NULL);
            if (theirs < own || (theirs == own && other->model < models[i].model)) {
                break;
            }
            ret_order[at] = ret_order[at - 1];
            at--;
        }
        ret_order[at] = i;
    }
    return true;
}

static bool rm_proof(void *self,
                     const aegis_policy_model *models,
                     size_t count,
                     aegis_analysis *ret_analysis,
                     size_t *ret_order)
{
    (void)self;
    return fixed_priority_proof(rm_key, models, count, ret_analysis, ret_order);
}

static bool dm_proof(void *self,
                     const aegis_policy_model *models,
                     size_t count,
                     aegis_analysis *ret_analysis,
                     size_t *ret_order)
{
    (void)self;
    return fixed_priority_proof(dm_key, models, count, ret_analysis, ret_order);
}

static bool fp_proof(void *self,
                     const aegis_policy_model *models,
                     size_t count,
                     aegis_analysis *ret_analysis,
                     size_t *ret_order)
{
    (void)self;
    return fixed_priority_proof(fp_key, models, count, ret_analysis, ret_order);
}

static bool edf_proof(void *self,
                      const aegis_policy_model *models,
                      size_t count,
                      aegis_analysis *ret_analysis,
                      size_t *ret_order)
{
    (void)self;
    (void)models;
    *ret_analysis = AEGIS_ANALYSIS_NP_EDF;
    for (size_t i = 0; i < count; i++) {
        ret_order[i] = i;
    }
    return true;
}

/* Cut models too: whatever runs before a job ends was released no later than the job was seen, or
 * had been started by then, and all of that is in the bound however it is cut. */
static bool fifo_proof(void *self,
                       const aegis_policy_model *models,
                       size_t count,
                       aegis_analysis *ret_analysis,
                       size_t *ret_order)
{
    (void)edf_proof(self, models, count, ret_analysis, ret_order);
    *ret_analysis = AEGIS_ANALYSIS_FIFO;
    return true;
}

/* ---- names ---- */

static const aegis_policy_ops builtin[] = {
    {AEGIS_POLICY_OPS_VERSION, "fifo", NULL, NULL, fifo_key, NULL, fifo_proof, true},
    {AEGIS_POLICY_OPS_VERSION, "np-rm", NULL, NULL, rm_key, NULL, rm_proof, true},
    {AEGIS_POLICY_OPS_VERSION, "np-dm", NULL, NULL, dm_key, NULL, dm_proof, true},
    {AEGIS_POLICY_OPS_VERSION, "np-fp", NULL, NULL, fp_key, NULL, fp_proof, true},
    {AEGIS_POLICY_OPS_VERSION, "np-edf", NULL, NULL, edf_key, NULL, edf_proof, true},
    {AEGIS_POLICY_OPS_VERSION, "cw-edf", NULL, NULL, edf_key, aegis_policy_critical_window, NULL,
     true},
};

static const char *const names[] = {"fifo", "np-rm", "np-dm", "np-fp", "np-edf", "cw-edf"};

aegis_status aegis_policy_find(const char *name, aegis_policy *ret_policy, aegis_error *err)
{
    for (size_t i = 0; name != NULL && i < AEGIS_ARRAY_LENGTH(builtin); i++) {
        if (strcmp(builtin[i].name, name) == 0) {
            *ret_policy = (aegis_policy){.ops = &builtin[i]};
            return AEGIS_OK;
        }
    }
    const char *nearest =
        name == NULL ? NULL : aegis_nearest_word(name, names, AEGIS_ARRAY_LENGTH(names));
    return aegis_error_set(err, AEGIS_HERE("schedule.policy"), AEGIS_ERROR_NOT_FOUND,
                           "no policy \"%s\"%s%s%s; there are fifo, np-rm, np-dm, np-fp, "
                           "np-edf and cw-edf",
                           name == NULL ? "" : name, nearest == NULL ? "" : " (did you mean \"",
                           nearest == NULL ? "" : nearest, nearest == NULL ? "" : "\"?)");
}

const char *const *aegis_policy_names(size_t *ret_count)
{
    *ret_count = AEGIS_ARRAY_LENGTH(names);
    return names;
}

bool aegis_policy_has_proof(const aegis_policy *policy)
{
    return policy->ops->proof != NULL;
}

const char *aegis_policy_name(const aegis_policy *policy)
{
    return policy->ops->name;
}
