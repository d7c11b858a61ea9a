# Images: what takes them apart, and programs that stand between the library and the system.

include_folders += tests/images

image_tests := $(build)/tests/images/test_images $(build)/tests/images/test_images_os
$(image_tests): $(build)/tests/images/image.o

image_wrapped := openat close lseek pread pwritev sync_file_range fsync renameat mmap mprotect
$(build)/tests/images/test_images_os: $(build)/tests/images/test_images_os.o $(support) $(library)
	$(link) $(image_wrapped:%=-Wl$(comma)--wrap=%) $^ $(cmocka_libs) $(LDLIBS) -o $@

# For test_images.sh.
saver := $(build)/tests/images/saver

$(saver): $(saver).o $(library)
	$(link) $^ $(LDLIBS) -o $@

programs: $(saver)
# Its images are of another width.
ifeq ($(variant),)
test32 coverage: $(saver)
endif
test: export SAVER = $(saver)
