# What tests of sample/replay need beside it; and the test of the page that mems-replay --html writes.

heaps := $(build)/tests/replay/heaps

.PHONY: test-browser

$(heaps): $(heaps).o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(heaps)
test: export HEAPS = $(heaps)

test-browser: export REPLAY = $(replay)
test-browser: $(replay)
	@tests/need.sh chromium nodejs fonts-dejavu-core
	@tests/run.sh $(build)/browser tests/replay/browser/test_timeline.sh
