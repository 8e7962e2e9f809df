from layerkit.build.filesystem import Filesystem, PlannedLayerContents
from layerkit.build.planned import PlannedLayer
from layerkit.layer.entry import EntryType
from layerkit.layer.index import IndexedEntry

EMPTY = PlannedLayerContents(PlannedLayer.of((), {}, name="empty", created_by=""))


def _file(path: str, mode: int = 0o644) -> IndexedEntry:
    return IndexedEntry(path=path, type=EntryType.FILE, mode=mode)


def test_the_headers_of_a_layer_are_made_when_somebody_looks_and_once() -> None:
    made = []

    def make(name: str) -> list[IndexedEntry]:
        made.append(name)
        return [_file(name)]

    filesystem = Filesystem()
    for name in ("a", "b"):
        filesystem.add_later(lambda name=name: make(name), EMPTY)  # type: ignore[misc]
    assert (len(filesystem.layers), made) == (2, [])
    assert [path for path, _ in filesystem.tree.walk()] == ["a", "b"]
    assert filesystem.tree.lookup("b") is not None
    assert made == ["a", "b"]


def test_layers_that_nobody_looked_at_yet_are_below_those_that_come_later() -> None:
    filesystem = Filesystem()
    filesystem.add_later(lambda: [_file("a", 0o600), _file("b")], EMPTY)
    filesystem.add([_file("a", 0o755)], EMPTY)
    for each in (filesystem, filesystem.copy()):
        found = each.tree.origin("a")
        assert found is not None
        assert (found.layer, found.entry.mode) == (1, 0o755)
        assert each.tree.lookup("b") is not None


def test_a_copy_is_not_changed_with_the_other() -> None:
    filesystem = Filesystem()
    filesystem.add_later(lambda: [_file("a")], EMPTY)
    copy = filesystem.copy()
    filesystem.add([_file("b")], EMPTY)
    assert [path for path, _ in copy.tree.walk()] == ["a"]
    assert len(copy.layers) == 1
