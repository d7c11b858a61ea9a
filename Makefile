# MeMS. `make help` lists what there is to make.
#
# CC, CXX, AR, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are yours, in the environment or on the command
# line; what the build cannot do without is kept apart from them. All objects go to build/, and are
# made again when a flag changes.

CFLAGS ?= -O2 -g
STD ?= c11
CXX ?= g++
CLANG ?= clang
RUN ?=
CMOCKA ?=
export CC RUN

# A variant is another build of the same, in a folder of its own: asan (address and undefined
# behaviour sanitizers), tsan (thread sanitizer), m32 (32 bits), strict, strict-m32 and strict-clang
# (warnings are errors).
variant :=
build := build$(if $(variant),/$(variant),/default)
example := $(if $(variant),$(build)/)example
library := $(if $(variant),$(build)/)libmems.a
shared := $(if $(variant),$(build)/)libmems.so
programs := $(if $(variant),$(build)/)sample
replay := $(programs)/mems-replay
record := $(programs)/mems-record
preload_script := $(programs)/mems-preload
look := $(programs)/mems-look

# The headers of the kernel are found even where gcc-multilib, which would bring a link to them, is
# not: it cannot be installed beside the compilers of other machines, unlike gcc-12-multilib.
m32 := -m32 -idirafter /usr/include/x86_64-linux-gnu

assertions := -DMEMS_ASSERTIONS
variant_flags_asan := -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer $(assertions)
variant_flags_tsan := -fsanitize=thread $(assertions)
variant_flags_m32 := $(m32) $(assertions)
variant_flags_scale := -DNVALGRIND
# No one debugs these.
variant_flags_strict := -Werror -g0
variant_flags_strict-clang := -Werror -g0
variant_flags_strict-m32 := -Werror -g0 $(m32)
variant_flags := $(variant_flags_$(variant))

version := $(shell sed -n 's/.*define MEMS_VERSION "\(.*\)"/\1/p' mems.h)

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes
compile = $(CC) $(include_folders:%=-I%) $(CPPFLAGS) $(CFLAGS) -std=$(STD) $(warnings) \
	$(variant_flags) -MMD -MP -c
link = $(CC) $(CFLAGS) $(variant_flags) $(LDFLAGS)

# What is in folders is compiled as all else is; their makefiles say what is linked, and where their
# headers are.
sources := $(wildcard *.c sample/*.c sample/*/*.c tests/*/*.c)
include_folders = . sample

.PHONY: all shared help clean always
.DELETE_ON_ERROR:
.SECONDARY:

products := $(library) $(example) $(replay) $(record) $(preload_script) $(look)
all: $(products)

help:
	@echo 'make            libmems.a, ./example, and in sample/ mems-record, mems-replay, mems-look'
	@echo '                and mems-preload'
	@echo 'make shared     libmems.so, which make install-shared installs as well'
	@echo 'make test       builds and runs the tests; installs cmocka, jq and xmllint where they are missing'
	@echo 'make test-browser'
	@echo '                tests the page of mems-replay --html in a headless Chromium'
	@echo 'make pictures   draws the pictures of the README and docs/ again'
	@echo 'make asan       the tests under the address and undefined behaviour sanitizers'
	@echo 'make test32     the tests in a 32-bit build'
	@echo 'make tsan       the tests of threads under the thread sanitizer'
	@echo 'make stress     2 to 16 threads and their forks, 10 million calls (STRESS_CALLS)'
	@echo 'make fuzz       random calls, guided by what they reach, for FUZZ_SECONDS (60)'
	@echo 'make lint       clang-tidy and cppcheck'
	@echo 'make coverage   the lines and branches of mems.c that the tests reach'
	@echo 'make test-programs'
	@echo '                runs sqlite3, python3, perl, git, gcc, xz, zstd and redis on a MeMS heap,'
	@echo '                and compares (PROGRAMS_FLAGS=--quick: less of each)'
	@echo 'make test-platforms'
	@echo '                the tests with other compilers, C libraries, processors and checkers'
	@echo 'make preload    build/default/preload.so, which puts a MeMS heap under any program'
	@echo 'make check      test, in the tarball unpacked elsewhere; asan, test32, tsan, warnings as errors'
	@echo '                with gcc and clang, mems.h from C++, the names that the library exports'
	@echo 'make bench      measures MeMS beside other allocators (make bench-sample: puts the tables and'
	@echo '                the picture into README.md, docs/speed.md and sample/)'
	@echo 'make scale      shows that a call costs the same on a heap a thousand times as large'
	@echo 'make install    installs to PREFIX, /usr/local by default (make uninstall: removes it);'
	@echo '                DESTDIR, bindir, libdir, includedir, mandir and pkgconfigdir are yours;'
	@echo '                STRIP=: keeps the debug sections'
	@echo 'make dist       the tarball of a release, build/mems-VERSION.tar.gz'
	@echo 'make clean      removes all that was made'
	@echo
	@echo 'CC, CXX, AR, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are yours: make CFLAGS=-O0'
	@echo 'Another machine: make test CC=COMPILER RUN=EMULATOR CMOCKA=FOLDER, where FOLDER was'
	@echo 'made by tests/platforms/cmocka.sh FOLDER COMPILER'

# ---- The library and the programs ----------------------------------------------------------------

# Holds all that the objects depend on besides their sources; written only when that changes.
$(build)/flags: export flags = $(compile) $(link) $(LDLIBS) $(AR)
$(build)/flags: always
	@mkdir -p $(sort $(dir $(sources:%=$(build)/%)))
	@printf '%s\n' "$$flags" | cmp -s - $@ || printf '%s\n' "$$flags" >$@

$(build)/%.o: %.c $(build)/flags
	$(compile) $< -o $@

# Position-independent, so that the library can go into a shared object.
$(build)/mems.o: mems.c $(build)/flags
	$(compile) -fPIC $< -o $@

$(library): $(build)/mems.o
	rm -f $@
	$(AR) rcs $@ $^

soname := libmems.so.$(firstword $(subst ., ,$(version)))
shared: $(shared)
$(shared): $(build)/mems.o
	$(link) -shared -pthread -Wl,-soname,$(soname) $^ $(LDLIBS) -o $(@D)/$(soname)
	ln -sf $(soname) $@

$(example): $(build)/example.o $(library)
	$(link) $^ $(LDLIBS) -o $@

clean:
	rm -rf build libmems.a libmems.so* example sample/mems-*

include $(sort $(wildcard sample/*/*.mk))
include install.mk
include tests/tests.mk $(sort $(wildcard tests/*/*.mk))

-include $(wildcard $(build)/*.d $(build)/*/*.d $(build)/*/*/*.d)
