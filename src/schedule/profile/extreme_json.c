/* SPDX-License-Identifier: Apache-2.0 */
#include "schedule/profile/extreme_json.h"

#include <string.h>

json_t *aegis_extreme_to_json(const aegis_extreme_fit *fit)
{
    const aegis_independence *t = &fit->tests;
    return json_pack(
        "{s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:f, s:f, s:f, "
        "s:f, s:f}",
        "outcome", aegis_extreme_outcome_name(fit->outcome), "samples", (json_int_t)t->samples,
        "lags", (json_int_t)t->lags, "ljung_box", t->ljung_box, "ljung_box_p", t->ljung_box_p,
        "kpss", t->kpss, "kpss_critical", t->kpss_critical, "smirnov", t->smirnov,
        "smirnov_critical", t->smirnov_critical, "exceedance", fit->exceedance, "exceedances",
        (json_int_t)fit->exceedances, "threshold_ns", fit->threshold_ns, "shape", fit->shape,
        "shape_error", fit->shape_error, "scale_ns", fit->scale_ns, "anderson_darling",
        fit->anderson_darling, "anderson_darling_p", fit->anderson_darling_p, "quantile_ns",
        fit->quantile_ns, "upper_ns", fit->upper_ns);
}

static bool outcome_from_name(const char *name, aegis_extreme_outcome *ret_outcome)
{
    for (int i = AEGIS_EXTREME_NOT_ASKED; i <= AEGIS_EXTREME_INSIDE; i++) {
        if (strcmp(name, aegis_extreme_outcome_name((aegis_extreme_outcome)i)) == 0) {
            *ret_outcome = (aegis_extreme_outcome)i;
            return true;
        }
    }
    return false;
}

bool aegis_extreme_from_json(const json_t *node, aegis_extreme_fit *ret_fit)
{
    aegis_extreme_fit fit = {.outcome = AEGIS_EXTREME_NOT_ASKED};
    aegis_independence *t = &fit.tests;
    const char *outcome;
    json_int_t samples, lags, exceedances;
    if (node == NULL) {
        *ret_fit = fit;
        return true;
    }
    if (json_unpack((json_t *)(uintptr_t)node,
                    "{s:s, s:I, s:I, s:F, s:F, s:F, s:F, s:F, s:F, s:F, s:I, s:F, s:F, s:F, s:F, "
                    "s:F, s:F, s:F, s:F}",
                    "outcome", &outcome, "samples", &samples, "lags", &lags, "ljung_box",
                    &t->ljung_box, "ljung_box_p", &t->ljung_box_p, "kpss", &t->kpss,
                    "kpss_critical", &t->kpss_critical, "smirnov", &t->smirnov, "smirnov_critical",
                    &t->smirnov_critical, "exceedance", &fit.exceedance, "exceedances",
                    &exceedances, "threshold_ns", &fit.threshold_ns, "shape", &fit.shape,
                    "shape_error", &fit.shape_error, "scale_ns", &fit.scale_ns, "anderson_darling",
                    &fit.anderson_darling, "anderson_darling_p", &fit.anderson_darling_p,
                    "quantile_ns", &fit.quantile_ns, "upper_ns", &fit.upper_ns) != 0 ||
        samples < 0 || samples > UINT32_MAX || lags < 0 || lags > UINT32_MAX || exceedances < 0 ||
        exceedances > UINT32_MAX || !outcome_from_name(outcome, &fit.outcome)) {
        return false;
    }
    t->samples = (uint32_t)samples;
    t->lags = (uint32_t)lags;
    fit.exceedances = (uint32_t)exceedances;
    *ret_fit = fit;
    return true;
}
