# The traces of real programs, and the object that records them.

recorder := $(build)/recorder.so

.PHONY: traces

$(recorder): tests/traces/recorder.c $(build)/flags
	$(compile) -fPIC -fno-builtin $< -o $(build)/tests/traces/recorder.o
	$(link) -shared $(build)/tests/traces/recorder.o $(LDLIBS) -o $@

traces: $(recorder)
	tests/traces/record.sh $(recorder) tests/traces
