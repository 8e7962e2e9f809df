"""`python -m notes`: serve, on port 8080 unless NOTES_PORT says otherwise."""

import os
from pathlib import Path

from aiohttp import web

from notes.database import Notes
from notes.service import make_app

notes = Notes(Path(os.environ.get("NOTES_DATABASE", "notes.db")))
web.run_app(make_app(notes), port=int(os.environ.get("NOTES_PORT", "8080")))
