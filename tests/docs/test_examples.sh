#!/bin/sh
# The data structures of sample/examples do what they say, and leave a sound heap; what README.md
# and docs/pointers.md show of them compiles as C and as C++, by each standard, and works.
# shellcheck disable=SC2317 # the functions are called by check
set -u

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
. tests/check.sh
cc=${CC:-cc}
library=${VARIANT:+build/$VARIANT/}libmems.a
warnings='-Wall -Wextra -Wpedantic -Werror'

example()
{
	program=$1
	shift
	${RUN:-} "$EXAMPLES/$program" "$@"
}

# ---- The programs --------------------------------------------------------------------------------

# In 64 bits, where a node has 16 bytes.
list_prints_what_it_should()
{
	example list 30 -7 10 20 40 30 >"$work/list" && diff tests/docs/list.txt "$work/list"
}

# Random numbers, in order as sort has it.
list_sorts()
{
	seed=$(date +%s)
	numbers=$(awk -v seed="$seed" 'BEGIN { srand(seed); for (; i < 500; i++) print int(rand() * 999) }')
	# shellcheck disable=SC2086 # a list of words
	example list $numbers | head -n 1 | sed 's/ at [0-9]* -> /\n/g; s/NULL$//' | sed '/^$/d' \
		>"$work/list"
	echo "$numbers" | sort -n | diff - "$work/list" || {
		echo "seed $seed"
		return 1
	}
}

# The words of the README, counted by the tools of the system.
table_counts()
{
	LC_ALL=C tr -cs '[:alpha:]' '\n' <README.md | tr '[:upper:]' '[:lower:]' | sed '/^$/d' |
		LC_ALL=C sort | uniq -c | awk '{ print $2 ": " $1 }' >"$work/words"
	# shellcheck disable=SC2046 # a list of words
	LC_ALL=C example table README.md $(cut -d: -f1 "$work/words") nosuchword >"$work/table" &&
		[ "$(wc -l <"$work/words")" -gt 100 ] && {
			echo "$(wc -l <"$work/words") different words"
			cat "$work/words"
			echo 'nosuchword: 0'
		} | diff - "$work/table"
}

# Another run finds the same words, and so does a third that maps the same file.
table_is_kept()
{
	# shellcheck disable=SC2046 # a list of words
	set -- $(cut -d: -f1 "$work/words") nosuchword
	LC_ALL=C example table --save "$work/heap" README.md the >"$work/saved" &&
		grep -q '^the: [1-9]' "$work/saved" && for run in 1 2; do
			LC_ALL=C example table --load "$work/heap" "$@" | diff "$work/table" - || return
		done
}

table_says_what_is_wrong()
{
	! example table --load README.md 2>"$work/said" && grep -q 'Bad message' "$work/said" &&
		! example table --load "$work/no file" 2>"$work/said" &&
		grep -q "$work/no file: No such file" "$work/said" &&
		! example table --save "$work/no/file" README.md 2>"$work/said" &&
		grep -q "$work/no/file: No such file" "$work/said" || return
	! example table "$work/no file" 2>"$work/said" && grep -q 'No such file' "$work/said" &&
		! example table . 2>"$work/said" >&2 && grep -qx '\.: Is a directory' "$work/said" &&
		! example table 2>"$work/said" && grep -q '^usage' "$work/said"
}

# ---- The blocks of the pages ---------------------------------------------------------------------

# block FENCE WORD: the block that is fenced so and has this word.
block()
{
	awk -v fence="\`\`\`$1" -v word="$2" '
		/^```/ { if (inside && index(text, word)) printf "%s", text
			inside = !inside && $0 == fence; text = ""; next }
		inside { text = text $0 "\n" }' README.md docs/pointers.md
}

make_c()
{
	{
		echo '#include "mems.h"'
		block c 'define AT' && cat <<-END
			int main(void)
			{
				struct node *first = NULL, *node;
				mems_init();
				for (int i = 1; i <= 4; i++) {
					node = mems_malloc(sizeof *node);
					*AT(node) = (struct node){first, i};
					first = node;
				}
				node = (struct node *)((uintptr_t)first + 4); /* ends beyond the block */
				return sum(first) == 10 && AT(node) == NULL ? 0 : 1;
			}
		END
	} | sed 's/^int sum/static &/' >"$work/typed.c"
}

make_cxx()
{
	{
		echo '#include "mems.h"'
		block cpp 'template' && cat <<-END
			int main()
			{
				mems_init();
		END
		block cpp 'template' | sed -n 's|^// ||p'
		cat <<-END
				first->next = {static_cast<node *>(mems_malloc(sizeof(node)))};
				*first->next = node{{nullptr}, 20};
				first->next->number += 300;
				int sum = 0;
				for (virtual_ptr<node> at = first; at; at = at->next)
					sum += (*at).number;
				virtual_ptr<node> wrong{reinterpret_cast<node *>(uintptr_t(first.address) + 4)};
				return sum == 321 && wrong.get() == nullptr ? 0 : 1;
			}
		END
	} >"$work/typed.cpp"
}

# make_aligned FILE LINE...: a type of alignment 16 on a heap that these lines start.
make_aligned()
{
	cat >"$1" <<-END
		#include "mems.h"
		struct wide { long double value; int number; };
		int main(void)
		{
			$2
			struct wide *v = mems_malloc(sizeof *v);
			long double *value = mems_get(&v->value);
			int *number = mems_get(&v->number);
			*value = *number = 5;
			return v == NULL || *value != 5;
		}
	END
}

# The sanitizer says nothing of what docs/pointers.md shows, but does of the defaults.
wide_types_are_in_order()
{
	make_aligned "$work/default.c" 'mems_init();'
	make_aligned "$work/aligned.c" "$(block c MEMS_START_ADDRESS)"
	for heap in default aligned; do
		# shellcheck disable=SC2086 # lists of words
		$1 -std=c11 $warnings -fsanitize=undefined -I. "$work/$heap.c" "$library" -pthread \
			-o "$work/$heap" && "$work/$heap" 2>"$work/$heap.said" || return
	done
	grep -q 'misaligned address' "$work/default.said" && diff /dev/null "$work/aligned.said"
}

# works COMPILER SOURCE STANDARD...
works()
{
	compiler=$1
	source=$2
	shift 2
	for standard in "$@"; do
		# shellcheck disable=SC2086 # lists of words
		$compiler ${VARIANT_FLAGS:-} -std="$standard" $warnings -I. "$source" "$library" -pthread \
			-o "$work/typed" && ${RUN:-} "$work/typed" || return
	done
}

[ -n "${VARIANT:-}" ] ||
	check "the list is sorted, and loses what it should" list_prints_what_it_should
check "a long list is sorted" list_sorts
check "the table counts words as sort and uniq do" table_counts
check "a table that was saved is the same when it is loaded" table_is_kept
check "the table says what is wrong" table_says_what_is_wrong
make_c
check "a typed pointer in C works" works "$cc" "$work/typed.c" c99 c11 gnu17
make_cxx
if [ -z "${VARIANT:-}${RUN:-}" ]; then
	check_with clang "a typed pointer in C works with clang" \
		works clang "$work/typed.c" c99 c11 gnu17
	check "types of alignment 16 are in order for the sanitizer" wide_types_are_in_order "$cc"
	check_with clang "types of alignment 16 are in order for the sanitizer of clang" \
		wide_types_are_in_order clang
	check_with g++ "a typed pointer in C++ works" works g++ "$work/typed.cpp" c++11 c++17 c++20
	check_with clang "a typed pointer in C++ works with clang" \
		works clang++ "$work/typed.cpp" c++11 c++17 c++20
fi
exit $status
