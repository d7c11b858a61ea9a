# The benchmark, and the traces that it replays.

recorder := $(build)/recorder.so

.PHONY: bench bench-sample traces

# Calls of malloc and free must stay calls, and go straight to the library that defines them.
$(build)/tests/bench.o: tests/bench.c $(build)/flags
	$(compile) -fno-builtin -fno-plt $< -o $@

$(build)/tests/bench: $(build)/tests/bench.o $(build)/sample/trace.o $(library)
	$(link) $^ $(LDLIBS) -o $@

$(recorder): tests/recorder.c $(build)/flags
	$(compile) -fPIC -fno-builtin $< -o $(build)/tests/recorder.o
	$(link) -shared $(build)/tests/recorder.o $(LDLIBS) -o $@

# BENCH_FLAGS are the options of tests/bench.sh, for instance --quick or --rounds 9.
bench: export COMPILER = $(CC)
bench: export COMPILER_FLAGS = $(CPPFLAGS) $(CFLAGS) -std=c11
bench: $(build)/tests/bench
	@tests/bench.sh $(BENCH_FLAGS) $<

# Keeps the picture of the last run in the repository.
bench-sample:
	cp build/bench.svg sample/bench.svg

traces: $(recorder)
	tests/record-traces.sh $(recorder) tests/traces
