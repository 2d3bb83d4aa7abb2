// SPDX-License-Identifier: Apache-2.0
/*
 * supervisor.h - the small process around the server: mounts, forks it, passes signals on, unmounts.
 *
 * A third process, the keeper, waits for both to end and clears the dead mount if they were killed.
 */
#ifndef PYRMAPFS_SUPERVISOR_H
#define PYRMAPFS_SUPERVISOR_H

#include "conf.h"
#include "daemon/handover.h"

enum supervisor_mode { SUPERVISOR_FOREGROUND, SUPERVISOR_BACKGROUND };

/*
 * Mounts and serves. In the background it returns once the mount answers, or has failed to; in the foreground
 * when the mount has ended. Returns the exit status; one line on stderr says what went wrong.
 */
int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode,
                   const struct handover_command *command);

/*
 * What a program does that a supervisor starts at SIGHUP: see handover.h. fd tells it what there is to go on with.
 * supervisor_probe says on standard output that it could, or on standard error why not, and ends the process.
 * supervisor_resume goes on as supervisor_run does in the foreground. conf: as the file is now; NULL if that is of
 * no use any more.
 */
int supervisor_probe(struct conf *conf, int fd);
int supervisor_resume(struct conf *conf, const char *mountpoint, const struct handover_command *command,
                      int fd);

#endif
