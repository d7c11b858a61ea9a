# What tests of sample/replay need beside it; and the test of the page that mems-replay --html writes.

heaps := $(build)/tests/replay/heaps
textbook_driver := $(build)/tests/replay/textbook_driver

.PHONY: test-browser

$(build)/tests/replay/test_placer: $(textbook) $(addprefix $(build)/sample/replay/,placer.o ranges.o)

$(heaps): $(heaps).o $(library)
	$(link) $^ $(LDLIBS) -o $@

$(textbook_driver): $(textbook_driver).o $(textbook)
	$(link) $^ $(LDLIBS) -o $@

programs: $(heaps)
test: export HEAPS = $(heaps)

test-browser: export REPLAY = $(replay)
test-browser: export TEXTBOOK_DRIVER = $(textbook_driver)
test-browser: $(replay) $(textbook_driver)
	@tests/need.sh chromium nodejs fonts-dejavu-core
	@tests/run.sh $(build)/browser $(sort $(wildcard tests/replay/browser/test_*.sh))
