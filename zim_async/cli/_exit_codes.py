"""The exit codes of the commands, and what their help says of these and of credentials."""

from typing import Final

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
TRANSPORT: Final = 3
RESUMABLE: Final = 4
STOPPED: Final = 5
INTERRUPTED: Final = 130

HELP: Final = """
\b
Exit codes:
  0  done
  1  the server refused, or the demo found its state wrong
  2  usage or configuration
  3  no usable answer from the server
  130  interrupted
"""
HELP_FOR_BULK: Final = """
\b
Exit codes:
  0  all done (or already gone)
  1  all sent, some refused
  2  usage: options, or rows that are no actions
  4  interrupted; run the same again to go on
  5  stopped by configuration: credentials, clock, plan or journal
  130  interrupted twice, left at once; run the same again to go on
"""
CREDENTIALS: Final = """
Credentials come from the environment: ZIM_APP_ID, ZIM_SERVER_SECRET, and ZIM_REGION (auto, sha, hkg,
fra, lax, bom, sgp) or ZIM_BASE_URL. The secret is never an argument, which other users could read.
"""
