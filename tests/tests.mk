# The tests, and all the checks: what the folders have in common. README.md says what is where.

REPLAYS ?= $(wildcard tests/traces/*.rep ../shared/traces/*.rep)

# The 32-bit cmocka is built from source: a package of it needs a second architecture in dpkg.
ifneq ($(filter m32 strict-m32,$(variant)$(CMOCKA)),)
CMOCKA := build/cmocka-m32
endif
cmocka_libs := $(if $(CMOCKA),$(CMOCKA)/libcmocka.a,-lcmocka)

include_folders += tests/unit tests/model tests/threads $(if $(CMOCKA),$(CMOCKA)/include)

comma := ,
tests := $(patsubst %.c,$(build)/%,$(wildcard tests/*/test_*.c))
test_scripts := $(wildcard tests/*/test_*.sh)

# A model by itself, the same in each build: it runs in the plain one, and those of other compilers.
ifneq ($(filter asan m32,$(variant)),)
tests := $(filter-out %/test_protocol,$(tests))
endif

# No core dump is opened under the sanitizers: fuzz_core does there what mems-look does first.
ifeq ($(variant),asan)
untested := $(look)
endif

# The library as the tests are linked with it: in the default build another object than the one that
# is installed, with assertions. The variants for tests have them anyway, and coverage counts none.
tested := $(if $(variant),$(library),$(build)/tests/mems.o)
# Tests that include mems.c itself; they have assertions in every build but those that count.
including := $(patsubst %.c,$(build)/%.o,$(shell grep -l '^.include "mems\.c"' tests/*/*.c))
ifeq ($(filter coverage coverage-m32,$(variant)),)
$(including): private variant_flags += $(assertions)
endif

support := $(patsubst %,$(build)/tests/%.o,unit/support model/model model/tree model/twins model/mix model/sweep)

.PHONY: test asan test32 check strict strict-others syntax cxx symbols programs all-objects cmocka

# ---- The tests -----------------------------------------------------------------------------------

ifeq ($(CMOCKA),)
cmocka:
	@tests/need.sh libcmocka-dev jq libxml2-utils
else
cmocka: $(CMOCKA)/libcmocka.a
endif

build/cmocka-m32/libcmocka.a: tests/platforms/cmocka.sh
	@tests/need.sh gcc-multilib
	tests/platforms/cmocka.sh $(@D) $(CC) $(m32)

$(tests:%=%.o) $(support): | cmocka

# Of the library alone.
library_flags ?=
$(build)/mems.o: private variant_flags += $(library_flags)

$(build)/tests/mems.o: mems.c $(build)/flags
	$(compile) $(assertions) $< -o $@

# A folder's makefile says so where one of its tests is linked in another way.
test_%: test_%.o $(support) $(tested)
	$(link) $^ $(cmocka_libs) $(LDLIBS) -o $@

# Further programs that tests need are named in their folders.
programs: $(filter-out $(untested),$(products)) $(tests)

# Every C file there is.
all-objects: $(sources:%.c=$(build)/%.o)

test: export EXAMPLE = $(example)
test: export REPLAY = $(replay)
test: export TRACES = $(REPLAYS)
test: export VARIANT = $(variant)
test: export VARIANT_FLAGS = $(variant_flags)
test: programs
	@tests/run.sh $(build) $(sort $(tests)) $(sort $(test_scripts))

asan:
	+@$(MAKE) --no-print-directory variant=asan $(asan_flags) test

# Made here, once, for the two that use it.
test32 strict-others: build/cmocka-m32/libcmocka.a

test32:
	+@RUN=$$(tests/platforms/run32.sh $(CC) $(m32)) && export RUN && \
		$(MAKE) --no-print-directory variant=m32 $(test32_flags) test

# ---- More checks ---------------------------------------------------------------------------------

# dist-check is "make test", in another place, where no warning of gcc will do; nor will one in 32 bits.
# In the other builds compiling counts for more than running: only the library of 32 bits is optimised as
# it is for others. A sanitizer has to name the line; no one debugs the rest.
check: export NEED = install
check: test32_flags := CPPFLAGS='$(CPPFLAGS) -Werror' CFLAGS='-O1 -g0' library_flags=-O2 all-objects
check: asan_flags := CFLAGS='-O1 -g1'
check: tsan_flags := CFLAGS='-O1 -g1'
check: dist-check asan test32 tsan strict-others cxx symbols dist-chroot

# For gcc, gcc in 32 bits, and clang.
strict: strict-others
	+@$(MAKE) --no-print-directory variant=strict all-objects
	+@$(MAKE) --no-print-directory variant=strict-m32 all-objects

# The library without assertions in 32 bits, where the tests have them; and what clang says, which it
# does without making objects.
strict-others:
	+@$(MAKE) --no-print-directory variant=strict-m32 build/strict-m32/mems.o
	@tests/need.sh $(CLANG)
	+@$(MAKE) --no-print-directory variant=strict-clang CC=$(CLANG) syntax

syntax: $(build)/sample/replay/timeline_page.h
	$(filter-out -MMD -MP -c,$(compile)) -fsyntax-only $(sources)

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
