# Real programs on a MeMS heap: the object that puts it under them, and the run that compares.

preload := $(build)/preload.so

.PHONY: test-programs test-programs-sabotage preload

# Names of mems.c must not meet those of a program, nor calls be turned into one another.
$(build)/tests/preload-mems.o: mems.c $(build)/flags
	$(compile) -fPIC -fvisibility=hidden $< -o $@

$(build)/tests/preload.o: tests/preload.c $(build)/flags
	$(compile) -fPIC -fvisibility=hidden -fno-builtin $< -o $@

$(preload): $(build)/tests/preload.o $(build)/tests/preload-mems.o
	$(link) -shared $^ $(LDLIBS) -o $@

preload: $(preload)

# Calls of the allocator must stay calls.
$(build)/tests/allocator.o: tests/allocator.c $(build)/flags
	$(compile) -fno-builtin $< -o $@

$(build)/tests/allocator: $(build)/tests/allocator.o
	$(link) -pthread $^ $(LDLIBS) -o $@

# PROGRAMS_FLAGS are the options of tests/programs.sh, for instance --quick or --only "git redis".
test-programs: $(preload) $(build)/tests/allocator
	@tests/programs.sh $(PROGRAMS_FLAGS) $^

# Shows that it can fail.
test-programs-sabotage: $(preload) $(build)/tests/allocator
	@tests/programs/sabotage.sh $(build)/tests/allocator $(build)/tests/preload-mems.o $(compile)
