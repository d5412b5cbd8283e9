# SPDX-License-Identifier: GPL-2.0-or-later
#
# "make help" says what there is.  Every target configures first when that is
# needed, and lays the series out again when it has changed.

MAKEFLAGS += --no-print-directory
export CCACHE_NOHASHDIR = 1
export CCACHE_BASEDIR ?= $(CURDIR)
export PATH := /usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin:$(PATH)

obj = build/qemu/build
loop = build/meson
MINUTES ?= 5
ROUNDS ?= $(if $(filter bench-svq,$(MAKECMDGOALS)),5,9)

.PHONY: all qemu configured run check check-fast check-series series export \
	lay fuzz bench bench-svq stress install base clean distclean help
.NOTPARALLEL:

all: qemu

help:
	@echo 'make                     build build/qemu-system-x86_64 and the tools'
	@echo 'make run                 build, then boot a Linux guest with in-order virtqueues'
	@echo 'make stress [MINUTES=5]  Linux guests under load, with resets, migrations, flaps'
	@echo 'make bench [ROUNDS=9] [CASES="net-tx ..."]   CPU cost against the base'
	@echo 'make bench-svq [ROUNDS=5] [CASES="tx-* ..."]   shadow virtqueues, the same'
	@echo 'make check               all tests'
	@echo 'make check-fast          what needs no QEMU, in seconds'
	@echo 'make check-series        every step of the series builds'
	@echo 'make series [OUT=DIR]    write the mail-ready series [build/mail]'
	@echo 'make lay                 patches/ -> build/qemu (FORCE=1: give up work there)'
	@echo 'make export              build/qemu -> patches/'
	@echo 'make fuzz [MINUTES=5]    run the fuzzers (needs clang)'
	@echo 'make install [PREFIX=DIR] [DESTDIR=DIR]'
	@echo 'make base                the unmodified base, as build/base/qemu-system-x86_64'
	@echo 'make clean               remove what was compiled'
	@echo 'make distclean           remove build/, unless it has work not exported (FORCE=1)'

# Not a file target: what lay has to look at, the new files of the series
# among it, is cheaper to look at than to list here.
configured:
	@if [ -f build/config.done ] && [ ! configure -nt build/config.done ]; \
	then scripts/lay; else ./configure --reuse; fi

qemu: configured
	@ninja -C $(obj)

run: qemu
	@tests/guest/run --qemu $(CURDIR)/build/qemu-system-x86_64

stress: qemu
	@tests/guest/stress --qemu $(CURDIR)/build/qemu-system-x86_64 \
	--minutes $(MINUTES)
	@tests/guest/vdpa --qemu $(CURDIR)/build/qemu-system-x86_64 \
	--minutes $(MINUTES)
	@scripts/run-qtest virtio-svq-stress --minutes=$(MINUTES)

# The unmodified base is built for it once, and cached.
bench: qemu base
	@tests/bench/run --rounds $(ROUNDS) $(CASES)

bench-svq: qemu base
	@tests/bench/run-svq --rounds $(ROUNDS) $(CASES)

check: qemu
	@scripts/report

check-fast: configured
	@scripts/report --suite unit --suite fuzz --suite series

check-series: configured
	@scripts/check-series

series: configured
	@scripts/make-series $(if $(V),--version $(V)) $(OUT)

export: configured
	@scripts/export

lay:
	@if [ -f build/config.done ]; then \
	scripts/lay $(if $(FORCE),--force); else ./configure --reuse; fi

# What the fuzzers find new goes to build/fuzz/found; the corpus here is only
# read.  MINUTES is for each module; for the devices together; and for
# migration streams.
fuzz: qemu
	@command -v clang >/dev/null || { echo 'make fuzz: clang is missing;' \
	'run: apt-get install clang libclang-rt-14-dev' >&2; exit 1; }
	@[ -f build/fuzz/build.ninja ] || CC=clang meson setup build/fuzz . \
	-Dfuzz=enabled -Db_sanitize=address,undefined -Db_lundef=false \
	>build/log/configure-fuzz.log 2>&1 || { rm -rf build/fuzz; \
	tail -n 5 build/log/configure-fuzz.log >&2; exit 1; }
	@ninja -C build/fuzz
	@set -e; for f in build/fuzz/*-fuzz; do \
	n=$$(basename $$f -fuzz); mkdir -p build/fuzz/found/$$n; \
	echo "fuzzing $$n for $(MINUTES) minutes"; \
	$$f -max_total_time=$$(($(MINUTES) * 60)) -print_final_stats=1 \
	-artifact_prefix=build/fuzz/ build/fuzz/found/$$n \
	tests/fuzz/corpus/$$n; done
	@scripts/fuzz-virtio $(MINUTES)
	@scripts/run-qtest virtio-in-order-migration-fuzz --minutes=$(MINUTES) \
	--keep=build/fuzz/stream

# The prefix is compiled in; another one than configure was told means that
# QEMU is built for it first.
install: configured
	@. build/config; [ -z "$(PREFIX)" ] || [ "$(PREFIX)" = "$$prefix" ] || { \
	echo "make install: the prefix changes from $$prefix to $(PREFIX)," \
	"building for it"; ./configure --reuse --prefix="$(PREFIX)"; }
	@ninja -C $(obj)
	@DESTDIR="$(DESTDIR)" meson install -C $(obj) --no-rebuild --quiet \
	>build/log/install.log 2>&1 || { tail -n 5 build/log/install.log >&2; \
	echo 'make install: could not write there; another PREFIX or DESTDIR,' \
	'or root' >&2; exit 1; }
	@. build/config; echo "installed: $(DESTDIR)$$prefix/bin/qemu-system-x86_64"

base: configured
	@scripts/build-base

clean:
	@if [ -f $(obj)/build.ninja ]; then ninja -C $(obj) -t clean >/dev/null; fi
	@rm -rf build/meson build/fuzz build/fuzz-qemu build/series build/mail build/qtest \
	build/config.done build/tmp.* build/qemu.new.*

distclean:
	@if [ -d build/qemu/.git ] && [ -z "$(FORCE)" ]; then cd build/qemu; \
	if [ "$$(git rev-parse HEAD)" != "$$(cat .git/laid)" ] || \
	[ -n "$$(git status --porcelain)" ]; then \
	echo 'make distclean: build/qemu has work that is not exported; run' \
	'make export, or make distclean FORCE=1' >&2; exit 1; fi; fi
	@rm -rf build
