"""What a spec's `config:` makes of an image's config.

Source: SPEC, "Config": env and labels merge with the base's; `entrypoint` without `cmd` clears the base's `cmd`.
"""

from typing import Any

from layerkit.image.image import Image
from layerkit.spec.model import Config, Healthcheck


def configure(image: Image, config: Config) -> Image:
    """The image with all that `config` sets."""
    execution = image.config.execution
    fields: dict[str, Any] = {}
    if config.user is not None:
        fields["User"] = config.user or None
    if config.workdir is not None:
        fields["WorkingDir"] = config.workdir or None
    if config.stop_signal is not None:
        fields["StopSignal"] = config.stop_signal or None
    if config.shell is not None:
        fields["Shell"] = list(config.shell) or None
    if config.entrypoint is not None:
        fields["Entrypoint"] = list(config.entrypoint) or None
        fields["Cmd"] = None
    if config.cmd is not None:
        fields["Cmd"] = list(config.cmd) or None
    if config.env:
        known = dict(variable.partition("=")[::2] for variable in execution.env or ())
        fields["Env"] = [f"{name}={value}" for name, value in {**known, **config.env}.items()]
    if config.labels:
        fields["Labels"] = {**(execution.labels or {}), **config.labels}
    if config.expose:
        fields["ExposedPorts"] = {**(execution.exposed_ports or {}), **{port: {} for port in config.expose}}
    if config.volumes:
        fields["Volumes"] = {**(execution.volumes or {}), **{path: {} for path in config.volumes}}
    if config.healthcheck is not None:
        fields["Healthcheck"] = _healthcheck(config.healthcheck)
    return image.with_execution(fields) if fields else image


def _healthcheck(healthcheck: Healthcheck) -> dict[str, Any]:
    durations = {
        "Interval": healthcheck.interval,
        "Timeout": healthcheck.timeout,
        "StartPeriod": healthcheck.start_period,
        "StartInterval": healthcheck.start_interval,
        "Retries": healthcheck.retries,
    }
    return {"Test": list(healthcheck.test), **{key: value for key, value in durations.items() if value is not None}}
