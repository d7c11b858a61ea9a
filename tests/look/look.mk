# A program that is killed, for core dumps, and one that damages these.

dead := $(build)/tests/look/dead
damage := $(build)/tests/look/damage

$(dead): $(dead).o $(library)
	$(link) $^ $(LDLIBS) -o $@

$(damage): $(damage).o $(build)/sample/look/look.o $(build)/sample/look/core.o
	$(link) $^ $(LDLIBS) -o $@

ifneq ($(variant),asan)
programs: $(dead) $(damage) $(look)
endif
test: export DEAD = $(dead)
test: export DAMAGE = $(damage)
test: export LOOK = $(look)
