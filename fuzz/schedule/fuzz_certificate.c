/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: whatever the bytes say, the check ends within its steps and says something. */
#include <aegisrt/certificate.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    aegis_allocator allocator = aegis_allocator_default();
    aegis_certificate_report report;
    aegis_error err = {0};
    aegis_status status = aegis_certificate_verify((const char *)data, size, "fuzz", 20000,
                                                   &allocator, &report, &err);
    if (status != AEGIS_OK) {
        check(err.message[0] != '\0');
        check(status == AEGIS_ERROR_PARSE || status == AEGIS_ERROR_CONFIG ||
              status == AEGIS_ERROR_UNDECIDED || status == AEGIS_ERROR_NO_MEMORY);
        return 0;
    }
    check(report.holds || report.statement[0] != '\0');
    check(report.kind != NULL && report.steps <= 20000);
    check(strcmp(report.kind, "responses") != 0 || report.schedulable);
    return 0;
}
