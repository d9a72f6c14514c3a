"""`dynamics bench`: hands over to the benchmark."""

from dynamics.cli.arguments import Parser, parse


def bench(argv: list[str]) -> int:
    """Run the benchmark with these arguments; returns its exit code."""
    from dynamics.benchmark import command

    parser = Parser(
        prog="dynamics bench", description="Measure how fast this machine trains.", allow_abbrev=False
    )
    command.add_arguments(parser)
    args = parse(parser, argv)
    from dynamics.cli.start import start_jax

    start_jax()
    return command.run(args)
