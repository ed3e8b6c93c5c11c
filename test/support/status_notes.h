/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_STATUS_NOTES_H
#define AEGIS_TEST_STATUS_NOTES_H

/* Which public function returned which status while a test program ran. Tests call the functions as
 * everyone does; a macro of each function's name, made from the headers, notes the result. A
 * program that ends with 0 leaves lines "function STATUS" in statuses/PROGRAM.txt of
 * AEGISRT_BINARY_DIR, and structure.statuses holds them against what the headers say. */

#include <aegisrt/status.h>

/* Returns `status`. Any thread; in a child process too. */
aegis_status test_note_status(unsigned function, aegis_status status);

/* What happens at exit, for a program that ends by _exit. */
void test_keep_notes(void);

#endif
