# Tests of models that are linked in another way.

$(build)/tests/model/test_textbook: $(textbook)
