# mems-replay, which replays recorded calls on a heap.

include_folders += sample/replay $(build)/sample/replay

replay_parts := compare compare_draw engine mems-replay name number placer progress ranges \
	remembered replay svg timeline trace
textbook := $(build)/sample/textbook.o $(build)/sample/textbook_look.o
exercises := $(sort $(wildcard sample/exercises/*.trace))

$(replay): $(replay_parts:%=$(build)/sample/replay/%.o) $(textbook) $(library)
	$(link) $^ $(LDLIBS) -o $@

# The page that is built into it.
$(build)/sample/replay/timeline.o: $(build)/sample/replay/timeline_page.h
$(build)/sample/replay/timeline_page.h: $(wildcard sample/replay/page/*) $(exercises) \
		sample/replay/embed.sh $(build)/flags
	sample/replay/embed.sh sample/replay/page $(exercises) >$@
