# SPDX-License-Identifier: Apache-2.0
"""pyrmapctl looks at a mount of pyrmapfs and takes steps in it, by the files below the mount alone.

main       the command line
mount      the mount, and its slots as metadata.txt tells them
show       list, show and top
rounds     wait, publish, fail and gc
holders    lsof
machine    doctor
bench      bench
output     tables for people, JSON for programs
"""
__version__ = "0.2.0"
