# mems-preload, and the object that puts a MeMS heap under any program.

.PHONY: preload
preload: $(build)/preload.so

preload := $(build)/preload.so
preload_others := $(build)/sample/preload/arena.o $(library)

# Names in here must not meet those of a program, nor calls be turned into one another.
$(build)/sample/preload/%.o: sample/preload/%.c $(build)/flags
	$(compile) -fPIC -fvisibility=hidden -fno-builtin $< -o $@

# It is initialised first: handlers of fork that other objects register run before its own then, and may
# wait for threads that allocate.
$(preload): $(build)/sample/preload/preload.o $(preload_others)
	$(link) -shared -Wl,-z,initfirst -Wl,--exclude-libs,ALL $^ $(LDLIBS) -o $@

$(preload_script): sample/preload/mems-preload.in $(preload)
	$(call script,$(folder_here)) $< >$@
	chmod +x $@
