// SPDX-License-Identifier: Apache-2.0
/*
 * grant.h - which other users may open one of the arena's files.
 *
 * The files are ours, with mode 0600. A user who may open one stands in its access list (POSIX ACL), and the
 * group bits of the mode are the most that any of them may do: so chmod stops them all from writing, or takes
 * all access away, in one step. They are not the file's owner: they can neither change its mode nor take a
 * lease on it, for which we would have to wait.
 */
#ifndef PYRMAPFS_GRANT_H
#define PYRMAPFS_GRANT_H

#include <stdbool.h>
#include <sys/types.h>

enum { GRANT_WRITE = 2, GRANT_READ = 4 };

/*
 * Lets a user open the file for what `bits` say, besides what was granted before. Returns 0, -ENOSPC if too
 * many users stand in the list, -EOPNOTSUPP if the filesystem has no such lists, or another -errno.
 */
int grant_user(int fd, uid_t uid, unsigned bits);

/* Nobody else opens the file from here on. Who has it open keeps that. Returns 0 or -errno. */
int grant_nobody(int fd);

/*
 * Whether nothing of a user is left on the file: 0, -EBUSY if one who could write gave it attributes, which the
 * next would read, or another -errno.
 */
int grant_is_clean(int fd);

/* Whether we or those in the list may write: mode 0400 or 0600, with the same group bits if there is a list. */
enum grant_mode { GRANT_SEALED, GRANT_WRITABLE };
int grant_set_mode(int fd, enum grant_mode mode);

#endif
