# The benchmark; and what a call costs on a small heap and on a large one.

bench := $(build)/tests/bench/bench
bench_parts := bench traces micro memory start translation threads images
bench_objects := $(bench_parts:%=$(build)/tests/bench/%.o)
bench_trace := $(build)/sample/replay/trace.o $(build)/sample/textbook_look.o

.PHONY: bench bench-sample scale

# Calls of malloc and free must stay calls, and go straight to the library that defines them.
$(bench_objects): $(build)/tests/bench/%.o: tests/bench/%.c $(build)/flags
	$(compile) -fno-builtin -fno-plt $< -o $@

$(bench): $(bench_objects) $(bench_trace) $(library)
	$(link) $^ $(LDLIBS) -o $@

ifeq ($(variant),)
programs: $(bench)
test: export BENCH = $(bench)
endif

# The worker linked with another mems.c, that of the folder OLD: always compiled, as the folder may
# be another one now.
$(build)/tests/bench/old-mems.o: $(OLD)/mems.c always | $(build)/flags
	$(compile) $< -o $@

$(bench)-old: $(bench_objects) $(bench_trace) $(build)/tests/bench/old-mems.o
	$(link) $^ $(LDLIBS) -o $@

# BENCH_FLAGS are the options of tests/bench/bench.sh, for instance --quick or --rounds 9;
# BENCH_ROWS names the rows that are wanted, for instance translation; OLD is a folder with another
# mems.c to measure beside this one.
bench: export COMPILER = $(CC)
bench: export COMPILER_FLAGS = $(CPPFLAGS) $(CFLAGS) -std=c11
bench: $(bench) $(if $(OLD),$(bench)-old)
	@tests/bench/bench.sh $(if $(OLD),--old $(bench)-old) $(if $(BENCH_ROWS),--rows "$(BENCH_ROWS)") \
		$(BENCH_FLAGS) $<

# Keeps the picture and the tables of the last run in the repository.
bench-sample:
	cp build/bench.svg sample/bench.svg
	for page in README.md docs/speed.md; do \
		awk -f tests/bench/bench_pages.awk build/bench.md $$page >build/page && \
			cat build/page >$$page || exit; \
	done

$(build)/tests/bench/scale: $(build)/tests/bench/scale.o $(library)
	$(link) $^ $(LDLIBS) -o $@

# Stands between the library and the system, to leave that one's time out.
slowest_wrapped := mmap munmap mprotect madvise mincore
$(build)/tests/bench/slowest: $(build)/tests/bench/slowest.o $(library)
	$(link) $(slowest_wrapped:%=-Wl$(comma)--wrap=%) $^ $(LDLIBS) -o $@

# Counted as it runs by itself: nothing in it asks whether Valgrind is there.
scale:
	@tests/need.sh valgrind
	+@$(MAKE) --no-print-directory variant=scale build/scale/tests/bench/scale \
		build/scale/tests/bench/slowest
	@tests/bench/scale.sh build/scale/tests/bench
