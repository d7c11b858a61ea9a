# test_checker includes mems.c itself, to damage what only that can see.

$(build)/tests/checker/test_checker: $(build)/tests/checker/test_checker.o $(support)
	$(link) $^ $(cmocka_libs) $(LDLIBS) -o $@
