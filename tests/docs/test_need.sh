#!/bin/sh
# need.sh says what it is about to install before it does, and installs nothing that is optional
# unless it was told to. An apt-get and a sudo of this test stand in for the real ones.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1
unset NEED

mkdir "$work/bin"
cat >"$work/bin/apt-get" <<END
#!/bin/sh
echo "apt-get \$*" >>"$work/calls"
case " \$* " in *' install '*) printf '#!/bin/sh\n' >"$work/bin/a-tool" && chmod +x "$work/bin/a-tool" ;; esac
[ ! -e "$work/broken" ] || rm "$work/bin/a-tool"
END
cat >"$work/bin/sudo" <<END
#!/bin/sh
echo "sudo" >>"$work/calls"
while [ \$# -gt 0 ]; do case \$1 in -n) shift ;; *) exec "\$@" ;; esac; done
END
chmod +x "$work/bin/apt-get" "$work/bin/sudo"

# need ARGUMENT...: on a machine that lacks a-tool.
need()
{
	rm -f "$work/bin/a-tool" "$work/calls"
	: >"$work/calls"
	PATH="$work/bin:$PATH" tests/need.sh "$@" >"$work/said" 2>&1 </dev/null
}

says_what_it_installs()
{
	need sh a-tool && grep -q "lacks.* a-tool\.$" "$work/said" &&
		grep -q "^Installing.*: .*apt-get install .* a-tool$" "$work/said" &&
		! grep -q ' sh' "$work/said" && grep -q 'apt-get .*install .*a-tool$' "$work/calls"
}

leaves_out_what_is_optional()
{
	! need --optional a-tool && [ ! -s "$work/calls" ] && grep -q 'lacks.* a-tool' "$work/said" &&
		need && need --optional sh && [ ! -s "$work/calls" ] && [ ! -s "$work/said" ]
}

installs_what_is_optional_when_told()
{
	NEED=install need --optional a-tool && grep -q 'install .*a-tool$' "$work/calls"
}

# What apt-get says is shown where it fails, and only there.
says_no_more_than_that()
{
	need a-tool && [ "$(wc -l <"$work/said")" -eq 3 ] && tail -n 1 "$work/said" | grep -q '^Installed: a-tool\.$'
}

says_that_it_could_not()
{
	: >"$work/broken"
	! need a-tool && grep -q 'could not install' "$work/said"
	result=$?
	rm "$work/broken"
	return "$result"
}

check "need.sh says what it installs, and how" says_what_it_installs
check "need.sh says when it is done" says_no_more_than_that
check "need.sh leaves out what is optional" leaves_out_what_is_optional
check "need.sh installs what is optional when it is told to" installs_what_is_optional_when_told
check "need.sh says that a package could not be had" says_that_it_could_not
exit $status
