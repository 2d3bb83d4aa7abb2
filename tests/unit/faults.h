// SPDX-License-Identifier: Apache-2.0
/*
 * faults.h - system calls and allocations of the daemon, at one of which something happens.
 *
 * The daemon's calls come to faults.c instead of the C library (see the Makefile). This holds in the program of
 * test_faults.c, and in those of tests/failpoints, where its stores to memory that outlives it come here as well.
 */
#ifndef PYRMAPFS_FAULTS_H
#define PYRMAPFS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum faults_effect {
    FAULTS_FAIL,       /* the call fails, if it is one that can */
    FAULTS_DIE_BEFORE, /* SIGKILL right before a call that changes what outlives the process, or before a store */
    FAULTS_DIE_AFTER, /* the same right after such a call */
    FAULTS_DIE_ALL,   /* like FAULTS_DIE_BEFORE, of the whole process group */
};

enum { FAULTS_NAME_MAX = 28 };

/* What was armed, in memory that the daemon may share with a test: tests/failpoints/armed.py knows this layout. */
struct faults {
    atomic_int left;            /* calls until that one; 0: none */
    int32_t effect;             /* enum faults_effect */
    int32_t parent;             /* calls of children of this process count, */
    int32_t past;               /* but not those of this child. parent 0: all count */
    atomic_int hit;             /* it has happened, */
    char name[FAULTS_NAME_MAX]; /* at this call */
};

/* The program's own, unless it was told to share. */
extern struct faults *faults;

/* Arms one call, counted from 1 on from now, whichever thread makes it. */
void faults_arm(int call, enum faults_effect effect);
/* Disarms it. Returns whether it was made. */
bool faults_disarm(void);

/* Writing to one of these files never fails. None: count is 0. */
void faults_spare(const struct stat *files, int count);

/* The daemon is about to store there. */
void faults_store(const void *address);

#endif
