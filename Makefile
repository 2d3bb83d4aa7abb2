# SPDX-License-Identifier: Apache-2.0
#
# pyrmapfs. `make help` lists the targets; `make deps` installs what they need on Debian 12.

VERSION := 0.2.0

# Where everything is built. Two builds with different flags never share objects: see $(BUILD)/flags.
BUILD ?= build
export BUILD

ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
export PYTHON ?= /usr/bin/python3

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
MANDIR     ?= $(PREFIX)/share/man
DOCDIR     ?= $(PREFIX)/share/doc/pyrmapfs
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
USERUNITDIR ?= $(PREFIX)/lib/systemd/user
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
# The modules of pyrmapctl.
CTLDIR     ?= $(PREFIX)/share/pyrmapfs
BASHDIR    ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR     ?= $(PREFIX)/share/zsh/site-functions
FISHDIR    ?= $(PREFIX)/share/fish/vendor_completions.d
INCLUDEDIR ?= $(PREFIX)/include
PCDIR      ?= $(PREFIX)/share/pkgconfig
# mount(8) looks for helpers here alone.
HELPERDIR  ?= /sbin
R_LIBRARY  ?= $(PREFIX)/lib/R/site-library
# Debian's Python looks here, and for packages of the distribution below /usr.
PYTHON_SITE ?= $(if $(filter /usr,$(PREFIX)),/usr/lib/python3,$(PREFIX)/lib/$(PYTHON_NAME))/dist-packages
PYTHON_NAME  = $(shell $(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])')

# address,undefined or thread; use it together with another BUILD.
SANITIZE ?=

# `make coverage` sets it, together with another BUILD: every program counts the branches that it takes.
COVERAGE ?=

# ---- Sources ---------------------------------------------------------------------------------------------------

# These talk to libfuse. Everything else is the core, which the unit tests link without it.
FUSE_SOURCES := fs/main.c $(sort $(wildcard fs/daemon/*.c fs/fuse/*.c))
CORE_SOURCES := $(filter-out $(FUSE_SOURCES),$(sort $(wildcard fs/*/*.c conf/*.c)))

UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c))
UNIT_SHARED  := $(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c))
# Clients of the mount: plain programs that know nothing of the daemon but record.h.
CLIENTS      := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/mount/*.c tests/survive/*.c tests/bench/*.c examples/c/*.c))

object = $(patsubst %.c,$(BUILD)/%.o,$(1))

# ---- Flags -----------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Werror=switch -Werror
CFLAGS   ?= -O2 -g

CORE_PACKAGES := inih libseccomp libcap-ng
packages = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null)

# gcc warns that the thread sanitizer does not follow the fence of the record's sequence lock. Its readers are other processes: no thread
# reads so. clang has no such warning.
NO_FENCE = $(if $(findstring clang,$(CC)),,-Wno-tsan)

ifeq ($(SANITIZE),)
HARDEN      := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
HARDEN_LINK := -Wl,-z,relro,-z,now
else
# -O1 keeps the reports readable; fortified calls would hide the overflow from the sanitizer.
HARDEN      := -O1 -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
HARDEN_LINK := -fsanitize=$(SANITIZE)
HARDEN      += $(if $(filter thread,$(SANITIZE)),$(NO_FENCE))
endif

ifneq ($(COVERAGE),)
# -Og makes one branch of those that the source has once: the last case of a switch and values that there are none of.
HARDEN      := -Og -fno-inline --coverage -fprofile-update=atomic -U_FORTIFY_SOURCE -DCOVERAGE
HARDEN_LINK := --coverage
COUNTED     := $(BUILD)/tests/coverage/dump.o
COUNTED_LINK := -Wl,--wrap=_exit
endif

COMPILE := -std=c11 -D_GNU_SOURCE -DPYRMAPFS_VERSION='"$(VERSION)"' -Ifs -Iconf $(WARNINGS) $(CPPFLAGS) $(CFLAGS) \
           $(HARDEN) -fPIE -pthread $(call packages,--cflags,fuse3 $(CORE_PACKAGES) check)
LINK    := $(CFLAGS) $(HARDEN) -pie -pthread $(HARDEN_LINK) $(LDFLAGS)

Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-7s %s\n' $(1) $@)

# ---- Build -----------------------------------------------------------------------------------------------------

.PHONY: all clients tests unit generate deps demo check check-built check-sanitize lint model torture survive soak proof failpoints fuzz fuzzers bench bench-fs bench-r bench-paths \
        install uninstall install-r uninstall-r install-python uninstall-python packages clean help FORCE
.DELETE_ON_ERROR:
.SECONDARY:
all: $(BUILD)/pyrmapfs

$(BUILD)/pyrmapfs: $(call object,$(FUSE_SOURCES)) $(COUNTED) $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) $(COUNTED_LINK) -o $@ $^ $(call packages,--libs,fuse3 $(CORE_PACKAGES))

# Made from scratch: an archive would keep the objects of sources that are gone.
$(BUILD)/libpyrmapfs-core.a: $(call object,$(CORE_SOURCES))
	$(call say,AR)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c $(BUILD)/flags
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(COMPILE) -MMD -MP -c -o $@ $<

$(BUILD)/tests/test_%: $(BUILD)/tests/unit/test_%.o $(call object,$(UNIT_SHARED)) $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(call packages,--libs,$(CORE_PACKAGES) check)

# The only part of fs/daemon that the unit tests link.
$(BUILD)/tests/test_sandbox: $(call object,fs/daemon/sandbox.c)

# Examples find the header as others do.
$(BUILD)/examples/c/%.o: COMPILE += -Ipackaging/c

$(CLIENTS): %: %.o
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $^ -lm

# This test lets the daemon's own calls fail, and no others: a copy of the core calls the test's functions instead.
FAULTS := malloc calloc open_memstream memfd_create open __open_2 openat __openat_2 mknodat renameat unlinkat readlinkat \
          fallocate ftruncate fsync fstat fstatat fstatfs lseek pread pwrite mmap epoll_ctl fcntl eventfd timerfd_create \
          timerfd_settime syscall
$(BUILD)/tests/test_faults: $(BUILD)/tests/unit/test_faults.o $(call object,$(UNIT_SHARED)) $(BUILD)/faults-core.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $^ $(call packages,--libs,$(CORE_PACKAGES) check)
$(BUILD)/faults-core.a: $(BUILD)/libpyrmapfs-core.a Makefile
	$(call say,OBJCOPY)
	$(Q)objcopy $(foreach call,$(FAULTS),--redefine-sym $(call)=faulty_$(call)) $< $@

# The daemon for tests that kill it at each call, or each store, that changes what outlives it. The compiler tells of stores by
# the calls that it makes for a sanitizer; so no sanitizer can be in it. What is counted is the daemon without them.
FAILPOINTS  := $(if $(SANITIZE)$(COVERAGE),,$(addprefix $(BUILD)/failpoints/,pyrmapfs deaths))
FAULTS_MORE := realloc reallocarray close read write writev ioctl fdatasync syncfs fchmod fchmodat fsetxattr flock munmap \
               memcpy memmove memset
$(BUILD)/failpoints/%.o: %.c $(BUILD)/flags
	$(call say,CC)
	$(Q)mkdir -p $(@D) && $(CC) $(COMPILE) -U_FORTIFY_SOURCE $(NO_FENCE) -fsanitize=thread -MMD -MP -c -o $@ $<
$(BUILD)/failpoints/all.a: $(patsubst %.c,$(BUILD)/failpoints/%.o,$(FUSE_SOURCES) $(CORE_SOURCES)) Makefile
	$(call say,OBJCOPY)
	$(Q)rm -f $@ $@.plain && $(AR) rcs $@.plain $(filter %.o,$^)
	$(Q)objcopy $(foreach call,$(FAULTS) $(FAULTS_MORE),--redefine-sym $(call)=faulty_$(call)) $@.plain $@ && rm $@.plain
$(BUILD)/failpoints/pyrmapfs: $(call object,tests/unit/faults.c tests/failpoints/stores.c) $(BUILD)/failpoints/all.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $^ $(call packages,--libs,fuse3 $(CORE_PACKAGES))
$(BUILD)/failpoints/deaths: $(call object,tests/failpoints/deaths.c tests/failpoints/stores.c $(UNIT_SHARED)) $(BUILD)/failpoints/all.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $^ $(call packages,--libs,$(CORE_PACKAGES) check)

# It lies with the requests, and needs nothing of libfuse.
$(BUILD)/tests/test_nodeid: $(BUILD)/fs/fuse/nodeid.o

# A whole server without a kernel: its loop stops where it would sleep, and its ioctls come to the test. See tests/kernel.
SERVED      := $(call object,$(filter-out fs/main.c,$(FUSE_SOURCES)) $(wildcard tests/kernel/*.c))
SERVED_LINK := -Wl,--wrap=epoll_wait,--wrap=ioctl
$(BUILD)/tests/test_requests: $(SERVED)
$(BUILD)/tests/test_requests: private CORE_PACKAGES += fuse3
$(BUILD)/tests/test_requests: private LINK += $(SERVED_LINK)

# Programs that the tests of upgrades put in the daemon's place: the next version, one that knows another layout of the index, and
# one whose server dies before it serves.
UPGRADES := $(addprefix $(BUILD)/upgrades/,next other-index dies)
compile_upgrade = $(Q)mkdir -p $(@D) && $(1) $(CC) $(COMPILE) -c -o $@
$(BUILD)/upgrades/next-%.o: %.c $(BUILD)/pyrmapfs
	$(call compile_upgrade) -UPYRMAPFS_VERSION -DPYRMAPFS_VERSION='"99.0.0"' $<
$(BUILD)/upgrades/other-index.o: fs/slot/index.c $(BUILD)/pyrmapfs
	$(call compile_upgrade,sed 's/INDEX_VERSION = [0-9]*/INDEX_VERSION = 1000/' $< |) -x c -
$(BUILD)/upgrades/dies.o: tests/restart/dies.c $(BUILD)/pyrmapfs
	$(call compile_upgrade) $<
NEXT_SOURCES := fs/main.c fs/daemon/server.c fs/files/daemon_files.c
$(BUILD)/upgrades/next: $(patsubst %.c,$(BUILD)/upgrades/next-%.o,$(NEXT_SOURCES)) $(call object,$(filter-out $(NEXT_SOURCES),$(FUSE_SOURCES)))
$(BUILD)/upgrades/other-index: $(BUILD)/upgrades/other-index.o $(call object,$(FUSE_SOURCES))
$(BUILD)/upgrades/dies: $(BUILD)/upgrades/dies.o $(call object,$(filter-out fs/fuse/reopen.c,$(FUSE_SOURCES)))
$(UPGRADES): $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $(filter-out $<,$^) $< $(call packages,--libs,fuse3 $(CORE_PACKAGES))

# Changes exactly when the compiler or a flag does, and then everything is built again.
FLAGS = $(CC) $(COMPILE) $(LINK)
$(BUILD)/flags: FORCE
	@$(PKG_CONFIG) --exists fuse3 $(CORE_PACKAGES) check || \
	    { echo 'A library is missing (fuse3, inih, libseccomp, libcap-ng, check): run "make deps" as root.' >&2; exit 1; }
	@mkdir -p $(@D) && printf '%s\n' "$$FLAGS" | cmp -s - $@ || printf '%s\n' "$$FLAGS" > $@
$(BUILD)/flags: export FLAGS := $(FLAGS)

-include $(wildcard $(addprefix $(BUILD)/,$(addsuffix /*.d,fs fs/* conf packaging tests/unit tests/mount tests/survive tests/bench tests/fuzz \
                                                  tests/failpoints failpoints/fs failpoints/fs/* failpoints/conf examples/c)))
-include $(wildcard $(BUILD)/tests/kernel/*.d $(BUILD)/tests/coverage/*.d)

clients: $(CLIENTS)
tests: all clients $(UNIT_TESTS) $(UPGRADES) $(FAILPOINTS)

# ---- Tests -----------------------------------------------------------------------------------------------------

unit: $(UNIT_TESTS)
	@tests/run unit

# The suites of `make check`, by the names that tests/run knows. One without tests is an error.
FS_SUITES      := unit mount restart survive failpoints model storm
PACKAGE_SUITES := python r rcheck languages containers

JOBS := $(shell nproc)
remake = @$(MAKE) --no-print-directory -j$(JOBS)

check: deps
	$(remake) tests packages
	@tests/run $(FS_SUITES) proof ctl manual demo install $(PACKAGE_SUITES) readme

# The same tests in separate builds. What ThreadSanitizer can judge is the helper thread: the unit tests drive it. The
# daemon that the other suites mount does everything in the shortest turns: others come in between wherever they can.
check-sanitize: deps
	$(remake) tests BUILD=$(BUILD)/sanitize SANITIZE=address,undefined
	$(remake) tests BUILD=$(BUILD)/turns SANITIZE=address,undefined CPPFLAGS='$(CPPFLAGS) -DRUN_COST_OF_TURN=1'
	$(remake) tests BUILD=$(BUILD)/thread SANITIZE=thread
	@failed=; BUILD=$(BUILD)/sanitize tests/run unit || failed=yes; \
	BUILD=$(BUILD)/turns STEPS=$${STEPS:-40000} tests/run $(filter-out unit failpoints,$(FS_SUITES)) || failed=yes; \
	BUILD=$(BUILD)/thread tests/run unit || failed=yes; \
	$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=20 || failed=yes; test -z "$$failed"

export ASAN_OPTIONS  := detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS := print_stacktrace=1
export TSAN_OPTIONS  := die_after_fork=0:second_deadlock_stack=1

# The model test for as long as it takes; a disagreement prints the SEED that repeats it.
model: tests
	@STEPS=$${STEPS:-5000000} tests/run long-model

# Kills of the server and of clients that exchange arrays, ROUNDS for each data path and kind of arena; and of KILLS peers.
torture: tests
	@ROUNDS=$${ROUNDS:-1000} tests/run torture
survive: tests packages
	@ROUNDS=$${ROUNDS:-1000} KILLS=$${KILLS:-2000} tests/run survive

# The same for MINUTES, with kills now and then: whether anything grows.
soak: tests packages
	@$(PYTHON) tests/survive/soak.py $${MINUTES:-60}

# Kills of the server at each point of each operation in each state, and each call that fails.
failpoints: tests
	@FAILPOINTS=all tests/run failpoints

# The proof of the handshake with chains for three slots; `make check` has it for two.
proof: deps
	@PROOF=whole tests/run proof

# Coverage-guided fuzzing of what reads untrusted bytes, FUZZ_SECONDS for each target.
export FUZZ_SECONDS ?= 60
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzzers/%,$(wildcard tests/fuzz/fuzz_*.c))
fuzz: deps
	$(remake) fuzzers BUILD=$(BUILD)/fuzz CC=clang SANITIZE=address,undefined,fuzzer-no-link
	@BUILD=$(BUILD)/fuzz tests/run fuzz
fuzzers: $(FUZZERS)
$(BUILD)/fuzzers/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(LINK) -fsanitize=fuzzer -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(call packages,--libs,$(CORE_PACKAGES))

# The branches that the tests take, and the ones that they do not (BUILD/coverage/missing).
.PHONY: coverage replays
COVERAGE_SUITES ?= unit mount restart model replay
coverage:
	$(remake) deps PACKAGES="$(BUILD_PACKAGES) $(TEST_PACKAGES) gcovr"
	$(remake) tests replays BUILD=$(BUILD)/coverage COVERAGE=yes CC=gcc
	@find $(BUILD)/coverage -name '*.gcda' -delete
	@CK_TIMEOUT_MULTIPLIER=10 UNIT_SECONDS=1800 BUILD=$(BUILD)/coverage STEPS=$${STEPS:-20000} tests/run $(COVERAGE_SUITES); failed=$$?; \
	gcovr --root . --filter fs/ --exclude-unreachable-branches --json $(BUILD)/coverage/gcovr.json $(BUILD)/coverage && \
	$(PYTHON) tests/coverage/table.py $(BUILD)/coverage/gcovr.json $(BUILD)/coverage/missing && exit $$failed
replays: $(FUZZERS:$(BUILD)/fuzzers/%=$(BUILD)/replays/%)
$(BUILD)/replays/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/tests/coverage/replay.o $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)mkdir -p $(@D) && $(CC) $(LINK) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(call packages,--libs,$(CORE_PACKAGES))

# One of them needs a server.
$(addprefix $(BUILD)/,fuzzers/fuzz_requests replays/fuzz_requests): $(SERVED)
$(addprefix $(BUILD)/,fuzzers/fuzz_requests replays/fuzz_requests): private CORE_PACKAGES += fuse3
$(addprefix $(BUILD)/,fuzzers/fuzz_requests replays/fuzz_requests): private LINK += $(SERVED_LINK)

bench: bench-fs bench-r bench-paths
bench-r bench-paths: packages
bench-fs bench-r bench-paths: bench-%: all clients
	@$(PYTHON) tests/bench/$*.py

demo:
	$(remake) deps PACKAGES="$(BUILD_PACKAGES) $(DEMO_PACKAGES)"
	$(remake) all
	@examples/demo/demo.sh

# ---- Generated files: written in one place, said in others -----------------------------------------------------------

$(BUILD)/generate: $(BUILD)/packaging/generate.o $(BUILD)/libpyrmapfs-core.a
	$(call say,LINK)
	$(Q)$(CC) $(LINK) -o $@ $^ $(call packages,--libs,$(CORE_PACKAGES))

generate: $(BUILD)/generate
	@packaging/generate $< $(VERSION)

# ---- Lint ------------------------------------------------------------------------------------------------------

C_FILES := $(wildcard fs/*.[ch] fs/*/*.[ch] conf/*.[ch] tests/*/*.[ch] examples/*/*.[ch] packaging/*.c packaging/c/*.h packaging/r/src/*.[ch])
SCRIPTS := $(shell grep -rlE --exclude-dir=.git --exclude-dir=build '^\#!.*/(env )?(ba|da)?sh\b' . | sed 's|^\./||')
PYTHONS := $(shell find tests examples packaging -name '*.py' -not -path '*/build/*')
MANUALS := $(wildcard packaging/man/*.[1-8])
UNITS   := packaging/systemd/pyrmapfs.service
USER_UNITS := packaging/systemd/user/pyrmapfs.service
TIDY    := $(addprefix lint/,$(wildcard fs/*.c fs/*/*.c conf/*.c))
LINTS   := laws format generated shell manual python r systemd

.PHONY: $(addprefix lint-,$(LINTS)) lint-clang $(TIDY)
# Everything is looked at before it fails; the other compiler's warnings count as well.
lint: deps
	$(remake) --keep-going $(addprefix lint-,$(LINTS)) lint-clang $(TIDY)

lint-clang:
	@echo "  LINT    everything built with clang"
	@$(MAKE) --no-print-directory tests CC=clang BUILD=$(BUILD)/clang >/dev/null

lint-laws:
	@echo '  LINT    the folders of fs/'
	$(Q)$(PYTHON) tests/lint/laws.py

lint-format:
	@echo '  LINT    $(words $(C_FILES)) C files: clang-format'
	$(Q)clang-format --dry-run -Werror $(C_FILES)

lint-generated: $(BUILD)/generate
	@echo '  LINT    files that make generate writes'
	$(Q)packaging/generate $< $(VERSION) --check

$(TIDY): lint/%: $(BUILD)/flags
	@echo '  LINT    $*: clang-tidy'
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $* -- $(TIDY_FLAGS) 2>&1 | \
	    { ! grep -v ' warnings generated\.$$\|^Suppressed\|^Use -header-filter'; }
TIDY_FLAGS = -std=c11 -D_GNU_SOURCE -DPYRMAPFS_VERSION='"$(VERSION)"' -Ifs -Iconf \
             $(call packages,--cflags,fuse3 $(CORE_PACKAGES))

lint-shell:
	@echo '  LINT    $(words $(SCRIPTS)) shell scripts: shellcheck'
	$(Q)shellcheck $(SCRIPTS)
	$(Q)shellcheck --shell=bash packaging/completion/pyrmapctl.bash

lint-manual:
	@echo '  LINT    $(words $(MANUALS)) manual pages: mandoc'
	$(if $(MANUALS),$(Q)mandoc -T lint -W warning $(MANUALS))

# The C of the R package is built by R, with R's flags.
lint-r:
	@echo '  LINT    packaging/r: warnings in C'
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE -Ipackaging/r/src -O2 -fsyntax-only $(WARNINGS) $$(R CMD config --cppflags | sed 's/-I/-isystem /') \
	    $(wildcard packaging/r/src/*.c)

lint-python:
	@echo '  LINT    $(words $(PYTHONS)) Python files: pyflakes, mypy'
	$(Q)$(PYTHON) -m pyflakes $(PYTHONS)
	$(Q)failed=0; for dir in $(sort $(dir $(filter tests/%,$(PYTHONS)))); do \
	    MYPYPATH=tests:tests/mount:packaging/python/src $(MYPY) --check-untyped-defs --ignore-missing-imports $$dir*.py \
	    || failed=1; done; exit $$failed
	$(Q)cd packaging/python && $(MYPY)
	$(Q)cd packaging/ctl && $(MYPY) --strict pyrmapctl
MYPY := $(PYTHON) -m mypy --no-error-summary --cache-dir=$(abspath $(BUILD))/mypy

# The units name a program that is not installed yet: verify them with one that is. The rating is that of `systemd-analyze
# security`, times ten: 86 is what a unit gets that gives up nothing.
lint-systemd:
	@echo '  LINT    $(UNITS) $(USER_UNITS): systemd-analyze'
	$(Q)mkdir -p $(BUILD)/lint/system $(BUILD)/lint/user $(BUILD)/lint/run
	$(Q)sed 's|@BINDIR@/pyrmapfs|/usr/bin/true|' $(UNITS) > $(BUILD)/lint/system/pyrmapfs.service
	$(Q)sed 's|@BINDIR@/pyrmapfs|/usr/bin/true|' $(USER_UNITS) > $(BUILD)/lint/user/pyrmapfs.service
	$(Q)systemd-analyze verify --man=no $(BUILD)/lint/system/pyrmapfs.service
	$(Q)XDG_RUNTIME_DIR=$(abspath $(BUILD))/lint/run systemd-analyze verify --user --man=no $(BUILD)/lint/user/pyrmapfs.service
	$(Q)systemd-analyze security --offline=true --no-pager --threshold=41 $(BUILD)/lint/system/pyrmapfs.service >$(BUILD)/lint/security || \
	    { cat $(BUILD)/lint/security; exit 1; }

# ---- Packages that all this needs ---------------------------------------------------------------------------------

BUILD_PACKAGES := gcc libc6-dev make pkg-config fuse3 libfuse3-dev libinih-dev libseccomp-dev libcap-ng-dev check
DEMO_PACKAGES  := python3 python3-numpy r-base-core
TEST_PACKAGES  := perl python3-pytest python3-hypothesis python3-pip python3-setuptools python3-wheel python3-sklearn \
                  python3-scipy python3-pandas r-cran-testthat r-cran-bit64 r-cran-reticulate \
                  r-cran-callr r-cran-future bubblewrap graphviz plocate fish zsh g++ nodejs prometheus \
                  prometheus-node-exporter spin fio
LINT_PACKAGES  := clang libclang-rt-14-dev clang-format clang-tidy shellcheck mandoc python3-mypy python3-pyflakes systemd
SLURM_PACKAGES := slurm-wlm munge r-cran-future.batchtools r-cran-survival
# What `make deb`, `make rpm` and their test need.
DEB_PACKAGES   := debhelper dh-python lintian procps psmisc r-base-dev rpm
PACKAGES       := $(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES)

deps:
	@packaging/deps $(PACKAGES)

# ---- Install -----------------------------------------------------------------------------------------------------

CTL_MODULES := $(wildcard packaging/ctl/pyrmapctl/*.py)

define INSTALLED
$(BINDIR)/pyrmapfs
$(BINDIR)/pyrmapctl
$(INCLUDEDIR)/pyrmap.h
$(PCDIR)/pyrmap.pc
$(patsubst packaging/ctl/%,$(CTLDIR)/%,$(CTL_MODULES))
$(CTLDIR)/grafana.json
$(BASHDIR)/pyrmapctl
$(ZSHDIR)/_pyrmapctl
$(FISHDIR)/pyrmapctl.fish
$(UNITDIR)/pyrmapfs.service
$(USERUNITDIR)/pyrmapfs.service
$(TMPFILESDIR)/pyrmapfs.conf
$(HELPERDIR)/mount.fuse.pyrmapfs
$(foreach page,$(MANUALS),$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))
$(addprefix $(DOCDIR)/,LICENSE README.md pyrmapfs.conf)
endef

# $(call fill,FILE,WHERE): the file with the places of programs and modules put in.
fill = sed -e 's|@BINDIR@|$(BINDIR)|' -e 's|@LIBDIR@|$(CTLDIR)|' $(1) > $(DESTDIR)$(2)

# install and uninstall keep a configuration that a user has edited.
CONFIG = $(DESTDIR)$(SYSCONFDIR)/pyrmapfs.conf

install: all
	install -D -m 755 $(BUILD)/pyrmapfs $(DESTDIR)$(BINDIR)/pyrmapfs
	$(foreach page,$(MANUALS),install -D -m 644 $(page) \
	    $(DESTDIR)$(MANDIR)/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) true
	install -d $(addprefix $(DESTDIR),$(DOCDIR) $(UNITDIR) $(USERUNITDIR) $(TMPFILESDIR) $(HELPERDIR) $(SYSCONFDIR))
	install -m 644 LICENSE README.md conf/pyrmapfs.conf $(DESTDIR)$(DOCDIR)
	$(call fill,packaging/systemd/pyrmapfs.service,$(UNITDIR)/pyrmapfs.service)
	$(call fill,packaging/systemd/user/pyrmapfs.service,$(USERUNITDIR)/pyrmapfs.service)
	$(call fill,packaging/mount.fuse.pyrmapfs,$(HELPERDIR)/mount.fuse.pyrmapfs)
	chmod 755 $(DESTDIR)$(HELPERDIR)/mount.fuse.pyrmapfs
	install -d $(addprefix $(DESTDIR),$(INCLUDEDIR) $(PCDIR) $(CTLDIR)/pyrmapctl $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	$(call fill,packaging/ctl/pyrmapctl.in,$(BINDIR)/pyrmapctl)
	chmod 755 $(DESTDIR)$(BINDIR)/pyrmapctl
	install -m 644 packaging/c/pyrmap.h $(DESTDIR)$(INCLUDEDIR)
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    packaging/c/pyrmap.pc.in > $(DESTDIR)$(PCDIR)/pyrmap.pc
	install -m 644 $(CTL_MODULES) $(DESTDIR)$(CTLDIR)/pyrmapctl
	install -m 644 packaging/grafana/pyrmapfs.json $(DESTDIR)$(CTLDIR)/grafana.json
	install -m 644 packaging/completion/pyrmapctl.bash $(DESTDIR)$(BASHDIR)/pyrmapctl
	install -m 644 packaging/completion/_pyrmapctl $(DESTDIR)$(ZSHDIR)/_pyrmapctl
	install -m 644 packaging/completion/pyrmapctl.fish $(DESTDIR)$(FISHDIR)/pyrmapctl.fish
	install -m 644 packaging/systemd/pyrmapfs.tmpfiles $(DESTDIR)$(TMPFILESDIR)/pyrmapfs.conf
	test -e $(CONFIG) || install -m 644 conf/pyrmapfs.conf $(CONFIG)

uninstall:
	! cmp -s $(DESTDIR)$(DOCDIR)/pyrmapfs.conf $(CONFIG) || rm $(CONFIG)
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	rm -rf $(DESTDIR)$(CTLDIR)/pyrmapctl/__pycache__
	-rmdir $(addprefix $(DESTDIR),$(DOCDIR) $(CTLDIR)/pyrmapctl $(CTLDIR))

# Both are built from a copy without stale objects, and leave nothing in the tree.
install-python:
	rm -rf $(BUILD)/package-python && mkdir -p $(BUILD) && cp -rL packaging/python $(BUILD)/package-python
	$(PYTHON) -m pip install --quiet --no-index --no-deps --no-build-isolation --break-system-packages \
	    --root-user-action=ignore --upgrade --target $(DESTDIR)$(PYTHON_SITE) $(BUILD)/package-python

install-r:
	rm -rf $(BUILD)/package-r && mkdir -p $(BUILD) && cp -rL packaging/r $(BUILD)/package-r
	rm -f $(addprefix $(BUILD)/package-r/src/,*.o *.so)
	mkdir -p $(DESTDIR)$(R_LIBRARY) && R CMD INSTALL --library=$(DESTDIR)$(R_LIBRARY) $(BUILD)/package-r

uninstall-python:
	rm -rf $(addprefix $(DESTDIR)$(PYTHON_SITE)/,pyrmap pyrmap-*.dist-info)
uninstall-r:
	R CMD REMOVE --library=$(DESTDIR)$(R_LIBRARY) pyrmap

# Where the suites and the benchmarks take them from.
packages:
	$(remake) install-python install-r DESTDIR= \
	    PYTHON_SITE=$(abspath $(BUILD))/python R_LIBRARY=$(abspath $(BUILD))/r-library

# ---- Packages to give away -----------------------------------------------------------------------------------------

# Everything that the sources are, whether they came by git or in such a file.
DIST := $(BUILD)/dist
TARBALL := $(DIST)/pyrmapfs-$(VERSION).tar.gz
.PHONY: dist deb rpm wheel r-source check-deb check-slurm
dist: $(TARBALL)
$(TARBALL): FORCE
	@mkdir -p $(@D)
	$(Q)tar --create --gzip --file=$@ --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$(SOURCE_DATE) \
	    --exclude=__pycache__ --exclude='*.o' --exclude='*.so' --exclude='.*_cache' --exclude='*.egg-info' \
	    --exclude='packaging/python/build' --transform='flags=r;s|^|pyrmapfs-$(VERSION)/|' \
	    Makefile README.md LICENSE .ci .clang-format $(wildcard .clang-tidy .gitignore) fs conf tests examples packaging
	@echo "  DIST    $@"
# The same sources give the same file.
SOURCE_DATE = $(shell date -d "$$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -1)" +%s)

# Built from the tarball, in a folder where nothing else lies. DEB_BUILD_OPTIONS=nocheck leaves the unit tests out.
deb: $(TARBALL)
	rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb
	cp $(TARBALL) $(BUILD)/deb/pyrmapfs_$(VERSION).orig.tar.gz
	tar -C $(BUILD)/deb -xf $(TARBALL)
	cp -r packaging/debian $(BUILD)/deb/pyrmapfs-$(VERSION)/debian
	cd $(BUILD)/deb/pyrmapfs-$(VERSION) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u BUILD -u CC dpkg-buildpackage -us -uc

rpm: $(TARBALL)
	rm -rf $(BUILD)/rpm && mkdir -p $(BUILD)/rpm/SOURCES
	cp $(TARBALL) $(BUILD)/rpm/SOURCES
	env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u BUILD -u CC rpmbuild -bb $(RPMFLAGS) --define '_topdir $(abspath $(BUILD))/rpm' \
	    packaging/rpm/pyrmapfs.spec

wheel:
	rm -rf $(BUILD)/package-python && mkdir -p $(DIST) && cp -rL packaging/python $(BUILD)/package-python
	$(PYTHON) -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir $(DIST) $(BUILD)/package-python

r-source:
	rm -rf $(BUILD)/package-r && mkdir -p $(DIST) && cp -rL packaging/r $(BUILD)/package-r
	cd $(DIST) && R CMD build --no-build-vignettes ../package-r

# Builds them all, and installs, uses and removes the Debian packages in a copy of this machine's root.
check-slurm: deps
	$(remake) deps PACKAGES="$(SLURM_PACKAGES)"
	$(remake) all packages
	@tests/run slurm

check-deb:
	$(remake) deps PACKAGES="$(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES) $(DEB_PACKAGES)"
	@tests/run deb

clean:
	rm -rf $(BUILD)

help:
	@sed -n 's/^#: //p' Makefile
#: make                 build/pyrmapfs; CC=clang, V=1, SANITIZE=address,undefined with BUILD=build/sanitize
#: make deps            install with apt-get what is missing (as root)
#: make demo            R and Python exchange a data set through a mount, start to end
#: make check           all tests; make unit: only those that need no mount
#: make check-slurm     the examples for Slurm, on a cluster that it starts on this machine
#: make check-sanitize  the same under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
#: make lint            formatters, linters, type checkers
#: make bench           tables of measurements; make bench-fs, bench-r, bench-paths: one part
#: make fuzz            libFuzzer on what reads untrusted bytes; FUZZ_SECONDS=60 for each target, FUZZ_SEED=1 (0: random)
#: make coverage        the branches that unit, mount, restart and model tests and the fuzzers' inputs take, and those that they do not
#: make failpoints      SIGKILL before and after each call and store of the server that lasts, and each call fails once; one point in STRIDE=1
#: make model           the model test, STEPS=5000000 of it
#: make torture         SIGKILL of server and clients, ROUNDS=1000 for each data path, while clients check every byte
#: make survive         the same, and of KILLS=2000 peers
#: make soak            a mixed load with kills now and then, for MINUTES=60: what grows, drawn in build/soak.png
#: make proof           the proof of the handshake: every state that three slots and their clients can come to
#: make generate        write the files that repeat the version and the table of keys
#: make dist            a tarball of the sources; make deb, rpm, wheel, r-source: packages from them; make check-deb: tries them
#: make install         DESTDIR=, PREFIX=/usr/local; the packages: install-r, install-python; all with uninstall
#: make clean
