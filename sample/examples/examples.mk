# Data structures on the heap, with links that are virtual addresses; and mistakes.

examples := $(addprefix $(build)/sample/examples/,list table dictionary dictionary_build mistakes)

$(examples): %: %.o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(examples)
test: export EXAMPLES = $(build)/sample/examples
