# Programs on a MeMS heap (sample/preload): real ones, in a run that compares; the one that asks the
# allocator's functions one by one; and what test_preload.sh runs.

allocator := $(build)/tests/programs/allocator
guest := $(build)/tests/programs/guest
hooks := $(build)/tests/programs/hooks.so
handlers := $(build)/tests/programs/handlers.so

.PHONY: test-programs test-programs-sabotage

# Calls of the allocator must stay calls.
$(allocator).o $(guest).o: %.o: $(build)/flags
	$(compile) -fno-builtin $(@:$(build)/%.o=%.c) -o $@

$(allocator) $(guest): %: %.o
	$(link) -pthread $^ $(LDLIBS) -o $@

$(hooks:.so=.o) $(handlers:.so=.o): $(build)/%.o: %.c $(build)/flags
	$(compile) -fPIC -fno-builtin $< -o $@

$(hooks) $(handlers): %.so: %.o
	$(link) -shared $^ $(LDLIBS) -o $@

# Programs of the system are on the heap of the plain build only.
ifeq ($(variant),)
programs: $(preload) $(guest) $(hooks) $(handlers)
endif

# PROGRAMS_FLAGS are the options of tests/programs/programs.sh, for instance --quick or
# --only "git redis".
test-programs: $(preload) $(allocator)
	@tests/programs/programs.sh $(PROGRAMS_FLAGS) $^

# Shows that it can fail.
test-programs-sabotage: $(preload) $(allocator)
	@tests/programs/sabotage.sh $(allocator) '$(preload_others)' $(compile)
