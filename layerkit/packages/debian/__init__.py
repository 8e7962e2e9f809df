"""Debian packages: lists, what depends upon what, and what is in a .deb.

| module | nouns |
|---|---|
| `sources` | Source: a suite of a mirror, as apt of this machine has it |
| `release` | Release: the signed table of contents of a suite |
| `control` | stanzas: the text that describes packages (deb822) |
| `relation` | Relation: what `Depends:` and its kin say |
| `package` | Package: one version of one package for one architecture |
| `universe` | PackageList, Universe: all that can be had |
| `resolve` | which packages a set of names needs, and why |
| `deb` | Deb: what a .deb says of itself, and where in it the tar of its files is |
| `ldcache` | shared libraries, and `/etc/ld.so.cache` |
"""
