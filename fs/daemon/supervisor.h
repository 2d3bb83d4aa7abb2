// SPDX-License-Identifier: Apache-2.0
/*
 * supervisor.h - the small process around the server: mounts, forks it, passes signals on, unmounts.
 *
 * A third process, the keeper, waits for both to end and clears the dead mount if they were killed.
 */
#ifndef PYRMAPFS_SUPERVISOR_H
#define PYRMAPFS_SUPERVISOR_H

#include "conf.h"

enum supervisor_mode { SUPERVISOR_FOREGROUND, SUPERVISOR_BACKGROUND };

/*
 * Mounts and serves. In the background it returns once the mount answers, or has failed to; in the foreground
 * when the mount has ended. Returns the exit status; one line on stderr says what went wrong.
 */
int supervisor_run(const struct conf *conf, const char *mountpoint, enum supervisor_mode mode);

#endif
