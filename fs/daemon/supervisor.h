// SPDX-License-Identifier: Apache-2.0
/*
 * supervisor.h - the small process around the server: mounts, forks it, passes signals on, unmounts.
 *
 * A third process, the keeper, only waits for the end of both: if they were killed it clears the dead mount.
 */
#ifndef PYRMAPFS_SUPERVISOR_H
#define PYRMAPFS_SUPERVISOR_H

#include "conf.h"

enum supervisor_mode { SUPERVISOR_FOREGROUND, SUPERVISOR_BACKGROUND };

/*
 * Mounts and serves. In the background it returns once the mount answers, or has failed to; in the
 * foreground when it is over. Returns the exit status; what went wrong is on stderr in one line.
 */
int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode);

#endif
