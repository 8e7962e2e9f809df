"""`python -m notes.health`: whether the service in this container answers, as the exit code."""

import os
import sys
import urllib.request

port = int(os.environ.get("NOTES_PORT", "8080"))
try:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
except OSError as error:
    sys.exit(f"not well: {error}")
