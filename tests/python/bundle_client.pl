# SPDX-License-Identifier: Apache-2.0
# Reads the bundle in a slot's data.bin, prints what is in it, one line a value, and publishes the sum of each double as a
# result: a client written from pyrmapfs-bundle(5) and the layout of safetensors alone, which knows neither package.
use strict;
use warnings;
use JSON::PP;

binmode(STDOUT, ':utf8');
my $slot = $ARGV[0];

sub content { open(my $in, '<:raw', $_[0]) or die "$_[0]: $!"; local $/; my $all = <$in>; return $all }

my $file = content("$slot/data.bin");
my $length = unpack('Q<', $file);
my $header = decode_json(substr($file, 8, $length));
my $metadata = delete $header->{__metadata__};
my $template = {F64 => 'd<', F32 => 'f<', I64 => 'q<', I32 => 'l<', I16 => 's<', I8 => 'c', U64 => 'Q<', U32 => 'L<', U16 => 'S<',
                U8 => 'C', BOOL => 'C'};
my %sums;

sub bytes { my $at = $header->{$_[0]}{data_offsets}; return substr($file, 8 + $length + $at->[0], $at->[1] - $at->[0]) }
sub values_of { return unpack("($template->{$header->{$_[0]}{dtype}})*", bytes($_[0])) }

sub text {
    my ($node) = @_;
    my ($all, @offsets) = (bytes($node->{tensor}), values_of($node->{offsets}));
    my @missing = exists $node->{na} ? values_of($node->{na}) : ();
    return map { $missing[$_] ? 'NA' : do { my $one = substr($all, $offsets[$_], $offsets[$_ + 1] - $offsets[$_]); utf8::decode($one); $one } }
        0 .. $#offsets - 1;
}

sub array {
    my ($node) = @_;
    return text($node) if $node->{type} eq 'character';
    my @values = values_of($node->{tensor});
    if ($node->{type} eq 'factor') { my @levels = text($node->{levels}); @values = map { $_ < 0 ? 'NA' : $levels[$_ - 1] } @values }
    @values = map { $_ == -2147483648 ? 'NA' : $_ } @values if $node->{na} && $node->{type} =~ /integer|logical/;
    if ($node->{type} eq 'double') { $sums{$node->{tensor}} += $_ for @values }
    return @values;
}

sub show {
    my ($name, $node) = @_;
    if ($node->{kind} eq 'array') {
        my $dim = $node->{dim} ? ' ' . join('x', @{$node->{dim}}) . ($node->{order} ? ' by rows' : ' by columns') : '';
        print "$name: $node->{type}$dim", map(" $_", array($node)), "\n";
    } elsif ($node->{kind} eq 'null') {
        print "$name: NULL\n";
    } else {
        print "$name: $node->{kind}", $node->{rows} ? " of $node->{rows} rows" : '', "\n";
        my $names = $node->{names} // [0 .. $#{$node->{items}}];
        show("$name/$names->[$_]", $node->{items}[$_]) for 0 .. $#{$node->{items}};
    }
}

if (exists $metadata->{pyrmap}) { show('x', JSON::PP->new->decode($metadata->{pyrmap})->{root}) }
else { print "$_: ", join(' ', values_of($_)), "\n" for sort keys %$header }

# A header of odd length, so that nothing is aligned: other programs write such.
my ($at, %out) = (0);
$out{$_} = {dtype => 'F64', shape => [1], data_offsets => [$at++ * 8, $at * 8]} for sort keys %sums;
my $said = JSON::PP->new->canonical->utf8->encode(\%out);
$said .= ' ' unless length($said) % 2;
my $result = pack('Q<', length $said) . $said . pack('d<*', map { $sums{$_} } sort keys %sums);
open(my $to, '>:raw', "$slot/result.bin") or die "result.bin: $!";
print $to $result;
close($to) or die "result.bin: $!";
open(my $record, '>', "$slot/metadata.txt") or die "metadata.txt: $!";
syswrite($record, 'result_dtype=bundle' . "\n" . 'result_length=' . length($result) . "\nflag=1\n") or die "metadata.txt: $!";
