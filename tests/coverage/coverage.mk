# Which lines and branches of mems.c the tests reach, as gcov counts them.
#
# The library, and the tests that include it, are compiled without optimisation: so what is counted
# is what is written, line by line and condition by condition. Static and inline functions are kept,
# so that one that nobody calls counts as not reached. No function is inlined: of each copy the
# branches would be counted again, and its lines as those of another function. There are no
# assertions, whose second branch is never taken; nothing else is left out of the count. All else is
# compiled as ever. Two builds are counted, for some lines are there, or are reached, in 32 bits only.
#
# GCOV has to be that of CC, which has to be gcc.

GCOV ?= gcov

.PHONY: coverage

counted_flags := -O0 --coverage -fkeep-inline-functions -fkeep-static-functions -Dalways_inline=unused
ifneq ($(filter coverage coverage-m32,$(variant)),)
variant_flags += $(if $(filter coverage-m32,$(variant)),$(m32))
link += --coverage -Wl,-u,__gcov_dump
$(build)/mems.o $(including): variant_flags += $(counted_flags)
# Threads that count at once; test_checker, which would take six times as long, has none.
$(filter-out %/test_checker.o,$(build)/mems.o $(including)): variant_flags += -fprofile-update=atomic
$(build)/mems.o $(including): tests/coverage/coverage.mk
test: export VARIANT_FLAGS = $(variant_flags) --coverage
endif

# It counts between the instructions of a count, which in 32 bits begins anew then, for ever.
ifeq ($(variant),coverage-m32)
tests := $(filter-out %/test_steps,$(tests))
endif

# The counts of earlier runs would be added to. With Valgrind there are a few lines more, and a test
# that reaches them.
coverage: build/cmocka-m32/libcmocka.a
	@tests/need.sh valgrind
	@rm -f build/coverage/*.gcda build/coverage/*/*/*.gcda
	@rm -f build/coverage-m32/*.gcda build/coverage-m32/*/*/*.gcda
	+@$(MAKE) --no-print-directory variant=coverage test
	+@RUN=$$(tests/platforms/run32.sh $(CC) $(m32)) && export RUN && \
		$(MAKE) --no-print-directory variant=coverage-m32 CMOCKA=build/cmocka-m32 test
	@GCOV='$(GCOV)' UNITS='mems $(including:$(build)/%.o=%)' tests/coverage/coverage.sh tests/coverage/coverage.txt build/coverage \
		build/coverage-m32
