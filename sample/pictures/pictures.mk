# The pictures of the README, which the repository keeps in sample/.

pictures := $(build)/sample/pictures/pictures

.PHONY: pictures

$(pictures): $(pictures).o $(addprefix $(build)/sample/replay/,svg.o name.o) $(library)
	$(link) $^ $(LDLIBS) -o $@

pictures: $(pictures) $(replay) $(example)
	@tests/need.sh librsvg2-bin fonts-dejavu-core chromium nodejs
	@sample/pictures/pictures.sh $(build) ./$(example) ./$(replay)
