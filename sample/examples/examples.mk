# Data structures on the heap, with links that are virtual addresses.

examples := $(addprefix $(build)/sample/examples/,list table dictionary dictionary_build)

$(examples): %: %.o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(examples)
test: export EXAMPLES = $(build)/sample/examples
