"""Runs a command and prints what it took: seconds, seconds of all processors, peak RSS in bytes.

A small process between a benchmark and what it measures: Linux counts as a program's peak also
what the process that started it had, of a benchmark often hundreds of MiB, of this one eight.
"""

import os
import sys
import time

SILENT = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]

start = time.perf_counter()
process = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=SILENT)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
print(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status) != 0)
