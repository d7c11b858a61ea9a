# perl words.pl ROUNDS FILE...: strings, hashes, lists, closures and regular expressions, from the
# words of files. Prints what depends on every one of them.
use strict;
use warnings;
use List::Util qw(sum0 max);
use Data::Dumper;
use Storable qw(dclone);

my ($rounds, @files) = @ARGV;
my @lines;
for my $file (@files) {
	open my $in, '<', $file or die "$file: $!";
	push @lines, <$in>;
}

my (%count, %follows, %by_length);
for my $round (1 .. $rounds) {
	my $previous = '';
	for my $line (@lines) {
		for my $word (split /\W+/, lc $line) {
			next if $word eq '';
			$count{$word}++;
			$follows{$previous}{$word}++ if $round == 1;
			push @{$by_length{length $word}}, $word if $round % 3 == 1;
			$previous = $word;
		}
	}
	my $text = join '', @lines;
	$text =~ s/(\w+)\s*\(([^()]*)\)/$2 <- $1/g;
	$text = reverse $text;
	my @parts = unpack '(A37)*', $text;
	printf "%d: %d parts, checksum %d\n", $round, scalar @parts, unpack '%32C*', join '|', sort @parts;
}
my @words = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
printf "%6d %s\n", $count{$_}, $_ for @words[0 .. max(0, $#words > 200 ? 200 : $#words)];
for my $length (sort { $a <=> $b } keys %by_length) {
	my $sorted = join ' ', sort @{$by_length{$length}};
	printf "%d: %d, %d\n", $length, length $sorted, unpack '%32C*', $sorted;
}

my $copy = dclone(\%follows);
my @closures = map { my $word = $_; sub { return sum0 values %{$copy->{$word}} } } sort keys %$copy;
print 'pairs: ', sum0(map { $_->() } @closures), "\n";
$Data::Dumper::Sortkeys = 1;
my $dump = Dumper($copy);
printf "dump: %d, %d\n", length $dump, unpack '%32C*', $dump;
my $again = do { no strict; eval $dump };
print 'read back: ', Dumper($again) eq $dump ? "same\n" : "DIFFERENT\n";
