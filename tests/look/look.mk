# A program that is killed, for core dumps.

dead := $(build)/tests/look/dead

$(dead): $(dead).o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(dead) $(look)
test: export DEAD = $(dead)
test: export LOOK = $(look)
