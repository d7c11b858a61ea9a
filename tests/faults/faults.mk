# test_os stands between the library and the system, to make each request fail in turn.

wrapped := mmap mmap64 munmap mprotect madvise mincore getrlimit getrlimit64 getrusage
$(build)/tests/faults/test_os: $(build)/tests/faults/test_os.o $(support) $(tested)
	$(link) $(wrapped:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) $(LDLIBS) -o $@

# For test_mlockall.sh.
locked := $(build)/tests/faults/locked

$(locked): $(locked).o $(tested)
	$(link) $^ $(LDLIBS) -o $@

programs: $(locked)
test: export LOCKED = $(locked)
