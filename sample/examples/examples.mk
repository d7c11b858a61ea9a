# Data structures on the heap, with links that are virtual addresses.

examples := $(build)/sample/examples/list $(build)/sample/examples/table

$(examples): %: %.o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(examples)
test: export EXAMPLES = $(build)/sample/examples
