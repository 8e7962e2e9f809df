"""Debian packages: lists, what depends upon what, and what is in a .deb.

| module | nouns |
|---|---|
| `sources` | Source: a suite of a mirror, as apt of this machine has it |
| `release` | Release: the signed table of contents of a suite |
| `architecture` | what Debian calls the platforms of images |
| `control` | stanzas: the text that describes packages (deb822) |
| `relation` | Relation: what `Depends:` and its kin say |
| `package` | Package: one version of one package for one architecture |
| `universe` | PackageList, Universe: all that can be had |
| `resolve` | which packages a set of names needs, and why |
| `deb` | Deb: what a .deb says of itself, and where in it the tar of its files is |
| `system` | System: the file system that packages are installed into |
| `renew` | what goes of a package when a newer version of it comes |
| `unpack` | the files of packages, on a merged /usr |
| `accounts` | system users and groups, with numbers that depend on their names alone |
| `shell` | scripts as trees of statements |
| `actions` | what single commands do to a system |
| `scripts` | what maintainer scripts would do, without running them |
| `alternatives` | which of several programs stands for a general one |
| `certificates` | the bundle of trusted certificates, and the links by their hashes |
| `pam` | how users prove who they are: the common files of /etc/pam.d |
| `database` | dpkg's database, or `status.d` |
| `ldcache` | shared libraries, and `/etc/ld.so.cache` |
| `install` | packages and a file system in, the entries of a layer out |
"""
