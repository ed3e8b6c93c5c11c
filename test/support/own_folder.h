/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_OWN_FOLDER_H
#define AEGIS_TEST_OWN_FOLDER_H

/* A folder for one program, as the fixtures of its group. */

#include <stdio.h>
#include <stdlib.h>

static char own_folder[] = "/tmp/aegisrt-test-XXXXXX";

static inline int make_own_folder(void **state)
{
    (void)state;
    return mkdtemp(own_folder) == NULL ? -1 : 0;
}

static inline int remove_own_folder(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", own_folder);
    return system(command);
}

#endif
