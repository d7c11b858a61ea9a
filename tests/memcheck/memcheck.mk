# The program that uses addresses it should not, for test_stale.sh.

stale := $(build)/tests/memcheck/stale

$(stale): $(stale).o $(tested)
	$(link) $^ $(LDLIBS) -o $@

programs: $(stale)
test: export STALE = $(stale)
