# MeMS. `make help` lists what there is to make.
#
# CC, CXX, AR, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are yours, in the environment or on the command
# line; what the build cannot do without is kept apart from them. All objects go to build/, and are
# made anew when a flag changes.

CFLAGS ?= -O2 -g
STD ?= c11
CXX ?= g++
CLANG ?= clang
RUN ?=
CMOCKA ?=
REPLAYS ?= $(wildcard tests/traces/*.rep ../shared/traces/*.rep)
export CC RUN

# A variant is another build of the same, in a folder of its own: asan (address and undefined
# behaviour sanitizers), tsan (thread sanitizer), m32 (32 bits), strict, strict-m32 and strict-clang (warnings are errors).
variant :=
build := build$(if $(variant),/$(variant),/default)
example := $(if $(variant),$(build)/)example
library := $(if $(variant),$(build)/)libmems.a
replay := $(if $(variant),$(build)/)sample/mems-replay

# The headers of the kernel are found even where gcc-multilib, which would bring a link to them, is
# not: it cannot be installed beside the compilers of other machines, unlike gcc-12-multilib.
m32 := -m32 -idirafter /usr/include/x86_64-linux-gnu

variant_flags_asan := -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
variant_flags_tsan := -fsanitize=thread
variant_flags_m32 := $(m32)
variant_flags_scale := -DNVALGRIND
variant_flags_strict := -Werror
variant_flags_strict-clang := -Werror
variant_flags_strict-m32 := -Werror $(m32)
variant_flags := $(variant_flags_$(variant))

# The 32-bit cmocka is built from source: a package of it needs a second architecture in dpkg.
ifneq ($(filter m32 strict-m32,$(variant)$(CMOCKA)),)
CMOCKA := build/cmocka-m32
endif
cmocka_libs := $(if $(CMOCKA),$(CMOCKA)/libcmocka.a,-lcmocka)

warnings := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes
compile = $(CC) -I. -Isample -I$(build)/sample $(if $(CMOCKA),-I$(CMOCKA)/include) \
	$(CPPFLAGS) $(CFLAGS) -std=$(STD) $(warnings) $(variant_flags) -MMD -MP -c
link = $(CC) $(CFLAGS) $(variant_flags) $(LDFLAGS)

heaps := $(build)/tests/heaps
stale := $(build)/tests/stale
tests := $(patsubst %.c,$(build)/%,$(wildcard tests/test_*.c))
support := $(patsubst %.c,$(build)/%.o,$(wildcard tests/support.c tests/model.c tests/twins.c))

.PHONY: all help test test-browser pictures asan test32 check strict cxx symbols scale clean
.PHONY: programs all-objects cmocka always
.DELETE_ON_ERROR:
.SECONDARY:

all: $(library) $(example) $(replay)

help:
	@echo 'make            libmems.a, ./example and sample/mems-replay'
	@echo 'make test       builds and runs the tests; installs cmocka where it is missing'
	@echo 'make test-browser'
	@echo '                tests the page of mems-replay --html in a headless Chromium'
	@echo 'make pictures   draws the pictures of the README anew'
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
	@echo 'make check      test, asan, test32, tsan, warnings as errors with gcc and clang, mems.h from'
	@echo '                C++, the names that the library exports, and the tarball unpacked elsewhere'
	@echo 'make bench      measures MeMS beside other allocators'
	@echo 'make scale      shows that a call costs the same on a heap a thousand times as large'
	@echo 'make install    installs to PREFIX, /usr/local by default (make uninstall: removes it);'
	@echo '                DESTDIR, bindir, libdir, includedir, mandir and pkgconfigdir are yours'
	@echo 'make dist       the tarball of a release, build/mems-VERSION.tar.gz'
	@echo 'make clean      removes all that was made'
	@echo
	@echo 'CC, CXX, AR, CFLAGS, CPPFLAGS, LDFLAGS and LDLIBS are yours: make CFLAGS=-O0'
	@echo 'Another machine: make test CC=COMPILER RUN=EMULATOR CMOCKA=FOLDER, where FOLDER was'
	@echo 'made by tests/cmocka.sh FOLDER COMPILER'

# ---- The library and the programs ----------------------------------------------------------------

# Holds all that the objects depend on besides their sources; written only when that changes.
$(build)/flags: export flags = $(compile) $(link) $(LDLIBS) $(AR)
$(build)/flags: always
	@mkdir -p $(build)/tests $(build)/sample
	@printf '%s\n' "$$flags" | cmp -s - $@ || printf '%s\n' "$$flags" >$@

$(build)/%.o: %.c $(build)/flags
	$(compile) $< -o $@

$(library): $(build)/mems.o
	rm -f $@
	$(AR) rcs $@ $^

$(example): $(build)/example.o $(library)
	$(link) $^ $(LDLIBS) -o $@

replay_parts := mems-replay replay svg timeline trace
$(replay): $(replay_parts:%=$(build)/sample/%.o) $(library)
	$(link) $^ $(LDLIBS) -o $@

# The page that is built into it.
$(build)/sample/timeline.o: $(build)/sample/timeline_page.h
$(build)/sample/timeline_page.h: sample/timeline.html sample/embed.sh $(build)/flags
	sample/embed.sh $< >$@

$(build)/sample/pictures: $(build)/sample/pictures.o $(build)/sample/svg.o $(library)
	$(link) $^ $(LDLIBS) -o $@

# The pictures of the README, in the repository.
pictures: $(build)/sample/pictures $(replay) $(example)
	@tests/need.sh librsvg2-bin fonts-dejavu-core chromium nodejs
	@sample/pictures.sh $(build) ./$(example) ./$(replay)

$(build)/tests/scale $(heaps) $(stale): $(build)/tests/%: $(build)/tests/%.o $(library)
	$(link) $^ $(LDLIBS) -o $@

# ---- The tests -----------------------------------------------------------------------------------

ifeq ($(CMOCKA),)
cmocka:
	@tests/need.sh libcmocka-dev
else
cmocka: $(CMOCKA)/libcmocka.a
endif

build/cmocka-m32/libcmocka.a: tests/cmocka.sh
	@tests/need.sh gcc-multilib
	tests/cmocka.sh $(@D) $(CC) $(m32)

$(build)/tests/test_%.o: tests/test_%.c $(build)/flags | cmocka
	$(compile) $< -o $@

$(support): | cmocka

$(build)/tests/test_%: $(build)/tests/test_%.o $(support) $(library)
	$(link) $^ $(cmocka_libs) $(LDLIBS) -o $@

# Stands between the library and the system, to make each request fail in turn.
comma := ,
wrapped := mmap mmap64 munmap mprotect madvise mremap mincore getrlimit getrlimit64 getrusage
$(build)/tests/test_os: $(build)/tests/test_os.o $(support) $(library)
	$(link) $(wrapped:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) $(LDLIBS) -o $@

# Includes mems.c itself, to damage what only that can see.
$(build)/tests/test_checker: $(build)/tests/test_checker.o $(support)
	$(link) $^ $(cmocka_libs) $(LDLIBS) -o $@

programs: $(library) $(example) $(replay) $(heaps) $(stale) $(tests)

# Every C file there is.
all-objects: $(patsubst %.c,$(build)/%.o,$(wildcard *.c tests/*.c sample/*.c))

test: export EXAMPLE = $(example)
test: export REPLAY = $(replay)
test: export HEAPS = $(heaps)
test: export STALE = $(stale)
test: export TRACES = $(REPLAYS)
test: export VARIANT = $(variant)
test: export VARIANT_FLAGS = $(variant_flags)
test: programs
	@tests/run.sh $(build) $(sort $(tests)) $(sort $(wildcard tests/test_*.sh))

# The page that sample/mems-replay --html writes.
test-browser: export REPLAY = $(replay)
test-browser: $(replay)
	@tests/need.sh chromium nodejs fonts-dejavu-core
	@tests/run.sh $(build)/browser tests/browser/test_timeline.sh

asan:
	+@$(MAKE) --no-print-directory variant=asan test

# Made here, once, for the two that use it.
test32 strict: build/cmocka-m32/libcmocka.a

test32:
	+@$(MAKE) --no-print-directory variant=m32 test

# ---- More checks ---------------------------------------------------------------------------------

check: test asan test32 tsan strict cxx symbols dist-check

# For gcc, gcc in 32 bits, and clang.
strict:
	+@$(MAKE) --no-print-directory variant=strict all-objects
	+@$(MAKE) --no-print-directory variant=strict-m32 all-objects
	@tests/need.sh $(CLANG)
	+@$(MAKE) --no-print-directory variant=strict-clang CC=$(CLANG) all-objects

cxx:
	@mkdir -p build
	@tests/need.sh $(CXX)
	printf '#include "mems.h"\nint main() { mems_init(); mems_finish(); }\n' >build/header.cpp
	$(CXX) -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only build/header.cpp

symbols: $(library)
	@nm -g --defined-only $(library) | awk 'NF == 3 && $$3 !~ /^mems_/ { print; bad = 1 } \
		NF == 3 { found = 1 } END { exit bad || !found }' || \
		{ echo '$(library) exports other names than mems_*'; exit 1; }
	@echo '$(library) exports mems_* only'

# Counted as it runs by itself: nothing in it asks whether Valgrind is there.
scale:
	@tests/need.sh valgrind
	+@$(MAKE) --no-print-directory variant=scale build/scale/tests/scale
	@tests/scale.sh build/scale/tests/scale

clean:
	rm -rf build libmems.a example sample/mems-replay

include install.mk
include $(sort $(wildcard tests/*.mk))

-include $(wildcard $(build)/*.d $(build)/tests/*.d $(build)/sample/*.d)
