// SPDX-License-Identifier: Apache-2.0
/*
 * server.h - the process that serves the mount: puts the parts together and runs the loop.
 *
 * Who waits for whom. The arrows must form no circle, or all of them would wait for ever:
 *
 *   client's request ----> helper thread ----> client's read of metadata.bin ----> loop ----> nobody
 *   (parked while a job    (gets memory;       (the kernel locks the page that     (epoll)
 *    gets its pages)        drops old pages)    it fills; we never park it)
 *
 * So while the loop serves, it waits for no job, and for no lock that the kernel may hold for a request
 * without an answer; and the helper thread drops pages of metadata.bin only (fuse/notify.c). A request parked
 * for another client waits for that client's requests, which the loop goes on to answer. At its end the loop
 * does wait for jobs, and answers requests until they have ended.
 */
#ifndef PYRMAPFS_SERVER_H
#define PYRMAPFS_SERVER_H

#include "fuse/ops.h"

enum { SERVER_STOPPED = 0, SERVER_FAILED = 1, SERVER_HANDED_OVER = 3, SERVER_LACKS = 4 };

struct server_start {
    pid_t supervisor;  /* our parent: we end when it does */
    int word;          /* gets one line: "ready", or what is wrong */
    int answer;        /* to a line that asks for something */
    const char *cause; /* why the last server ended, if there was one */
    enum journal_death how;
    uint64_t died_ms; /* and when (deadline_now_ms) */
    bool again;       /* one was started before, or was to be, and lacked something: it has been told */
};

/* Whether it is what a machine, or a limit, can have nothing left of, and can have again later. */
bool server_lacks(int error);

/*
 * Serves ops->session until it is unmounted or SIGTERM comes; SIGHUP ends it between two requests, for the next
 * server to go on. Both are blocked. ops has session, kept, conf, key
 * and mountpoint; server_run fills in the rest. If another server has served the session it takes it over. Returns
 * the process's exit status: SERVER_STOPPED is an end that was wanted, after any other one the next server can
 * take over. After SERVER_LACKS (see server_lacks) a later takeover can go well. It may ask for a directory to be attached, by a line of SERVER_ATTACH and its descriptor, and is
 * answered with the path or a negative error number.
 */
#define SERVER_ATTACH "attach "
int server_run(struct request_ops *ops, const struct server_start *start);

/*
 * Whether this program could take over the session that another server serves now: it knows the index, and has the
 * same terms with the kernel. Changes nothing; the process ends then. Returns 0 or -errno, with a line in error.
 */
int server_probe(struct request_ops *ops, char error[CONF_ERROR_MAX]);

/*
 * Does for the last server what it could not when it was killed: wakes the clients that sleep on its pages, and
 * lets go of the arena, so that another daemon can have it.
 */
void server_clean_up(const struct request_ops *ops);

#endif
