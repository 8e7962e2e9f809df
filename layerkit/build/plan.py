"""The plan: what will be in each layer, from where. Printable, and made before anything is written."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from layerkit.build.accounts import GROUP, PASSWD, Accounts, add_member, add_user
from layerkit.build.filesystem import Filesystem, join
from layerkit.build.ground import Ground, add_parents, change_content, name_type, settle
from layerkit.build.inputs import Inputs, name_base
from layerkit.build.pick import pick
from layerkit.build.planned import BuildPlan, Doubt, PlannedLayer, Provenance
from layerkit.build.remove import find_removed, hidden_paths, outermost
from layerkit.build.scan import Context, Sight, content_entry, symlink_entry
from layerkit.build.taken import Marks, Taken, TakenFolder, directory_entry
from layerkit.document.problem import DocumentError, InvalidValue, Position
from layerkit.layer.arrange import arrange
from layerkit.layer.entry import ROOT, Entry, EntryType, whiteout
from layerkit.layer.errors import LayerError
from layerkit.layer.source import FileSource
from layerkit.layer.tree import FileTree, Subtree
from layerkit.layer.write import FORMAT_VERSION
from layerkit.packages.errors import PackageError
from layerkit.sizes import format_size
from layerkit.spec.capabilities import CAPABILITY, encode_capabilities, parse_capabilities
from layerkit.spec.model import Apt, Attributes, Content, Copy, Directory, Fetch, Layer, Python, Spec, Symlink

USERS: Final = "users"
"""The name of the layer that has the accounts of a spec."""

_LONGEST_HISTORY: Final = 400
_MANY_LAYERS: Final = 64
"""More than these slow down whatever mounts the image; MOST_LAYERS is where some refuse it."""
_MOST_ALIKE: Final = 5
"""Warnings of one kind and layer that name a path each."""


def plan_build(spec: Spec, inputs: Inputs) -> BuildPlan:
    """What a build of `spec` will write. Looks at files, and reads none. Blocking.

    Raises DocumentError at the copy, link, removal, user or layer that cannot be.
    """
    return Planner(spec, inputs).plan()


_Item = Python | Copy | Content | Fetch | Directory | Symlink


class Planner:
    """One planning: the base of `inputs` grows by the layers."""

    def __init__(self, spec: Spec, inputs: Inputs) -> None:
        self._spec = spec
        self._inputs = inputs
        self._below = inputs.base
        self._beside = inputs.base
        """What is below an item of the layer at hand: with the packages of the same layer, which come before it."""
        self._ground = Ground(FileTree())
        self._context = Context(spec, backwards=inputs.backwards)
        self._base_layers = len(inputs.base.layers)
        self._layers: list[PlannedLayer] = []
        self._warnings: list[str] = []
        self._doubts: list[Doubt] = []
        self._accounts = Accounts()
        # Before the base grows.
        self._around = inputs.identity
        self._sights: deque[tuple[Sight, str]] = deque()
        """What copies will find, where it is known, and its digests."""
        self._seen: list[str] = []
        """The digests of what they have found."""

    def survey(self) -> str | None:
        """The fingerprint of the plan that is made next, None where that cannot be known without it."""
        copies = [copy for layer in self._spec.layers for copy in layer.copies]
        try:
            sights = [self._look(copy) for copy in copies if isinstance(copy, Copy) and copy.origin is None]
        except DocumentError:
            # The plan says so in its own order.
            return None
        self._sights.extend(sights)
        return self._fingerprint([seen for _, seen in sights])

    @property
    def fingerprint(self) -> str | None:
        """What tells the plan that was made from all others, None where nobody knows that."""
        return self._fingerprint(self._seen)

    def _fingerprint(self, seen: Sequence[str]) -> str | None:
        if self._around is None:
            return None
        of = (FORMAT_VERSION, self._spec, self._around, seen)
        return sha256(repr(of).encode(errors="surrogatepass")).hexdigest()

    def plan(self) -> BuildPlan:
        """Raises what `plan_build` raises."""
        self._accounts = self._read_accounts(self._below)
        for layer in self._spec.layers:
            self._plan_layer(layer)
        if self._spec.users:
            self._plan_users()
        count = self._base_layers + len(self._layers)
        if count > _MANY_LAYERS:
            self._warnings.append(f"the image has {count} layers: more than {_MANY_LAYERS} are slow to mount")
        doubts = tuple(dict.fromkeys(self._doubts))
        warnings = (*self._spec.warnings, *map(str, doubts), *self._warnings, *sorted(self._context.warnings))
        return BuildPlan(
            spec=self._spec, layers=tuple(self._layers), warnings=tuple(dict.fromkeys(warnings)), doubts=doubts
        )

    def _read_accounts(self, below: Filesystem) -> Accounts:
        """Those of the base and of the spec, before a layer's copies change them."""
        spec = self._spec
        owners = [item.attributes for layer in spec.layers for item in _items(layer)]
        if not any(isinstance(name, str) for owner in owners for name in (owner.user, owner.group)):
            return Accounts()
        try:
            known = Accounts.parse(below.read(PASSWD), below.read(GROUP))
        except LayerError as error:
            raise spec.problem(spec.locate("from"), f"the names of owners cannot be resolved: {error}") from error
        return known.with_users(spec.users)

    def _plan_layer(self, layer: Layer) -> None:
        removed = self._remove(layer)
        entries: dict[str, Entry] = {}
        origins: dict[str, Provenance] = {}
        self._beside = self._below
        if layer.apt is not None:
            self._install(layer.apt, entries, origins, removed)
        self._ground = Ground(self._beside.tree)
        for item in _items(layer):
            try:
                for taken in self._take(item):
                    self._put_all(taken, item, entries, origins)
            except (LayerError, PackageError) as error:
                raise self._spec.problem(item.position, str(error)) from error
            except InvalidValue as error:
                raise self._spec.problem(item.position, error.message, error.hint) from error
        self._warn_of_modes(layer, entries, origins)
        for path in _one_of_each_folder(origins):
            try:
                add_parents(entries, path, self._below.tree)
            except LayerError as error:
                raise self._spec.problem(origins[path].position, str(error)) from error
        made = dict(entries) if removed else {}
        for path, (subtree, position, text) in removed.items():
            for hidden in hidden_paths(path, subtree, made):
                entry = whiteout(hidden)
                entries[entry.path] = entry
                origins[entry.path] = Provenance(f"remove {text}", position)
                add_parents(entries, hidden, self._below.tree)
        self._add(layer.name, _describe(layer), entries.values(), origins, layer.position)

    def _add(
        self,
        name: str,
        created_by: str,
        entries: Iterable[Entry],
        provenance: Mapping[str, Provenance],
        position: Position,
    ) -> None:
        try:
            arranged = arrange(entries)
        except LayerError as error:
            raise self._spec.problem(position, str(error)) from error
        layer = PlannedLayer.of(arranged, provenance, name=name, created_by=created_by)
        self._layers.append(layer)
        self._below.put(layer)

    def _remove(self, layer: Layer) -> dict[str, tuple[Subtree, Position, str]]:
        """Take what the layer removes out of what is below; by path, with where and how the spec says so."""
        found: dict[str, tuple[Position, str]] = {}
        for removal in layer.removals:
            try:
                for path in find_removed(removal, self._below):
                    found.setdefault(path, (removal.position, removal.path))
            except InvalidValue as error:
                raise self._spec.problem(removal.position, error.message, error.hint) from error
            except LayerError as error:
                raise self._spec.problem(removal.position, str(error)) from error
        removed = {}
        for path in outermost(list(found)):
            subtree = self._below.tree.take(path)
            if subtree is not None:
                removed[path] = subtree, *found[path]
        return removed

    def _install(
        self, apt: Apt, entries: dict[str, Entry], origins: dict[str, Provenance], removed: Iterable[str]
    ) -> None:
        """Put packages into the layer, and see the system with them from then on."""
        try:
            found = self._inputs.debs[apt].install(self._below, removed)
            arranged = arrange(found.entries)
        except (PackageError, LayerError, ValueError) as error:
            raise self._spec.problem(apt.position, str(error)) from error
        for entry in arranged:
            origin = found.origins.get(entry.path, "made by installing packages")
            entries[entry.path] = entry
            origins[entry.path] = Provenance(f"apt: {origin}", apt.position, is_packaged=True)
        self._warnings += [f"{apt.position}: {warning}" for warning in found.warnings]
        self._doubts += [Doubt(apt.position, doubt) for doubt in found.doubts]
        self._beside = self._below.copy()
        for path in removed:
            self._beside.tree.take(path)
        self._beside.put(PlannedLayer.of(arranged, {}, name="apt", created_by=""))
        self._accounts = self._read_accounts(self._beside)

    def _take(self, item: _Item) -> Iterator[Taken | TakenFolder]:
        """The entries of one item of the spec. Raises LayerError, PackageError, InvalidValue or DocumentError."""
        marks = self._marks(item)
        match item:
            case Python():
                installed = self._inputs.wheels[item].install(self._beside.tree, marks.uid, marks.gid)
                for entry, origin in installed.placed:
                    yield Taken(entry, origin)
                self._warnings += [f"{item.position}: {warning}" for warning in installed.warnings]
                self._doubts += [Doubt(item.position, doubt) for doubt in installed.doubts]
            case Copy(origin=None):
                sight, seen = self._sights.popleft() if self._sights else self._look(item)
                self._seen.append(seen)
                yield from self._context.copy(item, marks, sight)
            case Copy(origin=origin):
                assert origin is not None  # noqa: S101 - mypy does not narrow by the case above
                yield from pick(item, self._inputs.donors[origin], marks, self._warnings)
            case Content():
                yield Taken(content_entry(item, marks), "content")
            case Fetch():
                yield from self._take_fetched(item, marks)
            case Directory():
                yield Taken(directory_entry(item.path.strip("/") or ROOT, marks), "directory")
            case Symlink():
                yield Taken(symlink_entry(item, marks), f"symlink to {item.target}")

    def _look(self, copy: Copy) -> tuple[Sight, str]:
        sight = self._context.look(copy)
        return sight, sight.digest

    def _take_fetched(self, fetch: Fetch, marks: Marks) -> Iterator[Taken]:
        fetched = self._inputs.fetched[fetch]
        if isinstance(fetched, FileSource):
            mode = 0o644 if marks.mode is None else marks.mode
            path = fetch.dest.strip("/")
            yield Taken(
                Entry(path=path, type=EntryType.FILE, mode=mode, uid=marks.uid, gid=marks.gid, source=fetched),
                fetch.url,
            )
            return
        yield from _take_extracted(fetch, fetched, marks, self._warnings)

    def _marks(self, item: _Item) -> Marks:
        attributes: Attributes = item.attributes
        uid, gid = self._accounts.resolve(attributes)
        xattrs: tuple[tuple[str, bytes], ...] = ()
        newest = None
        if isinstance(item, Copy):
            if item.capabilities:
                xattrs = ((CAPABILITY, encode_capabilities(parse_capabilities(item.capabilities))),)
            if item.keep_mtime:
                newest = self._inputs.newest
        return Marks(uid=uid, gid=gid, mode=attributes.mode, dir_mode=attributes.dir_mode, xattrs=xattrs, newest=newest)

    def _put_all(
        self, taken: Taken | TakenFolder, item: _Item, entries: dict[str, Entry], origins: dict[str, Provenance]
    ) -> None:
        if isinstance(taken, Taken):
            self._put(taken, item, entries, origins)
            return
        new = {entry.path: entry for entry in taken.entries}
        if self._ground.is_bare(taken.path) and entries.keys().isdisjoint(new):
            # So it is with nearly all of what is copied: nothing is there that it could meet.
            entries.update(new)
            origins.update(dict.fromkeys(new, Provenance(taken.origin, item.position, is_inside=True)))
            return
        for one in taken.apart():
            self._put(one, item, entries, origins)

    def _put(self, taken: Taken, item: _Item, entries: dict[str, Entry], origins: dict[str, Provenance]) -> None:
        is_declared = isinstance(item, Directory) and _sets_attributes(item.attributes)
        entry = settle(taken.entry, self._ground, is_declared=is_declared)
        path = entry.path
        if path == ROOT and not is_declared:
            return
        replaced = entries.get(path)
        if replaced is not None and entry.type is EntryType.DIRECTORY is replaced.type:
            # Of two folders the one that the spec declares has its say, else the first.
            if not is_declared or origins[path].is_declared:
                return
        elif replaced is not None:
            _check_replaced(entry, replaced, origins[path])
            if not origins[path].is_packaged:
                self._warnings.append(f"{item.position}: /{path} is copied twice in one layer: the later one wins")
        if taken.identity is not None and entry.type is EntryType.FILE:
            self._warn_of_attributes(entry, taken.identity, item.position)
        entries[path] = entry
        origins[path] = Provenance(
            taken.origin, item.position, is_declared=is_declared, is_packaged=isinstance(item, Python)
        )

    def _warn_of_attributes(self, entry: Entry, identity: tuple[str, int], position: Position) -> None:
        if self._below.identity(entry.path) == identity:
            self._warnings.append(
                f"{position}: /{entry.path} differs from the layer below in its mode or owner alone, and all of its "
                f"{format_size(entry.size)} are stored again"
            )

    def _warn_of_modes(self, layer: Layer, entries: Mapping[str, Entry], origins: Mapping[str, Provenance]) -> None:
        found: dict[str, list[tuple[str, int, Position]]] = {}
        for entry in [entry for entry in entries.values() if entry.mode & 0o6002]:
            path, origin = entry.path, origins[entry.path]
            if origin.is_packaged:
                continue
            if entry.type is EntryType.FILE and entry.mode & 0o6000:
                what = "runs with the rights of its owner" if entry.mode & 0o4000 else "runs with those of its group"
                found.setdefault(what, []).append((path, entry.mode, origin.position))
            if entry.mode & 0o002 and (
                entry.type is EntryType.FILE or (entry.type is EntryType.DIRECTORY and not entry.mode & 0o1000)
            ):
                found.setdefault("may be changed by everybody", []).append((path, entry.mode, origin.position))
        for what, paths in found.items():
            for path, mode, position in paths[:_MOST_ALIKE]:
                self._warnings.append(f"{position}: /{path} has the mode {mode:04o}, and {what}")
            if len(paths) > _MOST_ALIKE:
                more = f"{len(paths) - _MOST_ALIKE} more paths of layer {layer.name}"
                self._warnings.append(f"{layer.position}: {more}, of which each {what}")

    def _plan_users(self) -> None:
        """The last layer: /etc/passwd and /etc/group, as they are by now, with the spec's users."""
        spec = self._spec
        place = spec.users[0].position
        try:
            old = self._below.read(PASSWD), self._below.read(GROUP)
        except LayerError as error:
            raise spec.problem(place, str(error)) from error
        new = old
        # All before the members of groups, who may be in those of others.
        for user in spec.users:
            try:
                new = add_user(*new, user)
            except InvalidValue as error:
                raise spec.problem(user.position, error.message, error.hint) from error
        for user in spec.users:
            try:
                new = new[0], add_member(new[1], user)
            except InvalidValue as error:
                raise spec.problem(user.position, error.message, error.hint) from error
        entries: dict[str, Entry] = {}
        provenance: dict[str, Provenance] = {}
        names = ", ".join(user.name for user in spec.users)
        try:
            for path, before, after in zip((PASSWD, GROUP), old, new, strict=True):
                if before != after:
                    entry = change_content(path, after, self._below.tree)
                    entries[entry.path] = entry
                    provenance[entry.path] = Provenance(f"users: {names}", place)
                    add_parents(entries, entry.path, self._below.tree)
        except LayerError as error:
            raise spec.problem(place, str(error)) from error
        if entries:
            self._add(USERS, _cut(f"layerkit: {USERS}: {names}"), entries.values(), provenance, place)


def _items(layer: Layer) -> Iterator[_Item]:
    """Those that make entries, in the order in which later ones win."""
    if layer.python is not None:
        yield layer.python
    yield from layer.copies
    yield from layer.fetches
    yield from layer.directories
    yield from layer.symlinks


def _sets_attributes(attributes: Attributes) -> bool:
    """Whether a directory of the spec is more than one that is to exist."""
    usual = Attributes()
    given = attributes.user, attributes.group, attributes.dir_mode
    return given != (usual.user, usual.group, usual.dir_mode)


def _take_extracted(fetch: Fetch, archive: Filesystem, marks: Marks, warnings: list[str]) -> Iterator[Taken]:
    """What is in an archive, as a copy of a folder would take it."""
    destination = fetch.dest.strip("/")
    count = 0
    if destination:
        yield Taken(directory_entry(destination, marks), fetch.url)
    for path, origin in archive.tree.walk():
        parts = path.split("/")[fetch.strip :]
        if not parts:
            continue
        count += 1
        entry = origin.entry
        place = join(destination, "/".join(parts))
        if entry.type is EntryType.DIRECTORY:
            made = directory_entry(place, marks)
        elif entry.type is EntryType.FILE:
            usual = 0o755 if entry.mode & 0o111 else 0o644
            made = Entry(
                path=place,
                type=EntryType.FILE,
                mode=usual if marks.mode is None else marks.mode,
                uid=marks.uid,
                gid=marks.gid,
                source=archive.layers[origin.layer].source(entry),
            )
        elif entry.type is EntryType.SYMLINK:
            made = Entry(path=place, type=EntryType.SYMLINK, mode=0o777, uid=marks.uid, gid=marks.gid, link=entry.link)
        elif entry.type is EntryType.HARDLINK:
            raise LayerError(f"{path} in the archive is a hardlink to {entry.link}, which is not in it: do not use it")
        else:
            warnings.append(f"{fetch.position}: {path} in the archive is a {name_type(entry.type)}, and is left out")
            continue
        yield Taken(made, f"{fetch.url} {path}")
    if not count:
        raise InvalidValue(
            "the archive has nothing" + (f" below {fetch.strip} folders" if fetch.strip else " in it"),
            "lower `strip:`" if fetch.strip else "",
        )


def _check_replaced(entry: Entry, replaced: Entry, origin: Provenance) -> None:
    """Raises LayerError: a folder and a file of one name have no order in which both could be had."""
    if EntryType.DIRECTORY in {entry.type, replaced.type}:
        raise LayerError(
            f"/{entry.path} would be a {name_type(entry.type)}, and is a {name_type(replaced.type)} of the same "
            f"layer, by line {origin.position.line}: choose another destination for one of the two"
        )


def _one_of_each_folder(paths: Iterable[str]) -> Iterable[str]:
    """The first path of each folder: others need no other parents."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(path.rpartition("/")[0], path)
    return found.values()


def _describe(layer: Layer) -> str:
    """What `docker history` shows."""
    steps = [] if layer.apt is None else [f"apt {' '.join(layer.apt.packages)}"]
    if layer.python is not None:
        steps.append(f"python {layer.python.file}:{layer.python.into}")
    for item in layer.copies:
        if isinstance(item, Copy):
            origin = f"{name_base(item.origin)}:" if item.origin is not None else ""
            steps.append(f"{origin}{item.src}:{item.dest}")
        else:
            steps.append(f"content:{item.dest}")
    steps += [f"{fetch.url}:{fetch.dest}" for fetch in layer.fetches]
    steps += [f"directory {directory.path}" for directory in layer.directories]
    steps += [f"{link.path} -> {link.target}" for link in layer.symlinks]
    steps += [f"remove {removal.path}" for removal in layer.removals]
    return _cut(f"layerkit: {layer.name}: {', '.join(steps)}")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_HISTORY else f"{text[: _LONGEST_HISTORY - 3]}..."
