# The tarball of a release, unpacked somewhere else, and the tests there.

.PHONY: dist-check

dist-check:
	@tests/install/dist.sh
