# Real programs on a MeMS heap (sample/preload): the run that compares, and the program that asks the
# allocator's functions one by one.

allocator := $(build)/tests/programs/allocator

.PHONY: test-programs test-programs-sabotage

# Calls of the allocator must stay calls.
$(allocator).o: tests/programs/allocator.c $(build)/flags
	$(compile) -fno-builtin $< -o $@

$(allocator): $(allocator).o
	$(link) -pthread $^ $(LDLIBS) -o $@

# PROGRAMS_FLAGS are the options of tests/programs/programs.sh, for instance --quick or
# --only "git redis".
test-programs: $(preload) $(allocator)
	@tests/programs/programs.sh $(PROGRAMS_FLAGS) $^

# Shows that it can fail.
test-programs-sabotage: $(preload) $(allocator)
	@tests/programs/sabotage.sh $(allocator) $(preload_mems) $(compile)
