# SPDX-License-Identifier: Apache-2.0
# Completion of pyrmapctl(1) for fish.
function __pyrmapctl_slots
    pyrmapctl list --names 2>/dev/null
end
set -l states IDLE FILLING READY COMPUTING DONE FAILED
set -l commands list show top events wait publish fail gc lsof doctor bench
complete -c pyrmapctl -f
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -l version -d 'the version'
complete -c pyrmapctl -l help -d help
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a list -d 'the slots'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a show -d 'all that a slot says of itself'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a top -d 'the slots and the rates, again and again'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a events -d 'what happens to the slots'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a wait -d 'wait until a slot is in a state'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a publish -d 'write an array and publish it'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a fail -d 'fail the round of a slot'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a gc -d 'remove slots that nobody has to do with'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a lsof -d 'who has these arrays'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a doctor -d 'look for what is wrong'
complete -c pyrmapctl -n "not __fish_seen_subcommand_from $commands" -a bench -d measure
complete -c pyrmapctl -n "__fish_seen_subcommand_from $commands" -l mount -x -a '(__fish_complete_directories)'
complete -c pyrmapctl -n "__fish_seen_subcommand_from $commands" -l json -d 'JSON for programs'
complete -c pyrmapctl -n '__fish_seen_subcommand_from list wait gc' -l state -x -a "$states"
complete -c pyrmapctl -n '__fish_seen_subcommand_from list gc' -l user -x -a '(__fish_complete_users)'
complete -c pyrmapctl -n '__fish_seen_subcommand_from list gc' -l job -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from list' -l names
complete -c pyrmapctl -n '__fish_seen_subcommand_from top' -l delay -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from top events' -l count -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from wait' -l timeout -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from publish' -l result
complete -c pyrmapctl -n '__fish_seen_subcommand_from publish' -l dtype -x -a 'float32 float64 int32 int64 uint8 bundle'
complete -c pyrmapctl -n '__fish_seen_subcommand_from publish' -l shape -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from publish' -l order -x -a 'C F'
complete -c pyrmapctl -n '__fish_seen_subcommand_from publish' -F
complete -c pyrmapctl -n '__fish_seen_subcommand_from gc' -l older -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from gc' -l dry-run
complete -c pyrmapctl -n '__fish_seen_subcommand_from bench' -l size -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from bench' -l rounds -x
complete -c pyrmapctl -n '__fish_seen_subcommand_from show events wait publish fail lsof' -a '(__pyrmapctl_slots)'
