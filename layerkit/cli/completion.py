"""`layerkit completion`: what a shell needs to complete commands, options and the names of images."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what a shell needs to complete layerkit's commands, options and images.

    \b
    source <(layerkit completion bash)       in ~/.bashrc
    source <(layerkit completion zsh)        in ~/.zshrc, after compinit
    layerkit completion fish > ~/.config/fish/completions/layerkit.fish
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - it takes as long as the rest

    from layerkit.cli.output import write_answer  # noqa: PLC0415

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"there are no completions for {shell}")
    program = ctx.find_root()
    # Not source(): it would ask the bash at hand for its version, which need not be the one that reads this.
    script = kind(program.command, {}, "layerkit", "_LAYERKIT_COMPLETE")
    write_answer((script.source_template % script.source_vars()).strip())


def complete_images(incomplete: str) -> list[str]:
    """The names in the local store that begin so. Whatever keeps it from being read, there are none then."""
    from layerkit.cli.environment import data_folder  # noqa: PLC0415 - environment asks here
    from layerkit.content.layout import Layout  # noqa: PLC0415
    from layerkit.content.listed import IMAGE_NAME  # noqa: PLC0415
    from layerkit.oci.errors import OCIError  # noqa: PLC0415
    from layerkit.oci.reference import parse_reference  # noqa: PLC0415

    try:
        names = {entry.annotations.get(IMAGE_NAME, "") for entry in Layout(data_folder() / "store").entries()}
        familiar = {parse_reference(name).familiar() for name in names if name}
    except (OCIError, OSError):
        return []
    # In full only for those who began to write it in full.
    shown = {name for name in familiar if name.startswith(incomplete)}
    return sorted(shown or {name for name in names if name and name.startswith(incomplete)})
