# The tarball of a release, unpacked somewhere else, and the tests there.

.PHONY: dist-check dist-chroot

dist-check:
	@tests/install/dist.sh

# With gcc and make alone.
dist-chroot:
	@tests/install/chroot.sh
