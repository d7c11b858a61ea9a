# Tests of models that are linked in another way.

$(build)/tests/model/test_textbook: $(build)/sample/textbook.o $(build)/sample/textbook_look.o
