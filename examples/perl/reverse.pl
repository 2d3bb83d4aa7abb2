#!/usr/bin/perl
# SPDX-License-Identifier: Apache-2.0
#
# reverse.pl SLOT ROUNDS - a worker in Perl, with nothing but its core: each array comes back with its elements in
# reverse order, of the same type and shape.
use strict;
use warnings;
use Fcntl qw(O_RDONLY O_RDWR O_WRONLY O_CREAT O_TRUNC SEEK_SET);
use IO::Poll qw(POLLIN);

# The record, see pyrmapfs(7): flag, version, input_length, dtype, result_dtype, result_length, round, input_ndim,
# result_ndim, input_shape, result_shape, order, change, and what the filesystem sets.
my $record = 'l< l< q< l< l< q< Q< l< l< q<4 q<4 L< L< S< S< L<';
my ($flag, $length, $dtype, $result_dtype, $result_length, $round, $ndim, $result_ndim) = (0, 2, 3, 4, 5, 6, 7, 8);
my ($shape, $result_shape, $order) = (9, 13, 17);
my %size_of = (1 => 4, 2 => 8, 3 => 4, 4 => 8, 5 => 1);
my $at_once = (1 << 20) - 4096;    # so much goes with the record, in one write

my ($slot, $rounds) = @ARGV;
die "usage: reverse.pl SLOT ROUNDS\n" unless defined $rounds;

sub put {
    my ($file, $content) = @_;
    sysopen(my $out, "$slot/$file", O_WRONLY | O_CREAT | O_TRUNC) or die "$file: $!\n";
    my $written = 0;
    while ($written < length $content) {
        $written += syswrite($out, $content, length($content) - $written, $written) // die "$file: $!\n";
    }
    close $out or die "$file: $!\n";
}

sub whole {
    my ($file) = @_;
    sysopen(my $in, $file, O_RDONLY) or die "$file: $!\n";
    my $content = '';
    while (my $got = sysread $in, $content, 1 << 20, length $content) { }
    return $content;
}

sysopen(my $metadata, "$slot/metadata.bin", O_RDWR) or die "$slot: $!\n";

sub read_record {
    sysseek $metadata, 0, SEEK_SET;
    (sysread $metadata, my $bytes, 128) // die "$slot: $!\n";
    return unpack $record, $bytes;
}

sub publish {
    my ($array, @fields) = @_;
    sysseek $metadata, 0, SEEK_SET;
    syswrite $metadata, pack($record, @fields) . $array or die "cannot publish: $!\n";
}

put('worker', 'self');    # a round fails at once if we die in it
my $last = 0;
my $poll = IO::Poll->new;
$poll->mask($metadata => POLLIN);
while ($rounds > 0) {
    my @fields = read_record();
    if ($fields[$flag] != 0 || $fields[$round] == $last) {
        $poll->poll;    # until the record changes
        next;
    }
    my $input = whole("$slot/data.bin");
    my @again = read_record();
    next if $again[$flag] != 0 || $again[$round] != $fields[$round];    # another round has begun
    $last = $fields[$round];
    my $size = $size_of{$fields[$dtype]};
    if (!$size) {
        put('error', "reverse.pl takes one array of numbers\n");
        next;
    }
    my $result = join '', reverse unpack "(a$size)*", $input;
    @fields[$flag, $result_dtype, $result_length, $result_ndim] = (1, @fields[$dtype, $length, $ndim]);
    @fields[$result_shape .. $result_shape + 3] = @fields[$shape .. $shape + 3];
    $fields[$order] |= ($fields[$order] & 0b0101) << 1;    # the bits of the result stand beside those of the input
    if (length $result > $at_once) {
        put('result.bin', $result);
        $result = '';
    }
    publish($result, @fields);
    $rounds--;
}
