// SPDX-License-Identifier: Apache-2.0
/*
 * child.c - starting, hearing and ending the session's processes.
 */
#include "child.h"

#include "collect.h"
#include "slot.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <R_ext/Utils.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 4096, TEXT_MAX = 65536, STOP_MS = 2000 };

static double now(void)
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

bool child_alive(struct child *child)
{
    if (!child->ended && waitpid(child->pid, &child->status, WNOHANG) != 0)
        child->ended = true;
    return !child->ended;
}

static void child_end(struct child *child, int signal)
{
    close_fd(&child->command);
    if (signal > 0 && child_alive(child))
        kill(child->pid, signal);
    double deadline = now() + STOP_MS / 1000.0;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (child_alive(child) && now() < deadline)
        nanosleep(&pause, NULL);
    if (child_alive(child)) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &child->status, 0);
        child->ended = true;
    }
}

static void finalize_child(SEXP pointer)
{
    struct child *child = R_ExternalPtrAddr(pointer);
    if (!child)
        return;
    if (child->creator == getpid())
        child_end(child, SIGTERM);
    close_fd(&child->command);
    close_fd(&child->output[0]);
    close_fd(&child->output[1]);
    R_ClearExternalPtr(pointer);
    free(child);
}

/* In the child, between fork and exec: system calls only. It dies by a signal if it cannot become what it
 * should. */
static void become(char *const argv[], char *const envp[], const int fds[3], int death_signal, pid_t parent)
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
    /* Each of the three lies above 2, so that none is overwritten before it is placed. */
    for (int i = 0; i < 3; i++)
        dup2(fds[i], i);
    close_range(3, ~0U, 0);
    execve(argv[0], argv, envp);
    raise(SIGKILL);
}

static int above_standard(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return moved;
}

static void close_fds(int fds[], int count)
{
    for (int i = 0; i < count; i++)
        close_fd(&fds[i]);
}

/* Input, output and error, a pair each: [0] to read from, [1] to write to. 0 or -errno. */
static int open_streams(const char *log, int fds[6])
{
    for (int i = 0; i < 6; i++)
        fds[i] = -1;
    bool opened;
    if (log) {
        fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fds[5] = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        opened = fds[0] >= 0 && fds[5] >= 0;
    } else {
        opened =
            socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0 && pipe2(fds + 4, O_CLOEXEC) == 0;
    }
    if (opened && pipe2(fds + 2, O_CLOEXEC) == 0)
        return 0;
    int error = -errno;
    close_fds(fds, 6);
    return error;
}

/* Fills theirs[3] and ours[3]; -1 where there is none. 0 or -errno. */
static int make_pipes(const char *log, int theirs[3], int ours[3])
{
    int fds[6];
    int error = open_streams(log, fds);
    if (collected_for(error))
        error = open_streams(log, fds);
    if (error)
        return error;
    theirs[0] = above_standard(fds[0]);
    theirs[1] = above_standard(fds[3]);
    theirs[2] = above_standard(fds[5]);
    ours[0] = fds[1];
    ours[1] = fds[2];
    ours[2] = fds[4];
    for (int i = 1; i < 3; i++)
        if (ours[i] >= 0)
            fcntl(ours[i], F_SETFL, O_NONBLOCK);
    return 0;
}

static char **strings(SEXP vector)
{
    char **list = (char **)R_alloc((size_t)LENGTH(vector) + 1, sizeof(char *));
    for (int i = 0; i < LENGTH(vector); i++)
        list[i] = (char *)Rf_translateChar(STRING_ELT(vector, i));
    list[LENGTH(vector)] = NULL;
    return list;
}

SEXP pyrmap_child_start(SEXP argv, SEXP environment, SEXP log, SEXP signal)
{
    char **arguments = strings(argv), **variables = strings(environment);
    const char *log_path = log == R_NilValue ? NULL : Rf_translateChar(STRING_ELT(log, 0));
    int death_signal = Rf_asInteger(signal);
    struct child *child = calloc(1, sizeof(*child));
    if (!child)
        raise_system(ENOMEM, "start", arguments[0]);
    *child = (struct child){.creator = getpid(), .pid = -1, .command = -1, .output = {-1, -1}, .ended = true};
    SEXP pointer = PROTECT(R_MakeExternalPtr(child, R_NilValue, R_NilValue));
    R_RegisterCFinalizerEx(pointer, finalize_child, TRUE);
    int theirs[3] = {-1, -1, -1}, ours[3] = {-1, -1, -1};
    int error = make_pipes(log_path, theirs, ours);
    if (!error) {
        child->command = ours[0];
        child->output[0] = ours[1];
        child->output[1] = ours[2];
        pid_t parent = getpid();
        child->pid = fork();
        if (child->pid == 0)
            become(arguments, variables, theirs, death_signal, parent);
        error = child->pid < 0 ? -errno : 0;
        child->ended = child->pid < 0;
    }
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (error)
        raise_system(-error, "start", arguments[0]);
    UNPROTECT(1);
    return pointer;
}

/* Reads one chunk. Bytes, 0 when there is nothing now, -1 at the end. */
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

bool child_relay(struct child *child)
{
    char buffer[CHUNK + 1];
    bool open = false;
    for (int i = 0; i < 2; i++) {
        ssize_t got;
        while ((got = read_chunk(&child->output[i], buffer, CHUNK)) > 0) {
            buffer[got] = '\0';
            for (ssize_t start = 0; start < got; start += (ssize_t)strlen(buffer + start) + 1)
                (i == 0 ? Rprintf : REprintf)("%s", buffer + start);
        }
        open = open || got == 0;
    }
    return open;
}

/* Appends what came on a stream to text. Whether the stream is still open. */
static bool collect(int *fd, char text[TEXT_MAX], size_t *size)
{
    ssize_t got;
    while ((got = read_chunk(fd, text + *size, TEXT_MAX - 1 - *size)) > 0)
        *size += (size_t)got;
    text[*size] = '\0';
    return got == 0 && *size < TEXT_MAX - 1;
}

/* A whole line: its end would otherwise be taken for output. */
static bool is_ready(const char *output)
{
    const char *line = strncmp(output, "ready", 5) == 0 ? output : strstr(output, "\nready");
    return line && strchr(line + 1, '\n');
}

SEXP pyrmap_child_ready(SEXP pointer, SEXP timeout)
{
    struct child *child = child_get(pointer);
    if (!child)
        Rf_error("this process was stopped");
    static char output[TEXT_MAX], error[TEXT_MAX];
    size_t output_size = 0, error_size = 0;
    double deadline = now() + Rf_asReal(timeout);
    bool ready = false, open = true;
    while (!ready && open && now() < deadline) {
        struct pollfd fds[2] = {{.fd = child->output[0], .events = POLLIN},
                                {.fd = child->output[1], .events = POLLIN}};
        poll(fds, 2, 100);
        R_CheckUserInterrupt();
        open = collect(&child->output[0], output, &output_size);
        collect(&child->output[1], error, &error_size);
        ready = is_ready(output);
    }
    if (!ready)
        child_end(child, SIGKILL);
    const char *names[] = {"ready", "status", "text", ""};
    SEXP answer = PROTECT(Rf_mkNamed(VECSXP, names));
    SET_VECTOR_ELT(answer, 0, Rf_ScalarLogical(ready));
    int status = !ready && WIFEXITED(child->status) ? WEXITSTATUS(child->status) : NA_INTEGER;
    SET_VECTOR_ELT(answer, 1, Rf_ScalarInteger(status));
    SET_VECTOR_ELT(answer, 2, Rf_mkString(error));
    UNPROTECT(1);
    return answer;
}

bool child_send(struct child *child, const char *text)
{
    if (!child || child->command < 0)
        return false;
    size_t size = strlen(text);
    for (size_t sent = 0; sent < size;) {
        ssize_t got = send(child->command, text + sent, size - sent, MSG_NOSIGNAL);
        if (got < 0 && errno != EINTR)
            return false;
        sent += got > 0 ? (size_t)got : 0;
    }
    return true;
}

SEXP pyrmap_child_send(SEXP pointer, SEXP line)
{
    return Rf_ScalarLogical(child_send(child_get(pointer), CHAR(STRING_ELT(line, 0))));
}

SEXP pyrmap_child_news(SEXP pointer)
{
    const struct child *child = child_get(pointer);
    static char text[TEXT_MAX];
    ssize_t got = child && child->command >= 0 ? recv(child->command, text, TEXT_MAX - 1, MSG_DONTWAIT) : 0;
    text[got > 0 ? got : 0] = '\0';
    return Rf_mkString(text);
}

SEXP pyrmap_child_relay(SEXP pointer)
{
    struct child *child = child_get(pointer);
    return Rf_ScalarLogical(child && child_relay(child));
}

SEXP pyrmap_child_alive(SEXP pointer)
{
    struct child *child = child_get(pointer);
    return Rf_ScalarLogical(child && child_alive(child));
}

SEXP pyrmap_child_stop(SEXP pointer, SEXP signal)
{
    struct child *child = child_get(pointer);
    if (!child)
        return Rf_ScalarInteger(NA_INTEGER);
    child_end(child, Rf_asInteger(signal));
    int status = WIFEXITED(child->status) ? WEXITSTATUS(child->status) : NA_INTEGER;
    finalize_child(pointer);
    return Rf_ScalarInteger(status);
}
