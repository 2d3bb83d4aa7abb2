// SPDX-License-Identifier: Apache-2.0
#include "daemon/mount.h"

#include "base/lock.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

static const char filesystem_type[] = "fuse.pyrmapfs";

/* Says by errno why a mount point cannot be used. */
static void explain(const char *mountpoint, char error[CONF_ERROR_MAX])
{
    snprintf(error, CONF_ERROR_MAX, errno == ENOENT ? "%s: %s: make it with mkdir -p" : "%s: %s", mountpoint,
             strerror(errno));
}

int mount_resolve(const char *path, char absolute[PATH_MAX], char error[CONF_ERROR_MAX])
{
    char copy[PATH_MAX], parent[PATH_MAX];
    char *name;
    size_t length = strlen(path);

    if (length == 0 || length >= sizeof(copy)) {
        snprintf(error, CONF_ERROR_MAX, "the mount point's name is %s", length ? "too long" : "empty");
        return -1;
    }
    /* Leave the last component unresolved: lstat of a stale mount fails, and of a stopped one hangs. */
    strcpy(copy, path);
    name = basename(copy);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0) {
        if (!realpath(path, absolute)) {
            explain(path, error);
            return -1;
        }
        return 0;
    }
    name = strdup(name);
    strcpy(copy, path);
    if (!name || !realpath(dirname(copy), parent) ||
        snprintf(absolute, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) >= PATH_MAX) {
        explain(path, error);
        free(name);
        return -1;
    }
    free(name);
    return 0;
}

/* /proc/self/mountinfo writes blanks and backslashes of a path as \ooo. */
static void unescape(char *text)
{
    char *to = text;

    for (const char *from = text; *from; to++) {
        if (from[0] == '\\' && from[1] && from[2] && from[3]) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Whether the topmost mount at this path is a pyrmapfs. */
static bool is_own_mount(const char *mountpoint)
{
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    bool own = false;
    char *line = NULL;
    size_t room = 0;

    if (!mounts)
        return false;
    while (getline(&line, &room, mounts) > 0) {
        char path[PATH_MAX];
        const char *type = strstr(line, " - ");

        if (sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 || !type)
            continue;
        unescape(path);
        if (strcmp(path, mountpoint) == 0)
            own = strncmp(type + 3, filesystem_type, strlen(filesystem_type)) == 0;
    }
    free(line);
    fclose(mounts);
    return own;
}

static int clear_stale(const char *mountpoint)
{
    char *argv[] = {(char[]){"fusermount3"}, (char[]){"-u"},     (char[]){"-z"},
                    (char[]){"--"},          (char *)mountpoint, NULL};
    pid_t pid;
    int status;

    if (umount2(mountpoint, MNT_DETACH) == 0)
        return 0;
    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 || waitpid(pid, &status, 0) < 0)
        return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* A pyrmapfs whose server is gone. */
static bool is_stale(const char *mountpoint)
{
    struct statvfs filesystem;

    /* Not stat: the kernel may know the attributes of a dead mount's root for an hour yet. */
    return is_own_mount(mountpoint) && statvfs(mountpoint, &filesystem) < 0 &&
           (errno == ENOTCONN || errno == ECONNABORTED);
}

/*
 * Hold this lock from looking at the mount point to changing it, or two starts at once would both find it
 * free. We lock the parent, because a mount hides the directory below it. Returns a descriptor to be closed,
 * or -1.
 */
static int lock_mountpoint(const char *mountpoint, char error[CONF_ERROR_MAX])
{
    enum { PATIENCE_MS = 15000 };
    char copy[PATH_MAX];
    const char *parent;
    int error_number;
    int fd;

    snprintf(copy, sizeof(copy), "%s", mountpoint);
    parent = dirname(copy);
    fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        snprintf(error, CONF_ERROR_MAX,
                 "%s: %s: the directory of the mount point has to be readable, for a lock on it", parent,
                 strerror(errno));
        return -1;
    }
    /* Anybody who can read the directory can lock it, so we do not wait for ever. */
    error_number = lock_take(fd, PATIENCE_MS);
    if (error_number < 0) {
        snprintf(error, CONF_ERROR_MAX, "%s: cannot be locked: %s: fuser -v %s tells which program holds it",
                 parent, strerror(-error_number), parent);
        close(fd);
        return -1;
    }
    return fd;
}

static int prepare(const char *mountpoint, char error[CONF_ERROR_MAX])
{
    struct stat status;

    if (is_stale(mountpoint)) {
        if (clear_stale(mountpoint) < 0) {
            snprintf(error, CONF_ERROR_MAX,
                     "%s: a stale mount is there and cannot be removed: try umount -l %s as root", mountpoint,
                     mountpoint);
            return -1;
        }
        log_info("a stale mount at %s was cleared", mountpoint);
    }
    if (stat(mountpoint, &status) < 0) {
        explain(mountpoint, error);
        return -1;
    }
    if (!S_ISDIR(status.st_mode)) {
        snprintf(error, CONF_ERROR_MAX, "%s: not a directory: a mount point must be one", mountpoint);
        return -1;
    }
    if (is_own_mount(mountpoint)) {
        snprintf(error, CONF_ERROR_MAX,
                 "%s: a pyrmapfs is mounted there already: umount it first, or use another directory",
                 mountpoint);
        return -1;
    }
    return 0;
}

/* Whether the directory is the mount point or lies below it. We compare device and inode, not names. */
static bool is_within(const char *directory, const struct stat *mountpoint)
{
    char path[PATH_MAX];
    struct stat status;

    for (snprintf(path, sizeof(path), "%s", directory);;) {
        if (stat(path, &status) == 0 && status.st_dev == mountpoint->st_dev &&
            status.st_ino == mountpoint->st_ino)
            return true;
        if (strcmp(path, "/") == 0)
            return false;
        dirname(path); /* cuts it where it is */
    }
}

/*
 * A server that opens a path below its own mount waits for itself, and no signal ends that. So we check the
 * paths that it will open before we mount. The last component of the arena's need not exist yet.
 */
static int check_arena_path(const struct conf *conf, const char *mountpoint, char error[CONF_ERROR_MAX])
{
    char copy[PATH_MAX], parent[PATH_MAX], last[PATH_MAX];
    struct stat point, arena;

    if (conf->arena_kind != CONF_ARENA_DIR)
        return 0;
    snprintf(copy, sizeof(copy), "%s", conf->arena_path);
    if (!realpath(dirname(copy), parent)) {
        snprintf(error, CONF_ERROR_MAX, "arena.path = %.190s: %.190s: %s: make it with mkdir -p",
                 conf->arena_path, copy, strerror(errno));
        return -1;
    }
    if (stat(mountpoint, &point) < 0) {
        snprintf(error, CONF_ERROR_MAX, "%s: %s", mountpoint, strerror(errno));
        return -1;
    }
    if (is_within(parent, &point) || (stat(conf->arena_path, &arena) == 0 && S_ISDIR(arena.st_mode) &&
                                      realpath(conf->arena_path, last) && is_within(last, &point))) {
        snprintf(error, CONF_ERROR_MAX,
                 "arena.path = %.190s lies below the mount point %.190s, which hides it: choose another "
                 "directory",
                 conf->arena_path, mountpoint);
        return -1;
    }
    return 0;
}

static bool users_may_allow_other(void)
{
    FILE *file = fopen("/etc/fuse.conf", "re");
    bool allowed = false;
    char line[256];

    while (file && fgets(line, sizeof(line), file)) {
        char word[32] = "";
        if (sscanf(line, " %31s", word) == 1 && strcmp(word, "user_allow_other") == 0)
            allowed = true;
    }
    if (file)
        fclose(file);
    return allowed;
}

static int check_fuse(const struct conf *conf, char error[CONF_ERROR_MAX])
{
    if (access("/dev/fuse", F_OK) < 0) {
        snprintf(error, CONF_ERROR_MAX,
                 "there is no /dev/fuse: load the kernel module with modprobe fuse, or pass the "
                 "device into the container");
        return -1;
    }
    if (geteuid() == 0)
        return 0;
    if (access("/usr/bin/fusermount3", X_OK) < 0 && access("/bin/fusermount3", X_OK) < 0 &&
        access("/usr/local/bin/fusermount3", X_OK) < 0) {
        snprintf(error, CONF_ERROR_MAX, "only root can mount without fusermount3: install the package fuse3");
        return -1;
    }
    if (access("/dev/fuse", R_OK | W_OK) < 0) {
        snprintf(error, CONF_ERROR_MAX,
                 "you may not open /dev/fuse: let root chmod 666 /dev/fuse (as udev does), or mount as root");
        return -1;
    }
    if (conf->allow_other == CONF_ON && !users_may_allow_other()) {
        snprintf(error, CONF_ERROR_MAX,
                 "mount.allow_other = yes needs user_allow_other in /etc/fuse.conf, or root");
        return -1;
    }
    return 0;
}

/* libfuse and fusermount3 report errors on stderr, in several lines: we catch them and make one line. */
static int mount_quietly(struct fuse_session *session, const char *mountpoint, char said[CONF_ERROR_MAX / 2])
{
    int memory = memfd_create("pyrmapfs-mount", MFD_CLOEXEC);
    int saved = dup(STDERR_FILENO);
    ssize_t got;
    int result;

    if (memory >= 0 && saved >= 0)
        dup2(memory, STDERR_FILENO);
    result = fuse_session_mount(session, mountpoint);
    if (saved >= 0) {
        dup2(saved, STDERR_FILENO);
        close(saved);
    }
    got = memory >= 0 ? pread(memory, said, CONF_ERROR_MAX / 2 - 1, 0) : 0;
    said[got > 0 ? got : 0] = '\0';
    said[strcspn(said, "\n")] = '\0';
    if (memory >= 0)
        close(memory);
    return result;
}

static struct fuse_session *new_session(struct request_ops *ops, char error[CONF_ERROR_MAX])
{
    bool shared =
        ops->conf->allow_other == CONF_ON || (ops->conf->allow_other == CONF_AUTO && geteuid() == 0);
    char options[128];
    char *argv[] = {(char[]){"pyrmapfs"}, (char[]){"-o"}, options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    struct fuse_session *session;

    snprintf(options, sizeof(options), "fsname=pyrmapfs,subtype=pyrmapfs,default_permissions,noexec%s",
             shared ? ",allow_other" : "");
    session = fuse_session_new(&args, &ops_table, sizeof(ops_table), ops);
    fuse_opt_free_args(&args);
    if (!session)
        snprintf(error, CONF_ERROR_MAX, "libfuse could not make a session");
    return session;
}

struct fuse_session *mount_again(struct request_ops *ops, int fuse, char error[CONF_ERROR_MAX])
{
    struct fuse_session *session = new_session(ops, error);
    char path[32];

    snprintf(path, sizeof(path), "/dev/fd/%d", fuse); /* libfuse's name for a mount that is there */
    if (session && fuse_session_mount(session, path) < 0) {
        snprintf(error, CONF_ERROR_MAX, "libfuse could not make a session");
        fuse_session_destroy(session);
        return NULL;
    }
    return session;
}

struct fuse_session *mount_session(struct request_ops *ops, const char *mountpoint,
                                   char error[CONF_ERROR_MAX])
{
    int lock, failed;
    struct fuse_session *session;
    char said[CONF_ERROR_MAX / 2];

    if (check_fuse(ops->conf, error) < 0)
        return NULL;
    session = new_session(ops, error);
    if (!session)
        return NULL;
    lock = lock_mountpoint(mountpoint, error);
    if (lock < 0 || prepare(mountpoint, error) < 0 || check_arena_path(ops->conf, mountpoint, error) < 0) {
        if (lock >= 0)
            close(lock);
        fuse_session_destroy(session);
        return NULL;
    }
    failed = mount_quietly(session, mountpoint, said);
    close(lock);
    if (failed) {
        snprintf(error, CONF_ERROR_MAX, "cannot mount at %s: %s%s", mountpoint,
                 said[0] ? said : "the kernel refused", geteuid() == 0 ? "" : ": try it as root");
        fuse_session_destroy(session);
        return NULL;
    }
    fcntl(fuse_session_fd(session), F_SETFD, FD_CLOEXEC);
    return session;
}

enum mount_ending mount_clear(const char *mountpoint)
{
    char error[CONF_ERROR_MAX];
    enum mount_ending ending = MOUNT_GONE;
    int lock;

    if (!is_stale(mountpoint))
        return MOUNT_GONE;
    lock = lock_mountpoint(mountpoint, error);
    if (lock < 0) {
        log_warning("%s", error);
        return MOUNT_GONE; /* we cannot tell, and the next start looks again */
    }
    if (is_stale(mountpoint) && clear_stale(mountpoint) == 0)
        ending = MOUNT_WAS_DEAD;
    close(lock);
    return ending;
}

bool mount_is_over(int fuse)
{
    struct pollfd poll_fd = {.fd = fuse, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLERR;
}

enum mount_ending mount_end(int fuse, const char *mountpoint)
{
    /* Somebody may have unmounted it, and mounted another thing there. */
    if (!mount_is_over(fuse) && is_own_mount(mountpoint) && clear_stale(mountpoint) < 0)
        log_error("%s cannot be unmounted: try umount -l %s as root", mountpoint, mountpoint);
    return mount_clear(mountpoint);
}
