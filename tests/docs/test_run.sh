#!/bin/sh
# run.sh runs what it is given and counts it: tests that pass, that fail, that are skipped, and that
# do not end. Programs of this test stand in for the real ones.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
[ -z "${VARIANT:-}${RUN:-}" ] || skip=1

# program NAME: what it does is on standard input.
program()
{
	{ echo '#!/bin/sh'; cat; } >"$work/$1" && chmod +x "$work/$1"
}

# runs PROGRAM...: each of them, as where there is no terminal, and leaves what run.sh says in said.
runs()
{
	setsid -w sh -c 'cd "$0" && exec "$@"' "$work" "$PWD/tests/run.sh" results "$@" >"$work/said" 2>&1
}

# counts PASSED FAILED
counts()
{
	[ "$(cat "$work/results/results")" = "$1 $2" ] || { cat "$work/said"; return 1; }
}

# says LINE: an extended regular expression for the whole, but for the time that it took.
says()
{
	sed 's/  *([0-9.]* s)$//' "$work/said" | grep -qxE "$1" || { cat "$work/said"; return 1; }
}

program test_quiet <<'END'
echo "$POLICY" >>policies
END
program test_three <<'END'
printf '[ RUN      ] %s\n[       OK ] %s\n' one one two two
printf '[ RUN      ] three\n[  SKIPPED ] three\n'
END
program test_broken <<'END'
printf '[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n[  FAILED  ] two\n'
echo why >&2
exit 1
END
program test_killed <<'END'
printf '[ RUN      ] one\n'
kill -9 $$
END
program test_silent.sh <<'END'
exit 3
END
# It has a child, which holds a lock as long as it lives.
program test_endless.sh <<'END'
printf '[ RUN      ] one\n[       OK ] one\n[ RUN      ] two\n'
flock "$0" sleep 60
END
program test_waiting <<'END'
exec sleep 60
END

runs_each_policy()
{
	runs ./test_quiet && counts 2 0 && printf 'first_fit\nquick_fit\n' | diff - "$work/policies"
}

counts_one_by_one()
{
	runs ./test_three ./test_quiet && counts 6 0 && says 'test_three +2 passed, 1 skipped'
}

says_what_failed()
{
	! runs ./test_broken ./test_silent.sh ./test_three && counts 6 3 &&
		says 'test_broken +1 passed, 1 FAILED \(exit 1\)' &&
		says 'test_silent +0 passed, 1 FAILED \(exit 3\)' && says why
}

# That it was killed is no reason to say that it took too long.
counts_what_is_killed()
{
	! runs ./test_killed && counts 0 2 && says 'test_killed +0 passed, 1 FAILED \(exit 137\)'
}

ends_what_hangs()
{
	! TIME_LIMIT=1 runs ./test_waiting ./test_endless.sh ./test_three && counts 5 3 &&
		says 'test_waiting \(quick\) +0 passed, 1 FAILED \(exit 124\), ended after 1 s' &&
		says 'test_endless +1 passed, 1 FAILED \(exit 124\), ended after 1 s' &&
		says 'results +5 passed, 3 failed'
}

leaves_no_child()
{
	flock -w 10 "$work/test_endless.sh" true
}

check "run.sh runs a program under both policies" runs_each_policy
check "run.sh counts the tests of a program" counts_one_by_one
check "run.sh shows what failed" says_what_failed
check "run.sh counts a program that was killed" counts_what_is_killed
check "run.sh ends what hangs, and goes on" ends_what_hangs
check "run.sh ends its children, too" leaves_no_child
exit $status
