"""What is in an image and where it came from, as documents that others read: SPDX, CycloneDX, in-toto.

Rule 1: the same image and lock give the same documents, byte for byte: no clock, no random numbers. What is said of an
image is seen in its layers, and in the lock it was built from; what nobody states is left open.

| module | nouns |
|---|---|
| `bill` | Bill: what is in an image, as a value |
| `survey` | an image and a lock to its Bill |
| `licenses` | what packages say of their licences, as SPDX expressions |
| `spdx`, `cyclonedx` | a Bill as SPDX 2.3 and CycloneDX 1.6 |
| `provenance` | what an image was built from, as SLSA provenance in an in-toto statement |
| `attach` | documents as referrers of an image |
"""
