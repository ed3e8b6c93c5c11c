/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the checker's argument with memory and limits; decides nothing. */
#include "schedule/certificate/checker.h"

#include "base/base.h"

static checker make(const aegis_certificate *certificate, aegis_certificate_report *report)
{
    const aegis_analysis policy = certificate->policy;
    return (checker){.c = certificate,
                     .report = report,
                     .status = AEGIS_OK,
                     .edf = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_NP_EDF,
                     .preemptive = policy == AEGIS_ANALYSIS_EDF || policy == AEGIS_ANALYSIS_FP};
}

aegis_status aegis_certificate_check(const aegis_certificate *certificate,
                                     uint64_t steps,
                                     const aegis_allocator *allocator,
                                     aegis_certificate_report *ret_report,
                                     aegis_error *err)
{
    aegis_certificate_report report = {.policy = certificate->policy, .statement = "no memory"};
    checker k = make(certificate, &report);
    k.left = steps;
    k.places = aegis_allocate_zeroed(allocator, certificate->count, sizeof *k.places);
    k.status = k.places == NULL ? AEGIS_ERROR_NO_MEMORY : AEGIS_OK;
    report.holds = k.places != NULL && aegis_check_argument(&k);
    report.steps = steps - k.left;
    aegis_deallocate(allocator, k.places, certificate->count, sizeof *k.places);
    if (k.status != AEGIS_OK) {
        return aegis_error_set(err, AEGIS_HERE("schedule.verify"), k.status, "not settled: %s",
                               report.statement);
    }
    *ret_report = report;
    return AEGIS_OK;
}

bool aegis_certificate_reaches(const aegis_certificate *certificate,
                               size_t task,
                               const aegis_allocator *allocator)
{
    aegis_certificate_report report;
    const aegis_response_proof *proof = &certificate->responses[task];
    const aegis_certificate_witness *set = &proof->reached;
    checker k = make(certificate, &report);
    wide last, total;
    k.left = AEGIS_CERTIFICATE_STEPS;
    k.places = aegis_allocate_zeroed(allocator, certificate->count, sizeof *k.places);
    bool reaches =
        k.places != NULL && aegis_check_jobs(&k, set, &last, &total) &&
        aegis_check_simulate(&k, set, false, (wide)set->jobs[set->job].nominal + proof->response);
    aegis_deallocate(allocator, k.places, certificate->count, sizeof *k.places);
    return reaches;
}
