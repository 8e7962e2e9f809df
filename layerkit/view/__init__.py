"""Looking into images: which files they have, what sets two of them apart. Nothing is unpacked."""
