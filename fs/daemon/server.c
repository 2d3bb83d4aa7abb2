// SPDX-License-Identifier: Apache-2.0
#include "daemon/server.h"

#include "base/cgroup.h"
#include "base/deadline.h"
#include "base/descriptors.h"
#include "base/job.h"
#include "base/log.h"
#include "base/sysctl.h"
#include "daemon/sandbox.h"
#include "fuse/follow.h"
#include "fuse/held.h"
#include "fuse/notify.h"
#include "fuse/ops.h"
#include "fuse/reopen.h"
#include "slot/page.h"
#include "slot/restore.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { OVERLAYFS_MAGIC = 0x794c7630 };

struct server {
    struct loop_source requests;    /* /dev/fuse */
    struct loop_source completions; /* the helper thread's */
    struct loop_source signals;
    struct loop *loop;
    struct slots *slots;
    struct request_ops *ops;
    const struct server_start *start;
    bool reported;
    bool takes_over;
    bool restored; /* the slots in the arena are ours: until then a start may be refused */
    char error[CONF_ERROR_MAX];
};

/* Callbacks get only their source, so there is one server in a process. */
static struct server server = {.requests.fd = -1, .completions.fd = -1, .signals.fd = -1};

/* Sends the supervisor one word: see server.h. */
static void report(const char *line)
{
    if (!server.reported)
        dprintf(server.start->word, "%s\n", line);
    server.reported = true;
}

/* The slots are there, from here on another server can take over. */
static void serves(struct request_ops *ops)
{
    server.restored = true;
    ops->journal.head->data_path = (uint32_t)exchange_data_path(ops->exchange);
    ops->journal.head->serves = 1;
    report("ready");
}

static void requests_ready(struct loop_source *source)
{
    (void)source;
    switch (transport_serve(server.ops->transport)) {
    case TRANSPORT_IDLE:
        break;
    case TRANSPORT_UNMOUNTED:
        log_info("unmounted");
        loop_stop(server.loop, 0);
        break;
    case TRANSPORT_INITIALISED:
        /* Do this after everything that can fail: it changes what an earlier server left. */
        if (ops_settle_data_path(server.ops, server.error) < 0 ||
            exchange_restore(server.ops->exchange, EXCHANGE_RESTARTS, server.error) < 0) {
            report(server.error);
            loop_stop(server.loop, SERVER_FAILED);
            break;
        }
        exchange_go_on(server.ops->exchange, EXCHANGE_RESTARTS);
        log_info("mounted at %s, data path: %s, arena: %s", server.ops->mountpoint,
                 server.ops->files.data_path, arena_kind_name(arena_kind(server.ops->arena)));
        serves(server.ops);
        break;
    }
}

static void completions_ready(struct loop_source *source)
{
    (void)source;
    background_dispatch(server.ops->background);
}

/* We are between two requests: what has no answer yet is the next server's. */
static void signals_ready(struct loop_source *source)
{
    struct signalfd_siginfo info;

    if (read(source->fd, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP)
        _exit(SERVER_HANDED_OVER);
    loop_stop(server.loop, 0);
}

static int watch_signals(void)
{
    sigset_t stops;

    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGHUP);
    server.signals.fd = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    server.signals.ready = signals_ready;
    return server.signals.fd < 0 ? -errno : loop_add(server.loop, &server.signals);
}

static enum arena_kind choose_arena(const struct conf *conf)
{
    switch (conf->arena_kind) {
    case CONF_ARENA_TMPFS:
        return ARENA_TMPFS;
    case CONF_ARENA_DIR:
        return ARENA_DIR;
    case CONF_ARENA_MEMFD:
        return ARENA_MEMFD;
    case CONF_ARENA_AUTO:
        break;
    }
    return geteuid() == 0 ? ARENA_TMPFS : ARENA_MEMFD;
}

/*
 * The supervisor mounts: we have given up the paths by the time that we know whether links are used. What the
 * last server had attached has its path still.
 */
static int attach(void *context, int directory, char path[PATH_MAX])
{
    enum { PATIENCE_MS = 10000 };
    struct pollfd answer = {.fd = server.start->answer, .events = POLLIN};
    ssize_t got;

    (void)context;
    dprintf(server.start->word, SERVER_ATTACH "%d\n", directory);
    if (poll(&answer, 1, PATIENCE_MS) != 1)
        return -ETIMEDOUT;
    got = read(server.start->answer, path, PATH_MAX - 1);
    if (got <= 0)
        return got < 0 ? -errno : -EPIPE;
    path[got] = '\0';
    return path[0] == '/' ? 0 : (int)strtol(path, NULL, 10);
}

static struct arena_options arena_options_of(struct request_ops *ops)
{
    const struct conf *conf = ops->conf;
    const struct kept_place *place = kept_place(&ops->kept->arena);

    return (struct arena_options){
        .kind = place ? (enum arena_kind)place->kind : choose_arena(conf),
        .path = conf->arena_path,
        .capacity = conf->capacity,
        .warm = conf->warm,
        .files = slots_bytes(conf->slots),
        .huge_pages = conf->huge_pages,
        .key = ops->key,
        .kept = &ops->kept->arena,
        .holder = server.start ? server.start->supervisor : 0,
        .background = ops->background,
        .leave_backing = notify_leave_backing,
        .forget_backing = notify_forget_backing,
        .freed = notify_segment_freed,
        .keeps_descriptor = notify_segment_keeps_descriptor,
        .attach = attach,
        .context = ops,
    };
}

static int open_arena(struct request_ops *ops)
{
    struct arena_options options = arena_options_of(ops);
    int result = arena_open(&ops->arena, &options, server.error);

    if (result == -EPERM && ops->conf->arena_kind == CONF_ARENA_AUTO && options.kind == ARENA_TMPFS) {
        options.kind = ARENA_MEMFD; /* root in a container may not mount, but has memory */
        result = arena_open(&ops->arena, &options, server.error);
    }
    if (result == 0 && !server.takes_over && arena_kind(ops->arena) != ARENA_DIR &&
        options.capacity > cgroup_limit())
        log_warning(
            "arena.capacity (%llu bytes) is more than the memory cgroup of pyrmapfs may have (%llu bytes): "
            "lower it, or raise the limit (MemoryMax= of the service); what does not fit gets ENOSPC",
            (unsigned long long)options.capacity, (unsigned long long)cgroup_limit());
    return result;
}

static enum transport_stacking stacking_of(struct request_ops *ops)
{
    struct statfs status;

    if (arena_kind(ops->arena) == ARENA_DIR && statfs(ops->conf->arena_path, &status) == 0 &&
        status.f_type == OVERLAYFS_MAGIC)
        return TRANSPORT_STACK_OVERLAY;
    return TRANSPORT_STACK_PLAIN;
}

static int watch_fd(struct loop_source *source, int fd, void (*ready)(struct loop_source *))
{
    source->fd = fd;
    source->ready = ready;
    return loop_add(server.loop, source);
}

/* We take half of what the kernel allows, and leave the rest to a busy loop and other requests. */
static int set_patience(struct request_ops *ops)
{
    ops->patience_ms = UINT64_C(1000) * sysctl_request_timeout("/proc/sys") / 2;
    if (!ops->patience_ms)
        return 0;
    log_info("requests that wait end after %llu ms, because the kernel aborts a mount after twice that "
             "(fs.fuse.default_request_timeout, max_request_timeout)",
             (unsigned long long)ops->patience_ms);
    return deadline_init(&ops->patience, server.loop);
}

struct entering {
    struct background_job job; /* first: run() gets it back */
    int ruleset;
    int result;
    bool sees; /* whether /proc still shows the thread processes of its user */
};

static enum background_progress enter(struct background_job *job)
{
    struct entering *entering = (struct entering *)job;

    entering->result = sandbox_enter(entering->ruleset);
    entering->sees = process_shares_pids(getppid());
    return BACKGROUND_DONE;
}

static void entered(struct background_job *job)
{
    (void)job;
}

/* A descriptor for sandbox_enter, or -errno with a line in server.error. */
static int paths_to_keep(const struct request_ops *ops)
{
    char parent[PATH_MAX];
    int directories[2];
    int hierarchies[JOB_HIERARCHIES];
    const size_t jobs = job_hierarchies(hierarchies);
    enum { PLACES = 5 };
    struct sandbox_place places[PLACES + JOB_HIERARCHIES] = {
        {.fd = -1, .access = SANDBOX_FILES},
        {.fd = -1, .access = SANDBOX_FILES},
        {.fd = process_proc(), .access = SANDBOX_READ},
        {.path = "/proc/meminfo", .access = SANDBOX_READ},
        /* An arena that has a name may end without a slot; then we remove its directory. */
        {.fd = -1, .access = SANDBOX_REMOVE_DIRECTORY},
    };

    arena_directories(ops->arena, directories);
    places[0].fd = directories[0];
    places[1].fd = directories[1];
    if (arena_kind(ops->arena) == ARENA_DIR) {
        snprintf(parent, sizeof(parent), "%s", ops->conf->arena_path);
        places[PLACES - 1].path = dirname(parent);
    }
    /* Cgroups whose end is the end of slots. */
    for (size_t i = 0; i < jobs; i++)
        places[PLACES + i] = (struct sandbox_place){.fd = hierarchies[i], .access = SANDBOX_READ};
    return sandbox_paths(places, PLACES + jobs, server.error);
}

/* We start all the same where the kernel or /proc does not allow giving up paths. */
static int keep_paths(const char *reason)
{
    log_info("the server keeps its way to files outside of the arena: %s", reason);
    server.error[0] = '\0';
    return 0;
}

/*
 * Each thread has to give up the paths itself. With them it loses the right to trace other processes, and a
 * /proc with hidepid then hides them. The loop has to know its clients: with such a /proc only the helper
 * thread gives the paths up.
 */
static int give_up_paths(const struct request_ops *ops)
{
    struct entering helper = {.job = {.run = enter, .done = entered, .priority = BACKGROUND_URGENT}};
    const bool saw = process_shares_pids(getppid());
    int result;

    helper.ruleset = paths_to_keep(ops);
    if (helper.ruleset == -EOPNOTSUPP)
        return keep_paths(server.error);
    if (helper.ruleset < 0)
        return helper.ruleset;
    background_submit(ops->background, &helper.job);
    background_drain(ops->background);
    result = helper.result;
    if (result == 0 && saw && !helper.sees)
        result = keep_paths("/proc is mounted with hidepid");
    else if (result == 0)
        result = sandbox_enter(helper.ruleset);
    close(helper.ruleset);
    return result;
}

/* The loop's part ends before the transport's. */
static void commit(void *context)
{
    struct request_ops *ops = context;

    if (ops->exchange)
        exchange_commit(ops->exchange);
}

static enum exchange_jobs jobs_of(enum conf_jobs jobs)
{
    switch (jobs) {
    case CONF_JOBS_NO:
        return JOBS_NONE;
    case CONF_JOBS_SLURM:
        return JOBS_OF_SLURM;
    case CONF_JOBS_ALL:
        break;
    }
    return JOBS_ALL;
}

/* Each part needs those before it; tear_down undoes as many as were set up. */
static int set_up(struct request_ops *ops)
{
    const struct exchange_limits limits = {
        .no_waiting = !ops->conf->wait,
        .wait_timeout_ms = ops->conf->wait_timeout_ms,
        .slots_per_user = ops->conf->slots_per_user,
        .bytes_per_user = ops->conf->bytes_per_user,
        .bytes_per_job = ops->conf->bytes_per_job,
        .remove_with_job = jobs_of(ops->conf->remove_with_job),
    };
    struct exchange_hooks hooks = notify_hooks;
    int result;

    hooks.context = ops;
    journal_init(&ops->journal, ops->kept);
    process_open_proc();
    cgroup_open();
    if (ops->conf->remove_with_job != CONF_JOBS_NO)
        job_open_hierarchies();
    result = sandbox_drop_privileges(SANDBOX_SERVER, server.error);
    if (result == 0)
        result = loop_init(&server.loop);
    if (result == 0)
        result = background_init(&ops->background);
    if (result == 0)
        result = watch_fd(&server.completions, background_fd(ops->background), completions_ready);
    if (result == 0)
        result = turn_queue_init(&ops->turns, server.loop);
    if (result == 0)
        result = set_patience(ops);
    if (result == 0 && !(ops->quota = quota_new()))
        result = -ENOMEM;
    if (result == 0)
        result = open_arena(ops);
    if (result == 0)
        result = slots_open(&server.slots, ops->arena, ops->conf->slots, server.error);
    if (result == 0)
        result = transport_init(&ops->transport, ops->session, &ops->journal, ops->conf->passthrough,
                                stacking_of(ops));
    if (result == 0)
        result = exchange_init(&ops->exchange, server.slots, ops->arena, server.loop, &limits, &hooks);
    if (result == 0)
        result = held_init(ops);
    if (result == 0)
        result = follow_init(ops);
    if (result == 0)
        result = watch_signals();
    if (result == 0)
        result = watch_fd(&server.requests, fuse_session_fd(ops->session), requests_ready);
    if (result == 0)
        result = give_up_paths(ops);
    if (result == 0)
        result = sandbox_filter(server.error);
    if (result < 0 && !server.error[0])
        snprintf(server.error, sizeof(server.error), "cannot start: %s", strerror(-result));
    if (result == 0) {
        transport_before_reply(ops->transport, commit, ops);
        request_init(ops);
    }
    return result;
}

/*
 * An invalidation in the helper thread can wait for the answer to a request, so serve the mount until such
 * jobs end. Give up after PATIENCE_MS; a client that still blocks gets an error from the kernel.
 */
static bool finish_urgent_jobs(struct request_ops *ops)
{
    enum { PATIENCE_MS = 15000 };
    uint64_t end = deadline_now_ms() + PATIENCE_MS;
    struct pollfd fds[] = {{.fd = fuse_session_fd(ops->session), .events = POLLIN},
                           {.fd = background_fd(ops->background), .events = POLLIN}};

    ops->closing = true;
    while (background_busy(ops->background, BACKGROUND_URGENT)) {
        uint64_t now = deadline_now_ms();

        if (now >= end)
            return false;
        poll(fds, 2, (int)(end - now));
        if (fds[0].fd >= 0 && transport_serve(ops->transport) == TRANSPORT_UNMOUNTED)
            fds[0].fd = -1;
        background_dispatch(ops->background);
    }
    return true;
}

/* Remove files only after a clean stop that knows of no slot: "no slots" is not "slots not read". */
static enum arena_end end_of_arena(int status)
{
    if (!server.restored)
        return ARENA_UNDO;
    return status == 0 && slots_count(server.slots) == 0 ? ARENA_REMOVE : ARENA_KEEP;
}

static void tear_down(struct request_ops *ops, int status)
{
    enum arena_end end = end_of_arena(status);

    if (ops->exchange && !finish_urgent_jobs(ops))
        _exit(1);
    if (server.loop)
        turn_queue_deinit(ops->turns, server.loop);
    follow_deinit(ops);
    held_deinit(ops);
    daemon_files_deinit(&ops->files);
    exchange_deinit(ops->exchange);
    ops->exchange = NULL;
    deadline_deinit(ops->patience);
    slots_close(server.slots);
    arena_close(ops->arena, end);
    if (server.loop && server.completions.fd >= 0)
        loop_remove(server.loop, &server.completions);
    background_deinit(ops->background);
    /* Keep the session: destroying it would lose the mount point's name, and only unmounting frees it. */
    transport_deinit(ops->transport);
    if (server.signals.fd >= 0)
        close(server.signals.fd);
    loop_deinit(server.loop);
}

/* --- taking over --- */

static bool has_answer(void *context, uint64_t unique)
{
    const struct request_ops *ops = context;

    return !transport_awaits(ops->transport, unique);
}

static void tell_takeover(const struct session_head *head, unsigned long long duration)
{
    switch (server.start->how) {
    case JOURNAL_HANDED_OVER:
        log_info("pyrmapfs %s serves the mount now, after %llu ms (takeover %u)", PYRMAPFS_VERSION, duration,
                 head->takeovers);
        break;
    case JOURNAL_CRASHED:
    case JOURNAL_KILLED:
        log_warning("the server %s; another one has taken over after %llu ms (takeover %u)",
                    server.start->cause, duration, head->takeovers);
        break;
    }
}

/* What clients have open and mapped stays, and their requests go on: nobody notices but for the time it takes. */
static int take_over(struct request_ops *ops)
{
    const struct session_head *head = ops->journal.head;
    int result = transport_take_over(ops->transport);
    uint64_t took_us;

    if (result == 0)
        reopen_backings(ops);
    if (result == 0)
        result = ops_settle_data_path(ops, server.error);
    if (result == 0 && (uint32_t)exchange_data_path(ops->exchange) != head->data_path)
        result = -EPROTO; /* clients have files open by the other one */
    if (result == 0)
        result = exchange_restore(ops->exchange, EXCHANGE_TAKES_OVER, server.error);
    if (result < 0)
        return result;
    server.restored = true;
    journal_look(&ops->journal, exchange_slots(ops->exchange), server.start->how);
    result = reopen_all(ops);
    if (result == 0) {
        if (events_wanted(exchange_events(ops->exchange)))
            events_of_takeover(exchange_events(ops->exchange));
        exchange_go_on(ops->exchange, EXCHANGE_TAKES_OVER);
        notify_all(ops);
    }
    if (result == 0)
        result = transport_resend(ops->transport);
    if (result < 0)
        return result;
    reopen_settle(ops);
    journal_sweep(&ops->journal, has_answer, ops);
    took_us = deadline_now_us() - server.start->died_ms * 1000;
    ops->journal.head->takeovers++;
    histogram_add(&ops->journal.head->takeover_times, took_us);
    tell_takeover(head, took_us / 1000);
    serves(ops);
    while (transport_has_resent(ops->transport)) {
        if (transport_serve(ops->transport) == TRANSPORT_UNMOUNTED)
            return 0; /* the loop will see it as well */
    }
    reopen_wake_polls(ops);
    return 0;
}

int server_probe(struct request_ops *ops, char error[CONF_ERROR_MAX])
{
    struct arena_options options = arena_options_of(ops);
    struct slots *slots;
    int result = arena_look(&ops->arena, &options, error);

    if (result == 0)
        result = slots_open(&slots, ops->arena, ops->conf->slots, error);
    if (result < 0)
        return result;
    journal_init(&ops->journal, ops->kept);
    result = transport_init(&ops->transport, ops->session, &ops->journal, ops->conf->passthrough,
                            stacking_of(ops));
    if (result == 0)
        result = transport_take_over(ops->transport);
    if (result < 0)
        snprintf(error, CONF_ERROR_MAX,
                 "this version, or its libfuse, would have agreed on other terms with the "
                 "kernel: end the mount and start it again");
    return result;
}

void server_clean_up(const struct request_ops *ops)
{
    struct kept_place *place = kept_place(&ops->kept->arena);

    if (!place)
        return;
    page_retire_all(place->kind == ARENA_MEMFD ? PAGE_OF_THIS_PROCESS : place->filesfd);
    if (place->lockfd >= 0)
        close(place->lockfd);
    if (place->filesfd >= 0 && place->filesfd != place->dirfd)
        close(place->filesfd);
    if (place->dirfd >= 0)
        close(place->dirfd);
    keep_drop(&ops->kept->arena.places, 0);
}

bool server_lacks(int error)
{
    return error == -EAGAIN || error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -ENOSPC;
}

int server_run(struct request_ops *ops, const struct server_start *start)
{
    struct session_head *head = session_head(ops->kept);
    int status = SERVER_FAILED;
    int result;

    server.ops = ops;
    server.start = start;
    server.takes_over = head->serves;
    head->server = getpid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != start->supervisor) /* it ended before we asked for the signal */
        raise(SIGTERM);
    prctl(PR_SET_NAME, "pyrmapfs-server");
    tzset(); /* reads files */
    result = set_up(ops);
    if (result == 0 && server.takes_over)
        result = take_over(ops);
    if (result < 0 && server.takes_over) {
        if (!start->again)
            log_error("the session could not be taken over: %s",
                      server.error[0] ? server.error : strerror(-result));
        /* What the last server left stays for the next one. */
        _exit(server_lacks(result) ? SERVER_LACKS : SERVER_FAILED);
    }
    if (result < 0)
        report(server.error);
    else
        status = loop_run(server.loop);
    if (status < 0) {
        log_error("the loop failed: %s", strerror(-status));
        status = SERVER_FAILED;
    }
    if (status != SERVER_STOPPED && server.restored)
        _exit(SERVER_FAILED);
    tear_down(ops, status);
    return status;
}
