// SPDX-License-Identifier: Apache-2.0
/*
 * child.c - starting, hearing and ending the session's processes.
 */
#include "child.h"

#include "collect.h"
#include "slot.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <R_ext/Utils.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 4096, STOP_MS = 2000 };

/* The descriptors of a child. The last one it has only where its standard error comes to R. */
enum { STREAMS = CHILD_OUTPUTS + 1 };

double seconds_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

struct child *child_get(SEXP pointer)
{
    struct child *child = TYPEOF(pointer) == EXTPTRSXP ? R_ExternalPtrAddr(pointer) : NULL;
    return child && child->creator == getpid() ? child : NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool child_alive(const struct child *child)
{
    siginfo_t info = {.si_pid = 0};
    if (child->pid < 0)
        return false;
    return waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

/* We signal the group before we wait for the child: after that the number may be another group's. */
static void child_end(struct child *child)
{
    if (child->pid < 0)
        return;
    double deadline = seconds_now() + STOP_MS / 1000.0;
    const struct timespec pause = {.tv_nsec = 1000000};
    kill(-child->pid, child->signal);
    while (child->signal != SIGKILL && child_alive(child) && seconds_now() < deadline)
        nanosleep(&pause, NULL);
    kill(-child->pid, SIGKILL);
    while (waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
        continue;
    child->pid = -1;
    close_fd(&child->pidfd);
}

static void finalize_child(SEXP pointer)
{
    struct child *child = R_ExternalPtrAddr(pointer);
    if (!child)
        return;
    if (child->creator == getpid())
        child_end(child);
    close_fd(&child->pidfd);
    for (int i = 0; i < CHILD_OUTPUTS; i++)
        close_fd(&child->output[i]);
    free(child->warnings.text);
    R_ClearExternalPtr(pointer);
    free(child);
}

/*
 * Runs in the child, between fork and exec: it makes system calls only. The child dies by a signal if it
 * cannot become what it should.
 */
static void become(char *const argv[], char *const envp[], const int fds[STREAMS], int death_signal,
                   pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, death_signal);
    if (getppid() != parent)
        raise(SIGKILL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    /* open_streams() has put each above these places, so that dup2 overwrites none that it has still to place. */
    int count = 0;
    while (count < STREAMS && fds[count] >= 0 && dup2(fds[count], count) == count)
        count++;
    close_range((unsigned)count, ~0U, 0);
    execve(argv[0], argv, envp);
    raise(SIGKILL);
}

static int above_places(int fd)
{
    if (fd < 0 || fd >= STREAMS)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, STREAMS);
    close(fd);
    return moved;
}

/* Opens pipes. With a log, standard error goes there, and there is no pipe for warnings. 0 or -errno. */
static int open_streams(const char *log, int theirs[STREAMS], int ours[CHILD_OUTPUTS])
{
    theirs[0] = above_places(open("/dev/null", O_RDONLY | O_CLOEXEC));
    int error = theirs[0] < 0 ? -errno : 0;
    for (int i = 1; i < STREAMS; i++) {
        int ends[2] = {-1, -1};
        theirs[i] = -1;
        if (log && i > STDERR_FILENO)
            continue;
        if (log && i == STDERR_FILENO)
            ends[1] = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        else if (pipe2(ends, O_CLOEXEC) == 0)
            fcntl(ends[0], F_SETFL, O_NONBLOCK);
        ours[i - 1] = ends[0];
        theirs[i] = above_places(ends[1]);
        if (theirs[i] < 0)
            return -errno;
    }
    return error;
}

static void close_streams(int theirs[STREAMS], int ours[CHILD_OUTPUTS])
{
    for (int i = 0; i < STREAMS; i++)
        close_fd(&theirs[i]);
    for (int i = 0; ours && i < CHILD_OUTPUTS; i++)
        close_fd(&ours[i]);
}

static char **strings(SEXP vector)
{
    char **list = (char **)R_alloc((size_t)LENGTH(vector) + 1, sizeof(char *));
    for (int i = 0; i < LENGTH(vector); i++)
        list[i] = (char *)Rf_translateChar(STRING_ELT(vector, i));
    list[LENGTH(vector)] = NULL;
    return list;
}

SEXP pyrmap_environment(void)
{
    R_xlen_t count = 0;
    while (environ && environ[count])
        count++;
    SEXP variables = PROTECT(Rf_allocVector(STRSXP, count));
    for (R_xlen_t i = 0; i < count; i++)
        SET_STRING_ELT(variables, i, Rf_mkChar(environ[i]));
    UNPROTECT(1);
    return variables;
}

/* The strings that environ had when we looked last, one after the other. */
static struct {
    char *strings;
    size_t size;
    int version;
} seen;

static bool environment_is_as_seen(size_t *size)
{
    bool same = true;
    *size = 0;
    for (char **variable = environ; variable && *variable; variable++) {
        size_t length = strlen(*variable) + 1;
        same = same && *size + length <= seen.size && memcmp(seen.strings + *size, *variable, length) == 0;
        *size += length;
    }
    return same && *size == seen.size;
}

SEXP pyrmap_environment_version(void)
{
    size_t size;
    if (environment_is_as_seen(&size))
        return Rf_ScalarInteger(seen.version);
    char *strings = realloc(seen.strings, size + 1);
    if (strings) {
        seen.strings = strings;
        seen.size = size;
        for (char **variable = environ; variable && *variable; variable++)
            strings = stpcpy(strings, *variable) + 1;
    }
    return Rf_ScalarInteger(++seen.version);
}

SEXP pyrmap_child_start(SEXP argv, SEXP environment, SEXP log, SEXP signal)
{
    char **arguments = strings(argv), **variables = strings(environment);
    const char *log_path = log == R_NilValue ? NULL : Rf_translateChar(STRING_ELT(log, 0));
    struct child *child = calloc(1, sizeof(*child));
    if (!child)
        raise_system(ENOMEM, "start", arguments[0]);
    *child = (struct child){
        .creator = getpid(), .pid = -1, .pidfd = -1, .signal = Rf_asInteger(signal), .output = {-1, -1, -1}};
    SEXP pointer = PROTECT(R_MakeExternalPtr(child, R_NilValue, R_NilValue));
    R_RegisterCFinalizerEx(pointer, finalize_child, TRUE);
    int theirs[STREAMS] = {-1, -1, -1, -1};
    int error = open_streams(log_path, theirs, child->output);
    if (collected_for(error)) {
        close_streams(theirs, child->output);
        error = open_streams(log_path, theirs, child->output);
    }
    if (!error) {
        pid_t parent = getpid();
        child->pid = fork();
        if (child->pid == 0)
            become(arguments, variables, theirs, child->signal, parent);
        error = child->pid < 0 ? -errno : 0;
    }
    /* Both sides do it, so that the group is there whichever of them is first. */
    if (!error) {
        setpgid(child->pid, child->pid);
        child->pidfd = pidfd_open(child->pid, 0);
    }
    close_streams(theirs, NULL);
    if (error)
        raise_system(-error, "start", arguments[0]);
    UNPROTECT(1);
    return pointer;
}

/* Where Python's output goes, and what it was if that is CAPTURE. */
static struct {
    enum output { CONSOLE, SILENT, CAPTURE } output;
    struct heard kept;
} captured;

SEXP pyrmap_output(SEXP output, SEXP forget)
{
    captured.output = (enum output)Rf_asInteger(output);
    if (Rf_asLogical(forget))
        captured.kept.size = 0;
    return R_NilValue;
}

static void append(struct heard *text, const char *bytes, size_t size)
{
    if (text->size + size > text->room) {
        size_t room = 2 * (text->size + size);
        char *more = room < INT_MAX ? realloc(text->text, room) : NULL;
        if (!more)
            return;
        text->text = more;
        text->room = room;
    }
    memcpy(text->text + text->size, bytes, size);
    text->size += size;
}

/* Empties the text. What was in it, as an R string. */
static SEXP take_text(struct heard *text)
{
    /* A string of R cannot have a nul. */
    size_t size = 0;
    for (size_t i = 0; i < text->size; i++)
        if (text->text[i])
            text->text[size++] = text->text[i];
    text->size = 0;
    SEXP string = PROTECT(Rf_mkCharLenCE(size ? text->text : "", (int)size, CE_UTF8));
    SEXP answer = Rf_ScalarString(string);
    UNPROTECT(1);
    return answer;
}

SEXP pyrmap_captured(void)
{
    return take_text(&captured.kept);
}

SEXP pyrmap_child_warnings(SEXP pointer)
{
    struct child *child = child_get(pointer);
    return child && child->warnings.size > 0 ? take_text(&child->warnings) : R_NilValue;
}

/* bytes[size] can be written to. */
static void pass_on(char *bytes, size_t size, int stream)
{
    bytes[size] = '\0';
    if (captured.output == CAPTURE)
        append(&captured.kept, bytes, size);
    if (captured.output != CONSOLE)
        return;
    for (size_t start = 0; start < size; start += strlen(bytes + start) + 1)
        (stream == 0 ? Rprintf : REprintf)("%s", bytes + start);
}

/* Keeps the last TAIL_MAX bytes of a child's standard error. */
static void remember(struct child *child, const char *bytes, size_t size)
{
    if (size > TAIL_MAX) {
        bytes += size - TAIL_MAX;
        size = TAIL_MAX;
    }
    size_t kept = child->tail_size < TAIL_MAX - size ? child->tail_size : TAIL_MAX - size;
    memmove(child->tail, child->tail + child->tail_size - kept, kept);
    memcpy(child->tail + kept, bytes, size);
    child->tail_size = kept + size;
}

/* Reads one chunk. The number of its bytes, 0 if there are none now, -1 at the end. */
static ssize_t read_chunk(int *fd, char *buffer, size_t size)
{
    if (*fd < 0)
        return -1;
    ssize_t got = read(*fd, buffer, size);
    if (got > 0)
        return got;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    close_fd(fd);
    return -1;
}

void child_relay(struct child *child)
{
    char buffer[CHUNK + 1];
    ssize_t got;
    for (int i = 0; i < 2; i++) {
        while ((got = read_chunk(&child->output[i], buffer, CHUNK)) > 0) {
            if (i == 1)
                remember(child, buffer, (size_t)got);
            pass_on(buffer, (size_t)got, i);
        }
    }
    while ((got = read_chunk(&child->output[2], buffer, CHUNK)) > 0)
        append(&child->warnings, buffer, (size_t)got);
}

/* Whether the line "ready" came; what follows it stays in the pipe. at: how many of its letters came, or -1. */
static bool read_ready(int *fd, int *at)
{
    static const char word[] = "ready";
    const int all = sizeof(word) - 1;
    char byte;
    while (read_chunk(fd, &byte, 1) > 0) {
        if (byte == '\n' && *at == all)
            return true;
        if (byte == '\n')
            *at = 0;
        else if (*at >= 0 && *at < all)
            *at = byte == word[*at] ? *at + 1 : -1;
    }
    return false;
}

SEXP pyrmap_child_ready(SEXP pointer, SEXP timeout)
{
    struct child *child = child_get(pointer);
    if (!child)
        Rf_error("this process was stopped");
    char error[CHUNK];
    int at = 0;
    double deadline = seconds_now() + Rf_asReal(timeout);
    bool ready;
    while (!(ready = read_ready(&child->output[0], &at)) && child->output[0] >= 0 &&
           seconds_now() < deadline) {
        struct pollfd fds[2] = {{.fd = child->output[0], .events = POLLIN},
                                {.fd = child->output[1], .events = POLLIN}};
        ssize_t got;
        poll(fds, 2, 100);
        R_CheckUserInterrupt();
        while ((got = read_chunk(&child->output[1], error, sizeof(error))) > 0)
            remember(child, error, (size_t)got);
    }
    if (!ready)
        child->signal = SIGKILL;
    return Rf_ScalarLogical(ready);
}

SEXP pyrmap_child_end(SEXP pointer)
{
    struct child *child = child_get(pointer);
    if (!child)
        return R_NilValue;
    child_end(child);
    child_relay(child);
    bool signalled = WIFSIGNALED(child->status);
    const char *name = signalled ? sigabbrev_np(WTERMSIG(child->status)) : NULL;
    const char *names[] = {"status", "signal", "meaning", "text", ""};
    SEXP answer = PROTECT(Rf_mkNamed(VECSXP, names));
    SET_VECTOR_ELT(answer, 0,
                   Rf_ScalarInteger(WIFEXITED(child->status) ? WEXITSTATUS(child->status) : NA_INTEGER));
    SET_VECTOR_ELT(answer, 1, name ? Rf_mkString(name) : Rf_ScalarString(NA_STRING));
    SET_VECTOR_ELT(answer, 2, Rf_mkString(signalled ? strsignal(WTERMSIG(child->status)) : ""));
    size_t size = strnlen(child->tail, child->tail_size);
    SET_VECTOR_ELT(answer, 3, Rf_ScalarString(Rf_mkCharLenCE(child->tail, (int)size, CE_UTF8)));
    UNPROTECT(1);
    return answer;
}

SEXP pyrmap_child_pid(SEXP pointer)
{
    const struct child *child = child_get(pointer);
    return Rf_ScalarInteger(child && child->pid > 0 ? child->pid : NA_INTEGER);
}

SEXP pyrmap_child_alive(SEXP pointer)
{
    const struct child *child = child_get(pointer);
    return Rf_ScalarLogical(child && child_alive(child));
}
