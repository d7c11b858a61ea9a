# mems-preload, and the object that puts a MeMS heap under any program.

preload := $(build)/preload.so
preload_script := $(programs)/mems-preload
preload_others := $(build)/sample/preload/arena.o $(build)/sample/preload/mems.o

.PHONY: preload

# Names in here must not meet those of a program, nor calls be turned into one another.
$(build)/sample/preload/mems.o: mems.c $(build)/flags
	$(compile) -fPIC -fvisibility=hidden $< -o $@

$(build)/sample/preload/%.o: sample/preload/%.c $(build)/flags
	$(compile) -fPIC -fvisibility=hidden -fno-builtin $< -o $@

$(preload): $(build)/sample/preload/preload.o $(preload_others)
	$(link) -shared $^ $(LDLIBS) -o $@

$(preload_script): sample/preload/mems-preload.in $(preload)
	$(call script,$(folder_here)) $< >$@
	chmod +x $@

preload: $(preload_script)
