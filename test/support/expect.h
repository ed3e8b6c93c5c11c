/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_EXPECT_H
#define AEGIS_TEST_EXPECT_H

/* What a failed call has to say, and a user who may not read or write what belongs to root. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aegisrt/error.h>

#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define TEST_NOBODY 65534

/* A call returned `wanted`, a failure, and its error is whole: the same status with its category, a
 * component, and a message with `part` in it. */
static inline void
expect(aegis_status status, aegis_status wanted, const aegis_error *err, const char *part)
{
    if (status != wanted) {
        fail_msg("%s: %s", aegis_status_name(status), err->message);
    }
    assert_int_equal(err->status, wanted);
    assert_int_equal(err->category, aegis_status_category(wanted));
    assert_non_null(err->component);
    if (strstr(err->message, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", err->message, part);
    }
}

/* False where one is root and cannot be anybody else. */
static inline bool become_nobody(void)
{
    return geteuid() != 0 || seteuid(TEST_NOBODY) == 0;
}

static inline void become_oneself(void)
{
    assert_true(getuid() != 0 || seteuid(0) == 0);
}

#endif
