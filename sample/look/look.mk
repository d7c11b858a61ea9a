# mems-look, which shows the heap of a program that has ended. It is made of mems.c itself, and so
# has no need of the library.

include_folders += sample/look

look_parts := core diff look mems-look

$(look): $(look_parts:%=$(build)/sample/look/%.o) $(build)/sample/replay/name.o \
		$(build)/sample/replay/svg.o
	$(link) $^ $(LDLIBS) -o $@
