// SPDX-License-Identifier: Apache-2.0
/*
 * main.c - reads options and configuration, then runs the supervisor.
 *
 * The modules. A folder includes only folders below it, a file only files below it in its own:
 *
 * daemon/      processes
 *   supervisor     mounts, forks the server, and another one when that dies, passes signals on, unmounts
 *   launch         the process that the user starts, and its word
 *   death          how servers ended, and whether too often
 *   upgrade        asks another version of this program whether it could go on
 *   handover       what that is told, and how the supervisor becomes it
 *   keeper         cleans up when both are killed
 *   server         puts the parts together and runs the loop
 *   service        tells the service manager how far we are
 *   place          where clients reach the arena's private filesystems
 *   mount          the mount point: checked, cleared of a stale mount, mounted and unmounted
 *   sandbox        takes from each process the rights that it does not need
 * fuse/        the kernel's requests
 *   ops            the table, and requests about the whole filesystem
 *   ops_name       requests that take names: lookup, mkdir, rename, chains, listings
 *   ops_attr       requests about attributes, sizes among them
 *   ops_file       requests about open files
 *   follow         reads of .pyrmap/events, which wait
 *   reopen         the open files of a server that was killed
 *   opened         open files between the answer to OPEN and RELEASE
 *   held           requests and answers that wait until a slot is at rest
 *   parked         requests that are answered later
 *   seek           reads far into a text view
 *   links          symlinks to the pages, where there is no passthrough
 *   stored         stores through a mapping of metadata.bin
 *   notify         what we tell the kernel without being asked
 *   attributes     what stat shows, and for how long the kernel may believe it
 *   request        one request: what it works on, who made it, its one reply
 *   nodeid         nodeid <-> slot and file
 *   form           whether a request is as long as its kind needs, and lies in its file
 *   transport      passthrough, and sessions that go on with another server, which libfuse does not know
 *   journal        what became of the requests that had no answer when a server was killed
 *   session        what a mount is, apart from the server that serves it now
 * files/       what the small files show and take
 *   slot_files     the files of a slot, a table row each
 *   daemon_files   the files of .pyrmap, a table row each
 *   report         what metadata.txt says
 *   event_lines    what a reader of .pyrmap/events gets
 *   shown          the arrays that views show
 *   take           an array in one read of metadata.bin
 *   drawing        the pictures as texts, drawn in turns, shared by all readers
 *   graph          the chains as pictures
 *   snapshot       a text as it was at one moment, on the account of its readers
 * exchange/    whose turn it is, and pipelines
 *   exchange       slots: how they come, change hands and go
 *   publish        judges writes of the record and of error
 *   put            publishes an array that comes along with the record
 *   array          opens, sizes and moves data.bin and result.bin
 *   run            retries what a step made possible
 *   chain          links between slots, and what goes along them
 *   copy           makes the segment of an inline array
 *   salvage        slots that a damaged index has lost
 *   step           takes the steps that a verdict allows
 *   durable        commits to the index, and to the disk
 *   account        what the bytes of slots are charged to
 *   wait           parked requests, and the queue of slots to look at
 *   events         what happens to slots, for readers of it
 *   jobs           the jobs that slots were made in, and their end
 *   refuse         counts, remembers and tells what was refused
 *   shared         the inside of an exchange, for these files
 *   terms          what the layers above settle for it
 * slot/        the table of slots
 *   restore        makes the table from the index
 *   slot           the table
 *   table          its inside
 *   page           the record as clients map it
 *   text           task and error
 *   quota          what each user and each job has: slots, bytes, open files, memory
 *   handle         an open file
 *   entry          one slot, and which part of it the index keeps
 *   sound          what the index says of a slot, before we believe it
 *   index          the file in which slots outlast the server: two copies of each
 *   slot_file      the files of a slot, by number and by name
 * arena/       memory
 *   arena          where segments live
 *   reserve        sizes and pages, given in the background
 *   segment        the pages behind an array in one round
 *   ledger         the books: allocated, warm, left
 *   warm           recycles the files of freed segments
 *   backing        the files behind segments
 *   grant          which other users may open such a file
 *   named          the daemon's own files
 *   store          the place that all these files are in
 *   huge           huge pages for memfds
 *   hidden         names that nobody can guess
 *   kept           what a server that is killed leaves to the next one
 * protocol/    what clients see, pure functions
 *   handshake      state x event -> verdict
 *   record_text    the record as key=value lines
 *   record         the 128-byte record
 *   view           data.txt, data.npy and so on
 *   bundle_text    a bundle for people
 *   bundle         several arrays in one
 *   json           JSON that a client wrote, walked in place
 *   number         one value as the shortest text that reads back
 * base/        knows nothing of pyrmapfs
 *   process        watches processes: pidfds
 *   caller         the user, thread and process that make a request
 *   deadline       one-shot deadlines
 *   descriptors    the limit of open files, a reserve below it, and processes that share them
 *   keep           tables that outlive the process which writes them
 *   background     the helper thread
 *   turn           long work, done in turns
 *   loop           epoll
 *   lock           flock that does not wait for ever
 *   log            lines for people
 *   histogram      how often something took how long
 *   memory         how much memory the machine can spare
 *   cgroup         how much the memory cgroup can
 *   job            the job that a process is in, and whether that is over
 *   hierarchy      where cgroups are mounted
 *   sysctl         the kernel's settings that concern a FUSE server
 *   checksum       tells torn and flipped bytes
 *   container      from a member to its struct
 */
#include "base/cgroup.h"
#include "base/log.h"
#include "conf.h"
#include "daemon/mount.h"
#include "daemon/supervisor.h"
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_USAGE = 2 };

/* Options without a letter. */
enum { OPTION_CLEAR = 256, OPTION_PROBE, OPTION_RESUME };

static const char usage[] = "usage: pyrmapfs [-f | --clear] [-c FILE] [-o section.key=value]... MOUNTPOINT\n";

static void help(void)
{
    printf("%s"
           "Exchange arrays between R, Python and others through files that are mapped, not copied.\n"
           "\n"
           "  -f             stay in the foreground, log to stderr; \"ready\" on stdout tells that it is "
           "mounted\n"
           "  -c FILE        read this configuration instead of %s\n"
           "  -o KEY=VALUE   override one key of the configuration; may be given again\n"
           "  --clear        clear a dead mount, of which all processes were killed; a live one stays\n"
           "  -h, --help     this text\n"
           "  -V, --version  the version\n"
           "\n"
           "umount, fusermount3 -u, SIGTERM and SIGINT end it; SIGHUP has the program that is installed now "
           "take\n"
           "over. Exit status: 0, 1 on failure, 2 on wrong usage or configuration.\n"
           "\n"
           "Configuration:\n",
           usage, CONF_DEFAULT_FILE);
    conf_print_help(stdout);
}

static int fail(const char *error)
{
    fprintf(stderr, "pyrmapfs: %s\n", error);
    return STATUS_USAGE;
}

static int configure(struct conf *conf, const char *file, char *const overrides[], int count)
{
    char error[CONF_ERROR_MAX] = "";

    cgroup_open();
    conf_set_memory(cgroup_limit());
    cgroup_close(); /* each server opens it for itself */
    conf_init(conf);
    if (!file && access(CONF_DEFAULT_FILE, F_OK) == 0)
        file = CONF_DEFAULT_FILE;
    if (file && conf_read(conf, file, error) < 0)
        return fail(error);
    for (int i = 0; i < count; i++) {
        if (conf_override(conf, overrides[i], error) < 0)
            return fail(error);
    }
    return conf_check(conf, error) < 0 ? fail(error) : 0;
}

static enum log_level log_level_of(const struct conf *conf)
{
    switch (conf->log_level) {
    case CONF_LOG_ERROR:
        return LOG_LEVEL_ERROR;
    case CONF_LOG_WARNING:
        return LOG_LEVEL_WARNING;
    case CONF_LOG_INFO:
        return LOG_LEVEL_INFO;
    case CONF_LOG_DEBUG:
        break;
    }
    return LOG_LEVEL_DEBUG;
}

static int clear_mount(const char *mountpoint)
{
    switch (mount_clear(mountpoint)) {
    case MOUNT_GONE:
        break;
    case MOUNT_WAS_DEAD:
        log_info("a dead mount at %s was cleared", mountpoint);
    }
    return 0;
}

/* What the command line says. */
struct arguments {
    enum supervisor_mode mode;
    const char *file;
    char **overrides;
    int count;    /* of them */
    int handover; /* OPTION_PROBE, OPTION_RESUME or 0, */
    int fd;       /* and its value */
    bool clear;
};

/*
 * The command line for a program that goes on with the mount, perhaps in another directory. The file's path is made
 * absolute where it can be; else that program says what is wrong. NULL: out of memory.
 */
static char **make_command(char *name, const struct arguments *arguments, char *mountpoint)
{
    static char foreground[] = "-f", configuration[] = "-c", key[] = "-o";
    char **words = calloc((size_t)(2 * arguments->count) + 7, sizeof(*words));
    char **next = words;

    if (!words)
        return NULL;
    *next++ = name;
    next++; /* for the option of a handover */
    if (arguments->mode == SUPERVISOR_FOREGROUND)
        *next++ = foreground;
    if (arguments->file) {
        char *absolute = realpath(arguments->file, NULL);

        *next++ = configuration;
        *next++ = absolute ? absolute : strdup(arguments->file);
    }
    for (int i = 0; i < arguments->count; i++) {
        *next++ = key;
        *next++ = arguments->overrides[i];
    }
    *next = mountpoint;
    return words;
}

static int run(struct conf *conf, char *name, const struct arguments *arguments, char *mountpoint)
{
    static char program[PATH_MAX];
    const struct handover_command command = {.words = make_command(name, arguments, mountpoint),
                                             .program = program};
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

    if (!command.words)
        return 1;
    program[length > 0 ? length : 0] = '\0';
    if (arguments->handover == OPTION_RESUME)
        return supervisor_resume(conf, mountpoint, &command, arguments->fd);
    return supervisor_run(conf, mountpoint, arguments->mode, &command);
}

/* Returns -1, or the exit status: there is nothing else to do. */
static int parse(int argc, char *argv[], struct arguments *arguments)
{
    static const struct option options[] = {
        {"clear", no_argument, NULL, OPTION_CLEAR},
        {HANDOVER_PROBE, required_argument, NULL, OPTION_PROBE},
        {HANDOVER_RESUME, required_argument, NULL, OPTION_RESUME},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;

    while ((option = getopt_long(argc, argv, "fc:o:hV", options, NULL)) != -1) {
        switch (option) {
        case 'f':
            arguments->mode = SUPERVISOR_FOREGROUND;
            break;
        case 'c':
            arguments->file = optarg;
            break;
        case 'o':
            arguments->overrides[arguments->count++] = optarg;
            break;
        case OPTION_CLEAR:
            arguments->clear = true;
            break;
        case OPTION_PROBE:
        case OPTION_RESUME:
            arguments->handover = option;
            arguments->fd = (int)strtol(optarg, NULL, 10);
            break;
        case 'h':
            help();
            return 0;
        case 'V':
            printf("pyrmapfs %s\n", PYRMAPFS_VERSION);
            return 0;
        default:
            fputs(usage, stderr);
            return STATUS_USAGE;
        }
    }
    return -1;
}

int main(int argc, char *argv[])
{
    static char mountpoint[PATH_MAX];
    static struct conf conf;
    struct arguments arguments = {.mode = SUPERVISOR_BACKGROUND,
                                  .overrides = calloc((size_t)argc, sizeof(char *))};
    char error[CONF_ERROR_MAX];
    bool readable;
    int status;

    if (!arguments.overrides)
        return 1;
    status = parse(argc, argv, &arguments);
    if (status >= 0) {
        free(arguments.overrides);
        return status;
    }
    status = configure(&conf, arguments.file, arguments.overrides, arguments.count);
    readable = status == 0;
    if (!readable && arguments.handover != OPTION_RESUME) {
        free(arguments.overrides);
        return status;
    }
    if (optind != argc - 1) {
        fprintf(stderr, "pyrmapfs: %s\n%s",
                optind < argc ? "only one mount point can be given" : "no mount point given", usage);
        free(arguments.overrides);
        return STATUS_USAGE;
    }
    log_open(arguments.mode == SUPERVISOR_FOREGROUND ? LOG_TO_STDERR : LOG_TO_SYSLOG, log_level_of(&conf));
    if (arguments.handover == OPTION_PROBE) {
        status = supervisor_probe(&conf, arguments.fd);
    } else if (mount_resolve(argv[optind], mountpoint, error) < 0) {
        fprintf(stderr, "pyrmapfs: %s\n", error);
        status = 1;
    } else if (arguments.clear) {
        status = clear_mount(mountpoint);
    } else {
        status = run(readable ? &conf : NULL, argv[0], &arguments, mountpoint);
    }
    free(arguments.overrides);
    return status;
}
