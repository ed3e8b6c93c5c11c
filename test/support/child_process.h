/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AEGIS_TEST_CHILD_PROCESS_H
#define AEGIS_TEST_CHILD_PROCESS_H

/* What would spoil the process of the other tests. Include cmocka's headers before. */

#include <sys/wait.h>
#include <unistd.h>

/* Calls it in a process of its own, which ends with what it returns, without cleaning up; returns
 * that. */
static inline int in_child(int (*function)(void))
{
    int end = -1;
    const pid_t child = fork();
    if (child == 0) {
        _exit(function());
    }
    assert_true(child > 0 && waitpid(child, &end, 0) == child);
    assert_true(WIFEXITED(end));
    return WEXITSTATUS(end);
}

#endif
