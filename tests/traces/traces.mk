# The traces of real programs.

.PHONY: traces

traces: $(recorder)
	tests/traces/record.sh $(recorder) tests/traces
