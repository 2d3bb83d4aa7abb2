// SPDX-License-Identifier: Apache-2.0
/*
 * faults.h - system calls and allocations of the daemon, of which one fails.
 *
 * The daemon's calls come to faults.c instead of the C library (see the Makefile). This holds in the program of
 * test_faults.c alone.
 */
#ifndef PYRMAPFS_FAULTS_H
#define PYRMAPFS_FAULTS_H

#include <stdbool.h>
#include <sys/stat.h>

/* Lets one call fail, counted from 1 on from now, whichever thread makes it. */
void faults_arm(int call);
/* Lets no call fail any more. Returns whether one has failed. */
bool faults_disarm(void);

/* Writing to one of these files never fails. None: count is 0. */
void faults_spare(const struct stat *files, int count);

#endif
