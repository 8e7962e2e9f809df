"""The service: a page with the notes, JSON of them, and whether all is well."""

import asyncio
from html import escape

from aiohttp import web

from notes.database import Notes

NOTES: web.AppKey[Notes] = web.AppKey("notes", Notes)
MOST_CHARACTERS = 1000

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Notes</title>
<h1>Notes</h1>
<form method="post" action="/notes"><input name="text" maxlength="1000" required autofocus> <button>Keep</button></form>
<ul>{items}</ul>
</html>
"""


def make_app(notes: Notes) -> web.Application:
    app = web.Application(client_max_size=16 * 1024)
    app[NOTES] = notes
    app.router.add_get("/", show_page)
    app.router.add_get("/notes", list_notes)
    app.router.add_post("/notes", add_note)
    app.router.add_get("/health", tell_health)
    return app


async def show_page(request: web.Request) -> web.Response:
    newest = await asyncio.to_thread(request.app[NOTES].newest)
    items = "".join(f"<li>{escape(text)}</li>" for _, text in newest)
    return web.Response(text=PAGE.format(items=items), content_type="text/html")


async def list_notes(request: web.Request) -> web.Response:
    newest = await asyncio.to_thread(request.app[NOTES].newest)
    return web.json_response([{"id": number, "text": text} for number, text in newest])


async def add_note(request: web.Request) -> web.Response:
    is_form = request.content_type == "application/x-www-form-urlencoded"
    text = str((await request.post()).get("text", "")) if is_form else await request.text()
    if not 0 < len(text.strip()) <= MOST_CHARACTERS:
        raise web.HTTPBadRequest(text=f"a note has 1 to {MOST_CHARACTERS} characters\n")
    number = await asyncio.to_thread(request.app[NOTES].add, text.strip())
    if is_form:
        raise web.HTTPSeeOther("/")
    return web.json_response({"id": number, "text": text.strip()}, status=201)


async def tell_health(request: web.Request) -> web.Response:
    await asyncio.to_thread(request.app[NOTES].newest)
    return web.json_response({"status": "well"})
