# Other compilers, standards, machines and checkers; and what reads the sources for mistakes.

PLATFORMS ?=
CLANG_TIDY ?= clang-tidy
CPPCHECK ?= cppcheck

lint_sources := $(sources)
lint_folder := build/lint

.PHONY: test-platforms lint lint-tools

# PLATFORMS="gcc-c11-O2 clang qemu" chooses among: lint, gcc, clang (C11 and C17, -O0 to -O3), i386,
# musl, qemu (aarch64, riscv64, s390x) and valgrind.
test-platforms:
	@tests/platforms/platforms.sh $(PLATFORMS)

# The checks are in clang-tidy.yaml. A file is read again when it or a header changes. What takes longest
# comes first.
lint: $(lint_folder)/cppcheck $(lint_sources:%.c=$(lint_folder)/%.tidy)
	@echo 'clang-tidy and cppcheck find nothing in $(words $(lint_sources)) files'

lint-tools:
	@tests/need.sh $(CLANG_TIDY) $(CPPCHECK) libcmocka-dev

lint_headers := $(wildcard *.h sample/*.h sample/*/*.h tests/*/*.h)
$(lint_folder)/%.tidy: %.c tests/platforms/clang-tidy.yaml $(lint_headers) \
		$(lint_folder)/page/timeline_page.h | lint-tools
	@mkdir -p $(@D)
	$(CLANG_TIDY) --quiet --config-file=tests/platforms/clang-tidy.yaml '--checks=$(lint_without)' $< \
		-- -std=$(STD) $(lint_includes) -I$(lint_folder)/page $(lint_flags) 2>$@.log || \
		{ cat $@.log; exit 1; }
	@mv $@.log $@

# The page is no program, and as a number for each of its bytes takes longer to read than any.
lint_includes = $(filter-out -I$(build)%,$(include_folders:%=-I%))
$(lint_folder)/page/timeline_page.h:
	@mkdir -p $(@D)
	@echo 'static const unsigned char page_head[] = {1}, page_tail[] = {1};' >$@

# What calls do is followed in the library and its programs. In the tests, where that takes as long as
# all the rest, each function is read by itself: they run under the sanitizers as they are.
lint_flags :=
$(lint_folder)/tests/%.tidy: lint_flags := -Xclang -analyzer-config -Xclang ipa=none

# A test that is given NULL or 0 where there should be something ends there, as it should.
lint_without :=
$(lint_folder)/tests/%.tidy: lint_without := -clang-analyzer-core.NonNullParamChecker,$\
	-clang-analyzer-core.NullDereference,-clang-analyzer-core.DivideZero
# These define functions of the C library, whose header has other names for the parameters.
lint_without_names := -readability-inconsistent-declaration-parameter-name
$(lint_folder)/sample/record/recorder.tidy: lint_without := $(lint_without_names)
$(lint_folder)/sample/preload/preload.tidy: lint_without := $(lint_without_names)
$(lint_folder)/tests/programs/hooks.tidy: lint_without := $(lint_without_names)
# These ask the functions of the C library for what a program should not.
lint_wrong := tests/programs/allocator tests/programs/guest
$(lint_wrong:%=$(lint_folder)/%.tidy): lint_without := -clang-analyzer-unix.Malloc,$\
	-clang-analyzer-optin.portability.UnixAPI,-clang-analyzer-core.*
lint_without_leaks := leakReturnValNotUsed memleakOnRealloc memleak

# Style is left to clang-tidy. A preprocessorErrorDirective is what cppcheck makes of __has_include. A
# file that includes mems.c finds mems.h in its place: each of the four would have it read once more.
$(lint_folder)/cppcheck: $(lint_sources) $(lint_headers) | lint-tools
	@mkdir -p $(@D)/instead
	@echo '#include "mems.h"' >$(@D)/instead/mems.c
	$(CPPCHECK) --quiet --error-exitcode=1 --std=$(STD) --enable=warning,performance,portability \
		--suppress=preprocessorErrorDirective \
		$(foreach file,$(lint_wrong),$(lint_without_leaks:%=--suppress=%:$(file).c)) \
		--inline-suppr -I$(@D)/instead $(lint_includes) \
		$(lint_sources)
	@touch $@
