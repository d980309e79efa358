"""What a stage and the server that forks it say to each other.

The stage sends the length of a JSON object (the fields of `StageRequest` but `files`) with
its stdin, stdout and stderr, then the object. The server answers with the exit code.
"""

import struct

SOCKET_VARIABLE = "PTEFOUNDRY_FORK_SERVER"
"""Environment variable that names the server's socket."""
LENGTH = struct.Struct("!Q")
STATUS = struct.Struct("!i")
"""Exit code; of a process that a signal ended, minus its number."""
