# mems-record, and the object that it puts under a program.

recorder := $(build)/recorder.so

$(build)/sample/record/recorder.o: sample/record/recorder.c $(build)/flags
	$(compile) -fPIC -fno-builtin $< -o $@

$(recorder): $(build)/sample/record/recorder.o
	$(link) -shared $^ $(LDLIBS) -o $@

$(record): sample/record/mems-record.in $(recorder)
	$(call script,$(folder_here)) $< >$@
	chmod +x $@
