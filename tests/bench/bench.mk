# The benchmark; and what a call costs on a small heap and on a large one.

bench := $(build)/tests/bench/bench

.PHONY: bench bench-sample scale

# Calls of malloc and free must stay calls, and go straight to the library that defines them.
$(bench).o: tests/bench/bench.c $(build)/flags
	$(compile) -fno-builtin -fno-plt $< -o $@

$(bench): $(bench).o $(build)/sample/replay/trace.o $(build)/sample/textbook_look.o $(library)
	$(link) $^ $(LDLIBS) -o $@

# BENCH_FLAGS are the options of tests/bench/bench.sh, for instance --quick or --rounds 9.
bench: export COMPILER = $(CC)
bench: export COMPILER_FLAGS = $(CPPFLAGS) $(CFLAGS) -std=c11
bench: $(bench)
	@tests/bench/bench.sh $(BENCH_FLAGS) $<

# Keeps the picture of the last run in the repository.
bench-sample:
	cp build/bench.svg sample/bench.svg

$(build)/tests/bench/scale: $(build)/tests/bench/scale.o $(library)
	$(link) $^ $(LDLIBS) -o $@

# Counted as it runs by itself: nothing in it asks whether Valgrind is there.
scale:
	@tests/need.sh valgrind
	+@$(MAKE) --no-print-directory variant=scale build/scale/tests/bench/scale
	@tests/bench/scale.sh build/scale/tests/bench/scale
