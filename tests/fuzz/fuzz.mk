# Fuzzing: the targets fuzz_*.c, in two forms. Every build has them as programs that run
# files, so that the kept inputs are tests like others; two more variants link them with libFuzzer
# (clang): fuzz, with AddressSanitizer, and fuzz-direct, without it, for under a memory checker the
# shortest ways through mems_malloc and mems_free are not taken.

ifneq ($(filter fuzz fuzz-direct,$(variant)),)
variant_flags := -fsanitize=$(if $(filter fuzz,$(variant)),address$(comma))undefined \
	-fno-sanitize-recover=all -fno-omit-frame-pointer $(assertions)
# The model need not be looked into, only the library and what calls it. Calls are no magic words,
# so that comparisons need not be watched; the lines of a trace are.
$(build)/mems.o $(build)/tests/fuzz/fuzz_heap.o: \
	variant_flags += -fsanitize-coverage=inline-8bit-counters,pc-table
$(build)/sample/replay/trace.o $(build)/sample/look/core.o $(build)/tests/fuzz/fuzz_core.o: \
	variant_flags += -fsanitize=fuzzer-no-link
fuzz_link := -fsanitize=fuzzer
else
fuzz_main := $(build)/tests/fuzz/fuzz_main.o
# It has look.c and mems.c in it, and runs for less time than it takes to optimise them.
$(build)/tests/fuzz/fuzz_core.o: private variant_flags += -Og
endif

fuzz_heap := $(build)/tests/fuzz/fuzz_heap
fuzz_trace := $(build)/tests/fuzz/fuzz_trace
fuzz_image := $(build)/tests/fuzz/fuzz_image
fuzz_core := $(build)/tests/fuzz/fuzz_core

.PHONY: fuzz fuzz-build fuzz-corpus fuzzers fuzz-heap

$(fuzz_heap).o: | cmocka

$(fuzz_heap): $(fuzz_heap).o $(fuzz_main) $(support) $(tested)
	$(link) $(fuzz_link) $^ $(cmocka_libs) $(LDLIBS) -o $@

$(fuzz_trace): $(fuzz_trace).o $(fuzz_main) $(build)/sample/replay/trace.o \
		$(build)/sample/textbook_look.o
	$(link) $(fuzz_link) $^ $(LDLIBS) -o $@

$(fuzz_image): $(fuzz_image).o $(fuzz_main) $(build)/tests/images/image.o $(tested)
	$(link) $(fuzz_link) $^ $(LDLIBS) -o $@

# It has look.c and mems.c in it.
$(fuzz_core): $(fuzz_core).o $(fuzz_main) $(build)/sample/look/core.o
	$(link) $(fuzz_link) $^ $(LDLIBS) -o $@

fuzzers: $(fuzz_heap) $(fuzz_trace) $(fuzz_image) $(fuzz_core)

fuzz-heap: $(fuzz_heap)

# The kept inputs are tests of every build.
programs: fuzzers
test: export FUZZ_HEAP = $(fuzz_heap)
test: export FUZZ_TRACE = $(fuzz_trace)
test: export FUZZ_IMAGE = $(fuzz_image)
test: export FUZZ_CORE = $(fuzz_core)

# FUZZ_SECONDS says how long, FUZZ_FLAGS are options of libFuzzer.
FUZZ_SECONDS ?= 60

fuzz: fuzz-build
	@tests/fuzz/fuzz.sh build/fuzz $(FUZZ_SECONDS) $(FUZZ_FLAGS)

# Keeps what was found, in the repository.
fuzz-corpus: fuzz-build
	@tests/fuzz/fuzz.sh build/fuzz merge

fuzz-build: cmocka
	@CLANG=$(CLANG) tests/need.sh $(CLANG) libclang-rt-dev
	+@$(MAKE) --no-print-directory variant=fuzz CC=$(CLANG) fuzzers
	+@$(MAKE) --no-print-directory variant=fuzz-direct CC=$(CLANG) fuzz-heap
