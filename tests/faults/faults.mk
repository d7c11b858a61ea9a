# The functions that the linker puts between the library and the system are in wrapped.h.
include_folders += tests/faults

# test_os stands between the library and the system, to make each request fail in turn.

wrapped := mmap mmap64 mremap munmap mprotect madvise mincore getrlimit getrlimit64 getrusage \
	getauxval
$(build)/tests/faults/test_os: $(build)/tests/faults/test_os.o $(support) $(tested)
	$(link) $(wrapped:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) $(LDLIBS) -o $@

# And test_purge, which watches what is given back, and has a clock of its own.
$(build)/tests/faults/test_purge: $(build)/tests/faults/test_purge.o $(support) $(tested)
	$(link) -Wl,--wrap=madvise -Wl,--wrap=clock_gettime $^ $(cmocka_libs) -pthread $(LDLIBS) -o $@

# And test_pages, in which pages are larger; it makes images up.
paged := getauxval getpagesize mmap mremap munmap mprotect madvise mincore
$(build)/tests/faults/test_pages: $(build)/tests/faults/test_pages.o $(build)/tests/images/image.o \
		$(support) $(tested)
	$(link) $(paged:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) $(LDLIBS) -o $@

# test_interposed calls the library from inside its own requests.
interposed := mmap munmap mprotect madvise mincore
$(build)/tests/faults/test_interposed: $(build)/tests/faults/test_interposed.o $(support) $(tested)
	$(link) $(interposed:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) -pthread $(LDLIBS) -o $@

# For test_mlockall.sh.
locked := $(build)/tests/faults/locked

$(locked): $(locked).o $(tested)
	$(link) $^ $(LDLIBS) -o $@

programs: $(locked)
test: export LOCKED = $(locked)
