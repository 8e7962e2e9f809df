"""layerkit: build container images from a spec file without a daemon, and move them between registries."""

__version__ = "0.1.0"
