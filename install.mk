# Installing, and the tarball of a release.

# PREFIX is prefix by another name. DESTDIR comes before all of these, for packages.
PREFIX ?= /usr/local
prefix ?= $(PREFIX)
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
datarootdir ?= $(prefix)/share
mandir ?= $(datarootdir)/man
pkgconfigdir ?= $(libdir)/pkgconfig
INSTALL ?= install
# Objects that are optimised at link time would lose their index with it.
STRIP ?= $(if $(findstring -flto,$(CFLAGS)),:,$(shell $(CC) -print-prog-name=strip) --strip-debug)

# Each has a page of its own that leads to mems(3), so that "man mems_malloc" works.
functions = $(shell sed -nE '/^typedef/d; s/^[a-z].*[ *](mems_[a-z_]+)\(.*\);$$/\1/p' mems.h)

.PHONY: install uninstall dist

# Directories may have spaces in their names, at which make would cut them.
empty :=
space := $(empty) $(empty)
unspaced = $(subst $(space),@space@,$1)

# A directory in terms of the one that it lies in, or as it is. below NAME,BY,DIRECTORY.
below = $(patsubst $(call unspaced,$($1))/%,$2/%,$(patsubst $(call unspaced,$($1)),$2,$\
	$(call unspaced,$3)))

# A text that sed puts in place of another.
sed_text = $(subst |,\|,$(subst &,\&,$(subst \,\\,$1)))

# Scripts find the objects that they put under a program in a folder: in this tree, and where they
# are installed. The trees can be moved, except libdir if it is not below the folder that bindir is in.
beside := $$(dirname -- "$$(readlink -f -- "$$0")")
folder_here := $(beside)/..$(if $(variant),,/build/default)
folder_there = $(if $(filter $(call unspaced,$(exec_prefix)/bin),$(call unspaced,$(bindir))),$\
	$(call below,exec_prefix,$(beside)/..,$(libdir)),$(libdir))/mems
script = sed 's|@folder@|$(call sed_text,$1)|; s|@space@| |g; s|@version@|$(version)|'

# What sed does to mems.pc.in; at each install, for the directories may be others than last time.
# What would end a word or a line of that file has a backslash.
mems_pc = s|@prefix@|$(call sed_text,$(call unspaced,$(prefix)))|; \
	s|@exec_prefix@|$(call sed_text,$(call below,prefix,$${prefix},$(exec_prefix)))|; \
	s|@libdir@|$(call sed_text,$(call below,exec_prefix,$${exec_prefix},$(libdir)))|; \
	s|@includedir@|$(call sed_text,$(call below,prefix,$${prefix},$(includedir)))|; \
	s|@version@|$(version)|; /^[a-z_]*=/s|[\\"\#]|\\&|g; s|@space@|\\ |g

# CMake's package lies below libdir, and finds the header from there, so that the tree can be moved.
# What CMake would read in a text has a backslash.
cmake_folder = $(libdir)/cmake/mems
cmake_include = $(shell { \
	realpath -m --relative-to='$(cmake_folder)' '$(includedir)' 2>/dev/null || \
	echo '$(includedir)'; } | sed 's/[\\"$$]/\\&/g')
mems_cmake = s|@include@|$(call sed_text,$(cmake_include))|; s|@version@|$(version)|

install: $(library) $(replay) $(look) $(recorder) $(preload)
	$(INSTALL) -d '$(DESTDIR)$(bindir)' '$(DESTDIR)$(libdir)/mems' '$(DESTDIR)$(includedir)' \
		'$(DESTDIR)$(pkgconfigdir)' '$(DESTDIR)$(cmake_folder)' '$(DESTDIR)$(mandir)/man1' \
		'$(DESTDIR)$(mandir)/man3' '$(DESTDIR)$(mandir)/man5'
	$(INSTALL) -m 644 mems.h '$(DESTDIR)$(includedir)'
	$(INSTALL) -m 644 $(library) '$(DESTDIR)$(libdir)/libmems.a'
	$(STRIP) '$(DESTDIR)$(libdir)/libmems.a'
	$(INSTALL) -m 755 $(recorder) $(preload) '$(DESTDIR)$(libdir)/mems'
	$(STRIP) '$(DESTDIR)$(libdir)'/mems/*.so
	$(call script,$(folder_there)) sample/record/mems-record.in >$(build)/mems-record
	$(call script,$(folder_there)) sample/preload/mems-preload.in >$(build)/mems-preload
	$(INSTALL) -m 755 $(replay) $(look) $(build)/mems-record $(build)/mems-preload \
		'$(DESTDIR)$(bindir)'
	$(STRIP) '$(DESTDIR)$(bindir)/mems-replay' '$(DESTDIR)$(bindir)/mems-look'
	$(INSTALL) -m 644 sample/look/mems-gdb.py '$(DESTDIR)$(libdir)/mems'
	sed '$(mems_pc)' mems.pc.in >$(build)/mems.pc
	$(INSTALL) -m 644 $(build)/mems.pc '$(DESTDIR)$(pkgconfigdir)'
	for file in mems-config.cmake mems-config-version.cmake; do \
		sed '$(mems_cmake)' $$file.in >$(build)/$$file && \
			$(INSTALL) -m 644 $(build)/$$file '$(DESTDIR)$(cmake_folder)' || exit; \
	done
	$(INSTALL) -m 644 man/*.1 '$(DESTDIR)$(mandir)/man1'
	$(INSTALL) -m 644 man/mems.3 '$(DESTDIR)$(mandir)/man3'
	$(INSTALL) -m 644 man/*.5 '$(DESTDIR)$(mandir)/man5'
	echo '.so man3/mems.3' >$(build)/alias.3
	for name in $(functions); do \
		$(INSTALL) -m 644 $(build)/alias.3 '$(DESTDIR)$(mandir)'/man3/$$name.3 || exit; \
	done

# The linker prefers it from then on.
install-shared: install $(shared)
	$(INSTALL) -m 755 $(dir $(shared))$(soname) '$(DESTDIR)$(libdir)/$(soname)'
	$(STRIP) '$(DESTDIR)$(libdir)/$(soname)'
	ln -sf $(soname) '$(DESTDIR)$(libdir)/libmems.so'

# Removes the files, and of the directories only those that are its own.
uninstall:
	rm -f '$(DESTDIR)$(includedir)/mems.h' '$(DESTDIR)$(libdir)/libmems.a' \
		'$(DESTDIR)$(libdir)/libmems.so' '$(DESTDIR)$(libdir)/$(soname)' \
		'$(DESTDIR)$(libdir)/mems/recorder.so' '$(DESTDIR)$(libdir)/mems/preload.so' \
		'$(DESTDIR)$(libdir)/mems/mems-gdb.py' \
		'$(DESTDIR)$(pkgconfigdir)/mems.pc' '$(DESTDIR)$(cmake_folder)/mems-config.cmake' \
		'$(DESTDIR)$(cmake_folder)/mems-config-version.cmake'
	for name in mems-replay mems-record mems-preload mems-look; do \
		rm -f '$(DESTDIR)$(bindir)'/$$name '$(DESTDIR)$(mandir)'/man1/$$name.1; \
	done
	rmdir '$(DESTDIR)$(libdir)/mems' '$(DESTDIR)$(cmake_folder)' 2>/dev/null || :
	rm -f '$(DESTDIR)$(mandir)/man5/mems-image.5'
	for name in mems $(functions); do rm -f '$(DESTDIR)$(mandir)'/man3/$$name.3; done

# The files that git tracks, as they lie here, except those that serve the repository alone (their
# names begin with a dot). The list goes with them, as MANIFEST, so that an unpacked tarball can
# make the same tarball again, byte for byte.
dist: package := mems-$(version)
dist:
	@rm -rf build/dist build/$(package).tar.gz
	@mkdir -p build/dist/$(package)
	@if [ -e .git ]; then \
		git -c safe.directory='$(CURDIR)' ls-files >build/dist/tracked && \
		{ sed '/^\./d' build/dist/tracked; echo MANIFEST; } | LC_ALL=C sort \
			>build/dist/$(package)/MANIFEST && \
		date=@$${SOURCE_DATE_EPOCH:-$$(git -c safe.directory='$(CURDIR)' log -1 --format=%ct)}; \
	elif [ -e MANIFEST ]; then \
		date=@$${SOURCE_DATE_EPOCH:-$$(stat -c %Y MANIFEST)} && \
		cp MANIFEST build/dist/$(package); \
	else \
		echo 'make dist needs a git checkout or an unpacked tarball: no .git, no MANIFEST' >&2; \
		exit 1; \
	fi && \
	grep -vx MANIFEST build/dist/$(package)/MANIFEST | \
		tar -cf build/dist/files.tar --verbatim-files-from -T - && \
	tar -xf build/dist/files.tar -C build/dist/$(package) && \
	tar -C build/dist --sort=name --mtime="$$date" --owner=0 --group=0 --numeric-owner \
		--mode=u+rw,go+r,go-w,a+X --format=ustar -cf build/dist/$(package).tar $(package) && \
	gzip -9nf build/dist/$(package).tar
	@mv build/dist/$(package).tar.gz build
	@rm -rf build/dist
	@echo build/$(package).tar.gz
