"""Layers: a deterministic tar from entries, compressed and digested in one pass.

Rule 1: the same entries give the same bytes, whatever the order they came in, the machine, the number of threads
or the sizes of the reads. What must change a byte changes `write.FORMAT_VERSION`. The room is blocking.

| module | nouns |
|---|---|
| `entry` | Entry: one path of a layer, checked so that every consumer accepts it |
| `source` | FileSource, BytesSource: where the content of a file is read |
| `arrange` | the order of entries, their implied parents, and which of them may share a layer |
| `tar` | headers, and the blocks in which a layer is made |
| `pipeline` | work in several threads whose results come in order |
| `blocks` | how a block is stored, for itself: what a codec says of it |
| `deflate`, `zstd` | the blocks of gzip, by zlib-ng and ISA-L, and those of zstd |
| `compress` | Compression and its codecs |
| `estargz` | entries to the gzip members and the table of contents of eStargz |
| `reuse` | what of an earlier layer is in the next one again |
| `write` | entries in, a stored layer and its descriptor out |
| `read` | existing layers: decompression and tar headers, within limits |
| `index` | LayerIndex: the headers of one layer; FileTree: what the layers of an image make together |
"""
